"""Made-up sessions for tests of the window-join, in every order that a log may have, and the right
answers, found the plain way: from the set of all features at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from streams.windows import (
    Ended,
    Event,
    Item,
    Outcome,
    Progress,
    Rules,
    SessionWindows,
    Tick,
    Window,
)

LATENESS = 1000
TUMBLING = Rules(length=5000, lateness=LATENESS)
HOPPING = Rules(length=6000, lateness=LATENESS, kind="hopping", hop=2000)
BURSTS = Rules(length=7000, lateness=LATENESS, kind="session", gap=2500)
KINDS = (TUMBLING, HOPPING, BURSTS)
CHANNELS = ("audio/agent", "audio/customer")
SOURCES = (*CHANNELS, "text", "images")
INPUTS = ("audio", "text", "images")
FOREVER = 10**9

Draw = Callable[..., object]
Span = tuple[int, int]
Windows = Mapping[Span, Sequence[str]]


@dataclass
class Run:
    """A session fed with a log, and what came of it."""

    rules: Rules
    windows: SessionWindows = field(init=False)
    closed: list[Window] = field(default_factory=list)
    provisional: list[Window] = field(default_factory=list)
    late: set[int] = field(default_factory=set)
    ended: list[int] = field(default_factory=list)
    held: dict[int, Item] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.windows = SessionWindows(self.rules)

    def feed(self, log: Iterable[Event]) -> Run:
        for event in log:
            self.step(event)
        return self

    def step(self, event: Event) -> Outcome:
        outcome = self.windows.step(event)
        self.closed += outcome.closed
        self.provisional += outcome.provisional
        if isinstance(event, Item) and not (outcome.late or outcome.repeated):
            self.held[event.offset] = event
        for item in outcome.done:
            del self.held[item.offset]
        if outcome.late:
            self.late.add(event.offset)
        if outcome.ended:
            self.ended.append(event.offset)
        return outcome

    @property
    def revisions(self) -> dict[tuple[Span, int], tuple[str, ...]]:
        """The ids in each window, every time it closed; the same each time it was told."""
        told: dict[tuple[Span, int], tuple[str, ...]] = {}
        for window in self.closed:
            ids = tuple(item.id for item in window.items)
            assert told.setdefault(((window.start, window.end), window.revision), ids) == ids
        return told

    @property
    def finals(self) -> Windows:
        """What each window held in the end."""
        return {span: ids for (span, _), ids in sorted(self.revisions.items())}


def assert_empty(run: Run) -> None:
    windows = run.windows
    assert not windows.alive
    assert not run.held
    state = windows.snapshot()
    sources, kept = state["sources"], ("origins", "seen", "untils")
    assert not any(sources[name] for name in sources if name not in kept)
    assert not state["awaited"]
    assert not state["arrived"]
    assert windows._placed.empty
    assert windows._placed.open == 0
    assert windows.settled >= windows.complete


def told_once(run: Run) -> bool:
    return len(run.revisions) == len(run.closed)


def belonging(items: Iterable[Item], rules: Rules) -> dict[Span, set[str]]:
    """Which windows there are for a set of items, and who is in them."""
    found: dict[Span, set[str]] = {}
    if rules.kind != "session":
        hop = rules.hop if rules.kind == "hopping" else rules.length
        for item in items:
            for start in range(-rules.length, item.end + 1, hop):
                if start <= item.end < start + rules.length:
                    found.setdefault((start, start + rules.length), set()).add(item.id)
        return found
    rest = sorted(items, key=lambda item: item.end)
    while rest:
        first = last = rest[0].end
        burst: list[Item] = []
        while rest and (not burst or rest[0].end < min(last + rules.gap, first + rules.length)):
            last = rest[0].end
            burst.append(rest.pop(0))
        found[first, min(last + rules.gap, first + rules.length)] = {item.id for item in burst}
    return found


def as_sets(windows: Windows) -> dict[Span, set[str]]:
    return {span: set(ids) for span, ids in windows.items()}


def items_of(log: Iterable[Event]) -> list[Item]:
    return [event for event in log if isinstance(event, Item)]


def numbered(events: Iterable[Event]) -> list[Event]:
    return [replace(event, offset=offset) for offset, event in enumerate(events)]


@dataclass(frozen=True)
class Call:
    """What is said in a session, and how far its sources report to be; in no order yet."""

    items: Sequence[Item]
    marks: Sequence[Progress]
    reporting: tuple[str, ...]
    declared: bool

    def log(self, draw: Draw, lateness: int = LATENESS) -> list[Event]:
        """Any order in which nothing that is sparse is later than `lateness`."""
        keyed: list[tuple[int, int, Event]] = [(mark.time, 1, mark) for mark in self.marks]
        for item in self.items:
            latest = item.end if item.source in self.reporting else item.end + lateness
            if item.evidence:  # a companion is waited for as long as it takes
                latest += 20_000
            key = draw(st.integers(max(0, item.end - 3000), latest))
            assert isinstance(key, int)
            keyed.append((key, 0, item))
        ends: list[Event] = [Ended(0, name) for name in INPUTS]
        tail: list[tuple[int, int, Event]] = [(FOREVER, 0, end) for end in ends]
        events = [event for _, _, event in sorted(keyed + tail, key=lambda each: each[:2])]
        inputs = frozenset(INPUTS if self.declared else ())
        first = [Progress(0, source, 0, inputs=inputs) for source in self.reporting]
        return numbered([*first, *events])


def times(latest: int) -> st.SearchStrategy[int]:
    """Any, and often where windows begin and end."""
    return st.integers(0, latest) | st.integers(0, latest // 500).map(lambda half_s: half_s * 500)


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Two channels that report, chat and pictures that may, and words that are announced."""
    reporting = (*CHANNELS, *draw(st.sampled_from([(), ("text",), ("text", "images")])))
    ends = times(30_000)
    items: list[Item] = []
    for number, (source, end) in enumerate(
        draw(st.lists(st.tuples(st.sampled_from(SOURCES), ends), max_size=12))
    ):
        name = f"{source}:{number}"
        if source in CHANNELS and draw(st.booleans()):
            items.append(Item(name, 0, source, end, expects=f"{name}:words"))
            items.append(Item(f"{name}:words", 0, "", end, evidence=f"{name}:words"))
        else:
            items.append(Item(name, 0, source, end))
    marks = draw(st.lists(st.tuples(st.sampled_from(reporting), ends), max_size=12))
    # A declared input that says nothing at all would be waited for until the session expires.
    declared = len(reporting) == len(SOURCES) and draw(st.booleans())
    return Call(items, [Progress(0, *mark) for mark in marks], reporting, declared)


