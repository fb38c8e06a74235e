"""Stands in for Kafka's producer where a test must say what becomes of each record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata, TopicPartition

from streams import codec
from streams.events import Event, Topics
from streams.gateway.lines import Future

NOW = 1_800_000_000_000


class Fate(StrEnum):
    """What becomes of a record."""

    CONFIRMED = "confirmed"
    UNTOLD = "in the log, but nobody hears of it"
    LOST = "not in the log, and nobody hears of it"
    REFUSED = "refused"


@dataclass
class Log:
    """What was written, in order, by topic; `fate` decides on each record."""

    fate: Callable[[], Fate] = lambda: Fate.CONFIRMED
    topics: dict[str, list[Event]] = field(default_factory=dict)
    waiting: list[Future] = field(default_factory=list)

    async def send(self, topic: str, value: bytes, key: bytes, *, headers: codec.Headers) -> Future:
        """As aiokafka's producer."""
        future: Future = asyncio.get_running_loop().create_future()
        fate = self.fate()
        if fate is Fate.REFUSED:
            future.set_exception(KafkaError())
            return future
        log = self.topics.setdefault(topic, [])
        if fate is not Fate.LOST:
            log.append(codec.decode(key, value, headers, now=NOW))
        if fate is Fate.CONFIRMED:
            where = TopicPartition(topic, 0)
            future.set_result(RecordMetadata(topic, 0, where, len(log) - 1, NOW, 0, 0))
        else:
            self.waiting.append(future)
        return future

    def of(self, topic: str) -> list[Event]:
        """What is on a topic (a field of `Topics`)."""
        return self.topics.get(getattr(Topics.of(), topic), [])
