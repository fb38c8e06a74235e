"""Fixtures of all tests. The Kafka is real, and started once per run, when the first test asks."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from streams.broker import Broker
from streams.connection import Connection
from streams.events import Topics
from streams.settings import Settings
from tests.harness import Installation

ROOT = Path(__file__).parent.parent
KAFKA = "kafka"
RUN = contextlib.ExitStack()
"""What this process holds until the run ends."""

# How fast a machine is says nothing of the code: timing is measured in benches.
settings.register_profile("tenor", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tenor")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401  (xdist has no types)
    """Where several processes share a run, the first of them makes us start its Kafka."""
    if not os.environ.get("TENOR_BROKERS"):
        node.workerinput[KAFKA] = _shared()


def pytest_unconfigure() -> None:
    """Ends it."""
    RUN.close()


@functools.cache
def _shared() -> str:
    folder = RUN.enter_context(tempfile.TemporaryDirectory(prefix="tenor-kafka-"))
    return RUN.enter_context(Broker(Path(folder))).bootstrap


@pytest.fixture(scope="session")
def kafka(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connection]:
    """Brokers: those of TENOR_BROKERS, or a private Kafka."""
    if os.environ.get("TENOR_BROKERS"):
        yield Connection.of(Settings())
    elif shared := getattr(request.config, "workerinput", {}).get(KAFKA):
        yield Connection(shared)
    else:
        with Broker(tmp_path_factory.mktemp("kafka")) as broker:
            yield Connection(broker.bootstrap)


@pytest.fixture
def installation(kafka: Connection, tmp_path: Path) -> Iterator[Callable[[], Installation]]:
    """Makes installations of Tenor on the Kafka: topics, groups and workers of their own."""
    made: list[Installation] = []

    def make() -> Installation:
        prefix = f"t{uuid.uuid4().hex[:8]}."
        made.append(Installation(kafka, Topics.of(prefix), prefix, tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture(scope="session")
def demo_call() -> Path:
    """The folder of the demo call."""
    return ROOT / "demo" / "call"
