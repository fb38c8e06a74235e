"""A channel in plain examples: chunks of so many ms from T0 on, in which nobody speaks."""

from __future__ import annotations

import numpy as np
import pytest

from streams.captions import PER_MS, Chunk, Late, Piece, Track
from streams.segmenter import FRAME, Floats

T0 = 1_700_000_000_000
LATENESS_MS = 1000


def chunk(start: int, length: int, number: int | None = None, offset: int = 0) -> Chunk:
    audio = np.ones(length * PER_MS, np.int16)
    return Chunk(f"at {start}", T0 + start, audio, offset=offset, sequence=number)


def feed(track: Track, *chunks: Chunk, flush: bool = False, loud: bool = False) -> list[Piece]:
    """Offers the chunks and takes the pieces that come."""
    for each in chunks:
        track.offer(each)
        _hear(track, loud=loud)
    if flush:
        _hear(track, flush=True, loud=loud)
        track.flush()
    pieces = list(track.pieces)
    track.pieces.clear()
    return pieces


def _hear(track: Track, *, flush: bool = False, loud: bool) -> None:
    while (frames := track.advance(flush=flush)) is not None:
        heard: Floats = np.full(len(frames) // FRAME, float(loud), np.float32)
        track.hear(heard, np.zeros(1, np.float32))


def spans(pieces: list[Piece]) -> list[tuple[str, int, int, int]]:
    return [(each.kind, each.start - T0, each.end - T0, each.lost_ms) for each in pieces]


def test_a_little_that_is_lost_is_concealed() -> None:
    pieces = feed(Track(LATENESS_MS), chunk(0, 500, 1), chunk(600, 400, 3), flush=True, loud=True)
    assert spans(pieces) == [("speech", 0, 1000, 100)]
    audio = pieces[0].audio.reshape(-1, 100 * PER_MS)
    assert [bool(each.any()) for each in audio] == [True] * 5 + [False] + [True] * 4


def test_much_that_is_lost_is_a_gap() -> None:
    pieces = feed(Track(LATENESS_MS), chunk(0, 500, 1), chunk(800, 200, 3), flush=True)
    assert spans(pieces) == [
        ("silence", 0, 500, 0),
        ("gap", 500, 800, 0),
        ("silence", 800, 1000, 0),
    ]
    assert pieces[1].reason == "no-audio"


def test_without_numbers_a_little_is_jitter() -> None:
    pieces = feed(Track(LATENESS_MS), chunk(0, 500), chunk(600, 400), flush=True)
    assert spans(pieces) == [("silence", 0, 900, 0)]


def test_what_is_missing_is_waited_for_as_long_as_the_lateness() -> None:
    track = Track(LATENESS_MS)
    feed(track, chunk(0, 500, 1), chunk(1000, 500, 3), chunk(1500, 400, 4))
    assert track.now == T0 + 500
    feed(track, chunk(500, 500, 2))
    assert track.now == T0 + 1900
    feed(track, chunk(2000, 500, 6), chunk(2500, 500, 7))
    assert track.now == T0 + 3000


def test_nobody_waits_where_nothing_is_missing() -> None:
    """The producer sent nothing for a while: a gap, but the numbers go on."""
    assert len(feed(Track(LATENESS_MS), chunk(0, 500, 1), chunk(9000, 500, 2))) == 2


def test_a_chunk_is_late_when_the_channel_is_beyond_it() -> None:
    track = Track(LATENESS_MS)
    feed(track, chunk(100, 20, 5), chunk(120, 20, 6), chunk(140, 1000, 7))
    with pytest.raises(Late, match="1050 ms"):
        track.offer(chunk(90, 10, 4))
    assert spans(feed(track, flush=True)) == [("silence", 100, 1140, 0)]


def test_a_chunk_whose_place_is_taken_by_silence_is_late_however_little() -> None:
    track = Track(50)
    feed(track, chunk(0, 100, 1), chunk(120, 60, 3))
    with pytest.raises(Late, match="80 ms"):
        track.offer(chunk(100, 20, 2))
    assert spans(feed(track, flush=True)) == [("silence", 0, 180, 20)]


def test_a_chunk_that_comes_again_is_known() -> None:
    track = Track(LATENESS_MS)
    assert track.offer(chunk(0, 500, 1))
    assert not track.offer(chunk(0, 500, 1))
    (piece,) = feed(track, flush=True)
    track.settle(piece)
    assert not track.offer(chunk(0, 500, 1))


def test_a_chunk_is_done_with_the_last_piece_that_it_is_part_of() -> None:
    track = Track(LATENESS_MS)
    feed(track, chunk(0, 900, 0, offset=7), loud=True)
    speech, rest = feed(track, chunk(900, 900, 1, offset=8), flush=True)
    assert [part.offset for part in track.settle(speech)] == [7]
    assert speech.until % FRAME == 0
    assert rest.begins is not None
    assert rest.begins.offset == 8
    assert track.mark(9).first == "at 900"
    assert track.mark(9).skip == speech.until - 900 * PER_MS
    assert [part.offset for part in track.settle(rest)] == [8]
    assert track.mark(9).offset == 9


def test_a_channel_that_waits_for_its_first_chunk_begins_anew_after_a_restart() -> None:
    track = Track(LATENESS_MS)
    feed(track, chunk(500, 500, 2, offset=3))
    mark = track.mark(4)
    assert (mark.offset, mark.anew) == (3, True)
    pieces = feed(Track(LATENESS_MS, resume=mark), chunk(500, 500, 2, offset=3), flush=True)
    assert spans(pieces) == [("silence", 500, 1000, 0)]


def test_a_restart_in_what_was_lost_goes_on_there() -> None:
    """3 ms before its end, which alone would not count as lost."""
    track = Track(LATENESS_MS)
    pieces = feed(track, chunk(0, 4900, 1), chunk(4995, 505, 3, offset=1), flush=True)
    assert spans(pieces) == [("silence", 0, 4992, 92), ("silence", 4992, 5500, 3)]
    track.settle(pieces[0])
    mark = track.mark(2)
    assert (mark.offset, mark.first, mark.skip) == (1, "at 4995", -3 * PER_MS)
    rest = feed(Track(LATENESS_MS, resume=mark), chunk(4995, 505, 3, offset=1), flush=True)
    assert spans(rest) == spans(pieces[1:])


def test_a_restart_after_a_cut_leaves_out_again_what_was_heard_already() -> None:
    """What comes after the cut begins at a whole ms, 2 samples after its end."""
    noise = np.random.default_rng(0).integers(-9000, 9000, 32_014).astype(np.int16)
    first = Chunk("first", T0, noise[:16_014])
    cut = Chunk("cut", T0 + 900, noise[:0], offset=1, cut=True)
    overlapping = Chunk("overlapping", T0 + 693, noise[16_014:], offset=2)
    track = Track(LATENESS_MS)
    before, after = feed(track, first, cut, overlapping, flush=True, loud=True)
    assert spans([before, after]) == [("speech", 0, 1000, 0), ("speech", 1000, 1693, 0)]
    track.settle(before)
    resumed = Track(LATENESS_MS, resume=track.mark(3))
    (again,) = feed(resumed, overlapping, flush=True, loud=True)
    assert again.audio.tobytes() == after.audio.tobytes()


def restarted(lateness_ms: int, log: list[Chunk]) -> list[Piece]:
    """The pieces of a log, which come again after a restart behind any of them."""
    track = Track(lateness_ms)
    pieces = feed(track, *log, flush=True)
    for done, piece in enumerate(pieces, 1):
        track.settle(piece)
        mark = track.mark(len(log))
        rest = feed(Track(lateness_ms, resume=mark), *log[mark.offset :], flush=True)
        assert spans(rest) == spans(pieces[done:])
    return pieces


def test_what_waited_together_is_put_in_order_together_after_a_restart_too() -> None:
    """The cut lies in a chunk that comes after it, while both wait for what is missing."""
    log = [
        chunk(-300, 20),
        chunk(0, 860, offset=1),
        Chunk("cut", T0 + 861, np.zeros(0, np.int16), offset=2, cut=True),
        chunk(860, 20, offset=3),
        chunk(880, 200, offset=4),
    ]
    pieces = restarted(LATENESS_MS, log)
    assert spans(pieces)[2:] == [("silence", 0, 880, 0), ("silence", 880, 1080, 0)]


def test_a_chunk_that_goes_on_after_a_restart_comes_before_what_waits_with_it() -> None:
    """The next one seems to begin before the end of the piece that was done."""
    log = [
        chunk(-300, 20),
        chunk(0, 5000, offset=1),
        Chunk("cut", T0 + 4900, np.zeros(0, np.int16), offset=2, cut=True),
        chunk(5000, 1000, offset=3),
    ]
    pieces = restarted(6000, log)
    assert spans(pieces)[2:] == [
        ("silence", 0, 4992, 0),
        ("silence", 4992, 5000, 0),
        ("silence", 5000, 6000, 0),
    ]


def test_a_restart_leads_back_to_what_is_late_and_not_yet_sent_aside() -> None:
    track = Track(LATENESS_MS)
    log = [
        chunk(0, 500),
        chunk(800, 900, offset=1),
        chunk(900, 100, offset=2),
        chunk(1700, 200, offset=3),
    ]
    for piece in feed(track, *log, flush=True):
        track.settle(piece)
    assert [late.chunk.offset for late in track.late] == [2]
    assert track.mark(4).offset == 2
    track.late.clear()
    assert track.mark(4).offset == 4


def test_what_is_given_up_is_a_gap_and_what_follows_begins_at_a_whole_ms() -> None:
    track = Track(LATENESS_MS)
    odd = Chunk("odd", T0, np.ones(1607, np.int16), sequence=1)
    track.offer(odd)
    assert track.advance(flush=True) is not None
    track.give_up("detection-failed")
    odd = Chunk("odd, too", T0 + 100, np.ones(8009, np.int16), sequence=2)
    pieces = feed(track, odd, flush=True)
    assert spans(pieces) == [("gap", 0, 100, 0), ("silence", 100, 600, 0)]
    assert pieces[0].reason == "detection-failed"
    assert [part.id for part in track.settle(pieces[0])] == ["odd"]


def test_a_channel_whose_second_chunk_comes_first_waits_for_the_first() -> None:
    track = Track(LATENESS_MS)
    assert track.offer(chunk(200, 200, 1))
    assert track.advance() is None
    pieces = feed(track, chunk(0, 200, 0), flush=True)
    assert spans(pieces) == [("silence", 0, 400, 0)]
