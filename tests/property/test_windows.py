"""The window-join under every order of the log, and under restarts at every place of it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.windows import Ended, Event, Item, Outcome, Progress, Rules, SessionWindows, Tick
from tests.property.sessions import (
    CHANNELS,
    HOPPING,
    INPUTS,
    KINDS,
    LATENESS,
    TUMBLING,
    Call,
    Run,
    as_sets,
    assert_empty,
    belonging,
    calls,
    items_of,
    numbered,
    repeated,
    told_once,
    wild_logs,
    with_restarts,
)

CORRECTION = 8000
kinds = st.sampled_from(KINDS)
rules_of_any_kind = st.builds(
    lambda rules, early, correction: replace(rules, early=early, correction=correction),
    kinds,
    st.sampled_from([0, 700, 1000]),
    st.sampled_from([0, 0, CORRECTION]),
)


@settings(max_examples=300)
@given(calls(), rules_of_any_kind, st.data())
def test_any_order_within_the_lateness_gives_the_windows_of_the_set(
    call: Call, rules: Rules, data: st.DataObject
) -> None:
    run = Run(rules).feed(repeated(call.log(data.draw), data.draw))
    assert as_sets(run.finals) == belonging(call.items, rules)
    assert told_once(run)
    assert not any(window.revision for window in run.closed)
    assert not run.late


@settings(max_examples=150)
@given(calls(), rules_of_any_kind, st.data())
def test_the_order_of_items_in_a_window_is_that_of_their_ends(
    call: Call, rules: Rules, data: st.DataObject
) -> None:
    one, other = (Run(rules).feed(call.log(data.draw)) for _ in range(2))
    assert one.finals == other.finals
    for window in one.closed:
        assert [item.end for item in window.items] == sorted(item.end for item in window.items)


@settings(max_examples=300)
@given(calls(), kinds, st.data())
def test_corrected_windows_end_as_if_nothing_had_been_late(
    call: Call, rules: Rules, data: st.DataObject
) -> None:
    """Of bursts only those that nothing late would have made longer."""
    rules = replace(rules, correction=CORRECTION)
    log = call.log(data.draw, LATENESS + CORRECTION)
    run = Run(rules).feed(repeated(log, data.draw))
    if rules.kind != "session":
        assert as_sets(run.finals) == belonging(call.items, rules)
        assert not run.late
    for span, _ in run.revisions:
        told = [window.revision for window in run.closed if (window.start, window.end) == span]
        assert told in (list(range(len(told))), list(range(1, len(told) + 1)))


@settings(max_examples=200)
@given(calls(), rules_of_any_kind, st.data())
def test_a_session_ends_with_its_last_event_and_leaves_nothing(
    call: Call, rules: Rules, data: st.DataObject
) -> None:
    log = call.log(data.draw)
    run = Run(rules).feed(log)
    needed = [e for e in log if isinstance(e, Ended) or (isinstance(e, Item) and e.evidence)]
    quiet = call.declared and any(isinstance(event, Ended) for event in log)
    assert run.ended[0] == needed[-1].offset or quiet
    assert_empty(run)


@settings(max_examples=300)
@given(wild_logs(), rules_of_any_kind)
def test_every_item_is_in_exactly_the_windows_it_belongs_to_or_late(
    log: list[Event], rules: Rules
) -> None:
    run = Run(rules).feed(log)
    assert told_once(run)
    taken = [item for item in items_of(log) if item.offset not in run.late]
    if rules.kind != "session" or not rules.correction:
        assert as_sets(run.finals) == belonging(taken, rules)
    windows = [
        (item.id, item.end, span) for span, ids in run.finals.items() for item in taken
        if item.id in ids
    ]  # fmt: skip
    assert {id_ for id_, _, _ in windows} == {item.id for item in taken}
    assert all(start <= end < over for _, end, (start, over) in windows)
    assert rules.kind == "hopping" or len(windows) == len(taken)
    assert_empty(run)


@settings(max_examples=200)
@given(wild_logs(), rules_of_any_kind)
def test_event_time_never_goes_back(log: list[Event], rules: Rules) -> None:
    run, before = Run(rules), (0, 0, 0)
    for event in log:
        outcome = run.step(event)
        now = (run.windows.watermark, run.windows.complete, run.windows.settled)
        assert all(one <= other for one, other in zip(before, now, strict=True))
        assert all(window.end <= run.windows.complete for window in outcome.closed)
        assert all(window.end > run.windows.complete for window in outcome.provisional)
        before = now
    starts = [window.start for window in run.closed if not window.revision]
    assert starts == sorted(starts)


@settings(max_examples=200)
@given(wild_logs(), rules_of_any_kind)
def test_only_expiry_closes_a_window_before_its_companion(log: list[Event], rules: Rules) -> None:
    run = Run(rules)
    seen: set[str] = set()
    for event in log:
        outcome = run.step(event)
        seen |= {event.id} if isinstance(event, Item) else set()
        if isinstance(event, Tick) and event.expire:
            continue
        items = [i for window in outcome.closed if not window.revision for i in window.items]
        assert all(item.expects in seen for item in items if item.expects)


@settings(max_examples=300)
@given(wild_logs(), rules_of_any_kind, st.sampled_from([0, 60_000]), st.data())
def test_restarts_anywhere_change_nothing(
    log: list[Event], rules: Rules, memory: int, data: st.DataObject
) -> None:
    rules = replace(rules, memory=memory)
    log = repeated(log, data.draw)
    calm = Run(rules).feed(log)
    crashes = data.draw(st.lists(st.integers(0, len(log)), min_size=1, max_size=3))
    run = with_restarts(log, rules, crashes, data.draw)
    assert run.revisions == calm.revisions
    assert run.late == calm.late
    assert run.ended == calm.ended
    assert run.windows.snapshot() == calm.windows.snapshot()


@settings(max_examples=150)
@given(wild_logs(), rules_of_any_kind, st.data())
def test_what_a_snapshot_covers_has_no_effect_again(
    log: list[Event], rules: Rules, data: st.DataObject
) -> None:
    run = Run(rules)
    place = data.draw(st.integers(0, len(log)))
    advanced = [event.offset for event in log[:place] if run.step(event).advanced]
    if advanced:
        again = SessionWindows.restore(rules, run.windows.snapshot())
        for event in log[: advanced[-1] + 1]:
            outcome = again.step(event)
            assert outcome in (Outcome(), Outcome(repeated=True))


@settings(max_examples=200)
@given(wild_logs(), rules_of_any_kind, st.data())
def test_signals_that_are_repeated_late_change_nothing(
    log: list[Event], rules: Rules, data: st.DataObject
) -> None:
    """An agent repeats what it had sent of a record of its log before the one of its last tick."""
    calm = Run(rules).feed(log)
    again: list[Event] = []
    highest: dict[str, int] = {}
    for event in log:
        again.append(event)
        input_ = getattr(event, "input", "")
        if input_ and isinstance(event, Tick | Ended):
            highest[input_] = max(highest.get(input_, -1), event.origin)
        for name, origin in highest.items():
            if origin >= 0 and data.draw(st.booleans()):
                stale = data.draw(st.integers(0, origin))
                again.append(data.draw(stale_signals(name, stale)))
    run = Run(rules).feed(numbered(again))
    assert run.revisions == calm.revisions
    assert len(run.late) == len(calm.late)
    assert len(run.ended) == len(calm.ended)


def stale_signals(input_: str, origin: int) -> st.SearchStrategy[Event]:
    times = st.integers(0, 60_000)
    sources = CHANNELS if input_ == "audio" else (input_,)
    return st.one_of(
        st.builds(Progress, st.just(0), st.sampled_from(sources), times, st.just(origin)),
        st.builds(lambda time: Tick(0, frozenset(sources), time, False, input_, origin), times),
        st.just(Ended(0, input_, origin)),
    )


@settings(max_examples=200)
@given(wild_logs(), rules_of_any_kind, st.data())
def test_an_expiry_written_by_a_worker_that_lags_changes_nothing(
    log: list[Event], rules: Rules, data: st.DataObject
) -> None:
    calm = Run(rules).feed(log)
    places = data.draw(st.sets(st.integers(1, len(log))))
    stale: list[Event] = []
    for place in range(len(log) + 1):
        spoken = [e.offset for e in stale if not isinstance(e, Tick)]
        if place in places and spoken:
            seen = data.draw(st.integers(0, spoken[-1] - 1)) if spoken[-1] else -2
            stale += [Tick(len(stale), expire=True, seen=seen)] if seen >= 0 else []
        stale += [replace(event, offset=len(stale)) for event in log[place : place + 1]]
    crash = data.draw(st.integers(0, len(stale)))
    run = with_restarts(stale, rules, [crash], data.draw)
    assert run.revisions == calm.revisions
    assert len(run.ended) == len(calm.ended)


@settings(max_examples=150)
@given(wild_logs(), rules_of_any_kind, st.sampled_from(INPUTS))
def test_a_declared_input_that_is_unseen_holds_everything_back(
    log: list[Event], rules: Rules, missing: str
) -> None:
    other = next(source for source in ("text", "audio/agent") if not source.startswith(missing))
    declared = Progress(0, other, 0, inputs=frozenset(INPUTS))
    quiet = [
        event
        for event in log
        if not getattr(event, "source", getattr(event, "input", "")).startswith(missing)
        and not (isinstance(event, Tick) and event.expire)
    ]
    run = Run(rules).feed(numbered([declared, *quiet]))
    assert not run.closed
    assert run.windows.watermark == 0
    run.step(Tick(100, input=missing))
    assert missing in run.windows.sources.seen or run.ended


@settings(max_examples=200)
@given(wild_logs(), rules_of_any_kind)
def test_provisional_windows_change_nothing(log: list[Event], rules: Rules) -> None:
    shown, plain = Run(replace(rules, early=700)), Run(replace(rules, early=0))
    for event in log:
        outcome = shown.step(event)
        assert replace(outcome, provisional=()) == plain.step(event)
        assert shown.windows.snapshot() == plain.windows.snapshot()
        assert not any(window.final for window in outcome.provisional)
        assert all(window.final for window in outcome.closed)


@settings(max_examples=200)
@given(wild_logs(), st.sampled_from([TUMBLING, HOPPING]), st.sampled_from([300, 1000, 2500]))
def test_an_open_window_is_shown_at_each_step_of_event_time(
    log: list[Event], rules: Rules, early: int
) -> None:
    run = Run(replace(rules, early=early))
    for event in log:
        before = run.windows.watermark
        outcome = run.step(event)
        now = run.windows.watermark
        expected = {
            start: passed
            for (start, end), ids in belonging(run.held.values(), rules).items()
            if end > run.windows.complete
            and (passed := steps(start, end, now, early)) > steps(start, end, before, early)
        }
        assert {window.start: window.revision for window in outcome.provisional} == expected


def steps(start: int, end: int, now: int, early: int) -> int:
    """How many steps of event time a window has seen."""
    return sum(1 for time in range(start + early, end + 1, early) if time <= now)
