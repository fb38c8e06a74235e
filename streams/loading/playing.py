"""Plays one load on an installation, from its topics and workers to its figures."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from streams import access, rights
from streams.broker import Broker
from streams.clock import now_ms
from streams.connection import Connection
from streams.events import Topics
from streams.loading.accounts import Accounts
from streams.loading.calls import Conversation, Load
from streams.loading.driving import Driver, Sent, Task, driver
from streams.loading.latencies import Latencies
from streams.loading.machine import Sample, Watched, take, watch
from streams.loading.reading import listening, read
from streams.loading.report import Objective, Run, figures
from streams.proving.fleet import Fleet
from streams.replay import Script
from streams.settings import Settings
from streams.topics import ensure_topics

IDLE_S: Final = 10.0
SOON_MS: Final = 500
SETTLE_S: Final = 1.0
"""For what may come after the last summary."""
TELL_S: Final = 15.0
READS: Final = (*rights.OUTPUTS, "deadletters")

Tell = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Order:
    """What to play: calls of so many seconds, on so many `workers` of our own (0: none). Results
    may come for `patience_s` after the last event; before the first, processes are watched for
    `idle_s`."""

    sessions: int
    seconds: float
    workers: int = 1
    objective: Objective = field(default_factory=Objective)
    patience_s: float = 60.0
    seed: int = 1
    idle_s: float = IDLE_S


@dataclass(frozen=True, slots=True)
class Place:
    """A Kafka, and what our own workers are told to use it; `kafka` is that of a private one."""

    brokers: Connection
    settings: Settings
    environment: dict[str, str]
    folder: Path
    kafka: Broker | None = None


async def play(
    order: Order, sessions: int, at: Place, script: Script, tell: Tell
) -> dict[str, Any]:
    """The figures of a load of so many calls.

    Raises:
        LoadError, ProcessError, KafkaError: nothing could be measured.
    """
    load = Load(f"load-{uuid.uuid4().hex[:8]}", sessions, order.seconds, order.seed)
    channels = Conversation(script).channels
    async with AsyncExitStack() as stack:
        topics, fleet = await stack.enter_async_context(_installed(order, load, at))
        driving = stack.enter_context(driver(Task(load, script, at.brokers, topics)))
        await fleet.start(order.workers)
        return await _Play(order, load, at, topics, fleet, driving, tell).run(channels)


@asynccontextmanager
async def _installed(order: Order, load: Load, at: Place) -> AsyncIterator[tuple[Topics, Fleet]]:
    """Topics, and a fleet that has no worker yet. On a private Kafka they are new for each load, so
    that nothing is left of the one before."""
    settings, environment = at.settings, at.environment
    if at.kafka is not None:
        settings = settings.model_copy(update={"topic_prefix": f"{load.name}."})
        environment = {
            **environment,
            "TENOR_TOPIC_PREFIX": settings.topic_prefix,
            "TENOR_GROUP": load.name,
        }
    topics = Topics.of(settings.topic_prefix)
    await access.check(at.brokers, rights.of_producer(topics) | rights.of_reader(topics, READS))
    await ensure_topics(at.brokers, settings, None if order.workers else (*rights.INPUTS, *READS))
    async with Fleet(at.folder / load.name, environment) as fleet:
        yield topics, fleet


@dataclass(slots=True)
class _Play:
    """A load that is about to be played: all workers are ready, and its driver is."""

    order: Order
    load: Load
    at: Place
    topics: Topics
    fleet: Fleet
    driving: Driver
    tell: Tell
    samples: list[Sample] = field(default_factory=list)

    async def run(self, channels: tuple[str, ...]) -> dict[str, Any]:
        """From the idle time before the load to its figures."""
        processes = {"producer": [self.driving.pid], "reader": [os.getpid()]}
        if self.at.kafka is not None:
            processes["kafka"] = self.at.kafka.pids
        watched = Watched(processes, lambda: self.fleet.workers)
        async with listening(self.at.brokers, self.topics) as consumer:
            idle = now_ms()
            start = idle + round(self.order.idle_s * 1000) + SOON_MS
            calls = self.load.spans(start)
            accounts, latencies = Accounts(calls, channels), Latencies(calls)
            complete = asyncio.Event()
            sent = await alongside(
                self._play(start, accounts, complete),
                watch(watched, self.samples),
                read(consumer, self.topics, accounts, latencies, complete),
            )
        self.samples.append(await asyncio.to_thread(take, watched))
        run = Run(
            load=self.load,
            start=start,
            idle=(idle, start),
            sent=sent,
            accounts=accounts,
            latencies=latencies,
            samples=self.samples,
            kafka_bytes=self._disk(),
            restarts=self.fleet.ended_by_themselves,
        )
        return figures(run, self.order.objective)

    async def _play(self, start: int, accounts: Accounts, complete: asyncio.Event) -> Sent:
        """Until every session is summed up, or patience ends."""
        self.driving.begin(start)
        sent = await alongside(self.driving.done(), self._progress(accounts))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(complete.wait(), self.order.patience_s)
        await asyncio.sleep(SETTLE_S)
        return sent

    async def _progress(self, accounts: Accounts) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            lag = self.samples[-1].lag if self.samples else {}
            waiting = ", ".join(f"{agent} {events:g}" for agent, events in lag.items() if events)
            self.tell(f"{accounts.results.total()} results; events not yet done: {waiting or 0}")

    def _disk(self) -> int | None:
        """Bytes that the private Kafka holds of this load."""
        if self.at.kafka is None:
            return None
        folders = (node.folder / "data" for node in self.at.kafka.nodes)
        logs = (file for folder in folders for file in folder.rglob(f"{self.load.name}.*/*.log"))
        return sum(file.stat().st_size for file in logs)


async def alongside(work: Coroutine[Any, Any, T], *others: Coroutine[Any, Any, None]) -> T:
    """Does the work while the others go on; raises what ends one of these before."""
    doing = asyncio.create_task(work)
    going = [asyncio.create_task(each) for each in others]
    try:
        done, _ = await asyncio.wait([doing, *going], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return await doing
    finally:
        for task in (doing, *going):
            task.cancel()
        await asyncio.gather(doing, *going, return_exceptions=True)
