"""What leaves an agent: events to their topics, and dead letters; delivered, not only sent.

Every call here returns only when what it was given is safe (Kafka has confirmed it, acks=all), so
that the caller may acknowledge what the events were made from. `streams.local` is a place for the
same without Kafka.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer

from streams import codec, tracing
from streams.connection import Connection
from streams.deadletters import DeadLetterError, dead_letter
from streams.events import Event, Topics
from streams.metrics import Metrics
from streams.results import PROVISIONAL

LARGEST = 20 * 2**20
"""Bytes; the largest record that is produced (a dead letter holds what was received)."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record as Kafka gave it; `topic` is the field of `Topics`, not the prefixed name.

    `acknowledge` is called once, when everything that the record leads to has been delivered.
    `current` says whether this delivery still counts, or the partition went away meanwhile;
    `timestamp` (ms) is Kafka's own, of the writing.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    acknowledge: Callable[[], object]
    current: Callable[[], bool] = lambda: True
    timestamp: int = 0


def producer(brokers: Connection) -> AIOKafkaProducer:
    """The producer for everything that Tenor writes."""
    return AIOKafkaProducer(
        **brokers.options(),
        acks="all",
        enable_idempotence=True,
        linger_ms=2,
        max_request_size=LARGEST,
    )


class Outbox(Protocol):
    """Where an agent puts what it has to say."""

    async def deliver(self, events: Iterable[tuple[str, Event]]) -> None:
        """Puts each event on its topic (a field of `Topics`); returns when all of them are safe."""
        ...

    async def dead_letter(self, record: Record, reason: str, message: str) -> None:
        """Puts a record aside, whole, with the reason. It is not acknowledged here."""
        ...


class KafkaOutbox:
    """`Outbox` on Kafka's topics; counts what it delivers."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topics: Topics,
        metrics: Metrics,
        now: Callable[[], int],
    ) -> None:
        self._producer = producer
        self._names: dict[str, str] = asdict(topics)
        self._metrics = metrics
        self._now = now

    async def deliver(self, events: Iterable[tuple[str, Event]]) -> None:
        outgoing = list(events)
        with self._metrics.timed("deliver"):
            await asyncio.gather(*[await self._publish(topic, event) for topic, event in outgoing])
        for topic, event in outgoing:
            if topic in ("recognition", "sentiment") and PROVISIONAL not in event.extensions:
                self._metrics.results.labels(event.type).inc()
                waited = (self._now() - event.time) / 1000
                self._metrics.end_to_end.labels(event.type).observe(max(0.0, waited))

    async def dead_letter(self, record: Record, reason: str, message: str) -> None:
        error = DeadLetterError(
            reason, message, self._names[record.topic], record.partition, record.offset
        )
        key, value, headers = dead_letter(record.key, record.value, record.headers, error)
        sending = tracing.sending(self._names["deadletters"])  # the letter is as it was received
        sending.fail(reason)
        sent = await self._send("deadletters", key, value, headers, record.partition)
        sent.add_done_callback(sending.landed)
        await sent
        self._metrics.dead_letters.labels(reason).inc()
        self._metrics.events.labels(record.topic, "deadletter").inc()

    async def _publish(self, topic: str, event: Event) -> asyncio.Future[Any]:
        traced, sending = tracing.publish(self._names[topic], event)
        sent = await self._send(topic, *codec.encode(traced))
        sent.add_done_callback(sending.landed)
        return sent

    async def _send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        partition: int | None = None,
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = await self._producer.send(
            self._names[topic], value, key, partition=partition, headers=headers
        )
        return future
