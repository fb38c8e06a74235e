"""What a scenario's figures say, the clock that can be stepped, and the names of scenarios."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from rich.console import Console

from streams.events import Event, EventType
from streams.proving import SCENARIOS, report, scenarios, stepped_clock
from streams.proving.comparison import Fault, Finals, compare, match_letters
from streams.proving.report import Run, details, print_rows, row, summary
from streams.settings import Settings

PLACE = ("kill.audio", 0, 7)


def run(*ids: str, **changes: object) -> Run:
    finals = Finals()
    for id_ in ids:
        text = b'{"text": "secret"}'
        finals.add(Event(EventType.CAPTION_FINAL, id_, "tenor/x", "s", 0, data=text))
    plain = Run(
        name="kill",
        sessions=1,
        events=100,
        whole=True,
        finals=finals,
        letters=match_letters({}, []),
        reasons={PLACE: "late"},
        signs={"s": list(range(0, 40_000, 1000))},
        fed={"s": (0, 40_000)},
        faults=[Fault(10_200, "kill"), Fault(39_000, "kill")],
        peak_rss=300 * 2**20,
        restarts=2,
        ended_by_themselves=0,
        seconds=40.0,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def judged(found: Run) -> report.Row:
    calm = run("1", "2", faults=[])
    return row(found, calm, compare(calm.finals, found.finals))


def test_a_run_like_the_undisturbed_one_passes() -> None:
    figures = judged(run("1", "2")).figures
    assert figures["passed"]
    assert (figures["expected"], figures["found"], figures["missing"]) == (2, 2, 0)
    assert figures["interruption_s"] == {"p50": 1.0, "max": 1.0, "measured": 1}
    assert figures["undisturbed_interruption_s"]["p50"] == 1.0
    assert figures["peak_rss_mb"] == 300


@pytest.mark.parametrize(
    "found",
    [
        run("1"),
        run("1", "2", "3"),
        run("1", "2", whole=False),
        run("1", "2", letters=match_letters({PLACE: b""}, [])),
        run("1", "2", letters=match_letters({}, [(PLACE, b"")])),
        run("1", "2", letters=match_letters({PLACE: b"a"}, [(PLACE, b"b")])),
    ],
)
def test_whatever_is_wrong_fails_and_is_told_without_what_was_said(found: Run) -> None:
    result = judged(found)
    assert not result.passed
    lines = list(details(result, found, run("1", "2")))
    assert lines
    assert not [line for line in lines if "secret" in line]


def test_the_table_shows_every_scenario() -> None:
    console = Console(record=True, width=200)
    print_rows([judged(run("1", "2")), judged(run("1", faults=[]))], console)
    text = console.export_text()
    assert "passed" in text
    assert "FAILED" in text
    assert "300 MB" in text


def test_a_scenario_is_summed_up_when_it_is_over() -> None:
    assert summary(judged(run("1", "2", faults=[]))).endswith(
        ": passed; 2 of 2 finals, 0 missing, 0 extra, 0 different"
    )
    assert ": FAILED; 1 of 2 finals, 1 missing, " in summary(judged(run("1", faults=[])))


def test_every_scenario_has_a_name_on_the_command_line() -> None:
    assert set(SCENARIOS) == set(scenarios.SCENARIOS)
    assert not [name for name in SCENARIOS if not scenarios.SCENARIOS[name].disturb.__doc__]


def test_a_worker_is_frozen_for_longer_than_its_group_waits() -> None:
    assert Settings().session_timeout_s + 2 < scenarios.FROZEN_S


def test_a_stepped_clock_follows_its_file(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    stepped_clock.step(file, 0)
    clock = stepped_clock.SteppedClock(file, real_ns=lambda: 1_000_000_000_000)
    assert clock.time() == 1000
    stepped_clock.step(file, -90.5)
    time.sleep(2 * stepped_clock.EVERY_S)
    assert clock.time() == 909.5
    assert clock.time_ns() == 909_500_000_000


def test_tenor_runs_on_a_stepped_clock(tmp_path: Path) -> None:
    stepped_clock.step(tmp_path / "clock", 7200)
    code = """
import contextlib, sys, time
from streams.proving import stepped_clock
before, sys.argv = time.time(), ["tenor", "--version"]
with contextlib.suppress(SystemExit):
    stepped_clock.main()
print(round((time.time() - before) / 60))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, stepped_clock.VARIABLE: str(tmp_path / "clock")},
        capture_output=True,
        text=True,
        check=True,
    )
    version, minutes = done.stdout.splitlines()
    assert version.startswith("tenor, version")
    assert minutes == "120"


def test_records_are_stamped_by_the_stepped_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BatchBuilder, "append", BatchBuilder.append)  # so that it is put back
    stepped_clock.step(tmp_path / "clock", 10)
    clock = stepped_clock.SteppedClock(tmp_path / "clock", real_ns=lambda: 1_000_000_000_000)
    stepped_clock.stamp_records(clock)
    batch = BatchBuilder(1000, 0, is_transactional=False)
    assert batch.append(timestamp=None, key=b"k", value=b"v").timestamp == 1_010_000
    assert batch.append(timestamp=7, key=b"k", value=b"v").timestamp == 7
