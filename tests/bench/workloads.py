"""What each kind of worker of `deploy/k8s` takes: its start, memory, cores, lag and end.

    python -m tests.bench.workloads [--json] [--calls 4]

There are a private broker, one worker of each kind, and this process, which plays the demo call so
many times side by side, each beginning 5 s after the one before it, and measures: all of them share
the machine's cores. For each kind of worker it tells

- `ready_s`: from its start, beside the others', until /readyz says 200;
- `rss_mb`: resident memory when it was ready, and the most until its end;
- `cores`: on average, while all calls were live;
- `lag`: by consumer group and topic, the records that are not committed (what an autoscaler sees):
  median and maximum while all calls were live;
- `end_s`: from SIGTERM, amid the calls, until it has ended; `status`: with which exit status.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from rich.console import Console

from streams.broker import Broker
from streams.connection import Connection
from streams.delivery import producer
from streams.events import Topics
from streams.processes import WorkerProcess
from streams.replay import load
from streams.rights import GROUPS
from tests.bench.overload import DEMO, Bench
from tests.harness import Installation
from tests.kubernetes import BASE, agents_of, documents

STAGGER_S: Final = 5.0
LIVE_S: Final = 40.0
"""How long all calls are looked at together."""

Lags = Mapping[tuple[str, str], int]


@dataclass
class Workload:
    """One kind of worker, and what was seen of it."""

    agents: tuple[str, ...]
    worker: WorkerProcess
    begun: float = field(default_factory=time.monotonic)
    ready_s: float = 0.0
    rss: list[int] = field(default_factory=list)
    lags: defaultdict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    cores: float = 0.0
    end_s: float = 0.0
    status: int | None = None

    async def ready(self) -> None:
        await asyncio.to_thread(self.worker.ready)
        self.ready_s = time.monotonic() - self.begun
        self.look()

    def look(self) -> None:
        self.rss.append(psutil.Process(self.worker.process.pid).memory_info().rss)

    def cpu_s(self) -> float:
        used = psutil.Process(self.worker.process.pid).cpu_times()
        return float(used.user + used.system)

    async def end(self) -> None:
        asked = time.monotonic()
        self.status = await asyncio.to_thread(self.worker.stop)
        self.end_s = time.monotonic() - asked

    def figures(self) -> dict[str, Any]:
        return {
            "ready_s": round(self.ready_s, 1),
            "rss_mb": {"ready": round(self.rss[0] / 1e6), "max": round(max(self.rss) / 1e6)},
            "cores": round(self.cores, 2),
            "lag": {
                " ".join(place): {"median": round(median(seen)), "max": max(seen)}
                for place, seen in sorted(self.lags.items())
            },
            "end_s": round(self.end_s, 1),
            "status": self.status,
        }


async def measure(calls: int) -> dict[str, Any]:
    """The figures that the module's docstring names, by the name of the Deployment."""
    async with installed() as (tenor, workloads):
        await asyncio.gather(*(each.ready() for each in workloads.values()))
        async with producer(tenor.brokers) as sender:
            played = Bench(tenor.brokers, tenor.topics, workloads["tenor-audio"].worker, sender)
            playing = asyncio.create_task(_play(played, calls))
            await asyncio.sleep(calls * STAGGER_S)
            await _watch(tenor, workloads)
            await asyncio.gather(*(each.end() for each in workloads.values()))
            playing.cancel()
        return {name: each.figures() for name, each in workloads.items()}


@asynccontextmanager
async def installed() -> AsyncIterator[tuple[Installation, dict[str, Workload]]]:
    """A broker, topics and a worker of each kind, not yet ready."""
    with tempfile.TemporaryDirectory() as name, Broker(Path(name) / "kafka") as broker:
        brokers, prefix = Connection(broker.bootstrap), "workloads."
        tenor = Installation(brokers, Topics.of(prefix), prefix, Path(name))
        await tenor.make_topics()
        kinds = {
            each["metadata"]["name"]: agents_of(each) for each in documents(BASE / "workers.yaml")
        }
        try:
            yield (
                tenor,
                {kind: Workload(own, tenor.start_worker(own)) for kind, own in kinds.items()},
            )
        finally:
            tenor.stop()


async def _play(bench: Bench, calls: int) -> None:
    """The demo call so often that no one of them ends before all have been looked at."""
    script = load([DEMO])
    rounds = int((calls * STAGGER_S + LIVE_S) // script.seconds) + 2

    async def one(number: int) -> None:
        for again in range(rounds):
            wait_s = 0.0 if again else number * STAGGER_S
            await bench.offer(f"call-{number}-{again}", script, wait_s=wait_s, paced=True)

    await asyncio.gather(*(one(number) for number in range(calls)))


async def _watch(tenor: Installation, workloads: Mapping[str, Workload]) -> None:
    before = {name: each.cpu_s() for name, each in workloads.items()}
    begun = time.monotonic()
    async with _asking(tenor) as (admin, consumer):
        while (passed := time.monotonic() - begun) < LIVE_S:
            for each in workloads.values():
                each.look()
                for agent in each.agents:
                    for place, waiting in (await _lags(tenor, admin, consumer, agent)).items():
                        each.lags[place].append(waiting)
            await asyncio.sleep(1)
    for name, each in workloads.items():
        each.cores = (each.cpu_s() - before[name]) / passed


@asynccontextmanager
async def _asking(
    tenor: Installation,
) -> AsyncIterator[tuple[AIOKafkaAdminClient, AIOKafkaConsumer]]:
    admin = AIOKafkaAdminClient(**tenor.brokers.options())
    consumer = AIOKafkaConsumer(**tenor.brokers.options(), group_id=None)
    await admin.start()
    await consumer.start()
    try:
        yield admin, consumer
    finally:
        await consumer.stop()
        await admin.close()


async def _lags(
    tenor: Installation, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, agent: str
) -> Lags:
    """What an agent's groups have not committed, by the ends of their names and by topic."""
    lags: defaultdict[tuple[str, str], int] = defaultdict(int)
    for end in GROUPS[agent]:
        group = f"{tenor.settings['TENOR_GROUP']}-{end}"
        committed = await admin.list_consumer_group_offsets(group)
        ends = await consumer.end_offsets(list(committed))
        for place, offset in committed.items():
            topic = place.topic.removeprefix(tenor.prefix)
            lags[end, topic] += max(0, ends[place] - max(0, offset.offset))
    return lags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--calls", type=int, default=4)
    options = parser.parse_args()
    found = asyncio.run(measure(options.calls))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        Console().print(found)


if __name__ == "__main__":
    main()
