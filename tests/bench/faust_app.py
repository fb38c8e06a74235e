"""The worker that `faust_facts.py` measures: agents that copy, hold, or fail.

Three engines: `faust` commits by Faust's own accounting, `tracker` by `streams.transport`, and
`aiokafka` is the plain client with the same body. Everything that happens is a line of JSON on
standard output. It also shows how several Faust apps share the one event loop of a program that is
not `faust worker`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faust.types import TP, RecordMetadata

from streams import transport
from streams.offsets import OffsetTracker

MIB = 2**20
STOP_WITHIN_S = 10.0
Send = Callable[[str, bytes | None, bytes | None], Awaitable[asyncio.Future[RecordMetadata]]]


class Record(Protocol):
    """What Faust's messages and aiokafka's records have in common."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


def say(what: str, **more: object) -> None:
    print(json.dumps({"what": what, "at": time.time(), **more}), flush=True)


@dataclass
class Meter:
    """Counts records; says the time they took, once, when `target` of them were seen."""

    target: int
    seen: int = 0
    began: float = 0.0
    began_cpu: float = 0.0
    latest: float = 0.0
    longest_pause: float = 0.0

    def count(self) -> None:
        now = time.perf_counter()
        if self.seen:
            self.longest_pause = max(self.longest_pause, now - self.latest)
        else:
            self.began, self.began_cpu = now, time.process_time()
        self.seen, self.latest = self.seen + 1, now
        if self.seen == self.target:
            cpu = time.process_time() - self.began_cpu
            wall = now - self.began
            say("measured", wall_s=wall, cpu_s=cpu, pause_s=self.longest_pause)


@dataclass
class Handler:
    """The body of every agent: what to do with a record, and when to acknowledge it."""

    args: argparse.Namespace
    send: Send
    meter: Meter
    held: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        pairs = (pair.split(":") for pair in self.args.hold.split(",") if pair)
        self.held = {(int(partition), int(offset)) for partition, offset in pairs}

    async def __call__(self, record: Record, ack: Callable[[], object]) -> None:
        self.meter.count()
        if self.args.report:
            say("seen", partition=record.partition, offset=record.offset)
        if self.args.guard:
            try:
                self.check(record)
            except ValueError:
                await (await self.send(self.args.dead_letters, record.key, record.value))
                ack()
                return
        else:
            self.check(record)
        if (record.partition, record.offset) in self.held:
            return
        if self.args.out is None:
            ack()
        else:
            delivered = await self.send(self.args.out, record.key, record.value)
            delivered.add_done_callback(lambda sent: sent.exception() or ack())

    @staticmethod
    def check(record: Record) -> None:
        if (record.value or b"").startswith(b"bad"):
            raise ValueError("a record that cannot be handled")


