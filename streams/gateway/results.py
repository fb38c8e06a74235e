"""Results as clients of the gateway get them: live, or from a cursor on, of one session or of all.

All state is in Kafka's logs, and in the cursors that clients give back. `Results` holds the tail
of the logs, which is read once, and hands what comes to the clients that want it; what was before
is read for each of them by `streams.gateway.shelf`. How both come together is decided by
`streams.gateway.seam`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Self

from aiokafka import ConsumerRecord

from streams.connection import Connection
from streams.events import Event, EventType, Topics
from streams.gateway.cursor import Cursor
from streams.gateway.problems import Kind, Problem
from streams.gateway.seam import Bounds, Entry, Place, Seam, newest
from streams.gateway.shelf import FULL, Keep, Replay, Shelf, gone
from streams.gateway.tail import AT_ONCE, Tail, entry_of
from streams.gateway.texts import Texts
from streams.gateway.turns import Turns
from streams.topics import partition_of

FOLLOWERS: Final = 5000
"""The most who are given results at one time."""
ONE: Final = Bounds()
ALL: Final = Bounds(entries=10_000, size=16 * 2**20, ids=20_000)
"""What may wait for a client of one session, and of all."""
ARCHIVE: Final = 3
PICTURES: Final = 8
WAITING: Final = 200
"""How many read whole sessions, or look for a picture, at one time, and how many others wait."""
BATCH: Final = 100
"""The most that is given to a client at once."""


@dataclass(frozen=True, slots=True)
class Item:
    """A result for a client: `cursor` is where it is then, `written` when Kafka took it (ms)."""

    cursor: str
    event: Event
    written: int = 0


class Results:
    """The results of an installation. `start` it, and `stop` it at the end.

    `texts` is what was typed. Who reads a whole session, or a picture, otherwise than here, takes a
    turn at `archive` or `pictures`.
    """

    def __init__(self, brokers: Connection, topics: Topics) -> None:
        self.shelf = Shelf(brokers)
        self.archive = Turns(ARCHIVE, WAITING, FULL)
        self.pictures = Turns(PICTURES, WAITING, FULL)
        self.texts = Texts(self.shelf, topics.text)
        self.topics = topics
        self.tail = Tail(brokers, topics, self._deliver, self._lost)
        self._followers: defaultdict[str | None, set[Following]] = defaultdict(set)
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to read; whether it already does, `not_ready` tells."""
        self._reading = asyncio.create_task(self.tail.run())

    async def stop(self) -> None:
        if self._reading:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self.shelf.close()

    def not_ready(self) -> str:
        """Why what is written now may not come; empty: it does."""
        if self._reading and self._reading.done():
            return "the results are not read any more"
        return self.tail.not_ready()

    @property
    def followers(self) -> int:
        """Who is being given results."""
        return sum(map(len, self._followers.values()))

    def now(self) -> Cursor:
        """From now on: who follows from here misses nothing that is written from this moment on,
        and gets nothing of before. Raises Problem 503."""
        return cursor_of(self._positions(), self.topics, whole=True)

    @asynccontextmanager
    async def following(
        self,
        session: str | None,
        after: Cursor | None,
        *,
        namespace: str = "",
        since: int | None = None,
        types: Collection[EventType] = tuple(EventType),
    ) -> AsyncIterator[Following]:
        """The results of a session, or of all whose ids begin with `namespace`, of certain types;
        they never end.

        After a cursor, what follows it. Without one, what was written `since` a time (ms), else of
        a session all that there is, of all sessions what comes from now on.

        Raises:
            Problem: here and by `batch`: 410, what the cursor names is not there (any more); 429,
                it was not asked for fast enough, come back with the last cursor; 503, Kafka cannot
                be read.
        """
        if self.followers >= FOLLOWERS:
            raise Problem(Kind.UNAVAILABLE, "too many are given results", retry_after_s=10)
        start = await self._start(session, after, since)
        follower = Following(self, session, start, namespace, types)
        self._followers[session].add(follower)
        try:
            follower.attach()
            yield follower
        finally:
            self._followers[session].discard(follower)
            if not self._followers[session]:
                del self._followers[session]

    @asynccontextmanager
    async def history(
        self, session: str, after: Cursor | None = None, *, since: int | None = None
    ) -> AsyncIterator[AsyncIterator[Item]]:
        """The results of a session up to now. Raises Problem as `following`."""
        start = await self._start(session, after, since)
        ends = {place: end for place, (_, end) in (await self.shelf.bounds(start)).items()}
        past = Following(self, session, start, "", tuple(EventType))
        past.attach(ends)

        async def items() -> AsyncGenerator[Item]:
            while found := await past.past():
                for item in found:
                    yield item

        async with aclosing(items()) as found:
            yield found

    async def _start(
        self, session: str | None, after: Cursor | None, since: int | None
    ) -> dict[Place, int]:
        """From where on somebody is to be given results."""
        tail = self._positions()
        places = self._places(session, after)
        if after is None and since is None and session is None:
            return tail
        wanted = _offsets(after, self.topics) if after else {}
        if after and all(tail.get(place) == wanted.get(place, 0) for place in places):
            return {place: tail[place] for place in places}
        bounds = await self.shelf.bounds(places)
        if after:
            start = {place: wanted.get(place, bounds[place][0]) for place in places}
            if any(not bounds[place][0] <= start[place] <= bounds[place][1] for place in places):
                raise gone()
            return start
        if since is None:
            return {place: begin for place, (begin, _) in bounds.items()}
        found = await self.shelf.since(places, since)
        return {place: found.get(place, end) for place, (_, end) in bounds.items()}

    def _places(self, session: str | None, after: Cursor | None) -> list[Place]:
        """The logs in which somebody's results are. Raises Problem 410, 422."""
        count = self.tail.partitions
        if session is None:
            if after and not after.whole:
                raise Problem(Kind.INVALID, "this is the cursor of one session, not of all")
            numbers = set(range(count))
        else:
            numbers = {partition_of(session, count)}
        if after and (after.offsets.keys() - set(range(count))):
            raise gone()
        if after and not after.whole:
            numbers |= after.offsets.keys()
        names = self.topics.recognition, self.topics.sentiment
        return [(topic, number) for topic in names for number in sorted(numbers)]

    def _positions(self) -> dict[Place, int]:
        if not self.tail.positions:
            why = self.tail.not_ready() or "the logs are being found anew"
            raise Problem(Kind.UNAVAILABLE, why, retry_after_s=1)
        return dict(self.tail.positions)

    def _deliver(self, entry: Entry) -> None:
        for key in (entry.event.session, None):
            for follower in self._followers.get(key, ()):
                follower.offer(entry)

    def _lost(self) -> None:
        for followers in self._followers.values():
            for follower in followers:
                follower.end(gone())


