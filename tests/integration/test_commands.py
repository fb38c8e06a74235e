"""The command `tenor` as people use it: processes, their output and their exit status."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streams.broker import free_ports
from streams.connection import Connection
from streams.events import EventType, Topics
from streams.processes import WorkerProcess
from tests.harness import Installation

COMMANDS = (
    *("broker", "worker", "replay", "watch", "demo", "export", "transcribe", "eval"),
    *("deadletters", "prove", "search", "match"),
)
PATIENCE_S = 60
TENOR = [sys.executable, "-m", "streams.cli"]


def environment(**settings: str) -> dict[str, str]:
    """The environment without Tenor's settings, and with these."""
    bare = {name: text for name, text in os.environ.items() if not name.startswith("TENOR_")}
    return {**bare, **settings}


def tenor(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end; whatever it says, it never shows a traceback."""
    done = subprocess.run(
        [*TENOR, *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def test_help_names_every_command() -> None:
    done = tenor("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = tenor(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")
    assert "Options:" in done.stdout


def test_it_knows_its_version() -> None:
    done = tenor("--version")
    assert done.returncode == 0
    assert "0." in done.stdout


@pytest.mark.parametrize("command", ["worker", "watch"])
def test_without_brokers_it_says_what_to_do(command: str) -> None:
    done = tenor(command)
    assert done.returncode == 1
    assert "TENOR_BROKERS" in done.stderr
    assert "tenor broker" in done.stderr


@pytest.mark.parametrize("command", ["worker", "watch"])
def test_a_wrong_setting_is_named(command: str) -> None:
    done = tenor(command, TENOR_WINDOW_MS="abc", TENOR_BROKERS="127.0.0.1:1")
    assert done.returncode == 1
    assert "TENOR_WINDOW_MS" in done.stderr


@pytest.mark.parametrize("agents", ["audio,video", ""])
def test_agents_that_do_not_exist_are_refused(agents: str) -> None:
    done = tenor("worker", "--agents", agents, TENOR_BROKERS="127.0.0.1:1")
    assert done.returncode == 2
    assert "audio" in done.stderr
    assert agents.partition(",")[2] in done.stderr


@pytest.mark.parametrize("arguments", [["worker"], ["watch"], ["replay", "call.wav"]])
def test_a_kafka_that_is_not_there_is_told(arguments: list[str], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "call.wav", np.zeros(800, np.int16), 8000)
    arguments = [str(tmp_path / each) if each.endswith(".wav") else each for each in arguments]
    done = tenor(*arguments, TENOR_BROKERS="127.0.0.1:1", TENOR_METRICS_PORT="0")
    assert done.returncode == 1
    assert "is TENOR_BROKERS right?" in done.stderr


def test_a_metrics_port_that_is_taken_is_told() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = tenor("worker", TENOR_BROKERS="127.0.0.1:1", TENOR_METRICS_PORT=str(port))
    assert done.returncode == 1
    assert f"TENOR_METRICS_PORT {port}" in done.stderr


def test_what_cannot_be_played_is_named(tmp_path: Path) -> None:
    missing = tenor("replay", str(tmp_path / "missing.wav"))
    assert missing.returncode == 2
    assert "missing.wav" in missing.stderr
    (tmp_path / "script.json").write_text('{"channels": ["call.wav"]}')
    broken = tenor("replay", str(tmp_path))
    assert broken.returncode == 1
    assert "script.json" in broken.stderr
    unreadable = tenor("replay", str(tmp_path / "script.json"))
    assert unreadable.returncode == 1
    assert "cannot read" in unreadable.stderr


@pytest.fixture(scope="module")
def installation(
    kafka: Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    prefix = f"commands-{free_ports(1)[0]}."
    made = Installation(kafka, Topics.of(prefix), prefix, tmp_path_factory.mktemp("commands"))
    asyncio.run(made.make_topics())
    yield made
    made.stop()


@pytest.fixture(scope="module")
def worker(installation: Installation) -> WorkerProcess:
    """One that only looks at pictures: it is ready sooner."""
    started = installation.start_worker(["images"])
    started.ready()
    return started


def test_a_plain_file_can_be_played(installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "phone.wav"
    soundfile.write(file, np.zeros(8000, np.int16), 8000, "ULAW")
    done = tenor("replay", str(file), "--speed", "0", **installation.settings)
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["session"].startswith("replay-")
    assert told["events"] == {"audio": 5, "text": 0, "images": 0}


def test_a_replay_is_seen_by_a_watch(
    installation: Installation, worker: WorkerProcess, demo_call: Path
) -> None:
    arguments = ("--speed", "0", "--session", "call-1")
    played = tenor("replay", str(demo_call), *arguments, **installation.settings)
    assert played.returncode == 0
    pictures = json.loads(played.stdout)["events"]["images"]
    watch = subprocess.Popen(
        [*TENOR, "watch", "--session", "call-1", "--json", "--from-start"],
        env=environment(**installation.settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watch.stdout is not None
        lines = [json.loads(watch.stdout.readline()) for _ in range(pictures)]
        assert [line["type"] for line in lines] == [EventType.IMAGE_RECOGNIZED] * pictures
        assert {line["data"]["session"] for line in lines} == {"call-1"}
        watch.send_signal(signal.SIGINT)
        rest, errors = watch.communicate(timeout=PATIENCE_S)
    finally:
        watch.kill()
    assert watch.returncode in (0, 130)
    assert not rest
    assert "Traceback" not in errors


def test_a_worker_ends_well_when_it_is_asked_to(worker: WorkerProcess) -> None:
    assert worker.stop() == 0
    assert "Traceback" not in worker.log.read_text()
