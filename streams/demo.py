"""The demo: a private Kafka, a worker, a recorded call; everything live, then the figures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from streams import watch
from streams.broker import Broker
from streams.clock import now_ms
from streams.connection import Connection
from streams.events import Event, EventType, Topics
from streams.processes import WorkerProcess
from streams.replay import Script, load, replay
from streams.report import Report, print_report
from streams.settings import Settings
from streams.topics import ensure_topics

RUN = Path(".run")
PATIENCE_S = 60.0
"""How long after the end of the call its last result may take."""


def run_demo(settings: Settings, folder: Path, out: Path, console: Console) -> int:
    """Runs everything; returns the exit status. All processes are ended, whatever happens."""
    script = load([folder])
    # A SIGTERM shall clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    folder_of_run = RUN / f"demo-{os.getpid()}"
    try:
        with broker(settings, folder_of_run, console) as (brokers, environment):
            asyncio.run(ensure_topics(brokers, settings))
            with worker(environment, folder_of_run, console) as process:
                report = asyncio.run(_play(settings, brokers, script, process, console))
    except KeyboardInterrupt:
        console.print("\nstopped; everything that was started has been ended")
        return 130
    shutil.rmtree(folder_of_run, ignore_errors=True)
    results = report.results(script)
    out.write_text(json.dumps(results, indent=2) + "\n")
    print_report(results, console)
    console.print(f"written to {out}")
    return 0 if report.complete else 1


@contextlib.contextmanager
def broker(
    settings: Settings, folder: Path, console: Console
) -> Iterator[tuple[Connection, dict[str, str]]]:
    """The Kafka of the settings, or a private one, and what a worker is told to use it."""
    if settings.brokers:
        yield Connection.of(settings), {}
        return
    console.print("starting a private Apache Kafka ..")
    with Broker((folder / "kafka").absolute()) as kafka:
        console.print(f"Kafka is ready on {kafka.bootstrap}")
        yield Connection(kafka.bootstrap), kafka.environment


@contextlib.contextmanager
def worker(environment: dict[str, str], folder: Path, console: Console) -> Iterator[WorkerProcess]:
    """A worker process with all agents, from ready to ended."""
    console.print("loading the models ..")
    process = WorkerProcess.start(folder / "worker.log", environment)
    try:
        process.ready()
        console.print(f"worker is ready; metrics on http://127.0.0.1:{process.port}/metrics")
        yield process
    finally:
        process.stop()


async def _play(
    settings: Settings,
    brokers: Connection,
    script: Script,
    process: WorkerProcess,
    console: Console,
) -> Report:
    topics = Topics.of(settings.topic_prefix)
    session = f"demo-{uuid.uuid4().hex[:8]}"
    report = Report(session)
    console.print(f"\nplaying {script.seconds:.0f} s, session {session}\n")
    listening = asyncio.Event()
    watching = asyncio.create_task(_watch(brokers, topics, report, console, listening))
    await asyncio.wait(
        [watching, asyncio.create_task(listening.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    report.start = now_ms()
    report.events_in = await replay(script, brokers, topics, session, start=report.start)
    try:
        await asyncio.wait_for(watching, PATIENCE_S)
        report.complete = True
    except TimeoutError:
        console.print(f"not every result came within {PATIENCE_S:g} s", style="red")
    if process.ended:
        console.print("the worker has ended by itself", style="red")
    return report


async def _watch(
    brokers: Connection, topics: Topics, report: Report, console: Console, listening: asyncio.Event
) -> None:
    """Shows and collects until the session's summary has come."""
    screen = watch.Screen(console, one_session=True)
    outputs = ("recognition", "sentiment", "deadletters")
    async for received in watch.follow(brokers, topics, outputs):
        listening.set()
        screen.zero = report.start
        event = received.event
        if received.topic == "deadletters":
            report.dead_letters += 1
        elif isinstance(event, Event) and event.session == report.session:
            result = watch.shown(received, report.session)
            if result is not None:
                report.add(event.type, result, received.at)
                screen.show(result)
            if event.type is EventType.SENTIMENT_SESSION:
                return
