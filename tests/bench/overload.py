"""Offers a worker several times what it handles, and looks whether its memory stays where it is.

    python tests/bench/overload.py [--json] [--times 10] [--minutes 5] [--drain-minutes 90]

There are a private broker, one worker with all agents, and this process, which produces and
measures: all of them share the machine's cores. A session is the demo call, both sides and the
chat, again and again, at its own pace; sessions begin spread over `STAGGER_S`. First it is measured
how many such sessions the worker handles, by giving it `TRIAL_CALLS` calls at once. Then so many
times that number are offered for some minutes, and after that the worker may drain what waits. By
nature that takes as many times longer. Settings are those of the environment (`TENOR_*`).

The JSON holds

- `handled`: sessions that the worker keeps up with when it is busy (finals only); `offered_x`,
  `sessions`, `minutes`: what was offered;
- `rss_mb`: the worker's resident memory: `start` (models loaded, after the trial),
  `median_last_third` of the time of the offer, `max` (of the drain too); `slope_mb_per_min`: of a
  straight line through the last two thirds of the offer;
- `lag_events`, `lag_s`: the most that was not done, and the age of the oldest event read, by
  agent/topic;
- `drained`, `drain_s`: whether, and after how long, nothing waited any more;
- `missing`: how many channels are not covered whole and once by final captions, silence and gaps,
  and how many sessions have no summary (only told if drained); `gaps`, `dead_letters` by reason.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import linear_regression, median
from typing import Any, Final

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2]))

from streams import codec, records
from streams.broker import Broker
from streams.clock import now_ms
from streams.connection import Connection
from streams.deadletters import error_of
from streams.delivery import producer
from streams.events import EventType, Topics
from streams.metrics import read_metrics
from streams.processes import WorkerProcess
from streams.replay import Script, load, sendings
from streams.results import CaptionFinal, Gap, Silence, result_of
from streams.settings import Settings
from tests.harness import Installation

DEMO: Final = Path(__file__).parents[2] / "demo" / "call"
TRIAL_CALLS: Final = 12
TRIAL_S: Final = 60.0
"""Of each of these calls."""
PATIENCE_S: Final = 300.0
STAGGER_S: Final = 20.0
CALM: Final = 3
"""Nothing waits if so many looks in a row, a second apart, say so."""

Span = tuple[int, int]


def call(seconds: float) -> Script:
    """The demo call without its pictures, as often as it takes."""
    once = load([DEMO])
    rounds = range(int(seconds // once.seconds) + 1)
    moments = (
        replace(each, at=each.at + n * once.seconds, start=each.start + n * once.seconds)
        for n in rounds
        for each in once.moments
        if each.topic != "images"
    )
    return Script(tuple(each for each in moments if each.at <= seconds))


@dataclass(frozen=True, slots=True)
class Sample:
    """The worker at a moment: seconds, bytes, and by topic events and seconds."""

    at: float
    rss: int
    lag: Mapping[str, float]
    lag_s: Mapping[str, float]

    @property
    def calm(self) -> bool:
        return not any(self.lag.values())


@dataclass
class Bench:
    """A worker on a Kafka, what it is offered, and how it does."""

    brokers: Connection
    topics: Topics
    worker: WorkerProcess
    sender: AIOKafkaProducer
    offered: dict[str, tuple[int, Script]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    async def offer(self, session: str, script: Script, *, wait_s: float = 0, paced: bool) -> None:
        """Plays a session, and returns when Kafka has all of it."""
        await asyncio.sleep(wait_s)
        start, begun = now_ms(), time.monotonic()
        self.offered[session] = (start, script)
        names, sent = asdict(self.topics), []
        for sending in sendings(script, session, start):
            if paced:
                await asyncio.sleep(max(0.0, begun + sending.at - time.monotonic()))
            key, value, headers = codec.encode(sending.event)
            name = names[sending.topic]
            sent.append(await self.sender.send(name, value, key, headers=headers))
        await asyncio.gather(*sent)

    async def watch(self) -> None:
        """Takes a sample every second, without end."""
        process = psutil.Process(self.worker.process.pid)
        while True:
            seen = read_metrics(await asyncio.to_thread(self.worker.get, "metrics"))
            sample = Sample(
                time.monotonic(),
                process.memory_info().rss,
                _by_agent(seen, "tenor_consumer_lag_events/"),
                _by_agent(seen, "tenor_consumer_lag_seconds/"),
            )
            self.samples.append(sample)
            await asyncio.sleep(1)

    async def calm(self, within_s: float) -> bool:
        """Whether within that time everything is done."""
        deadline = time.monotonic() + within_s
        first = len(self.samples) + 1
        while time.monotonic() < deadline:
            last = self.samples[first:][-CALM:]
            if len(last) == CALM and all(each.calm for each in last):
                return True
            await asyncio.sleep(0.5)
        return False

    async def trial(self) -> float:
        """How many sessions the worker keeps up with."""
        begun = time.monotonic()
        names = [f"trial-{number}" for number in range(TRIAL_CALLS)]
        await asyncio.gather(*(self.offer(name, call(TRIAL_S), paced=False) for name in names))
        assert await self.calm(PATIENCE_S), "the worker is too slow for a trial"
        return TRIAL_CALLS * TRIAL_S / (time.monotonic() - begun - CALM)


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """A worker that is ready, and watched."""
    with tempfile.TemporaryDirectory() as name, Broker(Path(name) / "kafka") as broker:
        brokers, prefix = Connection(broker.bootstrap), "overload."
        installed = Installation(brokers, Topics.of(prefix), prefix, Path(name))
        await installed.make_topics()
        worker = installed.start_worker()
        try:
            await asyncio.to_thread(worker.ready)
            async with producer(brokers) as sender:
                made = Bench(brokers, installed.topics, worker, sender)
                watching = asyncio.create_task(made.watch())
                yield made
                watching.cancel()
        finally:
            installed.stop()


async def measure(times: float, minutes: float, drain_minutes: float) -> dict[str, Any]:
    """The figures that the module's docstring names."""
    async with bench() as made:
        handled = await made.trial()
        sessions = max(1, round(times * handled))
        progress(f"handles {handled:.1f} sessions; offering {sessions} for {minutes:g} min")
        before, script = len(made.samples), call(minutes * 60)
        await asyncio.gather(
            *(
                made.offer(f"s-{n}", script, wait_s=STAGGER_S * n / sessions, paced=True)
                for n in range(sessions)
            )
        )
        offer_end = time.monotonic()
        progress(f"offered; {made.samples[-1]}")
        drained = await made.calm(drain_minutes * 60)
        drain_s = time.monotonic() - offer_end
        during = [each for each in made.samples[before:] if each.at <= offer_end]
        return {
            "handled": round(handled, 2),
            "offered_x": round(sessions / handled, 1),
            "sessions": sessions,
            "minutes": minutes,
            **memory(during, made.samples[before:]),
            "lag_events": _most(each.lag for each in made.samples),
            "lag_s": _most(each.lag_s for each in made.samples),
            "drained": drained,
            "drain_s": round(drain_s),
            **await accounts(made, drained=drained),
        }


