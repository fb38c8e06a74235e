"""What one client is given of the logs of results: all that follows its cursor, once. Pure.

Two readings of the logs come together here. The *tail* brings what is written from now on, to all
clients of a gateway; a *replay* brings to one client what was written before. The seam between
them has no hole, as a client is put on the tail before its replay begins, which then reads up to
where the tail was at that moment; and no repetition, as of each log only what lies behind the
client's position passes, which it moves. The log is the buffer: if too much waits while a client
is still being brought up to date, what waits is given up, and read from the log with another
replay. Once it is live, it is cut off instead, and comes back by its cursor.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from streams.events import Event
from streams.results import CaptionFinal, CaptionPartial, Gap, Result, SentimentWindow, Silence

Place = tuple[str, int]
"""A log: a topic and the number of its partition."""
Span = tuple[int, int]
"""Offsets, [start, end)."""

OVERHEAD: Final = 1000
"""Bytes of an entry beside its value."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A result, and where in the logs it is; `written` is Kafka's stamp (ms)."""

    place: Place
    offset: int
    written: int
    event: Event
    result: Result

    @property
    def size(self) -> int:
        """Bytes, about."""
        return len(self.event.data) + OVERHEAD


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may wait for one client (entries, and their bytes), and how many ids are kept, by which
    a result is known that is in the log twice."""

    entries: int = 1000
    size: int = 2 * 2**20
    ids: int = 500


class Recent:
    """The ids that came last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ids: dict[str, None] = {}

    def new(self, id_: str) -> bool:
        """Whether it is none of them; it is one from now on."""
        if id_ in self._ids:
            return False
        self._ids[id_] = None
        if len(self._ids) > self._most:
            del self._ids[next(iter(self._ids))]
        return True


class Seam:
    """One client. Use: `attach` it in the moment from which on the tail `offer`s it what comes;
    while it is `missing` something, put in what a replay `found` of that, `take` all of it, and say
    when that was all (`caught_up`); then it is `live`, and `take` gives what the tail offered."""

    def __init__(self, start: Mapping[Place, int], bounds: Bounds) -> None:
        self.positions = dict(start)
        self.live = False
        self.too_slow = False
        self._bounds = bounds
        self._recent = Recent(bounds.ids)
        self._target: dict[Place, int] = {}
        self._found = deque[Entry]()
        self._mail = deque[Entry]()
        self._mail_size = 0
        self._lapsed = False

    def attach(self, tail: Mapping[Place, int]) -> None:
        """From now on everything from these offsets on is offered."""
        self._clear()
        self._lapsed = False
        self._target = dict(tail)
        self.live = not self.missing()

    def missing(self) -> dict[Place, Span]:
        """What has to be read from the logs."""
        spans = {place: (self.positions.get(place, 0), end) for place, end in self._target.items()}
        return {place: (start, end) for place, (start, end) in spans.items() if start < end}

    def found(self, entries: Iterable[Entry]) -> None:
        """A replay brings these, in the order of each log."""
        self._found.extend(entries)

    def caught_up(self) -> bool:
        """All that was missing has been found and taken. If false, too much waited meanwhile: it
        has to be attached again."""
        self._move(self._target)
        self.live = not self._lapsed
        return self.live

    def offer(self, entry: Entry) -> None:
        """The tail brings this."""
        if self._lapsed or self.too_slow:
            return
        self._mail.append(entry)
        self._mail_size += entry.size
        if len(self._mail) > self._bounds.entries or self._mail_size > self._bounds.size:
            self._clear()
            self.too_slow = self.live
            self._lapsed = not self.live

    def take(self) -> Entry | None:
        """The next one for the client, if there is one; it counts as given."""
        queue = self._mail if self.live else self._found
        while queue:
            entry = queue.popleft()
            if self.live:
                self._mail_size -= entry.size
            if self._passes(entry):
                return entry
        return None

    def rest(self, tail: Mapping[Place, int]) -> None:
        """Where a client has everything, it is where the tail is."""
        if self.live and not self.too_slow and not self._mail:
            self._move(tail)

    def _passes(self, entry: Entry) -> bool:
        if entry.offset < self.positions.get(entry.place, 0):
            return False
        self.positions[entry.place] = entry.offset + 1
        return self._recent.new(entry.event.id)

    def _move(self, ends: Mapping[Place, int]) -> None:
        for place, end in ends.items():
            self.positions[place] = max(end, self.positions.get(place, 0))

    def _clear(self) -> None:
        self._mail.clear()
        self._mail_size = 0


