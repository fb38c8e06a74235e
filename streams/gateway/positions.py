"""A client's own count of its audio, and which results are news in it. Pure.

Clients of foreign protocols know no event time: they count the audio that they have sent. Event
time goes on where they pause, so a channel is a row of stretches, each of which begins at a
position of the client's and at an event time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from streams.gateway.problems import Kind, Problem
from streams.results import CaptionFinal, CaptionPartial, Gap, Result, Silence

STRETCHES: Final = 1000
"""Of one channel, as long as what was said in them is not known."""
BUSY_S: Final = 10.0
SLACK_MS: Final = 1
"""By how much a rounded time may miss the end of the audio."""

Piece = CaptionFinal | Silence | Gap
"""Final: pieces follow each other without a hole, and are the channel."""
News = CaptionPartial | Piece


@dataclass(slots=True)
class Timeline:
    """Audio of one channel: positions are ms of audio since its begin, times are event times."""

    position: float = 0.0
    _stretches: deque[tuple[int, float]] = field(default_factory=deque)

    @property
    def time(self) -> int:
        """Event time (ms) at which the audio ends; 0 before there is any."""
        if not self._stretches:
            return 0
        time, position = self._stretches[-1]
        return time + int(self.position - position)

    def begin(self, time: int) -> None:
        """The audio that comes now lies at this event time, which is no earlier than `time`. Raises
        Problem if too many stretches have no results yet."""
        if len(self._stretches) >= STRETCHES:
            raise Problem(
                Kind.TOO_SLOW,
                f"{STRETCHES} pieces of audio wait to be recognised: send more later",
                retry_after_s=BUSY_S,
            )
        self._stretches.append((time, self.position))

    def take(self, ms: float) -> None:
        """So much audio has come."""
        self.position += ms

    def place(self, time: int) -> float:
        """The position at an event time; what lies between two stretches is at their seam."""
        end = self.position
        for start, position in reversed(self._stretches):
            if time >= start:
                return min(position + time - start, end)
            end = position
        return end if self._stretches else 0.0

    def follows(self, time: int) -> int:
        """Where the audio goes on that comes after this event time: there, or after a hole."""
        for (start, position), (after, end) in pairwise(self._stretches):
            if time < after and time >= start + int(end - position) - SLACK_MS:
                return after
        return time

    def forget(self, before: int) -> None:
        """No earlier time than this will be asked for."""
        while len(self._stretches) > 1 and self._stretches[1][0] <= before:
            self._stretches.popleft()


@dataclass(slots=True)
class Spoken:
    """The results of one channel, each once, and those of one utterance after those of the other.

    Kafka may give a result twice. What is shown of an utterance may come before the end of the one
    before it: it is held back until then. `settled` is the event time (ms) up to which pieces have
    come.
    """

    timeline: Timeline
    settled: int = 0
    _shown: CaptionPartial | None = None
    _held: CaptionPartial | None = None

    def begin(self, time: int) -> None:
        """The audio that comes now lies at this event time; what ends before the first of it is not
        of this client."""
        self.timeline.begin(time)
        self.settled = self.settled or time

    @property
    def complete(self) -> bool:
        """Whether all audio so far is in pieces."""
        return self.settled >= self.timeline.time - SLACK_MS

    def hear(self, result: Result) -> list[News]:
        """What is new by this result, in the order in which it was said."""
        if isinstance(result, CaptionPartial):
            return self._partial(result)
        return self._piece(result) if isinstance(result, Piece) else []

    def _partial(self, partial: CaptionPartial) -> list[News]:
        if partial.start < self.settled or not _later(partial, self._shown):
            return []
        if partial.start > self.timeline.follows(self.settled) + SLACK_MS:
            self._held = partial if _later(partial, self._held) else self._held
            return []
        self._shown = partial
        return [partial]

    def _piece(self, piece: Piece) -> list[News]:
        if piece.end <= self.settled:
            return []
        self.settled, self._shown = piece.end, None
        held, self._held = self._held, None
        return [piece, *(self._partial(held) if held else [])]


def _later(one: CaptionPartial, other: CaptionPartial | None) -> bool:
    return other is None or (one.start, one.revision) > (other.start, other.revision)
