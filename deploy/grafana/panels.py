"""What a dashboard is made of, and how its questions are put to Prometheus.

A query gives a series as soon as workers and gateways are scraped: what has not happened yet is 0,
not an empty panel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["timeseries", "stat"]


@dataclass(frozen=True, slots=True)
class Panel:
    """A question (`title`), and its answer: `queries` by what their series are called. `about` says
    how to read it, and `alert` which one looks at the same. From `warn` on it is yellow, from `bad`
    on red; `needs` is what there must be for it to show anything at all."""

    title: str
    about: str
    queries: Mapping[str, str]
    unit: str = "short"
    alert: str = ""
    warn: float | None = None
    bad: float | None = None
    stacked: bool = False
    kind: Kind = "timeseries"
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """`name` is that of its file, and its address in Grafana."""

    name: str
    title: str
    about: str
    panels: tuple[Panel, ...]


INSTANCE: Final = 'instance=~"$instance"'
OR_NONE: Final = " or on () vector(0)"


def chosen(metric: str, where: str = "") -> str:
    """Of the instances that are looked at."""
    return f"{metric}{{{', '.join(filter(None, [where, INSTANCE]))}}}"


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Of a counter, per second, summed up to the labels `by`; 0 where nothing has been counted."""
    return f"sum by ({by}) (rate({chosen(metric, where)}[$__rate_interval])){OR_NONE}"


def total(metric: str, by: str = "", where: str = "") -> str:
    """Of a gauge, summed up to the labels `by`; 0 where there is none."""
    return f"sum by ({by}) ({chosen(metric, where)}){OR_NONE}"


def most(metric: str, by: str) -> str:
    """Of a gauge, the largest of those with the same label."""
    return f"max by ({by}) ({chosen(metric)})"


def quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    """Of a histogram."""
    labels = ", ".join(filter(None, ["le", by]))
    buckets = f"rate({chosen(f'{metric}_bucket', where)}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by ({labels}) ({buckets}))"


def quantiles(metric: str, where: str) -> dict[str, str]:
    """Half of all, 95 % and 99 % are at most so much."""
    shares = {"half": 0.5, "95 %": 0.95, "99 %": 0.99}
    return {name: quantile(share, metric, where=where) for name, share in shares.items()}


def stat(title: str, about: str, query: str, unit: str = "short", **more: object) -> Panel:
    """One number."""
    return Panel(title, about, {title: query}, unit, kind="stat", **more)  # type: ignore[arg-type]
