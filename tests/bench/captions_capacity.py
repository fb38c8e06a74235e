"""Measures how many live sessions one machine captions.

    python tests/bench/captions_capacity.py [--json] [--sessions N|search] [--seconds 60] [--kafka]

A session is one channel that speaks 60 % of the time (`talk.py`), sent in chunks of 0.1 s at their
time by the clock on the wall. A run is `WARM_S` of warm-up, then the seconds that count, then
`COOL_S`, all under the same load. Settings are those of the environment (`TENOR_*`).

Without `--kafka` the agent and the load maker are one process; what the load maker takes alone is
measured beforehand. With it there are a private broker, a worker with the audio agent, a process
that produces, and this one, which reads `recognition`: all of them share the machine's cores.

A number of sessions is sustained if no reason speaks against it, of these (`not_sustained`):
`latency`, the 95th percentile of `stable_s` is over 2 s; `backlog`, its mean in the last third is
more than 0.5 s above that in the middle third; `lag`, the same of `lag_events` and 20 events a
session; `accounts`, captions, silence and gaps are not all the audio, whole and once; `gaps`, for
other reasons than distrust of a transcript, which does not depend on load; `unfinished`, `DRAIN_S`
after the end not everything is delivered. `search` doubles the number until it is not sustained,
and bisects.

The JSON holds `machine`, `settings`, `speech` (where it is from), `kafka`, `max_sustained` (0:
none; without a search, N or 0), and `runs`, each with

- `sessions`, `seconds`, `sustained`, `not_sustained`;
- `stable_s`, `final_s`: p50 and p95 of the delays of `streams.evaluation`, of `words` and `finals`
  that end within the seconds that count;
- `backlog_s`: for how long the oldest final caption that waits has been due, mean in each third;
  `lag_events`: events not yet done, those of utterances under way among them, mean in each third
  (Kafka only);
- `speech_s`: length of the phrases within the seconds that count; `partials_per_speech_s`: partial
  captions delivered per second of them; `partials_skipped`: the share of those asked for that were
  not decoded;
- `degradation`: mean of `tenor_captions_degradation` in each tenth of the time (0 nothing, 1 fewer
  partials, 2 finals only);
- `cpu_cores`: busy cores, by process: `worker`, `load_maker`, `broker`, `reader` (this process),
  and `others`, the rest of the machine, which disturbs;
- `load_maker_alone_cores`: of the load maker without Kafka, whose work is part of `worker` there;
- `rss_mb`: the most, by process; `loop_lag_p95_s`: the agent's event loop wakes no later than that,
  the upper bound of a histogram's bucket;
- `covered_ms`, `gap_ms`, `fed_ms`, `gaps` (ms by reason): of all audio.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, Final, cast

import psutil
from prometheus_client import generate_latest
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from streams.agents.base import Agent
from streams.broker import Broker
from streams.clock import now_ms
from streams.connection import Connection
from streams.delivery import Record, producer
from streams.events import Topics
from streams.loading.search import most_held
from streams.local import Captioner, LocalOutbox, listener
from streams.media import Pcm
from streams.metrics import Metrics, read_metrics
from streams.replay import Moment, Player
from streams.results import result_of
from streams.settings import Settings
from streams.watch import Received, follow
from tests.bench.capacity import CHUNK_MS, Line, Run, Sample, figures
from tests.bench.talk import paced, phrases, talk
from tests.harness import Installation

WARM_S: Final = 8.0
COOL_S: Final = 3.0
DRAIN_S: Final = 60.0
ALONE_S: Final = 5.0
"""How long the load maker is measured alone."""
STAGGER_MS: Final = 2000
"""Within this all sessions begin."""
SAMPLE_S: Final = 1.0
FIRST: Final = 2
"""Sessions that a search begins with."""
SETTINGS: Final = ("speech_model", "device", "threads", "decoders", "decoder_batch", "partial_ms")

Exported = Callable[[], Awaitable[str]]
"""Gives the agent's metrics in Prometheus' text format."""
Processes = dict[str, psutil.Process]


@dataclass(frozen=True, slots=True)
class Load:
    """So many sessions, `counted_s` of which counts."""

    sessions: int
    counted_s: float

    @property
    def chunks(self) -> int:
        """Of each session."""
        return round((WARM_S + self.counted_s + COOL_S) * 1000 / CHUNK_MS)

    @property
    def patience_s(self) -> float:
        """After which everything should be delivered."""
        return (STAGGER_MS + self.chunks * CHUNK_MS) / 1000 + DRAIN_S

    def names(self) -> list[str]:
        return [f"session-{number}" for number in range(self.sessions)]

    def offset_ms(self, number: int) -> int:
        """How much later than the first a session begins."""
        return STAGGER_MS * number // self.sessions

    def window(self, start: int) -> tuple[float, float]:
        """The time that counts if it begins at `start` (ms)."""
        first = start + WARM_S * 1000
        return first, first + self.counted_s * 1000

    def lines(self, speech: Sequence[Pcm]) -> list[Line]:
        """Its sessions, before they begin."""
        made = []
        for number in range(self.sessions):
            spoken = [samples for _, samples in islice(talk(speech, number), self.chunks)]
            made.append(Line(self.offset_ms(number), self.chunks * CHUNK_MS, spoken))
        return made

    def moments(self, number: int, speech: Sequence[Pcm], begin: float) -> AsyncIterator[Moment]:
        """What a session sends if the first begins at `begin`, of the event loop's clock."""
        chunks = (chunk for chunk, _ in islice(talk(speech, number), self.chunks))
        return paced(chunks, begin + self.offset_ms(number) / 1000)


