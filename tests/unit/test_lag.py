"""What is not yet done is told of each agent by itself, whoever else reads the topic."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
from faust.types import TP
from prometheus_client import generate_latest

from streams.agents.base import Agent
from streams.agents.join import JoinAgent
from streams.agents.matching import MatchAgent
from streams.agents.text import TextAgent
from streams.app import show_lag
from streams.metrics import Metrics, read_metrics
from streams.offsets import OffsetTracker
from streams.settings import Settings


@dataclass
class Consumer:
    """What the lag is read from: of each partition the end, and which offsets were delivered."""

    ends: dict[TP, int] = field(default_factory=dict)
    offsets: OffsetTracker = field(default_factory=OffsetTracker)
    unacked: set[Any] = field(default_factory=set)

    def assignment(self) -> set[TP]:
        return set(self.ends)

    def highwater(self, tp: TP) -> int:
        return self.ends[tp]

    def deliver(self, topic: str, offset: int, end: int, age_s: float) -> None:
        """A record that comes, of so many, and is not done."""
        tp = TP(topic, 0)
        self.ends[tp] = end
        self.offsets.begin(tp, offset)
        written = time.time() - age_s
        self.unacked.add(_Message(topic, tp, written))


@dataclass(frozen=True)
class _Message:
    topic: str
    tp: TP
    timestamp: float
    acked: bool = False


class Process:
    """The metrics of a worker, and its agents with a consumer each."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.consumers: dict[type[Agent], Consumer] = {}

    def consumer(self, kind: type[Agent]) -> Consumer:
        return self.consumers.setdefault(kind, Consumer())

    def look(self) -> dict[str, float]:
        """What is shown once the lag of all agents has been looked at."""
        settings = Settings(topic_prefix="t.")
        for kind, consumer in self.consumers.items():
            agent = SimpleNamespace(
                name=kind.name, inputs=kind.inputs, settings=settings, metrics=self.metrics
            )
            show_lag(cast(Agent, agent), cast(faust.App, SimpleNamespace(consumer=consumer)))
        return _shown(self.metrics)


def _shown(metrics: Metrics) -> dict[str, float]:
    read = read_metrics(generate_latest(metrics.registry).decode())
    head = "tenor_consumer_lag_"
    return {name.removeprefix(head): each for name, each in read.items() if name.startswith(head)}


def test_two_agents_of_a_topic_leave_each_other_s_lag_alone() -> None:
    process = Process()
    process.consumer(JoinAgent).deliver("t.features", offset=90, end=100, age_s=5)
    process.consumer(MatchAgent).deliver("t.features", offset=30, end=100, age_s=60)
    shown = process.look()
    assert (shown["events/join/features"], shown["events/match/features"]) == (10, 70)
    assert shown["seconds/join/features"] == pytest.approx(5, abs=1)
    assert shown["seconds/match/features"] == pytest.approx(60, abs=1)


def test_an_agent_of_two_topics_tells_of_each() -> None:
    process = Process()
    process.consumer(TextAgent).deliver("t.text", offset=7, end=8, age_s=1)
    process.consumer(TextAgent).deliver("t.recognition", offset=3, end=8, age_s=20)
    shown = process.look()
    assert (shown["events/text/text"], shown["events/text/recognition"]) == (1, 5)
    assert shown["seconds/text/recognition"] == pytest.approx(20, abs=1)


def test_partitions_that_went_to_another_process_are_no_lag_of_this_one() -> None:
    process = Process()
    consumer = process.consumer(JoinAgent)
    consumer.deliver("t.features", offset=90, end=100, age_s=60)
    assert process.look()["events/join/features"] == 10
    consumer.ends.clear()
    assert process.look() == {"events/join/features": 0, "seconds/join/features": 0}