class Written(Protocol):
    """A record, as far as its order is concerned."""

    @property
    def timestamp(self) -> int: ...


R = TypeVar("R", bound=Written)


@dataclass(slots=True)
class _Lane(Generic[R]):
    """One log: what was read and not yet given, and when the last that was read was written."""

    until: int = -1
    done: bool = False
    waiting: deque[tuple[int, R]] = field(default_factory=deque)


class Merge(Generic[R]):
    """Brings the records of several logs into the order in which they were written; those of one
    log stay as they are. Use: read the logs that are `behind`, `add` what was found, `take`."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._lanes: dict[Place, _Lane[R]] = {place: _Lane() for place in places}

    @property
    def behind(self) -> list[Place]:
        """The logs that have to be read on before anything more can be taken; none: all is read."""
        unread = {place: lane.until for place, lane in self._lanes.items() if not lane.done}
        least = min(unread.values(), default=0)
        return [place for place, until in unread.items() if until == least]

    def add(
        self, place: Place, records: Sequence[R], keep: Callable[[R], bool], *, done: bool
    ) -> None:
        """What was read next of a log, of which some are kept; `done`: that was its end."""
        lane = self._lanes[place]
        for record in records:
            lane.until = max(lane.until, record.timestamp)
            if keep(record):
                lane.waiting.append((lane.until, record))
        lane.done = done

    def take(self) -> list[R]:
        """All of which nothing can come before any more."""
        unread = [lane.until for lane in self._lanes.values() if not lane.done]
        until = min(unread, default=None)
        ready = [list(_up_to(lane, until)) for lane in self._lanes.values()]
        return [record for _, record in heapq.merge(*ready, key=lambda pair: pair[0])]


def _up_to(lane: _Lane[R], until: int | None) -> Iterable[tuple[int, R]]:
    while lane.waiting and (until is None or lane.waiting[0][0] <= until):
        yield lane.waiting.popleft()


def newest(entries: Sequence[Entry]) -> list[Entry]:
    """Without what later ones of these replace: partial captions, and provisional windows."""
    replaced = _Replaced()
    kept = [entry for entry in reversed(entries) if not replaced.by_later(entry.result)]
    return kept[::-1]


class _Replaced:
    """Which results are replaced, looking at them from the last to the first."""

    def __init__(self) -> None:
        self._partials = set[tuple[str, str, int]]()
        self._accounted: dict[tuple[str, str], int] = {}
        self._windows: dict[tuple[str, str, int], float] = {}

    def by_later(self, result: Result) -> bool:
        match result:
            case CaptionPartial():
                return self._partial(result)
            case CaptionFinal() | Silence() | Gap():
                channel = result.session, result.channel
                self._accounted[channel] = max(result.end, self._accounted.get(channel, 0))
            case SentimentWindow():
                return self._window(result)
        return False

    def _partial(self, result: CaptionPartial) -> bool:
        utterance = result.session, result.channel, result.start
        reached = self._accounted.get((result.session, result.channel), 0)
        if utterance in self._partials or reached > result.start:
            return True
        self._partials.add(utterance)
        return False

    def _window(self, result: SentimentWindow) -> bool:
        """A final one replaces provisional ones, of which the highest revision counts."""
        window = result.session, result.channel, result.start
        rank = float("inf") if result.final else result.revision
        later = self._windows.get(window, -1)
        self._windows[window] = max(rank, later)
        return not result.final and later >= rank