class Following:
    """What one client is given. Whoever is cancelled while waiting here may wait again."""

    def __init__(
        self,
        results: Results,
        session: str | None,
        start: Mapping[Place, int],
        namespace: str,
        types: Collection[EventType],
    ) -> None:
        self._results = results
        self._session = session
        self._namespace = namespace
        self._types = frozenset(types)
        self._places = start.keys()
        self._seam = Seam(start, ALL if session is None else ONE)
        self._keep = _keeper(session, namespace, types)
        self._replay: Replay | None = None
        self._found: deque[ConsumerRecord] = deque()
        self._entries: list[Entry] = []
        self._woken = asyncio.Event()
        self._why: Problem | None = None

    def attach(self, ends: Mapping[Place, int] | None = None) -> None:
        """What was written before has to be read up to these ends; None: to where the tail is,
        which from now on offers what comes."""
        self._seam.attach(self._tail() if ends is None else ends)
        self._replay = None

    def offer(self, entry: Entry) -> None:
        """The tail brings this."""
        event = entry.event
        if event.type in self._types and event.session.startswith(self._namespace):
            self._seam.offer(entry)
            self._woken.set()

    def end(self, why: Problem) -> None:
        """There is nothing more to come."""
        self._why = why
        self._woken.set()

    @property
    def live(self) -> bool:
        """Whether all that was written before has been given."""
        return self._seam.live

    @property
    def cursor(self) -> str:
        """Where the client is."""
        self._seam.rest(self._tail())
        return self._cursor()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while not (items := await self.batch(None, 1)):
            pass
        return items[0]

    async def batch(self, wait_s: float | None, most: int = BATCH) -> list[Item]:
        """What there is, in its order; if there is nothing, what comes within that time.

        Raises:
            Problem: as `Results.following`.
        """
        clock = asyncio.get_running_loop().time
        until = None if wait_s is None else clock() + wait_s
        while not (items := self._taken(most)):
            if self._seam.live:
                await self._wait(until)
            else:  # a step is not broken off, or long ones would never be done
                await self._read()
            if until is not None and clock() >= until:
                return self._taken(most)
        return items

    async def past(self, most: int = BATCH) -> list[Item]:
        """The next ones of what was written before; none: that was all."""
        while not (items := self._taken(most)) and not self._seam.live:
            await self._read()
        return items

    async def _wait(self, until: float | None) -> None:
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._woken.wait()

    async def _read(self) -> None:
        """A step of the replay."""
        if self._replay is None:
            self._replay = Replay(self._results.shelf, self._seam.missing(), self._keep)
        if not self._found and not self._entries:
            self._found.extend(await self._replay.step())
            if not self._found and not self._seam.caught_up():
                self.attach()
        await self._decode()

    async def _decode(self) -> None:
        """Now and then others get their turn."""
        while self._found:
            entry = entry_of(self._found.popleft(), self._results.topics)
            if entry:
                self._entries.append(entry)
            if len(self._found) % AT_ONCE == 0:
                await asyncio.sleep(0)
        self._seam.found(newest(self._entries))
        self._entries.clear()

    def _taken(self, most: int) -> list[Item]:
        if self._why:
            raise self._why
        items = list[Item]()
        while len(items) < most and (entry := self._seam.take()):
            items.append(Item(self._cursor(), entry.event, entry.written))
        if not items and self._seam.too_slow:
            raise Problem(
                Kind.TOO_SLOW,
                "more results came than were taken; go on after the last cursor",
                retry_after_s=1,
            )
        return items

    def _cursor(self) -> str:
        whole = self._session is None
        return str(cursor_of(self._seam.positions, self._results.topics, whole=whole))

    def _tail(self) -> dict[Place, int]:
        tail = self._results.tail.positions
        places = tail if self._session is None else self._places
        return {place: tail[place] for place in places if place in tail}


