"""What a load took is told as it was, and what more calls need follows from it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from streams.cli import main
from streams.loading.calls import Load
from streams.loading.driving import Sent
from streams.loading.latencies import Latencies
from streams.loading.machine import PARTS, Sample, cores, memory, strain
from streams.loading.planning import Costs, figures, limits, mean_calls, plan
from streams.loading.report import Objective, Run, print_load, verdict
from streams.loading.report import figures as figures_of
from tests.made_results import CALLS, WHOLE, accounts, event, final, summed_up, window

# --- the machine


def sample(at: int, cpu_s: float, **more: Any) -> Sample:  # noqa: ANN401
    cpu = {"workers": cpu_s, "kafka": cpu_s / 10, "producer": 0.0, "reader": 0.0}
    parts = dict.fromkeys(PARTS, cpu_s / 4)
    made: dict[str, Any] = {"rss": {"workers": 10**9, "kafka": 0}, "lag": {}, "lag_s": {}}
    made |= {"degradation": 0.0, "partials_skipped": 0.0, **more}
    return Sample(at, {**cpu, "machine": cpu_s * 1.5}, parts, **made)


def test_cores_are_those_of_the_span_and_what_others_do_is_told() -> None:
    samples = [sample(0, 0), sample(10_000, 5), sample(20_000, 25), sample(30_000, 26)]
    found = cores(samples, (10_000, 20_000))
    assert (found["workers"], found["workers_speech"], found["kafka"]) == (2.0, 0.5, 0.2)
    assert found["others"] == 0.8
    assert cores(samples, (10_001, 20_001)) == {}


def test_memory_lag_and_degradation_are_the_most() -> None:
    samples = [
        sample(0, 0, lag={"audio/audio": 3.0, "join/features": 5.0}),
        sample(1000, 0, lag={"audio/audio": 9.0, "match/features": 2.0}, degradation=1.0),
        sample(3000, 0, degradation=2.0, rss={"workers": 3 * 10**9, "kafka": 0}),
        sample(4000, 0, partials_skipped=7.0),
    ]
    assert memory(samples) == {"workers": {"start": 1000, "max": 3000, "end": 1000}}
    found = strain(samples)
    assert found["lag_events"] == {"audio/audio": 9.0, "join/features": 5.0, "match/features": 2.0}
    assert (found["degraded_s"], found["partials_skipped"]) == (3.0, 7)


# --- the verdict


def run(late_s: float = 0.001, samples: int = 40) -> Run:
    sent = Sent()
    sent.late_s.extend([late_s] * 100)
    sent.steps, sent.loud = 50, 20
    timed = Latencies(CALLS)
    for at, each in ((4800, final(2000, 4192)), (5400, window(0, 5000))):
        timed.add(event(each), each, at)
    return Run(
        load=Load("s", 1, 10.0),
        start=20_000,
        idle=(0, 20_000),
        sent=sent,
        accounts=accounts(*WHOLE, window(0, 5000), summed_up(1, 1)),
        latencies=timed,
        samples=[sample(n * 1000, n * n / 100) for n in range(samples)],
        kafka_bytes=1_000_000,
        restarts=0,
    )


def test_a_run_that_holds_the_objective_is_held() -> None:
    found = figures_of(run(), Objective())
    assert (found["held"], found["void"], found["why_not"]) == (True, False, [])
    assert found["talk_share"] == 0.4
    assert found["cpu_cores"]["per_call"]["speech"] > 0
    json.dumps(found)


def test_a_run_is_not_held_for_the_reasons_that_it_names() -> None:
    found = figures_of(run(late_s=0.5), Objective(final_s=0.5, sentiment_s=0.3))
    assert found["void"]
    assert [why.partition(" ")[0] for why in found["why_not"]] == ["final:", "sentiment:", "the"]


def test_nothing_measured_holds_nothing() -> None:
    none = {"p95": None, "p99": None}
    found = verdict(
        {
            "producer_late_s": none,
            "losses": accounts().figures(),
            "latency_s": {"final": none, "sentiment": none},
            "worker_restarts": 1,
        },
        Objective(),
    )
    assert found["void"]
    assert not found["held"]
    assert {"no final result", "no sentiment result", "1 workers ended by themselves"} <= set(
        found["why_not"]
    )


def results(**more: Any) -> dict[str, Any]:  # noqa: ANN401
    machine = {"machine": "2 cores, 24 GiB, x86_64", "cpu": "c", "settings": {"decoders": 2}}
    probes = [{"sessions": 2, "held": False, "void": False, "why_not": ["for [good] reasons"]}]
    made = {**machine, "workers": 1, "probes": probes, "most": 1}
    return {**made, "run": figures_of(run(), Objective()), **more}


def test_the_table_tells_what_holds_and_what_does_not() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    print_load(results(), console)
    told = console.export_text()
    for part in (
        "sentiment after words",
        "2 calls: not held (for [good] reasons)",
        "1 calls: held",
    ):
        assert part in told


# --- the plan

COSTS = Costs(
    worker_idle=0.1,
    worker_mb=1000,
    kafka_idle=0.1,
    speech=0.3,
    beside=0.2,
    python=0.1,
    kafka=0.02,
    mb_in_s=0.02,
    results_s=3,
    disk_mb_hour=200,
)


def test_a_plan_counts_cores_by_the_formula() -> None:
    made = plan(COSTS, 1000)
    assert (made.cores_speech, made.cores_beside, made.cores_kafka) == (300, 200, 20.1)
    assert made.cores_idle == pytest.approx(made.workers * 0.1, abs=0.05)
    busy = made.cores_speech + made.cores_beside + made.cores_idle + made.cores_kafka
    assert made.cores_to_have == pytest.approx(busy / 0.7, abs=1)
    assert made.partitions > made.workers > 1000 * COSTS.python
    assert made.decoders_each == 3


def test_a_worker_has_room_for_chance() -> None:
    mean = mean_calls(7)
    assert mean + 2 * mean**0.5 == pytest.approx(7)


def test_the_first_limit_is_the_least() -> None:
    found = limits(COSTS, cores=2, workers=1, decoders=2)
    assert min(found, key=lambda name: found[name]) == "cores"
    assert found["cores"] == pytest.approx((1.4 - 0.2) / 0.52, abs=0.05)
    assert found["decoders"] == pytest.approx(1.4 / 0.3, abs=0.05)


def test_a_plan_is_made_from_what_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "load.json"
    file.write_text(json.dumps(results()))
    arguments = ["load", "--plan", "10", "--plan", "20", "--from", str(file)]
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output) == json.loads(json.dumps(figures(results(), (10, 20))))
    assert "20 calls" in CliRunner().invoke(main, arguments).output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--plan", "10"], "--from"),
        (["--private", "--workers", "99"], "TENOR_PARTITIONS"),
        (["--workers", "2"], "--private"),
    ],
)
def test_what_does_not_go_together_is_told(
    arguments: list[str], says: str, demo_call: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENOR_BROKERS", "127.0.0.1:1")
    done = CliRunner().invoke(main, ["load", "--folder", str(demo_call), *arguments])
    assert done.exit_code == 2
    assert says in done.output


def test_no_plan_is_made_from_anything_else(tmp_path: Path) -> None:
    file = tmp_path / "load.json"
    file.write_text(json.dumps(results(workers=0)))
    done = CliRunner().invoke(main, ["load", "--plan", "10", "--from", str(file)])
    assert done.exit_code == 1
    assert "--private" in done.output
