"""A line of audio on its way to Kafka: chunks that were sent, and how far they are confirmed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from streams import tracing
from streams.clock import now_ms
from streams.events import Event, EventType, event_id
from streams.gateway.problems import Kind, Problem
from streams.gateway.resuming import CHUNK_MS, PCM, Chunk, Cutter, Format

SOURCE: Final = "tenor/gateway"
CONFIRM_S: Final = 30.0
"""How long Kafka may take to confirm before the client is told that it did not."""
RETRY_S: Final = 2.0
IN_FLIGHT: Final = 50
"""Chunks of a line that may be unconfirmed; then no more is taken from the client."""

Future = asyncio.Future[Any]
Send = Callable[[str, Event], Awaitable[Future]]
"""Puts an event on a topic; the future is done when Kafka has confirmed it."""


class Line:
    """Audio of one channel from a moment on, cut into chunks (`streams.gateway.resuming`).

    Use: `write` samples; at the end `close`. After a drop nothing is to be called: who goes on
    sends again what was not confirmed. `start` is the event time (ms) from which chunks count, None
    until there is audio. Every call raises Problem where Kafka does not confirm, or when another
    line of the same channel took the place of this one; then the line is over. Chunks before
    `known` are in the log already and are left out. `changed` is called whenever more is confirmed,
    or the line ends, and `reached` with the event time (ms) at which what was sent ends.
    """

    def __init__(
        self,
        send: Send,
        session: str,
        channel: str,
        start: int | None = None,
        sequence: int = 0,
        *,
        known: int = 0,
        format: Format = PCM,  # noqa: A002  (it is called so)
        now: Callable[[], int] = now_ms,
        changed: Callable[[], None] = lambda: None,
        reached: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.session = session
        self.channel = channel
        self.start = start
        self.problem: Problem | None = None
        self._send = send
        self._now = now
        self._cutter = Cutter(format, sequence)
        self._traces = tracing.Course(tracing.here())
        self._flying: deque[tuple[Future, int, int]] = deque()
        self._known = max(known, sequence)
        self._confirmed = (self._known, self._known * CHUNK_MS)
        self._changed = changed
        self._reached = reached
        self._broken = False

    @property
    def position_ms(self) -> int:
        """How much audio was taken, from the start on, unfinished chunks included."""
        return self._cutter.position_ms

    @property
    def confirmed_ms(self) -> int:
        """How much of it Kafka has confirmed, without a gap."""
        return self._confirmed[1]

    @property
    def next_sequence(self) -> int:
        """The first chunk that Kafka has not confirmed: where the line would be resumed."""
        return self._confirmed[0]

    async def write(self, samples: bytes) -> None:
        """Takes samples; waits while too much is unconfirmed. Cancelled, it ends the line."""
        if samples and self.start is None:
            self.start = self._now() - self.position_ms
        await self._put(self._cutter.push(samples))

    async def flush(self) -> None:
        """Sends what is not a whole chunk, too. The line may go on, but can be resumed no more."""
        await self._put(self._cutter.flush())

    async def cut(self) -> None:
        """As `flush`; and what was sent so far is an utterance, whatever comes."""
        await self._put(self._cutter.cut())

    async def confirmed(self) -> None:
        """Returns when Kafka has confirmed all that was sent."""
        if self._flying:
            await asyncio.wait([each[0] for each in self._flying], timeout=CONFIRM_S)
        self._check()
        if self._flying:
            raise unconfirmed()

    async def close(self) -> None:
        """Sends what is left, and returns when all is confirmed."""
        await self.flush()
        await self.confirmed()

    def take(self) -> bytes:
        """What is no whole chunk, and so was not sent; it goes elsewhere."""
        return self._cutter.take()

    def end(self, problem: Problem) -> None:
        """Whoever uses the line is told this from now on."""
        self.problem = self.problem or problem
        self._changed()

    async def _put(self, chunks: list[Chunk]) -> None:
        self._check()
        try:
            for chunk in chunks:
                if chunk.sequence < self._known:
                    continue
                await self._room()
                assert self.start is not None  # noqa: S101  (there was a sample)
                traceparent = self._traces.at(chunk.begin_ms)
                event = replace(self.event(chunk, self.start), traceparent=traceparent)
                future = await self._send("audio", event)
                self._flying.append((future, chunk.sequence + 1, chunk.end_ms))
                future.add_done_callback(self._landed)
                self._reached(self.start + chunk.end_ms)
        except BaseException as error:  # cut off in the middle, a chunk would be missing
            self.end(error if isinstance(error, Problem) else unconfirmed())
            raise

    async def _room(self) -> None:
        if len(self._flying) >= IN_FLIGHT:
            await asyncio.wait([self._flying[0][0]], timeout=CONFIRM_S)
            self._check()
            if len(self._flying) >= IN_FLIGHT:
                raise unconfirmed()

    def _landed(self, _: Future) -> None:
        while self._flying and self._flying[0][0].done():
            future, sequence, end = self._flying.popleft()
            if future.cancelled() or future.exception():
                self._broken = True
                self.end(unconfirmed())
            if not self._broken:
                self._confirmed = (sequence, end)
        self._changed()

    def _check(self) -> None:
        if self.problem:
            raise self.problem

    def event(self, chunk: Chunk, start: int) -> Event:
        """A chunk of the line, or a cut, as it goes into the log."""
        time = start + chunk.begin_ms
        type_ = EventType.AUDIO_CHUNK if chunk.data else EventType.AUDIO_CUT
        about = f"{SOURCE} {start} {chunk.sequence}"
        return Event(
            type=type_,
            id=event_id(self.session, type_, self.channel, time, time, about=about),
            source=SOURCE,
            session=self.session,
            time=time,
            channel=self.channel,
            sequence=chunk.sequence,
            content_type=self._cutter.format.content_type if chunk.data else "",
            data=chunk.data,
        )


def unconfirmed() -> Problem:
    """Kafka did not confirm, or refused; what was sent may be in the log all the same."""
    detail = "Kafka has not confirmed it: send it again, with the same key or from the same place"
    return Problem(Kind.UNAVAILABLE, detail, retry_after_s=RETRY_S)