def cursor_of(positions: Mapping[Place, int], topics: Topics, *, whole: bool) -> Cursor:
    """The cursor that says so."""
    names = topics.recognition, topics.sentiment
    numbers = {number for _, number in positions}
    if whole:
        numbers = set(range(max(numbers, default=-1) + 1))
    offsets = {n: tuple(positions.get((name, n), 0) for name in names) for n in numbers}
    return Cursor({n: (pair[0], pair[1]) for n, pair in offsets.items()}, whole)


def _offsets(cursor: Cursor, topics: Topics) -> dict[Place, int]:
    names = topics.recognition, topics.sentiment
    return {
        (name, number): offset
        for number, offsets in cursor.offsets.items()
        for name, offset in zip(names, offsets, strict=True)
    }


def _keeper(session: str | None, namespace: str, types: Collection[EventType]) -> Keep:
    """Which records have to be read for a client: told by their bytes, as most are of others."""
    key = None if session is None else session.encode()
    begin = namespace.encode()
    left_out = {type_.value.encode() for type_ in set(EventType) - set(types)}

    def keep(record: ConsumerRecord) -> bool:
        found: bytes = record.key or b""
        if found != key if key is not None else not found.startswith(begin):
            return False
        return not left_out or all(
            value not in left_out for name, value in record.headers if name == "ce_type"
        )

    return keep
