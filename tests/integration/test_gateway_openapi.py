"""The OpenAPI document and the app say the same: requests that are made from the document, sound
ones and broken ones, against the app on a real Kafka. A 5xx is a failure, and so is an answer that
the document does not tell of."""

from __future__ import annotations

import asyncio
import io
import re
import threading
import uuid
import wave
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import asdict
from typing import Any, cast
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    positive_data_acceptance,
    response_schema_conformance,
)

from streams import codec
from streams.connection import Connection
from streams.delivery import producer
from streams.events import Topics
from streams.gateway import decoding, server
from streams.gateway.app import make_app
from streams.gateway.connections import HEADERS_BYTES
from streams.gateway.gate import Gate
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.parts import Parts
from streams.gateway.settings import GatewaySettings
from streams.settings import Settings
from streams.topics import ensure_topics
from tests.harness import eventually
from tests.made_session import made_session

EXAMPLES = 8
"""Of each operation, beside those that walk through the limits of its parameters."""
STREAM_S = 0.5
"""How long a stream of events is read."""
UNTOLD = (positive_data_acceptance,)
"""Not checked: not all that is asked of a time, a cursor or a file can be said in a schema."""
OF_STREAMS = (response_schema_conformance,)
"""Nor this of a stream: what it consists of has none."""
MADE = made_session("call-17")
"""The session that the document takes for its example."""


class Running:
    """A gateway in a thread of its own."""

    def __init__(self, brokers: Connection) -> None:
        self.url: Future[str] = Future()
        self._brokers = brokers
        self._server: Any = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        if self._server:
            self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self.url.done():
                raise
            self.url.set_exception(error)

    async def _serve(self) -> None:
        settings = Settings(topic_prefix=f"openapi-{uuid.uuid4().hex[:8]}.")
        gateway = GatewaySettings(port=0)
        await ensure_topics(self._brokers, settings)
        await self._write(Topics.of(settings.topic_prefix))
        gate, metrics = Gate(gateway), GatewayMetrics()
        with server.listening(gateway) as listener:
            async with server.opened(settings, gateway, self._brokers, gate, metrics) as parts:
                reading = (parts.results, parts.sessions)
                await eventually(lambda: not any(each.not_ready() for each in reading), 120)
                self._server = server.Server(server.config_of(parts, None))
                self.url.set_result(f"http://127.0.0.1:{listener.getsockname()[1]}")
                await self._server.serve([listener])

    async def _write(self, topics: Topics) -> None:
        """A session that is there."""
        sender = producer(self._brokers)
        await sender.start()
        for topic in ("recognition", "sentiment", "text", "images"):
            for event in {"text": MADE.texts, "images": MADE.images}.get(topic) or MADE.of(topic):
                key, value, headers = codec.encode(event)
                await sender.send_and_wait(asdict(topics)[topic], value, key, headers=headers)
        await sender.stop()


@pytest.fixture(scope="module")
def url(kafka: Connection) -> Iterator[str]:
    """Of a gateway."""
    running = Running(kafka)
    try:
        yield running.url.result(120)
    finally:
        running.stop()


def document() -> dict[str, Any]:
    """What the app says of itself; for that it needs no Kafka."""
    settings, absent, metrics = GatewaySettings(), cast(Any, None), GatewayMetrics()
    gate, topics = Gate(settings), Topics.of()
    brokers = Connection("nowhere:1")
    parts = Parts(settings, gate, absent, absent, absent, metrics, brokers, topics)
    return make_app(parts).openapi()


@schemathesis.serializer(*decoding.MEDIA_TYPES)
def _audio(_: schemathesis.SerializationContext, value: bytes) -> bytes:
    """Audio that is made up: half of it is a sound WAV file of these samples."""
    made: bytes = getattr(value, "data", value)
    if len(made) % 2:
        return made
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes((made or bytes(2)) * 800)
    return file.getvalue()


schema = schemathesis.openapi.from_dict(
    document(), config=SchemathesisConfig.from_dict({"max-stream-events": 1})
)


def _as_the_document_says(operation: Any) -> Any:  # noqa: ANN401  (schemathesis has no types)
    @pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
    @schema.include(method=operation.method.upper(), path=operation.path).parametrize()
    @settings(
        max_examples=EXAMPLES,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def test(case: schemathesis.Case[Any], url: str) -> None:
        size = 6 * len(f"{case.path_parameters} {case.query} {case.headers}")
        assume(size < HEADERS_BYTES)
        checked(case, url)

    return test


# Each has a name of its own: of tests with the same name, xdist would run one.
for _found in schema.get_all_operations():
    assert isinstance(_found, Ok)
    _each = _found.ok()
    _name = re.sub(r"\W+", "_", f"test_{_each.method}{_each.path}").strip("_")
    globals()[_name] = _as_the_document_says(_each)


def checked(case: schemathesis.Case[Any], url: str) -> schemathesis.Response:
    """The answer, if it is as the document says. Of a stream the beginning is enough."""
    operation = case.operation.definition.raw
    streams = "text/event-stream" in str(operation["responses"].get("200"))
    response = case.call(url, timeout=STREAM_S if streams else 60)
    streamed = "text/event-stream" in str(response.headers.get("content-type"))
    case.validate_response(response, excluded_checks=[*UNTOLD, *(OF_STREAMS if streamed else ())])
    return response


PATH = "/v1/sessions/{session}/"
JSON = {"Accept": "application/json"}


@pytest.mark.parametrize(
    ("path", "more", "headers"),
    [
        (PATH + "results", {}, JSON),
        (PATH + "results", {}, {}),
        (PATH + "texts", {}, {}),
        (PATH + "report", {}, {}),
        *[(PATH + "export", {"format": format_}, {}) for format_ in ("vtt", "srt", "json", "txt")],
        (PATH + "images/{id}", {"time": MADE.images[0].time}, {}),
        (PATH + "images/{id}", {}, {}),
        ("/v1/sessions", {}, {}),
        ("/v1/sessions/events", {}, {}),
    ],
)
def test_what_is_there_is_read_as_the_document_says(
    url: str, path: str, more: dict[str, object], headers: dict[str, str]
) -> None:
    names = {"session": "call-17", "id": quote(MADE.images[0].id, safe="")}
    named = {name: id_ for name, id_ in names.items() if f"{{{name}}}" in path}
    case = schema[path]["GET"].Case(path_parameters=named, query=more, headers=headers)
    answer = checked(case, url)
    assert answer.status_code == 200
    assert len(answer.content) > 100
