"""Which window a feature belongs to: the three ways to cut a session's event time.

*Tumbling* and *hopping* windows lie on a grid: they are `length` long and begin at multiples of
`hop`, which divides `length` (tumbling: is `length`), so features are kept once, in panes of one
hop, of which a window is a row ("No pane, no gain", Li et al., 2005). A *session* window is a
burst: features whose ends follow each other within `gap`, cut at `length` from its first end.

Either way a window is [start, end) in ms and holds the features whose span *ends* in it: so it
never waits for speech that is still going on. It closes when event time is complete up to its end,
and is kept until it can be corrected no more. Pure.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Protocol

NO_REVISIONS: Final[Mapping[int, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Item:
    """One feature on its way into a window.

    `id` tells it from others (a repeated item is taken once), `offset` is its place in the log,
    `source` its input ("text") or channel of one ("audio/customer"; empty: it is no sign of life
    of any), `end` the end of its span (ms), `evidence` the id of what it stands for, `expects` the
    id of a companion; `payload` is the caller's and is never looked at.
    """

    id: str
    offset: int
    source: str
    end: int
    evidence: str = ""
    expects: str = ""
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Window:
    """A window [start, end) ms, and its items in the order of their ends, which does not depend on
    how the log mixed their sources.

    A final one counts its corrections from 1 in `revision`; a provisional one counts there the
    steps of event time since its start.
    """

    start: int
    end: int
    items: tuple[Item, ...]
    revision: int = 0
    final: bool = True


@dataclass(frozen=True, slots=True)
class Rules:
    """How windows are cut and how long they wait; all in ms of event time.

    `kind` is tumbling, hopping or session. Sparse sources have `lateness` to arrive. Each `early`
    (0: never), an open window is shown as it is; for `correction` after its closing, late items
    correct it. For `memory` after its window an item is known, should it come again.
    """

    length: int = 5000
    lateness: int = 1000
    memory: int = 60_000
    kind: str = "tumbling"
    hop: int = 1000
    gap: int = 1000
    early: int = 0
    correction: int = 0

    @property
    def stride(self) -> int:
        """How far event time goes between two snapshots at most."""
        return self.hop if self.kind == "hopping" else self.length


class Windowing(Protocol):
    """The windows of a session that still change.

    `complete` is the event time (ms) up to which windows have closed, `settled` that up to which
    they can be corrected no more. Windows that are returned hold items and are in order of time.
    """

    @property
    def open(self) -> int:
        """How many windows with items wait to be closed."""

    @property
    def empty(self) -> bool:
        """Whether nothing is held."""

    def holds(self, item: Item) -> bool:
        """Whether an item with its id is held."""

    def admits(self, end: int, complete: int) -> bool:
        """Whether all windows of a new item that ends there are open."""

    def reaches(self, end: int, complete: int) -> bool:
        """Whether an item that ends there may be in a window that is open."""

    def correctable(self, end: int, settled: int) -> bool:
        """Whether all closed windows of an item that ends there can still be corrected."""

    def keeps(self, end: int, complete: int, settled: int) -> bool:
        """Whether an item that was taken before a snapshot is held at that snapshot."""

    def add(self, item: Item) -> None:
        """Puts an item into all of its windows."""

    def correct(self, end: int, complete: int) -> tuple[Window, ...]:
        """The closed windows of an item that ends there, each as its next revision."""

    def close(self, before: int, complete: int) -> tuple[Window, ...]:
        """Those that close when event time, so far complete to `before`, is to `complete`."""

    def early(self, before: int, now: int, complete: int, step: int) -> tuple[Window, ...]:
        """Open windows in which event time passed a multiple of `step` on its way to `now`."""

    def drop(self, settled: int) -> list[Item]:
        """Forgets the windows that can be corrected no more; the items that are in no other."""

    def after(self, last: int) -> int:
        """Where all windows are over that hold nothing beyond `last` (ms)."""

    def snapshot(self) -> Any:  # noqa: ANN401  (each kind has its own)
        """What `restore` needs beside the items, as JSON values."""

    def restore(self, state: Any) -> None:  # noqa: ANN401
        """Goes on from a snapshot."""


@dataclass(slots=True)
class Panes:
    """Tumbling and hopping windows: a pane [n * hop, (n + 1) * hop) is part of `length / hop`."""

    length: int
    hop: int
    panes: dict[int, dict[str, Item]] = field(default_factory=dict)
    revisions: Mapping[int, int] = field(default_factory=lambda: NO_REVISIONS)

    @property
    def open(self) -> int:
        return len(self._starts())

    @property
    def empty(self) -> bool:
        return not self.panes

    def holds(self, item: Item) -> bool:
        return item.id in self.panes.get(item.end - item.end % self.hop, ())

    def admits(self, end: int, complete: int) -> bool:
        return end - end % self.hop + self.hop > complete

    def reaches(self, end: int, complete: int) -> bool:
        return self.after(end) > complete

    def correctable(self, end: int, settled: int) -> bool:
        return self.admits(end, settled)

    def keeps(self, end: int, complete: int, settled: int) -> bool:
        return self.after(end) > settled

    def add(self, item: Item) -> None:
        pane = item.end - item.end % self.hop
        if pane in self.panes:
            self.panes[pane][item.id] = item
        else:
            self.panes[pane] = {item.id: item}

    def correct(self, end: int, complete: int) -> tuple[Window, ...]:
        closed = [s for s in self._of(end - end % self.hop) if s + self.length <= complete]
        again = {start: self.revisions.get(start, 0) + 1 for start in closed}
        self.revisions = {**self.revisions, **again}
        return tuple(self._window(start, revision) for start, revision in again.items())

    def close(self, before: int, complete: int) -> tuple[Window, ...]:
        if complete // self.hop == before // self.hop:
            return ()
        return tuple(
            self._window(start)
            for start in self._starts()
            if before < start + self.length <= complete
        )

    def early(self, before: int, now: int, complete: int, step: int) -> tuple[Window, ...]:
        if not self.panes:
            return ()
        first = max(min(self.panes), complete - complete % self.hop) - self.length + self.hop
        starts = range(first, min(now, max(self.panes) + 1), self.hop)
        steps = [(s, _passed(s, s + self.length, before, now, step)) for s in starts]
        windows = [self._window(s, revision, final=False) for s, revision in steps if revision]
        return tuple(window for window in windows if window.items)

    def drop(self, settled: int) -> list[Item]:
        gone = sorted(pane for pane in self.panes if pane + self.length <= settled)
        items = [item for pane in gone for item in self.panes.pop(pane).values()]
        if self.revisions:
            kept = {s: n for s, n in self.revisions.items() if s + self.length > settled}
            self.revisions = kept or NO_REVISIONS
        return items

    def after(self, last: int) -> int:
        return last - last % self.hop + self.length

    def snapshot(self) -> list[tuple[int, int]]:
        return list(self.revisions.items())

    def restore(self, state: Iterable[tuple[int, int]]) -> None:
        self.revisions = dict(state) or NO_REVISIONS

    def _of(self, pane: int) -> range:
        """The starts of the windows that a pane is part of."""
        return range(pane - self.length + self.hop, pane + 1, self.hop)

    def _starts(self) -> list[int]:
        if self.hop == self.length:
            return sorted(self.panes)
        return sorted({start for pane in self.panes for start in self._of(pane)})

    def _window(self, start: int, revision: int = 0, *, final: bool = True) -> Window:
        end = start + self.length
        panes = (self.panes.get(pane) for pane in range(start, end, self.hop))
        items = sorted((item for pane in panes if pane for item in pane.values()), key=order)
        return Window(start, end, tuple(items), revision, final)


@dataclass(slots=True)
class Bursts:
    """Session windows. The open ones are cut from the left, as a function of all their items, anew
    each time; a closed one keeps its span, whatever corrects it."""

    length: int
    gap: int
    items: list[Item] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    frontier: int = 0
    closed: dict[int, Window] = field(default_factory=dict)

    @property
    def open(self) -> int:
        return sum(1 for _ in self._spans())

    @property
    def empty(self) -> bool:
        return not self.ids

    def holds(self, item: Item) -> bool:
        return item.id in self.ids

    def admits(self, end: int, complete: int) -> bool:
        if end >= complete:
            return True
        ends = sorted([end, *(item.end for item in self.items)])
        place = ends.index(end)
        over = next(over for first, after, over in self._spans(ends) if first <= place < after)
        return end >= self.frontier and over > complete

    def reaches(self, end: int, complete: int) -> bool:
        return end >= self.frontier

    def correctable(self, end: int, settled: int) -> bool:
        burst = self._burst(end)
        return burst is not None and burst.end > settled

    def keeps(self, end: int, complete: int, settled: int) -> bool:
        # Who was late and is that far back cannot be told by its end, but is still known by its id.
        opened = end >= self.frontier and end > complete - self.length
        return opened or self._burst(end) is not None

    def add(self, item: Item) -> None:
        self.ids.add(item.id)
        burst = self._burst(item.end)
        if burst is None:
            insort(self.items, item, key=order)
        else:
            items = tuple(sorted((*burst.items, item), key=order))
            self.closed[burst.start] = replace(burst, items=items)

    def correct(self, end: int, complete: int) -> tuple[Window, ...]:
        burst = self._burst(end)
        if burst is None:
            return ()
        self.closed[burst.start] = again = replace(burst, revision=burst.revision + 1)
        return (again,)

    def close(self, before: int, complete: int) -> tuple[Window, ...]:
        if not self.items or self.items[0].end + self.gap > complete:
            return ()
        over = [span for span in self._spans() if span[2] <= complete]
        closed = tuple(self._window(*span) for span in over)
        for window in closed:
            self.closed[window.start] = window
            self.frontier = window.end
        if over:
            del self.items[: over[-1][1]]
        return closed

    def early(self, before: int, now: int, complete: int, step: int) -> tuple[Window, ...]:
        windows = []
        for first, after, over in self._spans():
            start = self.items[first].end
            if revision := _passed(start, over, before, now, step):
                window = self._window(first, after, over)
                windows.append(replace(window, revision=revision, final=False))
        return tuple(windows)

    def drop(self, settled: int) -> list[Item]:
        gone = [start for start, window in self.closed.items() if window.end <= settled]
        items = [item for start in gone for item in self.closed.pop(start).items]
        self.ids.difference_update(item.id for item in items)
        return items

    def after(self, last: int) -> int:
        return last + self.gap

    def snapshot(self) -> dict[str, Any]:
        spans = [(window.start, window.end, window.revision) for window in self.closed.values()]
        return {"frontier": self.frontier, "closed": spans}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.frontier = state["frontier"]
        self.closed = {
            start: Window(start, end, (), revision) for start, end, revision in state["closed"]
        }

    def _spans(self, ends: Sequence[int] | None = None) -> Iterator[tuple[int, int, int]]:
        """Cuts sorted ends greedily, from the left: for each window the place of its first end, the
        place after its last, and where it is over (ms)."""
        if ends is None:
            ends = [item.end for item in self.items]
        first = 0
        for place in range(1, len(ends) + 1):
            over = min(ends[place - 1] + self.gap, ends[first] + self.length)
            if place == len(ends) or ends[place] >= over:
                yield first, place, over
                first = place

    def _window(self, first: int, after: int, over: int) -> Window:
        return Window(self.items[first].end, over, tuple(self.items[first:after]))

    def _burst(self, end: int) -> Window | None:
        """The closed window, not settled yet, whose span holds `end`."""
        held = (each for each in self.closed.values() if each.start <= end < each.end)
        return next(held, None)


def windowing(rules: Rules) -> Windowing:
    """The windows of one session, none so far. Raises ValueError for rules that make no sense."""
    if rules.kind == "session" and 0 < rules.gap <= rules.length:
        return Bursts(rules.length, rules.gap)
    if rules.kind == "hopping" and rules.hop > 0 and rules.length % rules.hop == 0:
        return Panes(rules.length, rules.hop)
    if rules.kind == "tumbling":
        return Panes(rules.length, rules.length)
    raise ValueError(f"no windows can be cut by {rules}")


def order(item: Item) -> tuple[int, str, str, str]:
    """Words before the voice that announced them; ids, which say nothing, come last."""
    return item.end, item.source, item.expects, item.id


def _passed(start: int, end: int, before: int, now: int, step: int) -> int:
    """The number of the last multiple of `step` after `start` (ms), and within the window, that
    event time passed on its way from `before` to `now`; 0: none."""
    reached = (min(now, end) - start) // step
    return reached if reached > max(0, (before - start) // step) else 0
