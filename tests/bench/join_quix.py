"""The worker of `join_hops.py` that is Quix Streams; run by a Python that has it, without Tenor.

Its defaults: state in RocksDB with a changelog topic, at least once, a commit every 5 s. The rows
are those of Tenor's workers. Prints one line of JSON.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from typing import Any

from quixstreams import Application  # type: ignore[import-not-found, unused-ignore]

STALLED_S = 20.0
PACKAGES = ("quixstreams", "confluent-kafka", "rocksdict")


class Meter:
    """From the first record to the commit that ends the run."""

    def __init__(self) -> None:
        self.records = self.late = self.rows = 0
        self.began = self.began_cpu = self.ended = self.ended_cpu = 0.0

    def record(self, value: object) -> None:
        if not self.records:
            self.began, self.began_cpu = time.perf_counter(), time.process_time()
        self.records += 1

    def row(self, value: object) -> None:
        self.rows += 1

    def is_late(self, *about: object) -> bool:
        self.late += 1
        return False  # not to be logged

    def end(self) -> None:
        self.ended, self.ended_cpu = time.perf_counter(), time.process_time()


def begin(value: dict[str, Any]) -> dict[str, Any]:
    """The state of a window after its first reading."""
    return {"count": 1, "total": value["value"], "sources": [value["source"]]}


def add(state: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """The state after one more."""
    sources = state["sources"]
    if value["source"] not in sources:
        sources = [*sources, value["source"]]
    return {
        "count": state["count"] + 1,
        "total": state["total"] + value["value"],
        "sources": sources,
    }


def row(window: dict[str, Any]) -> dict[str, Any]:
    """What is said of a closed window."""
    state = window["value"]
    mean = state["total"] / state["count"]
    sources = sorted(state["sources"])
    return {"start": window["start"], "count": state["count"], "mean": mean, "sources": sources}


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Works until all rows are there, or no record has come for `STALLED_S`."""
    meter = Meter()
    app = Application(
        broker_address=job["brokers"],
        consumer_group=job["group"],
        auto_offset_reset="earliest",
        state_dir=job["state"],
        loglevel="WARNING",
    )
    frame = app.dataframe(app.topic(f"{job['prefix']}features"))
    frame = frame.update(meter.record)
    windows = frame.tumbling_window(job["length_ms"], job["lateness_ms"], on_late=meter.is_late)
    frame = windows.reduce(add, begin).final().apply(row)
    frame = frame.update(meter.row).to_topic(app.topic(job["out"]))

    commit = app._processing_context.commit_checkpoint

    def committed(*, force: bool = False, **options: bool) -> None:
        commit(force=force, **options)
        if force and not meter.ended:  # `run` forces it when it has all rows
            meter.end()

    app._processing_context.commit_checkpoint = committed
    app.run(count=job["rows"], timeout=STALLED_S, collect=False)
    return {
        "records": meter.records,
        "late": meter.late,
        "complete": meter.rows >= job["rows"],
        "wall_s": meter.ended - meter.began,
        "cpu_s": meter.ended_cpu - meter.began_cpu,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def main() -> None:
    job = json.loads(sys.argv[1])
    if job["core"] is not None:
        os.sched_setaffinity(0, {job["core"]})
    print(json.dumps(run(job)), flush=True)


if __name__ == "__main__":
    main()
