"""The routes by which clients send: audio as it is spoken, texts, pictures, whole files, the end.

What is answered with success has been confirmed by Kafka. Over the WebSocket the client is told
again and again how far that is (`ack`), and with it what to give back after a drop to go on from
there, at this gateway or another: no gateway remembers anything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, WebSocket
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.websockets import WebSocketDisconnect

from streams.codec import media_type
from streams.events import JSON_TYPE, CodecError, channel_names
from streams.gateway import decoding
from streams.gateway.credentials import protocol_of
from streams.gateway.feeding import Feed, Place
from streams.gateway.files import Recording, send
from streams.gateway.gate import Lease
from streams.gateway.ingest import Accepted, Ingest, Post, problem_of
from streams.gateway.keys import Scope
from streams.gateway.parts import Parts, SessionId, parts_of
from streams.gateway.problems import Kind, Problem, responses
from streams.messages import MAXIMUM_TEXT, TextMessage

router = APIRouter(tags=["sending"])

ACK_S: Final = 0.1
"""Between two acknowledgements, at least."""
LEFT: Final = 1000
"""Close code of a client that has sent all; with any other, or none, it was cut off."""
LATEST: Final = 2**53
"""Numbers that every client can hold."""
SPOOLED: Final = 2**20
"""Bytes of a file that are held in memory; a larger one goes to a temporary file."""

Channel = Annotated[
    str,
    Query(max_length=1000, description="Who said or shows it; channels of audio with commas."),
]
Moment = Annotated[
    int | None,
    Query(ge=0, le=LATEST, description="When, in ms since 1970 (UTC); by default now."),
]
Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="With the same key it is one event, however often it is sent.",
    ),
]


async def _about(
    session: SessionId, channel: Channel = "", time: Moment = None, key: Key = ""
) -> Post:
    """What a request says beside its body."""
    return Post(session, "", b"", channel, time, key)


About = Annotated[Post, Depends(_about)]


class Ended(BaseModel):
    """A session that was ended, and the events that say so on each of its topics."""

    session: str
    time: int
    events: tuple[Accepted, ...]


class Filed(BaseModel):
    """A whole file that was accepted: `seconds` from `start` (ms) on, as `chunks` per channel."""

    session: str
    channels: tuple[str, ...]
    start: int
    seconds: float
    chunks: int


class AudioQuery(BaseModel):
    """What a connection is going to send, and where it goes on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: str = Field("speaker", min_length=1, max_length=1000)
    encoding: Literal["linear16", "mulaw", "alaw", "webm", "ogg", "wav", "flac", "mp3"] = "linear16"
    sample_rate: int | None = Field(None, ge=8000, le=48_000, multiple_of=10)
    channels: int | None = Field(None, ge=1, le=8)
    start: int | None = Field(None, ge=0, le=LATEST)
    sequence: int = Field(0, ge=0, le=10**9)
    begin: int | None = Field(None, ge=0, le=10**9)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the channels. Raises Problem."""
        return _names(self.channel, self.channels)

    def feed(self, ingest: Ingest, session: str, longest_s: float) -> Feed:
        """Raises Problem."""
        if self.sample_rate and self.encoding not in decoding.RAW:
            raise Problem(Kind.INVALID, f"{self.encoding} says its sample_rate itself: leave it")
        if self.sequence and self.start is None:
            raise Problem(
                Kind.INVALID, "a sequence other than 0 needs the start that it counts from"
            )
        if (self.begin or 0) > self.sequence:
            raise Problem(Kind.INVALID, "begin must not be after sequence")
        names, rate = self.names, 16_000 if self.encoding == "linear16" else 8_000
        return Feed(
            ingest,
            session,
            names,
            decoding.decoder(
                self.encoding,
                self.sample_rate or rate,
                len(names),
                decoding.Limits(seconds=longest_s + 60),  # told before by us
            ),
            start=self.start,
            sequence=self.sequence if self.begin is None else self.begin,
            known=self.sequence,
            keeps_time=True,
        )


@router.websocket("/v1/sessions/{session:id}/audio")
async def audio(
    websocket: WebSocket, session: SessionId, query: Annotated[AudioQuery, Query()]
) -> None:
    """Audio of one or more channels, as it is spoken (docs/gateway.md)."""
    parts = parts_of(websocket)
    caller = parts.gate.admit(websocket, Scope.INGEST, session)
    async with parts.gate.lease(caller, session) as lease:
        longest_s = parts.settings.longest_session_s
        async with query.feed(parts.ingest, session, longest_s) as feed:
            await websocket.accept(protocol_of(websocket))
            await Sending(websocket, parts, lease, feed).run()


class Sending:
    """A client that sends audio."""

    def __init__(self, websocket: WebSocket, parts: Parts, lease: Lease, feed: Feed) -> None:
        self._websocket = websocket
        self._parts = parts
        self._lease = lease
        self._feed = feed
        self._told: Place | None = None
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Until the client has sent all, or goes, or has to go. Raises Problem."""
        await self._tell("ready")
        acks = asyncio.create_task(self._acknowledge())
        try:
            await self._take_all()
        except Problem as problem:
            with suppress(Problem):
                await self._feed.settle()
            await self._ack()
            await self._say({"type": "error", "problem": problem.document()})
            raise
        finally:
            acks.cancel()
            await asyncio.wait([acks])

    async def _take_all(self) -> None:
        while True:
            message = await self._lease.wait(self._websocket.receive())
            if message["type"] == "websocket.disconnect":
                if message.get("code") == LEFT:
                    await self._feed.close()
                return
            data, text = message.get("bytes"), message.get("text")
            size = len(data or text or "")
            await self._parts.gate.pace(self._lease.caller, size=size)
            if data:
                await self._take(data)
            elif text and await self._told_to(text):
                return

    async def _take(self, data: bytes) -> None:
        await self._feed.write(data)
        longest_s = self._parts.settings.longest_session_s
        if self._feed.position_ms > longest_s * 1000:
            await self._parts.ingest.end(self._feed.session)
            raise Problem(Kind.TOO_LONG, f"a session has at most {longest_s:g} s of audio")

    async def _told_to(self, text: str) -> bool:
        """Does what the client says; whether that was the last."""
        match _type_of(text):
            case "pause":
                await self._feed.pause()
                return False
            case "close" | "end" as last:
                await self._feed.close()
                if last == "end":
                    await self._parts.ingest.end(self._feed.session)
                await self._tell("closed")
                await self._websocket.close()
                return True
        raise Problem(Kind.INVALID, 'a text must be {"type": ..} of pause, close or end')

    async def _acknowledge(self) -> None:
        """Tells how far Kafka has confirmed, until cancelled; wakes who reads when a line ends."""
        while True:
            await self._feed.news()
            await self._ack()
            if problem := self._feed.problem:
                self._lease.end(problem)
            await asyncio.sleep(ACK_S)

    async def _ack(self) -> None:
        if self._feed.confirmed != self._told:
            await self._tell("ack")

    async def _tell(self, type_: str) -> None:
        """Says how far it is, which is true of every message."""
        feed = self._feed
        self._told = place = feed.confirmed
        about = {"type": type_, "session": feed.session, "channels": feed.channels}
        await self._say(about | place._asdict())

    async def _say(self, message: Mapping[str, Any]) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):  # it is gone: who reads sees that, too
            async with self._turn:
                await self._websocket.send_text(json.dumps(message))


