"""The join behind one hop through Kafka, beside Quix Streams on the same broker.

The records lie in a topic of one partition before a worker starts; every run is a process, a
consumer group and an output topic of its own, and its rows are read back and compared with the
right ones. The rounds go through the engines in turn.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from models.registry import cache_folder
from streams.broker import Broker, die_with_parent
from streams.connection import Connection
from streams.events import Topics
from streams.records import read_to
from tests.bench import join_agent
from tests.bench.join_agent import Calls
from tests.bench.join_faust import Job
from tests.bench.join_load import (
    LATENESS_MS,
    LENGTH_MS,
    Reading,
    Row,
    expected,
    ratios,
    readings,
    summary,
)

QUIX: Final = "quixstreams==3.28.1"
HERE: Final = Path(__file__).parent
ENGINES: Final = ("faust", "aiokafka", "quix")
EARLY_MS: Final = (0, 1000)
"""Event time between provisional results of the join agent: none, and the default."""
RUN_S: Final = 300.0
Tell = Callable[[str], None]


class BenchError(Exception):
    """A run did not come to its end; the message says why."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the worker runs alone, if a core is left for it; all else has the others."""

    worker: int | None
    rest: frozenset[int]

    @classmethod
    def of(cls, usable: Sequence[int]) -> Cores:
        *rest, last = sorted(usable)
        return cls(last, frozenset(rest)) if rest else cls(None, frozenset({last}))


@dataclass(frozen=True, slots=True)
class Check:
    """How the rows of a run differ from the right ones."""

    missing: int
    wrong: int
    repeated: int

    @classmethod
    def of(cls, found: Sequence[Row], right: set[Row]) -> Check:
        """A row with a window that there is, but other contents, is missing and wrong."""
        counts = Counter(found)
        return cls(
            missing=len(right - counts.keys()),
            wrong=len(counts.keys() - right),
            repeated=sum(counts.values()) - len(counts),
        )


