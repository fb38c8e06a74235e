"""Reads what a run has left in the topics, each once, from its beginning to its end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass

from aiokafka import ConsumerRecord

from streams import codec, records
from streams.clock import now_ms
from streams.connection import Connection
from streams.deadletters import error_of
from streams.events import EventType, Topics
from streams.proving.comparison import Finals, Place

HEARD = (("ce_source", b"tenor/audio"), ("ce_type", EventType.PROGRESS.value.encode()))
"""Headers of what the audio agent says of each channel about once a second."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: where its record was read, what it holds, and why it is one."""

    place: Place
    value: bytes | None
    reason: str


async def finals_of(brokers: Connection, topics: Topics) -> Finals:
    """All final results. Raises CodecError if there is something else on an output topic."""
    finals = Finals()
    for topic in (topics.recognition, topics.sentiment):
        async for record in records_of(brokers, topic):
            finals.add(codec.decode(record.key, record.value, record.headers, now=now_ms()))
    return finals


async def letters_of(brokers: Connection, topics: Topics) -> list[Letter]:
    """All dead letters."""
    return [
        Letter(_place(record), record.value, error_of(record.headers).reason)
        async for record in records_of(brokers, topics.deadletters)
    ]


async def signs_of(brokers: Connection, topics: Topics) -> dict[str, list[int]]:
    """When (ms, Kafka's stamp) the audio agent was heard of, by session."""
    signs: dict[str, list[int]] = {}
    async for record in records_of(brokers, topics.features):
        if all(header in record.headers for header in HEARD):
            signs.setdefault(record.key.decode(), []).append(record.timestamp)
    return {session: sorted(stamps) for session, stamps in signs.items()}


async def records_of(brokers: Connection, topic: str) -> AsyncIterator[ConsumerRecord]:
    """Every record of a topic up to its end of this moment, partition by partition."""
    async with records.reader(brokers, topic) as consumer:
        places = sorted(consumer.assignment())
        ends = await consumer.end_offsets(places)
        for place in places:
            consumer.pause(*places)
            consumer.resume(place)
            async for batch in records.read_to(consumer, place, ends[place]):
                for record in batch:
                    yield record


async def until_told(
    brokers: Connection,
    topics: Topics,
    *,
    sessions: Collection[str],
    malformed: Collection[Place],
    patience_s: float,
    tell: Callable[[int], None],
) -> bool:
    """Waits until every session is summed up and every malformed record has a dead letter; False
    if that did not come within `patience_s`. `tell` hears how many sessions are summed up."""
    waiting, bad = set(sessions), set(malformed)
    deadline = time.monotonic() + patience_s
    names = (topics.sentiment, topics.deadletters)
    async with records.reader(brokers, *names) as consumer:
        while (waiting or bad) and time.monotonic() < deadline:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                for record in batch:
                    if record.topic == topics.deadletters:
                        bad.discard(_place(record))
                    elif ("ce_type", EventType.SENTIMENT_SESSION.value.encode()) in record.headers:
                        waiting.discard(record.key.decode())
            tell(len(sessions) - len(waiting))
    return not waiting and not bad


def _place(letter: ConsumerRecord) -> Place:
    error = error_of(letter.headers)
    return error.topic, error.partition, error.offset
