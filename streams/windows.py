"""The window-join as a pure state machine: which features of a session belong together, and when.

Time is event time in integer milliseconds. How it is cut into windows is said in
`streams.windowing`, how far it is complete in `streams.watermark`. A feature may announce a
companion (`expects`: the words of a voice segment); its windows wait for that one too, even when
all sources are idle. A feature that comes when a window it belongs to has closed is in none: it is
late, unless that window can still be corrected.

No clock: idleness reaches the machine as a `Tick` that was read from the log like everything else,
so a replay of the log takes the same decisions.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Final

from streams.watermark import Names, Sources, input_of
from streams.windowing import Item, Rules, Window, Windowing, windowing

__all__ = [
    "Ended",
    "Event",
    "Item",
    "Outcome",
    "Progress",
    "Rules",
    "SessionWindows",
    "Tick",
    "Window",
]

NONE: Final = -1
"""Of an offset that is not given."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A source has delivered everything that ends at or before `time` (ms).

    `inputs` declares which inputs the session has. `origin`, here and below, is the place in the
    input's own log of what the signal stems from: one that is not higher than that of the input's
    last tick or end is a repetition.
    """

    offset: int
    source: str
    time: int
    origin: int = NONE
    inputs: Names = frozenset()


@dataclass(frozen=True, slots=True)
class Tick:
    """These sources have been silent for so long that nothing shall wait for them.

    If the `input` reports no progress, its event time is complete up to `until` (ms). With `expire`
    the whole session has been silent: unless the log holds something of it, other than ticks,
    after `seen`, the last place that the writer knew.
    """

    offset: int
    idle: Names = frozenset()
    until: int = 0
    expire: bool = False
    input: str = ""
    origin: int = NONE
    seen: int = NONE


@dataclass(frozen=True, slots=True)
class Ended:
    """No more events of the session will come from this input."""

    offset: int
    input: str
    origin: int = NONE


Event = Item | Progress | Tick | Ended


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step did.

    `closed`: windows that hold items and closed, or were corrected, oldest first; `provisional`:
    open ones to show as they are. `done`: items that are needed no longer once a snapshot, due as
    the session has `advanced`, is kept. `late`: the item is in no window. `repeated`: the event
    had its effect before, or is void. `ended`: the session is over, its state empty.
    """

    closed: tuple[Window, ...] = ()
    provisional: tuple[Window, ...] = ()
    done: tuple[Item, ...] = ()
    advanced: bool = False
    late: bool = False
    repeated: bool = False
    ended: bool = False


NOTHING: Final = Outcome()
REPEATED: Final = Outcome(repeated=True)


