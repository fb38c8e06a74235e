"""The routes by which clients read results and the summaries of sessions, as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request, Response, WebSocket

from streams.codec import media_type, parse_time
from streams.events import JSON_TYPE, CodecError
from streams.gateway import afterwards
from streams.gateway.credentials import protocol_of
from streams.gateway.cursor import LONGEST, Cursor
from streams.gateway.gate import Lease
from streams.gateway.keys import Caller, Scope
from streams.gateway.parts import Parts, SessionId, parts_of
from streams.gateway.problems import Kind, Problem, responses
from streams.gateway.results import Following, Item
from streams.gateway.sessions import Watch
from streams.gateway.streaming import (
    EVENTS,
    PING_S,
    RETRY_MS,
    Streaming,
    array,
    event,
    events,
    messages,
    ping,
    text_of,
    told,
)

router = APIRouter(tags=["reading"])

EVERY_S: Final = 1.0
"""Between two summaries of one session, at least."""
EVENT_STREAM: Final[dict[str, Any]] = {EVENTS: {"schema": {"type": "string"}}}
ITEMS: Final[dict[str, Any]] = {
    JSON_TYPE: {"schema": {"type": "array", "items": {"type": "object"}}}
}


# --- where somebody wants to begin

After = Annotated[
    str | None,
    Query(max_length=LONGEST, description="The cursor of the last result that came."),
]
Since = Annotated[
    str | None,
    Query(
        max_length=40,
        description="Without a cursor: what was written from this time on; ms since 1970 (UTC), or"
        " RFC 3339.",
        examples=["1760000000000", "2026-01-31T12:00:00Z"],
    ),
]
LastId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=LONGEST, description="The same; goes before `after`."),
]


@dataclass(frozen=True, slots=True)
class Begin:
    """Where in the logs somebody begins to read."""

    after: Cursor | None
    since: int | None


def _begin(after: After = None, since: Since = None, last_id: LastId = None) -> Begin:
    """Raises Problem 422."""
    given = last_id or after
    return Begin(Cursor.parse(given) if given else None, _time(since) if since else None)


def _time(text: str) -> int:
    if text.isascii() and text.isdecimal():
        return min(int(text), 2**62)
    try:
        return max(0, parse_time(text))
    except CodecError:
        raise Problem(
            Kind.INVALID, "since: ms since 1970 or RFC 3339, such as 2026-01-31T12:00:00Z"
        ) from None


From = Annotated[Begin, Depends(_begin)]

# --- live


@router.get(
    "/v1/sessions/{session:id}/results",
    summary="Results of a session",
    response_class=Response,
    responses={
        200: {"content": EVENT_STREAM | ITEMS, "description": "Results"},
        **responses(Kind.GONE, Kind.NOT_ACCEPTABLE, Kind.TOO_MANY, Kind.UNAVAILABLE),
    },
)
async def results(request: Request, session: SessionId, begin: From) -> Response:
    """What there is, and what comes, as Server-Sent Events; or with `Accept: application/json` what
    there is now, as an array. From the session's beginning, or after a cursor."""
    parts = parts_of(request)
    caller = parts.gate.admit(request, Scope.READ, session)
    if _wants_json(request):
        return _past(parts, caller, session, begin)
    return _stream(parts, caller, session, begin)


@router.websocket("/v1/sessions/{session:id}/results")
async def results_socket(websocket: WebSocket, session: SessionId, begin: From) -> None:
    """The same as messages of JSON (docs/gateway.md)."""
    parts = parts_of(websocket)
    caller = parts.gate.admit(websocket, Scope.READ, session)
    await _socket(websocket, parts, caller, session, begin)


@router.get(
    "/v1/results",
    summary="Results of all sessions",
    response_class=Response,
    responses={
        200: {"content": EVENT_STREAM, "description": "Results"},
        **responses(Kind.GONE, Kind.NOT_ACCEPTABLE, Kind.TOO_MANY, Kind.UNAVAILABLE),
    },
)
async def all_results(request: Request, begin: From) -> Response:
    """What comes from now on, after a cursor, or since a time, as Server-Sent Events: of all
    sessions that the key may read."""
    parts = parts_of(request)
    caller = parts.gate.admit(request, Scope.READ)
    _accepts_events(request)
    return _stream(parts, caller, None, begin)


@router.websocket("/v1/results")
async def all_results_socket(websocket: WebSocket, begin: From) -> None:
    """The same as messages of JSON (docs/gateway.md)."""
    parts = parts_of(websocket)
    caller = parts.gate.admit(websocket, Scope.READ)
    await _socket(websocket, parts, caller, None, begin)


