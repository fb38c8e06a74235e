"""A channel's pieces, whatever happens to its chunks on their way, and after any restart.

Together the pieces are the channel: no millisecond is told twice, none is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.captions import JITTER_MS, NOTHING, PER_MS, Chunk, Late, Mark, Piece, Track
from streams.segmenter import FRAME, Floats, Pcm
from tests.property.test_segmenter import SMALL

T0 = 1_700_000_000_000
LATENESS_MS = 1000
DEAF = np.zeros(2, np.float32)

Log = Sequence[Chunk | None]
"""Chunks as they arrive; None: the channel fell idle."""
Told = tuple[str, int, int, bytes, int, str, int | None]


class Packet(Chunk):
    """A chunk whose audio is not printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{self.id} [{self.time - T0}, {self.end - T0}) #{self.sequence} @{self.offset}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ANN401  (Hypothesis asks)
        printer.text(repr(self))


@dataclass
class Listener:
    """What a caller does with a track, with a detector that hears something else after each cut."""

    track: Track
    pieces: list[Piece] = field(default_factory=list)
    late: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    settled: int = 0
    promises: list[tuple[int, int]] = field(default_factory=list)
    """(how many pieces were delivered, what the track calls complete), at every step."""

    def hear(self, log: Log) -> None:
        for offset, chunk in enumerate(log):
            self.take(chunk, offset)

    def take(self, chunk: Chunk | None, offset: int) -> None:
        if chunk is None:
            self.idle(offset)
            return
        try:
            self.track.offer(chunk)
        except Late as late:
            self.late.add(late.chunk.id)
        self._advance()

    def idle(self, offset: int) -> None:
        """The channel ends where it is, and begins anew with what comes next."""
        self.end()
        self.settle(len(self.pieces))
        mark = self.track.mark(offset, anew=True)
        self.track = Track(LATENESS_MS, self.track.rules, resume=mark)

    def end(self) -> None:
        self._advance(flush=True)
        self.track.flush()
        self._take_pieces()

    def settle(self, count: int) -> None:
        """Up to the piece of this number, all were delivered."""
        for piece in self.pieces[self.settled : count]:
            self.done |= {part.id for part in self.track.settle(piece)}
        self.settled = max(self.settled, count)

    def _advance(self, *, flush: bool = False) -> None:
        while (frames := self.track.advance(flush=flush)) is not None:
            self.promises.append((self.settled, self.track.complete))
            self.track.hear(*detect(frames, DEAF if self.track.ear is None else self.track.ear))
            self._take_pieces()
        self._take_pieces()
        self.promises.append((self.settled, self.track.complete))

    def _take_pieces(self) -> None:
        self.late |= {late.chunk.id for late in self.track.late}
        self.done |= {cut.id for cut in self.track.spent}
        self.track.late.clear()
        self.track.spent.clear()
        self.pieces += self.track.pieces
        self.track.pieces.clear()


def detect(frames: Pcm, ear: Floats) -> tuple[Floats, Floats]:
    """Loudness with a memory of a second, and a mood that depends on how long it has listened."""
    level, count = map(float, ear)
    heard = []
    for frame in frames.reshape(-1, FRAME):
        loudness = min(1.0, float(np.abs(frame.astype(np.int32)).mean()) / 4500)
        level, count = 0.9 * level + 0.1 * loudness, count + 1
        heard.append(0.6 * loudness + 0.3 * level + (0.1 if count % 5 == 0 else 0.0))
    return np.array(heard, np.float32), np.array([level, count], np.float32)


def listen(log: Log, resume: Mark | None = None) -> Listener:
    listener = Listener(Track(LATENESS_MS, SMALL, resume=resume))
    listener.hear(log)
    listener.end()
    return listener


def told(pieces: Iterable[Piece], *, origins: bool = False) -> list[Told]:
    """All that a piece says; with `origins`, the offset of the record in which it begins, too."""
    return [
        (
            each.kind,
            each.start,
            each.end,
            each.audio.tobytes(),
            each.lost_ms,
            each.reason,
            each.begins.offset if origins and each.begins else None,
        )
        for each in pieces
    ]


lengths = st.sampled_from([20, 20, 60, 100, 160, 250, 400, 1000, 2000])
"""Of chunks, in ms."""


@st.composite
def recordings(draw: st.DrawFn) -> Pcm:
    """Up to five seconds of noise, whose loudness changes from piece to piece."""
    pieces = draw(
        st.lists(
            st.tuples(st.sampled_from([0, 60, 3000, 9000, 20000]), st.integers(PER_MS, 12_000)),
            min_size=1,
            max_size=9,
        )
    )
    noise = np.random.default_rng(draw(st.integers(0, 99)))
    parts = [noise.integers(-top, top + 1, length) for top, length in pieces]
    return np.concatenate(parts).astype(np.int16)


