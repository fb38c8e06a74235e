"""The gateway's app on logs in memory: everything is real but Kafka, and the test is the worker."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from aiokafka.structs import RecordMetadata, TopicPartition

from streams import codec
from streams.clock import now_ms
from streams.connection import Connection
from streams.events import Event, EventType, Topics
from streams.gateway import afterwards
from streams.gateway.gate import Gate
from streams.gateway.ingest import Ingest
from streams.gateway.keys import KeyRing
from streams.gateway.lines import Future
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.parts import Parts
from streams.gateway.server import Server, config_of, listening
from streams.gateway.sessions import Sessions
from streams.gateway.settings import GatewaySettings
from streams.history import Span
from streams.results import Result
from streams.topics import partition_of
from tests.gateway_logs import TOPICS, Logs, bring, results_of

PICTURES: Final = Path(__file__).parents[2] / "demo" / "call"


class LiveLogs(Logs):
    """Logs whose records have the time of day."""

    def write_raw(
        self,
        place: tuple[str, int],
        key: bytes | None,
        value: bytes | None,
        headers: codec.Headers,
    ) -> None:
        self._clock = max(self._clock, now_ms())
        super().write_raw(place, key, value, headers)


class Producer:
    """What clients send: texts into the logs, the rest to be looked at."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self.sent: defaultdict[str, list[Event]] = defaultdict(list)

    async def send(self, topic: str, value: bytes, key: bytes, *, headers: codec.Headers) -> Future:
        """As aiokafka's producer; confirmed at once."""
        event = codec.decode(key, value, headers, now=now_ms())
        self.sent[topic.removeprefix("t.")].append(event)
        place = TOPICS.text, partition_of(event.session, self._logs.count)
        if topic == TOPICS.text:
            self._logs.write_raw(place, key, value, headers)
        where, count = TopicPartition(topic, 0), len(self.sent[topic])
        future: Future = asyncio.get_running_loop().create_future()
        future.set_result(RecordMetadata(topic, 0, where, count, now_ms(), 0, 0))
        return future


class Stage:
    """A gateway at `url`. `write` is what a worker would do; `leave` and `open` stop it and start
    another one at the same address, on the same logs."""

    def __init__(self, keys: Path | None = None, port: int = 0) -> None:
        self.logs = LiveLogs(most=2000)
        self.producer = Producer(self.logs)
        self._settings = GatewaySettings(host="127.0.0.1", port=port)
        self._keys = keys
        self._stack = contextlib.AsyncExitStack()
        self._parts: Parts | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._settings.port}"

    def write(self, *results: Result | Event) -> None:
        self.logs.write(*results)
        if self._parts:
            bring(self._parts.results, self.logs)

    def sent(self, topic: str) -> list[Event]:
        """What clients sent to a topic (a field of `Topics`)."""
        return self.producer.sent[topic]

    async def open(self) -> None:
        """Serves from now on."""
        listener = self._stack.enter_context(listening(self._settings))
        self._settings = self._settings.model_copy(update={"port": port_of(listener)})
        gate = Gate(self._settings, KeyRing(self._keys) if self._keys else None)
        metrics, results = GatewayMetrics(), results_of(self.logs)
        sessions = Sessions(results)
        await sessions.start()
        self._stack.push_async_callback(sessions.stop)
        ingest, nowhere = Ingest(self.producer, TOPICS, metrics), Connection("nowhere:1")
        parts = Parts(self._settings, gate, ingest, results, sessions, metrics, nowhere, TOPICS)
        server = Server(config_of(parts, None))
        serving = asyncio.create_task(server.serve([listener]))
        self._stack.push_async_callback(self._close, server, serving, gate)
        watching = asyncio.create_task(gate.watch())
        self._stack.callback(watching.cancel)
        self._parts = parts

    async def leave(self) -> None:
        """Serves no more."""
        self._parts = None
        await self._stack.aclose()

    async def _close(self, server: Server, serving: asyncio.Task[None], gate: Gate) -> None:
        await gate.drain(5)
        server.should_exit = True
        await serving


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


@asynccontextmanager
async def staged(keys: Path | None = None, port: int = 0) -> AsyncIterator[Stage]:
    """A stage that is open, with pictures of the demo call: an id begins with the file's name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(afterwards, "read_pictures", _pictures)
        stage = Stage(keys, port)
        await stage.open()
        try:
            yield stage
        finally:
            await stage.leave()


async def _pictures(
    _: Connection, __: Topics, session: str, ___: Span, wanted: Collection[str]
) -> AsyncIterator[Event]:
    for id_ in wanted:
        file = PICTURES / f"{id_.partition('-')[0]}.jpg"
        if file.exists():
            yield Event(
                EventType.IMAGE_FRAME,
                id_,
                "made",
                session,
                0,
                content_type="image/jpeg",
                data=file.read_bytes(),
            )
