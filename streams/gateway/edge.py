"""The outermost layer of the gateway's app: what holds for every request and every WebSocket.

Foreign pages are turned away before anything else is looked at. Whatever a route raises becomes a
problem that the client is told: a response, or the closing of a WebSocket. Responses carry headers
that keep browsers from guessing. Requests are counted; nothing of what they hold is logged.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
import traceback
from typing import Final

from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from streams import codec, tracing
from streams.gateway.gate import Gate
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.problems import MEDIA_TYPE, Kind, Problem

log = logging.getLogger("tenor.gateway")

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every response that does not say otherwise."""
FAULT: Final = "this is a fault of the gateway, and its log says where; try again"
FRAMES: Final = 8
"""The innermost ones, which the log shows of a fault."""
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
STARTS: Final = ("http.response.start", "websocket.http.response.start")


class Edge:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, gate: Gate, metrics: GatewayMetrics) -> None:
        self._app = app
        self._gate = gate
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = _Answer(receive, send)
        try:
            self._gate.check_origin(HTTPConnection(scope))
            with tracing.within(_traceparent(scope)):
                await self._app(scope, answer.receive, answer.send)
        except (ClientDisconnect, WebSocketDisconnect):
            pass
        except Problem as problem:
            await self._tell(scope, answer, problem)
        except Exception as error:
            if not answer.gone:
                _log(scope, error)
            await self._tell(scope, answer, Problem(Kind.INTERNAL, FAULT))
        finally:
            self._count(scope, answer)

    async def _tell(self, scope: Scope, answer: _Answer, problem: Problem) -> None:
        self._metrics.refused.labels(problem.kind.name.lower()).inc()
        with contextlib.suppress(Exception):  # the client may be gone
            if scope["type"] == "websocket" and answer.status == 101:
                await answer.close(problem)
            elif answer.status is None:
                prefix = "websocket." if scope["type"] == "websocket" else ""
                await answer.refuse(problem, prefix)

    def _count(self, scope: Scope, answer: _Answer) -> None:
        method = scope.get("method", "WEBSOCKET")
        method = method if method in METHODS or method == "WEBSOCKET" else "other"
        route = _route(scope)
        self._metrics.requests.labels(route, method, str(answer.status or "none")).inc()
        if answer.seconds is not None:
            self._metrics.request_seconds.labels(route).observe(answer.seconds)


class _Answer:
    """What became of a request: between the server and the app, it sees what passes."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._begun = time.perf_counter()
        self.status: int | None = None
        self.seconds: float | None = None
        self.gone = False
        self._closed = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] in ("http.disconnect", "websocket.disconnect"):
            self.gone = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] in STARTS:
            self._start(message["status"])
            given = message.get("headers", [])
            names = {name.lower() for name, _ in given}
            more = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in names]
            message = {**message, "headers": [*given, *more]}
        elif message["type"] == "websocket.accept":
            self._start(101)
        elif message["type"] == "websocket.close":
            self._closed = True
            if self.status is None:
                self._start(403)
        await self._send(message)

    async def close(self, problem: Problem) -> None:
        if not (self._closed or self.gone):
            code, reason = problem.close_code, problem.reason
            await self.send({"type": "websocket.close", "code": code, "reason": reason})

    async def refuse(self, problem: Problem, prefix: str) -> None:
        body = json.dumps(problem.document()).encode()
        headers = {
            "content-type": MEDIA_TYPE,
            "content-length": str(len(body)),
            **problem.headers,
        }
        encoded = [(name.lower().encode(), text.encode()) for name, text in headers.items()]
        start = {"type": f"{prefix}http.response.start", "status": problem.status}
        await self.send({**start, "headers": encoded})
        await self.send({"type": f"{prefix}http.response.body", "body": body})

    def _start(self, status: int) -> None:
        self.status = status
        self.seconds = time.perf_counter() - self._begun


def _traceparent(scope: Scope) -> str:
    """The trace that the client is in, if it says so."""
    found = [value for name, value in scope["headers"] if name == b"traceparent"]
    return codec.valid_traceparent(found[0].decode("latin-1")) if len(found) == 1 else ""


def _route(scope: Scope) -> str:
    """The pattern of the path, which names no session."""
    path = getattr(scope.get("route"), "path", None)
    return str(path) if path else "other"


def _log(scope: Scope, error: Exception) -> None:
    """Where it happened and what it was, without its message: that may quote what a client sent."""
    where = "".join(traceback.format_tb(error.__traceback__, -FRAMES))
    log.error("%s at %s\n%s", type(error).__name__, _route(scope), where.rstrip())
