"""`tenor report` on a real Kafka: a session as a worker has told it, from its topics to a page."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from streams import codec, history
from streams.broker import free_ports
from streams.connection import Connection
from streams.delivery import producer
from streams.events import Event, EventType, Topics
from streams.history import SessionLog, read_session
from streams.results import CaptionFinal, CaptionPartial, Match, SentimentWindow, Silence
from streams.session_report import html
from tests.harness import Installation
from tests.made_session import made_session


@pytest.fixture(scope="module")
def installation(
    kafka: Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Topics with a session that is over and one that goes on, among others, and with dirt."""
    prefix = f"report-{free_ports(1)[0]}."
    made = Installation(kafka, Topics.of(prefix), prefix, tmp_path_factory.mktemp("report"))
    asyncio.run(fill(made))
    yield made
    made.stop()


async def fill(installation: Installation) -> None:
    await installation.make_topics()
    for name, ended in (("call-1", True), ("call-2", False), ("call-3", True)):
        made = made_session(name, ended=ended)
        await installation.send("text", *made.texts[1:])
        await send_elsewhere(installation, made.texts[0])
        broken = replace(made.images[1], data=b"\xff\xd8\xff no picture")
        await installation.send("images", made.images[0], broken, made.images[2])
        await installation.send("recognition", *made.of("recognition"))
        await installation.send("sentiment", *made.of("sentiment"))
    dirt = (b"call-1", b"\xff", [("ce_\xff", b"dirt")])
    for topic in ("recognition", "sentiment", "text", "images"):
        await installation.send_raw(topic, dirt)
    again = made_session("call-1")
    await installation.send("recognition", *again.of("recognition")[:20])
    await installation.send("text", again.texts[1])


async def send_elsewhere(installation: Installation, event: Event) -> None:
    """To a partition that its key does not lead to, as a client with another rule would."""
    key, value, headers = codec.encode(event)
    topic = installation.topics.text
    sender = producer(installation.brokers)
    await sender.start()
    try:
        sent = await sender.send_and_wait(topic, value, key, headers=headers)
        other = (sent.partition + 1) % len(await sender.partitions_for(topic))
        moved = codec.encode(replace(event, id=f"{event.id}-moved"))
        await sender.send_and_wait(topic, moved[1], key, headers=moved[2], partition=other)
    finally:
        await sender.stop()


def read(installation: Installation, session: str) -> SessionLog:
    return asyncio.run(read_session(installation.brokers, installation.topics, session))


def report(installation: Installation, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", "report", *arguments],
        env={**os.environ, **installation.settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_session_is_read_as_it_was_told_last(installation: Installation) -> None:
    log = read(installation, "call-1")
    made = made_session("call-1")
    assert log.ended
    assert {each.session for each in log.results} == {"call-1"}
    assert sorted(map(repr, log.results)) == sorted(map(repr, made.results))
    assert not any(isinstance(each, CaptionPartial) for each in log.results)
    windows = [each for each in log.results if isinstance(each, SentimentWindow)]
    assert all(each.final for each in windows)
    assert len({(each.channel, each.start) for each in windows}) == len(windows)


def test_texts_are_found_on_every_partition_each_once_in_order(installation: Installation) -> None:
    log = read(installation, "call-1")
    made = made_session("call-1")
    ids = {*(each.id for each in made.texts), f"{made.texts[0].id}-moved"}
    assert {each.id for each in log.texts} == ids
    assert len(log.texts) == 5
    assert [each.time for each in log.texts] == sorted(each.time for each in log.texts)


def test_pictures_are_small_and_one_that_is_none_is_told(installation: Installation) -> None:
    log = read(installation, "call-1")
    assert [each.id for each in log.pictures] == ["call-1/images/0", "call-1/images/2"]
    assert log.left_out == {"pictures": 1}
    assert "1 pictures" in html(log.results, log.texts, log.pictures, left_out=log.left_out)


def test_what_is_held_is_bounded_and_counted(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = dict.fromkeys(history.BYTES, 1500) | {Match: 0, Silence: 4 * 2**20}
    monkeypatch.setattr(history, "BYTES", small)
    monkeypatch.setattr(history, "TEXTS", 200)
    monkeypatch.setattr(history, "THUMBNAILS", 60_000)
    log = read(installation, "call-1")
    made = made_session("call-1")
    silence = [each for each in made.results if isinstance(each, Silence)]
    assert [each for each in log.results if isinstance(each, Silence)] == silence
    assert not any(isinstance(each, Match) for each in log.results)
    assert 0 < sum(isinstance(each, CaptionFinal) for each in log.results) < 5
    assert log.left_out["results"] >= 30
    assert 0 < len(log.texts) < 5
    assert log.left_out["typed texts"] >= 5 - len(log.texts)
    assert len(log.pictures) == 1


def test_the_page_holds_all_of_it(installation: Installation, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    done = report(installation, "--session", "call-1", "--out", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    page = file.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "handle" in page
    assert "My order number is 48213" in page
    assert page.count("data:image/jpeg") == 2
    assert len(re.findall(r'<tr id="c\d+"', page)) == 18
    assert "Not ended" not in page


def test_a_session_that_goes_on_is_told_so_far(installation: Installation) -> None:
    done = report(installation, "--session", "call-2")
    assert done.returncode == 0
    assert "call-2 has not ended" in done.stderr
    assert "Not ended." in done.stdout


def test_an_unknown_session_is_an_error_and_leaves_no_file(
    installation: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    done = report(installation, "--session", "call-99", "--out", str(file))
    assert done.returncode == 1
    assert "hold nothing of session 'call-99'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not file.exists()


def test_topics_that_are_not_there_hold_nothing(kafka: Connection, tmp_path: Path) -> None:
    nowhere = Installation(kafka, Topics.of("nowhere."), "nowhere.", tmp_path)
    done = report(nowhere, "--session", "call-1")
    assert done.returncode == 1
    assert "nowhere.recognition and nowhere.sentiment hold nothing" in done.stderr


async def test_results_of_a_time_that_no_event_has_are_passed_over(
    installation: Installation,
) -> None:
    made = made_session("call-odd")
    (first, *_) = (each for each in made.of("recognition") if each.type is EventType.CAPTION_FINAL)
    data = re.sub(rb'"start":\d+', b'"start":-9' + b"9" * 40, first.data)
    await installation.send("recognition", replace(first, data=data))
    log = await read_session(installation.brokers, installation.topics, "call-odd")
    assert log == SessionLog(())