@dataclass(slots=True)
class Lab:
    """A broker with the readings on it."""

    brokers: str
    folder: Path
    cores: Cores
    quix: Path | None
    rows: set[Row] = field(default_factory=set)
    late: int = 0
    runs: int = 0
    prefix: str = "join."

    async def fill(self, log: Sequence[Reading]) -> None:
        """Puts the readings on their topic, each with its event time as time stamp."""
        self.rows, self.late = expected(log)
        topics = Topics.of(self.prefix)
        await self.make(topics.features, topics.checkpoints)
        sender = AIOKafkaProducer(bootstrap_servers=self.brokers, acks="all", linger_ms=20)
        await sender.start()
        for each in log:
            value = json.dumps(each.body()).encode()
            sent = await sender.send(
                topics.features, value, each.session.encode(), timestamp_ms=each.time
            )
        await sent
        await sender.stop()

    async def make(self, *names: str) -> None:
        # Nothing is deleted for its age: the time stamps are event time.
        kept = {"retention.ms": "-1"}
        admin = AIOKafkaAdminClient(bootstrap_servers=self.brokers)
        await admin.start()
        await admin.create_topics([NewTopic(name, 1, 1, topic_configs=kept) for name in names])
        await admin.close()

    async def rows_of(self, topic: str) -> list[Row]:
        consumer = AIOKafkaConsumer(
            **Connection(self.brokers).options(), group_id=None, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            place = TopicPartition(topic, 0)
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            return [
                Row.from_body(each.key.decode(), json.loads(each.value))
                async for batch in read_to(consumer, place, end)
                for each in batch
            ]
        finally:
            await consumer.stop()

    async def run(self, engine: str) -> dict[str, Any]:
        """One run of a worker, and what its rows are worth."""
        self.runs += 1
        name = f"{engine}-{self.runs}"
        job = Job(
            engine=engine,
            brokers=self.brokers,
            prefix=self.prefix,
            group=name,
            out=f"out-{name}",
            rows=len(self.rows),
            core=self.cores.worker,
        )
        await self.make(job.out)
        report = await asyncio.to_thread(self._work, name, asdict(job))
        check = Check.of(await self.rows_of(job.out), self.rows)
        return report | asdict(check) | {"records_per_s": report["records"] / report["wall_s"]}

    async def run_agent(self, calls: Calls, early_ms: int) -> dict[str, float]:
        """One run of the join agent."""
        self.runs += 1
        return await join_agent.run(
            Connection(self.brokers),
            self.folder,
            f"agent-{self.runs}",
            calls,
            early_ms=early_ms,
            core=self.cores.worker,
        )

    def _work(self, name: str, job: dict[str, Any]) -> dict[str, Any]:
        script, python = HERE / "join_faust.py", Path(sys.executable)
        if job["engine"] == "quix":
            assert self.quix is not None
            script, python = HERE / "join_quix.py", self.quix
            windows = {"length_ms": LENGTH_MS, "lateness_ms": LATENESS_MS}
            job = job | windows | {"state": str(self.folder / name)}
        log = self.folder / f"{name}.log"
        with log.open("wb") as errors:
            done = subprocess.run(
                [python, script, json.dumps(job)],
                stdout=subprocess.PIPE,
                stderr=errors,
                timeout=RUN_S,
                check=False,
                preexec_fn=die_with_parent(),
            )
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            raise BenchError(f"{name} ended with {done.returncode}:\n{log.read_text()[-2000:]}")
        report: dict[str, Any] = json.loads(lines[-1])
        if not report["records"]:
            raise BenchError(f"{name} got no record:\n{log.read_text()[-2000:]}")
        return report


def quix_python(tell: Tell) -> Path:
    """A Python with Quix Streams, made the first time; the one of Tenor stays as it is.

    Raises:
        BenchError: it cannot be made, perhaps for want of a package registry.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache_folder() / f"{QUIX.replace('==', '-')}-py{version}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        tell(f"making an environment with {QUIX}")
        shutil.rmtree(folder, ignore_errors=True)
        _do(sys.executable, "-m", "venv", str(folder))
        _do(str(python), "-m", "pip", "install", "--quiet", QUIX)
        complete.touch()
    return python


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr[-500:]}")


def compare(runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The figures of each engine, also as multiples of Quix Streams' in that round."""
    rates = {engine: [run["records_per_s"] for run in each] for engine, each in runs.items()}
    costs = {
        engine: [1e6 * run["cpu_s"] / run["records"] for run in each]
        for engine, each in runs.items()
    }
    return [
        {
            "engine": engine,
            "records_per_s": summary(rates[engine]),
            "cpu_us_per_record": summary(costs[engine]),
            "of_quix": ratios(rates[engine], rates["quix"]) if "quix" in rates else None,
            "cpu_of_quix": ratios(costs[engine], costs["quix"]) if "quix" in costs else None,
            **{
                fault: max(run[fault] for run in each) for fault in ("missing", "wrong", "repeated")
            },
            "late": max(run["late"] for run in each),
            "complete": all(run["complete"] for run in each),
        }
        for engine, each in runs.items()
    ]


async def _rounds(
    lab: Lab, engines: Sequence[str], calls: Calls, rounds: int, tell: Tell
) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
    agent: dict[int, list[dict[str, float]]] = {each: [] for each in EARLY_MS}
    for number in range(rounds):
        for engine, found in runs.items():
            found.append(await lab.run(engine))
            rate = found[-1]["records_per_s"]
            tell(f"hop: round {number + 1} of {rounds}, {engine}: {rate:,.0f} records/s")
        for early_ms, told in agent.items():
            told.append(await lab.run_agent(calls, early_ms))
            rate = told[-1]["events_per_s"]
            tell(f"hop: round {number + 1} of {rounds}, join agent: {rate:,.0f} events/s")
    versions = runs["quix"][-1]["versions"] if "quix" in runs else None
    told_of = [
        {"early_ms": early_ms} | {name: summary([run[name] for run in told]) for name in told[0]}
        for early_ms, told in agent.items()
    ]
    return {"versions": versions, "engines": compare(runs), "join_agent": told_of, "runs": runs}


async def _measure(lab: Lab, count: int, calls: Calls, rounds: int, tell: Tell) -> dict[str, Any]:
    log = readings(calls.sessions, count)
    tell(f"hop: {len(log):,} records are written")
    await lab.fill(log)
    engines = [each for each in ENGINES if each != "quix" or lab.quix]
    facts = {
        "records": len(log),
        "sessions": calls.sessions,
        "windows": len(lab.rows),
        "late": lab.late,
    }
    return facts | await _rounds(lab, engines, calls, rounds, tell)


def hops(count: int, calls: Calls, rounds: int, tell: Tell) -> dict[str, Any]:
    """All engines on a broker of their own, on cores of their own if there are two: `count`
    readings of as many sessions as there are calls."""
    try:
        quix, why = quix_python(tell), None
    except BenchError as error:
        quix, why = None, str(error)
        tell(f"without Quix Streams: {why}")
    usable = os.sched_getaffinity(0)
    cores = Cores.of(sorted(usable))
    os.sched_setaffinity(0, cores.rest)  # what is started from here on inherits it
    try:
        with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka") as broker:
            lab = Lab(broker.bootstrap, Path(folder), cores, quix)
            found = asyncio.run(_measure(lab, count, calls, rounds, tell))
    finally:
        os.sched_setaffinity(0, usable)
    return found | {"worker_core": cores.worker, "without_quix": why}
