"""Draws a trace: what became of one chunk of the demo call, as a collector has it.

    python -m tests.bench.trace

A private Kafka, a worker, a gateway, and a collector in this process. The beginning of the call is
spoken in real time through the gateway, by clients that send a `traceparent`. Of the chunks in
which an utterance begins, and whose words and voice both came into windows, the one that was told
of soonest becomes docs/trace.png, up to the first sentiment that knows its words.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from streams.broker import Broker
from streams.connection import Connection
from streams.events import Topics
from streams.processes import GatewayProcess
from streams.replay import load
from streams.settings import Settings
from tests.collector import Collected, collector
from tests.harness import Installation, eventually
from tests.monitored import ROOT, speak
from tests.traces import AGENTS, CLIENT, TRACE, way, ways, whole

PICTURE: Final = ROOT / "docs" / "trace.png"
PREFIX: Final = "tenor."
SECONDS: Final = 22.0
"""A short utterance is over by then, and the next step of its window."""
IDLE_AFTER_S: Final = str(Settings.model_fields["idle_after_s"].default)
"""As users have it; tests wait longer."""
COLORS: Final = {
    "gateway": "#8a8a8a",
    "audio agent": "#3b6fd4",
    "text agent": "#d98a1f",
    "join agent": "#2f9e58",
}
INK, FAINT = "#1f2430", "#5c6370"
WIDTH, ROW, HEAD, FOOT = 9.6, 0.205, 0.68, 0.52
"""Inches: of the picture, a bar, what is above and below them."""
NAMES, EDGE, INDENT = 0.3, 0.015, 0.013
"""Shares of the width: where bars begin, what is left free, what a child is moved."""
THINNEST: Final = 1 / 400
"""Of the time: a bar that is shorter would not be seen."""
MS: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Row:
    """A bar: a span, how deep it lies under the chunk's sending, and who made it."""

    span: Collected
    depth: int
    by: str

    @property
    def begin(self) -> float:
        """ms since 1970, as `end`."""
        return self.span.span.start_time_unix_nano * MS

    @property
    def end(self) -> float:
        return self.span.span.end_time_unix_nano * MS


async def collect(folder: Path) -> list[Collected]:
    """All spans of the call."""
    script = load([ROOT / "demo" / "call"])
    heard = replace(script, moments=tuple(m for m in script.moments if m.topic == "audio"))
    with Broker(folder / "kafka") as kafka, collector() as collected:
        tenor = Installation(Connection(kafka.bootstrap), Topics.of(PREFIX), PREFIX, folder)
        await tenor.make_topics()
        settings = {**tenor.settings, **collected.environment, "TENOR_IDLE_AFTER_S": IDLE_AFTER_S}
        worker = tenor.start_worker(AGENTS, **settings)
        gateway = GatewayProcess.start(folder / "gateway.log", settings)
        with gateway.running(), worker.running():
            await speak(gateway, "call", heard, SECONDS, CLIENT)
            await eventually(lambda: whole(PREFIX) <= ways(collected.of(TRACE)))
        return collected.of(TRACE)


def chunks(spans: Sequence[Collected]) -> Iterator[list[Row]]:
    """What became of each chunk that came all the way: every span below the one that caused it."""
    children: dict[str, list[Collected]] = defaultdict(list)
    for each in spans:
        children[each.parent].append(each)

    def below(span: Collected, depth: int, by: str) -> Iterator[Row]:
        group = str(span.attributes.get("messaging.consumer.group.name", ""))
        by = f"{group.rpartition('-')[2]} agent" if group else by
        yield Row(span, depth, by)
        for child in children[span.id]:
            yield from below(child, depth + 1, by)

    for first in children[CLIENT.split("-")[2]]:
        rows = [*below(first, 0, "gateway")]
        if whole(PREFIX) <= ways([row.span for row in rows]):
            yield first_sentiment(rows)


def first_sentiment(rows: Sequence[Row]) -> list[Row]:
    """Without what later results of the window are made of, once one knew the words."""
    by_id = {row.span.id: row.span for row in rows}
    knew = [
        way(row.span, by_id)[-2]
        for row in rows
        if row.span.span.name == f"send {PREFIX}sentiment"
        and any(each.span.name == f"process {PREFIX}recognition" for each in way(row.span, by_id))
    ]
    window = min(knew, key=lambda each: each.span.start_time_unix_nano)
    told = max(row.end for row in rows if row.span.parent == window.id)
    return [row for row in rows if row.begin <= told]


def lasted(rows: Sequence[Row]) -> float:
    """From the first to the last, ms."""
    return max(row.end for row in rows) - rows[0].begin


def draw(rows: Sequence[Row], path: Path) -> None:
    """A bar for each span, in the order of their parents."""
    height = HEAD + FOOT + ROW * len(rows)
    figure, axes = plt.subplots(figsize=(WIDTH, height))
    figure.subplots_adjust(NAMES, FOOT / height, 1 - EDGE, 1 - HEAD / height)
    begun, most = rows[0].begin, lasted(rows)
    for place, row in enumerate(rows):
        begin, end = row.begin - begun, max(row.end - begun, row.begin - begun + most * THINNEST)
        axes.barh(place, end - begin, 0.7, left=begin, color=COLORS[row.by])
        _beside(axes, place, begin, end, _duration(row), before=end > 0.9 * most)
        indent = (EDGE + INDENT * row.depth - NAMES) / (1 - EDGE - NAMES)
        across = axes.get_yaxis_transform()
        name = row.span.span.name
        axes.text(indent, place, name, transform=across, va="center", size=8.5, color=INK)
    _dress(axes, len(rows), most)
    title = "What one chunk of audio leads to, up to sentiment"
    figure.text(EDGE, 1 - 0.12 / height, title, va="top", weight="bold", size=11, color=INK)
    legend = [Patch(color=color, label=name) for name, color in COLORS.items()]
    place_of_legend = (EDGE - 0.005, 1 - 0.34 / height)
    figure.legend(
        handles=legend,
        loc="upper left",
        bbox_to_anchor=place_of_legend,
        borderaxespad=0,
        frameon=False,
        fontsize=8.5,
        ncols=len(legend),
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _duration(row: Row) -> str:
    ms = row.end - row.begin
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


def _beside(axes: Axes, place: int, begin: float, end: float, said: str, *, before: bool) -> None:
    """Says it after a bar, or before one that ends too far right."""
    axes.annotate(
        said,
        (begin if before else end, place),
        xytext=(-3 if before else 3, 0),
        textcoords="offset points",
        ha="right" if before else "left",
        va="center",
        size=7.5,
        color=FAINT,
    )


def _dress(axes: Axes, count: int, most: float) -> None:
    for place in range(0, count, 2):  # the eye finds the bar of a name
        axes.axhspan(
            place - 0.5, place + 0.5, -1, 2, color="#f4f5f7", zorder=0, linewidth=0, clip_on=False
        )
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xlim(0, most)
    axes.set_yticks([])
    axes.set_xlabel("time since the gateway began to send the chunk, in ms", size=9, color=INK)
    axes.tick_params(axis="x", labelsize=8.5, color=FAINT)
    axes.grid(axis="x", alpha=0.35)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    mpl.use("Agg")
    with tempfile.TemporaryDirectory(prefix="tenor-trace-") as folder:
        spans = asyncio.run(collect(Path(folder)))
    draw(min(chunks(spans), key=lasted), PICTURE)


if __name__ == "__main__":
    main()
