"""What happens in each scenario while the calls are fed."""

from __future__ import annotations

import asyncio
import itertools
import math
import signal
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from streams.proving.calls import Call, Change, disordered, poisoned
from streams.proving.stage import Stage

WORKERS: Final = 2
FROZEN_S: Final = 12.0
"""Longer than the session timeout: Kafka gives the partitions to another worker meanwhile."""
AWAY_S: Final = 5.0
"""Between the end of Kafka, or of one node, and its new start."""
REFUSED_S: Final = 20.0
STEPS_S: Final = (300.0, -120.0, 7200.0, -3600.0, 90.0, -7200.0, 0.0)
"""Offsets of the workers' clocks, one after the other."""


def untouched(call: Call, chance: Random) -> Call:
    """The call as it is."""
    return call


@dataclass(frozen=True, slots=True)
class Scenario:
    """`disturb` runs while the calls, each of them changed by `change`, are fed to `workers` on
    `nodes` brokers; `stepped`: on a clock that can be stepped."""

    disturb: Callable[[Stage], Coroutine[Any, Any, None]]
    change: Change = untouched
    workers: int = WORKERS
    nodes: int = 1
    stepped: bool = False


async def nothing(stage: Stage) -> None:
    """Nothing happens."""


async def kill(stage: Stage) -> None:
    """Workers crash, whatever the others are at."""
    for moment in stage.moments(max(2, math.ceil(len(stage.calls) / 2))):
        await stage.at(moment)
        stage.happened("kill")
        await stage.fleet.signal(signal.SIGKILL, stage.chance)


async def term(stage: Stage) -> None:
    """A new version is rolled out: a worker is asked to end when all the others work."""
    for moment in stage.moments(max(2, len(stage.calls) // 3)):
        await stage.at(moment)
        await stage.fleet.settled()
        stage.happened("term")
        await stage.fleet.signal(signal.SIGTERM, stage.chance)


async def scale(stage: Stage) -> None:
    """One worker becomes three, and one again."""
    more, fewer = stage.moments(2)
    await stage.at(more)
    stage.happened("scale up")
    stage.fleet.grow(2)
    await stage.at(fewer)
    stage.happened("scale down")
    await stage.fleet.shrink(2, stage.chance)


async def freeze(stage: Stage) -> None:
    """Workers stand still until others have their partitions, and wake up."""
    for moment in stage.moments(max(2, len(stage.calls) // 5)):
        await stage.at(moment)
        stage.happened("freeze")
        slot = await stage.fleet.signal(signal.SIGSTOP, stage.chance)
        await stage.fleet.freeze(FROZEN_S, slot)


async def restart_kafka(stage: Stage) -> None:
    """The only broker goes away and comes back with its data."""
    for moment in stage.moments(max(1, len(stage.calls) // 7)):
        await stage.at(moment)
        stage.happened("restart")
        await asyncio.to_thread(stage.kafka.stop)
        await asyncio.sleep(AWAY_S)
        await asyncio.to_thread(stage.kafka.start)


async def broker(stage: Stage) -> None:
    """One node of three crashes, whichever it is, and comes back."""
    for moment in stage.moments(max(1, len(stage.calls) // 7)):
        await stage.at(moment)
        node = stage.chance.choice(stage.kafka.nodes)
        stage.happened(f"kill node {node.id}")
        stage.kafka.kill(node)
        await asyncio.sleep(AWAY_S)
        stage.kafka.start_node(node)
        await stage.in_sync()


async def unavailable(stage: Stage) -> None:
    """The output topics refuse what is written: they want more replicas than there are.

    On one node they could not: no topic wants more than it was made with.
    """
    outputs = (stage.topics.recognition, stage.topics.sentiment)
    for moment in stage.moments(max(1, len(stage.calls) // 10)):
        await stage.at(moment)
        node = stage.chance.choice(stage.kafka.nodes)
        stage.happened(f"refuse, without node {node.id}")
        await stage.configure(outputs, min_insync_replicas="3")
        stage.kafka.kill(node)
        await stage.out_of_sync()
        await asyncio.sleep(REFUSED_S)
        await stage.configure(outputs, min_insync_replicas=None)
        stage.kafka.start_node(node)
        await stage.in_sync()


async def clock(stage: Stage) -> None:
    """The workers' time of day is set, forwards and backwards."""
    steps = itertools.cycle(STEPS_S)
    for moment in stage.moments(max(4, len(stage.calls) // 2)):
        await stage.at(moment)
        offset = next(steps)
        stage.happened(f"clock {offset:+g} s")
        stage.step(offset)


SCENARIOS: Final[Mapping[str, Scenario]] = {
    # Three: while one starts, another may be hit, and still there is one to take over.
    "kill": Scenario(kill, workers=3),
    "term": Scenario(term, workers=3),
    "scale": Scenario(scale, workers=1),
    "freeze": Scenario(freeze),
    "restart-kafka": Scenario(restart_kafka),
    "broker": Scenario(broker, nodes=3),
    "disorder": Scenario(nothing, change=disordered),
    "poison": Scenario(nothing, change=poisoned),
    "unavailable": Scenario(unavailable, nodes=3),
    "clock": Scenario(clock, stepped=True),
}
UNDISTURBED: Final = Scenario(nothing)
