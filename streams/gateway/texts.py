"""What was typed in a session, and is no result: read from the log of texts, and kept for a while.

A page asks for it again and again. Only what was written meanwhile is read then.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from typing import Final

from aiokafka import ConsumerRecord

from streams import codec
from streams.clock import now_ms
from streams.events import TYPES_OF_TOPIC, CodecError, EventType
from streams.gateway.seam import Place
from streams.gateway.shelf import Replay, Shelf
from streams.messages import Typed, TypedTexts

SESSIONS: Final = 100
"""Of which it is known what was typed."""
LARGEST: Final = 4 * 2**20
"""Bytes of the texts of one; no more are told of."""


class Texts:
    """Those of an installation. Raises Problem 503 if Kafka does not answer."""

    def __init__(self, shelf: Shelf, topic: str) -> None:
        self._shelf = shelf
        self._topic = topic
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def of(self, session: str, since: int) -> list[Typed]:
        """What was typed in a session, in order of time; written at `since` (ms) or later."""
        known = self._known.setdefault(session, _Known())
        self._known.move_to_end(session)
        if len(self._known) > SESSIONS:
            self._known.popitem(last=False)
        async with known.lock:
            await self._read(known, session.encode(), since)
        return known.texts.in_order()

    async def _read(self, known: _Known, key: bytes, since: int) -> None:
        count = (await self._shelf.partitions()).get(self._topic, 0)
        # Who writes texts may deal sessions out to partitions otherwise than we do.
        places: list[Place] = [(self._topic, number) for number in range(count)]
        if not places:
            return
        ends = {place: end for place, (_, end) in (await self._shelf.bounds(places)).items()}
        if places != list(known.read):
            found = await self._shelf.since(places, since)
            known.read = {place: found.get(place, ends[place]) for place in places}
        spans = {p: (known.read[p], ends[p]) for p in places if known.read[p] < ends[p]}
        replay = Replay(self._shelf, spans, lambda record: bool(record.key == key))
        while batch := await replay.step():
            for record in batch:
                known.add(record)
        known.read = ends


class _Known:
    """The texts of a session, and how far they were read."""

    def __init__(self) -> None:
        self.texts = TypedTexts(LARGEST)
        self.read: dict[Place, int] = {}
        self.lock = asyncio.Lock()

    def add(self, record: ConsumerRecord) -> None:
        with suppress(CodecError):
            event = codec.decode(
                record.key,
                record.value,
                record.headers,
                now=now_ms(),
                accept=TYPES_OF_TOPIC["text"],
            )
            if event.type is EventType.TEXT_MESSAGE:
                self.texts.add(event)
