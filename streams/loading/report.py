"""What a load comes to: its figures, whether they hold the objective, and the table of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streams.loading.accounts import Accounts, lost
from streams.loading.calls import Load, Span
from streams.loading.driving import LATE_S, Sent
from streams.loading.latencies import Latencies, summary
from streams.loading.machine import PARTS, Sample, cores, memory, strain

BESIDE: Final = tuple(part for part in PARTS if part != "speech")


@dataclass(frozen=True, slots=True)
class Objective:
    """The 95th percentiles (s) that final captions and sentiment must hold."""

    final_s: float = 1.0
    sentiment_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Run:
    """All that was seen of a load.

    `idle` is a time (ms) before it, `start` its begin; `kafka_bytes` is what the private Kafka has
    on its disk for it, None if it is not ours; `restarts` counts workers that ended by themselves.
    """

    load: Load
    start: int
    idle: Span
    sent: Sent
    accounts: Accounts
    latencies: Latencies
    samples: Sequence[Sample]
    kafka_bytes: int | None
    restarts: int


def figures(run: Run, objective: Objective) -> dict[str, Any]:
    """All of it as JSON values."""
    steady = run.load.steady(run.start)
    found: dict[str, Any] = {
        "sessions": run.load.sessions,
        "minutes": round(run.load.length_ms / 60_000, 3),
        "talk_share": round(run.sent.loud / max(1, run.sent.steps), 3),
        "events_in": dict(run.sent.events),
        "mb_in": round(run.sent.bytes / 1e6, 3),
        "producer_late_s": summary(run.sent.late_s),
        "results_out": dict(sorted(run.accounts.results.items())),
        "latency_s": run.latencies.figures(),
        "losses": run.accounts.figures(),
        **strain(run.samples),
        "worker_restarts": run.restarts,
        "cpu_cores": {"idle": cores(run.samples, run.idle), "steady": cores(run.samples, steady)},
        "rss_mb": memory(run.samples),
        "kafka_mb": None if run.kafka_bytes is None else round(run.kafka_bytes / 1e6, 1),
    }
    found["cpu_cores"]["per_call"] = per_call(found["cpu_cores"], run.load.sessions)
    return {**found, **verdict(found, objective)}


def per_call(cpu: Mapping[str, Mapping[str, float]], sessions: int) -> dict[str, float]:
    """Cores that each call takes, beyond what is taken without any."""
    idle, steady = cpu["idle"], cpu["steady"]
    if not steady:
        return {}
    more = {name: (busy - idle.get(name, 0.0)) / sessions for name, busy in steady.items()}
    return {
        "beside_speech": round(sum(more[f"workers_{part}"] for part in BESIDE), 4),
        **{part: round(more[f"workers_{part}"], 4) for part in PARTS},
        **{name: round(more[name], 4) for name in ("kafka", "producer", "reader") if name in more},
    }


def verdict(found: Mapping[str, Any], objective: Objective) -> dict[str, Any]:
    """Whether so many calls are held, and if not, why; `void`: it was not that load."""
    late = found["producer_late_s"]["p99"]
    void = late is None or late > LATE_S
    why = lost(found["losses"])
    for kind, most in (("final", objective.final_s), ("sentiment", objective.sentiment_s)):
        took = found["latency_s"][kind]["p95"]
        if took is None:
            why.append(f"no {kind} result")
        elif took > most:
            why.append(f"{kind}: p95 {took:g} s is over {most:g} s")
    if found["worker_restarts"]:
        why.append(f"{found['worker_restarts']} workers ended by themselves")
    if void:
        why.append(f"the producer fell behind (p99 {late} s): the run is void")
    return {"void": void, "held": not why, "why_not": why}


def print_load(results: Mapping[str, Any], console: Console) -> None:
    """The figures for people."""
    run = results["run"]
    console.print(latency_table(run))
    table = Table(title="The rest", title_justify="left", show_header=False)
    for name, value in _rows(results):
        table.add_row(name, value)
    console.print(table)
    for probe in results["probes"]:
        console.print(f"{probe['sessions']} calls: {_said(probe)}", highlight=False)
    console.print(f"[bold]{run['sessions']} calls: {_said(run)}", highlight=False)
    if results["most"] is not None:
        console.print(f"[bold]the most that hold: {results['most']}", highlight=False)


def latency_table(run: Mapping[str, Any]) -> Table:
    """Latencies by kind."""
    title = f"{run['sessions']} calls for {run['minutes']:g} min: latency in s"
    table = Table(title=title, title_justify="left")
    table.add_column("result")
    columns = ("count", "p50", "p95", "p99", "max")
    for name in columns:
        table.add_column(name, justify="right")
    for kind, took in run["latency_s"].items():
        cells = ("" if took[name] is None else f"{took[name]:g}" for name in columns)
        table.add_row(kind.replace("_", " "), *cells)
    return table


def _rows(results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    run = results["run"]
    cpu, late = run["cpu_cores"], run["producer_late_s"]
    yield "machine", f"{results['machine']}, {results['cpu']}"
    yield "workers", str(results["workers"] or "those of the installation")
    yield "somebody talks", f"{run['talk_share']:.0%} of the time"
    yield "events in", _counts(run["events_in"])
    yield "audio", _counts(run["losses"]["audio"])
    yield "windows", _counts(run["losses"]["windows"])
    yield "most lag, events", _counts(run["lag_events"])
    yield "most lag, s", _counts(run["lag_s"])
    yield (
        "captions degraded",
        f"{run['degraded_s']:g} s, {run['partials_skipped']} partials skipped",
    )
    yield "busy cores, idle", _counts(cpu["idle"])
    yield "busy cores, steady", _counts(cpu["steady"])
    yield "busy cores per call", _counts(cpu["per_call"])
    yield "memory, MB", "; ".join(f"{n}: {_counts(each)}" for n, each in run["rss_mb"].items())
    yield "producer late", f"p50 {late['p50']:g} s, p99 {late['p99']:g} s, max {late['max']:g} s"


def _counts(of: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {_counts(value) or 0 if isinstance(value, Mapping) else f'{value:g}'}"
        for name, value in of.items()
    )


def _said(run: Mapping[str, Any]) -> str:
    why = escape("; ".join(run["why_not"]))
    return "[green]held" if run["held"] else f"[red]not held[/red] ({why})"
