"""One trace shows a chunk's way through all topics; without its collector the work goes on."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile

from streams.events import Event
from streams.processes import GatewayProcess
from tests.collector import Collector, collector
from tests.harness import RESULTS, Installation, events, eventually
from tests.traces import AGENTS, CLIENT, TRACE, ways, whole

Make = Callable[[], Installation]

UNSAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00"
SESSION = "call-of-ms-gray"
SECONDS = 8
PATIENCE_S = 60
BRISK = {"TENOR_IDLE_AFTER_S": "3"}


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
        worker = tenor.start_worker(AGENTS, **collected.environment, **BRISK)
        url = gateway(**tenor.settings, **collected.environment)
        worker.ready()
        sessions = f"{url}/v1/sessions"
        post(f"{sessions}/{SESSION}/audio?channel=ms-gray", speech, "audio/wav", CLIENT)
        post(f"{sessions}/{SESSION}/end", b"", "text/plain", CLIENT)
        post(f"{sessions}/unsampled/text", b"Not again.", "text/plain", UNSAMPLED)
        post(f"{sessions}/unsampled/end", b"", "text/plain", UNSAMPLED)
        await eventually(lambda: whole(tenor.prefix) <= ways(collected.of(TRACE)))
        _check_spans(collected)
        for event in await _results(tenor, "unsampled"):
            assert event.traceparent[3:35] in (TRACE, UNSAMPLED[3:35])
    post(f"{sessions}/after/text", b"Still waiting.", "text/plain", CLIENT)
    post(f"{sessions}/after/end", b"", "text/plain", CLIENT)
    await eventually(lambda: "takes no traces" in worker.log.read_text())
    assert await _results(tenor, "after")
    assert worker.stop() == 0
    assert "Traceback" not in worker.log.read_text()


async def _results(tenor: Installation, session: str) -> list[Event]:
    """All results, once there are some of this session."""
    for _ in range(PATIENCE_S):
        found = events(await tenor.read(RESULTS, s=1))
        if any(event.session == session for event in found):
            return found
    raise AssertionError(f"no result of {session}")


def _check_spans(collected: Collector) -> None:
    """The client is where all begins; models are there; and no span names the session or the
    speaker, or is of a trace that was not sampled."""
    spans = collected.of(TRACE)
    names = {each.span.name for each in spans}
    assert {"decode final", "model speech", "model voice", "model text", "model fusion"} <= names
    known = {each.id for each in spans}
    assert {each.parent for each in spans} - known == {CLIENT.split("-")[2]}
    assert not collected.of(UNSAMPLED[3:35])
    for each in collected.spans:
        said = each.span.SerializeToString()
        assert SESSION.encode() not in said
        assert b"ms-gray" not in said
    read = [each for each in spans if each.span.name.startswith("process")]
    for each in read:
        assert each.attributes["messaging.system"] == "kafka"
        assert each.attributes["messaging.operation.type"] == "process"
        assert {"messaging.kafka.offset", "messaging.destination.partition.id"} <= set(
            each.attributes
        )
