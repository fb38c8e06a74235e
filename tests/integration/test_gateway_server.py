"""The gateway as a process: it starts, says how it does, and goes in peace."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from aiokafka import ConsumerRecord
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streams.events import Event, EventType
from streams.gateway import keys
from streams.gateway.keys import Caller, Scope
from streams.processes import READY_S, GatewayProcess
from tests.harness import Installation, events, eventually

SECOND = bytes(32_000)
"""Of silence, as linear16 at 16 kHz."""


@dataclass
class Gateway:
    """A running `tenor gateway`, and what its clients trust if it has TLS."""

    running: GatewayProcess
    tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://localhost:{self.running.serving}"

    @property
    def ws(self) -> str:
        return f"ws{'s' if self.tls else ''}://localhost:{self.running.serving}"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return httpx.get(self.url + path, headers=headers, timeout=60, verify=self.tls or True)

    async def until_ready(self) -> None:
        await asyncio.to_thread(self.running.ready)

    def terminate(self) -> None:
        self.running.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        return await asyncio.to_thread(self.running.process.wait, 120)

    def said(self) -> str:
        """Its log."""
        return self.running.log.read_text()


Start = Callable[..., Gateway]


@pytest.fixture
def start(installation: Callable[[], Installation], tmp_path: Path) -> Iterator[Start]:
    """Starts gateways on topics of their own; `more` are settings."""
    tenor = installation()
    started: list[GatewayProcess] = []

    def make(tls: ssl.SSLContext | None = None, **more: str) -> Gateway:
        settings = {**tenor.settings, "TENOR_LOG_LEVEL": "DEBUG", **more}
        log = tmp_path / f"gateway-{len(started)}.log"
        started.append(GatewayProcess.start(log, settings))
        return Gateway(started[-1], tls)

    make.tenor = tenor  # type: ignore[attr-defined]
    yield make
    for each in started:
        each.kill()


def tenor_of(start: Start) -> Installation:
    tenor: Installation = start.tenor  # type: ignore[attr-defined]
    return tenor


async def told(socket: ClientConnection, type_: str) -> dict[str, Any]:
    """The next message of a type."""
    while True:
        message: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 60))
        if message["type"] == type_:
            return message


async def until_closed(socket: ClientConnection) -> list[dict[str, Any]]:
    """What comes before it is closed."""
    messages = []
    with pytest.raises(ConnectionClosed):
        while True:
            messages.append(json.loads(await asyncio.wait_for(socket.recv(), 60)))
    return messages


async def send_all(socket: ClientConnection, audio: bytes) -> None:
    """As fast as it is taken, until the gateway closes."""
    with suppress(ConnectionClosed):
        for at in range(0, len(audio), len(SECOND) // 2):
            await socket.send(audio[at : at + len(SECOND) // 2])
            await asyncio.sleep(0.05)


async def test_it_drains_and_loses_nothing(start: Start) -> None:
    """Who sends is told what Kafka has, and goes on from there at another gateway; who follows is
    told to go, too."""
    call = b"".join(n.to_bytes(2, "little") for n in range(20 * 16_000 // 8)) * 8
    path = "/v1/sessions/my-call/audio?channel=customer"
    gateway = start(TENOR_GATEWAY_NOTICE_S="0.5")
    await gateway.until_ready()
    async with (
        connect(gateway.ws + path) as sender,
        connect(f"{gateway.ws}/v1/sessions/my-call/results") as follower,
        connect(f"{gateway.ws}/v1/results") as idle,
    ):
        await told(sender, "ready")
        sending = asyncio.create_task(send_all(sender, call))
        last_ack = await told(sender, "ack")
        gateway.terminate()
        await eventually(lambda: not gateway.running.works)
        messages = await until_closed(sender)
        await until_closed(follower)
        await until_closed(idle)
        await sending
    assert {each.close_code for each in (sender, follower, idle)} == {1001}
    assert messages[-1]["problem"]["type"] == "urn:tenor:problem:stopping"
    assert await gateway.ended() == 0

    last_ack = [last_ack, *(each for each in messages if each["type"] == "ack")][-1]
    position = last_ack["position_ms"]
    assert 0 < position < 20_000, "it was stopped in the middle"
    before = audio_of(await tenor_of(start).read(["audio"], count=position // 100, s=60))
    assert len(before) == position // 100, "what is in the log was confirmed, and the reverse"

    other = start()
    await other.until_ready()
    again = f"{path}&start={last_ack['start']}&sequence={last_ack['sequence']}"
    async with connect(other.ws + again) as sender:
        await told(sender, "ready")
        sending = asyncio.create_task(send_all(sender, call[position * 32 :]))
        while (await told(sender, "ack"))["position_ms"] < 20_000:
            pass
        await sending
        await sender.send('{"type": "close"}')
        await told(sender, "closed")
    chunks = audio_of(await tenor_of(start).read(["audio"], count=200, s=60))
    assert [each.sequence for each in chunks] == list(range(200))
    assert b"".join(each.data for each in chunks) == call

    for each in (gateway, other):
        text = each.said()
        assert "my-call" not in text
        assert "Traceback" not in text


def audio_of(records: Iterable[ConsumerRecord]) -> list[Event]:
    """The chunks among records."""
    return [each for each in events(records) if each.type is EventType.AUDIO_CHUNK]


async def test_tls_and_keys(start: Start, tmp_path: Path) -> None:
    authority = trustme.CA()
    made, file = authority.issue_cert("localhost"), tmp_path / "keys.json"
    made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "gateway.pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    phones = keys.add(file, Caller("phones", frozenset({Scope.INGEST}), "acme/"), "")
    reader = keys.add(file, Caller("page", frozenset({Scope.READ})), "")
    gateway = start(
        trusting,
        TENOR_GATEWAY_TLS_CERTIFICATE=str(tmp_path / "gateway.pem"),
        TENOR_GATEWAY_KEYS_FILE=str(file),
    )
    await gateway.until_ready()
    with pytest.raises(httpx.TransportError):
        replace(gateway, tls=None).get("/openapi.json")
    path = "/v1/sessions/acme%2Fcall/results"
    wanted, reading = {"Accept": "application/json"}, {"X-API-Key": reader}
    foreign = {"Origin": "https://evil.example"}
    assert gateway.get(path, wanted).status_code == 401
    assert gateway.get(path, wanted | {"X-API-Key": phones}).status_code == 403
    assert gateway.get(path, wanted | reading).json() == []
    assert gateway.get(path, wanted | reading | foreign).status_code == 403
    audio = "/v1/sessions/{}/audio?channel=customer"
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(gateway.ws + audio.format("umbra%2Fcall"), ssl=trusting):
            pass
    assert refusal.value.response.status_code == 401
    assert json.loads(refusal.value.response.body)["type"].endswith("unauthenticated")
    by_phone = {"Authorization": f"Bearer {phones}"}
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(
            gateway.ws + audio.format("umbra%2Fcall"), ssl=trusting, additional_headers=by_phone
        ):
            pass
    assert refusal.value.response.status_code == 403
    async with connect(
        gateway.ws + audio.format("acme%2Fcall"),
        ssl=trusting,
        subprotocols=["tenor", phones],  # type: ignore[list-item]
    ) as socket:
        assert socket.subprotocol == "tenor"
        await told(socket, "ready")
        await socket.send(SECOND)
        await told(socket, "ack")
        keys.revoke(file, "phones")
        await until_closed(socket)
        assert socket.close_code == 1008
    text = gateway.said()
    assert not [key for key in (phones, reader) if key in text]


async def test_it_says_how_it_does(start: Start) -> None:
    gateway = start()
    await gateway.until_ready()
    assert gateway.running.get("livez") == "ok\n"
    assert gateway.running.get("readyz") == "ok\n"
    gateway.get("/v1/nothing")
    async with connect(f"{gateway.ws}/v1/sessions/my-call/audio?channel=customer") as socket:
        await told(socket, "ready")
        await socket.send(SECOND)
        await told(socket, "ack")
        shown = gateway.running.get("metrics")
    assert 'tenor_gateway_live{scope="ingest"} 1.0' in shown
    assert 'method="GET",route="other",status="404"' in shown
    assert "tenor_event_loop_lag_seconds_count" in shown
    assert "my-call" not in shown
    await eventually(lambda: 'live{scope="ingest"} 0.0' in gateway.running.get("metrics"))
    gateway.terminate()
    assert await gateway.ended() == 0


async def test_two_gateways_are_one(start: Start) -> None:
    """What comes in at one goes out at the other."""
    one, other = start(), start()
    for each in (one, other):
        await each.until_ready()
    async with httpx.AsyncClient(timeout=60) as client:
        sent = await client.post(
            f"{one.url}/v1/sessions/my-call/text?channel=customer",
            content=b"I have been waiting for three weeks.",
            headers={"Content-Type": "text/plain"},
        )
    assert sent.status_code == 201
    written = await tenor_of(start).read(["text"], count=1, s=60)
    assert [each.id for each in events(written)] == [sent.json()["id"]]
    assert "three weeks" in other.get("/v1/sessions/my-call/texts").raise_for_status().text


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"TENOR_BROKERS": ""}, "no Kafka is named"),
        ({"TENOR_GATEWAY_HOST": "0.0.0.0"}, "tenor keys add"),  # noqa: S104
        ({"TENOR_GATEWAY_PORT": "x"}, "TENOR_GATEWAY_PORT: "),
        ({"TENOR_GATEWAY_KEYS_FILE": "/nowhere/keys.json"}, "cannot read the keys"),
        ({"TENOR_GATEWAY_TLS_CERTIFICATE": "/nowhere.pem"}, "TENOR_GATEWAY_TLS_CERTIFICATE"),
        ({"TENOR_GATEWAY_HOST": "192.0.2.1", "TENOR_GATEWAY_KEYS_FILE": "KEYS"}, "cannot listen"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    start: Start, settings: dict[str, str], told: str, tmp_path: Path
) -> None:
    keys.add(tmp_path / "keys.json", Caller("page", frozenset({Scope.READ})), "")
    more = {n: s.replace("KEYS", str(tmp_path / "keys.json")) for n, s in settings.items()}
    gateway = start(**more)
    assert gateway.running.process.wait(timeout=READY_S) == 1
    last = gateway.said().splitlines()[-1]
    assert last.startswith("Error: ")
    assert told in last
