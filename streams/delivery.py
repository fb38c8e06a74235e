"""What leaves an agent: events to their topics, dead letters, and checkpoints; delivered, not sent.

Every call here returns only when what it was given is safe (Kafka has confirmed it, acks=all), so
that the caller may acknowledge what the events were made from. `streams.local` is a place for the
same without Kafka.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams import codec
from streams.deadletters import DeadLetterError, dead_letter
from streams.events import Event, EventType, Topics
from streams.metrics import Metrics
from streams.records import read_to

LARGEST = 20 * 2**20
"""Bytes; the largest record that is produced (a dead letter holds what was received)."""

State = dict[str, Any]


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


def producer(brokers: str) -> AIOKafkaProducer:
    """The producer for everything that Tenor writes."""
    return AIOKafkaProducer(
        bootstrap_servers=brokers,
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

    async def checkpoint(self, agent: str, partition: int, session: str, state: State) -> None:
        """Keeps what a restart of this agent must know of the session."""
        ...


class Checkpoints(Protocol):
    """What was kept of the sessions of a partition."""

    async def load(self, agent: str, partition: int) -> dict[str, State]:
        """The last state of each session of this agent, by session."""
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
            await asyncio.gather(
                *[await self._send(topic, *codec.encode(event)) for topic, event in outgoing]
            )
        for topic, event in outgoing:
            if topic in ("recognition", "sentiment"):
                self._metrics.results.labels(event.type).inc()
                waited = (self._now() - event.time) / 1000
                self._metrics.end_to_end.labels(event.type).observe(max(0.0, waited))

    async def dead_letter(self, record: Record, reason: str, message: str) -> None:
        error = DeadLetterError(
            reason, message, self._names[record.topic], record.partition, record.offset
        )
        key, value, headers = dead_letter(record.key, record.value, record.headers, error)
        await (await self._send("deadletters", key, value, headers, record.partition))
        self._metrics.dead_letters.labels(reason).inc()
        self._metrics.events.labels(record.topic, "deadletter").inc()

    async def checkpoint(self, agent: str, partition: int, session: str, state: State) -> None:
        event = Event(
            type=EventType.CHECKPOINT,
            id=f"{agent}/{session}",
            source=f"tenor/{agent}",
            session=f"{agent}/{session}",
            time=self._now(),
            content_type="application/json",
            data=json.dumps(state, separators=(",", ":")).encode(),
        )
        await (await self._send("checkpoints", *codec.encode(event), partition))

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


class KafkaCheckpoints:
    """`Checkpoints` read back from their compacted topic when a partition comes."""

    def __init__(self, brokers: str, topics: Topics) -> None:
        self._brokers = brokers
        self._topic = topics.checkpoints

    async def load(self, agent: str, partition: int) -> dict[str, State]:
        place = TopicPartition(self._topic, partition)
        states: dict[str, State] = {}
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._brokers,
            group_id=None,
            enable_auto_commit=False,
            # Not by seeking: aiokafka's own first reset may come later and win.
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            async for batch in read_to(consumer, place, end):
                for record in batch:
                    self._keep(agent, record.key, record.value, states)
        finally:
            await consumer.stop()
        return states

    @staticmethod
    def _keep(agent: str, key: bytes, value: bytes | None, states: dict[str, State]) -> None:
        name, _, session = key.decode().partition("/")
        if name == agent:
            if value:
                states[session] = json.loads(value)
            else:
                states.pop(session, None)