@st.composite
def chunked(draw: st.DrawFn, *, odd: bool = True, cuts: bool = False) -> list[Chunk]:
    """A recording in chunks with numbers and exact times, and cuts; odd: of no whole number of
    ms."""
    audio = draw(recordings())
    audio = audio if odd else audio[: len(audio) // PER_MS * PER_MS]
    chunks: list[Chunk] = []
    start = 0
    while start < len(audio):
        length = PER_MS * draw(lengths) + (draw(st.integers(0, PER_MS - 1)) if odd else 0)
        part = audio[start : start + length]
        number = len(chunks) + 1
        chunks.append(Packet(f"c{number}", T0 + start // PER_MS, part, sequence=number))
        start += length
        rest = len(audio) - start
        if cuts and (rest <= 0 or rest >= PER_MS) and draw(st.integers(0, 4)) == 0:
            time, number = min(len(audio), start) // PER_MS, number + 1
            chunks.append(Packet(f"c{number}", T0 + time, NOTHING, sequence=number, cut=True))
    return chunks


def lossy(chunks: Sequence[Chunk]) -> st.SearchStrategy[list[Chunk]]:
    """At least one of the chunks that have audio, each with even chances."""
    some = st.lists(st.booleans(), min_size=len(chunks), max_size=len(chunks))
    return some.map(lambda kept: [c for c, keep in zip(chunks, kept, strict=True) if keep]).map(
        lambda left: left if any(len(each.audio) for each in left) else [chunks[0], *left]
    )


@st.composite
def delayed(draw: st.DrawFn, chunks: Sequence[Chunk], most: int = 0) -> list[Chunk]:
    """The chunks as they arrive: each when it ends, and up to `most` ms later, or as many as leave
    it within the lateness."""

    def arrival(chunk: Chunk) -> tuple[int, int]:
        room = most or max(0, LATENESS_MS - 2 - (len(chunk.audio) // PER_MS))
        return chunk.end + draw(st.integers(0, room)), chunk.time

    return numbered(sorted(chunks, key=arrival))


@st.composite
def arriving(draw: st.DrawFn, *, odd: bool = True, most: int = 0) -> list[Chunk]:
    """A log with losses: chunks that are delayed, or chunks and cuts that are not."""
    cuts = draw(st.booleans())
    chunks = draw(chunked(odd=odd, cuts=cuts).flatmap(lossy))
    return numbered(chunks) if cuts else draw(delayed(chunks, most))


def number_of(chunk: Chunk) -> int:
    return chunk.sequence or 0


def numbered(log: Sequence[Chunk]) -> list[Chunk]:
    """As the log numbers them."""
    return [replace(chunk, offset=offset) for offset, chunk in enumerate(log)]


@settings(max_examples=150)
@given(st.data())
def test_order_within_the_lateness_does_not_matter(data: st.DataObject) -> None:
    chunks = data.draw(chunked().flatmap(lossy))
    shuffled = listen(data.draw(delayed(chunks)))
    assert told(shuffled.pieces) == told(listen(chunks).pieces)
    assert not shuffled.late


@settings(max_examples=150)
@given(st.data())
def test_what_is_told_late_was_lost_and_changes_nothing_else(data: st.DataObject) -> None:
    chunks = data.draw(chunked().flatmap(lossy))
    shuffled = listen(data.draw(delayed(chunks, most=4000)))
    in_time = [chunk for chunk in chunks if chunk.id not in shuffled.late]
    assert told(shuffled.pieces) == told(listen(in_time).pieces)


@settings(max_examples=150)
@given(st.data())
def test_repeats_change_nothing(data: st.DataObject) -> None:
    log = data.draw(delayed(data.draw(chunked().flatmap(lossy))))
    calm = listen(log)
    repeats = data.draw(st.lists(st.tuples(*[st.integers(0, len(log) - 1)] * 2), max_size=5))
    repeated: list[Chunk] = list(log)
    for first, again in repeats:
        repeated.insert(max(first, again) + 1, log[min(first, again)])
    listener = listen(repeated)
    assert told(listener.pieces) == told(calm.pieces)


@settings(max_examples=200)
@given(st.data())
def test_the_pieces_are_the_channel(data: st.DataObject) -> None:
    """Without hole or overlap; what was lost is in them as it is called: a gap, or concealed."""
    sent = data.draw(arriving(odd=False))
    listener = listen(sent)
    pieces = listener.pieces
    assert all(a.end == b.start and a.start < a.end for a, b in pairwise(pieces))
    chunks = sorted((chunk for chunk in sent if not chunk.cut), key=number_of)
    assert (pieces[0].start, pieces[-1].end) == (chunks[0].time, chunks[-1].end)
    lost = [(a.end, b.time) for a, b in pairwise(chunks) if b.time > a.end]
    gaps = [(each.start, each.end) for each in pieces if each.kind == "gap"]
    assert gaps == [(a, b) for a, b in lost if b - a > JITTER_MS]
    concealed = sum(each.lost_ms for each in pieces)
    assert concealed == sum(b - a for a, b in lost if b - a <= JITTER_MS)
    assert sound_of(pieces) == sound_of_chunks(chunks, pieces)
    listener.settle(len(pieces))
    assert listener.done == {chunk.id for chunk in sent}
    ends, last = {each.end for each in pieces}, chunks[-1].end
    heard = [b for a, b in pairwise(sent) if b.cut and not a.cut and a.end == b.time]
    assert all(cut.time in ends for cut in heard if cut.time <= last)


def sound_of(pieces: Sequence[Piece]) -> list[tuple[int, bytes]]:
    return [(each.start, each.audio.tobytes()) for each in pieces if each.kind == "speech"]


def sound_of_chunks(chunks: Sequence[Chunk], pieces: Sequence[Piece]) -> list[tuple[int, bytes]]:
    """What the chunks have where the pieces say that there is speech."""
    channel = np.zeros((chunks[-1].end - T0) * PER_MS, np.int16)
    for chunk in chunks:
        start = (chunk.time - T0) * PER_MS
        channel[start : start + len(chunk.audio)] = chunk.audio
    return [
        (each.start, channel[(each.start - T0) * PER_MS : (each.end - T0) * PER_MS].tobytes())
        for each in pieces
        if each.kind == "speech"
    ]


@given(st.data())
def test_every_millisecond_is_told_once_without_numbers_too(data: st.DataObject) -> None:
    """Time stamps that are off by up to 120 ms make no gap; nothing is lost, nothing concealed."""
    chunks = [replace(chunk, sequence=None) for chunk in data.draw(chunked(odd=False))]
    shaken = [replace(c, time=c.time + data.draw(st.integers(0, 120))) for c in chunks]
    listener = listen(shaken)
    pieces = listener.pieces
    assert all(a.end == b.start for a, b in pairwise(pieces))
    assert not listener.late
    assert all(each.kind != "gap" and not each.lost_ms for each in pieces)
    samples = sum(len(chunk.audio) for chunk in chunks)
    assert pieces[0].start == shaken[0].time
    assert pieces[-1].end - pieces[0].start == samples // PER_MS


@given(st.data())
def test_numbers_may_count_other_channels_too(data: st.DataObject) -> None:
    chunks = data.draw(chunked())
    steps = data.draw(st.lists(st.integers(1, 4), min_size=len(chunks), max_size=len(chunks)))
    sparse = [replace(c, sequence=int(n)) for c, n in zip(chunks, np.cumsum(steps), strict=True)]
    listener = listen(data.draw(delayed(sparse)))
    assert told(listener.pieces) == told(listen(chunks).pieces)
    assert not listener.late


@settings(max_examples=150)
@given(st.data())
def test_speech_that_was_not_delivered_ends_where_nothing_is_complete(data: st.DataObject) -> None:
    """Not even while the audio is heard that comes after it."""
    life = Listener(Track(LATENESS_MS, SMALL))
    for offset, chunk in enumerate(data.draw(arriving())):
        life.take(chunk, offset)
        life.settle(data.draw(st.integers(life.settled, len(life.pieces)), label="delivered"))
    life.end()
    for settled, complete in life.promises:
        rest = life.pieces[settled:]
        assert all(each.end >= complete for each in rest if each.kind == "speech")


@settings(max_examples=250)
@given(st.data())
def test_a_restart_at_any_moment_tells_the_rest(data: st.DataObject) -> None:
    """The log has losses, late chunks and repeats; pieces are delivered later than they are cut."""
    most = data.draw(st.sampled_from([0, 1500]))
    came: list[Chunk | None] = list(data.draw(arriving(most=most), label="log"))
    for again in data.draw(st.lists(st.integers(0, len(came) - 1), max_size=2)):
        came.append(came[again])
    if data.draw(st.booleans(), label="idle"):
        came.insert(data.draw(st.integers(0, len(came))), None)
    log = [c and replace(c, offset=offset) for offset, c in enumerate(came)]
    calm = listen(log)
    life = Listener(Track(LATENESS_MS, SMALL))
    marks = []
    for offset, chunk in enumerate(log):
        life.take(chunk, offset)
        count = data.draw(st.integers(life.settled, len(life.pieces)), label="delivered")
        life.settle(count)
        marks.append((life.settled, life.track.mark(offset + 1)))
    life.end()
    for count in range(life.settled, len(life.pieces) + 1):
        life.settle(count)
        marks.append((count, life.track.mark(len(log))))
    for settled, mark in marks:
        rest = listen_on(log, mark)
        assert told(rest.pieces, origins=True) == told(calm.pieces[settled:], origins=True)
        assert rest.late <= calm.late


def listen_on(log: Log, mark: Mark) -> Listener:
    """What a restarted process hears of the channel."""
    listener = Listener(Track(LATENESS_MS, SMALL, resume=mark))
    for offset in range(mark.offset, len(log)):
        listener.take(log[offset], offset)
    listener.end()
    return listener
