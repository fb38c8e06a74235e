"""What a scenario proved, for machines and for people. Pure."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from streams.proving.comparison import (
    Comparison,
    Fault,
    Finals,
    Letters,
    Place,
    describe,
    interruption_s,
    median_and_most,
)

MIB = 2**20
FLOOR_EVERY_MS = 1000
"""Of the undisturbed run, "interruptions" are measured as often as this."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run.

    `whole`: every session was summed up and every malformed record answered for, in time. `signs`
    and `fed` are those of `comparison.interruption_s`, `reasons` of dead letters; `peak_rss` in
    bytes, of all workers together.
    """

    name: str
    sessions: int
    events: int
    whole: bool
    finals: Finals
    letters: Letters
    reasons: Mapping[Place, str]
    signs: Mapping[str, Sequence[int]]
    fed: Mapping[str, tuple[int, int]]
    faults: Sequence[Fault]
    peak_rss: int
    restarts: int
    ended_by_themselves: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report; `figures` as JSON values."""

    passed: bool
    comparison: Comparison
    figures: Mapping[str, Any]


def row(run: Run, calm: Run, found: Comparison) -> Row:
    """The figures of a run beside those of the undisturbed one."""
    passed = run.whole and found.same and run.letters.right
    letters, faults = run.letters, list(_faults(run))
    figures = {
        "scenario": run.name,
        "passed": passed,
        "sessions": run.sessions,
        "events_in": run.events,
        "expected": found.expected,
        "found": found.found,
        "missing": len(found.missing),
        "extra": len(found.extra),
        "repeated": found.repeated,
        "different": len(found.different),
        "dead_letters": {
            "expected": letters.expected,
            "missing": len(letters.missing),
            "extra": len(letters.extra),
            "altered": len(letters.altered),
            "repeated": letters.repeated,
        },
        "faults": len(run.faults),
        "restarts": run.restarts,
        "ended_by_themselves": run.ended_by_themselves,
        "interruption_s": median_and_most(each["interruption_s"] for each in faults),
        "each_fault": faults,
        "undisturbed_interruption_s": floor(calm),
        "peak_rss_mb": round(run.peak_rss / MIB),
        "undisturbed_peak_rss_mb": round(calm.peak_rss / MIB),
        "seconds": round(run.seconds, 1),
        "machine": machine(),
    }
    return Row(passed, found, figures)


def _faults(run: Run) -> Iterator[dict[str, Any]]:
    """Each fault, when it happened (s after the first call began), and its interruption (s)."""
    begin = min((begin for begin, _ in run.fed.values()), default=0)
    for fault in run.faults:
        silent = interruption_s(run.signs, run.fed, fault.at)
        at = round((fault.at - begin) / 1000, 2)
        yield {"what": fault.what, "at_s": at, "interruption_s": silent}


def floor(calm: Run) -> dict[str, float | int | None]:
    """The interruptions of faults that never happened, one a second."""
    begin = min((begin for begin, _ in calm.fed.values()), default=0)
    end = max((end for _, end in calm.fed.values()), default=0)
    return median_and_most(
        interruption_s(calm.signs, calm.fed, at) for at in range(begin, end, FLOOR_EVERY_MS)
    )


def machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.machine()}"


def details(result: Row, run: Run, calm: Run) -> Iterator[str]:
    """Lines on what is wrong: ids, types and sessions, but nothing that was said."""
    found, letters = result.comparison, run.letters
    if not run.whole:
        yield f"{run.name}: not everything came in time"
    for what, ids, finals in (
        ("missing", found.missing, calm.finals),
        ("extra", found.extra, run.finals),
        ("different", found.different, run.finals),
    ):
        if ids:
            yield f"{run.name}: {len(ids)} {what} ({describe(ids, finals)}): {', '.join(ids[:5])}"
    for what, places in (
        ("missing", letters.missing),
        ("of good records", letters.extra),
        ("altered", letters.altered),
    ):
        if places:
            reasons = dict(Counter(run.reasons.get(place, "none") for place in places))
            yield f"{run.name}: {len(places)} dead letters {what} ({reasons}): {places[:5]}"


def summary(result: Row) -> str:
    """A line as soon as a scenario is over: the table comes much later."""
    figures = result.figures
    counts = ", ".join(f"{figures[name]} {name}" for name in ("missing", "extra", "different"))
    most = figures["interruption_s"]["max"]
    return (
        f"{figures['scenario']}: {'passed' if result.passed else 'FAILED'}; "
        f"{figures['found']} of {figures['expected']} finals, {counts}"
        + ("" if most is None else f"; interrupted for {most:.1f} s at most")
    )


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """The table for people."""
    table = Table(title="What was proved", title_justify="left")
    table.add_column("scenario")
    for name in ("faults", "events in", "finals", "found", "missing", "extra", "different"):
        table.add_column(name, justify="right")
    for name in ("repeated", "dead letters", "interruption p50, max", "memory", ""):
        table.add_column(name, justify="right")
    for each in rows:
        table.add_row(*_cells(each.figures))
    console.print(table)
    console.print(
        "Final results against those of an undisturbed run, by id and byte. Interruption: seconds "
        "until a live session is heard of again; memory: all workers together, at most."
    )


def _cells(figures: Mapping[str, Any]) -> list[str]:
    names = ("faults", "events_in", "expected", "found", "missing", "extra", "different")
    letters, interruption = figures["dead_letters"], figures["interruption_s"]
    told = letters["expected"] - letters["missing"] + letters["extra"]
    measured = interruption["p50"] is not None
    return [
        figures["scenario"],
        *(str(figures[name]) for name in (*names, "repeated")),
        f"{told} of {letters['expected']}",
        f"{interruption['p50']:.1f}, {interruption['max']:.1f}" if measured else "",
        f"{figures['peak_rss_mb']} MB",
        "passed" if figures["passed"] else "[red]FAILED",
    ]
