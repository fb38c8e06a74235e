"""Draws the dashboards from a real run, since a Grafana cannot be had everywhere.

    python -m tests.bench.dashboards --calls 2

A private Kafka, a worker, a gateway and Prometheus as deploy/ configures it; calls of the demo
begin one after the other and are spoken in real time through the gateway. Then every panel of the
dashboards asks its own questions, and the answers become docs/dashboard-*.png. What is drawn is
what Prometheus answered; the drawing itself is ours, not Grafana's.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from deploy.grafana.boards import DASHBOARDS
from deploy.grafana.panels import Dashboard, Panel
from streams.broker import Broker
from streams.connection import Connection
from streams.events import Topics
from streams.processes import GatewayProcess, WorkerProcess
from streams.replay import Script, load
from streams.settings import Settings
from tests.harness import Installation
from tests.monitored import ROOT, Prometheus, prometheus, speak

DOCS: Final = ROOT / "docs"
APART_S: Final = 12.0
"""Between the beginnings of two calls."""
AFTER_S: Final = 15.0
IDLE_AFTER_S: Final = str(Settings.model_fields["idle_after_s"].default)
"""As users have it; tests wait longer."""
STEP_S: Final = 2.0
COLUMNS: Final = 3
INK, BAD, WARN = "#1f2430", "#c4162a", "#e0a500"
UNITS: Final = {"s": "s", "ops": "/s", "percentunit": "%", "bytes": "MiB", "short": ""}
FACTORS: Final = {"percentunit": 100, "bytes": 1 / 2**20}


async def run(calls: int, folder: Path) -> None:
    """The run, and its pictures."""
    with Broker(folder / "kafka") as kafka:
        tenor = Installation(Connection(kafka.bootstrap), Topics.of("tenor."), "tenor.", folder)
        await tenor.make_topics()
        worker = tenor.start_worker(TENOR_IDLE_AFTER_S=IDLE_AFTER_S)
        gateway = GatewayProcess.start(folder / "gateway.log", tenor.settings)
        with gateway.running(), worker.running():
            await _watched(folder, worker, gateway, calls)


async def _watched(
    folder: Path, worker: WorkerProcess, gateway: GatewayProcess, calls: int
) -> None:
    script = load([ROOT / "demo" / "call"])
    with prometheus(folder, [worker], [gateway]) as watching:
        begin = time.time()
        await asyncio.gather(*(_call(gateway, number, script) for number in range(calls)))
        await asyncio.sleep(AFTER_S)
        for dashboard in DASHBOARDS:
            draw(dashboard, watching, begin, time.time())
        print(f"firing at the end: {', '.join(sorted(watching.firing())) or 'nothing'}")


async def _call(gateway: GatewayProcess, number: int, script: Script) -> None:
    await asyncio.sleep(number * APART_S)
    await speak(gateway, f"call-{number}", script, script.seconds)


def draw(dashboard: Dashboard, watching: Prometheus, begin: float, end: float) -> None:
    """One picture of a dashboard, its panels in rows as Grafana has them."""
    stats = [each for each in dashboard.panels if each.kind == "stat"]
    graphs = [each for each in dashboard.panels if each.kind != "stat"]
    rows = math.ceil(len(graphs) / COLUMNS)
    heights = [0.35] * bool(stats) + [1.0] * rows
    figure = plt.figure(figsize=(13, 0.6 + 2.9 * sum(heights)), layout="constrained")
    figure.suptitle(dashboard.title, x=0.01, ha="left", weight="bold", size=13)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    if stats:
        row = grid[0].subgridspec(1, len(stats))
        for place, panel in enumerate(stats):
            _stat(figure.add_subplot(row[place]), panel, watching)
    for number in range(rows):
        row = grid[number + bool(stats)].subgridspec(1, COLUMNS)
        for place, panel in enumerate(graphs[number * COLUMNS :][:COLUMNS]):
            _graph(figure.add_subplot(row[place]), panel, watching, begin, end)
    figure.savefig(DOCS / f"{dashboard.name.replace('tenor', 'dashboard')}.png", dpi=72)
    plt.close(figure)


def _stat(axes: Axes, panel: Panel, watching: Prometheus) -> None:
    (query,) = panel.queries.values()
    value = float(watching.query(query)[0]["value"][1])
    worst = [c for c, bound in ((BAD, panel.bad), (WARN, panel.warn)) if bound and value >= bound]
    shown = "no data" if math.isnan(value) else f"{_scaled(panel, value):.3g} {UNITS[panel.unit]}"
    axes.set_axis_off()
    axes.text(0.5, 0.35, shown, ha="center", va="center", size=19, color=[*worst, INK][0])
    axes.text(0.5, 0.95, panel.title, ha="center", va="top", size=9)


def _graph(axes: Axes, panel: Panel, watching: Prometheus, begin: float, end: float) -> None:
    found = {
        _legend(name, each["metric"]): _points(panel, each, begin)
        for name, query in panel.queries.items()
        for each in watching.course(query, begin, end, STEP_S)
    }
    # A series without its label is the 0 of what had not been counted yet.
    shown = {name: points for name, points in found.items() if points[0] and "{{" not in name}
    if panel.stacked:
        times = max((x for x, _ in shown.values()), key=len)
        axes.stackplot(times, [_even(y, len(times)) for _, y in shown.values()], labels=shown)
    else:
        for name, (x, y) in shown.items():
            axes.plot(x, y, label=name, linewidth=1.3)
    for color, bound in ((WARN, panel.warn), (BAD, panel.bad)):
        highest = max((max(y) for _, y in shown.values()), default=0.0)
        if bound is not None and _scaled(panel, bound) < 3 * highest:
            axes.axhline(_scaled(panel, bound), color=color, linestyle="--", linewidth=0.9)
    _dress(axes, panel, end - begin, list(shown))


def _dress(axes: Axes, panel: Panel, seconds: float, names: list[str]) -> None:
    axes.set_title(panel.title, loc="left", size=9)
    axes.set_xlim(0, seconds)
    axes.set_ylim(bottom=0)
    unit = UNITS[panel.unit]
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.4g} {unit}".strip()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f} s"))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if names:
        axes.legend(fontsize=6.5, frameon=False, loc="upper left", ncols=1 + len(names) // 7)
    else:
        why = f"needs {panel.needs}" if panel.needs else "nothing happened"
        axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", size=9, color="gray")


def _points(panel: Panel, series: dict[str, Any], begin: float) -> tuple[list[float], list[float]]:
    values = [(at - begin, _scaled(panel, float(value))) for at, value in series["values"]]
    there = [(at, value) for at, value in values if not math.isnan(value)]
    return [at for at, _ in there], [value for _, value in there]


def _even(values: list[float], length: int) -> list[float]:
    """As long as the longest: what began later was nothing before."""
    return [0.0] * (length - len(values)) + values


def _scaled(panel: Panel, value: float) -> float:
    return value * FACTORS.get(panel.unit, 1)


def _legend(name: str, labels: dict[str, str]) -> str:
    for label, value in labels.items():
        name = name.replace(f"{{{{{label}}}}}", value.removeprefix("tenor.").removesuffix(".v1"))
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=2)
    mpl.use("Agg")
    with tempfile.TemporaryDirectory(prefix="tenor-dashboards-") as folder:
        asyncio.run(run(parser.parse_args().calls, Path(folder)))


if __name__ == "__main__":
    main()
