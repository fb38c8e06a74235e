"""A worker process: models, agents, metrics, from the first log line to the last commit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Collection

import faust
from aiokafka.errors import KafkaError

from streams import access, memory, records, rights
from streams import metrics as metrics_server
from streams.agents.base import Agent, Means
from streams.app import faust_app, show_lag
from streams.checkpoints import KafkaCheckpoints
from streams.clock import now_ms
from streams.composition import Workshop
from streams.connection import Connection
from streams.delivery import KafkaOutbox, producer
from streams.errors import UserError
from streams.events import Topics
from streams.health import Health, Patience
from streams.metrics import Metrics
from streams.settings import Settings
from streams.texts import TextReader
from streams.topics import ensure_topics

log = logging.getLogger("tenor.worker")

STOP_S = 10.0
"""How long the consumers may take to commit and leave."""
WATCH_S = 1.0
"""Between two looks at lag and models."""


class WorkerError(UserError):
    """The worker could not go on; the message says why."""


class Worker:
    """Runs some agents until it is told to stop, or cannot go on."""

    def __init__(self, settings: Settings, brokers: Connection, agents: Collection[str]) -> None:
        self._settings = settings
        self._brokers = brokers
        self._names = agents
        self._topics = Topics.of(settings.topic_prefix)
        self._metrics = Metrics()
        self._health = Health(
            Patience(settings.model_stall_s, settings.model_timeout_s, settings.model_failure_s)
        )
        self._stop = asyncio.Event()
        self._broken: BaseException | None = None

    async def run(self) -> None:
        """Works until SIGTERM or SIGINT, then commits what is done and leaves.

        Raises:
            WorkerError: Kafka, an agent or a model failed; the supervisor should start the worker
                anew.
        """
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, self._stop.set)
        records.install()
        async with contextlib.AsyncExitStack() as stack:
            await self._serve_metrics(stack)
            await access.check(self._brokers, self._rights())
            await ensure_topics(self._brokers, self._settings)
            agents, apps = await self._start(stack)
            tasks = [asyncio.create_task(agent.watch_idleness()) for agent in agents]
            tasks.append(
                asyncio.create_task(self._metrics.watch_event_loop(woke=self._health.woke))
            )
            tasks.append(asyncio.create_task(self._watch_models()))
            tasks.append(asyncio.create_task(access.watch(self._brokers, self._rights())))
            tasks.append(asyncio.create_task(self._watch_lag(agents, apps)))
            trimming = asyncio.create_task(memory.keep_trimmed())
            stack.callback(trimming.cancel)
            tasks += [asyncio.create_task(app.wait_until_stopped()) for app in apps]
            self._health.stage = ""
            log.info("ready: %s", ", ".join(self._names))
            await self._until_stopped(tasks)
            self._health.stage = "stopping"
            await self._explain()
            await self._stop_apps(apps)
            for task in tasks:
                task.cancel()
            for agent in agents:
                await agent.close()
        self._leave_stuck_models()
        if self._broken:
            raise WorkerError(_why(self._broken)) from self._broken

    async def _serve_metrics(self, stack: contextlib.AsyncExitStack) -> None:
        host, wanted = self._settings.metrics_host, self._settings.metrics_port
        try:
            runner, port = await metrics_server.serve(
                self._metrics, host, wanted, lambda: self._health.not_ready(time.monotonic())
            )
        except OSError as error:
            raise WorkerError(
                f"cannot listen on TENOR_METRICS_HOST {host}, TENOR_METRICS_PORT {wanted}: "
                f"{error.strerror}"
            ) from error
        stack.push_async_callback(runner.cleanup)
        log.info("metrics on http://%s:%d/metrics", host, port)

    async def _start(self, stack: contextlib.AsyncExitStack) -> tuple[list[Agent], list[faust.App]]:
        sender = producer(self._brokers)
        await sender.start()
        stack.push_async_callback(sender.stop)
        checkpoints = KafkaCheckpoints(sender, self._brokers, self._topics, now_ms)
        means = Means(
            self._settings,
            KafkaOutbox(sender, self._topics, self._metrics, now_ms),
            checkpoints,
            self._metrics,
            self._fail,
        )
        texts = TextReader(self._brokers, self._settings, checkpoints, self._fail)
        stack.push_async_callback(texts.close)
        workshop = Workshop(self._settings, self._metrics, log.info, texts)
        stack.callback(workshop.close)
        self._health.stage = "loading models"
        agents = await asyncio.to_thread(workshop.agents, self._names, means)
        for batcher in workshop.batchers:
            stack.push_async_callback(batcher.close)
        self._health.models = [batcher.vitals for batcher in workshop.batchers]
        for vitals in self._health.models:
            self._metrics.watch_model(vitals)
        apps = [faust_app(each, self._brokers, self._settings, self._fail) for each in agents]
        self._health.stage = "joining the consumer groups"
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
            if self._broken:
                log.error("%s", _why(self._broken))
            log.error("Kafka does not answer; what was not committed will be worked on again")
            os._exit(1)  # Faust waits for a broker that is gone without end, and takes no cancel

    async def _explain(self) -> None:
        """What Kafka refused stands behind many errors, and says what to do."""
        if self._broken:
            try:
                await access.check(self._brokers, self._rights())
            except access.AccessError as error:
                self._broken = error
            except KafkaError:
                pass  # it does not answer; then the first error says more

    def _rights(self) -> set[rights.Right]:
        return rights.of_worker(self._names, self._topics, self._settings.group)

    async def _watch_lag(self, agents: list[Agent], apps: list[faust.App]) -> None:
        while True:
            for agent, app in zip(agents, apps, strict=True):
                show_lag(agent, app)
            await asyncio.sleep(WATCH_S)

    async def _watch_models(self) -> None:
        """Tells when a model falls sick and when it is sound again, and ends the worker when
        waiting does not help."""
        sick: set[str] = set()
        while True:
            now = time.monotonic()
            troubles = self._health.troubles(now)
            for model in troubles.keys() - sick:
                log.warning("%s; events wait", troubles[model])
            for model in sick - troubles.keys():
                log.warning("model %s answers again", model)
            sick = set(troubles)
            if why := self._health.hopeless(now):
                self._fail(WorkerError(why))
            await asyncio.sleep(WATCH_S)

    def _leave_stuck_models(self) -> None:
        """A thread cannot be killed, and Python would wait for it at its end."""
        if self._health.under_way(time.monotonic()):
            if self._broken:
                log.error("%s", _why(self._broken))
            os._exit(1 if self._broken else 0)

    def _fail(self, error: BaseException) -> None:
        self._broken = self._broken or error
        self._stop.set()


def _why(error: BaseException) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
