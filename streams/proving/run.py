"""Runs the scenarios one after the other, each on topics and with workers of its own."""

# ruff: noqa: S311 - chance that can be repeated is what is wanted here

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from aiokafka.errors import KafkaError

from streams.broker import Broker
from streams.connection import Connection
from streams.delivery import producer
from streams.events import Topics
from streams.proving import ProveError, reading
from streams.proving.calls import Call, plan
from streams.proving.comparison import Comparison, Finals, compare, match_letters, uncovered
from streams.proving.feeding import Feeder, together
from streams.proving.fleet import Fleet
from streams.proving.report import Row, Run, details, row, summary
from streams.proving.scenarios import SCENARIOS, UNDISTURBED, Scenario
from streams.proving.stage import Stage
from streams.proving.stepped_clock import VARIABLE, step
from streams.replay import Script
from streams.settings import Settings
from streams.topics import ensure_topics

RUN: Final = Path(".run")
TELL_S: Final = 5.0
SETTLE_S: Final = 1.0
IDLE_AFTER_S: Final = 120.0
"""A Kafka that is away, or a loaded machine, must not look like a silent call."""
STEPPED: Final = (sys.executable, "-m", "streams.proving.stepped_clock")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What to prove; the same order makes the same calls and faults."""

    names: Sequence[str]
    sessions: int
    seconds: float
    seed: int
    patience_s: float
    keep: bool = False


def prove(order: Order, script: Script, tell: Tell) -> list[Row] | None:
    """Runs everything; None if it was interrupted. All processes are ended, whatever happens.

    Raises:
        ProveError: the undisturbed run is not whole, or the private Kafka failed.
        BrokerError, ProcessError: Kafka or a worker could not be started.
    """
    folder = (RUN / f"prove-{os.getpid()}").absolute()
    # That a Kafka which was stopped does not answer is no news.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        rows = asyncio.run(_Prover(order, script, folder, tell).run())
    except (KeyboardInterrupt, asyncio.CancelledError):
        tell(f"logs are in {folder}")
        return None
    except KafkaError as error:
        raise ProveError(f"the private Kafka failed: {error!r}; logs are in {folder}") from error
    if all(each.passed for each in rows) and not order.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        tell(f"logs, and both contents of what differs, are in {folder}")
    return rows


class _Prover:
    def __init__(self, order: Order, script: Script, folder: Path, tell: Tell) -> None:
        self._order = order
        self._folder = folder
        self._tell = tell
        # In whole minutes, so that windows lie alike in every run with this seed.
        self._start = int(time.time()) // 60 * 60_000
        self._calls = plan(script, order.sessions, order.seconds, order.seed, self._start)

    async def run(self) -> list[Row]:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (we are in it)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with self._kafka(1) as kafka:
            calm = await self._play("undisturbed", UNDISTURBED, kafka)
            self._check(calm)
            rows = [await self._prove(n, kafka, calm) for n in self._names(nodes=1)]
        if names := self._names(nodes=3):
            async with self._kafka(3) as kafka:
                rows += [await self._prove(name, kafka, calm) for name in names]
        return rows

    def _names(self, nodes: int) -> list[str]:
        return [name for name in self._order.names if SCENARIOS[name].nodes == nodes]

    @asynccontextmanager
    async def _kafka(self, nodes: int) -> AsyncIterator[Broker]:
        self._tell(f"starting a private Apache Kafka ({nodes} node{'s' * (nodes > 1)}) ..")
        kafka = await asyncio.to_thread(Broker, self._folder / f"kafka-{nodes}", nodes=nodes)
        try:
            await asyncio.to_thread(kafka.start)
            yield kafka
        finally:
            kafka.stop()

    async def _prove(self, name: str, kafka: Broker, calm: Run) -> Row:
        run = await self._play(name, SCENARIOS[name], kafka)
        result = row(run, calm, compare(calm.finals, run.finals))
        for line in details(result, run, calm):
            self._tell(line)
        if not result.passed:
            self._keep(run, calm, result.comparison)
        elif not self._order.keep:
            shutil.rmtree(self._folder / name, ignore_errors=True)
        self._tell(summary(result))
        return result

    async def _play(self, name: str, scenario: Scenario, kafka: Broker) -> Run:
        topics = Topics.of(f"{name}.")
        await ensure_topics(
            Connection(kafka.bootstrap),
            Settings(topic_prefix=f"{name}.", replication=scenario.nodes),
        )
        clock = self._folder / name / "clock"
        clock.parent.mkdir(parents=True, exist_ok=True)
        step(clock, 0.0)
        chance = Random(f"{self._order.seed}/{name}")
        calls = [scenario.change(call, Random(chance.random())) for call in self._calls]
        async with self._fleet(name, scenario, kafka, clock) as fleet:
            self._tell(f"{name}: starting {scenario.workers} worker(s) ..")
            await fleet.start(scenario.workers)
            stage = Stage(kafka, topics, fleet, clock, calls, chance)
            feeder = await self._feed(name, scenario, stage)
            whole = await self._told(name, stage, feeder)
            await fleet.retire()
        return await _collected(name, stage, feeder, whole=whole)

    def _fleet(self, name: str, scenario: Scenario, kafka: Broker, clock: Path) -> Fleet:
        settings = {
            **kafka.environment,
            "TENOR_TOPIC_PREFIX": f"{name}.",
            "TENOR_GROUP": name,
            "TENOR_REPLICATION": str(scenario.nodes),
            "TENOR_IDLE_AFTER_S": str(IDLE_AFTER_S),
            VARIABLE: str(clock),
        }
        command = {"command": STEPPED} if scenario.stepped else {}
        return Fleet(self._folder / name, settings, **command)

    async def _feed(self, name: str, scenario: Scenario, stage: Stage) -> Feeder:
        sender = producer(stage.brokers)
        await sender.start()
        feeder = Feeder(sender, stage.topics)
        telling = asyncio.create_task(self._progress(name, stage, feeder))
        try:
            await together(feeder.feed(stage.calls), scenario.disturb(stage))
        finally:
            telling.cancel()
            await sender.stop()
        return feeder

    async def _progress(self, name: str, stage: Stage, feeder: Feeder) -> None:
        last = stage.calls[-1]
        of = last.begins + last.seconds
        while True:
            at = time.monotonic() - stage.begun
            self._tell(
                f"{name}: {at:.0f} of {of:.0f} s, {feeder.over} of {len(stage.calls)} calls are"
                f" over, {len(stage.faults)} faults, {stage.fleet.restarts} restarts"
            )
            await asyncio.sleep(TELL_S)

    async def _told(self, name: str, stage: Stage, feeder: Feeder) -> bool:
        sessions = [call.session for call in stage.calls]
        told = -1

        def tell(count: int) -> None:
            nonlocal told
            if count > told:
                self._tell(f"{name}: {count} of {len(sessions)} sessions are summed up")
            told = max(told, count)

        whole = await reading.until_told(
            stage.brokers,
            stage.topics,
            sessions=sessions,
            malformed=feeder.malformed,
            patience_s=self._order.patience_s,
            tell=tell,
        )
        await asyncio.sleep(SETTLE_S)
        return whole

    def _check(self, calm: Run) -> None:
        """The undisturbed run must be worth comparing with."""
        wrong = []
        if not calm.whole:
            wrong.append(f"not every session was summed up within {self._order.patience_s:g} s")
        if not calm.letters.right:
            wrong.append(f"dead letters: {sorted(set(calm.reasons.values()))}")
        if calm.finals.conflicting:
            wrong.append(f"ids came with different contents: {sorted(calm.finals.conflicting)}")
        if holes := [each.session for each in self._calls if self._uncovered(each, calm.finals)]:
            wrong.append(f"audio is not covered exactly once: {holes}")
        if wrong:
            raise ProveError(
                f"the undisturbed run is not whole: {'; '.join(wrong)}; logs are in {self._folder}"
            )

    def _uncovered(self, call: Call, finals: Finals) -> int:
        start = self._start + round(call.begins * 1000)
        end = start + round(call.seconds * 1000)
        channels = ("customer", "agent")
        return sum(uncovered(finals, call.session, name, start, end) for name in channels)

    def _keep(self, run: Run, calm: Run, found: Comparison) -> None:
        """Writes down both contents of what differs."""
        file = self._folder / run.name / "differences.json"
        wrong = (*found.missing, *found.extra, *found.different)
        both = [
            {"id": id_, "expected": _content(calm.finals, id_), "found": _content(run.finals, id_)}
            for id_ in wrong
        ]
        file.write_text(json.dumps(both, indent=2))
        self._tell(f"{run.name}: both contents are in {file}")


def _content(finals: Finals, id_: str) -> Any:  # noqa: ANN401  (any result, as JSON)
    said = finals.results.get(id_)
    return said and {"type": said.type, **json.loads(said.content)}


async def _collected(name: str, stage: Stage, feeder: Feeder, *, whole: bool) -> Run:
    """What a run has left in the topics."""
    brokers, topics = stage.brokers, stage.topics
    letters = await reading.letters_of(brokers, topics)
    return Run(
        name=name,
        sessions=len(stage.calls),
        events=feeder.events,
        whole=whole,
        finals=await reading.finals_of(brokers, topics),
        letters=match_letters(feeder.malformed, [(each.place, each.value) for each in letters]),
        reasons={each.place: each.reason for each in letters},
        signs=await reading.signs_of(brokers, topics),
        fed=feeder.fed,
        faults=stage.faults,
        peak_rss=stage.fleet.peak_rss,
        restarts=stage.fleet.restarts,
        ended_by_themselves=stage.fleet.ended_by_themselves,
        seconds=time.monotonic() - stage.begun,
    )