@dataclass(slots=True)
class Memory:
    """The ids of items that are done or were late, in 8 bytes each, as there are many sessions: 48
    bits of a digest, and 16 of the item's end in seconds, which begin anew after 18 hours."""

    entries: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, item: Item) -> None:
        self.entries.append(_digest(item.id) << 16 | item.end // 1000 & 0xFFFF)

    def __contains__(self, id_: str) -> bool:
        digest = _digest(id_)
        return any(entry >> 16 == digest for entry in self.entries)

    def forget(self, before: int) -> None:
        """Forgets what ended before this time (ms), as far as that stands first."""
        gone = 0
        for entry in self.entries:
            age_s = (before // 1000 - entry) & 0xFFFF
            if not 0 < age_s < 0x8000:
                break
            gone += 1
        if gone:
            del self.entries[:gone]


def _digest(id_: str) -> int:
    return int.from_bytes(blake2b(id_.encode(), digest_size=6).digest())


@dataclass(slots=True)
class SessionWindows:
    """The open windows of one session.

    `watermark` and `complete` are the event time (ms) up to which nothing more is awaited: of any
    source, and of companions too. They never go back; windows close by `complete`. `covered` is
    the offset of the event at which the last snapshot was due, `heard` that of the last event
    other than a tick, `latest` the highest end (ms), `sealed` where the session was last over.

    A restart needs the last due `snapshot` and, fed again after `restore`, all items that were not
    `done` by then and all events after it. What a snapshot covers is recognised by its offset, so
    feeding more than that does no harm. Provisional windows are no part of it.
    """

    rules: Rules
    sources: Sources = field(default_factory=Sources)
    watermark: int = 0
    complete: int = 0
    covered: int = NONE
    heard: int = NONE
    latest: int = 0
    sealed: int = 0
    awaited: dict[str, int] = field(default_factory=dict)
    arrived: dict[str, int] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    _placed: Windowing = field(init=False)

    def __post_init__(self) -> None:
        self._placed = windowing(self.rules)

    @property
    def alive(self) -> bool:
        """Whether the session has begun and is not over."""
        return self.sources.alive or not self._placed.empty

    @property
    def settled(self) -> int:
        """Windows that end at or before this time (ms) can be corrected no more."""
        return max(self.sealed, self.complete - self.rules.correction)

    @property
    def open(self) -> int:
        """How many windows wait to be closed."""
        return self._placed.open

    def step(self, event: Event) -> Outcome:
        """Takes the next event of the log."""
        if isinstance(event, Tick):
            return self._tick(event)
        self.heard = max(self.heard, event.offset)
        if isinstance(event, Item):
            return self._item(event)
        input_ = event.input if isinstance(event, Ended) else input_of(event.source)
        if event.offset <= self.covered or self.sources.repeats(input_, event.origin):
            return REPEATED
        if isinstance(event, Ended):
            self.sources.end(input_, event.origin)
        else:
            self.sources.report(event.source, event.time, event.inputs)
        return self._advance(event)

    def snapshot(self) -> dict[str, Any]:
        """What `restore` needs, as JSON values."""
        return {
            "sources": self.sources.snapshot(),
            "watermark": self.watermark,
            "complete": self.complete,
            "covered": self.covered,
            "heard": self.heard,
            "latest": self.latest,
            "sealed": self.sealed,
            "awaited": dict(self.awaited),
            "arrived": dict(self.arrived),
            "memory": self.memory.entries.tolist(),
            "windows": self._placed.snapshot(),
        }

    @classmethod
    def restore(cls, rules: Rules, state: Mapping[str, Any]) -> SessionWindows:
        """The state at a snapshot, without the items that were held."""
        windows = cls(
            rules,
            Sources.restore(state["sources"]),
            watermark=state["watermark"],
            complete=state["complete"],
            covered=state["covered"],
            heard=state["heard"],
            latest=state["latest"],
            sealed=state["sealed"],
            awaited=dict(state["awaited"]),
            arrived=dict(state["arrived"]),
            memory=Memory(array("Q", state["memory"])),
        )
        windows._placed.restore(state["windows"])
        return windows

    def _tick(self, tick: Tick) -> Outcome:
        if tick.offset <= self.covered or self.sources.repeats(tick.input, tick.origin):
            return REPEATED
        if tick.expire:
            void = not self.alive or NONE < tick.seen < self.heard
            return REPEATED if void else self._advance(tick, expire=True)
        self.sources.fall_silent(tick.input, tick.idle, tick.until, tick.origin)
        return self._advance(tick)

    def _item(self, item: Item) -> Outcome:
        if self._placed.holds(item):
            return REPEATED
        if item.end < self.complete and item.id in self.memory:
            return REPEATED
        if item.offset > self.covered:
            return self._take(item)
        if self._placed.keeps(item.end, self.complete, self.settled):
            self._placed.add(item)
            return NOTHING
        return REPEATED

    def _take(self, item: Item) -> Outcome:
        """Puts a new item where it belongs; only a companion that was awaited is no sign of life:
        it does not come from the one that announced it."""
        opened = self._placed.admits(item.end, self.complete)
        corrects = not opened and self.alive and self._placed.correctable(item.end, self.settled)
        late = not (opened or corrects)
        answers = self._pair(item, late=late)
        if late and not self.alive:
            self.memory.add(item)
            return replace(self._checkpoint(item), late=True)
        if item.source and not answers:
            self.sources.hear(item.source)
        self.latest = max(self.latest, item.end)
        if late:
            self.memory.add(item)
        else:
            self._placed.add(item)
        corrected = self._placed.correct(item.end, self.complete) if corrects else ()
        if not (late or corrected or answers or self.sources.settled):
            return NOTHING
        outcome = self._advance(item, corrected)
        return replace(outcome, late=True) if late else outcome

    def _pair(self, item: Item, *, late: bool) -> bool:
        """Whether the item is a companion that was awaited; notes for what it waits itself."""
        if item.evidence and self.awaited.pop(item.evidence, None) is not None:
            return True
        if late or not self._placed.reaches(item.end, self.complete):
            return False
        if item.evidence:
            self.arrived[item.evidence] = item.end
        if item.expects and self.arrived.pop(item.expects, None) is None:
            self.awaited[item.expects] = item.end
        return False

    def _advance(
        self, event: Event, corrected: tuple[Window, ...] = (), *, expire: bool = False
    ) -> Outcome:
        """Closes what is complete, and shows what is not yet."""
        if expire:
            self.awaited.clear()
        everything = expire or self.sources.settled
        before, shown = self.complete, self.watermark
        reached = self._time(everything=everything)
        if reached <= shown and isinstance(event, Progress) and not everything:
            return NOTHING  # another source is behind this one: nothing has changed
        self.watermark = reached = max(shown, reached)
        if self.awaited:
            reached = min(reached, *self.awaited.values())
        self.complete = max(before, reached)
        closed = corrected + self._placed.close(before, self.complete)
        provisional = self._provisional(shown)
        over = everything and (expire or (bool(self.sources.ended) and not self.awaited))
        stride = self.rules.stride
        stepped = self.complete // stride > before // stride
        if everything or closed or stepped or not self.alive:
            return self._checkpoint(event, closed, provisional, over=over)
        return Outcome(provisional=provisional) if provisional else NOTHING

    def _time(self, *, everything: bool) -> int:
        if everything:
            return self._placed.after(max(self.latest, self.sources.reported))
        return self.sources.time(self.rules.lateness)

    def _provisional(self, shown: int) -> tuple[Window, ...]:
        if not self.rules.early or self.watermark == shown:
            return ()
        return self._placed.early(shown, self.watermark, self.complete, self.rules.early)

    def _checkpoint(
        self,
        event: Event,
        closed: tuple[Window, ...] = (),
        provisional: tuple[Window, ...] = (),
        *,
        over: bool = False,
    ) -> Outcome:
        """A snapshot is due: lets go of what it need not cover."""
        self.covered = event.offset
        if over:
            self.sealed = self.complete
            self.sources = Sources(origins=self.sources.origins)  # they tell repetitions
        done = tuple(self._placed.drop(self.settled))
        for item in done:
            self.memory.add(item)
        rules = self.rules
        self.memory.forget(self.complete - max(rules.memory, rules.length + rules.correction))
        self.arrived = self._reaching(self.arrived.items())
        self.awaited = self.awaited or {}  # one that was filled keeps its size when it is emptied
        return Outcome(closed, provisional, done, advanced=True, ended=over)

    def _reaching(self, ends: Iterable[tuple[str, int]]) -> dict[str, int]:
        return {id_: end for id_, end in ends if self._placed.reaches(end, self.complete)}
