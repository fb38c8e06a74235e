"""The whole path: the demo call goes into a real Kafka, results come out."""

from __future__ import annotations

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


async def test_a_call_goes_in_and_comes_out_of_agents_in_two_processes(
    installation: Make, script: Script
) -> None:
    start = now_ms()
    tenor = installation()
    await tenor.make_topics()
    media, texts = tenor.start_worker(["audio", "images"]), tenor.start_worker(["text", "join"])
    for worker in (media, texts):
        worker.ready()
    counts = await replay(script, tenor.brokers, tenor.topics, SESSION, speed=SPEED, start=start)
    records = await tenor.read(RESULTS, until=EventType.SENTIMENT_SESSION, s=PATIENCE_S)
    results = [event for event in events(records) if event.session == SESSION]
    _check_results(results, script, start)
    _check_metrics(media.get("metrics"), counts)
    for worker in (media, texts):
        assert worker.get("livez") == "ok\n"
        assert worker.stop() == 0
    letters = await tenor.read(["deadletters"], s=1)
    assert not [error_of(letter.headers) for letter in letters]


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
        contributions = window["contributions"]
        assert isinstance(contributions, dict)
        whole = sum(each["weight"] for each in evidence) + contributions["context"]
        assert whole == pytest.approx(1.0, abs=1e-3)
        sent = ("/text/", "/images/")  # by the producer: messages, and pictures with a face
        assert all(each["id"] in known or any(s in each["id"] for s in sent) for each in evidence)


def _check_metrics(metrics: str, counts: dict[str, int]) -> None:
    def value(line: str) -> float:
        return next(float(m.split()[-1]) for m in metrics.splitlines() if m.startswith(line))

    taken = value('tenor_events_total{outcome="taken",topic="audio"}')
    assert taken == counts["audio"] + 1  # and the end of the session
    assert value('tenor_results_total{type="tenor.image.recognized.v1"}') == 3
    assert value('tenor_batch_size_count{model="speech-final"}') > 0
    for name in ("stage", "queue_wait", "end_to_end", "event_loop_lag"):
        assert f"tenor_{name}_seconds_count" in metrics
    for agent in ("audio", "images"):
        assert f'tenor_consumer_lag_events{{agent="{agent}",topic="{agent}"}}' in metrics
    assert SESSION not in metrics