def memory(during: Sequence[Sample], since: Sequence[Sample]) -> dict[str, Any]:
    """What the worker took while load was offered, and from then on."""
    megabytes = [each.rss / 1e6 for each in during]
    tail = during[len(during) // 3 :]
    line = linear_regression([each.at / 60 for each in tail], [each.rss / 1e6 for each in tail])
    return {
        "rss_mb": {
            "start": round(megabytes[0]),
            "median_last_third": round(median(megabytes[2 * len(megabytes) // 3 :])),
            "max": round(max(each.rss for each in since) / 1e6),
        },
        "slope_mb_per_min": round(line.slope, 1),
    }


async def accounts(made: Bench, *, drained: bool) -> dict[str, Any]:
    """What came of all that was offered."""
    spans: defaultdict[tuple[str, str], set[Span]] = defaultdict(set)
    ended, gaps = set[str](), Counter[str]()
    async for record in everything(made.brokers, made.topics.recognition, made.topics.sentiment):
        event = codec.decode(record.key, record.value, record.headers, now=now_ms())
        result = result_of(event)
        if isinstance(result, CaptionFinal | Silence | Gap):
            spans[event.session, event.channel].add((result.start, result.end))
        if isinstance(result, Gap):
            gaps[result.reason] += result.end - result.start
        if event.type is EventType.SENTIMENT_SESSION:
            ended.add(event.session)
    letters = Counter[str]()
    async for record in everything(made.brokers, made.topics.deadletters):
        letters[error_of(record.headers).reason] += 1
    found = {"gaps_ms": dict(gaps), "dead_letters": dict(letters)}
    if not drained:
        return {"missing": None, **found}
    channels = sum(
        not whole(spans[session, name], start, script)
        for session, (start, script) in made.offered.items()
        for name in ("agent", "customer")
    )
    return {
        "missing": {"channels": channels, "summaries": len(made.offered.keys() - ended)},
        **found,
    }


def whole(spans: set[Span], start: int, script: Script) -> bool:
    """Whether the spans are a channel's audio, each millisecond once."""
    ordered = sorted(spans)
    end = start + max(each.at for each in script.moments if each.topic == "audio") * 1000
    return (
        bool(ordered)
        and ordered[0][0] == start
        and abs(ordered[-1][1] - end) <= 1
        and all(one[1] == other[0] for one, other in pairwise(ordered))
    )


async def everything(brokers: Connection, *topics: str) -> AsyncIterator[ConsumerRecord]:
    """All records of these topics up to now."""
    records.install()
    consumer = AIOKafkaConsumer(**brokers.options(), group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    try:
        for place in _places(topics):
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            async for batch in records.read_to(consumer, place, end):
                for record in batch:
                    yield record
    finally:
        await consumer.stop()


def _places(topics: Sequence[str]) -> Iterator[TopicPartition]:
    for topic in topics:
        for partition in range(Settings().partitions):
            yield TopicPartition(topic, partition)


def _by_agent(seen: Mapping[str, float], name: str) -> dict[str, float]:
    return {key.removeprefix(name): value for key, value in seen.items() if key.startswith(name)}


def _most(values: Iterable[Mapping[str, float]]) -> dict[str, int]:
    most: Counter[str] = Counter()
    for each in values:
        for agent, value in each.items():
            most[agent] = max(most[agent], round(value))
    return dict(most)


def progress(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--times", type=float, default=10.0, help="what it handles")
    parser.add_argument("--minutes", type=float, default=5.0, help="of the offer")
    parser.add_argument("--drain-minutes", type=float, default=90.0, help="at most")
    options = parser.parse_args()
    found = asyncio.run(measure(options.times, options.minutes, options.drain_minutes))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        Console().print(found)


if __name__ == "__main__":
    main()
