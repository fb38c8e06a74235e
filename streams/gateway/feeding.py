"""What one connection sends: its bytes to the lines of its channels, which are in step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

from streams.gateway.decoding import SLICE, Decoder
from streams.gateway.ingest import Ingest, problem_of
from streams.gateway.lines import Line
from streams.gateway.problems import Problem
from streams.gateway.resuming import CHUNK_MS, Pace
from streams.media import MediaError


class Place(NamedTuple):
    """Where a feed would be resumed: the start of its lines (ms, event time), the chunk, and how
    much audio of the lines is before it; `confirmed_ms` is that of this feed, all its lines."""

    start: int | None
    sequence: int
    position_ms: int
    confirmed_ms: int


class Feed:
    """A decoder, and a line for each channel that it gives, all from the same `start` (ms) on.

    Use: `async with Feed(..) as feed`, `write` what comes, `close` where the client ends it; what
    is unfinished without that was cut off, and comes again. It begins with the chunk `sequence`, of
    those before `known` nothing is sent. With `keeps_time`, lines that fall behind the time of day
    for good begin anew. Raises Problem.
    """

    def __init__(
        self,
        ingest: Ingest,
        session: str,
        channels: Sequence[str],
        decoder: Decoder,
        *,
        start: int | None = None,
        sequence: int = 0,
        known: int = 0,
        keeps_time: bool = False,
    ) -> None:
        self.session = session
        self.channels = channels
        self._ingest = ingest
        self._decoder = decoder
        self._pace = Pace() if keeps_time else None
        self._news = asyncio.Event()
        self._lines = self._open(start, sequence, known)
        self._before_ms = -self.position_ms

    @property
    def start(self) -> int | None:
        """Event time (ms) from which the chunks of the lines count; None until there is one."""
        return self._lines[0].start

    @property
    def position_ms(self) -> int:
        """How much audio of the lines was taken."""
        return self._lines[0].position_ms

    @property
    def confirmed(self) -> Place:
        """How far Kafka has confirmed them all."""
        last = min(self._lines, key=lambda line: line.next_sequence)
        position = last.confirmed_ms
        return Place(self.start, last.next_sequence, position, self._before_ms + position)

    @property
    def problem(self) -> Problem | None:
        """Why a line is over, if one is."""
        return next((line.problem for line in self._lines if line.problem), None)

    async def news(self) -> None:
        """Returns when something was confirmed or begun since the last call, or a line is over."""
        await self._news.wait()
        self._news.clear()

    async def write(self, data: bytes) -> None:
        """Takes bytes as they come; waits while too much is unconfirmed."""
        size = SLICE if self._decoder.blocks else len(data) or 1
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            await self._put(await self._decoded(partial(self._decoder.feed, piece)))
        await self._keep_time()

    async def pause(self) -> None:
        """Sends what there is; what comes then begins anew, at the moment when it comes."""
        await self.flush()
        await self._begin(None)

    async def flush(self) -> None:
        """Sends what is not a whole chunk, too; the lines can be resumed no more."""
        for line in self._lines:
            await line.flush()

    async def settle(self) -> None:
        """Returns when all that was sent is confirmed."""
        for line in self._lines:
            await line.confirmed()

    async def close(self) -> None:
        """The client has sent all: decodes and sends what is left; returns when it is confirmed."""
        await self._put(await self._decoded(self._decoder.close))
        await self.flush()
        await self.settle()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._decoder.leave()

    def _open(self, start: int | None, sequence: int = 0, known: int = 0) -> list[Line]:
        return [
            self._ingest.line(
                self.session,
                channel,
                start,
                sequence,
                known=known,
                format=self._decoder.format,
                changed=self._news.set,
            )
            for channel in self.channels
        ]

    async def _decoded(self, decode: Callable[[], list[bytes]]) -> list[bytes]:
        try:
            if not self._decoder.blocks:
                return decode()
            with self._ingest.metrics.decode_seconds.labels("audio").time():
                return await asyncio.to_thread(decode)
        except MediaError as error:
            raise problem_of(error) from None

    async def _put(self, samples: Sequence[bytes]) -> None:
        if self.start is None and any(samples):
            start = self._ingest.begin(self.session, self.channels) - self.position_ms
            for line in self._lines:
                line.start = start
            self._news.set()
        for line, part in zip(self._lines, samples, strict=True):
            await line.write(part)

    async def _keep_time(self) -> None:
        """Begins the lines anew, with what is unfinished, where they have paused."""
        if self._pace is None or self.start is None:
            return
        reached = self.start + self.position_ms
        if lost := self._pace.lost(self._ingest.now(), reached):
            rests = [line.take() for line in self._lines]
            await self._begin(self.start + self.position_ms + lost)
            await self._put(rests)

    async def _begin(self, time: int | None) -> None:
        """Lines that begin at this time. Chunks are counted on: recognisers would wait for one that
        seems to be missing."""
        await self.settle()
        reached, sequence = self.position_ms, self.confirmed.sequence
        start = None if time is None else time - sequence * CHUNK_MS
        self._lines = self._open(start, sequence)
        self._before_ms += reached - self.position_ms
        self._news.set()
