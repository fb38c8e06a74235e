"""The demo: a private Kafka, a worker, a gateway, a recorded call; all live, then the figures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from streams import watch
from streams.broker import Broker, is_free
from streams.clock import now_ms
from streams.connection import Connection
from streams.events import Event, EventType, Topics
from streams.processes import GatewayProcess, ProcessError, WorkerProcess
from streams.replay import Script, load, replay
from streams.report import Report, print_report
from streams.settings import Settings
from streams.topics import ensure_topics

RUN = Path(".run")
PATIENCE_S = 60.0
"""How long after the end of the call its last result may take."""


OPEN = dict.fromkeys(
    (f"TENOR_GATEWAY_{each}" for each in ("KEYS_FILE", "TLS_CERTIFICATE", "TLS_KEY", "ORIGINS")), ""
) | {"TENOR_GATEWAY_HOST": "127.0.0.1"}
"""The demo's gateway is for who sits here, whatever is configured for another."""


def run_demo(
    settings: Settings, folder: Path, out: Path, console: Console, page_port: int | None
) -> int:
    """Runs everything; returns the exit status. All processes are ended, whatever happens.

    With a port there is a page on it, or on a free one if it is taken (or 0), which stays open for
    whoever sits at a terminal.
    """
    script = load([folder])
    # A SIGTERM shall clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    folder_of_run = RUN / f"demo-{os.getpid()}"
    try:
        with contextlib.ExitStack() as stack:
            brokers, environment = stack.enter_context(broker(settings, folder_of_run, console))
            asyncio.run(ensure_topics(brokers, settings))
            process = stack.enter_context(worker(environment, folder_of_run, console))
            page = None
            if page_port is not None:
                page = stack.enter_context(gateway(page_port, environment, folder_of_run, console))
            report = Report(f"demo-{uuid.uuid4().hex[:8]}")
            console.print(f"\nplaying {script.seconds:.0f} s, session {report.session}")
            if page:
                console.print(f"look at it on {page.url}/#/s/{report.session}")
            asyncio.run(_play(settings, brokers, script, report, console))
            if process.ended:
                console.print("the worker has ended by itself", style="red")
            results = report.results(script)
            out.write_text(json.dumps(results, indent=2) + "\n")
            print_report(results, console)
            console.print(f"written to {out}")
            if page and sys.stdin.isatty():
                _stay(page, process, console)
    except KeyboardInterrupt:
        console.print("\nstopped; everything that was started has been ended")
        return 130
    shutil.rmtree(folder_of_run, ignore_errors=True)
    return 0 if report.complete else 1


def _stay(page: GatewayProcess, process: WorkerProcess, console: Console) -> None:
    """Until Ctrl-C. Raises ProcessError: one of them has ended by itself."""
    console.print(f"\nThe page stays open: try your microphone on {page.url}/ - Ctrl-C ends it.")
    with contextlib.suppress(KeyboardInterrupt):
        while not (page.ended or process.ended):
            time.sleep(0.5)
        which = page if page.ended else process
        raise ProcessError(f"the {which.name} has ended by itself; its log is {which.log}")


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
    with WorkerProcess.start(folder / "worker.log", environment).running() as process:
        console.print(f"worker is ready; metrics on http://127.0.0.1:{process.port}/metrics")
        yield process


@contextlib.contextmanager
def gateway(
    port: int, environment: dict[str, str], folder: Path, console: Console
) -> Iterator[GatewayProcess]:
    """A gateway that anybody on this machine may use, from ready to ended."""
    made = GatewayProcess.start(
        folder / "gateway.log", {**environment, **OPEN}, port=port if is_free(port) else 0
    )
    with made.running() as process:
        console.print(f"gateway is ready; live sessions on {process.url}/")
        yield process


async def _play(
    settings: Settings, brokers: Connection, script: Script, report: Report, console: Console
) -> None:
    """Fills the report."""
    topics = Topics.of(settings.topic_prefix)
    console.print()
    listening = asyncio.Event()
    watching = asyncio.create_task(_watch(brokers, topics, report, console, listening))
    await asyncio.wait(
        [watching, asyncio.create_task(listening.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    report.start = now_ms()
    report.events_in = await replay(script, brokers, topics, report.session, start=report.start)
    try:
        await asyncio.wait_for(watching, PATIENCE_S)
        report.complete = True
    except TimeoutError:
        console.print(f"not every result came within {PATIENCE_S:g} s", style="red")


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
