"""The window-join as a pure state machine: which features of a session belong together, and when.

Time is event time in integer milliseconds. A feature belongs to the tumbling window in which its
span *ends*, so that a window never waits for speech that is still going on. A session's watermark
is the minimum over its live sources that report their progress: audio channels always do, chat and
pictures where their producer does. Sources that do not have `lateness` to arrive. A feature may
announce a companion (`expects`: the words of a voice segment); its window waits for that one too.

No clock: idleness reaches the machine as a `Tick` that was read from the log like everything else,
so a replay of the log takes the same decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

INPUTS: Final = frozenset({"audio", "text", "images"})
"""Where a session's events come from; it is over when all of them have ended."""


@dataclass(frozen=True, slots=True)
class Item:
    """One feature on its way into a window.

    `id` tells it from others (a repeated item is taken once), `offset` is its place in the log,
    `source` its input ("text") or channel of one
    ("audio/customer"), `end` the end of its span (ms), `evidence` the id of what it
    stands for, `expects` the id of a companion; `payload` is the caller's and is never looked at.
    """

    id: str
    offset: int
    source: str
    end: int
    evidence: str = ""
    expects: str = ""
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Progress:
    """A source has delivered everything that ends at or before `time` (ms)."""

    offset: int
    source: str
    time: int


@dataclass(frozen=True, slots=True)
class Tick:
    """These sources have been silent for so long that nothing shall wait for them.

    Where no source reports progress, event time is complete up to `until` (ms). With `expire`, the
    whole session has been silent.
    """

    offset: int
    idle: frozenset[str] = frozenset()
    until: int = 0
    expire: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """No more events of the session will come from this input."""

    offset: int
    input: str


Event = Item | Progress | Tick | Ended


