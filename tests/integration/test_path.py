"""The whole path: the demo call goes into a real Kafka, results come out, workers may die."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from streams.asyncapi import schema
from streams.clock import now_ms
from streams.deadletters import error_of
from streams.events import Event, EventType
from streams.replay import Script, load, replay
from streams.report import word_error_rate
from streams.results import PROVISIONAL
from streams.results import RESULTS as RESULT_TYPES
from tests.harness import RESULTS, Installation, events

Make = Callable[[], Installation]

SESSION = "call-1"
SPEED = 8
PATIENCE_S = 240
COVERING = (EventType.CAPTION_FINAL, EventType.CAPTION_SILENCE, EventType.CAPTION_GAP)


@pytest.fixture(scope="module")
def script(demo_call: Path) -> Script:
    return load([demo_call])


async def results_of(installation: Installation) -> list[Event]:
    records = await installation.read(RESULTS, until=EventType.SENTIMENT_SESSION, s=PATIENCE_S)
    return [event for event in events(records) if event.session == SESSION]


def by_id(results: list[Event]) -> dict[str, tuple[str, str, bytes]]:
    """Each result once; a repeated one must be the same to the byte. Partial captions and
    provisional windows depend on when they were made: nothing is promised of them."""
    found: dict[str, tuple[str, str, bytes]] = {}
    for event in results:
        if event.type is EventType.CAPTION_PARTIAL or PROVISIONAL in event.extensions:
            continue
        content = (event.type.value, event.channel, event.data)
        assert found.setdefault(event.id, content) == content
    return found


async def play(installation: Installation, script: Script, start: int) -> dict[str, int]:
    return await replay(
        script, installation.brokers, installation.topics, SESSION, speed=SPEED, start=start
    )


async def test_a_call_goes_in_and_comes_out_even_if_a_worker_dies(
    installation: Make, script: Script
) -> None:
    start = now_ms()
    calm, stormy = installation(), installation()
    undisturbed = await _undisturbed(calm, script, start)
    disturbed = await _disturbed(stormy, script, start)
    assert disturbed == undisturbed
    assert not await stormy.read(["deadletters"], s=1)


async def _undisturbed(
    calm: Installation, script: Script, start: int
) -> dict[str, tuple[str, str, bytes]]:
    await calm.make_topics()
    worker = calm.start_worker()
    worker.ready()
    counts = await play(calm, script, start)
    results = await results_of(calm)
    _check_results(results, script, start)
    assert not await calm.read(["deadletters"], s=1)
    _check_metrics(worker.get("metrics"), counts)
    assert worker.get("livez") == "ok\n"
    assert worker.stop() == 0
    return by_id(results)


def _check_results(results: list[Event], script: Script, start: int) -> None:
    for event in results:
        jsonschema.validate(json.loads(event.data), schema(event.type))
        assert event.type in RESULT_TYPES
    _check_coverage(results, script, start)
    finals = [json.loads(e.data) for e in results if e.type is EventType.CAPTION_FINAL]
    wer = word_error_rate(script.utterances, finals)
    assert wer is not None
    assert wer < 0.2
    pictures = [e for e in results if e.type is EventType.IMAGE_RECOGNIZED]
    assert len(pictures) == 3
    windows = [
        json.loads(e.data)
        for e in results
        if e.type is EventType.SENTIMENT_WINDOW and PROVISIONAL not in e.extensions
    ]
    assert {window["channel"] for window in windows} == {"", "customer", "agent"}
    _check_evidence(windows, results)
    (session,) = [json.loads(e.data) for e in results if e.type is EventType.SENTIMENT_SESSION]
    assert session["captions"] == len(finals)
    customer = session["channels"]["customer"]
    assert customer["first"] < customer["last"]


def _check_coverage(results: list[Event], script: Script, start: int) -> None:
    """Every millisecond of each channel is in exactly one caption, silence or gap."""
    for channel in ("customer", "agent"):
        spans = sorted(
            (span["start"], span["end"])
            for event in results
            if event.type in COVERING and event.channel == channel
            for span in [json.loads(event.data)]
        )
        assert spans[0][0] == start
        assert all(one[1] == other[0] for one, other in itertools.pairwise(spans))
        last = max(m.at for m in script.moments if m.channel == channel and m.topic == "audio")
        assert abs(spans[-1][1] - start - last * 1000) <= 1


def _check_evidence(windows: list[dict[str, object]], results: list[Event]) -> None:
    known = {event.id for event in results}
    for window in windows:
        evidence = window["evidence"]
        assert isinstance(evidence, list)
        assert sum(each["weight"] for each in evidence) == pytest.approx(1.0, abs=1e-3)
        assert all(each["id"] in known or "/text/" in each["id"] for each in evidence)


def _check_metrics(metrics: str, counts: dict[str, int]) -> None:
    def value(line: str) -> float:
        return next(float(m.split()[-1]) for m in metrics.splitlines() if m.startswith(line))

    taken = value('tenor_events_total{outcome="taken",topic="audio"}')
    assert taken == counts["audio"] + 1  # and the end of the session
    assert value('tenor_results_total{type="tenor.image.recognized.v1"}') == 3
    assert value('tenor_batch_size_count{model="speech-final"}') > 0
    for name in ("stage", "queue_wait", "end_to_end", "event_loop_lag"):
        assert f"tenor_{name}_seconds_count" in metrics
    assert "tenor_consumer_lag_events" in metrics
    assert SESSION not in metrics


async def _disturbed(
    stormy: Installation, script: Script, start: int
) -> dict[str, tuple[str, str, bytes]]:
    """Two workers share the agents; one of them is killed in the middle of the call."""
    await stormy.make_topics()
    first, second = stormy.start_worker(), stormy.start_worker()
    first.ready()
    second.ready()
    playing = asyncio.create_task(play(stormy, script, start))
    await stormy.read(["recognition"], count=12, s=PATIENCE_S)
    first.kill()
    third = stormy.start_worker()
    await playing
    results = by_id(await results_of(stormy))
    third.ready()
    second.kill()
    third.kill()
    return results


async def test_agents_in_processes_of_their_own(installation: Make, script: Script) -> None:
    split = installation()
    await split.make_topics()
    workers = [split.start_worker(["audio", "images"]), split.start_worker(["text", "join"])]
    for worker in workers:
        worker.ready()
    await play(split, script, now_ms())
    results = await results_of(split)
    assert sum(event.type is EventType.CAPTION_FINAL for event in results) >= 15
    assert sum(event.type is EventType.SENTIMENT_SESSION for event in results) == 1
    assert [worker.stop() for worker in workers] == [0, 0]
    letters = await split.read(["deadletters"], s=1)
    assert not [error_of(letter.headers) for letter in letters]
