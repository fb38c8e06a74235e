"""What more calls need, from what some calls took: the model of how an installation grows. Pure.

    cores = workers x idle + calls x (speech + beside speech) + Kafka

A call costs the same wherever it is; a worker costs something before its first call. How many calls
a worker holds is bounded by its decoder threads and by its Python, which runs on one core at a time
however many threads there are. Sessions are spread over partitions, and so over workers, by chance:
a worker that holds `most` calls may be given so many on average that it seldom gets more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from rich.console import Console
from rich.table import Table

from streams.loading import LoadError

BUSY: Final = 0.7
"""The share of a core that may be busy on average: beyond it what waits grows quickly."""
DEVIATIONS: Final = 2.0
"""A worker has room for so many standard deviations of its calls, if these come by chance."""
PARTITIONS: Final = 4
"""Of each worker, so that more workers find some and Kafka deals them out evenly."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a measured load took, in cores, MB and events per second: of a worker without calls, of
    Kafka without calls, and of each call."""

    worker_idle: float
    worker_mb: float
    kafka_idle: float
    speech: float
    beside: float
    python: float
    kafka: float
    mb_in_s: float
    results_s: float
    disk_mb_hour: float

    @classmethod
    def of(cls, results: Mapping[str, Any]) -> Self:
        """From the figures of `tenor load`. Raises LoadError: they are not of a private Kafka."""
        try:
            run, workers = results["run"], results["workers"]
            cpu, seconds = run["cpu_cores"], run["sessions"] * run["minutes"] * 60
            each = cpu["per_call"]
            return cls(
                worker_idle=cpu["idle"]["workers"] / workers,
                worker_mb=run["rss_mb"]["workers"]["max"] / workers,
                kafka_idle=cpu["idle"]["kafka"],
                speech=each["speech"],
                beside=each["beside_speech"],
                python=each["event_loop"] + each["rest"],
                kafka=each["kafka"],
                mb_in_s=run["mb_in"] / seconds,
                results_s=sum(run["results_out"].values()) / seconds,
                disk_mb_hour=run["kafka_mb"] / seconds * 3600,
            )
        except (KeyError, TypeError, ZeroDivisionError) as error:
            raise LoadError(
                "a plan is made from what `tenor load --private --json` has printed of a run of"
                f" half a minute at least: {error!r}"
            ) from error


@dataclass(frozen=True, slots=True)
class Plan:
    """What so many calls at a time need; `cores` are busy ones, `cores_to_have` leave them room."""

    calls: int
    workers: int
    decoders_each: int
    partitions: int
    cores_speech: float
    cores_beside: float
    cores_idle: float
    cores_kafka: float
    cores_to_have: int
    memory_gb: float
    mb_in_s: float
    results_s: float
    disk_gb_day: float


def mean_calls(most: float) -> float:
    """How many calls a worker that holds `most` may have on average, if they come by chance: the
    mean m of a Poisson distribution such that m + DEVIATIONS sqrt(m) = most."""
    half = DEVIATIONS / 2
    return float((math.sqrt(half * half + most) - half) ** 2)


def plan(costs: Costs, calls: int) -> Plan:
    """Workers as large as their Python allows, with as many decoders as that takes."""
    most = BUSY / max(costs.python, 1e-6)
    workers = math.ceil(calls / mean_calls(most))
    speech, beside = calls * costs.speech, calls * costs.beside
    idle, kafka = workers * costs.worker_idle, costs.kafka_idle + calls * costs.kafka
    return Plan(
        calls=calls,
        workers=workers,
        decoders_each=max(1, math.ceil(most * costs.speech / BUSY)),
        partitions=PARTITIONS * workers,
        cores_speech=round(speech, 1),
        cores_beside=round(beside, 1),
        cores_idle=round(idle, 1),
        cores_kafka=round(kafka, 1),
        cores_to_have=math.ceil((speech + beside + idle + kafka) / BUSY),
        memory_gb=round(workers * costs.worker_mb / 1000, 1),
        mb_in_s=round(calls * costs.mb_in_s, 1),
        results_s=round(calls * costs.results_s, 1),
        disk_gb_day=round(calls * costs.disk_mb_hour * 24 / 1000, 1),
    )


def limits(costs: Costs, *, cores: int, workers: int, decoders: int) -> dict[str, float]:
    """How many calls each part of an installation on one machine carries; the first limit is the
    least of them."""
    free = cores * BUSY - workers * costs.worker_idle - costs.kafka_idle
    each = {
        "cores": (free, costs.speech + costs.beside + costs.kafka),
        "decoders": (workers * decoders * BUSY, costs.speech),
        "python": (workers * BUSY, costs.python),
        "kafka": (BUSY - costs.kafka_idle, costs.kafka),
    }
    return {name: round(there / cost, 1) for name, (there, cost) in each.items() if cost > 0}


def figures(results: Mapping[str, Any], counts: Sequence[int]) -> dict[str, Any]:
    """The costs that were measured, the limits where they were, and a plan for each count."""
    costs = Costs.of(results)
    there = limits(
        costs,
        cores=int(results["machine"].split()[0]),
        workers=results["workers"],
        decoders=results["settings"]["decoders"],
    )
    return {
        "costs": {name: round(value, 4) for name, value in asdict(costs).items()},
        "limits_here": there,
        "first_limit_here": min(there, key=lambda name: there[name]),
        "plans": [asdict(plan(costs, count)) for count in counts],
    }


def print_plans(found: Mapping[str, Any], console: Console) -> None:
    """The same for people."""
    for title, rows in (
        ("measured, per worker and per call", found["costs"].items()),
        ("calls that each part would carry where it was measured", found["limits_here"].items()),
    ):
        console.print(f"{title}: {', '.join(f'{name} {value:g}' for name, value in rows)}")
    table = Table(title="What calls at a time need", title_justify="left")
    table.add_column("")
    for each in found["plans"]:
        table.add_column(f"{each['calls']} calls", justify="right")
    for name, *cells in _rows(found["plans"]):
        table.add_row(name, *cells)
    console.print(table)


def _rows(plans: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    for name in plans[0]:
        if name != "calls":
            yield [name.replace("_", " "), *(f"{each[name]:g}" for each in plans)]
