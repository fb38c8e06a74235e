"""Measures the join: its pure machine on one core, and behind a hop through Kafka.

    python tests/bench/join.py [--json] [--quick] [--only pure,memory,hops]

`pure` feeds `SessionWindows` with calls (`join_load.py`: two audio channels and chat, a progress of
each channel and a feature every second) under the rules and numbers of open sessions of
`join_pure.py`. Events are made while the clock stands. Rates are per second of CPU, which other
work on the machine disturbs least; those by the wall clock are beside them.

`memory` is the size of a session that waits, as it is when it was restored from a checkpoint.

`hops` tallies keyed records (count, mean and sources per session and tumbling window of 5 s, 1 s of
lateness) from one topic into another, three times on the same private broker: with the windows of
Tenor behind Faust and Tenor's transport (`faust`), the same behind plain aiokafka (`aiokafka`), and
with Quix Streams (`quix`), each in a process pinned to one core, the broker on the others. Time is
from the first record that the code sees to the commit after the last row is confirmed; the rows of
every run are compared with the right ones. `join_agent` is a Tenor worker with the join agent on
features of the real codec, its fusion model included, with and without provisional results.

All run at least once, but with different promises. Tenor keeps a session's items in memory and the
log; each window that closes costs a checkpoint record, and a record is committed when its row is
confirmed; a repeated record is known by its id. Quix Streams keeps sums in RocksDB, with a
changelog topic, and commits every 5 s, its default; it tells no repeated record, and a crash
repeats rows of up to 5 s.

The JSON holds `machine`, `pure`, `memory`, `hops`; every figure with median, min, max and number of
rounds. A `ratio` is taken within each round, to 100 sessions, or to Quix Streams.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.join_agent import Calls
from tests.bench.join_hops import hops
from tests.bench.join_pure import IDLE_SESSIONS, memory, points, speed

PARTS: Final = ("pure", "memory", "hops")
SESSIONS: Final = 100
"""Of the hops."""


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def span(figure: dict[str, float], digits: str = ",.0f") -> str:
    """Minimum / median / maximum."""
    return " / ".join(f"{figure[name]:{digits}}" for name in ("min", "median", "max"))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    made = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    for row in rows:
        made.add_row(*map(str, row))
    return made


def pure_table(found: list[dict[str, Any]]) -> Table:
    columns = ("pure join", "features per s of CPU", "ratio in the round")
    rows = [
        (each["point"], span(each["features_per_cpu_s"]), span(each["ratio"], ".2f"))
        for each in found
    ]
    return table("minimum / median / maximum of the rounds", columns, rows)


def memory_table(found: list[dict[str, Any]]) -> Table:
    columns = ("a session that waits", "bytes (tracemalloc)", "bytes (RSS)")
    sizes = ("tracemalloc_bytes", "rss_bytes")
    rows = [(each["session"], *(f"{each[size]:,.0f}" for size in sizes)) for each in found]
    return table("", columns, rows)


def hops_table(found: dict[str, Any]) -> Table:
    columns = ("hop", "records/s", "of Quix's", "CPU µs per record", "of Quix's", "rows")
    rows = [
        (
            each["engine"],
            span(each["records_per_s"]),
            span(each["of_quix"], ".2f") if each["of_quix"] else "",
            span(each["cpu_us_per_record"]),
            span(each["cpu_of_quix"], ".2f") if each["cpu_of_quix"] else "",
            verdict(each, found["late"]),
        )
        for each in found["engines"]
    ]
    for each in found["join_agent"]:
        name = f"join agent, features, early_ms {each['early_ms']}"
        missing = f"{each['missing']['max']:.0f} missing" if each["missing"]["max"] else "all there"
        rows.append((name, span(each["features_per_s"]), "", "", "", missing))
    title = "{records:,} records, {sessions} sessions, {windows:,} windows, {late} late"
    return table(title.format_map(found), columns, rows)


def verdict(engine: dict[str, Any], late: int) -> str:
    """What is wrong with the rows of an engine, in the worst round."""
    faults = [f"{engine[name]} {name}" for name in ("missing", "wrong", "repeated") if engine[name]]
    if engine["late"] != late:
        faults.append(f"{engine['late']} late")
    return ", ".join(faults) or "all right"


def tell(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def measure(parts: Sequence[str], *, quick: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": machine()}
    core = max(os.sched_getaffinity(0)) if len(os.sched_getaffinity(0)) > 1 else None
    if "pure" in parts:
        chosen = points(1000 if quick else 100_000)
        found["pure"] = speed(chosen, 2 if quick else 5, 15_000 if quick else 60_000, core, tell)
    if "memory" in parts:
        found["memory"] = memory(1000 if quick else IDLE_SESSIONS, tell)
    if "hops" in parts:
        count, turns = (5000, 1) if quick else (40_000, 2)
        found["hops"] = hops(count, Calls(SESSIONS, turns), 1 if quick else 3, tell)
    found["machine"]["load_after"] = os.getloadavg()[0]
    return found


def show(found: dict[str, Any]) -> None:
    console = Console()
    console.print(found["machine"])
    for name, made in (("pure", pure_table), ("memory", memory_table), ("hops", hops_table)):
        if name in found:
            console.print(made(found[name]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="a minute, for a look")
    parser.add_argument("--only", default=",".join(PARTS), help="some of " + ",".join(PARTS))
    args = parser.parse_args()
    found = measure(args.only.split(","), quick=args.quick)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


if __name__ == "__main__":
    main()
