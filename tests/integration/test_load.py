"""`tenor load` in a short form: on a worker of its own, and where nobody works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from streams.loading.latencies import KINDS
from streams.loading.machine import PARTS
from streams.loading.playing import Order, Place, play
from streams.loading.report import Objective
from streams.replay import load
from streams.settings import Settings
from tests.harness import Installation

PATIENT: Objective = Objective(final_s=600, sentiment_s=600)
"""How quick a machine is says nothing of the code."""


async def test_a_load_is_played_whole_and_measured(
    installation: Callable[[], Installation], demo_call: Path, tmp_path: Path
) -> None:
    tenor = installation()
    settings = Settings(brokers=tenor.brokers.servers, topic_prefix=tenor.prefix)
    at = Place(tenor.brokers, settings, tenor.settings, tmp_path)
    order = Order(1, 16.0, objective=PATIENT, patience_s=120, idle_s=2)
    said: list[str] = []
    found = await play(order, 1, at, load([demo_call]), said.append)
    losses = found["losses"]
    assert losses["audio"]["sent_ms"] == 32_000
    assert not any(losses["audio"][name] for name in ("missing_ms", "doubled_ms", "lost_ms"))
    assert (losses["windows"]["missing"], losses["windows"]["doubled"]) == (0, 0)
    assert losses["windows"]["received"] >= 3
    assert (losses["captions_missing"], losses["summaries_missing"]) == (0, 0)
    assert losses["dead_letters"] == {}
    assert found["events_in"]["audio"] == 160
    assert set(found["latency_s"]) == set(KINDS)
    for kind in ("final", "sentiment", "sentiment_after_words", "session", "word_stable"):
        assert found["latency_s"][kind]["count"] > 0, kind
    steady = found["cpu_cores"]["steady"]
    assert steady["workers_speech"] > 0
    assert {f"workers_{part}" for part in PARTS} | {"workers", "producer", "reader"} <= set(steady)
    assert found["rss_mb"]["workers"]["max"] > 100
    assert {"audio/audio", "join/features", "match/features"} <= set(found["lag_events"])
    assert [why for why in found["why_not"] if "void" not in why] == []


def test_where_nobody_works_everything_is_missing(
    installation: Callable[[], Installation], demo_call: Path
) -> None:
    tenor = installation()
    options = ["--sessions", "2", "--minutes", "0.2", "--patience", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "load", *options, "--folder", str(demo_call)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **tenor.settings},
    )
    assert done.returncode == 1, done.stderr
    run = json.loads(done.stdout)["run"]
    assert run["losses"]["audio"]["missing_ms"] == run["losses"]["audio"]["sent_ms"] == 48_000
    assert run["losses"]["summaries_missing"] == 2
    assert "48000 ms of audio missing" in run["why_not"]
    assert "48000 ms of audio missing" in done.stderr


def test_nothing_is_left_when_it_is_interrupted(demo_call: Path, tmp_path: Path) -> None:
    load_ = subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "load", "--private", "--folder", str(demo_call)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert load_.stderr is not None
    while "calls for" not in load_.stderr.readline():
        assert load_.poll() is None
    process = psutil.Process(load_.pid)
    children: list[psutil.Process] = []
    while len(children) < 2:  # Kafka runs; the producer, or a worker, begins
        assert not psutil.wait_procs([process], timeout=0.5)[0]
        children = process.children(recursive=True)
    load_.terminate()
    _, errors = load_.communicate(timeout=120)
    assert (load_.returncode, "Traceback" in errors) == (130, False), errors
    assert "stopped" in errors
    assert not psutil.wait_procs(children, timeout=10)[1]