@st.composite
def wild_logs(draw: st.DrawFn) -> list[Event]:
    """Anything in any order: late items, sources that fall idle and wake, missing companions."""
    time = times(40_000)
    source = st.sampled_from(SOURCES)
    names = st.integers(0, 10**9).map(str)
    origin = st.integers(-1, 8)
    inputs = st.sampled_from(INPUTS)
    declared = st.sampled_from([frozenset[str]()] * 3 + [frozenset(INPUTS), frozenset({"audio"})])
    item = st.builds(Item, names, st.just(0), source, time)
    event = st.one_of(
        item,
        item.map(lambda each: replace(each, expects=f"{each.id}:words")),
        item.map(lambda each: replace(each, source="", evidence=each.id)),
        st.builds(Progress, st.just(0), source, time, origin, declared),
        st.builds(Tick, st.just(0), st.frozensets(source), time, st.just(False), inputs, origin),
        st.builds(Ended, st.just(0), inputs, origin),
        st.just(Tick(0, expire=True)),
    )
    events = draw(st.lists(event, max_size=25, unique_by=lambda e: getattr(e, "id", object())))
    for each in items_of(events):  # some of the companions come
        if each.expects and draw(st.booleans()):
            words = Item(each.expects, 0, "", each.end, evidence=each.expects)
            events.insert(draw(st.integers(0, len(events))), words)
    return numbered([*events, Tick(0, expire=True)])


def repeated(log: Sequence[Event], draw: Draw) -> list[Event]:
    """The log with items that come again, and signals that agents repeat late."""
    again = list(log)
    for event in log:
        if isinstance(event, Item) and draw(st.booleans()):
            place = draw(st.integers(again.index(event) + 1, len(again)))
            assert isinstance(place, int)
            again.insert(place, event)
    return numbered(again)


def with_restarts(log: Sequence[Event], rules: Rules, crashes: Sequence[int], draw: Draw) -> Run:
    """The log read by one process after the other; each goes on from the last due snapshot, and
    is fed with what was not done then, or with more."""
    told = Run(rules)
    state, needed = None, 0
    for crash in [*sorted(crashes), len(log)]:
        run = Run(rules)
        if state is not None:
            run.windows = SessionWindows.restore(rules, json.loads(state))
        begin = draw(st.integers(0, needed), label="fed again from")
        assert isinstance(begin, int)
        for event in log[begin:crash]:
            if run.step(event).advanced:
                state = json.dumps(run.windows.snapshot())
                needed = min([*run.held, event.offset + 1])
        told.closed += run.closed
        told.late |= run.late
        told.ended = sorted({*told.ended, *run.ended})
        told.windows = run.windows
    return told
