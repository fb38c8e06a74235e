"""How what is read leaves the gateway: as Server-Sent Events, messages of a WebSocket, or an array.

A stream that has begun can only end: its client connects again, goes on after its last cursor, and
is told then what is wrong, if anything still is. Who takes nothing of what is sent to it is cut off
by the server (`streams.gateway.connections`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from streams.gateway.gate import Lease
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.problems import Kind, Problem
from streams.gateway.results import Following, Item
from streams.results import result_of

EVENTS: Final = "text/event-stream"
PING_S: Final = 15.0
RETRY_MS: Final = 2000
"""After which a page connects again by itself."""

Opened = Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens what is to be sent. Raises Problem as long as nothing has been sent."""


def text_of(item: Item) -> str:
    """A result as JSON, on one line."""
    event = item.event
    told = {
        "cursor": item.cursor,
        "type": event.type,
        "id": event.id,
        "time": event.time,
        "session": event.session,
        "channel": event.channel,
    }
    try:  # with fields of newer versions
        return _json({**told, "data": json.loads(event.data)})
    except (ValueError, RecursionError):  # one of which is nothing that JSON has: NaN
        return _json({**told, "data": result_of(event).model_dump(mode="json")})


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def event(type_: str, data: str, id_: str = "") -> bytes:
    """One Server-Sent Event; the data has no line breaks."""
    named = f"id: {id_}\n" if id_ else ""
    return f"event: {type_}\n{named}data: {data}\n\n".encode()


def ping(cursor: str = "") -> bytes:
    """A comment, which keeps the way open; the cursor is where the client then is."""
    return f": ping\nid: {cursor}\n\n".encode() if cursor else b": ping\n\n"


def told(problem: Problem) -> bytes:
    """Why a stream ends, for people; and to machines when to connect again."""
    retry_ms = round((problem.retry_after_s or 0) * 1000) or RETRY_MS
    return f": {problem.title}: {problem.detail}\nretry: {retry_ms}\n\n".encode()


async def events(
    following: Following, lease: Lease, metrics: GatewayMetrics
) -> AsyncGenerator[bytes]:
    """Results as Server-Sent Events, until the client goes or is told to."""
    yield f"retry: {RETRY_MS}\n\n".encode()
    try:
        while True:
            items = await lease.wait(following.batch(PING_S))
            metrics.results_out.inc(len(items))
            sent = b"".join(event(item.event.type, text_of(item), item.cursor) for item in items)
            yield sent or ping(following.cursor)
    except Problem as problem:
        metrics.refused.labels(problem.kind.name.lower()).inc()
        if problem.kind is Kind.TOO_SLOW:
            metrics.cut_off.inc()
        yield told(problem)


async def array(texts: AsyncIterator[str]) -> AsyncGenerator[bytes]:
    """JSON values as an array, one a line."""
    before = "[\n"
    async for text in texts:
        yield f"{before}{text}".encode()
        before = ",\n"
    yield b"[]\n" if before == "[\n" else b"\n]\n"


class Streaming(StreamingResponse):
    """A response that is opened when it is to be sent, and closed however that ends."""

    def __init__(self, opened: Opened, media_type: str) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__((), media_type=media_type, headers=headers)
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._opened() as chunks:
            await first_of(self._send(chunks, send), _left(receive))

    async def _send(self, chunks: AsyncIterator[bytes], send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def messages(
    websocket: WebSocket, following: Following, lease: Lease, metrics: GatewayMetrics
) -> None:
    """Results as messages of a WebSocket, until the client goes. Raises Problem."""

    async def send() -> None:
        while True:
            items = await lease.wait(following.batch(None))
            metrics.results_out.inc(len(items))
            for item in items:
                await websocket.send_text(text_of(item))

    try:
        await first_of(send(), _silent(websocket))
    except Problem as problem:
        if problem.kind is Kind.TOO_SLOW:
            metrics.cut_off.inc()
        raise


async def _silent(websocket: WebSocket) -> None:
    """Returns when the client has gone. Raises Problem if it says anything."""
    if (await websocket.receive())["type"] != "websocket.disconnect":
        raise Problem(Kind.INVALID, "results are read here: nothing is to be sent but pings")


async def first_of(*doing: Coroutine[Any, Any, None]) -> None:
    """Does these side by side until one of them is done, or has failed."""
    tasks = [asyncio.ensure_future(each) for each in doing]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
