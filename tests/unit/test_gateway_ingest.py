"""What clients send, on its way to Kafka: checked, cut, counted, confirmed."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import IO, cast

import numpy as np
import pytest
from PIL import Image

from streams import codec, media
from streams.agents import signals
from streams.captions import REPEATS, Chunk, Late, Piece, Track
from streams.events import JSON_TYPE, Event, EventType, Topics
from streams.gateway import lines
from streams.gateway.decoding import Limits, decoder
from streams.gateway.feeding import Feed
from streams.gateway.files import Recording, send
from streams.gateway.gate import Gate, stopping
from streams.gateway.ingest import FILES, WAITING, Ingest, Post
from streams.gateway.keys import ANYBODY
from streams.gateway.problems import Kind, Problem
from streams.gateway.renewing import RenewingProducer
from streams.gateway.resuming import BEHIND_MS, CHUNK_MS, SETTLE_MS, Cutter, Format, Pace
from streams.gateway.settings import GatewaySettings
from streams.messages import text_message
from streams.segmenter import FRAME
from tests.gateway_sender import NOW, Fate, Log

SECOND = 32_000
"""Bytes of PCM."""


def ingest_on(log: Log, now: int = NOW) -> Ingest:
    return Ingest(log, Topics.of(), now=lambda: now)


def picture(format_: str = "PNG", side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(file, format_)
    return file.getvalue()


@asynccontextmanager
async def refused(kind: Kind, match: str | None = None) -> AsyncIterator[None]:
    with pytest.raises(Problem, match=match) as error:
        yield
    assert error.value.kind is kind


# --- cutting


def test_chunks_lie_at_fixed_places_however_the_bytes_come() -> None:
    cutter, data = Cutter(), bytes(range(256)) * 40  # 320 ms
    chunks = [
        chunk for at in range(0, len(data), 999) for chunk in cutter.push(data[at : at + 999])
    ]
    assert [(each.sequence, each.begin_ms, each.end_ms) for each in chunks] == [
        (0, 0, 100),
        (1, 100, 200),
        (2, 200, 300),
    ]
    assert cutter.position_ms == 320
    chunks += cutter.flush()
    assert b"".join(each.data for each in chunks) == data
    assert (chunks[-1].sequence, chunks[-1].begin_ms, chunks[-1].end_ms) == (3, 300, 320)
    assert cutter.flush() == []


def test_a_line_that_goes_on_counts_from_there() -> None:
    cutter = Cutter(Format("audio/PCMU", 8000), sequence=7)
    assert cutter.position_ms == 700
    [chunk] = cutter.push(bytes(800))
    assert (chunk.sequence, chunk.begin_ms, chunk.end_ms) == (7, 700, 800)


@pytest.mark.parametrize("rate", [8000, 11_020, 22_050, 24_000, 44_100, 48_000])
def test_a_chunk_is_whole_samples_at_any_rate(rate: int) -> None:
    assert Cutter(Format(rate=rate)).size == rate // 10 * 2


def test_a_rate_at_which_it_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="10 Hz"):
        Cutter(Format(rate=11_025))


# --- pace


def paced(*stretches: tuple[int, int, int]) -> list[int]:
    """What a line has lost, told after each 100 ms of wall time; a stretch is how many of those,
    and how much audio comes before and in each of them."""
    pace, now, time, told = Pace(), NOW, NOW, []
    for count, before, each in stretches:
        time += before
        for _ in range(count):
            now, time = now + 100, time + each
            if each and (lost := pace.lost(now, time)):
                told.append(lost)
                time += lost
    return told


@pytest.mark.parametrize(
    "stretches",
    [
        [(1000, 0, 100)],  # steady
        [(50, 0, 100), (300, 0, 0), (20, 30_000, 100)],  # 30 s of stall, then all of it at once
        [(50, 0, 100), (300, 0, 0), (300, 0, 200), (50, 0, 100)],  # caught up at twice the speed
        [(50, -86_400_000, 100), (500, 0, 100)],  # a recording of yesterday
        [(50, 86_400_000, 100), (500, 0, 100)],  # a clock that is ahead
        [(50, 0, 100), (40, 0, 0), (500, 0, 100)],  # a short pause
        [(500, 0, 400), (500, 0, 100)],  # a file, faster than it was spoken at first
    ],
)
def test_a_line_that_keeps_time_or_catches_up_is_left_alone(
    stretches: list[tuple[int, int, int]],
) -> None:
    assert paced(*stretches) == []


def test_a_line_that_paused_has_lost_that_time() -> None:
    assert paced((50, 0, 100), (300, 0, 0), (500, 0, 100)) == [30_000]


def test_a_line_that_pauses_again_is_noticed_again() -> None:
    pause, talk = (100, 0, 0), (100, 0, 100)
    assert paced(talk, pause, talk, pause, talk) == [10_000, 10_000]


def test_a_line_whose_samples_go_missing_is_moved_when_it_is_far_behind() -> None:
    told = paced((1500, 0, 90))
    assert len(told) >= 1
    assert all(BEHIND_MS < each < BEHIND_MS + 2 * SETTLE_MS for each in told)


# --- lines


async def test_a_line_is_chunks_with_times_by_its_samples() -> None:
    log = Log()
    line = ingest_on(log).line("s", "customer")
    await line.write(bytes(SECOND // 2))
    await line.write(b"\1" * (SECOND // 4))
    assert (line.start, line.position_ms) == (NOW, 750)
    await line.close()
    chunks = log.of("audio")
    assert [each.sequence for each in chunks] == list(range(8))
    assert [each.time - NOW for each in chunks] == [CHUNK_MS * n for n in range(8)]
    assert {each.content_type for each in chunks} == {"audio/L16;rate=16000"}
    assert {each.type for each in chunks} == {EventType.AUDIO_CHUNK}
    assert b"".join(each.data for each in chunks) == bytes(SECOND // 2) + b"\1" * (SECOND // 4)
    assert len({each.id for each in chunks}) == 8
    assert (line.confirmed_ms, line.next_sequence) == (750, 8)


async def test_the_same_audio_is_the_same_events_and_a_later_line_is_not() -> None:
    async def sent(start: int, channel: str = "c", session: str = "s") -> list[Event]:
        log = Log()
        line = ingest_on(log).line(session, channel, start)
        await line.write(bytes(SECOND))
        await line.close()
        return log.of("audio")

    assert await sent(NOW) == await sent(NOW)
    ids = [{each.id for each in await sent(*args)} for args in [(NOW,), (NOW + 5000,)]]
    ids += [
        {each.id for each in await sent(NOW, "d")},
        {each.id for each in await sent(NOW, "c", "t")},
    ]
    assert len(set.union(*ids)) == sum(map(len, ids))


async def test_what_is_confirmed_has_no_gap() -> None:
    fates = [Fate.CONFIRMED, Fate.UNTOLD, Fate.CONFIRMED]
    log = Log(lambda: fates.pop(0))
    changes = []
    line = ingest_on(log).line("s", "c", changed=lambda: changes.append(line.confirmed_ms))
    await line.write(bytes(SECOND * 3 // 10))
    await asyncio.sleep(0)
    assert (line.confirmed_ms, line.next_sequence) == (100, 1)
    log.waiting[0].set_result(None)
    await line.confirmed()
    assert (line.confirmed_ms, line.next_sequence) == (300, 3)
    assert changes[-1] == 300


async def test_a_line_is_over_when_a_chunk_is_refused() -> None:
    fates = [Fate.CONFIRMED, Fate.REFUSED, Fate.CONFIRMED]
    line = ingest_on(Log(lambda: fates.pop(0))).line("s", "c")
    await line.write(bytes(SECOND * 3 // 10))
    async with refused(Kind.UNAVAILABLE, "same place"):
        await line.confirmed()
    async with refused(Kind.UNAVAILABLE):
        await line.write(bytes(SECOND))
    assert (line.confirmed_ms, line.next_sequence) == (100, 1)


async def test_no_more_is_taken_than_may_be_unconfirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "CONFIRM_S", 0.01)
    log = Log(lambda: Fate.UNTOLD)
    line = ingest_on(log).line("s", "c")
    async with refused(Kind.UNAVAILABLE):
        await line.write(bytes(10 * SECOND))
    assert len(log.of("audio")) == lines.IN_FLIGHT


async def test_a_later_line_of_the_channel_takes_the_place() -> None:
    ingest = ingest_on(Log())
    first = ingest.line("s", "c")
    await first.write(bytes(SECOND))
    second = ingest.line("s", "c", first.start, 10)
    async with refused(Kind.CONFLICT, "another connection"):
        await first.write(bytes(SECOND))
    await second.write(bytes(SECOND))
    await ingest.line("s", "d").write(bytes(SECOND))
    await second.close()


async def test_a_cancelled_write_ends_the_line() -> None:
    log = Log(lambda: Fate.UNTOLD)
    line = ingest_on(log).line("s", "c")
    writing = asyncio.create_task(line.write(bytes(10 * SECOND)))
    await asyncio.sleep(0.01)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    async with refused(Kind.UNAVAILABLE):
        await line.write(bytes(SECOND))


@pytest.mark.parametrize(
    ("session", "channel", "start", "sequence"),
    [
        ("", "c", None, 0),
        ("s\n", "c", None, 0),
        ("s" * 201, "c", None, 0),
        ("s", "c" * 1025, None, 0),
        ("s", "c\0", None, 0),
        ("s", "c", 0, 0),
        ("s", "c", NOW + 2 * 86_400_000, 0),
        ("s", "c", NOW, 10**9),
    ],
)
async def test_a_line_that_workers_could_not_read_is_refused(
    session: str, channel: str, start: int | None, sequence: int
) -> None:
    async with refused(Kind.INVALID):
        ingest_on(Log()).line(session, channel, start, sequence)


async def test_a_line_does_not_run_beyond_the_times_that_are_read() -> None:
    ingest = ingest_on(Log())
    line = ingest.line("s", "c", NOW + 86_400_000 - 150)
    async with refused(Kind.INVALID, "time must lie"):
        await line.write(bytes(SECOND))


# --- what recognisers make of it


class Ear:
    """One channel as a recogniser puts it in order, with a detector to which all is speech."""

    def __init__(self) -> None:
        self.track = Track(1000)
        self.pieces: list[Piece] = []
        self.repeated = 0

    def hear(self, events: Sequence[Event]) -> None:
        for event in events:
            audio = media.decode_audio(event.content_type, event.data, media.Limits())[0]
            chunk = Chunk(event.id, event.time, audio, sequence=event.sequence)
            self.repeated += not self.track.offer(chunk)
            self._listen()

    def end(self) -> list[tuple[str, int, int]]:
        """Kind and span (ms after the start) of all pieces."""
        self._listen(flush=True)
        self.track.flush()
        self._listen()
        return [(each.kind, each.start - NOW, each.end - NOW) for each in self.pieces]

    def _listen(self, *, flush: bool = False) -> None:
        while (frames := self.track.advance(flush=flush)) is not None:
            self.track.hear(np.ones(len(frames) // FRAME, np.float32), np.zeros(1, np.float32))
        while self.track.pieces:
            self.pieces.append(self.track.pieces.popleft())
            self.track.settle(self.pieces[-1])


async def chunks_of(data: bytes, start: int = NOW, sequence: int = 0) -> list[Event]:
    log = Log()
    line = ingest_on(log).line("s", "c", start, sequence)
    await line.write(data)
    await line.close()
    return log.of("audio")


async def test_what_comes_again_is_heard_once_even_if_it_differs() -> None:
    first = await chunks_of(b"\1\0" * SECOND)
    again = await chunks_of(b"\2\0" * SECOND, NOW, 15)  # encoded anew, it differs in every sample
    assert [each.id for each in again[:5]] == [each.id for each in first[15:]]
    ear = Ear()
    ear.hear(first + again)
    assert ear.repeated == 5
    assert ear.end() == [("speech", 0, 3500)]
    heard = ear.pieces[0].audio
    assert (heard == np.repeat([1, 2], [SECOND, SECOND * 3 // 4])).all()


async def test_what_comes_again_from_long_ago_is_late() -> None:
    ear = Ear()
    log = await chunks_of(bytes(40 * SECOND))
    ear.hear(log)
    with pytest.raises(Late):
        ear.hear(log[:1])
    ear.hear(log[-REPEATS // 2 :])
    assert ear.repeated == REPEATS // 2


async def test_a_pause_is_a_gap_and_nobody_waits_for_what_is_not_there() -> None:
    log = Log()
    ingest = ingest_on(log)
    async with Feed(ingest, "s", ["c"], decoder("linear16")) as feed:
        await feed.write(bytes(SECOND))
        await feed.pause()
        ingest.now = lambda: NOW + 60_000
        await feed.write(bytes(SECOND))
        ear = Ear()
        ear.hear(log.of("audio"))
        assert ear.track.now == NOW + 61_000  # at once
        await feed.close()
    assert ear.end() == [("speech", 0, 1000), ("gap", 1000, 60_000), ("speech", 60_000, 61_000)]


# --- texts, pictures, ends


async def test_a_text_is_an_event_as_the_agents_read_it() -> None:
    log = Log()
    data = json.dumps({"text": "Hello", "speaker": "agent", "kind": "note"}).encode()
    accepted = await ingest_on(log).text(Post("s", JSON_TYPE, data))
    [event] = log.of("text")
    assert text_message(event).kind == "note"
    assert (event.id, event.time, event.channel) == (accepted.id, NOW, "agent")
    assert (accepted.topic, accepted.offset) == (Topics.of().text, 0)
    await ingest_on(log).text(Post("s", "text/plain; charset=utf-8", b"Hi", "customer", NOW - 5))
    assert (log.of("text")[1].channel, log.of("text")[1].time) == ("customer", NOW - 5)


@pytest.mark.parametrize(
    ("content_type", "data", "kind"),
    [
        ("text/plain", b"", Kind.INVALID),
        ("text/plain", b" \n", Kind.INVALID),
        ("text/plain", b"\xff", Kind.INVALID),
        ("text/plain", b"a" * 16_385, Kind.TOO_LARGE),
        ("text/plain", b"a" * 65_537, Kind.TOO_LARGE),
        ("text/plain; charset=latin-1", b"a", Kind.UNSUPPORTED),
        ("text/html", b"a", Kind.UNSUPPORTED),
        ("", b"a", Kind.UNSUPPORTED),
        (JSON_TYPE, b"{", Kind.INVALID),
        (JSON_TYPE, b"[" * 10_000, Kind.INVALID),
        (JSON_TYPE, b'{"text": 1}', Kind.INVALID),
        (JSON_TYPE, b'{"kind": "vocabulary", "vocabulary": []}', Kind.INVALID),
    ],
)
async def test_a_text_that_would_be_a_dead_letter_is_refused(
    content_type: str, data: bytes, kind: Kind
) -> None:
    log = Log()
    async with refused(kind):
        await ingest_on(log).text(Post("s", content_type, data))
    assert not log.topics


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
async def test_a_picture_is_an_event(format_: str) -> None:
    log, data = Log(), picture(format_)
    await ingest_on(log).image(Post("s", f"image/{format_.lower()}", data, "customer"))
    [event] = log.of("images")
    assert (event.type, event.data, event.channel) == (EventType.IMAGE_FRAME, data, "customer")


@pytest.mark.parametrize(
    ("content_type", "data", "kind"),
    [
        ("image/png", b"no picture", Kind.INVALID),
        ("image/png", picture("JPEG"), Kind.INVALID),
        ("image/jpeg", picture("JPEG")[:200], Kind.INVALID),
        ("image/gif", picture("GIF"), Kind.UNSUPPORTED),
        ("image/png", b"", Kind.INVALID),
    ],
)
async def test_a_picture_that_would_be_a_dead_letter_is_refused(
    content_type: str, data: bytes, kind: Kind
) -> None:
    log = Log()
    async with refused(kind):
        await ingest_on(log).image(Post("s", content_type, data))
    assert not log.topics


async def test_with_the_same_key_it_is_one_event() -> None:
    log = Log()
    moments = iter(range(NOW, NOW + 1000))
    ingest = Ingest(log, Topics.of(), now=lambda: next(moments))
    post = Post("s", "text/plain", b"Hello", key="k")
    first = await ingest.text(post)
    assert await ingest.text(post) == first
    assert len(log.of("text")) == 1
    other = await ingest.text(Post("t", "text/plain", b"Hello", key="k"))
    assert other.id != first.id
    async with refused(Kind.INVALID, "Idempotency-Key"):
        await ingest.text(Post("s", "text/plain", b"Goodbye", key="k"))
    elsewhere = await ingest_on(Log()).text(post)
    assert elsewhere.id == first.id  # another gateway knows it, too


async def test_what_was_not_confirmed_is_sent_again_as_it_was() -> None:
    fates = [Fate.REFUSED, Fate.CONFIRMED]
    log = Log(lambda: fates.pop(0))
    moments = iter(range(NOW, NOW + 1000))
    ingest = Ingest(log, Topics.of(), now=lambda: next(moments))
    post = Post("s", "text/plain", b"Hello", key="k")
    async with refused(Kind.UNAVAILABLE):
        await ingest.text(post)
    accepted = await ingest.text(post)
    assert accepted.time == NOW


async def test_a_session_ends_on_every_topic_after_its_audio() -> None:
    log = Log()
    ingest = ingest_on(log)
    line, other = ingest.line("s", "c"), ingest.line("t", "c")
    await line.write(bytes(SECOND // 8))
    accepted = await ingest.end("s")
    assert [each.topic for each in accepted] == [
        Topics.of().audio,
        Topics.of().text,
        Topics.of().images,
    ]
    audio = [each.type for each in log.of("audio")]
    assert audio == [EventType.AUDIO_CHUNK] * 2 + [EventType.SESSION_ENDED]
    async with refused(Kind.CONFLICT, "ended"):
        await line.write(b"\0\0")
    await other.write(bytes(SECOND))
    await ingest.end("s")  # once more does no harm


async def test_an_end_of_no_session_is_refused() -> None:
    log = Log()
    for session, at in (("", None), ("s", 5)):
        async with refused(Kind.INVALID):
            await ingest_on(log).end(session, at)
    assert not log.topics


# --- the producer


async def test_a_producer_that_was_refused_is_replaced() -> None:
    made: list[Producer] = []

    def make() -> Producer:
        made.append(Producer())
        return made[-1]

    renewing = RenewingProducer(make)
    await renewing.start()
    key, value, headers = codec.encode(signals.ended("s", NOW, input_="text"))
    outcomes = []
    for _ in range(6):
        future = await renewing.send("t", value, key, headers=headers)
        outcomes.append(future.exception() is None)
        await asyncio.sleep(0.01)
    assert outcomes == [True, True, False, True, True, False]
    await renewing.stop()
    assert len(made) == 3
    assert not any(each.running for each in made)


class Producer(Log):
    """One that is refused its third record, and everything after that."""

    def __init__(self) -> None:
        super().__init__(self._fate)
        self._count = 0
        self.running = False

    def _fate(self) -> Fate:
        self._count += 1
        return Fate.CONFIRMED if self._count < 3 else Fate.REFUSED

    async def start(self) -> None:
        self.running = True

    async def stop(self) -> None:
        self.running = False


# --- whole recordings


async def test_only_so_many_recordings_wait_for_their_turn() -> None:
    ingest, gate, done = ingest_on(Log()), Gate(GatewaySettings()), asyncio.Event()

    async def send(session: str) -> None:
        async with gate.lease(ANYBODY, session) as lease, ingest.files.turn(lease):
            await done.wait()

    sending = [asyncio.create_task(send(f"s{number}")) for number in range(FILES + WAITING)]
    await asyncio.sleep(0)
    async with refused(Kind.UNAVAILABLE, "wait for their turn"):
        await send("one more")
    done.set()
    await asyncio.gather(*sending)
    await send("one more")


async def test_who_waits_for_a_turn_goes_when_told_to() -> None:
    ingest, gate = ingest_on(Log()), Gate(GatewaySettings())

    async def send(session: str) -> None:
        async with gate.lease(ANYBODY, session) as lease, ingest.files.turn(lease):
            await lease.wait(asyncio.Future())

    sending = [asyncio.create_task(send(f"s{number}")) for number in range(FILES + 2)]
    await asyncio.sleep(0)
    assert await gate.drain(1)
    told = await asyncio.gather(*sending, return_exceptions=True)
    assert [str(each) for each in told] == [str(stopping())] * (FILES + 2)


class Endless:
    """A WAV that does not end, within the patience of a test."""

    def __init__(self) -> None:
        form = struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
        self._head = b"RIFF\xff\xff\xff\xffWAVEfmt " + form + b"data\xff\xff\xff\xff"
        self._until = time.monotonic() + 20
        self.begun = threading.Event()

    def read(self, size: int = -1) -> bytes:
        if head := self._head[:size]:
            self._head = self._head[size:]
            return head
        self.begun.set()
        return bytes(max(size, 0)) if time.monotonic() < self._until else b""

    def seek(self, _: int) -> None:
        """It is at its begin."""

    def seekable(self) -> bool:
        return False


async def test_a_recording_that_is_decoded_stops_when_told_to() -> None:
    log, gate, file = Log(), Gate(GatewaySettings()), Endless()
    whole = Recording(cast(IO[bytes], file), "wav", ["a"], Limits(seconds=1e9, spent_s=1e9))

    async def sending() -> None:
        async with gate.lease(ANYBODY, "s") as lease:
            await send(whole, ingest_on(log), lease)

    task = asyncio.create_task(sending())
    assert await asyncio.to_thread(file.begun.wait, 10)
    assert not task.done()
    assert await gate.drain(10)
    with pytest.raises(Problem, match="stops"):
        await task
    assert not log.topics
