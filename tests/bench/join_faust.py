"""The workers of `join_hops.py` that are Tenor's: a process that reads a topic to its end, once.

Two engines that tally readings: `SessionWindows`, rows to a topic, a checkpoint of the session
whenever one is due, and each record is acknowledged when the row that it is part of, and that
checkpoint, are delivered. `faust` gets the records from `streams.app` as every agent does,
`aiokafka` from the plain client. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

sys.path.insert(0, str(Path(__file__).parents[2]))

from streams.agents.base import Agent
from streams.app import faust_app
from streams.connection import Connection
from streams.delivery import Record, producer
from streams.events import Topics
from streams.offsets import OffsetTracker
from streams.settings import Settings
from streams.windows import Outcome, Window
from tests.bench.join_load import Reading, Row, Tally

STALLED_S = 20.0
Acknowledge = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is told: where to read and write, and how many rows there are to be."""

    engine: str
    brokers: str
    prefix: str
    group: str
    out: str
    rows: int
    core: int | None = None


@dataclass(slots=True)
class Meter:
    """From the first record to the last confirmed row."""

    rows: int
    records: int = 0
    late: int = 0
    confirmed: int = 0
    began: float = 0.0
    began_cpu: float = 0.0
    latest: float = field(default_factory=time.perf_counter)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def record(self) -> None:
        if not self.records:
            self.began, self.began_cpu = time.perf_counter(), time.process_time()
        self.records += 1

    def confirm(self, rows: int) -> None:
        self.confirmed += rows
        self.latest = time.perf_counter()
        if self.confirmed >= self.rows:
            self.done.set()

    async def wait(self) -> None:
        """Until all rows are there, or none has come for `STALLED_S`."""
        while not self.done.is_set() and time.perf_counter() < self.latest + STALLED_S:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.done.wait(), 1)

    def report(self) -> dict[str, Any]:
        """Call it when the positions are committed."""
        return {
            "records": self.records,
            "late": self.late,
            "complete": self.done.is_set(),
            "wall_s": time.perf_counter() - self.began,
            "cpu_s": time.process_time() - self.began_cpu,
        }


@dataclass(slots=True)
class Counter:
    """The handler of `faust` and `aiokafka`."""

    job: Job
    sender: AIOKafkaProducer
    meter: Meter
    tallies: dict[str, Tally] = field(default_factory=dict)
    uncovered: dict[str, list[Acknowledge]] = field(default_factory=dict)

    async def take(
        self, key: bytes, value: bytes, time_ms: int, offset: int, ack: Acknowledge
    ) -> None:
        self.meter.record()
        session = key.decode()
        tally = self.tallies.get(session) or self.tallies.setdefault(session, Tally.new())
        body = json.loads(value)
        reading = Reading(session, body["id"], time_ms, body["source"], body["value"])
        for outcome in tally.take(offset, reading, ack):
            if outcome.late:
                self.meter.late += 1
                self.uncovered.setdefault(session, []).append(ack)
            if outcome.advanced:
                await self._deliver(key, tally, outcome)

    async def _deliver(self, key: bytes, tally: Tally, outcome: Outcome) -> None:
        session, rows = key.decode(), len(outcome.closed)
        acks = self.uncovered.pop(session, [])
        acks += [item.payload[1] for item in outcome.done]
        sent = [await self._send(self.job.out, key, self._row(session, w)) for w in outcome.closed]
        state = tally.windows.snapshot()
        sent.append(await self._send(f"{self.job.prefix}checkpoints", b"join/" + key, state))
        confirmed = asyncio.gather(*sent)
        confirmed.add_done_callback(lambda _: self._confirm(confirmed, acks, rows))

    @staticmethod
    def _row(session: str, window: Window) -> dict[str, Any]:
        return Row.of(session, window.start, [item.payload[0] for item in window.items]).body()

    async def _send(self, topic: str, key: bytes, body: object) -> asyncio.Future[Any]:
        value = json.dumps(body, separators=(",", ":")).encode()
        sent: asyncio.Future[Any] = await self.sender.send(topic, value, key)
        return sent

    def _confirm(self, sent: asyncio.Future[Any], acks: Iterable[Acknowledge], rows: int) -> None:
        sent.result()  # what failed ends the process: the loop's handler below
        for ack in acks:
            ack()
        self.meter.confirm(rows)


