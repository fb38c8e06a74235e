"""How clients are given results: on logs in memory, so that everything can happen in any order."""

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
from streams.gateway import results as gateway_results
from streams.gateway.afterwards import _names
from streams.gateway.app import make_app
from streams.gateway.cursor import Cursor
from streams.gateway.gate import Gate, stopping
from streams.gateway.keys import ANYBODY, Caller, KeyRing, Scope
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.parts import Parts
from streams.gateway.problems import MEDIA_TYPE, Kind, Problem
from streams.gateway.results import ALL, ONE, Following, Item, Results, partition_of
from streams.gateway.sessions import SLACK_MS, STAY_MS, Sessions
from streams.gateway.settings import GatewaySettings
from streams.gateway.streaming import EVENTS
from streams.results import CaptionFinal, CaptionPartial, SentimentWindow, Silence, result_event
from tests.gateway_logs import START, TOPICS, Logs, bring, results_of
from tests.harness import eventually

TEXT = {"language": "en", "model": "m", "no_speech_probability": 0.0, "words": ()}


def silence(number: int, session: str = "call") -> Silence:
    span = {"start": START + number * 1000, "end": START + number * 1000 + 1000}
    return Silence(session=session, channel="c", **span)


def window(number: int, session: str = "call") -> SentimentWindow:
    return SentimentWindow(
        session=session,
        channel="c",
        start=START + number * 1000,
        end=START + number * 1000 + 1000,
        revision=0,
        final=True,
        score=0.0,
        deviation=0.1,
        label="neutral",
        confidence=0.5,
        emotions={},
        contributions={},
        evidence=(),
        model="m",
    )


