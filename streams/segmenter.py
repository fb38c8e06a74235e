"""Where utterances begin and end: a pure state machine per channel over voice activity.

Time here is a count of samples at 16 kHz since the channel's first. The machine cuts the channel
into segments, speech or silence, that follow each other without a gap. A segment depends on nothing
but the audio from its start on: after each cut the voice-activity detector starts afresh there. So
a replay that starts at a cut decides the same, however the audio is divided into chunks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]
Kind = Literal["speech", "silence"]

SAMPLE_RATE: Final = 16_000
FRAME: Final = 512


@dataclass(frozen=True, slots=True)
class Rules:
    """All lengths in frames of 32 ms.

    `onset` and `offset` are the probabilities at which speech begins and ends (hysteresis).
    `shortest`: speech frames below which a sound is no utterance; `pause`: silence that ends one;
    after `long` frames of an utterance a `breath` is enough; `lead`, `tail`: audio kept before and
    after the speech; `longest`: where an utterance is cut at the quietest point of its last
    `search` frames; `silence`: how long a silent segment may get.
    """

    onset: float = 0.5
    offset: float = 0.35
    shortest: int = 3
    pause: int = 16
    long: int = 94
    breath: int = 7
    lead: int = 8
    tail: int = 6
    longest: int = 469
    search: int = 156
    silence: int = 156


@dataclass(frozen=True, slots=True)
class Segment:
    """[start, end) in samples; speech carries its `audio`, silence does not."""

    kind: Kind
    start: int
    end: int
    audio: Pcm


@dataclass(slots=True)
class Segmenter:
    """One channel. Use: `push` audio; while `unscored` has frames, score them and `step`.

    When `step` cuts a segment, the remaining audio is unscored again, and the detector of the
    caller must start from its initial state.
    """

    rules: Rules = field(default_factory=Rules)
    start: int = 0
    _audio: Pcm = field(default_factory=lambda: np.zeros(0, np.int16))
    _forgotten: int = 0
    _scored: int = 0
    _first: int = -1
    _last: int = -1
    _voiced: int = 0

    @property
    def position(self) -> int:
        """The sample up to which audio was pushed."""
        return self.start + self._forgotten * FRAME + len(self._audio)

    @property
    def speaking(self) -> bool:
        """Whether an utterance is under way."""
        return self._kind == "speech"

    @property
    def candidate(self) -> int | None:
        """The sample at which the utterance under way ends if nothing more is said; None while the
        speaker has not paused for as long as the audio that is kept after speech."""
        if not self.speaking or self._scored - 1 - self._last < self.rules.tail:
            return None
        return self.start + (self._last + 1 + self.rules.tail) * FRAME

    @property
    def complete(self) -> int:
        """No speech segment that ends before this sample will be cut any more.

        A sound that is too short yet to be speech may be heard anew, from a cut before it; what
        is flushed ends where the audio does. Holds where `shortest + tail >= lead`.
        """
        rules, frames = self.rules, self._scored
        if self._first >= 0:
            sure = self._last + 1 + rules.tail if self._kind == "speech" else self._first
            frames = min(frames, sure, rules.longest - rules.search)
        return self.start + frames * FRAME

    def push(self, audio: Pcm) -> None:
        """Appends audio [n]."""
        self._audio = np.concatenate([self._audio, audio])

    def unscored(self) -> Pcm:
        """The whole frames that have no probability yet, [n * 512]."""
        end = len(self._audio) - len(self._audio) % FRAME
        return self._audio[(self._scored - self._forgotten) * FRAME : end]

    def heard(self, until: int | None = None) -> Pcm:
        """The audio of the segment under way, up to a sample or all of it."""
        return self._audio if until is None else self._audio[: until - self.start]

    def step(self, probabilities: Floats) -> Segment | None:
        """Takes the probabilities of `unscored` frames, [n]; stops at the first cut."""
        for probability in probabilities:
            self._hear(float(probability))
            if (cut := self._cut()) is not None:
                return cut
        self._forget()
        return None

    def flush(self) -> list[Segment]:
        """Everything that is left, as one segment; for the end of a session or before a gap."""
        if self.position == self.start:
            return []
        return [self._emit(self._kind, self.position - self.start)]

    @property
    def _kind(self) -> Kind:
        return "speech" if self._voiced >= self.rules.shortest else "silence"

    def _hear(self, probability: float) -> None:
        frame, self._scored = self._scored, self._scored + 1
        speaking = self._first >= 0
        if probability >= self.rules.onset:
            self._first = self._first if speaking else frame
            self._voiced += 1
        if speaking and probability < self.rules.offset:
            return
        if speaking or probability >= self.rules.onset:
            self._last = frame

    def _cut(self) -> Segment | None:
        rules, now = self.rules, self._scored
        if self._first < 0:
            return self._emit("silence", now * FRAME) if now >= rules.silence else None
        if self._first - rules.lead >= rules.pause and self._kind == "speech":
            return self._emit("silence", (self._first - rules.lead) * FRAME)
        if now - 1 - self._last >= (rules.pause if now < rules.long else rules.breath):
            return self._emit(self._kind, (self._last + 1 + rules.tail) * FRAME)
        return self._emit(self._kind, self._quietest() * FRAME) if now >= rules.longest else None

    def _quietest(self) -> int:
        """The frame in the last `search` ones around which the least energy lies."""
        first = self.rules.longest - self.rules.search
        gone = self._forgotten
        frames = self._audio[(first - gone) * FRAME : (self.rules.longest - gone) * FRAME]
        energy = np.square(frames.astype(np.float32)).reshape(-1, FRAME).mean(axis=1)
        return first + int(np.argmin(np.convolve(energy, np.ones(3), mode="same")[1:-1])) + 1

    def _emit(self, kind: Kind, length: int) -> Segment:
        audio = self._audio[:length] if kind == "speech" else self._audio[:0]
        segment = Segment(kind, self.start, self.start + length, audio)
        self._audio = self._audio[length - self._forgotten * FRAME :].copy()
        self.start, self._forgotten = self.start + length, 0
        self._scored, self._first, self._last, self._voiced = 0, -1, -1, 0
        return segment

    def _forget(self) -> None:
        """Drops the audio of a silence, but for what an utterance may begin with."""
        keep = max(0, self._scored - self.rules.lead)
        if self._first < 0 and keep > max(self.rules.pause, self._forgotten + self.rules.lead):
            self._audio = self._audio[(keep - self._forgotten) * FRAME :].copy()
            self._forgotten = keep