def faust_app(args: argparse.Namespace, topic_name: str, meter: Meter) -> faust.App:
    app = faust.App(
        f"{args.group}-{topic_name}",
        broker=f"kafka://{args.bootstrap}",
        # A worker that died is noticed after this; heartbeats come often enough to miss three.
        broker_session_timeout=args.session,
        broker_heartbeat_interval=args.session / 4,
        broker_request_timeout=30.0,
        broker_commit_interval=0.5,
        broker_max_poll_records=args.poll,
        # Kafka returns a record that is larger than this, alone: it only bounds the others.
        consumer_max_fetch_size=MIB,
        stream_buffer_maxsize=args.buffer,
        # Windows hold records for seconds: revocation and shutdown must not wait for them.
        stream_wait_empty=False,
        producer_acks=-1,
        producer_linger=0.0,
        producer_max_request_size=17 * MIB,
        # No tables: then aiokafka's round-robin assignor is used, not Faust's.
        table_standby_replicas=0,
        # Topics are made by the operator; without the leader's topic Faust needs none of its own.
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    if args.engine == "tracker":
        transport.install(app)
    topic = app.topic(
        topic_name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )

    async def send(
        name: str, key: bytes | None, value: bytes | None
    ) -> asyncio.Future[RecordMetadata]:
        sent = await app.producer.send(name, key, value, None, None, None)
        return asyncio.ensure_future(sent)

    handle = Handler(args, send, meter)

    @app.agent(topic, name=f"agent-{topic_name}")  # type: ignore[arg-type]
    async def copy(stream: faust.Stream[bytes]) -> None:
        if args.auto:
            async for event in stream.events():
                await handle(event.message, lambda: None)
        async for event in stream.noack().events():
            await handle(event.message, event.ack)

    @app.on_partitions_assigned.connect  # type: ignore[arg-type]
    async def report(_: faust.App, assigned: set[TP], **__: object) -> None:
        say("assigned", topic=topic_name, partitions=sorted(tp.partition for tp in assigned))

    return app


async def run_faust(args: argparse.Namespace, stop: asyncio.Event) -> None:
    apps = [faust_app(args, topic, Meter(args.count)) for topic in args.topic]
    # `start` returns when the first assignment is complete, so all of them at once.
    await asyncio.gather(*(app.start() for app in apps))
    say("ready")
    # An app that crashed is stopped, too: the process ends, and whoever started it starts anew.
    ends = [asyncio.create_task(app.wait_until_stopped()) for app in apps]
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait([asked, *ends], return_when=asyncio.FIRST_COMPLETED)
    say("stopping", crashed=[str(app.crash_reason) for app in apps if app.crash_reason])
    stops = [asyncio.create_task(app.stop()) for app in apps]
    _, unfinished = await asyncio.wait(stops, timeout=STOP_WITHIN_S)
    if unfinished:
        # Faust waits for ever for a Kafka that is gone. Nothing is lost: what is not committed
        # will be delivered again.
        say("abandoned")
        os._exit(1)


async def run_aiokafka(args: argparse.Namespace, stop: asyncio.Event) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=args.bootstrap, acks="all", linger_ms=0)
    consumer = AIOKafkaConsumer(
        *args.topic,
        bootstrap_servers=args.bootstrap,
        group_id=f"{args.group}-{args.topic[0]}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=int(args.session * 1000),
        heartbeat_interval_ms=int(args.session * 250),
        max_poll_records=args.poll,
        fetch_max_wait_ms=1500,
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
    )
    await producer.start()
    await consumer.start()
    say("ready")

    async def send(
        name: str, key: bytes | None, value: bytes | None
    ) -> asyncio.Future[RecordMetadata]:
        sent: asyncio.Future[RecordMetadata] = await producer.send(name, value, key=key)
        return sent

    work = asyncio.ensure_future(consume(consumer, Handler(args, send, Meter(args.count))))
    await stop.wait()
    work.cancel()
    await consumer.stop()
    await producer.stop()


async def consume(consumer: AIOKafkaConsumer, handle: Handler) -> None:
    """The whole of a consumer that does without Faust; rebalances are left out."""
    tracker = OffsetTracker()
    committed = time.monotonic()
    while True:
        for tp, records in (await consumer.getmany(timeout_ms=500)).items():
            for record in records:
                await handle(record, acknowledge(tracker, tp, record))
        if time.monotonic() - committed > 0.5:
            positions = {tp: tracker.position(tp) for tp in consumer.assignment()}
            known = {tp: at for tp, at in positions.items() if at is not None}
            if known:
                await consumer.commit(known)
            committed = time.monotonic()


def acknowledge(
    tracker: OffsetTracker, tp: TopicPartition, record: ConsumerRecord
) -> Callable[[], bool]:
    token = tracker.begin(tp, record.offset)
    return lambda: tracker.done(tp, record.offset, token)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=["faust", "tracker", "aiokafka"], default="tracker")
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--topic", action="append", required=True, help="one app for each")
    parser.add_argument("--out", help="copy every record there")
    parser.add_argument("--dead-letters", default="dead")
    parser.add_argument("--count", type=int, default=0, help="say how long this many took")
    parser.add_argument("--hold", default="", help="partition:offset,.. never acknowledged")
    parser.add_argument("--report", action="store_true", help="say every record")
    parser.add_argument("--guard", action="store_true", help="failures go to the dead letters")
    parser.add_argument("--auto", action="store_true", help="Faust acknowledges after the body")
    parser.add_argument("--session", type=float, default=6.0)
    parser.add_argument("--buffer", type=int, default=256)
    parser.add_argument("--poll", type=int, default=64)
    return parser.parse_args()


async def main() -> None:
    args = arguments()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    await (run_aiokafka if args.engine == "aiokafka" else run_faust)(args, stop)
    say("stopped")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main())
