"""The caption state machine of one channel: chunks in, pieces of accounted audio out. Pure.

Chunks may come out of order, twice, or not at all. They are put in order within the allowed
lateness, cut into segments by voice activity (`streams.segmenter`), and leave as `Piece`s, speech,
silence or gap, which follow each other without a hole: together they are the channel. What a piece
is depends on the log alone, and `Track.mark` says where to go on after a restart so that the same
pieces come again.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np

from streams.segmenter import FRAME, SAMPLE_RATE, Floats, Pcm, Rules, Segment, Segmenter

JITTER_MS: Final = 250
"""How far a chunk's time stamp may be off from the end of the one before; beyond it, it counts."""
SLACK_MS: Final = 5
"""The same where sequence numbers say that a chunk is missing."""
REPEATS: Final = 128
"""Chunks of a channel, beyond those being heard, that are known should they be sent again."""
LISTEN: Final = 6 * FRAME
"""Samples that the voice-activity detector is told of at a time, at least: a call of it costs more
than some samples."""
PER_MS: Final = SAMPLE_RATE // 1000
NOTHING: Final = np.zeros(0, np.int16)

Kind = Literal["speech", "silence", "gap"]


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """A chunk of one channel: `audio` [n] at 16 kHz from `time` (ms) on.

    `sequence` counts the channel's chunks one by one, if the producer does; `offset` and `stamp`
    are the record's in the log; `skip` samples before these were done before a restart, or if it
    is negative, so many are lost before these; `source` is the caller's own, and `trace` its trace.
    A `cut` has no audio, and ends the piece that is under way.
    """

    id: str
    time: int
    audio: Pcm
    offset: int = 0
    stamp: int = 0
    sequence: int | None = None
    skip: int = 0
    source: object = None
    cut: bool = False
    trace: str = ""

    @property
    def end(self) -> int:
        return self.time + len(self.audio) // PER_MS


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A chunk where it lies in its channel, [start, end) in samples, without its audio; of what
    comes before it, `lost` samples are concealed; negative: so many of its own were there already.
    When it was put in order, the channel knew the records up to `known`.
    """

    id: str
    start: int
    end: int
    offset: int
    stamp: int
    sequence: int | None
    source: object
    known: int
    lost: int = 0
    trace: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """[start, end) in ms of the channel; `reason` says why it is a gap. `until` is the sample at
    which it ends; `lost_ms` of it never came and are silence in its `audio`; `begins` is the chunk
    in which it begins."""

    kind: Kind
    start: int
    end: int
    until: int
    audio: Pcm
    lost_ms: int = 0
    begins: Part | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a channel goes on after a restart: with the record at `offset`, at event time `time`,
    `skip` samples into the chunk `first`; negative: before it, in what was lost. Anew: at the time
    of the next chunk, if that is later. Nothing is put in order before the record `known` has come
    again: what waits is put in order by its time, and what does not as it comes.
    `sequence` and `recent` are those of the chunks that were done."""

    offset: int
    time: int
    first: str = ""
    skip: int = 0
    anew: bool = False
    sequence: int | None = None
    recent: Sequence[str] = ()
    known: int = -1


class Late(Exception):  # noqa: N818  (an answer, not a fault)
    """The channel is beyond this chunk, by so many ms."""

    def __init__(self, chunk: Chunk, ms: int) -> None:
        super().__init__(f"the channel is {ms} ms beyond the start of this chunk")
        self.chunk = chunk