@dataclass(frozen=True, slots=True)
class Window:
    """A closed window: [start, end) in ms, and its items in the order of their ends, which
    does not depend on how the log mixed their sources."""

    start: int
    end: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step did.

    `closed`: windows that hold items and closed, oldest first. `advanced`: a new snapshot is due.
    `late`: the item missed its window. `repeated`: the event had its effect before a restart.
    `ended`: the session is over, its state empty.
    """

    closed: tuple[Window, ...] = ()
    advanced: bool = False
    late: bool = False
    repeated: bool = False
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """Window `length` and allowed `lateness` of sparse sources, both in ms.

    For `memory` ms after its window closed an item is known, should it come again.
    """

    length: int = 5000
    lateness: int = 1000
    memory: int = 60_000


@dataclass(slots=True)
class SessionWindows:
    """The open windows of one session.

    A restart needs the last `snapshot` and, fed again after `restore`, all items of windows that
    were open at that snapshot and all events after it. What a snapshot covers is recognised by its
    offset, so feeding more than that does no harm.
    """

    rules: Rules
    closed_until: int = 0
    closed_at: int = -1
    marks: dict[str, int] = field(default_factory=dict)
    idle: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    sparse: set[str] = field(default_factory=set)
    latest: int = 0
    ticked: int = 0
    known: dict[str, int] = field(default_factory=dict)
    _open: dict[int, list[Item]] = field(default_factory=dict)
    _awaited: dict[str, int] = field(default_factory=dict)
    _arrived: dict[str, int] = field(default_factory=dict)

    @property
    def watermark(self) -> int:
        """How far event time is complete (ms)."""
        live = [mark for source, mark in self.marks.items() if source not in self.idle]
        return min(live) if live else self.ticked

    @property
    def dated(self) -> bool:
        """Whether a live source reports progress; if none does, ticks say how far time is."""
        return any(source not in self.idle for source in self.marks)

    @property
    def sources(self) -> frozenset[str]:
        """All sources that have been seen."""
        return frozenset(self.marks) | self.sparse

    @property
    def open(self) -> int:
        """How many windows wait to be closed."""
        return len(self._open)

    def step(self, event: Event) -> Outcome:
        """Takes the next event of the log."""
        if isinstance(event, Item):
            return self._item(event)
        if event.offset <= self.closed_at:
            return Outcome(repeated=True)
        match event:
            case Progress():
                self._progress(event.source, event.time)
            case Ended():
                self.ended.add(event.input)
                self.idle |= {s for s in self.sources if s.split("/")[0] == event.input}
            case Tick():
                self.ticked = max(self.ticked, event.until)
                self.idle |= event.idle & self.sources
                if event.expire or self.idle >= self.sources:
                    return self._close_all(event, over=event.expire or bool(self.ended))
        return self._close(event)

    def snapshot(self) -> dict[str, Any]:
        """What `restore` needs, as JSON values."""
        return {
            "closed_until": self.closed_until,
            "closed_at": self.closed_at,
            "marks": dict(self.marks),
            "idle": sorted(self.idle),
            "ended": sorted(self.ended),
            "sparse": sorted(self.sparse),
            "latest": self.latest,
            "ticked": self.ticked,
            "known": {id_: end for id_, end in self.known.items() if end < self.closed_until},
        }

    @classmethod
    def restore(cls, rules: Rules, state: Mapping[str, Any]) -> SessionWindows:
        """The state at a snapshot, without the items of open windows."""
        return cls(
            rules,
            closed_until=state["closed_until"],
            closed_at=state["closed_at"],
            marks=dict(state["marks"]),
            idle=set(state["idle"]),
            ended=set(state["ended"]),
            sparse=set(state["sparse"]),
            latest=state["latest"],
            ticked=state["ticked"],
            known=dict(state["known"]),
        )

    def _item(self, item: Item) -> Outcome:
        if item.id in self.known:
            return Outcome(repeated=True)
        covered = item.offset <= self.closed_at
        if not covered:
            self._seen(item)
        if item.end < self.closed_until:
            self._awaited.pop(item.evidence, None)
            if not covered:
                self.known[item.id] = item.end
            outcome = Outcome() if covered else self._close(item)
            return Outcome(outcome.closed, outcome.advanced, not covered, covered, outcome.ended)
        self.known[item.id] = item.end
        start = item.end - item.end % self.rules.length
        self._open.setdefault(start, []).append(item)
        self._pair(item)
        return Outcome() if covered else self._close(item)

    def _seen(self, item: Item) -> None:
        self.latest = max(self.latest, item.end)
        self._wake(item.source)
        if item.source not in self.marks:
            self.sparse.add(item.source)

    def _pair(self, item: Item) -> None:
        if item.expects and item.expects not in self._arrived:
            self._awaited[item.expects] = item.end
        if item.evidence and self._awaited.pop(item.evidence, None) is None:
            self._arrived[item.evidence] = item.end

    def _progress(self, source: str, time: int) -> None:
        self.sparse.discard(source)
        self._wake(source)
        self.marks[source] = max(self.marks.get(source, 0), time)

    def _wake(self, source: str) -> None:
        """A companion may come after its input has ended, and then nothing waits for more."""
        if source.partition("/")[0] in self.ended:
            self.idle.add(source)
        else:
            self.idle.discard(source)

    def _close(self, event: Event) -> Outcome:
        if self.ended >= INPUTS and not self._awaited:
            return self._close_all(event, over=True)
        silent = INPUTS - {source.split("/")[0] for source in self.marks}
        complete = self.watermark - (self.rules.lateness if silent else 0)
        if self._awaited:
            complete = min(complete, *self._awaited.values())
        return self._close_until(complete - complete % self.rules.length, event)

    def _close_all(self, event: Event, *, over: bool) -> Outcome:
        self._awaited.clear()
        last = max([self.latest, *self.marks.values()])
        outcome = self._close_until(last - last % self.rules.length + self.rules.length, event)
        self.closed_at = max(self.closed_at, event.offset)
        if over:
            self.marks.clear()
            self.sparse.clear()
            self.idle.clear()
            self.ended.clear()
        return Outcome(outcome.closed, True, ended=over)

    def _close_until(self, boundary: int, event: Event) -> Outcome:
        if boundary <= self.closed_until:
            return Outcome()
        self.closed_until, self.closed_at = boundary, event.offset
        starts = sorted(start for start in self._open if start < boundary)
        closed = tuple(
            Window(
                start,
                start + self.rules.length,
                tuple(sorted(self._open.pop(start), key=_order)),
            )
            for start in starts
        )
        self._arrived = _since(boundary, self._arrived)
        self.known = _since(boundary - self.rules.memory, self.known)
        return Outcome(closed, advanced=True)


def _order(item: Item) -> tuple[int, str, str, str]:
    """Words before the voice that announced them; ids, which say nothing, come last."""
    return item.end, item.source, item.expects, item.id


def _since(time: int, ends: Mapping[str, int]) -> dict[str, int]:
    return {id_: end for id_, end in ends.items() if end >= time}
