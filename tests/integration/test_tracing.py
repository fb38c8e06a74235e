"""One trace shows a chunk's way through all topics; without its collector the work goes on."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile

from streams.events import EventType
from streams.processes import GatewayProcess
from tests.collector import Collected, Collector, collector
from tests.harness import RESULTS, Installation, events, eventually

Make = Callable[[], Installation]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = f"00-{TRACE}-00f067aa0ba902b7-01"
UNSAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00"
SESSION = "call-of-ms-gray"
SECONDS = 8
PATIENCE_S = 120


@pytest.fixture
def speech(demo_call: Path) -> bytes:
    """The first seconds of the demo call's customer, as a WAV file."""
    samples, rate = soundfile.read(demo_call / "customer.wav", dtype="int16")
    file = io.BytesIO()
    soundfile.write(file, samples[: SECONDS * rate], rate, format="WAV")
    return file.getvalue()


@pytest.fixture
def gateway(installation: Make, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts a gateway; its address."""
    started: list[GatewayProcess] = []

    def start(**settings: str) -> str:
        started.append(GatewayProcess.start(tmp_path / "gateway.log", settings))
        started[-1].ready()
        return started[-1].url

    yield start
    for each in started:
        each.stop()


def post(url: str, body: bytes, kind: str, traceparent: str) -> None:
    headers = {"Content-Type": kind, "traceparent": traceparent}
    request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310  (our own)
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        assert answer.status == 201


async def test_a_trace_shows_the_way_of_a_chunk_and_its_collector_may_go(
    installation: Make, gateway: Callable[..., str], speech: bytes
) -> None:
    tenor = installation()
    await tenor.make_topics()
    with collector() as collected:
        worker = tenor.start_worker(["audio", "text", "join"], **collected.environment)
        url = gateway(**tenor.settings, **collected.environment)
        worker.ready()
        sessions = f"{url}/v1/sessions"
        post(f"{sessions}/{SESSION}/audio?channel=ms-gray", speech, "audio/wav", CLIENT)
        post(f"{sessions}/{SESSION}/end", b"", "text/plain", CLIENT)
        post(f"{sessions}/unsampled/text", b"Not again.", "text/plain", UNSAMPLED)
        post(f"{sessions}/unsampled/end", b"", "text/plain", UNSAMPLED)
        records = await tenor.read(RESULTS, until=EventType.SENTIMENT_SESSION, s=PATIENCE_S)
        for event in events(records):
            assert event.traceparent[3:35] in (TRACE, UNSAMPLED[3:35])
        await eventually(lambda: _results(collected, tenor.prefix))
        _check_way(collected.of(TRACE), tenor.prefix)
        _check_silence(collected)
    post(f"{sessions}/after/text", b"Still waiting.", "text/plain", CLIENT)
    post(f"{sessions}/after/end", b"", "text/plain", CLIENT)
    await eventually(lambda: "takes no traces" in worker.log.read_text())
    found = await tenor.read(RESULTS, until=None, count=len(records) + 2, s=PATIENCE_S)
    assert "after" in {event.session for event in events(found)}
    assert worker.stop() == 0
    assert "Traceback" not in worker.log.read_text()


def _results(collected: Collector, prefix: str) -> bool:
    """Whether the last span of the way has come."""
    sent = [each for each in collected.of(TRACE) if each.span.name == f"send {prefix}sentiment"]
    return any(_has(each, collected.of(TRACE), "end session") for each in sent)


def _has(span: Collected, spans: list[Collected], name: str) -> bool:
    return any(each.span.name == name for each in _way(span, spans))


def _way(span: Collected, spans: list[Collected]) -> list[Collected]:
    """From the first ancestor that is known to a span."""
    by_id = {each.id: each for each in spans}
    way = [span]
    while parent := by_id.get(way[0].parent):
        way.insert(0, parent)
    return way


def _check_way(spans: list[Collected], prefix: str) -> None:
    """Of a window's result: each step's parent is the step before, from the client on."""
    ways = [
        [(each.service, each.span.name) for each in _way(span, spans)]
        for span in spans
        if span.span.name == f"send {prefix}sentiment"
    ]
    worker = "tenor-worker"
    whole = [
        ("tenor-gateway", f"send {prefix}audio"),
        (worker, f"process {prefix}audio"),
        (worker, "speech"),
        (worker, f"send {prefix}recognition"),
        (worker, f"process {prefix}recognition"),
        (worker, f"send {prefix}features"),
        (worker, f"process {prefix}features"),
        (worker, "window"),
        (worker, f"send {prefix}sentiment"),
    ]
    assert whole in ways, ways
    names = {each.span.name for each in spans}
    assert {"decode final", "model speech", "model voice", "model text", "model fusion"} <= names
    firsts = [each for each in spans if each.service == "tenor-gateway" and each.parent]
    assert CLIENT.split("-")[2] in {each.parent for each in firsts}


def _check_silence(collected: Collector) -> None:
    """No span names the session or the speaker, or is of a trace that was not sampled."""
    assert not collected.of(UNSAMPLED[3:35])
    for each in collected.spans:
        said = each.span.SerializeToString()
        assert SESSION.encode() not in said
        assert b"ms-gray" not in said
    read = [each for each in collected.of(TRACE) if each.span.name.startswith("process")]
    for each in read:
        assert each.attributes["messaging.system"] == "kafka"
        assert each.attributes["messaging.operation.type"] == "process"
        assert {"messaging.kafka.offset", "messaging.destination.partition.id"} <= set(
            each.attributes
        )