@dataclass(slots=True)
class Track:
    """One channel. Use: `offer` a chunk; while `advance` gives audio, let the voice-activity
    detector score it and `hear` that; take `pieces` whenever some are there, and `settle` each when
    it was delivered, in order. What is `late`, or `spent` (cuts where nothing was under way), is
    done.

    `ear` is the state of the detector, None where it starts afresh, as it does with every piece.
    Samples are counted through; a stretch of them that begins at a whole ms is anchored there.
    """

    lateness_ms: int
    rules: Rules = field(default_factory=Rules)
    resume: Mark | None = None
    pieces: deque[Piece] = field(default_factory=deque)
    late: list[Late] = field(default_factory=list)
    spent: list[Chunk] = field(default_factory=list)
    ear: Floats | None = None
    segmenter: Segmenter = field(init=False)
    held: list[Chunk] = field(default_factory=list)
    _parts: deque[Part] = field(default_factory=deque)
    _recent: deque[str] = field(default_factory=lambda: deque(maxlen=REPEATS))
    _lost: list[tuple[int, int]] = field(default_factory=list)
    _anchor: tuple[int, int] | None = None
    _newest: int = 0
    _known: int = -1
    _sequence: int | None = None
    _settled: tuple[int, int, int | None] | None = None

    def __post_init__(self) -> None:
        self.segmenter = Segmenter(self.rules)
        if mark := self.resume:
            self._recent.extend(mark.recent)
            self._sequence = mark.sequence
            if not mark.anew:
                self._begin(mark.time)

    @property
    def now(self) -> int:
        """Event time (ms) at which the audio ends that was put in order."""
        if self._anchor is None:
            return self.resume.time if self.resume else 0
        return self.time(self.segmenter.position)

    def time(self, sample: int) -> int:
        """Event time (ms) of a sample of the stretch under way."""
        assert self._anchor is not None  # noqa: S101  (there is no audio before it is set)
        return self._anchor[1] + (sample - self._anchor[0]) // PER_MS

    @property
    def settled(self) -> int:
        """Event time (ms) up to which pieces were delivered."""
        return self._settled[1] if self._settled else self.now

    @property
    def complete(self) -> int:
        """Event time (ms) before which no speech ends that has not been delivered."""
        if self._anchor is not None:
            cut = self.time(self.segmenter.start)
            return self.settled if self.settled < cut else self.time(self.segmenter.complete)
        first = self.held[0].time - self.lateness_ms if self.held else 0
        return max(self.now, first)

    def offer(self, chunk: Chunk) -> bool:
        """Takes a chunk; False if it came before. Raises Late if the channel is beyond it."""
        self._known = max(self._known, chunk.offset)
        if chunk.id in {*self._recent, *(each.id for each in self.waiting)}:
            return False
        if self.resume and chunk.id == self.resume.first and self.resume.skip:
            skip = self.resume.skip
            rest = chunk.audio[max(0, skip) :]
            chunk = replace(chunk, time=self.resume.time, audio=rest, skip=skip)
        self._check(chunk)
        insort(self.held, chunk, key=self._order)
        self._newest = max(self._newest, chunk.end)
        return True

    def _order(self, chunk: Chunk) -> tuple[bool, int, int]:
        goes_on = self.resume is not None and chunk.id == self.resume.first
        return not goes_on, chunk.time, chunk.sequence or 0

    def advance(self, *, flush: bool = False) -> Pcm | None:
        """Puts chunks in order until there is audio to be scored, [n * 512]; None: nothing is to be
        done until the next chunk comes. Flush: what is missing will not come."""
        while True:
            frames = self.segmenter.unscored()
            if len(frames) >= LISTEN or (len(frames) and self._at_seam(flush)):
                return frames
            if not self._ready(flush):
                return frames if flush and len(frames) else None
            chunk = self.held.pop(0)
            try:
                self._check(chunk)
                self._place(chunk)
            except Late as late:
                self.late.append(late)

    def hear(self, probabilities: Floats, ear: Floats) -> None:
        """Takes the probabilities of what `advance` gave, [n], and the detector's state after."""
        self.ear = ear
        if segment := self.segmenter.step(probabilities):
            self._emit(segment)

    def give_up(self, reason: str) -> None:
        """Makes a gap of the segment under way; what comes then begins at a whole ms."""
        for segment in self.segmenter.flush():
            self._emit(segment, reason)
        self._begin(self.now)

    def flush(self) -> None:
        """Ends the segment under way, where the audio ends."""
        for segment in self.segmenter.flush():
            self._emit(segment)

    def settle(self, piece: Piece) -> list[Part]:
        """The chunks that are done once this piece, the oldest, was delivered."""
        done = []
        while self._parts and self._parts[0].end <= piece.until:
            done.append(self._parts.popleft())
        self._recent.extend(part.id for part in done)
        before = self._settled[2] if self._settled else None
        self._settled = (piece.until, piece.end, done[-1].sequence if done else before)
        return done

    def parts(self, piece: Piece) -> list[Part]:
        """The chunks that a piece is made of, as long as it has not been settled."""
        start = piece.until - len(piece.audio)
        return [part for part in self._parts if part.end > start and part.start < piece.until]

    def mark(self, otherwise: int, *, anew: bool = False) -> Mark:
        """Where a restart goes on; at the offset `otherwise` if no chunk waits here. A channel that
        has not begun yet begins anew."""
        until, time, sequence = self._settled or (0, self.now, self._sequence)
        offsets = [each.offset for each in self.waiting]
        first, skip = "", 0
        if self._parts:
            first = self._parts[0].id
            skip = max(-self._parts[0].lost, until - self._parts[0].start)
        elif self.resume and self.resume.first not in self._recent:
            first, skip = self.resume.first, self.resume.skip
        offset, anew = min(offsets, default=otherwise), anew or self._anchor is None
        known = self._parts[0].known if self._parts else max(self._known, self._wanted)
        return Mark(offset, time, first, skip, anew, sequence, tuple(self._recent), known)

    @property
    def waiting(self) -> list[Part | Chunk]:
        """The chunks that are not done."""
        return [*self._parts, *self.held, *(each.chunk for each in self.late)]

    @property
    def begins(self) -> Part | None:
        """The chunk in which the segment under way begins, None as long as that has not come."""
        return self._at(self.segmenter.start)

    def _at(self, sample: int) -> Part | None:
        return next((part for part in self._parts if part.end > sample), None)

    def _check(self, chunk: Chunk) -> None:
        early = self.now - chunk.time
        passed = None not in (chunk.sequence, self._sequence) and (
            (chunk.sequence or 0) <= (self._sequence or 0)
        )
        heard = chunk.end <= self.now
        if self._began and (heard + passed + (early > JITTER_MS)) >= 2:
            raise Late(chunk, early)

    @property
    def _began(self) -> bool:
        return self._anchor is not None or self.resume is not None

    @property
    def _wanted(self) -> int:
        """Up to here the log was known where this goes on."""
        return self.resume.known if self.resume else -1

    def _ready(self, flush: bool) -> bool:
        """Whether the next chunk is there, or not to be waited for any longer."""
        if not self.held or (self._known < self._wanted and not flush):
            return False
        chunk = self.held[0]
        waited = flush or self._newest - chunk.time >= self.lateness_ms
        follows = self._sequence is not None and chunk.sequence == self._sequence + 1
        return waited or follows or not self._missing(chunk)

    def _at_seam(self, flush: bool) -> bool:
        """Whether the piece under way ends before the next chunk."""
        if not self._ready(flush):
            return False
        chunk = self.held[0]
        return chunk.cut or self._missing(chunk) > JITTER_MS

    def _missing(self, chunk: Chunk) -> int:
        """Milliseconds that seem to be missing before a chunk."""
        if self._anchor is None:  # where a channel begins, an earlier chunk may yet come
            return int(bool(chunk.sequence))
        ahead = chunk.time - self.now
        jumped = (chunk.sequence or 0) > (self._sequence or 0) + 1
        return ahead if ahead > (SLACK_MS if jumped else JITTER_MS) else 0

    def _place(self, chunk: Chunk) -> None:
        if chunk.cut:
            self._cut(chunk)
            return
        missing, lost = self._missing(chunk), max(0, -chunk.skip)
        if self._anchor is None:
            self._begin(max(chunk.time, self.resume.time) if self.resume else chunk.time)
        elif missing > JITTER_MS:
            self._skip(chunk.time)
        elif missing:
            there = self._anchor[0] + (chunk.time - self._anchor[1]) * PER_MS
            lost = there - self.segmenter.position
        self._conceal(lost)
        early = max(0, self.now - chunk.time)
        if early > JITTER_MS:
            lost = -min(early * PER_MS, len(chunk.audio))
        self.segmenter.push(chunk.audio[max(0, -lost) :])
        end, self._sequence = self.segmenter.position, chunk.sequence
        start = end - len(chunk.audio) - max(0, chunk.skip)
        self._put(chunk, start, end, lost)

    def _cut(self, cut: Chunk) -> None:
        """Ends the piece under way; as after a restart, what comes then begins at a whole ms."""
        end = self.segmenter.position
        if self.segmenter.start == end:  # nothing is to be known of it, but that it came
            self.spent.append(cut)
            self._recent.append(cut.id)
            return
        self.flush()
        if self._sequence is not None and cut.sequence == self._sequence + 1:
            self._sequence = cut.sequence  # else the next chunk shows that something is missing
        self._put(cut, end, end)
        self._begin(self.now)

    def _put(self, chunk: Chunk, start: int, end: int, lost: int = 0) -> None:
        where = (start, end, chunk.offset, chunk.stamp)
        known = (self._known, lost, chunk.trace)
        self._parts.append(Part(chunk.id, *where, self._sequence, chunk.source, *known))

    def _begin(self, time: int) -> None:
        start = -(-self.segmenter.position // PER_MS) * PER_MS
        self._anchor = (start, time)
        self.segmenter, self.ear = Segmenter(self.rules, start=start), None
        self._settled = self._settled or (start, time, self._sequence)

    def _skip(self, time: int) -> None:
        """A gap up to `time`."""
        self.flush()
        start = self.now
        self._begin(time)
        until = self.segmenter.start
        self.pieces.append(Piece("gap", start, time, until, NOTHING, reason="no-audio"))

    def _conceal(self, samples: int) -> None:
        """Silence for the little that is missing: a lost packet is to cut no word in two."""
        if samples:
            position = self.segmenter.position
            self.segmenter.push(np.zeros(samples, np.int16))
            self._lost.append((position, position + samples))

    def _emit(self, segment: Segment, reason: str = "") -> None:
        self.ear = None
        piece = Piece(
            "gap" if reason else segment.kind,
            self.time(segment.start),
            self.time(segment.end),
            segment.end,
            segment.audio,
            self._lost_ms(segment),
            self._at(segment.start),
            reason,
        )
        self.pieces.append(piece)

    def _lost_ms(self, segment: Segment) -> int:
        lost = (min(b, segment.end) - max(a, segment.start) for a, b in self._lost)
        milliseconds = sum(max(0, samples) for samples in lost) // PER_MS
        self._lost = [(a, b) for a, b in self._lost if b > segment.end]
        return milliseconds
