"""What holds for every route: errors as problems, headers, foreign pages, and what is counted."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from prometheus_client import generate_latest
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from streams.connection import Connection
from streams.events import Topics
from streams.gateway import keys
from streams.gateway.app import make_app
from streams.gateway.credentials import protocol_of
from streams.gateway.gate import Gate
from streams.gateway.keys import ANYBODY, Caller, KeyRing, Scope
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.parts import Parts, SessionId, parts_of
from streams.gateway.problems import MEDIA_TYPE, Kind, Problem
from streams.gateway.settings import GatewaySettings

SAID = "what was said"
SOCKET = "ws://localhost/test/socket"


def parts(ring: KeyRing | None = None, **settings: object) -> Parts:
    """With all that the app itself needs; no Kafka."""
    made, absent = GatewaySettings.model_validate(settings), cast(Any, None)
    gate, metrics = Gate(made, ring), GatewayMetrics()
    topics = Topics.of("t.")
    return Parts(made, gate, absent, absent, absent, metrics, Connection("nowhere:1"), topics)


def with_routes(parts: Parts) -> FastAPI:
    """The app, and routes that fail in all ways."""
    app = make_app(parts)

    @app.get("/test/raises")
    async def raises(kind: str) -> None:
        raise Problem(Kind[kind], "do this", retry_after_s=2.5)

    @app.get("/test/breaks/{session:path}")
    async def breaks(session: SessionId) -> None:
        raise ValueError(SAID + session)

    @app.post("/test/takes")
    async def takes(request: Request, number: int) -> str:
        return (await parts_of(request).gate.body(request, ANYBODY, 10, lambda _: None)).decode()

    @app.get("/test/breaks-off")
    async def breaks_off() -> StreamingResponse:
        async def some() -> AsyncIterator[str]:
            yield "a"
            raise ValueError(SAID)

        return StreamingResponse(some(), headers={"Content-Security-Policy": "sandbox"})

    @app.websocket("/test/socket")
    async def socket(websocket: WebSocket, before: str = "", after: str = "") -> None:
        gate = parts_of(websocket).gate
        gate.admit(websocket, Scope.READ)
        _fail(before)
        await websocket.accept(protocol_of(websocket))
        await websocket.receive_text()
        _fail(after)
        await websocket.close()

    return app


def _fail(how: str) -> None:
    if how in Kind.__members__:
        raise Problem(Kind[how], "do this")
    if how:
        raise ValueError(SAID)


def client_of(parts: Parts) -> TestClient:
    return TestClient(
        with_routes(parts), base_url="http://localhost", raise_server_exceptions=False
    )


@pytest.fixture
def client() -> Iterator[TestClient]:
    with client_of(parts()) as made:
        yield made


def shown(client: TestClient) -> str:
    """The metrics."""
    made = cast(FastAPI, client.app).state.parts.metrics
    return generate_latest(made.registry).decode()


@pytest.mark.parametrize("kind", Kind)
def test_problems_are_documents(client: TestClient, kind: Kind) -> None:
    answer = client.get("/test/raises", params={"kind": kind.name})
    assert answer.status_code == kind.status
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.headers["retry-after"] == "3"
    assert answer.json()["type"] == kind.type


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/nothing/here", Kind.NOT_FOUND),
        ("DELETE", "/test/raises", Kind.METHOD_NOT_ALLOWED),
        ("GET", "/test/raises", Kind.INVALID),
        ("POST", "/test/takes?number=one", Kind.INVALID),
        ("GET", "/test/breaks/", Kind.INVALID),
        ("GET", "/test/breaks/a%00b", Kind.INVALID),
        ("GET", "/test/breaks/" + 201 * "a", Kind.INVALID),
        ("GET", "/test/breaks/a%2Fb", Kind.INTERNAL),
    ],
)
def test_what_the_framework_refuses_is_a_problem_too(
    client: TestClient, method: str, path: str, kind: Kind
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == kind.status
    assert answer.json()["type"] == kind.type
    assert answer.headers["content-type"] == MEDIA_TYPE


def test_a_refusal_says_what_is_wrong_and_does_not_quote_it(client: TestClient) -> None:
    detail = client.post("/test/takes", params={"number": SAID}).json()["detail"]
    assert "query.number" in detail
    assert SAID not in detail
    allowed = client.delete("/test/raises").headers["allow"]
    assert allowed == "GET"


def test_a_fault_is_told_without_what_was_said(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = client.get("/test/breaks/my-call")
    assert answer.json()["type"] == Kind.INTERNAL.type
    assert SAID not in answer.text + caplog.text
    assert "my-call" not in answer.text
    ours = [each.getMessage() for each in caplog.records if each.name.startswith("tenor")]
    assert any("ValueError at /test/breaks/{session:path}" in line for line in ours)
    assert any("in breaks" in line for line in ours), "it says where"
    assert not any("my-call" in line for line in ours)


def test_an_answer_that_breaks_off_stays_what_it_is(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.get("/test/breaks-off")
    assert (answer.status_code, answer.text) == (200, "a")
    assert SAID not in caplog.text


def test_responses_carry_headers_for_browsers(client: TestClient) -> None:
    for path in ("/openapi.json", "/nothing", "/test/breaks/x"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
    own = client.get("/test/breaks-off").headers.get_list("content-security-policy")
    assert own == ["sandbox"], "what a route says counts"


def test_a_body_that_is_too_large_is_refused(client: TestClient) -> None:
    assert client.post("/test/takes?number=1", content=b"0123456789").json() == "0123456789"
    assert client.post("/test/takes?number=1", content=b"0123456789a").status_code == 413
    pieces = iter([b"01234567", b"8901234567"])
    assert client.post("/test/takes?number=1", content=pieces).status_code == 413


# --- WebSockets


def denied(client: TestClient, query: str = "", **headers: str) -> dict[str, object]:
    """The problem with which a WebSocket is not accepted."""
    with (
        pytest.raises(WebSocketDenialResponse) as denial,
        client.websocket_connect(f"{SOCKET}{query}", headers=headers),
    ):
        pass
    assert denial.value.headers["content-type"] == MEDIA_TYPE
    assert denial.value.headers["x-content-type-options"] == "nosniff"
    problem: dict[str, object] = json.loads(denial.value.content)
    return problem


def closed(client: TestClient, query: str) -> WebSocketDisconnect:
    """How a WebSocket is closed that was accepted."""
    with client.websocket_connect(f"{SOCKET}{query}") as socket:
        socket.send_text("go on")
        with pytest.raises(WebSocketDisconnect) as closing:
            socket.receive_text()
    return closing.value


def test_a_websocket_is_refused_with_a_problem_or_closed_with_a_code(client: TestClient) -> None:
    assert denied(client, "?before=TOO_MANY")["type"] == Kind.TOO_MANY.type
    assert denied(client, "?before=fault")["type"] == Kind.INTERNAL.type
    assert (closed(client, "").code, closed(client, "").reason) == (1000, "")
    ended = closed(client, "?after=TOO_LARGE")
    assert (ended.code, ended.reason) == (1009, "Too large: do this")
    ended = closed(client, "?after=fault")
    assert ended.code == 1011
    assert SAID not in ended.reason


def test_a_client_that_goes_is_no_fault(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with client.websocket_connect(SOCKET) as socket:
        socket.close()
    assert "tenor.gateway" not in {each.name for each in caplog.records}


def test_a_websocket_of_a_foreign_page_is_refused_before_anything_else(
    client: TestClient,
) -> None:
    told = denied(client, "?before=fault", origin="http://evil.example")
    assert (told["status"], told["type"]) == (403, Kind.FOREIGN_ORIGIN.type)
    with client.websocket_connect(SOCKET, headers={"origin": "http://localhost"}):
        pass


# --- origins and keys


def test_pages_of_allowed_origins_get_cors_and_others_nothing() -> None:
    with client_of(parts(origins="https://page.example")) as client:
        asked = {"origin": "https://page.example", "access-control-request-method": "POST"}
        wanted = "authorization,content-type,idempotency-key,last-event-id,x-api-key"
        answer = client.options(
            "/test/takes", headers={**asked, "access-control-request-headers": wanted}
        )
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        answer = client.get("/openapi.json", headers={"origin": "https://page.example"})
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        for kind in ("RATE", "INTERNAL"):
            path = f"/test/raises?kind={kind}"
            answer = client.get(path, headers={"origin": "https://page.example"})
            assert answer.json()["type"] == Kind[kind].type
            assert answer.headers["access-control-allow-origin"] == "https://page.example"
            assert answer.headers["access-control-expose-headers"] == "Retry-After, ETag"
        for method in ("GET", "OPTIONS"):
            foreign = {**asked, "origin": "https://evil.example"}
            answer = client.request(method, "/openapi.json", headers=foreign)
            assert answer.json()["type"] == Kind.FOREIGN_ORIGIN.type
            assert "access-control-allow-origin" not in answer.headers


def test_a_name_that_leads_here_does_not_open_a_gateway_without_keys(client: TestClient) -> None:
    answer = client.get("/openapi.json", headers={"host": "evil.example"})
    assert answer.status_code == 421


@pytest.fixture
def closed_gate(tmp_path: Path) -> tuple[KeyRing, str, str]:
    """A ring, a key to read, and one that may all."""
    file = tmp_path / "keys.json"
    reader = keys.add(file, Caller("page", frozenset({Scope.READ})), "")
    admin = keys.add(file, Caller("me", frozenset({Scope.ADMIN})), "")
    return KeyRing(file), reader, admin


def test_a_page_gives_its_key_by_the_subprotocol(closed_gate: tuple[KeyRing, str, str]) -> None:
    ring, reader, _ = closed_gate
    with client_of(parts(ring)) as client:
        assert denied(client)["status"] == 401
        with client.websocket_connect(SOCKET, subprotocols=["tenor", reader]) as socket:
            assert socket.accepted_subprotocol == "tenor"


async def test_an_admin_sees_what_is_live(closed_gate: tuple[KeyRing, str, str]) -> None:
    ring, reader, admin = closed_gate
    made = parts(ring)
    page = Caller("page", frozenset({Scope.READ}))
    with client_of(made) as client:
        assert client.get("/v1/gateway").status_code == 401
        assert client.get("/v1/gateway", headers={"x-api-key": reader}).status_code == 403
        async with made.gate.lease(page, "s1", Scope.READ), made.gate.lease(page, "s2"):
            told = client.get("/v1/gateway", headers={"authorization": f"Bearer {admin}"}).json()
    assert told["live"] == [{"key": "page", "sending": 1, "reading": 1}]
    assert not told["stopping"]


async def test_an_admin_of_a_namespace_sees_only_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    admin = keys.add(file, Caller("me", frozenset({Scope.ADMIN}), "acme/"), "")
    made = parts(KeyRing(file))
    with client_of(made) as client:
        async with AsyncExitStack() as held:
            for name, namespace in (("all", ""), ("other", "b/"), ("mine", "acme/east/")):
                caller = Caller(name, frozenset({Scope.READ}), namespace)
                await held.enter_async_context(made.gate.lease(caller, "acme/s", Scope.READ))
            told = client.get("/v1/gateway", headers={"x-api-key": admin}).json()
    assert [each["key"] for each in told["live"]] == ["mine"]


# --- the document, and what is counted


@pytest.mark.parametrize("path", ["/v1/listen", "/v1/realtime?intent=transcription"])
def test_who_is_refused_in_another_protocol_is_counted(
    closed_gate: tuple[KeyRing, str, str], path: str
) -> None:
    with client_of(parts(closed_gate[0])) as client:
        with (
            pytest.raises(WebSocketDenialResponse),
            client.websocket_connect(f"ws://localhost{path}"),
        ):
            pass
        assert 'tenor_gateway_refused_total{kind="unauthenticated"} 1.0' in shown(client)


def test_the_openapi_document_says_what_every_route_may_answer(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert "HTTPValidationError" not in json.dumps(document)
    problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert "detail" in schemas["Problem"]["required"]
    ours = {path: each for path, each in document["paths"].items() if path.startswith("/v1/")}
    assert "/v1/gateway" in ours
    for operations in ours.values():
        for operation in operations.values():
            responses = operation["responses"]
            assert {"401", "403", "421", "429", "500", "503"} <= responses.keys()
            refusals = [each for status, each in responses.items() if status >= "400"]
            assert all(each["content"] == problem for each in refusals)
            assert operation["summary"]


def test_requests_are_counted_by_route_and_name_nobody(client: TestClient) -> None:
    client.get("/test/breaks/my-call")
    client.get("/nothing/my-call")
    client.request("BREW", "/nothing/my-call")
    denied(client, "?before=TOO_MANY")
    closed(client, "")
    told = shown(client)
    series = 'tenor_gateway_requests_total{method="%s",route="%s",status="%s"} 1.0'
    assert series % ("GET", "/test/breaks/{session:path}", 500) in told
    assert series % ("GET", "other", 404) in told
    assert series % ("other", "other", 404) in told
    assert series % ("WEBSOCKET", "/test/socket", 429) in told
    assert series % ("WEBSOCKET", "/test/socket", 101) in told
    assert 'tenor_gateway_refused_total{kind="too_many"} 1.0' in told
    assert "my-call" not in told


def test_a_gateway_loads_no_models() -> None:
    """They take seconds and gigabytes."""
    code = "import sys, streams.gateway.server; print({'torch', 'faust'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "set()"
