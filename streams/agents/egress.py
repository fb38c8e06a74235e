"""The way out of the audio agent: pieces of a session are recognised side by side, and delivered in
the order in which they were cut.

A piece has left when Kafka has confirmed what it leads to. Then its session keeps where the next
one begins, and only after that the chunks are acknowledged of which nothing is left to be said. The
captions that have left help to recognise what other voices say after them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from streams import tracing
from streams.agents.base import Room
from streams.agents.speech import Said, Speaker
from streams.captions import Chunk, Part, Piece
from streams.context import EARLIER_MS, Heard
from streams.delivery import Outbox
from streams.metrics import Metrics
from streams.results import CaptionFinal, Result, result_of

PIECES: Final = 32
"""Pieces of a session that may wait to be delivered; then the session reads no further."""
HEARD_MS: Final = 60_000
"""How long an earlier caption can bias what is said after it."""


@dataclass(slots=True, eq=False)
class Receipt:
    """Acknowledges a record when all `parts` that it has in the channels are done."""

    acknowledge: Callable[[], object]
    parts: int = 1

    def done(self) -> None:
        self.parts -= 1
        if not self.parts:
            self.acknowledge()


@dataclass(slots=True, eq=False)
class Leaving:
    """A piece on its way out: cut when the record at `offset` came."""

    speaker: Speaker
    piece: Piece
    offset: int
    said: asyncio.Task[Said]
    delivered: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True, eq=False)
class Egress:
    """The way out of one session.

    `backlog` bounds the bytes of all that waits in the agent, and `fail` ends it. Of the session,
    `begun` gives the event time (ms) up to which each of its channels has been delivered, `save`
    keeps where it goes on after a restart, and `report` tells how far a channel is. `heard` are its
    captions of the last minute.
    """

    outbox: Outbox
    backlog: Room
    metrics: Metrics
    fail: Callable[[BaseException], None]
    begun: Callable[[], int]
    save: Callable[[], Coroutine[Any, Any, None]]
    report: Callable[[Speaker], Coroutine[Any, Any, None]]
    heard: list[Heard] = field(default_factory=list)
    _under_way: list[Leaving] = field(default_factory=list)
    _queue: asyncio.Queue[Leaving] = field(default_factory=lambda: asyncio.Queue(PIECES))
    _work: asyncio.Task[None] | None = None

    async def send(self, speaker: Speaker, piece: Piece, offset: int) -> None:
        """Takes a piece that was cut when the record at `offset` came; waits for room."""
        await self.backlog.take(size_of(piece))
        leaving = Leaving(speaker, piece, offset, speaker.final(piece))
        self._under_way.append(leaving)
        await self._queue.put(leaving)
        self._work = self._work or asyncio.create_task(self._deliver_all())

    async def join(self) -> None:
        """Waits until everything has left, and is acknowledged."""
        await self._queue.join()

    async def earlier(self, name: str, start: int, offset: int) -> list[Heard]:
        """The captions that may help what the channel `name` says from `start` (ms) on, in the
        record at `offset`. Those that an earlier record cut leave before it: to wait for others
        might be to wait in a circle. And they are of other channels: a voice that is misheard once
        would only be misheard again."""
        for leaving in [each for each in self._under_way if each.offset < offset]:
            if leaving.piece.end <= start - EARLIER_MS:
                await leaving.delivered.wait()
        others = [each for each in self.heard if each.channel != name]
        return [each for each in others if each.end >= start - HEARD_MS]

    async def close(self) -> None:
        """Delivers nothing more; of what was on its way nothing is acknowledged."""
        if self._work:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        for leaving in self._under_way:
            self.backlog.give_back(size_of(leaving.piece))

    async def _deliver_all(self) -> None:
        """Delivers the pieces in the order in which they were cut."""
        while True:
            leaving = await self._queue.get()
            try:
                said = await leaving.said
                with tracing.within(said.trace):
                    await self._deliver(leaving, said)
            except Exception as error:
                self.fail(error)
                raise
            self._queue.task_done()

    async def _deliver(self, leaving: Leaving, said: Said) -> None:
        """Delivers a piece, keeps where the next one begins, and acknowledges."""
        await self.outbox.deliver([said.result])
        event = said.result[1]
        result = result_of(event)
        self.metrics.observe_audio(result, leaving.piece.lost_ms)
        self._keep(event.id, result, leaving.offset)
        leaving.delivered.set()
        if said.voice and (feature := await said.voice):
            await self.outbox.deliver([feature])
        done = leaving.speaker.track.settle(leaving.piece)
        leaving.speaker.forget(leaving.piece)
        self._under_way.remove(leaving)
        self.backlog.give_back(size_of(leaving.piece))
        await self.save()
        for part in done:
            receipt_of(part).done()
        await self.report(leaving.speaker)

    def _keep(self, id_: str, caption: Result, offset: int) -> None:
        """Keeps a caption, if it is one, for what is said within a minute of it."""
        if not isinstance(caption, CaptionFinal):
            return
        oldest = self.begun() - HEARD_MS
        heard = [each for each in self.heard if each.end >= oldest and each.id != id_]
        kept = Heard(id_, caption.end, offset, caption.text, caption.channel)
        self.heard = [*heard, kept]


def size_of(piece: Piece) -> int:
    """Bytes of memory of a piece that waits: its samples here, and as floats at the recogniser."""
    return piece.audio.nbytes + 4 * piece.audio.size


def receipt_of(part: Part | Chunk) -> Receipt:
    assert isinstance(part.source, Receipt)  # noqa: S101  (every chunk is made with one)
    return part.source