async def watch(
    exported: Exported, processes: Processes, now: Callable[[], float], samples: list[Sample]
) -> None:
    """Takes a sample every second, without end."""
    while True:
        times = {name: process.cpu_times() for name, process in processes.items()}
        cpu_s = {name: each.user + each.system for name, each in times.items()}
        machine = psutil.cpu_times()
        cpu_s["machine"] = sum(machine) - machine.idle - getattr(machine, "iowait", 0.0)
        rss = {name: process.memory_info().rss for name, process in processes.items()}
        samples.append(Sample(now(), read_metrics(await exported()), cpu_s, rss))
        await asyncio.sleep(SAMPLE_S)


# --- in this process


async def measure_here(
    load: Load,
    speech: Sequence[Pcm],
    settings: Settings | None = None,
    during: AbstractContextManager[object] | None = None,
) -> dict[str, Any]:
    """The figures of a load on an agent in this process; `during` is entered while it plays."""
    alone, lines = await load_alone(load, speech), load.lines(speech)
    metrics, samples, worker = Metrics(), list[Sample](), {"worker": psutil.Process()}

    async def exported() -> str:
        return generate_latest(metrics.registry).decode()

    async with listener(settings or Settings(), metrics) as (agent, outbox):
        start = round(outbox.now())
        watching = [
            asyncio.create_task(metrics.watch_event_loop()),
            asyncio.create_task(watch(exported, worker, outbox.now, samples)),
        ]
        with suppress(TimeoutError), during or nullcontext():
            async with asyncio.timeout(load.patience_s):
                await play(Captioner(agent, outbox), load, lines, speech)
        for task in watching:
            task.cancel()
    return {**figures(Run(load.window(start), lines, samples)), "load_maker_alone_cores": alone}


async def play(
    captions: Captioner, load: Load, lines: Sequence[Line], speech: Sequence[Pcm]
) -> None:
    """Plays all sessions from now on, and keeps what is delivered in their lines."""
    start, begin = round(captions.now()), asyncio.get_running_loop().time()

    async def hear(number: int, name: str, line: Line) -> None:
        line.start += start
        moments = load.moments(number, speech, begin)
        async for delivery in captions.caption(name, moments, start=line.start):
            line.timeline.append(delivery)

    sessions = zip(range(load.sessions), load.names(), lines, strict=True)
    await asyncio.gather(*(hear(*session) for session in sessions))


async def load_alone(load: Load, speech: Sequence[Pcm]) -> float:
    """Cores that as many sessions take with an agent that only acknowledges."""
    short = Load(load.sessions, ALONE_S - WARM_S - COOL_S)
    captions, lines = Captioner(cast(Agent, _Deaf()), LocalOutbox()), short.lines(speech)
    cpu_s = time.process_time()
    await play(captions, short, lines, speech)
    return round((time.process_time() - cpu_s) / ALONE_S, 3)


class _Deaf:
    """Stands where an agent does and only acknowledges."""

    async def handle(self, record: Record) -> None:
        record.acknowledge()

    async def revoke(self, partitions: set[int]) -> None:
        pass


# --- through Kafka


async def measure_kafka(load: Load, speech: Sequence[Pcm], brokers: Connection) -> dict[str, Any]:
    """The figures of a load on a worker process."""
    prefix = f"capacity-{time.time_ns()}."
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(brokers, Topics.of(prefix), prefix, Path(folder))
        await installation.make_topics()
        worker = installation.start_worker(["audio"])
        try:
            await asyncio.to_thread(worker.ready)
            with _producing(load, installation) as (sender, begin):
                pids = {"worker": worker.process.pid, "load_maker": sender, "reader": os.getpid()}
                processes = {name: psutil.Process(pid) for name, pid in pids.items()}
                processes["broker"] = _java()

                async def exported() -> str:
                    return await asyncio.to_thread(worker.get, "metrics")

                look = partial(watch, exported, processes, now_ms)
                return await _read(load, speech, installation, begin, look)
        finally:
            installation.stop()


