"""`tenor demo` as a user runs it: to its end in a pipe, and stopped in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

KEYS = {"captions", "sentiment", "images", "latency_s", "events_in", "results_out", "dead_letters"}


def start(folder: Path, call: Path) -> subprocess.Popen[str]:
    """The demo, in a folder of its own and with a Kafka of its own, whatever is configured here."""
    environment = {k: v for k, v in os.environ.items() if k != "TENOR_BROKERS"}
    return subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "demo", "--folder", str(call)],
        cwd=folder,
        env={
            **environment,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TENOR_KAFKA_SECURITY": "SASL_SSL",  # of a Kafka of one's own; the demo's is private
            "TENOR_KAFKA_USERNAME": "me",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_demo_ends_by_itself_with_its_figures(tmp_path: Path, demo_call: Path) -> None:
    demo = start(tmp_path, demo_call)
    printed, _ = demo.communicate(timeout=600)
    assert demo.returncode == 0, printed
    results = json.loads((tmp_path / "demo-results.json").read_text())
    assert set(results) >= KEYS
    assert len(results["captions"]["finals"]) >= 15
    assert results["captions"]["wer"] < 0.2
    assert results["captions"]["partials"] >= 0
    for speaker in ("customer", "agent"):
        scores = results["sentiment"][speaker]
        assert scores
        assert set(scores[0]) == {"start", "end", "score", "label", "confidence"}
    customer = [each["score"] for each in results["sentiment"]["customer"]]
    half = len(customer) // 2
    assert sum(customer[:half]) / half < sum(customer[half:]) / len(customer[half:])
    assert len(results["images"]) == 3
    for latency in ("caption_final", "sentiment_window"):
        assert results["latency_s"][latency]["p50"] <= results["latency_s"][latency]["p95"]
    assert set(results["events_in"]) == {"audio", "text", "images"}
    assert results["dead_letters"] == 0
    assert "\x1b[" not in printed
    assert not list((tmp_path / ".run").iterdir())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_demo_leaves_no_process(
    tmp_path: Path, demo_call: Path, how: signal.Signals
) -> None:
    demo = start(tmp_path, demo_call)
    assert demo.stdout
    seen: list[psutil.Process] = []
    for line in demo.stdout:
        if "playing" in line or "loading" in line:
            seen = psutil.Process(demo.pid).children(recursive=True)
        if ("playing" if how is signal.SIGINT else "loading") in line:
            break
    time.sleep(1)
    seen = [*seen, *psutil.Process(demo.pid).children(recursive=True)]
    assert seen
    demo.send_signal(how)
    rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, rest
    assert "Traceback" not in rest
    _, alive = psutil.wait_procs(seen, timeout=10)
    assert not alive
