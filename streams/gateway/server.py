"""A gateway process: its parts, its server, its health, from the first log line to the last client.

On SIGTERM it drains: it is not ready any more, those who are connected are told to go once all that
they sent is confirmed, and then it ends. A second signal ends it without waiting for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn
from aiokafka.errors import KafkaError

from streams import access, rights
from streams import metrics as metrics_server
from streams.connection import Connection
from streams.errors import UserError
from streams.events import Topics
from streams.gateway.app import make_app
from streams.gateway.connections import HEADERS_BYTES, HttpConnection, WebSocketConnection
from streams.gateway.gate import Gate
from streams.gateway.ingest import Ingest
from streams.gateway.keys import KeyRing, Scope
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.parts import Parts
from streams.gateway.results import Results
from streams.gateway.sessions import Sessions
from streams.gateway.settings import GatewaySettings
from streams.health import Health, Patience
from streams.settings import Settings
from streams.topics import ensure_topics

log = logging.getLogger("tenor.gateway")

BACKLOG: Final = 2048
CLOSE_S: Final = 5
"""What the server may take to end requests that are under way after the drain."""
PING_S: Final = 20.0
"""Between two pings of a WebSocket, and what the answer may take."""


class GatewayError(UserError):
    """The gateway cannot start, or cannot go on; the message says why."""


class GatewayServer:
    """Runs a gateway until it is told to stop, or cannot go on."""

    def __init__(self, settings: Settings, gateway: GatewaySettings, brokers: Connection) -> None:
        self._settings = settings
        self._gateway = gateway
        self._brokers = brokers
        self._topics = Topics.of(settings.topic_prefix)
        self._metrics = GatewayMetrics()
        self._health = Health(Patience(0, 0, 0))
        self._away = ""
        self._reading: tuple[Results | Sessions, ...] = ()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT.

        Raises:
            UserError: what cannot be served so, or why it could not go on.
            KafkaError: no broker answers at the start.
        """
        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, self._told_to_stop)
        gate = Gate(self._gateway, keys_of(self._gateway))
        tls = tls_of(self._gateway)
        async with contextlib.AsyncExitStack() as stack:
            await self._serve_metrics(stack)
            await access.check(self._brokers, rights.of_gateway(self._topics))
            await ensure_topics(self._brokers, self._settings, rights.GATEWAY)
            listener = stack.enter_context(listening(self._gateway))
            parts = await stack.enter_async_context(
                opened(self._settings, self._gateway, self._brokers, gate, self._metrics)
            )
            await self._serve(parts, listener, tls)

    async def _serve(
        self, parts: Parts, listener: socket.socket, tls: ssl.SSLContext | None
    ) -> None:
        self._reading = (parts.results, parts.sessions)
        for scope in (Scope.INGEST, Scope.READ):
            self._metrics.live.labels(scope).set_function(partial(parts.gate.live, scope))
        server = Server(config_of(parts, tls))
        serving = asyncio.create_task(server.serve([listener]))
        tasks = [
            asyncio.create_task(self._metrics.watch_event_loop(woke=self._health.woke)),
            asyncio.create_task(self._watch_kafka()),
            asyncio.create_task(parts.gate.watch()),
        ]
        stop = asyncio.create_task(self._stop.wait())
        self._health.stage = ""
        log.info("ready: %s", _address(listener, tls))
        await asyncio.wait([stop, serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
        self._health.stage = "stopping"
        if not serving.done():
            await self._drain(parts.gate)
        server.should_exit, server.force_exit = True, self._hurry.is_set()
        await serving
        failed = [each.exception() for each in tasks if each.done()]
        for each in [stop, *tasks]:
            each.cancel()
        if failed:
            raise failed[0] or GatewayError("a part of the gateway stopped by itself")
        if not self._stop.is_set():
            raise GatewayError("the server stopped by itself")

    async def _drain(self, gate: Gate) -> None:
        """Ends when everybody has gone, or may wait no longer."""

        async def drain() -> None:
            await asyncio.sleep(self._gateway.notice_s)
            if not await gate.drain(self._gateway.drain_s):
                log.warning("%d clients had to be cut off", len(gate.leases))

        draining, hurry = asyncio.create_task(drain()), asyncio.create_task(self._hurry.wait())
        await asyncio.wait([draining, hurry], return_when=asyncio.FIRST_COMPLETED)
        for each in (draining, hurry):
            each.cancel()
        await gate.drain(0)  # of a notice that was cut short; threads, too, look at their leases

    def _told_to_stop(self) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()

    async def _serve_metrics(self, stack: contextlib.AsyncExitStack) -> None:
        host, wanted = self._gateway.metrics_host, self._gateway.metrics_port
        try:
            runner, port = await metrics_server.serve(self._metrics, host, wanted, self._not_ready)
        except OSError as error:
            raise GatewayError(
                f"cannot listen on TENOR_GATEWAY_METRICS_HOST {host},"
                f" TENOR_GATEWAY_METRICS_PORT {wanted}: {error.strerror}"
            ) from error
        stack.push_async_callback(runner.cleanup)
        log.info("metrics on http://%s:%d/metrics", host, port)

    def _not_ready(self) -> str:
        told = [self._health.not_ready(time.monotonic()), self._away]
        told += [each.not_ready() for each in self._reading]
        return "; ".join(each for each in told if each)

    async def _watch_kafka(self) -> None:
        """Asks again and again whether Kafka is there. Raises AccessError if it refuses us."""
        while True:
            await asyncio.sleep(access.EVERY_S)
            try:
                await access.check(self._brokers, rights.of_gateway(self._topics))
                self._away = ""
            except KafkaError:
                self._away = "Kafka does not answer"


class Server(uvicorn.Server):
    """Leaves the signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def opened(
    settings: Settings,
    gateway: GatewaySettings,
    brokers: Connection,
    gate: Gate,
    metrics: GatewayMetrics,
) -> AsyncIterator[Parts]:
    """All parts, started, on topics that are there; stopped afterwards."""
    topics = Topics.of(settings.topic_prefix)
    async with contextlib.AsyncExitStack() as stack:
        ingest = await stack.enter_async_context(Ingest.opened(brokers, topics, metrics))
        results = Results(brokers, topics)
        await results.start()
        stack.push_async_callback(results.stop)
        sessions = Sessions(results)
        await sessions.start()
        stack.push_async_callback(sessions.stop)
        yield Parts(gateway, gate, ingest, results, sessions, metrics, brokers, topics)


def config_of(parts: Parts, tls: ssl.SSLContext | None) -> uvicorn.Config:
    """How uvicorn serves the app."""
    return uvicorn.Config(
        make_app(parts),
        lifespan="off",
        log_config=None,
        access_log=False,  # its lines would name sessions
        proxy_headers=False,
        server_header=False,
        http=HttpConnection,
        ws=WebSocketConnection,
        ws_max_size=parts.settings.message_bytes,
        ws_per_message_deflate=False,  # it takes memory for each socket, and a bomb fits in it
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        h11_max_incomplete_event_size=HEADERS_BYTES,
        limit_concurrency=parts.settings.connections,
        timeout_graceful_shutdown=CLOSE_S,
        ssl_context_factory=(lambda *_: tls) if tls else None,
    )


def keys_of(settings: GatewaySettings) -> KeyRing | None:
    """The keys; none: the gateway is open, and listens on loopback.

    Raises:
        UserError: the file is not one of keys, or without one it listens elsewhere.
    """
    if settings.keys_file:
        return KeyRing(Path(settings.keys_file))
    if not is_loopback(settings.host):
        raise GatewayError(
            f"without keys a gateway listens on loopback only, not on {settings.host}: make some"
            " with `tenor keys add`, and set TENOR_GATEWAY_KEYS_FILE"
        )
    return None


def tls_of(settings: GatewaySettings) -> ssl.SSLContext | None:
    """What encrypts, if anything shall. Raises GatewayError."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if not certificate:
        if key:
            raise GatewayError("TENOR_GATEWAY_TLS_KEY: of no use without .._TLS_CERTIFICATE")
        if not is_loopback(settings.host):
            log.warning("no TLS: whoever is on the way can read along, keys too")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        for file in filter(None, (certificate, key)):
            Path(file).read_bytes()
        context.load_cert_chain(certificate, key or None, password=lambda: "")
    except ssl.SSLError:
        raise GatewayError(
            "TENOR_GATEWAY_TLS_CERTIFICATE, TENOR_GATEWAY_TLS_KEY: not a certificate in PEM form"
            " and the key that belongs to it, without a password"
        ) from None
    except OSError as error:
        raise GatewayError(
            "TENOR_GATEWAY_TLS_CERTIFICATE, TENOR_GATEWAY_TLS_KEY:"
            f" {error.filename}: {error.strerror}"
        ) from None
    return context


@contextlib.contextmanager
def listening(settings: GatewaySettings) -> Iterator[socket.socket]:
    """The socket; connections wait in it until the server takes them. Raises GatewayError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        made = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise GatewayError(
            f"cannot listen on TENOR_GATEWAY_HOST {settings.host}, TENOR_GATEWAY_PORT"
            f" {settings.port}: {error.strerror or error}"
        ) from error
    with made:
        yield made


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(listener: socket.socket, tls: ssl.SSLContext | None) -> str:
    host, port, *_ = listener.getsockname()
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"
