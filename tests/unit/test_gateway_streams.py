"""A stream of Deepgram's protocol, from its first byte to its last message.

The test is Kafka, the recogniser and the network.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from starlette.types import Message
from starlette.websockets import WebSocket

from streams.connection import Connection
from streams.events import EventType, Topics
from streams.gateway import decoding, deepgram
from streams.gateway.deepgram_query import options_of
from streams.gateway.gate import Gate
from streams.gateway.ingest import Ingest
from streams.gateway.keys import ANYBODY
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.parts import Parts
from streams.gateway.results import Item
from streams.gateway.settings import GatewaySettings
from streams.gateway.voices import Wire
from streams.results import Silence, result_event
from tests.gateway_sender import NOW, Log
from tests.harness import eventually

RAW = [("encoding", "linear16"), ("sample_rate", "16000")]


@dataclass
class Client:
    """Says all that it has to say, and takes `slow_s` for each message."""

    says: list[Message]
    slow_s: float = 0.0
    told: list[Message] = field(default_factory=list)

    async def receive(self) -> Message:
        if not self.says:
            await asyncio.Event().wait()
        return self.says.pop(0)

    async def send(self, message: Message) -> None:
        await asyncio.sleep(self.slow_s)
        self.told.append(message)

    @property
    def types(self) -> list[str]:
        """Of what it was told in text."""
        return [json.loads(each["text"])["type"] for each in self.told if "text" in each]


@asynccontextmanager
async def streamed(
    client: Client, query: list[tuple[str, str]], log: Log
) -> AsyncIterator[deepgram.Stream]:
    """A stream, of which a recogniser says that nothing is heard in it."""
    settings, absent = GatewaySettings(), cast(Any, None)
    ingest = Ingest(log, Topics.of(), now=lambda: NOW)
    gate, nowhere = Gate(settings, None), Connection("nowhere:1")
    parts = Parts(settings, gate, ingest, absent, absent, GatewayMetrics(), nowhere, Topics.of())

    async def following() -> AsyncIterator[Item]:
        await eventually(lambda: any(e.type is EventType.SESSION_ENDED for e in log.of("audio")))
        heard = Silence(session="s", channel="1", start=NOW, end=NOW + 1000)
        yield Item("", result_event(heard, source="test"))
        await asyncio.Event().wait()

    scope = {"type": "websocket", "headers": [], "subprotocols": []}
    websocket = WebSocket(scope, client.receive, client.send)
    await websocket.receive()
    async with gate.lease(ANYBODY, "s") as lease:
        wire = Wire(websocket, parts, lease, cast(Any, following()))
        yield deepgram.Stream(wire, options_of(query, "en"), "request")


async def test_a_client_that_reads_slowly_is_told_of_the_last_captions() -> None:
    said: list[Message] = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "bytes": bytes(32_000)},
        {"type": "websocket.receive", "text": '{"type": "CloseStream"}'},
    ]
    client = Client(said, slow_s=0.1)
    async with streamed(client, RAW, Log()) as stream:
        await stream.run()
    assert client.types == ["Results", "Metadata"]
    assert client.told[-1]["code"] == 1000


async def test_a_recording_may_be_as_long_as_the_setting_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = list[decoding.Limits]()

    def decoder(kind: str, rate: int, channels: int, limits: decoding.Limits) -> decoding.Decoder:
        made.append(limits)
        return decoding.decoder(kind, rate, channels, limits)

    monkeypatch.setattr(deepgram, "decoder", decoder)
    said: list[Message] = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "bytes": b"OggS" + bytes(100)},
        {"type": "websocket.receive", "text": '{"type": "CloseStream"}'},
    ]
    async with streamed(Client(said), [], Log()) as stream:
        await stream.run()
    assert made[0].seconds > GatewaySettings().longest_session_s
