"""Where a line of audio is, so that one that broke off goes on without loss or repetition. Pure.

A *line* is the audio of one channel from a moment on, its `start`. It is cut into chunks at fixed
places, every `CHUNK_MS` of audio from the start, and counted from 0. Time is counted in samples, so
that a network that stalls leaves no gap. So a chunk is known by the line's start and its number:
what is sent again after a drop is cut at the same places, and is the same event with the same id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.media import RAW

CHUNK_MS: Final = 100
BEHIND_MS: Final = 5000
"""How far a line may fall behind the time of day beyond what it was already."""
SETTLE_MS: Final = 3000
"""For so long it must stay there before that counts as a pause: what a stall of the network held
back comes faster than it was spoken."""


class Chunk(NamedTuple):
    """A chunk of a line: its number, its span in ms after the line's start, its bytes. Without any
    it is a cut: what was said so far is an utterance."""

    sequence: int
    begin_ms: int
    end_ms: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Format:
    """How the samples of one channel are written: `kind` is `audio/L16` (little-endian),
    `audio/PCMU` or `audio/PCMA`, `rate` is in Hz."""

    kind: str = "audio/L16"
    rate: int = 16_000

    @property
    def content_type(self) -> str:
        """Of a chunk."""
        return f"{self.kind};rate={self.rate}"

    @property
    def width(self) -> int:
        """Bytes of a sample."""
        return RAW[self.kind.lower()][0]


PCM: Final = Format()
"""What recognisers hear."""


@dataclass(slots=True)
class Cutter:
    """Cuts the bytes of one line, of which the chunk `sequence` comes first. What is not a whole
    chunk waits for the rest of it. Raises ValueError where a chunk would be no whole samples."""

    format: Format = PCM
    sequence: int = 0
    _taken: int = field(init=False)
    _rest: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        if self.format.rate * CHUNK_MS % 1000:
            raise ValueError("the sampling rate must be a multiple of 10 Hz")
        self._taken = self.sequence * self.size

    @property
    def size(self) -> int:
        """Bytes of a whole chunk."""
        return self.format.rate * CHUNK_MS // 1000 * self.format.width

    @property
    def position_ms(self) -> int:
        """How much audio of the line was taken, the unfinished chunk included."""
        return self._ms(self._taken + len(self._rest))

    def push(self, data: bytes) -> list[Chunk]:
        """Takes more; the chunks that are whole now."""
        self._rest += data
        whole = len(self._rest) // self.size * self.size
        ready = bytes(self._rest[:whole])
        del self._rest[:whole]
        return [self._cut(ready[at : at + self.size]) for at in range(0, whole, self.size)]

    def flush(self) -> list[Chunk]:
        """What is left at the end, as a chunk that is shorter. A line that goes on after it is no
        longer cut at the fixed places."""
        rest = self.take()
        return [self._cut(rest)] if rest else []

    def cut(self) -> list[Chunk]:
        """What is left, and a cut after it."""
        return [*self.flush(), self._cut(b"")]

    def take(self) -> bytes:
        """What is no whole chunk; it goes elsewhere."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest

    def _cut(self, data: bytes) -> Chunk:
        begin, self._taken = self._taken, self._taken + len(data)
        self.sequence += 1
        return Chunk(self.sequence - 1, self._ms(begin), self._ms(self._taken), data)

    def _ms(self, size: int) -> int:
        return size * 1000 // (self.format.rate * self.format.width)


@dataclass(slots=True)
class Pace:
    """Notices when a line has paused: a browser's recorder that was stopped for a while goes on in
    the middle of its stream, and its samples do not tell how long that was.

    Compared is how far the audio is behind the time of day. What it is behind at best belongs to
    the line: a recording of yesterday is a day behind from the beginning.
    """

    _best: int | None = None
    _since: tuple[int, int] | None = None

    def lost(self, now: int, time: int) -> int:
        """By how much (ms) the line, whose audio reaches event time `time` (ms) at `now`, has
        fallen behind for good; 0: it has not."""
        behind = now - time
        self._best = behind if self._best is None else min(self._best, behind)
        lost = behind - self._best
        if lost <= BEHIND_MS:
            self._since = None
        elif self._since is None or self._catches_up(now, behind):
            self._since = (now, behind)
        elif now - self._since[0] >= SETTLE_MS:
            self._since = None
            return lost
        return 0

    def _catches_up(self, now: int, behind: int) -> bool:
        assert self._since is not None  # noqa: S101  (who calls has looked)
        since, was = self._since
        return was - behind > (now - since) // 4 + CHUNK_MS
