"""Silero voice activity detection at 16 kHz as an explicit state machine, batched over streams.

The published weights in a torch module of our own: the convolutions see all frames of all streams
at once and only the LSTM goes frame by frame, inside one call.

Silero VAD, version 6: github.com/snakers4/silero-vad.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from models.base import Floats, ModelError

FRAME = 512
"""Samples per probability: 32 ms."""
_CONTEXT = 64
_WIDTH = 128
_BINS = 129
_STATE = 2 * _WIDTH + _CONTEXT


class Network(nn.Module):
    """Magnitudes of a short-time Fourier transform, four convolutions, one LSTM, one output."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * _BINS, kernel_size=256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(_BINS, 128, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, kernel_size=3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, kernel_size=3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, _WIDTH, kernel_size=3, padding=1)
        self.lstm = nn.LSTM(_WIDTH, _WIDTH)
        self.final_conv = nn.Conv1d(_WIDTH, 1, kernel_size=1)

    def features(self, frames: Tensor) -> Tensor:
        """[n, 64 + 512] samples, each frame after the end of the one before, to [n, 128]."""
        padded = pad(frames, (0, _CONTEXT), mode="reflect")
        real, imaginary = torch.split(self.stft_conv(padded[:, None]), _BINS, dim=1)
        x = torch.sqrt(real**2 + imaginary**2)  # [n, 129, 4]
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = relu(convolution(x))
        return x[..., 0]

    def probabilities(self, hidden: Tensor) -> Tensor:
        """[n, 128] to [n]; in float64, whose rounding does not show in the float32 returned."""
        weight = self.get_parameter("final_conv.weight")[0, :, 0].double()
        bias = self.get_parameter("final_conv.bias").double()
        return torch.sigmoid(relu(hidden).double() @ weight + bias).float()


class SileroVad:
    """`base.VoiceActivityDetector`; a state is [320]: LSTM output, LSTM cell, last samples."""

    frame = FRAME

    def __init__(self, weights: Path) -> None:
        try:
            state = load_file(weights)
            self._network = Network().eval()
            self._network.load_state_dict(
                {
                    name.replace("lstm_cell.", "lstm.") + _suffix(name): w
                    for name, w in state.items()
                }
            )
        except (SafetensorError, RuntimeError) as error:
            raise ModelError(f"{weights} is not Silero VAD at 16 kHz: {error}") from error

    def initial(self) -> Floats:
        return np.zeros(_STATE, np.float32)

    @torch.inference_mode()
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
            stepped = self._step([states[i] for i in active], [audio[i] for i in active])
            for i, state, probabilities in zip(active, *stepped, strict=True):
                after[i], heard[i] = state, probabilities
        return after, heard

    def _step(self, states: list[Floats], audio: list[Floats]) -> tuple[list[Floats], list[Floats]]:
        framed = [_frames(state, piece) for state, piece in zip(states, audio, strict=True)]
        counts = [len(frames) for frames in framed]
        # One frame twice: what is alone in a batch is rounded otherwise than in company.
        seen = self._network.features(torch.cat([*framed, framed[0][:1]]))
        features = torch.split(seen[:-1], counts)
        memory = torch.from_numpy(np.stack(states))[:, : 2 * _WIDTH]
        hidden, memory = self._remember(features, memory)
        spoken = torch.split(self._network.probabilities(torch.cat(hidden)), counts)
        ends = np.stack([piece[-_CONTEXT:] for piece in audio])
        after = np.concatenate([memory.numpy(), ends], axis=1).astype(np.float32)
        return list(after), [probabilities.numpy() for probabilities in spoken]

    def _remember(self, features: Sequence[Tensor], memory: Tensor) -> tuple[list[Tensor], Tensor]:
        """LSTM over streams of different lengths: outputs of each, and the memory [n, 256] after.

        All run together to the end of the shortest, the rest to the end of the next, and so on.
        torch's packed sequences would do it in one call, but with the rounding of the batch.
        """
        outputs: list[list[Tensor]] = [[] for _ in features]
        memory = memory.clone()
        start = 0
        for end in sorted({len(stream) for stream in features}):
            rows = [i for i, stream in enumerate(features) if len(stream) >= end]
            company = [*rows, rows[0]]
            x = torch.stack([features[i][start:end] for i in company], dim=1)
            h, c = torch.split(memory[company][None], _WIDTH, dim=2)
            out, state = self._network.lstm(x, (h.contiguous(), c.contiguous()))
            memory[rows] = torch.cat(state, dim=2)[0, :-1]
            for row, i in enumerate(rows):
                outputs[i].append(out[:, row])
            start = end
        return [torch.cat(pieces) for pieces in outputs], memory


def _frames(state: Floats, piece: Floats) -> Tensor:
    samples = np.concatenate([state[-_CONTEXT:], piece]).astype(np.float32, copy=False)
    return torch.from_numpy(samples).unfold(0, _CONTEXT + FRAME, FRAME)


def _suffix(name: str) -> str:
    return "_l0" if name.startswith("lstm_cell.") else ""
