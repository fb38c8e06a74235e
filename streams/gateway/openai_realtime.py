"""OpenAI's realtime transcription on `/v1/realtime?intent=transcription`, for its clients.

The session is named by `session=..`, or is made for the client and ends with its socket. What is
done of the protocol, and how, is in `streams.gateway.openai_session` and `.openai_messages`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, WebSocket
from starlette.responses import JSONResponse
from starlette.websockets import WebSocketDisconnect

from streams.gateway.credentials import protocol_of
from streams.gateway.decoding import Decoder, decoder
from streams.gateway.keys import Scope
from streams.gateway.openai_messages import Append, Conversation, Cut, Deed, Message
from streams.gateway.openai_session import FORMATS, MODELS, BadEvent, Config, Hint
from streams.gateway.parts import parts_of
from streams.gateway.problems import Kind, Problem
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
from streams.messages import TextMessage
from streams.results import Result

router = APIRouter()

PARAMETERS: Final = ("intent", "model", "session", "channel")
CHANNEL: Final = "1"
LONGEST_NAME: Final = 100


@router.websocket("/v1/realtime")
async def realtime(websocket: WebSocket) -> None:
    """One session."""
    id_, param = f"sess_{uuid.uuid4().hex}", None
    async with AsyncExitStack() as held:
        try:
            parts_of(websocket).gate.admit(websocket, Scope.INGEST)  # before anything else is told
            query = _query(websocket)
            wire = await let_in(websocket, held, query.get("session", ""), made=id_)
        except BadEvent as bad:
            status, headers = 400, dict[str, str]()
            code, message, param = bad.code, bad.message, bad.param
            refused(websocket, Kind.INVALID)
        except Problem as problem:
            status, headers, message = problem.status, problem.headers, problem.detail
            code = "invalid_api_key" if status == 401 else problem.kind.name.lower()
            refused(websocket, problem.kind)
        else:
            await Live(wire, id_, query).run()
            return
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "code": code, "param": param}
    await websocket.send_denial_response(JSONResponse({"error": error}, status, headers))


def _query(websocket: WebSocket) -> dict[str, str]:
    query = dict(websocket.query_params)
    if unknown := sorted(query.keys() - {*PARAMETERS}):
        raise BadEvent("unknown_parameter", "not known, or not done here: leave it", unknown[0])
    if query.get("intent") != "transcription":
        message = "only transcription is done here: connect with ?intent=transcription"
        raise BadEvent("invalid_value", message, "intent")
    if not MODELS.fullmatch(query.get("model", "tenor")):
        message = "model must be tenor or one of OpenAI's for transcription; Tenor's answers"
        raise BadEvent("invalid_value", message, "model")
    channel = query.get("channel", "")
    if len(channel) > LONGEST_NAME or not channel.isprintable():
        message = f"a channel's name has at most {LONGEST_NAME} printable characters"
        raise BadEvent("invalid_value", message, "channel")
    return query


class Live:
    """A session while its socket is open."""

    def __init__(self, wire: Wire, id_: str, query: Mapping[str, str]) -> None:
        self._wire = wire
        self._websocket = wire.websocket
        self._lease = wire.lease
        self._ingest = wire.parts.ingest
        self._own = not query.get("session")
        self._channel = query.get("channel") or CHANNEL
        config = Config(language(), model=query.get("model", "tenor"))
        self._conversation = core = Conversation(id_, config)
        session = wire.lease.session
        self._voice = Voice(self._ingest, session, self._channel, core.begin, core.take)
        self._teller = Teller(wire.websocket)
        self._decoder = self._made()

    async def run(self) -> None:
        """From the handshake until the client leaves."""
        headers = [(b"tenor-session", quote(self._lease.session).encode())]
        await self._websocket.accept(protocol_of(self._websocket), headers)
        await self._teller.tell([self._conversation.created()])
        relaying = asyncio.create_task(relay(self._wire, self._teller, self._hear))
        try:
            while True:
                message = await self._lease.wait(self._websocket.receive())
                if message["type"] == "websocket.disconnect":
                    break
                await self._take(message.get("text"), message.get("bytes") or b"")
        except WebSocketDisconnect:
            pass
        except Problem as problem:
            bad = BadEvent(problem.kind.name.lower(), problem.detail)
            with suppress(WebSocketDisconnect, RuntimeError):  # it may be gone
                await self._teller.tell([self._conversation.error(bad, ours=True)])
            raise
        finally:
            relaying.cancel()
            with suppress(Problem):
                await end(self._ingest, self._lease.session, [self._voice], own=self._own)
            await asyncio.gather(relaying, return_exceptions=True)

    def _hear(self, channel: str, result: Result) -> list[Message]:
        return self._conversation.result(result) if channel == self._channel else []

    async def _take(self, text: str | None, data: bytes) -> None:
        """Takes an event of the client."""
        size = len(data if text is None else text)
        await self._wire.parts.gate.pace(self._lease.caller, size=size)
        if text is None:
            bad = BadEvent("invalid_json", "events are text; audio comes in them, in base64")
            await self._teller.tell([self._conversation.error(bad)])
            return
        told, deed = self._conversation.event(text)
        await self._teller.tell(told)
        if deed:
            await self._do(deed)

    async def _do(self, deed: Deed) -> None:
        match deed:
            case Append(audio):
                too_long(self._wire.parts.settings, self._voice.ms)
                (samples,) = self._decoder.feed(audio)
                now = self._ingest.begin(self._lease.session, [self._channel])
                await self._voice.write(samples, self._decoder.format, now)
            case Cut():
                await self._voice.cut()
            case _:
                if deed.before.format != deed.config.format:
                    self._decoder = self._made()
                for each in deed.config.hints:
                    if each not in deed.before.hints:
                        await self._expect(each)

    def _made(self) -> Decoder:
        encoding, rate = FORMATS[self._conversation.config.format]
        return decoder(encoding, rate)

    async def _expect(self, each: Hint) -> None:
        message = TextMessage(each.text, kind=each.kind, vocabulary=each.words)
        begun = self._voice.ms > 0
        await hint(self._ingest, self._lease.session, message, begun=begun)