def numbers(items: list[Item]) -> list[int]:
    return [(json.loads(item.event.data)["start"] - START) // 1000 for item in items]


async def taken(following: Following) -> list[Item]:
    """All that it gives without waiting."""
    found = list[Item]()
    while (items := await following.batch(0)) or not following.live:
        found += items
    return found


@pytest.fixture
def logs() -> Logs:
    return Logs()


# --- the past, the present, and the seam between them


async def test_what_was_before_comes_first_then_what_is_new(logs: Logs) -> None:
    logs.write(*(silence(n) for n in range(5)), window(5))
    results = results_of(logs)
    async with results.following("call", None) as following:
        logs.write(silence(6))  # is in the log before the replay ends, and comes by the tail
        bring(results, logs)
        assert numbers(await taken(following)) == [0, 1, 2, 3, 4, 5, 6]
        assert following.live
        logs.write(window(7), silence(8))
        bring(results, logs)
        assert sorted(numbers(await taken(following))) == [7, 8]
    assert results.followers == 0


async def test_the_past_comes_in_the_order_of_its_writing(logs: Logs) -> None:
    for number in range(20):
        logs.write(silence(number) if number % 3 else window(number))
    async with results_of(logs).following("call", None) as following:
        assert numbers(await taken(following)) == list(range(20))


async def test_every_cursor_leads_to_what_follows_it(logs: Logs) -> None:
    for number in range(6):
        logs.write(silence(number) if number % 2 else window(number))
        logs.write(silence(number, "other"))
    results = results_of(logs)
    async with results.following("call", None) as following:
        found = await taken(following)
    for place, item in enumerate(found):
        async with results_of(logs).following("call", Cursor.parse(item.cursor)) as following:
            assert numbers(await taken(following)) == numbers(found)[place + 1 :]


async def test_sessions_do_not_mix(logs: Logs) -> None:
    sessions = [f"call-{n}" for n in range(9)]
    results = results_of(logs)
    async with results.following("call-1", None) as one, results.following(None, None) as every:
        for number, session in enumerate(sessions):
            logs.write(silence(number, session))
        bring(results, logs)
        assert numbers(await taken(one)) == [1]
        assert sorted(numbers(await taken(every))) == list(range(9))


async def test_all_sessions_begin_now_unless_told_otherwise(logs: Logs) -> None:
    logs.write(silence(0))
    results = results_of(logs)
    async with results.following(None, None) as following:
        logs.write(silence(1))
        bring(results, logs)
        assert numbers(await taken(following)) == [1]
        last = following.cursor
    logs.write(*(silence(n, f"call-{n}") for n in range(2, 6)))
    async with results.following(None, Cursor.parse(last)) as following:
        bring(results, logs)
        assert numbers(await taken(following)) == [2, 3, 4, 5]
    async with results.following(None, None, since=START + 2) as following:
        assert numbers(await taken(following)) == [1, 2, 3, 4, 5]
    async with results.following(None, None, since=START + 99) as following:
        assert await taken(following) == []


async def test_now_is_a_cursor_without_a_past(logs: Logs) -> None:
    logs.write(silence(0))
    results = results_of(logs)
    now = results.now()
    logs.write(silence(1))
    async with results.following("call", now) as following:
        bring(results, logs)
        assert numbers(await taken(following)) == [1]
        assert logs.steps == 0, "nothing had to be read back"


async def test_a_namespace_holds_its_sessions_only(logs: Logs) -> None:
    logs.write(silence(0, "acme/1"), silence(1, "acme2/1"))
    results = results_of(logs)
    async with results.following(None, None, namespace="acme/", since=START) as following:
        logs.write(silence(2, "acme/2"), silence(3, "acme2/2"), silence(4, "other"))
        bring(results, logs)
        assert numbers(await taken(following)) == [0, 2]


async def test_certain_types_only(logs: Logs) -> None:
    logs.write(silence(0), window(1))
    results = results_of(logs)
    types = [EventType.SENTIMENT_WINDOW]
    async with results.following(None, None, since=START, types=types) as following:
        logs.write(silence(2), window(3))
        bring(results, logs)
        assert numbers(await taken(following)) == [1, 3]


async def test_a_result_that_comes_twice_is_given_once(logs: Logs) -> None:
    logs.write(silence(0), silence(1), silence(0))
    results = results_of(logs)
    async with results.following("call", None) as following:
        logs.write(silence(1), silence(2), silence(0))
        bring(results, logs)
        assert numbers(await taken(following)) == [0, 1, 2]


async def test_what_is_unreadable_is_passed_over(logs: Logs) -> None:
    place = (TOPICS.recognition, partition_of("call", 3))
    key, value, headers = codec.encode(result_event(silence(1), source="t"))
    logs.write(silence(0))
    logs.write_raw(place, key, b"{", headers)
    logs.write_raw(place, key, value, [("ce_\xff", b"dirt")])
    logs.write_raw(place, None, None, [])
    said = json.loads(value or b"")
    for wrong in ({"session": "another"}, {"channel": "d"}, {"end": 10**400}, {"start": -1}):
        logs.write_raw(place, key, json.dumps(said | wrong).encode(), headers)
    logs.write(silence(2))
    results = results_of(logs)
    async with results.following("call", None) as following:
        assert numbers(await taken(following)) == [0, 2]
        logs.write_raw(place, key, b"{", headers)
        logs.write(silence(3))
        bring(results, logs)
        assert numbers(await taken(following)) == [3]
    assert results.tail.skipped == 1


async def test_partial_captions_that_were_replaced_are_left_out_of_the_past() -> None:
    logs = Logs(most=100)
    span = {"session": "call", "channel": "c", "start": START, "end": START + 1000}
    partials = [CaptionPartial(**span, revision=n, text=f"{n}", **TEXT) for n in range(3)]
    final = CaptionFinal(**span, revision=0, text="f", **TEXT)
    next_ = CaptionPartial(
        **{**span, "start": START + 1000, "end": START + 1500}, revision=0, text="n", **TEXT
    )
    logs.write(*partials, final, next_)
    results = results_of(logs)
    async with results.following("call", None) as following:
        said = [json.loads(item.event.data)["text"] for item in await taken(following)]
        assert said == ["f", "n"]
        logs.write(*[each.model_copy(update={"end": START + 1}) for each in partials])
        bring(results, logs)
        assert len(await taken(following)) == 3, "live, each is shown"


# --- who is slow, who goes, who comes back


async def test_what_comes_during_a_long_replay_is_read_from_the_log(logs: Logs) -> None:
    logs.write(*(silence(n) for n in range(4)))
    results = results_of(logs)
    async with results.following("call", None) as following:
        logs.calm.clear()
        reading_ = asyncio.create_task(taken(following))
        await asyncio.sleep(0.01)
        many = 2 * ONE.entries
        logs.write(*(silence(n) for n in range(4, many)))
        bring(results, logs)
        logs.calm.set()
        assert numbers(await reading_) == list(range(many))
        assert following.live


async def test_who_is_too_slow_is_cut_off_and_comes_back(logs: Logs) -> None:
    results = results_of(logs)
    count = ONE.entries + 10
    async with results.following("call", None) as following:
        logs.write(silence(0))
        bring(results, logs)
        got = await following.batch(1)
        logs.write(*(silence(n) for n in range(1, count)))
        bring(results, logs)
        with pytest.raises(Problem) as cut:
            await following.batch(1)
    assert cut.value.kind is Kind.TOO_SLOW
    async with results.following("call", Cursor.parse(got[-1].cursor)) as following:
        assert numbers(await taken(following)) == list(range(1, count))


async def test_who_takes_large_ones_too_slowly_is_cut_off(logs: Logs) -> None:
    results = results_of(logs)
    large = {"text": "x" * 700_000, "revision": 0, **TEXT}
    async with results.following("call", None) as following:
        for number in range(ONE.size // 700_000 + 1):
            logs.write(CaptionFinal(**silence(number).model_dump(exclude={"lost_ms"}), **large))
        bring(results, logs)
        with pytest.raises(Problem):
            await following.batch(1)
    assert ALL.size > ONE.size


async def test_who_is_cancelled_may_go_on(logs: Logs) -> None:
    logs.write(*(silence(n) for n in range(30)))
    results = results_of(logs)
    found = list[Item]()
    async with results.following("call", None) as following:
        for turns in range(60):
            waiting = asyncio.create_task(following.batch(None, 1))
            for _ in range(turns % 5):
                await asyncio.sleep(0)
            waiting.cancel()
            outcome = (await asyncio.gather(waiting, return_exceptions=True))[0]
            found += outcome if isinstance(outcome, list) else []
        found += await taken(following)
    assert numbers(found) == list(range(30))


async def test_waiting_ends_in_time_and_the_cursor_moves_on(logs: Logs) -> None:
    results = results_of(logs)
    async with results.following("call", None) as following:
        before = following.cursor
        place = (TOPICS.recognition, partition_of("call", 3))
        key, value, headers = codec.encode(result_event(silence(0, "foreign"), source="t"))
        logs.write_raw(place, key, value, headers)
        bring(results, logs)
        assert await following.batch(0.01) == []
        assert following.cursor != before
    async with results.following("call", Cursor.parse(following.cursor)) as following:
        assert logs.steps == 0


async def test_an_iterator_gives_the_same_and_is_closed(logs: Logs) -> None:
    logs.write(silence(0), silence(1))
    results = results_of(logs)
    stream = cast(Any, results.follow("call", None))
    assert numbers([await anext(stream), await anext(stream)]) == [0, 1]
    assert results.followers == 1
    await stream.aclose()
    assert results.followers == 0


async def test_up_to_now_ends(logs: Logs) -> None:
    logs.write(silence(0), silence(0, "other"), window(1))
    results = results_of(logs)
    logs.write(silence(2))  # which the tail has not seen
    async with results.history("call") as items:
        found = [item async for item in items]
    assert numbers(found) == [0, 1, 2]
    async with results.history("call", Cursor.parse(found[1].cursor)) as items:
        assert numbers([item async for item in items]) == [2]
    async with results.history("nobody") as items:
        assert [item async for item in items] == []


# --- cursors that lead nowhere, and logs that change


async def refused(results: Results, session: str | None, after: Cursor | None) -> Kind:
    with pytest.raises(Problem) as problem:
        async with results.following(session, after):
            pass
    return problem.value.kind


async def test_a_cursor_before_what_is_left_is_gone(logs: Logs) -> None:
    logs.write(*(silence(n) for n in range(5)))
    results = results_of(logs)
    number = partition_of("call", 3)
    logs.begins[TOPICS.recognition, number] = 3
    assert await refused(results, "call", Cursor({number: (2, 0)})) is Kind.GONE
    async with results.following("call", Cursor({number: (3, 0)})) as following:
        assert len(await taken(following)) == 2
    async with results.following("call", None) as following:
        assert len(await taken(following)) == 2, "what is left, for who begins"


async def test_a_cursor_beyond_the_end_is_gone(logs: Logs) -> None:
    logs.write(silence(0))
    results = results_of(logs)
    number = partition_of("call", 3)
    assert await refused(results, "call", Cursor({number: (2, 0)})) is Kind.GONE
    assert await refused(results, "call", Cursor({7: (0, 0)})) is Kind.GONE
    whole = Cursor(dict.fromkeys(range(4), (0, 0)), whole=True)
    assert await refused(results, None, whole) is Kind.GONE


async def test_a_cursor_ahead_of_this_gateway_is_waited_for(logs: Logs) -> None:
    results = results_of(logs)
    logs.write(silence(0), silence(1))
    ahead = results_of(logs).now()
    async with results.following("call", ahead) as following:
        assert following.live
        logs.write(silence(2))
        bring(results, logs)
        assert numbers(await taken(following)) == [2]


async def test_whose_cursor_it_is(logs: Logs) -> None:
    logs.write(silence(0), silence(1, "other"))
    results = results_of(logs)
    number = partition_of("call", 3)
    assert await refused(results, None, Cursor({number: (0, 0)})) is Kind.INVALID
    whole = Cursor(dict.fromkeys(range(3), (0, 0)), whole=True)
    async with results.following("call", whole) as following:
        assert numbers(await taken(following)) == [0], "of all sessions it serves for each"


async def test_partitions_may_be_added() -> None:
    logs = Logs(partitions=2)
    session = next(s for s in map(str, range(99)) if partition_of(s, 2) != partition_of(s, 5))
    logs.write(silence(0, session), silence(0, "another"))
    results = results_of(logs)
    one, every = [await anext(results.follow(s, None, since=START)) for s in (session, None)]
    async with results.following(session, Cursor.parse(one.cursor)) as following:
        logs.grow(5)
        results.tail.positions |= {
            (t, n): 0 for t in (TOPICS.recognition, TOPICS.sentiment) for n in range(2, 5)
        }
        logs.write(silence(1, session), window(2, session))
        bring(results, logs)
        live = await taken(following)
        assert sorted(numbers(live)) == [1, 2]
    for cursor in (one.cursor, live[0].cursor):
        async with results_of(logs).following(session, Cursor.parse(cursor)) as following:
            assert numbers(await taken(following))[-1] == numbers(live)[-1]
    async with results_of(logs).following(None, Cursor.parse(every.cursor)) as following:
        assert {1, 2} <= set(numbers(await taken(following)))


async def test_logs_that_were_cut_end_all_streams(logs: Logs) -> None:
    results = results_of(logs)
    async with results.following("call", None) as following:
        waiting = asyncio.create_task(following.batch(None))
        await asyncio.sleep(0.01)
        results._lost()
        with pytest.raises(Problem) as problem:
            await waiting
    assert problem.value.kind is Kind.GONE


async def test_before_the_logs_are_found_everybody_is_told_to_wait(logs: Logs) -> None:
    results = Results(Connection("nowhere:1"), TOPICS)
    assert results.not_ready()
    assert await refused(results, "call", None) is Kind.UNAVAILABLE
    with pytest.raises(Problem):
        results.now()


async def test_there_are_only_so_many(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_results, "FOLLOWERS", 1)
    results = results_of(logs)
    async with results.following("call", None):
        assert await refused(results, "call", None) is Kind.UNAVAILABLE
    async with results.following("call", None):
        pass


# --- the board of sessions follows the results


async def test_sessions_are_read_back_and_followed(logs: Logs) -> None:
    logs.write(silence(0, "a"), window(1, "a"), silence(2, "b"))
    results = results_of(logs)
    sessions = Sessions(results, lambda: START + 10)
    assert sessions.not_ready() == "the sessions of the last hours are being read"
    await sessions.start()
    try:
        await eventually(lambda: not sessions.not_ready())
        assert [each.session for each in sessions.board.all()] == ["b", "a"]
        logs.write(silence(3, "c"))
        bring(results, logs)
        await eventually(lambda: len(sessions.board) == 3)
    finally:
        await sessions.stop()
    assert sessions.not_ready()


async def test_the_beginning_of_a_session_is_known_only_for_certain(logs: Logs) -> None:
    sessions = Sessions(results_of(logs))
    sessions._begun = START
    sessions.board.take(Item("", result_event(silence(0, "a"), source="t"), START + STAY_MS - 1))
    sessions.board.take(Item("", result_event(silence(0, "b"), source="t"), START + STAY_MS))
    assert sessions.since("a") is None, "it may have begun before it was looked at"
    assert sessions.since("b") == START + STAY_MS - SLACK_MS
    assert sessions.since("c") is None


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
            "channel": "c",
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
