"""Audio files as the chunks that a live call would have sent, read block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from streams.errors import UserError
from streams.events import EventType
from streams.media import SAMPLE_RATE, Limits, Pcm, resample
from streams.replay import Moment

LIMITS: Final = Limits()
RATES: Final = range(1_000, 192_001)
"""Hz; a header may name any, and the filter to resample by grows with it, or with its inverse."""
TRACKS: Final = 64

Block = npt.NDArray[np.float32]


class RecordingError(UserError):
    """The file is no readable audio; the message names it."""


@dataclass(frozen=True, slots=True)
class Recording:
    """An audio file: its sampling rate (Hz), how long it says it is, and its channels' names; a
    lone one has none. One name for a file of several tracks means their mean."""

    path: Path
    rate: int
    seconds: float
    channels: tuple[str, ...]

    @classmethod
    def of(cls, path: Path, *, mono: bool = False) -> Recording:
        """Reads the header alone. Raises RecordingError."""
        import soundfile  # noqa: PLC0415

        try:
            with path.open("rb"):  # whose errors say more than libsndfile's
                info = soundfile.info(path)
        except (OSError, soundfile.SoundFileError) as error:
            raise _unreadable(path, error) from error
        if info.samplerate not in RATES or info.channels > TRACKS:
            found = f"{info.channels} tracks at {info.samplerate} Hz"
            raise RecordingError(f"cannot read {path}: {found}")
        tracks = 1 if mono else info.channels
        names = ("",) if tracks == 1 else tuple(f"track-{n + 1}" for n in range(tracks))
        return cls(path, info.samplerate, info.duration, names)

    def moments(self, chunk_s: float, *, silent_s: float = 0.0) -> Iterator[Moment]:
        """Chunks of about `chunk_s` of every channel, in order; then `silent_s` of zeros.

        A chunk is a whole number of samples at 16 kHz, too, so that resampling each on its own
        neither stretches nor shortens the channel. Raises RecordingError where the file is broken.
        """
        step = self.rate // math.gcd(self.rate, SAMPLE_RATE)
        size = max(1, round(chunk_s * self.rate / step)) * step
        first = 0
        for block in chain(self._blocks(size), self._silence(size, round(silent_s * self.rate))):
            end = first + len(block)
            for name, samples in zip(self.channels, _pcm(block).T, strict=True):
                yield self._moment(name, samples, first, end)
            first = end

    def whole(self) -> Block:
        """All of a file of one channel, [n] in [-1, 1] at 16 kHz. Raises RecordingError."""
        blocks = [np.zeros((0, 1), np.float32), *self._blocks(self.rate)]
        samples = resample(_pcm(np.concatenate(blocks)).T, self.rate)[0]
        audio: Block = samples.astype(np.float32) / np.float32(32768)
        return audio

    @property
    def _sent_rate(self) -> int:
        usual = LIMITS.lowest_rate <= self.rate <= LIMITS.highest_rate
        return self.rate if usual else SAMPLE_RATE

    def _moment(self, channel: str, samples: Pcm, first: int, end: int) -> Moment:
        if self._sent_rate != self.rate:
            samples = resample(samples[None], self.rate)[0]
        return Moment(
            at=end / self.rate,
            topic="audio",
            type=EventType.AUDIO_CHUNK,
            start=first / self.rate,
            channel=channel,
            content_type=f"audio/L16;rate={self._sent_rate}",
            data=samples.astype("<i2").tobytes(),
        )

    def _blocks(self, size: int) -> Iterator[Block]:
        import soundfile  # noqa: PLC0415

        try:
            with soundfile.SoundFile(self.path) as file:
                # all frames are asked for: of what libsndfile cannot seek in, it must be told
                for block in file.blocks(size, 0, file.frames, "float32", always_2d=True):
                    together = len(self.channels) < file.channels
                    yield block.mean(axis=1, keepdims=True) if together else block
        except (OSError, soundfile.SoundFileError) as error:
            raise _unreadable(self.path, error) from error

    def _silence(self, size: int, samples: int) -> Iterator[Block]:
        for first in range(0, samples, size):
            yield np.zeros((min(size, samples - first), len(self.channels)), np.float32)


def _pcm(block: Block) -> Pcm:
    """[n, channels] in [-1, 1] to int16, clipped; what is no number is silence."""
    return np.clip(np.rint(np.nan_to_num(block) * 32768), -32768, 32767).astype(np.int16)


def _unreadable(path: Path, error: Exception) -> RecordingError:
    why = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
    return RecordingError(f"cannot read {path}: {why}")