async def _read(
    load: Load,
    speech: Sequence[Pcm],
    installation: Installation,
    begin: Callable[[int], None],
    look: Callable[[list[Sample]], Coroutine[Any, Any, None]],
) -> dict[str, Any]:
    """Lets the load begin, and reads what comes of it while `look` takes samples."""
    lines, samples = dict(zip(load.names(), load.lines(speech), strict=True)), list[Sample]()
    received = follow(installation.brokers, installation.topics, ("recognition",))
    await anext(received)
    start = now_ms() + 500
    for line in lines.values():
        line.start += start
    begin(start)
    watching = asyncio.create_task(look(samples))
    with suppress(TimeoutError):
        async with asyncio.timeout(load.patience_s):
            await _keep(received, lines)
    watching.cancel()
    return figures(Run(load.window(start), list(lines.values()), samples))


async def _keep(received: AsyncIterator[Received], lines: dict[str, Line]) -> None:
    """Keeps the results in the lines of their sessions until all of these are complete."""
    under_way = set(lines)
    async for each in received:
        assert each.event, "the worker wrote something that cannot be read"
        session = each.event.session
        lines[session].timeline.append((each.at, result_of(each.event)))
        if lines[session].complete:
            under_way.discard(session)
        if not under_way:
            return


@contextmanager
def _producing(
    load: Load, installation: Installation
) -> Iterator[tuple[int, Callable[[int], None]]]:
    """A process that is ready to send the load: its id, and what makes it begin at a time (ms)."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    arguments = (load, installation.brokers, installation.topics, theirs)
    process = spawn.Process(target=_produce, args=arguments, daemon=True)
    process.start()
    try:
        ours.recv()
        assert process.pid
        yield process.pid, ours.send
    finally:
        process.kill()
        process.join()


def _produce(load: Load, brokers: Connection, topics: Topics, parent: Pipe) -> None:
    asyncio.run(_send_all(load, brokers, topics, parent))


async def _send_all(load: Load, brokers: Connection, topics: Topics, parent: Pipe) -> None:
    speech, clock = phrases()[1], asyncio.get_running_loop().time
    async with producer(brokers) as sender:
        parent.send("ready")
        start = parent.recv()
        begin = clock() + (start - now_ms()) / 1000

        async def send(number: int, name: str) -> None:
            player = Player(sender, topics, name, start + load.offset_ms(number))
            async for moment in load.moments(number, speech, begin):
                await player.play(moment)
            await player.end(load.chunks * CHUNK_MS / 1000)

        await asyncio.gather(*(send(*each) for each in enumerate(load.names())))


def _java() -> psutil.Process:
    """The private Kafka."""
    children = psutil.Process().children(recursive=True)
    return next(each for each in children if each.name().startswith("java"))


# --- the command


def progress(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def measure_all(
    sessions: str,
    measure: Callable[[Load], Coroutine[Any, Any, dict[str, Any]]],
    seconds: float,
    first: int = FIRST,
) -> tuple[int, list[dict[str, Any]]]:
    """How many sessions are sustained, and the figures of every run; a search begins at `first`."""
    runs: list[dict[str, Any]] = []

    def sustains(count: int) -> bool:
        runs.append(asyncio.run(measure(Load(count, seconds))))
        progress(json.dumps(runs[-1]))
        return bool(runs[-1]["sustained"])

    if sessions == "search":
        return most_held(sustains, first), runs
    return int(sessions) * sustains(int(sessions)), runs


def show(results: dict[str, Any]) -> None:
    """The figures for people."""
    table = Table(title=f"max_sustained {results['max_sustained']}", title_justify="left")
    names = [name for name in results["runs"][0] if name != "sessions"]
    for header in ("sessions", *(str(run["sessions"]) for run in results["runs"])):
        table.add_column(header)
    for name in names:
        table.add_row(name, *(json.dumps(run[name]).strip("{}") for run in results["runs"]))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sessions", default="search", help="a number, or search")
    parser.add_argument("--seconds", type=float, default=60.0, help="that count, of each run")
    parser.add_argument("--kafka", action="store_true")
    options = parser.parse_args()
    source, speech = phrases()
    with ExitStack() as stack:
        measure = partial(measure_here, speech=speech)
        if options.kafka:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            broker = stack.enter_context(Broker(Path(folder)))
            measure = partial(measure_kafka, speech=speech, brokers=Connection(broker.bootstrap))
        most, runs = measure_all(options.sessions, measure, options.seconds)
    results = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "settings": Settings().model_dump(include=set(SETTINGS)),
        "speech": source,
        "kafka": options.kafka,
        "max_sustained": most,
        "runs": runs,
    }
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        show(results)


if __name__ == "__main__":
    main()
