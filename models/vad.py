"""Silero voice activity detection at 16 kHz as an explicit state machine, batched over streams.

The published weights, applied by numpy alone. A live call has few frames at a time and long pauses
in between, after which little is left in the caches: then it counts how much code and how many
weights a frame needs, and torch needs more of both. Each frame is a product by itself, so that no
stream depends on the others.

Silero VAD, version 6: github.com/snakers4/silero-vad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import as_strided
from safetensors import SafetensorError
from safetensors.numpy import load_file

from models.base import Floats, ModelError

FRAME = 512
"""Samples per probability: 32 ms."""
_CONTEXT = 64
_SEEN = _CONTEXT + FRAME
_WINDOW = 256
_HOP = 128
_BINS = 129
_WINDOWS = 4
_HANN = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
_WIDTH = 128
_STATE = 2 * _WIDTH + _CONTEXT

SHAPES: Final[Mapping[str, tuple[int, ...]]] = {
    "stft_conv.weight": (2 * _BINS, 1, _WINDOW),
    "conv1.weight": (128, _BINS, 3),
    "conv1.bias": (128,),
    "conv2.weight": (64, 128, 3),
    "conv2.bias": (64,),
    "conv3.weight": (64, 64, 3),
    "conv3.bias": (64,),
    "conv4.weight": (_WIDTH, 64, 3),
    "conv4.bias": (_WIDTH,),
    "lstm_cell.weight_ih": (4 * _WIDTH, _WIDTH),
    "lstm_cell.weight_hh": (4 * _WIDTH, _WIDTH),
    "lstm_cell.bias_ih": (4 * _WIDTH,),
    "lstm_cell.bias_hh": (4 * _WIDTH,),
    "final_conv.weight": (1, _WIDTH, 1),
    "final_conv.bias": (1,),
}
"""The parameters in their order."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """Of width 3 over `places` with a zero on either side: the product of [taps * channels in,
    channels out] with what each place that is kept sees. Where one is kept, it sees them all."""

    weight: Floats
    bias: Floats
    places: int
    stride: int

    @classmethod
    def of(cls, weight: Floats, bias: Floats, places: int, stride: int) -> Convolution:
        """From [channels out, channels in, 3]."""
        seen = weight[..., 1 : 1 + places] if places <= stride else weight
        taps = seen.transpose(2, 1, 0).reshape(-1, len(weight)).copy()
        return cls(taps, bias, places, stride)

    def __call__(self, x: Floats) -> Floats:
        """[n, places * channels in] to [n, places kept * channels out]."""
        kept = self._kept(x) @ self.weight
        kept += self.bias
        np.maximum(kept, 0, out=kept)
        return kept.reshape(len(x), -1)

    def _kept(self, x: Floats) -> Floats:
        """What each place that is kept sees, [n, places kept, taps * channels in]."""
        if self.places <= self.stride:
            return x[:, None]
        wide, each = x.shape[1], x.shape[1] // self.places
        padded = np.zeros((len(x), wide + 2 * each), np.float32)
        padded[:, each:-each] = x
        row, number = padded.strides
        shape = (len(x), self.places // self.stride, 3 * each)
        return as_strided(padded, shape, (row, self.stride * each * number, number))


class Network:
    """Magnitudes of a short-time Fourier transform, four convolutions, one LSTM, one output.

    Made of the parameters in `SHAPES`; others are a ValueError.
    """

    def __init__(self, parameters: Mapping[str, Floats]) -> None:
        if {name: value.shape for name, value in parameters.items()} != SHAPES:
            raise ValueError("other parameters than those of the network")
        p = {name: np.asarray(value, np.float32) for name, value in parameters.items()}
        if not np.allclose(p["stft_conv.weight"][:, 0], _waves(), atol=1e-6):
            raise ValueError("its first convolution is no Fourier transform under Hann's window")
        self._layers = [
            Convolution.of(p[f"conv{number}.weight"], p[f"conv{number}.bias"], places, stride)
            for number, places, stride in ((1, 4, 1), (2, 4, 2), (3, 2, 2), (4, 1, 1))
        ]
        # Three of the four gates are sigmoids, and sigmoid(x) is (tanh(x / 2) + 1) / 2.
        halves = np.repeat(np.array([0.5, 0.5, 1, 0.5], np.float32), _WIDTH)
        self._gates = p["lstm_cell.weight_ih"].T * halves
        self._gates_bias = (p["lstm_cell.bias_ih"] + p["lstm_cell.bias_hh"]) * halves
        self._recurrent = (p["lstm_cell.weight_hh"].T * halves).copy()
        self._output = p["final_conv.weight"][0, :, 0].astype(np.float64)
        self._output_bias = p["final_conv.bias"].astype(np.float64)

    def gates(self, frames: Floats) -> Floats:
        """[n, 640] samples to what each frame adds to the gates of the LSTM, [n, 512]."""
        x = _magnitudes(frames)
        for convolution in self._layers:
            x = convolution(x)
        return _each(x, self._gates) + self._gates_bias

    def remember(
        self, gates: Floats, counts: Sequence[int], memory: Floats
    ) -> tuple[Floats, Floats]:
        """LSTM over the streams that lie behind each other in `gates`, so many frames of each, the
        longest first: its outputs [n, 128], and the memory [streams, 256] after."""
        hidden, cell = memory[:, :_WIDTH].copy(), memory[:, _WIDTH:].copy()
        starts = np.array([*accumulate(counts, initial=0)][:-1])
        outputs = np.empty((len(gates), _WIDTH), np.float32)
        for step in range(counts[0]):
            n = sum(count > step for count in counts)
            rows = starts[:n] + step
            x = _each(hidden[:n], self._recurrent)
            x += gates[rows]
            np.tanh(x, out=x)
            let_in, keep, new, show = (x[:, i : i + _WIDTH] for i in range(0, x.shape[1], _WIDTH))
            now = cell[:n]
            now *= keep + 1
            now += (let_in + 1) * new
            now /= 2
            hidden[:n] = outputs[rows] = (show + 1) * np.tanh(now) / 2
        return outputs, np.concatenate([hidden, cell], axis=1)

    def probabilities(self, outputs: Floats) -> Floats:
        """[n, 128] to [n]; in float64, whose rounding does not show in the float32 returned."""
        x = np.maximum(outputs, 0).astype(np.float64) @ self._output + self._output_bias
        return (1 / (1 + np.exp(-x))).astype(np.float32)


class SileroVad:
    """`base.VoiceActivityDetector`; a state is [320]: LSTM output, LSTM cell, last samples."""

    frame = FRAME

    def __init__(self, network: Network) -> None:
        self._network = network

    @classmethod
    def load(cls, weights: Path) -> SileroVad:
        """Raises ModelError if the file holds something else."""
        try:
            return cls(Network(load_file(weights)))
        except (SafetensorError, ValueError) as error:
            raise ModelError(f"{weights} is not Silero VAD at 16 kHz: {error}") from error

    def initial(self) -> Floats:
        return np.zeros(_STATE, np.float32)

    def step(
        self, states: Sequence[Floats], audio: Sequence[Floats]
    ) -> tuple[list[Floats], list[Floats]]:
        """Raises ValueError for a piece that is not a whole number of frames.

        A stream whose piece is empty keeps its state and gets no probabilities.
        """
        if any(len(piece) % FRAME for piece in audio):
            raise ValueError(f"a piece of audio is not a whole number of {FRAME} samples")
        after = list(states)
        heard: list[Floats] = [np.zeros(0, np.float32) for _ in audio]
        active = [i for i, piece in enumerate(audio) if len(piece)]
        if active:
            active.sort(key=lambda i: -len(audio[i]))
            stepped = self._step([states[i] for i in active], [audio[i] for i in active])
            for i, state, probabilities in zip(active, *stepped, strict=True):
                after[i], heard[i] = state, probabilities
        return after, heard

    def _step(self, states: list[Floats], audio: list[Floats]) -> tuple[list[Floats], list[Floats]]:
        counts = [len(piece) // FRAME for piece in audio]
        memory = np.stack(states)[:, : 2 * _WIDTH]
        gates = self._network.gates(_rows(states, audio, counts))
        outputs, memory = self._network.remember(gates, counts, memory)
        ends = np.stack([piece[-_CONTEXT:] for piece in audio])
        after = np.concatenate([memory, ends], axis=1).astype(np.float32)
        probabilities = self._network.probabilities(outputs)
        return list(after), np.split(probabilities, [*accumulate(counts[:-1])])


def _rows(states: Sequence[Floats], audio: Sequence[Floats], counts: Sequence[int]) -> Floats:
    """What the transform sees of each frame, [n, 640]: the end of the frame before, the frame, and
    the mirror image of its end."""
    rows = np.empty((sum(counts), _SEEN + _CONTEXT), np.float32)
    first = 0
    for state, piece, count in zip(states, audio, counts, strict=True):
        frames, seen = piece.reshape(count, FRAME), rows[first : first + count]
        seen[0, :_CONTEXT] = state[-_CONTEXT:]
        seen[1:, :_CONTEXT] = frames[:-1, -_CONTEXT:]
        seen[:, _CONTEXT:_SEEN] = frames
        first += count
    rows[:, _SEEN:] = rows[:, _SEEN - 2 : _SEEN - 2 - _CONTEXT : -1]
    return rows


def _each(rows: Floats, matrix: Floats) -> Floats:
    """The product of each row [n, a] with [a, b], by itself: one for all would be rounded as the
    company has it."""
    products: Floats = (rows[:, None] @ matrix)[:, 0]
    return products


def _magnitudes(rows: Floats) -> Floats:
    """[n, 640] samples to [n, 4 * 129], of four windows each."""
    row, sample = rows.strides
    windows = as_strided(rows, (len(rows), _WINDOWS, _WINDOW), (row, _HOP * sample, sample))
    spectrum = np.fft.rfft(windows * _HANN)
    return np.abs(spectrum).reshape(len(rows), -1)


def _waves() -> Floats:
    """What a convolution [258, 256] that transforms windows has: cosines and, below them, sines."""
    transform = np.fft.rfft(np.eye(_WINDOW), axis=0) * _HANN
    return np.concatenate([transform.real, transform.imag])
