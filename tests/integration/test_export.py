"""`tenor export` on a real Kafka: what a session said, from its topics to a file."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from streams.broker import free_ports
from streams.connection import Connection
from streams.events import Topics
from streams.results import CaptionFinal, Gap, Result, SentimentSession, Silence, result_event
from tests.harness import Installation

START = 1_760_000_000_000
SPEECH = {"language": "en", "revision": 0, "model": "m", "no_speech_probability": 0.0, "words": ()}


def span(start: int, end: int, *, session: str, channel: str = "agent") -> dict[str, object]:
    return {"session": session, "channel": channel, "start": START + start, "end": START + end}


def call(session: str) -> list[Result]:
    """A short call of two speakers that was not heard in full."""
    return [
        Silence(**span(0, 1000, session=session)),
        CaptionFinal(**span(1000, 2000, session=session), text="Hello.", **SPEECH),
        Gap(**span(0, 2000, session=session, channel="customer"), reason="no-audio"),
        CaptionFinal(
            **span(2000, 4000, session=session, channel="customer"), text="Hi & bye.", **SPEECH
        ),
    ]


@pytest.fixture(scope="module")
def installation(
    kafka: Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Topics with two sessions, one of them over, and the repeats and dirt that occur."""
    prefix = f"export-{free_ports(1)[0]}."
    made = Installation(kafka, Topics.of(prefix), prefix, tmp_path_factory.mktemp("export"))
    asyncio.run(fill(made))
    yield made
    made.stop()


async def fill(installation: Installation) -> None:
    over = SentimentSession(session="call-1", start=START, end=START + 4000, channels={})
    others = (call(f"call-{i}") for i in range(2, 12))  # on every partition there is one
    await installation.make_topics()
    await send(installation, "recognition", [each for other in others for each in other])
    await send(installation, "recognition", call("call-1"))
    await installation.send_raw("recognition", (b"call-1", b"\xff", [("ce_\xff", b"dirt")]))
    await send(installation, "recognition", call("call-1")[:2])
    await send(installation, "sentiment", [over])


async def send(installation: Installation, topic: str, results: Iterable[Result]) -> None:
    await installation.send(topic, *(result_event(each, source="test") for each in results))


def export(installation: Installation, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", "export", *arguments],
        env={**os.environ, **installation.settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_session_is_written_to_standard_output(installation: Installation) -> None:
    done = export(installation, "--session", "call-1", "--format", "srt")
    assert done.stdout == (
        "1\n00:00:01,000 --> 00:00:02,000\nagent: Hello.\n\n"
        "2\n00:00:02,000 --> 00:00:04,000\ncustomer: Hi & bye.\n"
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_each_record_counts_once(installation: Installation) -> None:
    done = export(installation, "--session", "call-1", "--format", "json")
    read = json.loads(done.stdout)
    assert read["channels"] == {
        "agent": {"covered_ms": 2000, "caption_ms": 1000, "silence_ms": 1000, "gap_ms": 0},
        "customer": {"covered_ms": 4000, "caption_ms": 2000, "silence_ms": 0, "gap_ms": 2000},
    }
    assert len(read["results"]) == 4
    assert {each["session"] for each in read["results"]} == {"call-1"}


def test_a_session_that_goes_on_is_written_so_far_and_told(
    installation: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "call.vtt"
    done = export(installation, "--session", "call-2", "--out", str(file))
    assert done.returncode == 0
    assert done.stdout == ""
    assert "call-2 has not ended" in done.stderr
    assert file.read_text(encoding="utf-8").startswith("WEBVTT\n\n")
    assert "<v customer>Hi &amp; bye." in file.read_text(encoding="utf-8")


def test_an_unknown_session_is_an_error_and_leaves_no_file(
    installation: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "call.txt"
    done = export(installation, "--session", "call-99", "--format", "txt", "--out", str(file))
    assert done.returncode == 1
    assert "call-99" in done.stderr
    assert "Traceback" not in done.stderr
    assert not file.exists()


def test_topics_that_are_not_there_hold_nothing(kafka: Connection, tmp_path: Path) -> None:
    nowhere = Installation(kafka, Topics.of("nowhere."), "nowhere.", tmp_path)
    done = export(nowhere, "--session", "call-1")
    assert done.returncode == 1
    assert "nowhere.recognition holds nothing of session 'call-1'" in done.stderr


def test_a_file_that_cannot_be_written_is_told(installation: Installation, tmp_path: Path) -> None:
    done = export(installation, "--session", "call-1", "--out", str(tmp_path / "no" / "call.vtt"))
    assert done.returncode == 1
    assert "call.vtt" in done.stderr
    assert "Traceback" not in done.stderr
