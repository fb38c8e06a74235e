"""Audio that breaks off and goes on, however often and wherever, is the audio of an undisturbed
sending: the same chunks with the same ids, times and numbers, no gap, and nothing twice but what is
the same in every byte."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import Event, Topics
from streams.gateway.decoding import RAW, decoder
from streams.gateway.feeding import Feed, Place
from streams.gateway.ingest import Ingest
from streams.gateway.resuming import CHUNK_MS, Cutter, Format
from tests.gateway_sender import NOW, Fate, Log
from tests.made_recordings import recording

SIZES = st.integers(1, 10_000)
MISHAPS = [Fate.CONFIRMED, Fate.UNTOLD, Fate.LOST]


@dataclass(frozen=True)
class Connection:
    """One that is cut off: it takes pieces of so many bytes, and these are the fates of its chunks.
    Of the acknowledgements, so many of the last do not reach the client."""

    pieces: Sequence[int]
    fates: Sequence[Fate]
    unheard: int


CONNECTIONS = st.lists(
    st.builds(
        Connection,
        pieces=st.lists(st.integers(1, 3000), max_size=12),
        fates=st.lists(st.sampled_from(MISHAPS), max_size=50),
        unheard=st.integers(0, 4),
    ),
    max_size=4,
)


@dataclass
class Client:
    """One that keeps what is not acknowledged, and sends that again.

    Where the encoding is that of a container, it sends the whole recording again instead. Without a
    `start` of its own, it has heard the first acknowledgement, which says it.
    """

    audio: bytes = field(repr=False)
    encoding: str = "linear16"
    rate: int = 16_000
    channels: Sequence[str] = ("customer",)
    start: int | None = NOW
    clock: int = NOW

    async def send(self, disturbed: Sequence[Connection]) -> list[Event]:
        """The log after it was sent over these connections, and one more that holds."""
        log, place, kept = Log(), Place(self.start, 0, 0, 0), self.audio
        for each in disturbed:
            fates = iter([*each.fates, *[Fate.LOST] * 100])
            log.fate = partial(next, fates)
            place = await self._connect(log, place, each, kept)
            kept = self._unacknowledged(kept, place)
            self.clock += 10_000
        log.fate = lambda: Fate.CONFIRMED
        async with self._feed(log, place) as feed:
            for piece in cut(kept, [700] * (len(kept) // 700 + 1)):
                await feed.write(piece)
            await feed.close()
        return log.of("audio")

    async def _connect(self, log: Log, place: Place, connection: Connection, kept: bytes) -> Place:
        async with self._feed(log, place) as feed:
            acks = [feed.confirmed]
            assert acks[0].sequence == place.sequence
            for piece in cut(kept, connection.pieces):
                await feed.write(piece)
                await asyncio.sleep(0)
                acks.append(feed.confirmed)
        begun = next((at for at, ack in enumerate(acks) if ack.start is not None), 0)
        return acks[max(begun, len(acks) - 1 - connection.unheard)]

    def _unacknowledged(self, kept: bytes, place: Place) -> bytes:
        if self.encoding not in RAW:
            return self.audio
        width = Format(RAW[self.encoding]).width * len(self.channels)
        return kept[place.confirmed_ms * self.rate // 1000 * width :]

    def _feed(self, log: Log, place: Place) -> Feed:
        again = self.encoding not in RAW
        return Feed(
            Ingest(log, Topics.of(), now=lambda: self.clock),
            "call",
            self.channels,
            decoder(self.encoding, self.rate, len(self.channels)),
            start=place.start,
            sequence=0 if again else place.sequence,
            known=place.sequence,
        )


def cut(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Pieces of these sizes, from the begin on."""
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size


def sent(client: Client, disturbed: Sequence[Connection] = ()) -> list[Event]:
    return asyncio.run(client.send(disturbed))


def start_of(log: Sequence[Event]) -> int:
    return log[0].time - CHUNK_MS * (log[0].sequence or 0)


def same(log: Sequence[Event], undisturbed: Sequence[Event]) -> None:
    """What was sent twice is the same; apart from that, there is what there has to be."""
    once = {event.id: event for event in log}
    assert all(once[event.id] == event for event in log)
    assert {event.id: event for event in undisturbed} == once


CLIENTS = st.builds(
    Client,
    audio=st.builds(lambda size, seed: Random(seed).randbytes(4 * size), SIZES, st.integers(0, 9)),
    encoding=st.sampled_from(sorted(RAW)),
    rate=st.sampled_from([8000, 16_000, 22_050]),
    channels=st.sampled_from([("customer",), ("customer", "agent")]),
    start=st.sampled_from([None, NOW - 5000]),
)


@given(client=CLIENTS, disturbed=CONNECTIONS)
def test_it_is_as_if_nothing_had_happened(client: Client, disturbed: list[Connection]) -> None:
    log = sent(client, disturbed)
    undisturbed = sent(replace(client, start=start_of(log)))
    same(log, undisturbed)
    for name in client.channels:
        chunks = [event for event in undisturbed if event.channel == name]
        assert [event.sequence for event in chunks] == list(range(len(chunks)))
        assert {b.time - a.time for a, b in pairwise(chunks)} <= {CHUNK_MS}
        assert sum(len(event.data) for event in chunks) == len(client.audio) // len(client.channels)


@given(
    kind=st.sampled_from(["webm", "ogg"]),
    start=st.sampled_from([None, NOW - 5000]),
    disturbed=CONNECTIONS,
)
@settings(max_examples=10)
def test_a_recording_that_is_sent_again_from_its_begin_is_left_out_as_far_as_it_is_known(
    kind: str, start: int | None, disturbed: list[Connection]
) -> None:
    client = Client(recording(kind, 1.5), kind, start=start)
    log = sent(client, disturbed)
    undisturbed = sent(replace(client, start=start_of(log)))
    same(log, undisturbed)
    assert len(undisturbed) == 15


@given(
    data=st.builds(lambda size: Random(size).randbytes(size), st.integers(0, 20_000)),
    sizes=st.lists(st.integers(0, 3000), max_size=40),
    sequence=st.integers(0, 1000),
    rate=st.sampled_from([8000, 16_000, 44_100]),
)
def test_chunks_do_not_depend_on_how_the_bytes_come(
    data: bytes, sizes: list[int], sequence: int, rate: int
) -> None:
    format_ = Format(rate=rate)
    pieces, whole = Cutter(format_, sequence), Cutter(format_, sequence)
    chunks = [chunk for piece in cut(data, sizes) for chunk in pieces.push(piece)]
    chunks += pieces.push(data[sum(sizes) :]) + pieces.flush()
    assert chunks == whole.push(data) + whole.flush()
    assert b"".join(chunk.data for chunk in chunks) == data
    assert all(a.end_ms == b.begin_ms for a, b in pairwise(chunks))
    assert [chunk.begin_ms for chunk in chunks] == [
        (sequence + place) * CHUNK_MS for place in range(len(chunks))
    ]