def _type_of(text: str) -> object:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return message.get("type") if isinstance(message, dict) else None


def _names(channel: str, count: int | None = None) -> tuple[str, ...]:
    try:
        return channel_names(channel, count or channel.count(",") + 1)
    except CodecError as error:
        raise problem_of(error) from None


def _body(*content_types: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The request's body in the OpenAPI document."""
    content = {each: {"schema": schema} for each in content_types}
    return {"requestBody": {"required": True, "content": content}}


BINARY: Final = {"type": "string", "format": "binary"}
SENT: Final = responses(
    Kind.INVALID, Kind.TOO_LARGE, Kind.UNSUPPORTED, Kind.TIMEOUT, Kind.UNAVAILABLE
)
TEXTS: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "text/plain": {"schema": {"type": "string", "minLength": 1, "maxLength": MAXIMUM_TEXT}},
            JSON_TYPE: {"schema": TypeAdapter(TextMessage).json_schema()},
        },
    }
}


@router.post(
    "/v1/sessions/{session:id}/text",
    status_code=201,
    summary="Send a chat message, a note, or a vocabulary",
    responses=SENT,
    openapi_extra=TEXTS,
)
async def text(request: Request, about: About) -> Accepted:
    """Plain text is a message; as JSON it may be a note, which is not scored, or a vocabulary,
    which tells the recogniser what names and codes to expect."""
    parts = parts_of(request)
    async with _posted(request, about, parts.settings.text_bytes) as post:
        return await parts.ingest.text(post)


