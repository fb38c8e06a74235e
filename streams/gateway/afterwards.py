"""The routes for what is left of a session: captions, report, texts, pictures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import quote, unquote

from aiokafka.errors import KafkaError
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse

from streams import session_report
from streams.clock import now_ms
from streams.codec import media_type
from streams.events import JSON_TYPE
from streams.export import render
from streams.gateway.etags import IfNoneMatch, etag, has
from streams.gateway.keys import Scope
from streams.gateway.parts import Parts, SessionId, parts_of
from streams.gateway.problems import Kind, Problem, responses
from streams.gateway.turns import Turns
from streams.history import Span, read_history, read_pictures, read_session

router = APIRouter(tags=["reading"])

BEFORE_MS: Final = 60_000
"""A picture is looked for in what was written so long before its time, or later: by so much the
clock of who sent it may be ahead."""
SENT_BEFORE_MS: Final = 3_600_000
"""What was sent so long before the first result of a session is told of."""
SEARCH_S: Final = 20.0
READ_S: Final = 60.0
"""What looking for a picture, and reading a whole session, may take."""


class Format(StrEnum):
    """Of a file of captions."""

    VTT = "vtt"
    SRT = "srt"
    JSON = "json"
    TXT = "txt"


FILES: Final = {
    Format.VTT: "text/vtt",
    Format.SRT: "application/x-subrip",
    Format.JSON: JSON_TYPE,
    Format.TXT: "text/plain",
}


class Said(BaseModel):
    """A typed text, of `channel`."""

    id: str
    time: int
    channel: str
    text: str
    kind: str
    vocabulary: tuple[str, ...]


class Typed(BaseModel):
    """What was typed in a session, in order of time."""

    texts: list[Said]


@router.get(
    "/v1/sessions/{session:id}/texts",
    summary="What was typed in a session",
    response_model=Typed,
    responses={
        304: {"description": "It is what the client has"},
        **responses(Kind.UNAVAILABLE),
    },
)
async def texts(request: Request, session: SessionId, if_none_match: IfNoneMatch = "") -> Response:
    """Messages, notes and vocabulary up to now, in order of time.

    Who asks again and again sends the last answer's `ETag` as `If-None-Match`.
    """
    parts = parts_of(request)
    parts.gate.admit(request, Scope.READ, session)
    since = _begun(parts, session)
    typed = Typed(
        texts=[
            Said(
                id=each.id,
                time=each.time,
                channel=each.channel,
                text=each.message.text,
                kind=each.message.kind,
                vocabulary=each.message.vocabulary,
            )
            for each in await parts.results.texts.of(session, since)
        ]
    )
    body = typed.model_dump_json().encode()
    headers = {"ETag": etag(body)}
    if has(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


@router.get(
    "/v1/sessions/{session:id}/export",
    summary="The captions of a session as a file",
    response_class=Response,
    responses={
        200: {"description": "The file", "content": {kind: {} for kind in FILES.values()}},
        **responses(Kind.NOT_FOUND, Kind.UNAVAILABLE),
    },
)
async def export(request: Request, session: SessionId, format: Format = Format.VTT) -> Response:  # noqa: A002
    """WebVTT, SubRip, JSON or plain text, of what there is now."""
    parts = parts_of(request)
    parts.gate.admit(request, Scope.READ, session)
    async with _turn(parts.results.archive, READ_S):
        history = await read_history(parts.brokers, parts.topics, session)
        if not history.results:
            raise _nothing()
        text = await asyncio.to_thread(render, history.results, format.value)
    return Response(text, media_type=FILES[format], headers=_attached(session, format.value))


@router.get(
    "/v1/sessions/{session:id}/report",
    summary="The report of a session",
    response_class=HTMLResponse,
    responses=responses(Kind.NOT_FOUND, Kind.UNAVAILABLE),
)
async def report(request: Request, session: SessionId) -> Response:
    """One self-contained page with transcript, timelines and figures, of what there is now."""
    parts = parts_of(request)
    parts.gate.admit(request, Scope.READ, session)
    async with _turn(parts.results.archive, READ_S):
        log = await read_session(parts.brokers, parts.topics, session)
        if not log.results:
            raise _nothing()
        page = await asyncio.to_thread(
            session_report.html, log.results, log.texts, log.pictures, left_out=log.left_out
        )
    policy = {"Content-Security-Policy": f"{session_report.POLICY}; frame-ancestors 'none'"}
    return HTMLResponse(page, headers=policy)


@router.get(
    "/v1/sessions/{session:id}/images/{id:id}",
    summary="A picture",
    response_class=Response,
    responses={
        200: {
            "description": "The picture as it was sent",
            "content": {kind: {} for kind in ("image/jpeg", "image/png", "image/webp")},
        },
        **responses(Kind.NOT_FOUND, Kind.UNAVAILABLE),
    },
)
async def image(
    request: Request,
    session: SessionId,
    id: Annotated[str, Path(min_length=1, max_length=1024, description="Of its event.")],  # noqa: A002
    time: Annotated[
        int | None, Query(ge=0, le=2**53, description="Its time (ms): it is found much sooner.")
    ] = None,
) -> Response:
    """The bytes of the picture that a result names (`image`); encode a slash in its id as %2F."""
    parts = parts_of(request)
    session, id_ = _names(request, session, id)
    parts.gate.admit(request, Scope.READ, session)
    since = _begun(parts, session) if time is None else max(0, time - BEFORE_MS)
    span = Span(since, now_ms() + BEFORE_MS)
    async with _turn(parts.results.pictures, SEARCH_S):
        found = read_pictures(parts.brokers, parts.topics, session, span, {id_})
        pictures = [each async for each in found]
    if not pictures:
        detail = "the session has no such picture, or it was deleted; is its time right?"
        raise Problem(Kind.NOT_FOUND, detail)
    kind = media_type(pictures[0].content_type)
    headers = {"Cache-Control": "private, max-age=86400, immutable"}
    return Response(pictures[0].data, media_type=kind, headers=headers)


def _begun(parts: Parts, session: str) -> int:
    """Before this (ms) nothing of a session was sent, as far as that is known."""
    begun = parts.sessions.since(session)
    return 0 if begun is None else max(0, begun - SENT_BEFORE_MS)


@asynccontextmanager
async def _turn(turns: Turns, seconds: float) -> AsyncIterator[None]:
    """While something is read that is large: few do it at once, and not for ever."""
    async with turns.turn():
        try:
            async with asyncio.timeout(seconds):
                yield
        except (KafkaError, TimeoutError):
            detail = f"Kafka did not give all of it within {seconds:g} s"
            raise Problem(Kind.UNAVAILABLE, detail, retry_after_s=5) from None


def _names(connection: HTTPConnection, session: str, id_: str) -> tuple[str, str]:
    """The session and the picture of a path: both may hold slashes, which only the path as it was
    sent tells from those between them."""
    path: bytes = connection.scope.get("raw_path") or b""
    parts = path.partition(b"?")[0].decode("ascii", "replace").split("/")
    if len(parts) == 6:
        return unquote(parts[3]), unquote(parts[5])
    return session, id_


def _attached(session: str, ending: str) -> dict[str, str]:
    name = quote(f"{session}.{ending}", safe="")
    return {
        "Content-Disposition": f"attachment; filename=\"session.{ending}\"; filename*=UTF-8''{name}"
    }


def _nothing() -> Problem:
    return Problem(Kind.NOT_FOUND, "nothing is known of this session, or it has been deleted")