class CounterAgent:
    """As much of an agent as `streams.app` asks for."""

    name = "join"
    inputs = ("features",)

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    async def handle(self, record: Record) -> None:
        assert record.key is not None
        assert record.value is not None
        await self._counter.take(
            record.key, record.value, record.timestamp, record.offset, record.acknowledge
        )

    async def assign(self, partitions: Collection[int]) -> None:
        """Nothing: no session goes on from before."""

    async def revoke(self, partitions: Collection[int]) -> None:
        """Nothing: this worker is alone."""


def settings_of(job: Job) -> Settings:
    return Settings(topic_prefix=job.prefix, group=job.group, partitions=1)


@asynccontextmanager
async def running(app: faust.App) -> AsyncIterator[None]:
    await app.start()
    try:
        yield
    finally:
        await app.stop()


def crash(error: BaseException) -> None:
    print(f"the worker failed: {error!r}", file=sys.stderr, flush=True)
    os._exit(1)


def crash_with(work: asyncio.Task[None]) -> None:
    """Ends the process if its work failed."""
    if not work.cancelled() and (error := work.exception()):
        crash(error)


async def run_faust(job: Job, agent: Agent, meter: Meter) -> dict[str, Any]:
    app = faust_app(agent, Connection(job.brokers), settings_of(job), crash)
    async with running(app):
        await meter.wait()
        await app.consumer.commit()
        return meter.report()


async def faust_engine(job: Job, sender: AIOKafkaProducer, meter: Meter) -> dict[str, Any]:
    agent = CounterAgent(Counter(job, sender, meter))
    return await run_faust(job, cast(Agent, agent), meter)


async def aiokafka_engine(job: Job, sender: AIOKafkaProducer, meter: Meter) -> dict[str, Any]:
    settings = settings_of(job)
    consumer = AIOKafkaConsumer(
        Topics.of(job.prefix).features,
        **Connection(job.brokers).options(),
        group_id=f"{job.group}-plain",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    tracker = OffsetTracker()
    work = asyncio.create_task(consume(consumer, tracker, Counter(job, sender, meter)))
    work.add_done_callback(crash_with)
    commits = asyncio.create_task(commit(consumer, tracker, settings.commit_interval_s))
    await meter.wait()
    work.cancel()
    commits.cancel()
    await asyncio.wait([work, commits])
    await commit_once(consumer, tracker)
    report = meter.report()
    await consumer.stop()
    return report


async def consume(consumer: AIOKafkaConsumer, tracker: OffsetTracker, counter: Counter) -> None:
    while True:
        for place, records in (await consumer.getmany(timeout_ms=500)).items():
            for each in records:
                ack = acknowledge(tracker, place, each.offset)
                await counter.take(each.key, each.value, each.timestamp, each.offset, ack)


def acknowledge(tracker: OffsetTracker, place: TopicPartition, offset: int) -> Acknowledge:
    token = tracker.begin(place, offset)
    return lambda: tracker.done(place, offset, token)


async def commit(consumer: AIOKafkaConsumer, tracker: OffsetTracker, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        await commit_once(consumer, tracker)


async def commit_once(consumer: AIOKafkaConsumer, tracker: OffsetTracker) -> None:
    positions = {place: tracker.position(place) for place in consumer.assignment()}
    if known := {place: at for place, at in positions.items() if at is not None}:
        await consumer.commit(known)


Engine = Callable[[Job, AIOKafkaProducer, Meter], Awaitable[dict[str, Any]]]
ENGINES: dict[str, Engine] = {"faust": faust_engine, "aiokafka": aiokafka_engine}


async def work(job: Job) -> dict[str, Any]:
    sender = producer(Connection(job.brokers))
    await sender.start()
    try:
        return await ENGINES[job.engine](job, sender, Meter(job.rows))
    finally:
        await sender.stop()


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    if job.core is not None:
        os.sched_setaffinity(0, {job.core})
    print(json.dumps(asyncio.run(work(job)) | {"job": asdict(job)}), flush=True)


if __name__ == "__main__":
    main()
