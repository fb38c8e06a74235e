"""`tenor prove` in a short form: workers are killed while three calls go on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

PROVE = [sys.executable, "-m", "streams.cli", "prove", "--sessions", "3", "--seed", "7"]
PATIENCE_S = 600


def test_killed_workers_lose_and_double_nothing(demo_call: Path, tmp_path: Path) -> None:
    chosen = ["--scenario", "kill", "--seconds-per-session", "18", "--folder", str(demo_call)]
    done = subprocess.run(
        [*PROVE, *chosen, "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (figures,) = json.loads(done.stdout)
    assert (figures["scenario"], figures["sessions"], figures["faults"]) == ("kill", 3, 2)
    assert figures["restarts"] >= 2
    assert figures["expected"] == figures["found"] > 30
    assert (figures["missing"], figures["extra"], figures["different"]) == (0, 0, 0)
    assert figures["peak_rss_mb"] > 100


@pytest.mark.parametrize("when", ["Kafka", "worker(s)"])
def test_nothing_is_left_when_it_is_interrupted(when: str, demo_call: Path, tmp_path: Path) -> None:
    prove = subprocess.Popen(
        [*PROVE, "--folder", str(demo_call)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert prove.stderr is not None
    while when not in prove.stderr.readline():
        assert prove.poll() is None
    process = psutil.Process(prove.pid)
    psutil.wait_procs([process], timeout=3)
    children = process.children(recursive=True)
    prove.terminate()
    _, errors = prove.communicate(timeout=60)
    assert prove.returncode == 130
    assert "stopped" in errors
    assert "Traceback" not in errors
    assert not psutil.wait_procs(children, timeout=10)[1]
