"""How results leave the gateway, and what its routes for reading answer; on logs in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from streams import codec
from streams.connection import Connection
from streams.events import JSON_TYPE, Event, EventType
from streams.gateway import reading, streaming
from streams.gateway.afterwards import _names
from streams.gateway.app import make_app
from streams.gateway.cursor import Cursor
from streams.gateway.gate import Gate, stopping
from streams.gateway.keys import ANYBODY, Caller, KeyRing, Scope
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.parts import Parts
from streams.gateway.problems import MEDIA_TYPE, Kind, Problem
from streams.gateway.results import Item
from streams.gateway.sessions import STAY_MS, Sessions
from streams.gateway.settings import GatewaySettings
from streams.gateway.streaming import EVENTS
from streams.results import result_event
from tests.gateway_logs import START, TOPICS, Logs, results_of, silence


@pytest.fixture
def logs() -> Logs:
    return Logs()


# --- how they are sent


async def test_events_and_pings(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PING_S", 0.01)
    logs.write(silence(0))
    made = parts(logs)
    async with (
        made.gate.lease(ANYBODY, "call", Scope.READ) as lease,
        made.results.following("call", None) as following,
    ):
        chunks = streaming.events(following, lease, made.metrics)
        assert await anext(chunks) == b"retry: 2000\n\n"
        name, id_, data, *_ = (await anext(chunks)).decode().split("\n")
        assert name == "event: tenor.caption.silence.v1"
        told = json.loads(data.removeprefix("data: "))
        assert told.pop("cursor") == id_.removeprefix("id: ")
        assert told == {
            "type": "tenor.caption.silence.v1",
            "id": result_event(silence(0), source="t").id,
            "time": START + 1000,
            "session": "call",
            "channel": "customer",
            "data": silence(0).model_dump(mode="json"),
        }
        assert await anext(chunks) == f": ping\nid: {following.cursor}\n\n".encode()
        lease.end(stopping())
        assert (await anext(chunks)).startswith(b": Stopping: ")
        assert [chunk async for chunk in chunks] == []


def test_what_json_does_not_have_is_not_passed_on() -> None:
    plain = result_event(silence(0), source="t")
    for more in ('"new": [1, "é"]', '"new": NaN', '"new": 1e999'):
        data = plain.data[:-1] + f",\n {more}}}".encode()
        event = Event(plain.type, "i", "t", "call", START, content_type=JSON_TYPE, data=data)
        text = streaming.text_of(Item("c", event))
        told = json.loads(text, parse_constant=pytest.fail)
        assert told["data"].pop("new", None) in (None, [1, "é"])
        assert told["data"] == json.loads(plain.data)
        assert "\n" not in text


async def test_an_array() -> None:
    async def some(count: int) -> AsyncIterator[str]:
        for number in range(count):
            yield str(number)

    for count in range(4):
        chunks = [chunk async for chunk in streaming.array(some(count))]
        assert json.loads(b"".join(chunks)) == list(range(count))


async def test_whoever_is_done_first_ends_the_others() -> None:
    ended = list[str]()

    async def endless() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ended.append("endless")

    async def fails() -> None:
        raise Problem(Kind.TOO_SLOW, "")

    await streaming.first_of(endless(), asyncio.sleep(0))
    with pytest.raises(Problem):
        await streaming.first_of(endless(), fails())
    assert ended == ["endless", "endless"]


async def test_summaries_as_events(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "EVERY_S", 0.01)
    monkeypatch.setattr(reading, "PING_S", 0.05)
    made = parts(logs)
    board = made.sessions.board
    board.take(Item("", result_event(silence(0), source="t"), START))
    async with made.gate.lease(ANYBODY, "", Scope.READ) as lease:
        with board.watched(lambda session: True) as watch:
            chunks = reading._summaries(watch, lease)
            assert await anext(chunks) == b"retry: 2000\n\n"
            kind, data, *_ = (await anext(chunks)).decode().split("\n")
            assert kind == "event: session"
            assert json.loads(data.removeprefix("data: "))["session"] == "call"
            assert await anext(chunks) == b": ping\n\n"
            board.expire(START + 2 * STAY_MS)
            gone = json.dumps({"session": "call", "forgotten": True})
            assert await anext(chunks) == f"event: session\ndata: {gone}\n\n".encode()
            lease.end(stopping())
            assert b"Stopping" in await anext(chunks)


# --- the routes


def parts(logs: Logs, ring: KeyRing | None = None) -> Parts:
    """Of a gateway on these logs; nothing can be sent by it."""
    settings, metrics = GatewaySettings(), GatewayMetrics()
    gate, results = Gate(settings, ring), results_of(logs)
    sessions = Sessions(results)
    brokers, absent = Connection("nowhere:1"), cast(Any, None)
    return Parts(settings, gate, absent, results, sessions, metrics, brokers, TOPICS)


class Ring:
    """Keys that are the names of callers."""

    def __init__(self, *callers: Caller) -> None:
        self._callers = {caller.name: caller for caller in callers}

    def find(self, key: str) -> Caller | None:
        return self._callers.get(key)


ACME = Caller("acme", frozenset({Scope.READ}), "acme/")
SENDER = Caller("sender", frozenset({Scope.INGEST}))


def client(logs: Logs, *callers: Caller) -> TestClient:
    made = parts(logs, cast(KeyRing, Ring(*callers)) if callers else None)
    for session in ("acme/1", "call"):
        made.sessions.board.take(Item("", result_event(silence(0, session), source="t"), START))
    return TestClient(make_app(made), base_url="http://localhost")


def test_results_up_to_now_as_json(logs: Logs) -> None:
    logs.write(silence(0), silence(1), silence(2, "acme/1"))
    http = client(logs)
    wanted = {"accept": "application/json"}
    answer = http.get("/v1/sessions/call/results", headers=wanted)
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert [each["data"]["start"] for each in found] == [START, START + 1000]
    after = http.get(
        "/v1/sessions/call/results", params={"after": found[0]["cursor"]}, headers=wanted
    )
    assert after.json() == found[1:]
    both = {**wanted, "last-event-id": found[1]["cursor"]}
    newest = http.get(
        "/v1/sessions/call/results", params={"after": found[0]["cursor"]}, headers=both
    )
    assert newest.json() == [], "the header is newer than the address"
    since = http.get("/v1/sessions/call/results", params={"since": START + 2}, headers=wanted)
    assert since.json() == found[1:]
    slashed = http.get("/v1/sessions/acme%2F1/results", headers=wanted)
    assert [each["session"] for each in slashed.json()] == ["acme/1"]
    assert http.get("/v1/sessions/nobody/results", headers=wanted).json() == []


@pytest.mark.parametrize(
    ("path", "headers", "status", "kind"),
    [
        ("/v1/sessions/call/results?after=rubbish", {}, 422, "invalid"),
        ("/v1/sessions/call/results", {"last-event-id": "x"}, 422, "invalid"),
        ("/v1/sessions/call/results?since=yesterday", {}, 422, "invalid"),
        ("/v1/sessions/call/results?after=" + str(Cursor({9: (1, 1)})), {}, 410, "gone"),
        ("/v1/results?after=" + str(Cursor({0: (0, 0)})), {}, 422, "invalid"),
        ("/v1/sessions/call/results", {"accept": "text/html"}, 406, "not-acceptable"),
        ("/v1/results", {"accept": "application/json"}, 406, "not-acceptable"),
        ("/v1/sessions/events", {"accept": "application/json"}, 406, "not-acceptable"),
        ("/v1/sessions/call/export?format=pdf", {}, 422, "invalid"),
        ("/v1/sessions/call/images/i?time=soon", {}, 422, "invalid"),
    ],
)
def test_what_cannot_be_read(
    logs: Logs, path: str, headers: dict[str, str], status: int, kind: str
) -> None:
    answer = client(logs).get(path, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE)
    assert answer.json()["type"] == f"urn:tenor:problem:{kind}"


READ = (
    "/v1/sessions/{}/results",
    "/v1/sessions/{}/texts",
    "/v1/sessions/{}/export",
    "/v1/sessions/{}/report",
    "/v1/sessions/{}/images/i",
)


@pytest.mark.parametrize("path", [*READ, "/v1/results", "/v1/sessions", "/v1/sessions/events"])
def test_who_may_read(logs: Logs, path: str) -> None:
    http = client(logs, ACME, SENDER)
    assert http.get(path.format("acme%2F1")).status_code == 401
    assert http.get(path.format("acme%2F1"), headers=bearer("sender")).status_code == 403
    if path in READ:
        assert http.get(path.format("call"), headers=bearer("acme")).status_code == 403


def test_sessions_of_a_namespace(logs: Logs) -> None:
    mine = client(logs, ACME).get("/v1/sessions", headers=bearer("acme")).json()
    assert [each["session"] for each in mine["sessions"]] == ["acme/1"]
    every = client(logs).get("/v1/sessions").json()
    assert [each["session"] for each in every["sessions"]] == ["acme/1", "call"]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_a_socket_of_a_session(logs: Logs) -> None:
    logs.write(silence(0), silence(1), silence(1, "acme/1"))
    http = client(logs)
    with http.websocket_connect("ws://localhost/v1/sessions/call/results") as socket:
        first, second = socket.receive_json(), socket.receive_json()
        assert first["type"] == "tenor.caption.silence.v1"
        assert [first["data"]["start"], second["data"]["start"]] == [START, START + 1000]
    with http.websocket_connect(
        f"ws://localhost/v1/sessions/call/results?after={first['cursor']}"
    ) as socket:
        assert socket.receive_json() == second


def test_a_socket_of_all_sessions(logs: Logs) -> None:
    logs.write(silence(0), silence(1, "acme/1"))
    http = client(logs, ACME)
    with http.websocket_connect(
        f"ws://localhost/v1/results?since={START}", ["tenor", "acme"]
    ) as socket:
        assert str(socket.accepted_subprotocol) == "tenor"
        assert socket.receive_json()["session"] == "acme/1"


def test_nothing_is_to_be_sent_to_a_socket_of_results(logs: Logs) -> None:
    with client(logs).websocket_connect("ws://localhost/v1/sessions/call/results") as socket:
        socket.send_text("hello")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    assert (closed.value.code, "nothing is to be sent" in closed.value.reason) == (1007, True)


def test_a_socket_is_told_after_it_was_accepted_that_its_cursor_is_gone(logs: Logs) -> None:
    path = f"ws://localhost/v1/sessions/call/results?after={Cursor({9: (1, 1)})}"
    with (
        client(logs).websocket_connect(path) as socket,
        pytest.raises(WebSocketDisconnect) as closed,
    ):
        socket.receive_text()
    assert (closed.value.code, closed.value.reason[:5]) == (1008, "Gone:")


def typed(id_: str, text: str, session: str = "call", channel: str = "customer") -> Event:
    data = json.dumps({"text": text, "kind": "note"}).encode()
    type_ = EventType.TEXT_MESSAGE
    return Event(type_, id_, "t", session, START, channel, content_type=JSON_TYPE, data=data)


def test_what_was_typed(logs: Logs) -> None:
    http = client(logs)
    assert http.get("/v1/sessions/call/texts").json() == {"texts": []}
    for number, event in enumerate(
        (typed("1", "a"), typed("2", "b", "other"), typed("1", "a"), typed("3", "c"))
    ):
        logs.write_raw((TOPICS.text, number % 3), *codec.encode(event))
    logs.write_raw((TOPICS.text, 0), b"call", b"\xff", [("ce_type", b"dirt")])
    found = http.get("/v1/sessions/call/texts").json()["texts"]
    assert found == [
        {
            "id": id_,
            "time": START,
            "channel": "customer",
            "text": text,
            "kind": "note",
            "vocabulary": [],
        }
        for id_, text in (("1", "a"), ("3", "c"))
    ]
    steps = logs.steps
    assert http.get("/v1/sessions/call/texts").json()["texts"] == found
    assert logs.steps == steps, "nothing new was written, nothing is read"


def test_what_was_typed_is_sent_again_only_if_there_is_more(logs: Logs) -> None:
    http = client(logs)
    logs.write_raw((TOPICS.text, 0), *codec.encode(typed("1", "a")))
    first = http.get("/v1/sessions/call/texts")
    known = {"if-none-match": f'"other", W/{first.headers["etag"]}'}
    same = http.get("/v1/sessions/call/texts", headers=known)
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == first.headers["etag"]
    assert client(logs).get("/v1/sessions/call/texts", headers=known).status_code == 304
    logs.write_raw((TOPICS.text, 1), *codec.encode(typed("2", "b")))
    more = http.get("/v1/sessions/call/texts", headers=known)
    assert [each["text"] for each in more.json()["texts"]] == ["a", "b"]
    assert more.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/sessions/call/images/i", ("call", "i")),
        ("/v1/sessions/a%2Fimages%2Fb/images/a%2Fimages%2F%2F3", ("a/images/b", "a/images//3")),
        ("/v1/sessions/%C3%A9/images/%25?time=3", ("é", "%")),
        ("/v1/sessions/a/b/images/i", ("a/b", "i")),
    ],
)
def test_the_picture_of_a_path(path: str, names: tuple[str, str]) -> None:
    scope = {"type": "http", "raw_path": path.encode(), "headers": []}
    assert _names(cast(Any, _Connection(scope)), "a/b", "i") == names


class _Connection:
    def __init__(self, scope: dict[str, Any]) -> None:
        self.scope = scope


def test_event_streams_are_told_as_such(logs: Logs) -> None:
    document = client(logs).get("/openapi.json").json()["paths"]
    operation = document["/v1/sessions/{session}/results"]["get"]
    assert set(operation["responses"]["200"]["content"]) == {EVENTS, "application/json"}
    assert "410" in operation["responses"]
