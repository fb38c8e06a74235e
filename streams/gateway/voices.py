"""The audio of a client that counts its own time: lines of its channels, cut where it says so.

A recogniser ends an utterance where the speaker pauses, and where a cut is in the log
(`EventType.AUDIO_CUT`). Audio follows without a gap until the client pauses: after that, it lies
where it comes.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from streams import codec
from streams.context import EARLIER_MS
from streams.events import JSON_TYPE, CodecError, EventType
from streams.gateway.gate import Lease
from streams.gateway.ingest import Ingest, Post, problem_of
from streams.gateway.keys import Scope
from streams.gateway.lines import Line
from streams.gateway.parts import Parts, parts_of
from streams.gateway.problems import Kind, Problem
from streams.gateway.results import Following
from streams.gateway.resuming import CHUNK_MS, Format
from streams.gateway.settings import GatewaySettings
from streams.messages import TextMessage, values_of
from streams.results import Result, result_of
from streams.settings import Settings

log = logging.getLogger("tenor.gateway")

AGAIN_MS: Final = 1000
"""After a pause that the client has told, audio so late lies where it comes."""
CAPTIONS: Final = (
    EventType.CAPTION_PARTIAL,
    EventType.CAPTION_FINAL,
    EventType.CAPTION_SILENCE,
    EventType.CAPTION_GAP,
)

Message = dict[str, Any]


class Voice:
    """One channel. `begin` hears at which event time (ms) the audio lies that comes now, and `take`
    how many ms of it come: before it is sent, so before any result of it."""

    def __init__(
        self,
        ingest: Ingest,
        session: str,
        name: str,
        begin: Callable[[int], None],
        take: Callable[[float], None],
    ) -> None:
        self._ingest = ingest
        self._session = session
        self._name = name
        self._begin = begin
        self._take = take
        self._line: Line | None = None
        self._format = Format()
        self._start = 0  # event time of the stretch under way
        self._bytes = 0  # of audio in it
        self._told = False  # whether `begin` was
        self._paused = False
        self._uncut = False  # whether there is something to cut
        self.ms = 0.0
        """How long all of it is."""

    @property
    def time(self) -> int:
        """Event time (ms) at which the audio ends; 0 before there is any."""
        return self._start + int(self._ms(self._bytes))

    def pause(self) -> None:
        """The client says that it sends nothing now."""
        self._paused = True

    async def write(self, samples: bytes, format_: Format, now: int) -> None:
        """Takes samples that came `now`, event time (ms) for all channels (`Ingest.begin`)."""
        if not samples:
            return
        line = await self._ready(format_, now)
        if not self._told:
            self._begin(self._start)
            self._told = True
        ms = self._ms(len(samples))
        self._take(ms)
        self.ms += ms
        self._bytes += len(samples)
        self._uncut = True
        await line.write(samples)

    async def cut(self) -> None:
        """What was said so far is an utterance, whatever comes."""
        self._paused = True
        if self._line and self._uncut:
            self._uncut = False
            await self._line.cut()

    async def close(self) -> None:
        """Returns when Kafka has confirmed all of it."""
        if self._line:
            await self._line.close()

    async def _ready(self, format_: Format, now: int) -> Line:
        """The line on which audio goes on that comes now."""
        late, self._paused = self._paused and now - self.time > AGAIN_MS, False
        if self._line is None:
            return self._open(now, format_, 0)
        if late or format_ != self._format:
            return await self._go_on(now if late else self.time, format_)
        return self._line

    async def _go_on(self, time: int, format_: Format) -> Line:
        """A new stretch; chunks are counted on, so that nobody waits for one in between."""
        assert self._line is not None  # noqa: S101  (there is something to go on after)
        await self._line.close()
        return self._open(time, format_, self._line.next_sequence)

    def _open(self, time: int, format_: Format, sequence: int) -> Line:
        begin = time - sequence * CHUNK_MS
        line = self._ingest.line(self._session, self._name, begin, sequence, format=format_)
        self._line, self._format = line, format_
        self._start, self._bytes, self._told = time, 0, False
        return line

    def _ms(self, size: int) -> float:
        return size * 1000 / (self._format.rate * self._format.width)


async def hint(ingest: Ingest, session: str, message: TextMessage, *, begun: bool) -> None:
    """Tells the recogniser what to expect. Before there is audio, it is so old that it helps the
    first utterance, too."""
    time = ingest.now() - (0 if begun else EARLIER_MS)
    for value in values_of(message):
        await ingest.text(Post(session, JSON_TYPE, value, time=time))


async def end(ingest: Ingest, session: str, voices: Sequence[Voice], *, own: bool) -> None:
    """Nothing more comes: what came becomes final. With it ends the session, if it is the client's
    own; there may be others in one that has a name. Raises Problem."""
    if own and any(voice.ms for voice in voices):
        await ingest.end(session, max(ingest.now(), *(voice.time for voice in voices)))
        return
    for voice in voices:
        await voice.cut()
        await voice.close()


@dataclass(frozen=True, slots=True)
class Wire:
    """What there is for a client that was let in."""

    websocket: WebSocket
    parts: Parts
    lease: Lease
    following: Following


async def let_in(websocket: WebSocket, held: AsyncExitStack, session: str, *, made: str) -> Wire:
    """Lets in who may send, if it may also read: from this session or, where it names none, from
    one of its own, whose id ends with `made`. Raises Problem."""
    parts = parts_of(websocket)
    if session:
        try:
            codec.check_session(session)
        except CodecError as error:
            raise problem_of(error) from None
    caller = parts.gate.admit(websocket, Scope.READ, session)
    session = session or f"{caller.namespace}{made}"
    lease = await held.enter_async_context(parts.gate.lease(caller, session))
    results = parts.results.following(session, parts.results.now(), types=CAPTIONS)
    return Wire(websocket, parts, lease, await held.enter_async_context(results))


class Teller:
    """What a client is told, in the order in which it was found out, from results and by itself."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._turn = asyncio.Lock()

    async def tell(self, messages: Iterable[Message]) -> None:
        """Sends them, if there are any."""
        if messages := list(messages):
            async with self._turn:  # first come, first served
                for message in messages:
                    await self._websocket.send_text(json.dumps(message))

    async def told(self) -> None:
        """Returns when all that it was given before has been sent."""
        async with self._turn:
            pass


async def relay(
    wire: Wire, teller: Teller, hear: Callable[[str, Result], Sequence[Message]]
) -> None:
    """Tells a client what it is to know of results, until cancelled. Where that fails, its lease
    ends."""
    try:
        async for item in wire.following:
            result = result_of(item.event)
            await teller.tell(hear(item.event.channel, result))
    except WebSocketDisconnect:
        pass  # whoever reads from it sees that, too
    except Problem as problem:
        wire.lease.end(problem)
    except Exception as error:
        log.error("results could not be told: %s", type(error).__name__)
        wire.lease.end(Problem(Kind.INTERNAL, "results could not be told; connect again"))
        raise


def refused(websocket: WebSocket, kind: Kind) -> None:
    """Counts a client that is told in its own protocol that it is not let in."""
    parts_of(websocket).metrics.refused.labels(kind.name.lower()).inc()


@functools.cache
def language() -> str:
    """What the recognisers of this installation are set to."""
    return Settings().language


def too_long(settings: GatewaySettings, ms: float) -> None:
    """Raises Problem if a client has sent more audio than a session may have."""
    if ms > settings.longest_session_s * 1000:
        raise Problem(
            Kind.TOO_LONG, f"a session has at most {settings.longest_session_s:g} s of audio"
        )
