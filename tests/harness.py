"""Runs Tenor for tests as users do: worker processes on a real Kafka, events in, results out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from streams import codec
from streams.checkpoints import KafkaCheckpoints
from streams.clock import now_ms
from streams.connection import Connection
from streams.delivery import producer
from streams.events import CodecError, Event, EventType, Topics
from streams.processes import WorkerProcess
from streams.settings import AGENTS, Settings
from streams.topics import ensure_topics

RESULTS = ("recognition", "sentiment")


@dataclass
class Installation:
    """Topics of their own on a shared Kafka, and workers on them."""

    brokers: Connection
    topics: Topics
    prefix: str
    folder: Path
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        return {
            "TENOR_BROKERS": self.brokers.servers,
            "TENOR_TOPIC_PREFIX": self.prefix,
            "TENOR_GROUP": self.prefix.rstrip("."),
            # A loaded machine must not look like an idle conversation.
            "TENOR_IDLE_AFTER_S": "60",
        }

    async def make_topics(self) -> None:
        await ensure_topics(self.brokers, Settings(topic_prefix=self.prefix))

    def start_worker(self, agents: Iterable[str] = AGENTS, **more: str) -> WorkerProcess:
        """A worker, not yet ready."""
        log = self.folder / f"{self.prefix}worker-{len(self.workers)}.log"
        self.workers.append(WorkerProcess.start(log, {**self.settings, **more}, agents=agents))
        return self.workers[-1]

    def stop(self) -> None:
        for worker in self.workers:
            worker.kill()

    async def send(self, topic: str, *events: Event) -> None:
        await self.send_raw(topic, *(codec.encode(event) for event in events))

    async def send_raw(
        self, topic: str, *records: tuple[bytes | None, bytes | None, codec.Headers]
    ) -> None:
        sender = producer(self.brokers)
        await sender.start()
        try:
            for key, value, headers in records:
                name = asdict(self.topics)[topic]
                await sender.send_and_wait(name, value, key, headers=headers)
        finally:
            await sender.stop()

    async def read(
        self, outputs: Collection[str], *, count: int = 0, until: EventType | None = None, s: float
    ) -> list[ConsumerRecord]:
        """Everything on these topics from the start until a type, or that many records, came;
        after `s` seconds, what there is."""
        names = [asdict(self.topics)[output] for output in outputs]
        consumer = AIOKafkaConsumer(
            *names, **self.brokers.options(), group_id=None, auto_offset_reset="earliest"
        )
        await consumer.start()
        records: list[ConsumerRecord] = []
        deadline = time.monotonic() + s
        try:
            while time.monotonic() < deadline and not (count and len(records) >= count):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records += batch
                if until and any(event.type is until for event in events(records)):
                    break
            # What is on the way at this moment belongs to it too.
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
            return records
        finally:
            await consumer.stop()


@asynccontextmanager
async def checkpoints(tenor: Installation) -> AsyncIterator[KafkaCheckpoints]:
    """Those of an installation, as a worker has them."""
    sender = producer(tenor.brokers)
    await sender.start()
    try:
        yield KafkaCheckpoints(sender, tenor.brokers, tenor.topics, now_ms)
    finally:
        await sender.stop()


def events(records: Iterable[ConsumerRecord]) -> list[Event]:
    """The readable events among records."""
    found = []
    for record in records:
        try:
            found.append(codec.decode(record.key, record.value, record.headers, now=now_ms()))
        except CodecError:
            continue
    return found


async def eventually(check: object, s: float = 60) -> None:
    """Waits until a callable is true."""
    deadline = time.monotonic() + s
    while not check():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.2)
