"""Where a client puts its key: into a header, or, as a page's WebSocket can set none, among the
subprotocols that it offers."""

from __future__ import annotations

from typing import Final

from starlette.requests import HTTPConnection

PROTOCOL: Final = "tenor"
"""The subprotocol of WebSockets whose client gives its key as the next one: a page can set no
header there."""
PAIRED: Final = (PROTOCOL, "token", "bearer")
"""Subprotocols before a key; the last two as Deepgram's clients have them."""
OPENAI_KEY: Final = "openai-insecure-api-key."
"""What OpenAI's pages put before the key in one subprotocol."""
REALTIME: Final = "realtime"


def key_of(connection: HTTPConnection) -> str:
    """The key that a client gives; empty: none."""
    kind, _, key = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() in ("bearer", "token") and key.strip():
        return key.strip()
    if key := connection.headers.get("x-api-key", "").strip():
        return key
    offered: list[str] = connection.scope.get("subprotocols", [])
    if len(offered) > 1 and offered[0].lower() in PAIRED:
        return offered[1]
    keys = [each.removeprefix(OPENAI_KEY) for each in offered if each.startswith(OPENAI_KEY)]
    return keys[0] if keys else ""


def protocol_of(connection: HTTPConnection) -> str | None:
    """The subprotocol that a WebSocket is to be accepted with; never the one that is a key."""
    offered: list[str] = connection.scope.get("subprotocols", [])
    if REALTIME in offered:
        return REALTIME
    return offered[0] if offered and offered[0].lower() in PAIRED else None
