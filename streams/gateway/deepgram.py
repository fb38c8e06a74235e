"""Deepgram's streaming protocol on `/v1/listen`, for its clients as they are.

The session is named by `extra=session:..`, or is made for the stream and ends with it. What is done
of the protocol, and how, is in `streams.gateway.deepgram_query` and `.deepgram_messages`.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, WebSocket
from starlette.responses import JSONResponse
from starlette.websockets import WebSocketDisconnect

from streams.gateway.credentials import protocol_of
from streams.gateway.decoding import Decoder, Limits, container_of, decoder
from streams.gateway.deepgram_messages import (
    BadMessage,
    CloseStream,
    Configure,
    Finalize,
    Listening,
    Message,
    said,
)
from streams.gateway.deepgram_query import BadParameter, Options, options_of
from streams.gateway.keys import Scope
from streams.gateway.parts import parts_of
from streams.gateway.problems import REASON_BYTES, Kind, Problem
from streams.gateway.voices import (
    Teller,
    Voice,
    Wire,
    end,
    hint,
    language,
    let_in,
    refused,
    relay,
    too_long,
)
from streams.media import MediaError
from streams.messages import TextMessage
from streams.results import Result

router = APIRouter()

SILENT_S: Final = 12.0
"""A client that says nothing for so long, not even KeepAlive, is gone."""
FLUSH_S: Final = 60.0
"""How long each of the last captions may take."""
HEAD: Final = 4
"""Bytes that tell a container."""
CODES: Final = {401: "INVALID_AUTH", 403: "INSUFFICIENT_PERMISSIONS", 429: "TOO_MANY_REQUESTS"}
NO_AUDIO: Final = "NET-0001: neither audio nor KeepAlive came in time"
NO_CAPTIONS: Final = "NET-0000: the last captions did not come in time"


@router.websocket("/v1/listen")
async def listen(websocket: WebSocket) -> None:
    """One stream."""
    request_id, query = str(uuid.uuid4()), websocket.query_params.multi_items()
    async with AsyncExitStack() as held:
        try:
            parts_of(websocket).gate.admit(websocket, Scope.INGEST)  # before anything else is told
            options = options_of(query, language())
            wire = await let_in(websocket, held, options.session, made=request_id)
        except BadParameter as error:
            code, status, headers = "INVALID_QUERY_PARAMETER", 400, dict[str, str]()
            body = {"err_code": code, "err_msg": str(error), "request_id": request_id}
            refused(websocket, Kind.INVALID)
        except Problem as problem:
            code, status = CODES.get(problem.status, problem.kind.name), problem.status
            body = {"err_code": code, "err_msg": problem.detail, "request_id": request_id}
            headers = problem.headers
            refused(websocket, problem.kind)
        else:
            await Stream(wire, options, request_id).run()
            return
    headers |= {"dg-request-id": request_id, "dg-error": quote(body["err_msg"], " ,.:;=()/-")}
    await websocket.send_denial_response(JSONResponse(body, status, headers))


class Stream:
    """A stream while it is live."""

    def __init__(self, wire: Wire, options: Options, request_id: str) -> None:
        self._wire = wire
        self._websocket = wire.websocket
        self._lease = wire.lease
        self._session = wire.lease.session
        self._ingest = wire.parts.ingest
        self._options = options
        self._listening = core = Listening(options, request_id)
        self._voices = [
            Voice(self._ingest, self._session, name, partial(core.begin, i), partial(core.take, i))
            for i, name in enumerate(options.names)
        ]
        self._teller = Teller(wire.websocket)
        self._decoder: Decoder | None = None
        self._head = b""
        self._digest = hashlib.sha256()
        self._created = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._news = asyncio.Event()
        self._over = False

    async def run(self) -> None:
        """From the handshake to the last message."""
        about = {"dg-request-id": self._listening.request_id, "tenor-session": quote(self._session)}
        headers = [(name.encode(), value.encode()) for name, value in about.items()]
        await self._websocket.accept(protocol_of(self._websocket), headers)
        relaying = asyncio.create_task(relay(self._wire, self._teller, self._hear))
        try:
            await self._expect(self._options.keyterms)
            why = await self._listen()
            await self._finish()
            await self._settle()
            await self._lease.wait(self._teller.told())
            relaying.cancel()
            await self._leave(why)
        except WebSocketDisconnect:
            pass
        finally:
            relaying.cancel()
            with suppress(Problem):
                await self._finish()
            await asyncio.gather(relaying, return_exceptions=True)

    def _hear(self, channel: str, result: Result) -> list[Message]:
        self._news.set()
        return self._listening.result(channel, result)

    async def _listen(self) -> str:
        """Takes what the client sends until it closes the stream; says what was wrong, if
        anything was."""
        while True:
            try:
                async with asyncio.timeout(SILENT_S):
                    message = await self._lease.wait(self._websocket.receive())
            except TimeoutError:
                return NO_AUDIO
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            data, text = message.get("bytes"), message.get("text")
            await self._wire.parts.gate.pace(self._lease.caller, size=len(data or text or ""))
            try:
                if await self._take(data, text):
                    return ""
            except MediaError as error:
                return f"DATA-0000: {error}"
            await self._teller.tell(self._listening.heard(self._ingest.now()))

    async def _take(self, data: bytes | None, text: str | None) -> bool:
        """Takes a message; whether it was the last. An empty one has always meant that, too."""
        if text is not None:
            return await self._obey(text)
        if not data:
            return True
        self._digest.update(data)
        await self._write(await self._decoded(data))
        return False

    async def _obey(self, text: str) -> bool:
        """Does what the client says; whether that was the last."""
        try:
            message = said(text, len(self._voices))
            match message:
                case CloseStream():
                    return True
                case Finalize(channel):
                    await self._finalize(channel)
                case Configure(keyterms):
                    configured = self._listening.configure(keyterms)
                    await self._expect(keyterms)
                    await self._teller.tell([configured])
                case _:
                    for voice in self._voices:
                        voice.pause()
        except BadMessage as bad:
            await self._teller.tell([bad.answer(self._listening.request_id)])
        return False

    async def _finalize(self, channel: int | None) -> None:
        for index in range(len(self._voices)) if channel is None else (channel,):
            await self._teller.tell(self._listening.finalize(index))
            await self._voices[index].cut()

    async def _expect(self, keyterms: tuple[str, ...]) -> None:
        if keyterms:
            words = TextMessage(kind="vocabulary", vocabulary=keyterms)
            begun = any(voice.ms for voice in self._voices)
            await hint(self._ingest, self._session, words, begun=begun)

    async def _decoded(self, data: bytes) -> list[bytes]:
        if self._decoder is None:
            data = self._head = self._head + data
            kind = self._options.encoding or container_of(data)
            if not kind and len(data) < HEAD:
                return []
            if not kind:
                raise MediaError("undecodable-audio", "no container is known that begins so")
            options = self._options
            channels = options.channels if options.multichannel else 1
            longest_s = self._wire.parts.settings.longest_session_s + 60  # told before by us
            limits = Limits(seconds=longest_s)
            self._decoder = decoder(kind, options.sample_rate, channels, limits)
            self._head = b""
        if self._decoder.blocks:
            return await asyncio.to_thread(self._decoder.feed, data)
        return self._decoder.feed(data)

    async def _write(self, samples: list[bytes]) -> None:
        if self._decoder:
            now = self._ingest.begin(self._session, self._options.names)
            for voice, each in zip(self._voices, samples, strict=True):
                too_long(self._wire.parts.settings, voice.ms)
                await voice.write(each, self._decoder.format, now)

    async def _finish(self) -> None:
        """Nothing more comes: all that came is sent, and becomes final."""
        if self._over:
            return
        self._over = True
        if self._decoder:
            with suppress(MediaError, Problem):  # what came before counts
                await self._write(await asyncio.to_thread(self._decoder.close))
        await end(self._ingest, self._session, self._voices, own=not self._options.session)

    async def _settle(self) -> None:
        """Waits for the last captions, as long as something comes."""
        with suppress(TimeoutError):
            while not self._listening.complete:
                self._news.clear()
                async with asyncio.timeout(FLUSH_S):
                    await self._lease.wait(self._news.wait())

    async def _leave(self, why: str) -> None:
        """Says what the stream was, and closes it."""
        if not why and not self._listening.complete:
            why = NO_CAPTIONS
        digest = self._digest.hexdigest()
        metadata = self._listening.metadata(self._session, self._created, digest)
        await self._teller.tell([metadata])
        code = 1000 if not why else 1008 if why.startswith("DATA") else 1011
        await self._websocket.close(code, why.encode()[:REASON_BYTES].decode(errors="ignore"))
