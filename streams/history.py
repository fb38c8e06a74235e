"""What the topics hold of a session that is or was: read once, up to now."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from streams import codec, records
from streams.clock import now_ms
from streams.connection import Connection
from streams.events import CodecError, Topics
from streams.results import CaptionFinal, Gap, Result, SentimentSession, Silence, result_of
from streams.topics import partitions_of


@dataclass(frozen=True, slots=True)
class History:
    """The final captions, silence and gaps of a session, each once, as they were written; and
    whether the session has ended."""

    results: tuple[Result, ...]
    ended: bool


async def read_history(brokers: Connection, topics: Topics, session: str) -> History:
    """What there is now; where the session or the topics are not known, nothing."""
    partitions = await partitions_of(brokers)
    if not {topics.sentiment, topics.recognition} <= partitions.keys():
        return History((), ended=False)
    # In this order: what a session that has ended said was written before its end.
    ended, results = False, dict[str, Result]()
    async with records.reader(brokers) as consumer:
        async for _, result in _results(consumer, partitions, topics.sentiment, session):
            ended = ended or isinstance(result, SentimentSession)
        async for id_, result in _results(consumer, partitions, topics.recognition, session):
            if isinstance(result, CaptionFinal | Silence | Gap):
                results[id_] = result
    return History(tuple(results.values()), ended)


async def _results(
    consumer: AIOKafkaConsumer, partitions: Mapping[str, int], topic: str, session: str
) -> AsyncIterator[tuple[str, Result]]:
    """The session's readable results on a topic up to its end of this moment, with their ids."""
    key, every = session.encode(), list(range(partitions[topic]))
    place = TopicPartition(topic, DefaultPartitioner()(key, every, every))
    consumer.assign([place])
    end = (await consumer.end_offsets([place]))[place]
    async for batch in records.read_to(consumer, place, end):
        for record in batch:
            if record.key == key and record.offset < end:
                with contextlib.suppress(CodecError):
                    event = codec.decode(key, record.value, record.headers, now=now_ms())
                    yield event.id, result_of(event)
