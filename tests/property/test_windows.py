"""The window-join under every order of the log, and under restarts at every place of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.windows import Ended, Event, Item, Outcome, Progress, Rules, SessionWindows, Tick

RULES = Rules(length=5000, lateness=1000)
SOURCES = ("audio/agent", "audio/customer", "text", "images")
Draw = st.DrawFn
Windows = dict[int, tuple[str, ...]]


@dataclass
class Run:
    """A session fed with a log, and what came of it."""

    windows: SessionWindows = field(default_factory=lambda: SessionWindows(RULES))
    closed: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    late: set[int] = field(default_factory=set)
    ended: list[int] = field(default_factory=list)

    def feed(self, log: Iterable[Event]) -> Run:
        for event in log:
            self.step(event)
        return self

    def step(self, event: Event) -> Outcome:
        outcome = self.windows.step(event)
        for window in outcome.closed:
            self.closed.append((window.start, tuple(item.id for item in window.items)))
        self.late |= {event.offset} if outcome.late else set()
        self.ended += [event.offset] if outcome.ended else []
        return outcome

    @property
    def result(self) -> Windows:
        assert len(dict(self.closed)) == len(self.closed), "a window closed twice"
        return dict(self.closed)


def numbered(events: Iterable[Event]) -> list[Event]:
    return [replace(event, offset=offset) for offset, event in enumerate(events)]


def merged(draw: Draw, parts: Sequence[list[Event]]) -> list[Event]:
    """Any interleaving that keeps the order of each part."""
    turns = [place for place, part in enumerate(parts) for _ in part]
    iterators = [iter(part) for part in parts]
    return [next(iterators[turn]) for turn in draw(st.permutations(turns))]


def script(draw: Draw, source: str) -> list[Event]:
    """What one source says: no item ends at or before the progress that was reported before it."""
    events: list[Event] = []
    done = 0
    steps = st.tuples(st.sampled_from(["item", "pair", "progress"]), st.integers(0, 7000))
    for number, (kind, span) in enumerate(draw(st.lists(steps, max_size=6))):
        name = f"{source}:{number}"
        if kind == "progress":
            done += span
            events.append(Progress(0, source, done))
        else:
            expects = f"{name}:words" if kind == "pair" else ""
            events.append(Item(name, 0, source, done + 1 + span, name, expects))
    return events


def companions(events: Iterable[Event]) -> list[Event]:
    return [
        Item(event.expects, 0, "text", event.end, event.expects)
        for event in events
        if isinstance(event, Item) and event.expects
    ]


@st.composite
def scripts(draw: Draw) -> dict[str, list[Event]]:
    return {source: script(draw, source) for source in SOURCES}


def orderly(draw: Draw, by_source: dict[str, list[Event]]) -> list[Event]:
    """A log in which all sources report progress; companions come at any time, even at the end."""
    audio = merged(draw, [by_source[source] for source in SOURCES if source.startswith("audio")])
    inputs = [
        [*audio, Ended(0, "audio")],
        [*by_source["text"], Ended(0, "text")],
        [*by_source["images"], Ended(0, "images")],
    ]
    pairs = [[companion] for companion in companions(audio)]
    pairs += [[each] for name in ("text", "images") for each in companions(by_source[name])]
    known = [Progress(0, source, 0) for source in SOURCES]
    return numbered([*known, *merged(draw, [*inputs, *pairs])])


@st.composite
def orderly_logs(draw: Draw) -> list[Event]:
    return orderly(draw, draw(scripts()))


@st.composite
def wild_logs(draw: Draw) -> list[Event]:
    """Anything in any order: late items, sources that fall idle and wake, missing companions."""
    time = st.integers(0, 40_000)
    source = st.sampled_from(SOURCES)
    names = st.integers(0, 10**9).map(str)
    item = st.builds(Item, names, st.just(0), source, time)
    event = st.one_of(
        item,
        st.builds(lambda each: replace(each, expects=f"{each.id}:words", evidence=each.id), item),
        st.builds(Progress, st.just(0), source, time),
        st.builds(Tick, st.just(0), st.frozensets(source), time),
        st.builds(Ended, st.just(0), st.sampled_from(["audio", "text", "images"])),
    )
    events = draw(st.lists(event, max_size=25, unique_by=lambda e: getattr(e, "id", object())))
    # Some of the companions arrive, some of the items come twice.
    for extra in (companions(events), [e for e in events if isinstance(e, Item)]):
        for each in extra:
            if draw(st.booleans()):
                events.insert(draw(st.integers(0, len(events))), each)
    return numbered([*events, Tick(0, expire=True)])


logs = st.one_of(orderly_logs(), wild_logs())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_order_between_sources_changes_nothing(data: st.DataObject) -> None:
    by_source = data.draw(scripts())
    draw: Draw = data.draw  # type: ignore[assignment]
    one, other = (Run().feed(orderly(draw, by_source)) for _ in range(2))
    assert one.result == other.result
    assert not one.late | other.late


@settings(max_examples=150, deadline=None)
@given(orderly_logs())
def test_a_session_ends_with_its_last_event_and_leaves_nothing(log: list[Event]) -> None:
    run = Run().feed(log)
    needed = [e for e in log if isinstance(e, Ended) or (isinstance(e, Item) and ":words" in e.id)]
    assert run.ended[0] == needed[-1].offset
    state = run.windows.snapshot()
    assert not run.windows.open
    assert not run.windows._awaited
    assert not run.windows._arrived
    assert not any(state[name] for name in ("marks", "idle", "ended", "sparse"))


@settings(max_examples=150, deadline=None)
@given(logs)
def test_every_item_is_once_in_the_window_of_its_end_or_late(log: list[Event]) -> None:
    run = Run().feed(log)
    items = {e.id: e for e in log if isinstance(e, Item)}
    placed = [(id_, start) for start, ids in run.result.items() for id_ in ids]
    assert all(start <= items[id_].end < start + RULES.length for id_, start in placed)
    late = {e.id for e in log if isinstance(e, Item) and e.offset in run.late}
    assert len(dict(placed)) == len(placed)
    assert dict(placed).keys() | late == items.keys()
    assert not dict(placed).keys() & late


@settings(max_examples=150, deadline=None)
@given(logs)
def test_closing_never_goes_back(log: list[Event]) -> None:
    run, before = Run(), 0
    for event in log:
        run.step(event)
        assert run.windows.closed_until >= before
        before = run.windows.closed_until
    starts = [start for start, _ in run.closed]
    assert starts == sorted(starts)


@settings(max_examples=150, deadline=None)
@given(logs)
def test_no_window_closes_by_watermark_before_a_companion(log: list[Event]) -> None:
    run = Run()
    seen: set[str] = set()
    for event in log:
        outcome = run.step(event)
        seen |= {event.id} if isinstance(event, Item) else set()
        if isinstance(event, Tick):
            continue
        items = [item for window in outcome.closed for item in window.items]
        assert all(item.expects in seen for item in items if item.expects)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 60_000), max_size=8), st.data())
def test_sparse_items_within_the_lateness_are_not_late(
    ends: list[int], data: st.DataObject
) -> None:
    """A chat without progress: each message comes before audio is `lateness` beyond its end."""
    events: list[tuple[int, Event]] = [
        (end + data.draw(st.integers(0, RULES.lateness)), Item(f"{end}:{place}", 0, "text", end))
        for place, end in enumerate(ends)
    ]
    marks = data.draw(st.lists(st.integers(0, 70_000), max_size=20))
    events += [(mark, Progress(0, "audio/agent", mark)) for mark in marks]
    events.sort(key=lambda pair: (pair[0], isinstance(pair[1], Progress)))
    assert not Run().feed(numbered(event for _, event in events)).late


@settings(max_examples=250, deadline=None)
@given(logs, st.data())
def test_a_restart_anywhere_changes_nothing(log: list[Event], data: st.DataObject) -> None:
    undisturbed = Run().feed(log)
    crash = data.draw(st.integers(0, len(log)), label="events before the crash")
    first, state, covered, needed = Run(), None, -1, 0
    for event in log[:crash]:
        if first.step(event).advanced:
            state, covered = json.dumps(first.windows.snapshot()), event.offset
            waiting = [item.offset for items in first.windows._open.values() for item in items]
            needed = min([*waiting, covered + 1])
    again = Run()
    if state is not None:
        again.windows = SessionWindows.restore(RULES, json.loads(state))
    for event in log[data.draw(st.integers(0, needed), label="fed again from") :]:
        outcome = again.step(event)
        if event.offset <= covered:
            assert not outcome.closed
            assert not outcome.late
            assert not outcome.advanced
    overlap = first.result.keys() & again.result.keys()
    assert all(first.result[start] == again.result[start] for start in overlap)
    assert first.result | again.result == undisturbed.result
    assert first.late | again.late == undisturbed.late
    assert sorted({*first.ended, *again.ended}) == undisturbed.ended


def test_an_input_that_has_ended_holds_nothing_back() -> None:
    """Words of the last utterance come after the end of their input, while the chat goes on."""
    run = Run().feed(
        numbered(
            [
                Progress(0, "text", 0),
                Progress(0, "images", 60_000),
                Item("voice", 0, "audio/agent", 4000, "voice", "words"),
                Progress(0, "audio/agent", 4000),
                Ended(0, "audio"),
                Item("words", 0, "audio/agent", 4000, "words"),
                Progress(0, "text", 20_000),
            ]
        )
    )
    assert run.result == {0: ("words", "voice")}
    assert run.windows.closed_until == 20_000


def test_what_an_idle_source_sends_later_counts_again() -> None:
    run = Run().feed(
        numbered(
            [
                Progress(0, "audio/agent", 1000),
                Progress(0, "text", 9000),
                Tick(0, idle=frozenset({"audio/agent"})),
            ]
        )
    )
    assert run.windows.watermark == 9000
    run.step(Progress(3, "audio/agent", 6000))
    assert run.windows.watermark == 6000
