"""The topic of dead letters: read to its end of now, and sent back to where they came from.

Each is sent back once, whatever happens meanwhile. In one transaction of Kafka the record goes to
its topic, and a marker that says so to the topic of the dead letters. The producer has a fixed
transactional id: when one starts, Kafka gives up what the one before left unfinished, and refuses
that one from then on, be it dead or in somebody else's hands. Only then it is read what has been
sent back already; what was given up is never read (read committed).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import ProducerFenced

from streams import records
from streams.connection import Connection
from streams.deadletters import (
    LATE,
    Letter,
    Offsets,
    RawHeaders,
    Selection,
    marked_offset,
    obstacle,
)
from streams.delivery import LARGEST
from streams.errors import UserError
from streams.events import Topics
from streams.records import read_to
from streams.topics import partitions_of

ORIGINS: Final = ("audio", "text", "images", "features", "recognition")
"""Topics (fields of `Topics`) that agents read, and so put dead letters aside from."""
BATCH: Final = 50
BATCH_BYTES: Final = 4 * 2**20
"""The most letters of a transaction, and the bytes from which on it takes no more."""
TRANSACTION_MS: Final = 5000
"""After this Kafka gives a transaction up. Until then, who reads only what is committed waits at
it, so that a replay that is killed holds up the workers for as long."""

Outgoing = tuple[str, int, bytes | None, bytes | None, RawHeaders]
"""Topic, partition, key, value and headers."""


class LettersError(UserError):
    """Dead letters cannot be read or sent back; the message says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """A dead letter, and whether it has been sent back."""

    letter: Letter
    replayed: bool


@dataclass(slots=True)
class Tally:
    """What became, or would become, of the dead letters of a selection: how many of each reason go
    back, and how many stay: because they were sent back before, or were late and would be again.
    `obstructed` could not be sent back; `missing` are ids that were asked for and not found."""

    sent: Counter[str] = field(default_factory=Counter)
    replayed: int = 0
    late: int = 0
    obstructed: int = 0
    missing: set[tuple[int, int]] = field(default_factory=set)