def _stream(parts: Parts, caller: Caller, session: str | None, begin: Begin) -> Response:
    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        async with (
            parts.gate.lease(caller, session or "", Scope.READ) as lease,
            _following(parts, caller, session, begin) as following,
            aclosing(events(following, lease, parts.metrics)) as chunks,
        ):
            yield chunks

    return Streaming(opened, EVENTS)


async def _socket(
    websocket: WebSocket, parts: Parts, caller: Caller, session: str | None, begin: Begin
) -> None:
    async with parts.gate.lease(caller, session or "", Scope.READ) as lease:
        await websocket.accept(protocol_of(websocket))  # a page is told of problems only after it
        async with _following(parts, caller, session, begin) as following:
            await messages(websocket, following, lease, parts.metrics)


@asynccontextmanager
async def _following(
    parts: Parts, caller: Caller, session: str | None, begin: Begin
) -> AsyncIterator[Following]:
    async with parts.results.following(
        session,
        begin.after,
        namespace=caller.namespace,
        since=_since(parts, session, begin),
    ) as following:
        yield following


def _since(parts: Parts, session: str | None, begin: Begin) -> int | None:
    """Of a session whose beginning is known nothing before it has to be read."""
    if begin.since is not None or session is None:
        return begin.since
    return parts.sessions.since(session)


# --- up to now


def _past(parts: Parts, caller: Caller, session: str, begin: Begin) -> Response:
    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        since = _since(parts, session, begin)
        async with (
            parts.gate.lease(caller, session, Scope.READ),
            parts.results.history(session, begin.after, since=since) as items,
            aclosing(array(_texts(items))) as chunks,
        ):
            yield chunks

    return Streaming(opened, JSON_TYPE)


async def _texts(items: AsyncIterator[Item]) -> AsyncIterator[str]:
    async for item in items:
        yield text_of(item)


# --- sessions


@router.get(
    "/v1/sessions",
    summary="Sessions, and how they do",
    responses={200: {"description": "Summaries, the session that was heard of last first"}},
)
async def sessions(request: Request) -> Response:
    """Those that go on, and those that ended within the last hour."""
    parts = parts_of(request)
    caller = parts.gate.admit(request, Scope.READ)
    found = ",\n".join(each.text for each in parts.sessions.board.all(caller.owns))
    return Response(f'{{"sessions": [\n{found}\n]}}\n', media_type=JSON_TYPE)


@router.get(
    "/v1/sessions/events",
    summary="Sessions, and how they do, live",
    response_class=Response,
    responses={
        200: {"content": EVENT_STREAM, "description": "Summaries"},
        **responses(Kind.NOT_ACCEPTABLE, Kind.TOO_MANY),
    },
)
async def session_events(request: Request) -> Response:
    """The summary of every session at first, and then of each that changed, at most once a second,
    as Server-Sent Events."""
    parts = parts_of(request)
    caller = parts.gate.admit(request, Scope.READ)
    _accepts_events(request)

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
        async with parts.gate.lease(caller, "", Scope.READ) as lease:
            with parts.sessions.board.watched(caller.owns) as watch:
                async with aclosing(_summaries(watch, lease)) as chunks:
                    yield chunks

    return Streaming(opened, EVENTS)


async def _summaries(watch: Watch, lease: Lease) -> AsyncGenerator[bytes]:
    yield f"retry: {RETRY_MS}\n\n".encode()
    try:
        while True:
            changed, gone = watch.take()
            texts = [each.text for each in changed] + [_forgotten(each) for each in gone]
            yield b"".join(event("session", text) for text in texts) or ping()
            await lease.wait(asyncio.sleep(EVERY_S))
            await lease.wait(watch.wait(PING_S - EVERY_S))
    except Problem as problem:
        yield told(problem)


def _forgotten(session: str) -> str:
    return json.dumps({"session": session, "forgotten": True})


# --- what requests say


def _wants_json(request: Request) -> bool:
    """Raises Problem 406 if it wants neither that nor events."""
    accepted = _accepted(request)
    if JSON_TYPE in accepted and EVENTS not in accepted:
        return True
    _accepts_events(request)
    return False


def _accepts_events(request: Request) -> None:
    if not _accepted(request) & {EVENTS, "text/*", "*/*"}:
        raise Problem(Kind.NOT_ACCEPTABLE, f"results come as {EVENTS}; accept that")


def _accepted(request: Request) -> set[str]:
    return {media_type(each) for each in request.headers.get("accept", "*/*").split(",")}


router.include_router(afterwards.router)
