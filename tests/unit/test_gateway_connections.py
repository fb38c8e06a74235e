"""No client holds a connection for nothing: served by a real server, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from streams.gateway import connections, server
from tests.harness import eventually

MIB = bytes(2**20)
gone: list[str] = []
"""The endless routes that have come to an end."""


async def takes(request: Request) -> Response:
    return Response(str(len(await request.body())))


async def endless(request: Request) -> Response:
    async def some() -> AsyncIterator[bytes]:
        try:
            while True:
                yield MIB
                await asyncio.sleep(0)  # as whatever waits for something
        finally:
            gone.append("http")

    return StreamingResponse(some())


async def floods(websocket: WebSocket) -> None:
    await websocket.accept()
    with suppress(Exception):
        while True:
            await websocket.send_bytes(MIB)
    gone.append("websocket")


async def echoes(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


APP = Starlette(
    routes=[
        Route("/takes", takes, methods=["POST"]),
        Route("/endless", endless),
        WebSocketRoute("/floods", floods),
        WebSocketRoute("/echoes", echoes),
    ]
)


@asynccontextmanager
async def serving(limit: int = 100) -> AsyncIterator[int]:
    """The port of a server of the app."""
    config = uvicorn.Config(
        APP,
        port=0,
        http=connections.HttpConnection,
        ws=connections.WebSocketConnection,
        limit_concurrency=limit,
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    made = server.Server(config)
    task = asyncio.create_task(made.serve())
    while not made.started:  # noqa: ASYNC110  (it has no event)
        await asyncio.sleep(0.01)
    try:
        yield made.servers[0].sockets[0].getsockname()[1]
    finally:
        made.should_exit = True
        await task


async def opened(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def until_cut_off(reader: asyncio.StreamReader) -> bytes:
    """What comes before."""
    with suppress(ConnectionResetError):
        return await asyncio.wait_for(reader.read(), 60)
    return b""


@pytest.mark.parametrize("begin", [b"", b"P", b"POST /takes HTTP/1.1\r\nHost: x\r\n"])
async def test_headers_that_never_end(monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    monkeypatch.setattr(connections, "ASK_S", 0.05)
    async with serving() as port:
        reader, writer = await opened(port)
        writer.write(begin)
        assert await until_cut_off(reader) == b""
        writer.close()


async def test_a_second_request_must_have_an_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ASK_S", 0.5)
    async with serving() as port:
        reader, writer = await opened(port)
        writer.write(b"POST /takes HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
        await reader.readuntil(b"\r\n\r\n2")
        writer.write(b"POST /takes")
        assert await until_cut_off(reader) == b""
        writer.close()


async def test_a_body_has_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ASK_S", 0.2)
    async with serving() as port:
        reader, writer = await opened(port)
        writer.write(b"POST /takes HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na")
        await asyncio.sleep(0.5)
        writer.write(b"bc")
        assert await reader.readuntil(b"\r\n\r\n3")
        writer.close()


async def test_who_has_been_answered_may_not_send_its_body_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "ASK_S", 0.5)
    async with serving() as port:
        reader, writer = await opened(port)
        writer.write(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        await reader.readuntil(b"\r\n\r\nNot Found")
        writer.write(b"a")
        assert await until_cut_off(reader) == b""
        writer.close()


async def test_headers_may_be_long_and_many() -> None:
    address, headers = f"echoes?{'x' * 30_000}", {f"X-{n}": "x" for n in range(300)}
    async with (
        serving() as port,
        connect(f"ws://127.0.0.1:{port}/{address}", additional_headers=headers) as socket,
    ):
        await socket.send("heard")
        assert await socket.recv() == "heard"


async def test_what_is_no_handshake_is_cut_off() -> None:
    async with serving() as port:
        reader, writer = await opened(port)
        upgrade = b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        writer.write(b"GET /echoes HTTP/1.1\r\nContent-Length: 1\r\n" + upgrade)
        assert await until_cut_off(reader) == b""
        writer.close()


async def test_a_handshake_that_is_too_long_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("websockets.http11.MAX_LINE_LENGTH", 1000)
    async with serving() as port:
        reader, writer = await opened(port)
        upgrade = b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        writer.write(b"GET /echoes?" + b"x" * 1000 + b" HTTP/1.1\r\n" + upgrade)
        assert (await until_cut_off(reader)).startswith(b"HTTP/1.1 414 ")
        writer.close()


async def test_a_websocket_may_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ASK_S", 1.0)
    async with serving() as port, connect(f"ws://127.0.0.1:{port}/echoes") as socket:
        await asyncio.sleep(1.5)
        await socket.send("still here")
        assert await socket.recv() == "still here"


@pytest.mark.parametrize("upgrade", [False, True])
async def test_a_client_that_takes_nothing(monkeypatch: pytest.MonkeyPatch, upgrade: bool) -> None:
    monkeypatch.setattr(connections, "STUCK_S", 0.1)
    gone.clear()
    lines = [f"GET /{'floods' if upgrade else 'endless'} HTTP/1.1", "Host: x"]
    if upgrade:
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
    async with serving() as port:
        _, writer = await opened(port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await eventually(lambda: gone)
        assert gone == ["websocket" if upgrade else "http"]
        writer.transport.abort()


async def test_there_are_only_so_many() -> None:
    async with serving(limit=2) as port:
        first, second = await opened(port), await opened(port)
        third, _ = await opened(port)
        assert await until_cut_off(third) == b""
        first[1].close()
        second[1].write(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await second[0].readuntil(b"\r\n")
        second[1].close()
