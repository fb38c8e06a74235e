"""Measures what Faust does on Apache Kafka: speed, latency, kills, failures, held acknowledgements.

    python tests/bench/faust_facts.py [--json FILE] [--rounds N] [--only throughput,latency,..]

A private Kafka is started; workers are processes of `faust_app.py`. The table goes to standard
output, progress to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.broker import Broker, die_with_parent

APP = Path(__file__).with_name("faust_app.py")
PARTITIONS = 6
Fact = dict[str, object]


@dataclass
class Worker:
    """One process of `faust_app.py`, and what it has said."""

    process: asyncio.subprocess.Process
    said: list[dict[str, Any]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    reader: asyncio.Task[None] | None = None

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said.append(json.loads(line))
            self.news.set()

    async def wait_for(self, what: str, timeout: float = 90.0) -> dict[str, Any]:  # noqa: ASYNC109
        async with asyncio.timeout(timeout):
            while not (found := [each for each in self.said if each["what"] == what]):
                self.news.clear()
                await self.news.wait()
        return found[-1]

    def partitions(self) -> list[int]:
        assigned = [each["partitions"] for each in self.said if each["what"] == "assigned"]
        return assigned[-1] if assigned else []

    def seen(self) -> list[tuple[int, int]]:
        return [(e["partition"], e["offset"]) for e in self.said if e["what"] == "seen"]

    async def end(self, how: signal.Signals = signal.SIGTERM) -> float:
        """Seconds from the signal to the end of the process."""
        began = time.perf_counter()
        if self.process.returncode is None:
            self.process.send_signal(how)
        await self.process.wait()
        if self.reader:
            await self.reader
        return time.perf_counter() - began


@dataclass
class Lab:
    """The private Kafka and ways to use it."""

    bootstrap: str
    rounds: int
    names: int = 0

    def name(self, stem: str) -> str:
        self.names += 1
        return f"{stem}{self.names}"

    async def topic(self, stem: str) -> str:
        name = self.name(stem)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
        await admin.close()
        await asyncio.sleep(0.5)  # until the broker leads every partition
        return name

    async def committed(self, group: str) -> dict[int, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        offsets = await admin.list_consumer_group_offsets(group)
        await admin.close()
        return {tp.partition: at.offset for tp, at in offsets.items()}

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", max_request_size=18 * 2**20
        )
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def fill(self, topic: str, values: Iterable[bytes], partitions: int = PARTITIONS) -> None:
        async with self.producer() as producer:
            sent = [
                await producer.send(topic, value, key=b"session", partition=i % partitions)
                for i, value in enumerate(values)
            ]
            await asyncio.gather(*sent)

    async def worker(self, engine: str, group: str, topic: str, *more: str) -> Worker:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(APP), "--engine", engine, "--bootstrap", self.bootstrap),
            *("--group", group, "--topic", topic, *more),
            stdout=asyncio.subprocess.PIPE,
            stderr=None if os.environ.get("FAUST_FACTS_LOG") else asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            preexec_fn=die_with_parent(),
        )
        worker = Worker(process)
        worker.reader = asyncio.create_task(worker.read())
        return worker


@dataclass
class Sink:
    """Reads a topic from its end; notes when each value came."""

    arrivals: list[tuple[float, int, bytes]] = field(default_factory=list)  # time, partition, value

    @asynccontextmanager
    async def reading(self, lab: Lab, topic: str) -> AsyncIterator[Sink]:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=lab.bootstrap, auto_offset_reset="earliest"
        )
        await consumer.start()
        task = asyncio.create_task(self._read(consumer))
        try:
            yield self
        finally:
            task.cancel()
            await consumer.stop()

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            self.arrivals.append((time.time(), record.partition, record.value))


async def throughput(lab: Lab) -> list[Fact]:
    """Stateless agents that only acknowledge, against the plain client with the same body."""
    facts: list[Fact] = []
    for count, size in ((20_000, 1024), (1000, 65_536)):
        topic = await lab.topic("speed")
        await lab.fill(topic, (bytes(size) for _ in range(count)))
        runs: dict[str, list[dict[str, Any]]] = {"tracker": [], "aiokafka": []}
        if size < 2000:
            runs["faust"] = []  # what the tracker costs
        for number in range(lab.rounds):
            for engine, results in runs.items():
                worker = await lab.worker(engine, lab.name("g"), topic, "--count", str(count))
                results.append(await worker.wait_for("measured"))
                await worker.end()
                progress(f"throughput {size} B, round {number + 1}, {engine}: {results[-1]}")
        facts += [speed_fact(engine, count, size, got) for engine, got in runs.items()]
        for clock in ("wall_s", "cpu_s"):
            pairs = zip(runs["tracker"], runs["aiokafka"], strict=True)
            ratios = [ours[clock] / plain[clock] for ours, plain in pairs]
            name = f"{size} B: tracker / aiokafka, {clock}"
            facts.append({"fact": name, "ratio": spread(ratios)})
    return facts


def speed_fact(engine: str, count: int, size: int, runs: list[dict[str, Any]]) -> Fact:
    return {
        "fact": f"{count} records of {size} B, {engine}",
        "records_per_s": spread([count / run["wall_s"] for run in runs]),
        "us_per_record": spread([run["wall_s"] / count * 1e6 for run in runs]),
        "cpu_us_per_record": spread([run["cpu_s"] / count * 1e6 for run in runs]),
        "longest_pause_s": max(run["pause_s"] for run in runs),
        "stalls_over_2_s": sum(run["pause_s"] > 2 for run in runs),
    }


async def latency(lab: Lab) -> list[Fact]:
    """One hop, produce -> agent -> produce -> consumer, 20 records a second for 30 s."""
    facts: list[Fact] = []
    for engine in ("tracker", "aiokafka"):
        inward, outward = await lab.topic("in"), await lab.topic("out")
        worker = await lab.worker(engine, lab.name("g"), inward, "--out", outward)
        await worker.wait_for("ready")
        sink = Sink()
        async with sink.reading(lab, outward), lab.producer() as producer:
            await asyncio.sleep(2)
            await flow(producer, inward, now_value, rate=20, seconds=30.0)
            await asyncio.sleep(2)
        await worker.end()
        taken = sorted((at - float(value)) * 1000 for at, _, value in sink.arrivals)
        cuts = statistics.quantiles(taken, n=100)
        fact = {"p50_ms": round(cuts[49], 1), "p99_ms": round(cuts[98], 1)}
        facts.append({"fact": f"one hop, {engine}", "records": len(taken), **fact})
        facts[-1]["worst_ms"] = round(taken[-1], 1)
        progress(str(facts[-1]))
    return facts


async def flow(
    producer: AIOKafkaProducer,
    topic: str,
    value: Callable[[int], bytes],
    *,
    rate: float,
    seconds: float,
    start: int = 0,
) -> int:
    """Sends at a steady rate, round the partitions; returns how many."""
    began = time.perf_counter()
    count = int(rate * seconds)
    for i in range(start, start + count):
        await producer.send(topic, value(i), key=b"session", partition=i % PARTITIONS)
        await asyncio.sleep(max(0.0, began + (i - start + 1) / rate - time.perf_counter()))
    await producer.flush()
    return start + count


async def kills(lab: Lab) -> list[Fact]:
    """One of two workers ends while 50 records a second flow."""
    return [
        await ending(lab, "kill -9", signal.SIGKILL, rounds=5, seconds=13.0),
        await ending(lab, "SIGTERM", signal.SIGTERM, rounds=5, seconds=8.0),
    ]


async def ending(lab: Lab, name: str, how: signal.Signals, *, rounds: int, seconds: float) -> Fact:
    inward, outward, group = await lab.topic("in"), await lab.topic("out"), lab.name("g")
    workers = [await lab.worker("tracker", group, inward, "--out", outward) for _ in range(2)]
    interrupted, repeated, ends = [], [], []
    sent, sink = 0, Sink()
    async with sink.reading(lab, outward), lab.producer() as producer:
        for number in range(rounds):
            await shared(workers)
            before, victim = len(sink.arrivals), workers[number % 2]
            theirs, repeats = victim.partitions(), repetitions(sink)
            sending = asyncio.create_task(
                flow(producer, inward, number_value, rate=50, seconds=seconds, start=sent)
            )
            await asyncio.sleep(2.5)
            ends.append(await victim.end(how))
            sent = await sending
            await asyncio.sleep(1.5)
            interrupted.append(interruption(sink, before, theirs))
            repeated.append(repetitions(sink) - repeats)
            progress(
                f"{name}, round {number + 1}: {interrupted[-1]:.1f} s, {repeated[-1]} repeated"
            )
            workers[number % 2] = await lab.worker("tracker", group, inward, "--out", outward)
        for worker in workers:
            await worker.end()
    got = {int(value) for _, _, value in sink.arrivals}
    return {
        "fact": f"{name} of one of two workers",
        "records": sent,
        "lost": len(set(range(sent)) - got),
        "repeated_per_round": spread(repeated),
        "longest_interruption_s": spread(interrupted),
        "process_ended_s": spread(ends),
    }


async def shared(workers: list[Worker]) -> None:
    """Returns when the workers have the partitions between them."""
    async with asyncio.timeout(60):
        while not split([each.partitions() for each in workers]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await asyncio.sleep(1)


def split(parts: list[list[int]]) -> bool:
    return all(parts) and sorted(chain(*parts)) == list(range(PARTITIONS))


def number_value(i: int) -> bytes:
    return b"%d" % i


def now_value(_: int) -> bytes:
    return repr(time.time()).encode()


def repetitions(sink: Sink) -> int:
    counts = Counter(value for _, _, value in sink.arrivals)
    return sum(counts.values()) - len(counts)


def interruption(sink: Sink, start: int, partitions: list[int]) -> float:
    """The longest time in which one of the input partitions was not served, in seconds."""
    times: dict[int, list[float]] = {partition: [] for partition in partitions}
    for at, _, value in sink.arrivals[start:]:
        times.get(int(value) % PARTITIONS, []).append(at)
    return max(later - at for each in times.values() for at, later in pairwise(each))


async def failures(lab: Lab) -> list[Fact]:
    """Three of 60 records make the handler raise."""
    facts: list[Fact] = []
    ways = {"faust": ["--auto"], "tracker": ["--guard"]}
    for engine, more in ways.items():
        inward, outward = await lab.topic("in"), await lab.topic("out")
        dead, group = await lab.topic("dead"), lab.name("g")
        values = [(b"bad %d" if i in (7, 20, 41) else b"good %d") % i for i in range(60)]
        await lab.fill(inward, values)
        options = ["--out", outward, "--dead-letters", dead, "--report", *more]
        out, letters = Sink(), Sink()
        async with out.reading(lab, outward), letters.reading(lab, dead):
            for _ in range(2):  # the second is to be given all that the first left
                worker = await lab.worker(engine, group, inward, *options)
                await worker.wait_for("ready")
                await asyncio.sleep(4)
                await worker.end()
        ended = {value for sink in (out, letters) for _, _, value in sink.arrivals}
        fact = {"copied": len(out.arrivals), "dead_letters": len(letters.arrivals)}
        facts.append({"fact": f"handler raises, {engine} {more[0]}", **fact})
        facts[-1]["lost"] = len(set(values) - ended)
        progress(str(facts[-1]))
    return facts


HELD = {0: {50}, 1: {0}, 2: {0, 200, 201, 300}}
HELD_RECORDS = 400


async def held(lab: Lab) -> list[Fact]:
    """Records held for 10 s while their successors are acknowledged; kill -9; restart."""
    topic = await lab.topic("held")
    await lab.fill(topic, (bytes(100) for _ in range(HELD_RECORDS * len(HELD))), len(HELD))
    facts: list[Fact] = []
    for number in range(lab.rounds):
        both = await asyncio.gather(*(hold(lab, topic, engine) for engine in ("faust", "tracker")))
        for fact in both:
            progress(f"held, round {number + 1}: {fact}")
        facts += both
    return facts


async def hold(lab: Lab, topic: str, engine: str) -> Fact:
    group = lab.name("g")
    pairs = ",".join(f"{p}:{offset}" for p, offsets in HELD.items() for offset in offsets)
    worker = await lab.worker(engine, group, topic, "--hold", pairs, "--report")
    while len(worker.seen()) < HELD_RECORDS * len(HELD):  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    await asyncio.sleep(10)
    await worker.end(signal.SIGKILL)
    committed = await lab.committed(f"{group}-{topic}")
    again = await lab.worker(engine, group, topic, "--report")
    await again.wait_for("ready")
    await asyncio.sleep(4)
    await again.end()
    unacknowledged = {(p, offset) for p, offsets in HELD.items() for offset in offsets}
    return {
        "fact": f"held acknowledgements, {engine}",
        "lost": sorted(f"{p}:{offset}" for p, offset in unacknowledged - set(again.seen())),
        "committed": [committed.get(p) for p in HELD],
        "repeated": len(again.seen()),
        "committed_at_the_end": list((await lab.committed(f"{group}-{topic}")).values()),
    }


PARTS: dict[str, Callable[[Lab], Awaitable[list[Fact]]]] = {
    "throughput": throughput,
    "latency": latency,
    "kills": kills,
    "failures": failures,
    "held": held,
}


def spread(values: list[float] | list[int]) -> str:
    """Minimum / median / maximum, to three digits."""
    return " / ".join(
        f"{value:.3g}" if value < 1000 else f"{value:.0f}"
        for value in (min(values), statistics.median(values), max(values))
    )


def progress(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def show(facts: list[Fact]) -> None:
    for fact in facts:
        rest = ", ".join(f"{name} {value}" for name, value in fact.items() if name != "fact")
        print(f"{fact['fact']:<45} {rest}")


async def measure(bootstrap: str, rounds: int, parts: list[str]) -> list[Fact]:
    lab = Lab(bootstrap, rounds)
    return [fact for part in parts for fact in await PARTS[part](lab)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the facts there, too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS))
    args = parser.parse_args()
    began, load = time.time(), os.getloadavg()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
        facts = asyncio.run(measure(broker.bootstrap, args.rounds, args.only.split(",")))
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    loads = f"load {load[0]:.1f} before, {os.getloadavg()[0]:.1f} after"
    facts.insert(0, {"fact": "machine", "is": f"{machine}, {loads}, {time.time() - began:.0f} s"})
    show(facts)
    if args.json:
        args.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