class LetterBox:
    """The topic as it was when it was `opened`, read one partition after the other.

    `ends` says where each partition ended, `origins` how many partitions each topic has that
    records may be sent back to.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        topic: str,
        ends: Sequence[int],
        origins: Mapping[str, int],
    ) -> None:
        self._consumer = consumer
        self._ends = ends
        self.topic = topic
        self.origins = origins

    async def letters(self, selection: Selection) -> AsyncIterator[Found]:
        """The selected dead letters, in the order of each partition; whether they were sent back
        is as of now.

        A marker follows its letter, maybe far behind, so that each partition is read twice.
        """
        named = {partition for partition, _ in selection.ids}
        for number, end in enumerate(self._ends):
            if named and number not in named:
                continue
            place = TopicPartition(self.topic, number)
            start = await self._first(place, selection.since)
            replayed = await self._replayed(place, start)
            async for record in self._records(place, start, end):
                if marked_offset(record.headers) is None:
                    letter = _letter(record)
                    if selection.holds(letter):
                        yield Found(letter, letter.offset in replayed)

    async def letter(self, partition: int, offset: int) -> Found | None:
        """The one of this id; None if there is none (any more)."""
        async for found in self.letters(Selection(ids=frozenset({(partition, offset)}))):
            return found
        return None

    async def _first(self, place: TopicPartition, since: int) -> int:
        """The offset of the first record written at or after `since` (ms)."""
        found = (await self._consumer.offsets_for_times({place: since}))[place]
        return int(found.offset) if found else self._ends[place.partition]

    async def _replayed(self, place: TopicPartition, start: int) -> Offsets:
        """The offsets from `start` on of which a marker says that they were sent back."""
        end = (await self._consumer.end_offsets([place]))[place]
        offsets = Offsets(start, self._ends[place.partition])
        async for record in self._records(place, start, end):
            if (offset := marked_offset(record.headers)) is not None:
                offsets.add(offset)
        return offsets

    async def _records(
        self, place: TopicPartition, start: int, end: int
    ) -> AsyncIterator[ConsumerRecord]:
        if start >= end:
            return
        self._consumer.assign([place])
        await self._consumer.position(place)  # or aiokafka's own first reset comes later, and wins
        self._consumer.seek(place, start)
        async for batch in read_to(self._consumer, place, end):
            for record in batch:
                if record.offset < end:
                    yield record


@asynccontextmanager
async def opened(
    brokers: Connection, topics: Topics, *, settle: bool = False
) -> AsyncIterator[LetterBox]:
    """The dead letters of an installation.

    What lies behind an unfinished transaction is not read: `settle` ends a replay of somebody else
    first, alive or not, or else Kafka does so after a while.

    Raises:
        LettersError: it has no such topic.
    """
    partitions = await partitions_of(brokers)
    topic = topics.deadletters
    if topic not in partitions:
        raise LettersError(
            f"Kafka has no topic {topic}: either no worker has run here yet, "
            "or TENOR_TOPIC_PREFIX is another one"
        )
    if settle:
        async with _producer(brokers, topic):
            pass
    names = asdict(topics)
    origins = {names[each]: partitions.get(names[each], 0) for each in ORIGINS}
    options = {
        "isolation_level": "read_committed",
        "fetch_max_wait_ms": 20,  # at the end of a partition nothing more is awaited
    }
    async with records.reader(brokers, **options) as consumer:
        places = [TopicPartition(topic, number) for number in range(partitions[topic])]
        ends = await consumer.end_offsets(places)
        yield LetterBox(consumer, topic, [ends[place] for place in places], origins)


async def plan(box: LetterBox, selection: Selection, tell: Callable[[Letter, str], None]) -> Tally:
    """What `replay` would do; tells of each letter that could not be sent back, and why."""
    tally = Tally()
    async for letter in _going(box, selection, tally, tell):
        tally.sent[letter.error.reason] += 1
    return tally


async def replay(
    box: LetterBox, brokers: Connection, selection: Selection, progress: Callable[[int], None]
) -> Tally:
    """Sends the selected letters back, each once; after each transaction `progress` hears how many
    have gone. What was committed stays, should an error end it.

    Raises:
        LettersError: another replay of the same installation began, or this one was too slow.
        KafkaError: Kafka failed; the letters of the transaction have not been sent back.
    """
    tally = Tally()
    asyncio.get_running_loop().set_exception_handler(_unheard)
    try:
        async with _producer(brokers, box.topic) as producer:
            async for batch in _batches(_going(box, selection, tally, lambda *_: None)):
                await _send_back(producer, box.topic, batch)
                tally.sent.update(letter.error.reason for letter in batch)
                progress(tally.sent.total())
    except ProducerFenced:
        raise LettersError(
            f"{tally.sent.total()} were sent back; then another replay of them began, or Kafka "
            f"took more than {TRANSACTION_MS / 1000:.0f} s: run it again for the others"
        ) from None
    return tally


@asynccontextmanager
async def _producer(brokers: Connection, topic: str) -> AsyncIterator[AIOKafkaProducer]:
    """The only one of its kind: once it has started, others that came before have ended."""
    producer = AIOKafkaProducer(
        **brokers.options(),
        transactional_id=f"{topic}-replay",
        transaction_timeout_ms=TRANSACTION_MS,
        max_request_size=LARGEST,
    )
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


async def _going(
    box: LetterBox,
    selection: Selection,
    tally: Tally,
    tell: Callable[[Letter, str], None],
) -> AsyncIterator[Letter]:
    """The letters that are to be sent back; the others are counted, those in the way told of."""
    tally.missing = set(selection.ids)
    async for found in box.letters(selection):
        letter = found.letter
        tally.missing.discard((letter.partition, letter.offset))
        if found.replayed:
            tally.replayed += 1
        elif why := obstacle(letter, box.origins):
            tally.obstructed += 1
            tell(letter, why)
        elif letter.error.reason == LATE and not selection.names_late():
            tally.late += 1
        else:
            yield letter


async def _batches(letters: AsyncIterator[Letter]) -> AsyncIterator[list[Letter]]:
    """As many as go into one transaction."""
    batch: list[Letter] = []
    async for letter in letters:
        batch.append(letter)
        if len(batch) == BATCH or sum(each.size for each in batch) >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


async def _send_back(producer: AIOKafkaProducer, topic: str, letters: Sequence[Letter]) -> None:
    """Sends them where they came from and marks them as sent, all or nothing."""
    sending: list[asyncio.Future[object]] = []
    async with producer.transaction():
        try:
            for letter in letters:
                for to, partition, key, value, headers in _records_of(letter, topic):
                    sent = producer.send(to, value, key, partition=partition, headers=headers)
                    sending.append(await sent)
        finally:  # one after the other, for their order; what has begun is waited for
            outcomes = await asyncio.gather(*sending, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome


def _records_of(letter: Letter, topic: str) -> Iterator[Outgoing]:
    """The record as it was received, and the marker of its dead letter."""
    error = letter.error
    headers = letter.returned_headers()
    yield error.topic, error.partition, letter.key, letter.value, headers
    yield topic, letter.partition, *letter.marker()


def _unheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Of a producer that is refused nobody asks all the futures in which aiokafka keeps that."""
    if not isinstance(context.get("exception"), ProducerFenced):
        loop.default_exception_handler(context)


def _letter(record: ConsumerRecord) -> Letter:
    return Letter(
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        tuple(record.headers),
    )
