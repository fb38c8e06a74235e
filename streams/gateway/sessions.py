"""The sessions that there are, or were a short while ago, each with its summary.

They are kept up to date from the results of all sessions; a gateway that starts reads back a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from streams.clock import now_ms
from streams.events import CodecError, EventType
from streams.gateway.cursor import Cursor
from streams.gateway.problems import Kind, Problem
from streams.gateway.results import Item, Results
from streams.gateway.summaries import Summary, fold

log = logging.getLogger("tenor.gateway")

MOST: Final = 2000
HOUR_MS: Final = 3_600_000
STAY_MS: Final = HOUR_MS
"""How long a session stays of which nothing more is heard: one that has not ended would have
expired by then."""
SLACK_MS: Final = 60_000
"""By so much may Kafka's stamps be out of order, and partial captions, which are not looked at,
come before what is."""
READ_BACK_MS: Final = 2 * HOUR_MS
LOOK_S: Final = 1.0
AGAIN_S: Final = 2.0
"""Before the results are asked for again, where they could not be had."""
TYPES: Final = tuple(type_ for type_ in EventType if type_ is not EventType.CAPTION_PARTIAL)

Owns = Callable[[str], bool]
"""Whether somebody may know of a session."""


class Watch:
    """What somebody has not been told yet: by session, so that it is never more than these."""

    def __init__(self, board: Board, owns: Owns) -> None:
        self._board = board
        self._owns = owns
        self._changed = {summary.session for summary in board.all(owns)}
        self._woken = asyncio.Event()

    def mark(self, session: str) -> None:
        """It has changed, or is gone."""
        if self._owns(session):
            self._changed.add(session)
            self._woken.set()

    def take(self) -> tuple[list[Summary], list[str]]:
        """The summaries that changed since the last time, and the sessions that are gone."""
        changed, self._changed = self._changed, set()
        found = {session: self._board.get(session) for session in sorted(changed)}
        gone = [session for session, summary in found.items() if summary is None]
        return [summary for summary in found.values() if summary], gone

    async def wait(self, seconds: float) -> None:
        """Until something has changed, for so long at most."""
        self._woken.clear()
        if not self._changed:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._woken.wait()


class Board:
    """The summaries, at most `MOST`. Pure, but that those who watch are woken."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._summaries: dict[str, Summary] = {}
        self._watches: set[Watch] = set()
        self.forgotten = 0
        """When (ms) was last heard of one of those for which there was no room."""

    def __len__(self) -> int:
        return len(self._summaries)

    def get(self, session: str) -> Summary | None:
        return self._summaries.get(session)

    def all(self, owns: Owns = lambda session: True) -> list[Summary]:
        """Those that somebody may know of: the one that was heard of last comes first."""
        found = [each for each in self._summaries.values() if owns(each.session)]
        return sorted(found, key=lambda each: (-each.written[1], each.session))

    def take(self, item: Item) -> None:
        """One more result."""
        session = item.event.session
        before = self._summaries.get(session, Summary(session))
        with suppress(CodecError):
            self._summaries[session] = fold(before, item.event, item.written)
            self._mark(session)
        while len(self._summaries) > self._most:
            least = min(self._summaries.values(), key=_worth)
            self.forgotten = max(self.forgotten, least.written[1])
            self._remove(least.session)

    def clear(self) -> None:
        """Takes away all of them."""
        for session in list(self._summaries):
            self._remove(session)

    def expire(self, now: int) -> None:
        """Takes away what was heard of last more than `STAY_MS` before `now` (ms)."""
        for summary in list(self._summaries.values()):
            if summary.written[1] < now - STAY_MS:
                self._remove(summary.session)

    @contextmanager
    def watched(self, owns: Owns) -> Iterator[Watch]:
        """At first everything has changed."""
        watch = Watch(self, owns)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def _remove(self, session: str) -> None:
        del self._summaries[session]
        self._mark(session)

    def _mark(self, session: str) -> None:
        for watch in self._watches:
            watch.mark(session)


def _worth(summary: Summary) -> tuple[bool, int]:
    """Those that have ended go first, then those that were not heard of for longest."""
    return summary.ended is None, summary.written[1]


class Sessions:
    """The board of an installation. `start` it, and `stop` it at the end."""

    def __init__(self, results: Results, now: Callable[[], int] = now_ms) -> None:
        self.board = Board()
        self._results = results
        self._now = now
        self._begun = 0
        self._cursor: Cursor | None = None
        self._caught_up = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def not_ready(self) -> str:
        """Why not all sessions may be known; empty: they are."""
        if self._task and self._task.done():
            return "the sessions are not followed any more"
        return "" if self._caught_up else "the sessions of the last hours are being read"

    def since(self, session: str) -> int | None:
        """A time (ms) before which nothing of a session was written; None: that is not known. It is
        if it was not heard of for so long before its first result that it would have expired."""
        summary = self.board.get(session)
        unknown = max(self._begun, self.board.forgotten)  # up to then it may have been heard of
        if summary is None or summary.written[0] < unknown + STAY_MS:
            return None
        return summary.written[0] - SLACK_MS

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except Problem as problem:
                if problem.kind is not Kind.UNAVAILABLE:  # of which the reader of the logs tells
                    log.warning("the sessions: %s", problem.detail)
                if problem.kind is Kind.GONE:  # some results will come a second time
                    self._cursor = None
                    self.board.clear()
                await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        if self._cursor is None:
            self._begun = self._now() - READ_BACK_MS
        async with self._results.following(
            None, self._cursor, since=self._begun, types=TYPES
        ) as following:
            while True:
                items = await following.batch(LOOK_S)
                for item in items:
                    self.board.take(item)
                if items:
                    self._cursor = Cursor.parse(items[-1].cursor)
                self._caught_up = following.live
                if following.live or items:  # else in the time of what is being read
                    self.board.expire(self._now() if following.live else items[-1].written)