@router.post(
    "/v1/sessions/{session:id}/images",
    status_code=201,
    summary="Send a picture",
    responses=SENT,
    openapi_extra=_body("image/jpeg", "image/png", "image/webp", schema=BINARY),
)
async def images(request: Request, about: About) -> Accepted:
    """Up to 40 megapixels; what cannot be decoded is refused."""
    parts = parts_of(request)
    async with _posted(request, about, parts.settings.image_bytes) as post:
        return await parts.ingest.image(post)


@router.post(
    "/v1/sessions/{session:id}/end",
    status_code=201,
    summary="End a session",
    responses=responses(Kind.INVALID, Kind.UNAVAILABLE),
)
async def end(request: Request, session: SessionId, time: Moment = None) -> Ended:
    """Everything of it becomes final, and the whole session is scored. Audio that is being sent at
    this gateway ends, too."""
    parts = parts_of(request)
    parts.gate.admit(request, Scope.INGEST, session)
    events = await parts.ingest.end(session, time)
    return Ended(session=session, time=events[0].time, events=events)


@router.post(
    "/v1/sessions/{session:id}/audio",
    status_code=201,
    summary="Send a whole recording",
    responses=SENT | responses(Kind.CONFLICT),
    openapi_extra=_body(*decoding.MEDIA_TYPES, schema=BINARY),
)
async def file(
    request: Request,
    session: SessionId,
    channel: Channel = "speaker",
    start: Moment = None,
) -> Filed:
    """All of it, or nothing, is decoded before anything is sent. If Kafka fails in the middle, send
    it again with the same `start`: then it is the same audio. One channel is a mix of all that are
    in the file; name as many as it has to tell them apart."""
    parts = parts_of(request)
    caller = parts.gate.admit(request, Scope.INGEST, session)
    kind = decoding.MEDIA_TYPES.get(media_type(request.headers.get("content-type", "")))
    if kind is None:
        expected = ", ".join(sorted(decoding.MEDIA_TYPES))
        raise Problem(Kind.UNSUPPORTED, f"the content type must be one of {expected}")
    names, limits = _names(channel or "speaker"), decoding.Limits(parts.settings.file_s)
    async with parts.gate.lease(caller, session) as lease:
        with parts.gate.bodies.part() as take, SpooledTemporaryFile(max_size=SPOOLED) as body:
            limit = parts.settings.file_bytes
            pieces = parts.gate.chunks(request, caller, limit, take)
            while piece := await lease.wait(anext(pieces, b"")):
                await asyncio.to_thread(body.write, piece)
            recording = Recording(body, kind, names, limits)
            length, lines = await send(recording, parts.ingest, lease, start)
    return Filed(
        session=session,
        channels=names,
        start=lines[0].start or 0,
        seconds=length / 1000,
        chunks=lines[0].next_sequence,
    )


@asynccontextmanager
async def _posted(request: Request, about: Post, limit: int) -> AsyncIterator[Post]:
    """With what the request sends; it counts as held until the end."""
    gate = parts_of(request).gate
    caller = gate.admit(request, Scope.INGEST, about.session)
    content_type = request.headers.get("content-type", "")
    with gate.bodies.part() as take:
        data = await gate.body(request, caller, limit, take)
        yield replace(about, content_type=content_type, data=data)
