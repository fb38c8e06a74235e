"""Connections of the gateway's server, which no client can hold for nothing.

uvicorn waits without end for the headers of a request and for a client that does not read what it
is sent, and takes connections without end. Here a client that does not finish its headers, or takes
nothing for a while, is cut off, and so is who comes when there are too many.
"""

from __future__ import annotations

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets import http11

HEADERS_BYTES: Final = 128 * 1024
"""Of a request, all headers together."""
ASK_S: Final = 20.0
"""What the headers of a request may take, from the connection or their first byte on, and what is
left of its body once it has been answered."""
STUCK_S: Final = 30.0
"""For so long a client may take nothing of what is sent."""

# The headers of an upgrade are read a second time, by websockets: no more strictly than at first.
http11.MAX_LINE_LENGTH = http11.MAX_NUM_HEADERS = HEADERS_BYTES


class Deadline:
    """Cuts a connection off, unless it is lifted in time."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """From now on; one that is set already stays as it is."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self._transport.abort)

    def lift(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


class HttpConnection(H11Protocol):
    """One that has not become a WebSocket."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._asking, self._stuck = Deadline(transport), Deadline(transport)
        limit = self.limit_concurrency
        if limit and len(self.connections) > limit:
            transport.abort()
        else:
            self._asking.set(ASK_S)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE or self._answered_early:
            self._asking.set(ASK_S)
        else:
            self._asking.lift()

    @property
    def _answered_early(self) -> bool:
        """Whether nobody waits any more for the body that still comes."""
        answered = self.cycle is not None and self.cycle.response_complete
        return answered and self.conn.their_state is h11.SEND_BODY

    def connection_lost(self, exc: Exception | None) -> None:
        self._asking.lift()
        self._stuck.lift()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck.set(STUCK_S)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stuck.lift()


class WebSocketConnection(WebSocketsSansIOProtocol):
    """One that has."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._stuck = Deadline(self.transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated:  # it is no handshake to websockets, and nobody is told
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stuck.lift()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck.set(STUCK_S)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stuck.lift()
