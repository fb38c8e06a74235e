"""What clients read through gateways on a real Kafka, of results that are written as workers do."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.structs import TopicPartition
from websockets.asyncio.client import connect

from streams import codec
from streams.delivery import producer
from streams.events import JSON_TYPE, Event, EventType
from streams.gateway import tail
from streams.gateway.gate import Gate
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.parts import Parts
from streams.gateway.server import Server, config_of, listening, opened
from streams.gateway.settings import GatewaySettings
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    ImageRecognized,
    Result,
    SentimentSession,
    SentimentWindow,
    Silence,
    result_event,
)
from streams.settings import Settings
from streams.topics import partition_of
from tests.gateway_logs import START, TEXT, silence, window
from tests.harness import Installation, eventually

PATIENCE_S = 240
WINDOW_MS = 5000
PICTURE = b"\xff\xd8 not really a picture"


@dataclass
class Gateway:
    """One that serves in this process."""

    parts: Parts
    port: int

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def socket(self, path: str) -> connect:
        return connect(f"ws://localhost:{self.port}{path}")

    async def get(self, path: str, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_S) as http:
            return await http.get(path, headers=headers)

    async def events(self, path: str, after: str = "") -> AsyncGenerator[dict[str, Any]]:
        """The results of an event stream; it ends when the connection does."""
        headers = {"accept": "text/event-stream"} | ({"last-event-id": after} if after else {})
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_S) as http,
            http.stream("GET", path, headers=headers) as response,
        ):
            assert response.status_code == 200, await response.aread()
            fields: dict[str, str] = {}
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                fields[name] = value
                if not line and "data" in fields:
                    data = json.loads(fields["data"])
                    assert fields.get("id") == data.get("cursor")
                    yield data
                fields = fields if line else {}


@asynccontextmanager
async def running(installation: Installation) -> AsyncIterator[Gateway]:
    settings = Settings(topic_prefix=installation.prefix)
    gateway = GatewaySettings(port=0)
    parts_ = opened(settings, gateway, installation.brokers, Gate(gateway), GatewayMetrics())
    async with parts_ as parts:
        with listening(gateway) as listener:
            server = Server(config_of(parts, None))
            serving = asyncio.create_task(server.serve([listener]))
            await eventually(lambda: server.started and not parts.results.not_ready(), PATIENCE_S)
            try:
                yield Gateway(parts, listener.getsockname()[1])
            finally:
                await parts.gate.drain(5)
                server.should_exit = True
                await serving


@pytest.fixture
async def tenor(installation: Callable[[], Installation]) -> Installation:
    made = installation()
    await made.make_topics()
    return made


def caption(start: int, text: str, session: str = "call") -> CaptionFinal:
    span = {"start": START + start, "end": START + start + 1000}
    return CaptionFinal(session=session, channel="customer", revision=0, text=text, **span, **TEXT)


async def write(installation: Installation, *results: Result) -> None:
    for topic, kinds in (
        ("recognition", (Silence, CaptionFinal, CaptionPartial, ImageRecognized)),
        ("sentiment", (SentimentWindow, SentimentSession)),
    ):
        events = [result_event(each, source="t") for each in results if isinstance(each, kinds)]
        await installation.send(topic, *events)


async def some(events: AsyncGenerator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """So many results, then the connection is dropped."""
    found = list[dict[str, Any]]()
    async with aclosing(events), asyncio.timeout(PATIENCE_S):
        async for each in events:
            found.append(each)
            if len(found) == count:
                break
    return found


def numbers(found: Iterable[Mapping[str, Any]]) -> list[int]:
    return [(each["data"]["start"] - START) // 1000 for each in found]


async def test_a_client_misses_nothing_whatever_gateway_it_comes_back_to(
    tenor: Installation,
) -> None:
    path = "/v1/sessions/call/results"
    await write(tenor, *(silence(n) for n in range(3)), silence(0, "another"))
    async with running(tenor) as one, running(tenor) as two:
        found = await some(one.events(path), 2)
        found += await some(one.events(path, found[-1]["cursor"]), 1)
        assert numbers(found) == [0, 1, 2], "an event stream that was dropped goes on"

        await write(tenor, *(silence(n) for n in range(3, 6)))
        found += await some(two.events(path, found[-1]["cursor"]), 3)
        assert numbers(found) == [0, 1, 2, 3, 4, 5], "at another gateway too"

        async with one.socket(f"{path}?after={found[3]['cursor']}") as socket:
            got = [json.loads(await socket.recv()) for _ in range(2)]
            assert got == found[4:], "and over a WebSocket"
            await write(tenor, silence(6))
            live = json.loads(await socket.recv())
            assert numbers([live]) == [6]

        await write(tenor, window(7, length_ms=WINDOW_MS))
        for each in (one, two):
            answer = await each.get(path, accept=JSON_TYPE)
            assert answer.json()[:7] == [*found, live]
            assert answer.json()[7]["type"] == "tenor.sentiment.window.v1"
        after = await two.get(f"{path}?after={live['cursor']}", accept=JSON_TYPE)
        assert [each["type"] for each in after.json()] == ["tenor.sentiment.window.v1"]


async def test_all_sessions(tenor: Installation) -> None:
    async with running(tenor) as one, running(tenor) as two:
        live = asyncio.create_task(some(one.events("/v1/results"), 6))
        await eventually(lambda: one.parts.results.followers == 2, PATIENCE_S)
        await write(tenor, *(silence(n, f"call-{n}") for n in range(6)))
        found = await live
        assert sorted(numbers(found)) == list(range(6))
        rest = await some(two.events("/v1/results", found[1]["cursor"]), 4)
        assert sorted(numbers(rest)) == sorted(numbers(found[2:]))
        since = await some(two.events("/v1/results?since=2025-01-01T00:00:00Z"), 6)
        assert sorted(numbers(since)) == list(range(6))
        async with two.socket(f"/v1/results?after={found[-1]['cursor']}") as socket:
            await write(tenor, silence(9))
            assert numbers([json.loads(await socket.recv())]) == [9]
        of_one = f"/v1/sessions/call-5/results?after={found[0]['cursor']}"
        assert len((await two.get(of_one, accept=JSON_TYPE)).json()) == (numbers(found)[0] != 5)


async def test_clients_that_come_and_go_while_it_is_written(tenor: Installation) -> None:
    """Forty clients of five sessions, at two gateways, drop their connections again and again."""
    count, sessions = 60, [f"call-{n}" for n in range(5)]
    chance = random.Random(1)

    async def writes() -> None:
        sender = producer(tenor.brokers)
        await sender.start()
        try:
            for number in range(count):
                for session in sessions:
                    key, value, headers = codec.encode(
                        result_event(silence(number, session), source="t")
                    )
                    for _ in range(chance.choice([1, 1, 1, 2])):  # at least once
                        name = tenor.topics.recognition
                        await sender.send_and_wait(name, value, key, headers=headers)
                await asyncio.sleep(chance.random() * 0.02)
        finally:
            await sender.stop()

    async def reads(session: str, gateways: list[Gateway]) -> list[dict[str, Any]]:
        found = list[dict[str, Any]]()
        while len({each["id"] for each in found}) < count:
            after = found[-1]["cursor"] if found else ""
            path = f"/v1/sessions/{session}/results"
            events = chance.choice(gateways).events(path, after)
            known = {each["id"] for each in found}
            wanted = min(chance.randint(1, 20), count - len(known))
            found += await some(fresh(events, known), wanted)
        return found

    async with running(tenor) as one, running(tenor) as two:
        clients = [reads(chance.choice(sessions), [one, two]) for _ in range(40)]
        _, *read = await asyncio.gather(writes(), *clients)
        for found in read:
            assert numbers(found) == list(range(count))
        assert one.parts.results.followers <= 1 + len(clients)
        await eventually(lambda: one.parts.results.followers == 1, PATIENCE_S)


async def fresh(
    events: AsyncGenerator[dict[str, Any]], known: set[str]
) -> AsyncGenerator[dict[str, Any]]:
    """Without what came by another connection: the log may hold it again behind the cursor."""
    async with aclosing(events):
        async for each in events:
            if each["id"] not in known:
                yield each


async def test_dirt_in_the_logs_is_passed_over(tenor: Installation) -> None:
    dirt: list[tuple[bytes | None, bytes | None, codec.Headers]] = [
        (b"call", b"\xff", [("ce_\xff", b"dirt")]),
        (None, b"", []),
        (b"call", b"{}", codec.encode(result_event(silence(0), source="t"))[2]),
    ]
    await tenor.send_raw("recognition", *dirt)
    await write(tenor, silence(1))
    async with running(tenor) as gateway:
        await tenor.send_raw("recognition", *dirt)
        await write(tenor, silence(2))
        assert numbers(await some(gateway.events("/v1/sessions/call/results"), 2)) == [1, 2]


async def test_what_is_deleted_is_gone(tenor: Installation) -> None:
    path = "/v1/sessions/call/results"
    await write(tenor, *(silence(n) for n in range(4)))
    async with running(tenor) as gateway:
        found = await some(gateway.events(path), 4)
        place = TopicPartition(tenor.topics.recognition, partition_of("call", 6))
        admin = AIOKafkaAdminClient(**tenor.brokers.options())
        await admin.start()
        try:
            await admin.delete_records({place: RecordsToDelete(before_offset=2)})
        finally:
            await admin.close()
        lost = await gateway.get(path, **{"last-event-id": found[0]["cursor"]})
        assert (lost.status_code, lost.json()["type"]) == (410, "urn:tenor:problem:gone")
        assert numbers(await some(gateway.events(path, found[1]["cursor"]), 2)) == [2, 3]
        assert numbers(await some(gateway.events(path), 2)) == [2, 3]


async def test_partitions_are_added(tenor: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "GROWTH_MS", 500)
    moved = next(s for s in map(str, range(99)) if partition_of(s, 6) < 6 <= partition_of(s, 9))
    path = f"/v1/sessions/{moved}/results"
    async with running(tenor) as gateway:
        every = asyncio.create_task(some(gateway.events("/v1/results"), 2))
        await eventually(lambda: gateway.parts.results.followers == 2, PATIENCE_S)
        await write(tenor, silence(1, moved))
        one = asyncio.create_task(some(gateway.events(path), 2))
        await eventually(lambda: gateway.parts.results.followers == 3, PATIENCE_S)
        admin = AIOKafkaAdminClient(**tenor.brokers.options())
        await admin.start()
        try:
            names = tenor.topics.recognition, tenor.topics.sentiment
            await admin.create_partitions({name: NewPartitions(9) for name in names})
        finally:
            await admin.close()
        await eventually(lambda: gateway.parts.results.tail.partitions == 9, PATIENCE_S)
        await write(tenor, silence(2, moved))
        for found in (await every, await one):
            assert numbers(found) == [1, 2]
            where = "/v1/results" if found == every.result() else path
            again = await some(gateway.events(where, found[0]["cursor"]), 1)
            assert numbers(again) == [2]


async def test_what_a_session_was_made_of(tenor: Installation) -> None:
    """Texts and pictures may be on any partition: whoever sends them deals them out."""
    picture = Event(
        EventType.IMAGE_FRAME,
        "call/images//3",
        "t",
        "call",
        START + 500,
        content_type="image/jpeg",
        data=PICTURE,
    )
    typed = Event(
        EventType.TEXT_MESSAGE, "1", "t", "call", START, "agent", content_type="text/plain"
    )
    sender = producer(tenor.brokers)
    await sender.start()
    try:
        for number in range(3):
            for topic, event in (
                ("images", replace(picture, id=f"call/images//{number}")),
                ("text", replace(typed, id=f"{number}", time=START - number, data=b"%d" % number)),
            ):
                key, value, headers = codec.encode(event)
                name = asdict(tenor.topics)[topic]
                await sender.send_and_wait(name, value, key, headers=headers, partition=number)
    finally:
        await sender.stop()
    await write(tenor, silence(0))
    async with running(tenor) as gateway:
        for number in range(3):
            path = f"/v1/sessions/call/images/call%2Fimages%2F%2F{number}"
            for query in (f"?time={picture.time}", ""):
                answer = await gateway.get(path + query)
                assert (answer.status_code, answer.content) == (200, PICTURE)
                assert answer.headers["content-type"] == "image/jpeg"
                assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await gateway.get("/v1/sessions/call/images/none")).status_code == 404
        assert (await gateway.get("/v1/sessions/other/images/call%2Fimages%2F%2F1")).is_error
        texts = (await gateway.get("/v1/sessions/call/texts")).json()["texts"]
        assert [(each["id"], each["text"]) for each in texts] == [(n, n) for n in ("2", "1", "0")]


async def test_a_call_afterwards(tenor: Installation) -> None:
    over = SentimentSession(session="call", start=START, end=START + 5000, channels={})
    await write(tenor, caption(0, "Hello <you>."), window(0, length_ms=WINDOW_MS), over)
    async with running(tenor) as gateway:
        for format_, kind in (
            ("vtt", "text/vtt; charset=utf-8"),
            ("srt", "application/x-subrip"),
            ("json", JSON_TYPE),
            ("txt", "text/plain; charset=utf-8"),
        ):
            answer = await gateway.get(f"/v1/sessions/call/export?format={format_}")
            assert answer.status_code == 200
            assert answer.headers["content-type"] == kind
            assert f'filename="session.{format_}"' in answer.headers["content-disposition"]
            assert "Hello" in answer.text
        report = await gateway.get("/v1/sessions/call/report")
        assert report.headers["content-type"] == "text/html; charset=utf-8"
        assert "script" not in report.headers["content-security-policy"]
        assert "Hello &lt;you&gt;" in report.text
        for what in ("export", "report"):
            unknown = await gateway.get(f"/v1/sessions/nobody/{what}")
            assert (unknown.status_code, unknown.json()["title"]) == (404, "Not found")


async def test_sessions_at_a_glance(tenor: Installation) -> None:
    await write(
        tenor,
        silence(0),
        *(window(n, score=0.4, length_ms=WINDOW_MS) for n in range(2)),
        silence(0, "other"),
    )
    async with running(tenor) as gateway:
        await eventually(lambda: not gateway.parts.sessions.not_ready(), PATIENCE_S)
        found = (await gateway.get("/v1/sessions")).json()["sessions"]
        assert {each["session"]: each["alert"] for each in found} == {"call": None, "other": None}
        async with aclosing(gateway.events("/v1/sessions/events")) as events:
            first = [await anext(events), await anext(events)]
            assert [each["session"] for each in first] == ["call", "other"]
            await write(tenor, *(window(n, score=-0.4, length_ms=WINDOW_MS) for n in range(2, 5)))
            async with asyncio.timeout(PATIENCE_S):
                async for summary in events:
                    if summary["alert"]:
                        break
            assert (summary["session"], summary["alert"]["reason"]) == ("call", "fell")
            assert summary["channels"]["customer"]["history"] == [0.4, 0.4, -0.4, -0.4, -0.4]


async def test_a_long_call_is_given_without_what_was_replaced(tenor: Installation) -> None:
    span = {"session": "call", "channel": "customer"}
    said = list[Result]()
    for number in range(40):
        start = START + number * 1000
        said += [
            CaptionPartial(**span, start=start, end=start + n, revision=n, text="a", **TEXT)
            for n in range(1, 20)
        ]
        said.append(caption(number * 1000, "a"))
    await write(tenor, *said)
    async with running(tenor) as gateway:
        answer = await gateway.get("/v1/sessions/call/results", accept=JSON_TYPE)
        finals = [each for each in answer.json() if each["type"] == "tenor.caption.final.v1"]
        assert numbers(finals) == list(range(40))
        assert len(answer.json()) < 45
