"""Prometheus on a real call: no question of a dashboard stays without an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.grafana.boards import DASHBOARDS
from streams.events import EventType
from streams.processes import GatewayProcess
from streams.replay import load
from tests.harness import Installation, eventually
from tests.monitored import MISSING, Prometheus, prometheus, speak, tool

pytestmark = pytest.mark.skipif(tool("prometheus") is None, reason=MISSING)

SECONDS = 12
"""Of the demo call: both have spoken by then."""
PATIENCE_S = 120


@pytest_asyncio.fixture
async def watched(
    installation: Callable[[], Installation], demo_call: Path, tmp_path: Path
) -> AsyncIterator[Prometheus]:
    """A call that has been watched, from its beginning to its end."""
    tenor = installation()
    await tenor.make_topics()
    worker = tenor.start_worker()
    gateway = GatewayProcess.start(tmp_path / "gateway.log", tenor.settings)
    try:
        with prometheus(tmp_path, [worker], [gateway]) as watching:
            await asyncio.gather(*(asyncio.to_thread(each.ready) for each in (worker, gateway)))
            await speak(gateway, "call-1", load([demo_call]), SECONDS)
            await tenor.read(["sentiment"], until=EventType.SENTIMENT_SESSION, s=PATIENCE_S)
            done = 'sum(tenor_results_total{type="tenor.sentiment.session.v1"}) > 0'
            await eventually(lambda: watching.query(done), PATIENCE_S)
            await eventually(lambda: "unknown" not in watching.rules().values(), PATIENCE_S)
            yield watching
    finally:
        gateway.kill()


async def test_a_call_is_seen_whole(watched: Prometheus) -> None:
    asked = {
        query: panel
        for dashboard in DASHBOARDS
        for panel in dashboard.panels
        for query in panel.queries.values()
    }
    empty = {panel.title for query, panel in asked.items() if not watched.query(query)}
    assert empty == {panel.title for panel in asked.values() if panel.needs}
    health = watched.rules()
    assert set(health.values()) == {"ok"}
    recorded = [name for name in health if ":" in name]
    assert recorded
    assert [name for name in recorded if not watched.query(name)] == []
    assert watched.firing() == set()
    _every_second_is_accounted_for(watched)


def _every_second_is_accounted_for(watched: Prometheus) -> None:
    def value(metric: str) -> float:
        ((_, value),) = [each["value"] for each in watched.query(f"sum({metric})")]
        return float(value)

    taken, done = value("tenor_audio_taken_seconds_total"), value("tenor_audio_done_seconds_total")
    assert taken > SECONDS
    assert taken + value("tenor_audio_lost_seconds_total") == pytest.approx(done, abs=0.01)
