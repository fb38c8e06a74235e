"""A worker process: models, agents, metrics, from the first log line to the last commit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Collection
from dataclasses import asdict

import faust

from streams import metrics as metrics_server
from streams import records
from streams.agents.base import Agent, Means
from streams.app import faust_app, lag
from streams.composition import Workshop
from streams.delivery import KafkaCheckpoints, KafkaOutbox, producer
from streams.events import Topics
from streams.metrics import Metrics
from streams.settings import Settings
from streams.texts import TextReader
from streams.topics import ensure_topics

log = logging.getLogger("tenor.worker")

STOP_S = 10.0
"""How long the consumers may take to commit and leave."""


class WorkerError(Exception):
    """The worker could not go on; the message says why."""


class Worker:
    """Runs some agents until it is told to stop, or cannot go on."""

    def __init__(self, settings: Settings, brokers: str, agents: Collection[str]) -> None:
        self._settings = settings
        self._brokers = brokers
        self._names = agents
        self._metrics = Metrics()
        self._not_ready = "starting"
        self._stop = asyncio.Event()
        self._broken: BaseException | None = None

    async def run(self) -> None:
        """Works until SIGTERM or SIGINT, then commits what is done and leaves.

        Raises:
            WorkerError: Kafka or an agent failed; the supervisor should start the worker anew.
        """
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, self._stop.set)
        records.install()
        async with contextlib.AsyncExitStack() as stack:
            await self._serve_metrics(stack)
            await ensure_topics(self._brokers, self._settings)
            agents, apps = await self._start(stack)
            tasks = [asyncio.create_task(agent.watch_idleness()) for agent in agents]
            tasks.append(asyncio.create_task(self._metrics.watch_event_loop()))
            tasks.append(asyncio.create_task(self._watch_lag(apps)))
            tasks += [asyncio.create_task(app.wait_until_stopped()) for app in apps]
            self._not_ready = ""
            log.info("ready: %s", ", ".join(self._names))
            await self._until_stopped(tasks)
            self._not_ready = "stopping"
            await self._stop_apps(apps)
            for task in tasks:
                task.cancel()
            for agent in agents:
                await agent.close()
        if self._broken:
            raise WorkerError(f"{type(self._broken).__name__}: {self._broken}") from self._broken

    async def _serve_metrics(self, stack: contextlib.AsyncExitStack) -> None:
        host, wanted = self._settings.metrics_host, self._settings.metrics_port
        try:
            runner, port = await metrics_server.serve(
                self._metrics, host, wanted, lambda: self._not_ready
            )
        except OSError as error:
            raise WorkerError(
                f"cannot listen on TENOR_METRICS_HOST {host}, TENOR_METRICS_PORT {wanted}: "
                f"{error.strerror}"
            ) from error
        stack.push_async_callback(runner.cleanup)
        log.info("metrics on http://%s:%d/metrics", host, port)

    async def _start(self, stack: contextlib.AsyncExitStack) -> tuple[list[Agent], list[faust.App]]:
        topics = Topics.of(self._settings.topic_prefix)
        sender = producer(self._brokers)
        await sender.start()
        stack.push_async_callback(sender.stop)
        means = Means(
            self._settings,
            KafkaOutbox(sender, topics, self._metrics, lambda: time.time_ns() // 1_000_000),
            KafkaCheckpoints(self._brokers, topics),
            self._metrics,
            self._fail,
        )
        texts = TextReader(
            self._brokers, self._settings, means.outbox, means.checkpoints, self._fail
        )
        stack.push_async_callback(texts.close)
        workshop = Workshop(self._settings, self._metrics, log.info, texts)
        stack.callback(workshop.close)
        self._not_ready = "loading models"
        agents = await asyncio.to_thread(workshop.agents, self._names, means)
        for batcher in workshop.batchers:
            stack.push_async_callback(batcher.close)
        apps = [faust_app(each, self._brokers, self._settings, self._fail) for each in agents]
        self._not_ready = "joining the consumer groups"
        # `start` returns when the first assignment is complete, so all of them at once.
        await asyncio.gather(*(app.start() for app in apps))
        return agents, apps

    async def _until_stopped(self, tasks: list[asyncio.Task[None]]) -> None:
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        for task in tasks:
            if task.done() and not self._stop.is_set():
                self._fail(task.exception() or WorkerError("an agent stopped by itself"))

    async def _stop_apps(self, apps: list[faust.App]) -> None:
        stopping = [asyncio.create_task(app.stop()) for app in apps]
        _, pending = await asyncio.wait(stopping, timeout=STOP_S)
        if pending:
            log.error("Kafka does not answer; what was not committed will be worked on again")
            os._exit(1)  # Faust waits for a broker that is gone without end, and takes no cancel

    async def _watch_lag(self, apps: list[faust.App]) -> None:
        topics = Topics.of(self._settings.topic_prefix)
        fields = {name: field for field, name in asdict(topics).items()}
        while True:
            for app in apps:
                for name, events in lag(app).items():
                    self._metrics.lag.labels(fields[name]).set(events)
            await asyncio.sleep(1)

    def _fail(self, error: BaseException) -> None:
        self._broken = self._broken or error
        self._stop.set()
