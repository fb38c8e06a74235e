"""The bench of the join: its load is as promised, and Tenor's windows give the rows it expects."""

from __future__ import annotations

import pytest

from streams.windows import Item, Progress, SessionWindows, Window
from tests.bench.join_agent import Calls
from tests.bench.join_hops import Check, Cores
from tests.bench.join_load import (
    BEGIN_MS,
    FEATURES_PER_EVENT,
    LATENESS_MS,
    LENGTH_MS,
    TURN,
    Reading,
    Row,
    Tally,
    call_event,
    expected,
    ratios,
    readings,
    round_robin,
    summary,
)
from tests.bench.join_pure import BASE, Point, points
from tests.bench.join_pure import Calls as Fed


def reading(session: str, time: int, source: str = "chat", value: float = 1.0) -> Reading:
    return Reading(session, f"{session}-{time}", BEGIN_MS + time, source, value)


def test_a_turn_has_two_progresses_and_a_feature_a_second() -> None:
    events = [call_event(3, index) for index in range(TURN)]
    items = [event for event in events if isinstance(event, Item)]
    assert len(items) == TURN * FEATURES_PER_EVENT
    assert sum(isinstance(event, Progress) for event in events) == TURN - len(items)
    assert [item.source for item in items] == [
        *["audio/customer"] * 2,
        *["audio/agent"] * 2,
        "text",
    ]
    assert items[0].expects == items[1].evidence != ""


def test_calls_are_fed_in_turn_and_each_in_order() -> None:
    fed = list(round_robin(7, 0, 70)) + list(round_robin(7, 70, 70))
    assert [session for session, _ in fed] == list(range(7)) * 20
    for number in range(7):
        offsets = [event.offset for session, event in fed if session == number]
        assert offsets == list(range(number, number + 20))


def test_every_item_of_a_call_gets_into_a_window() -> None:
    windows, taken, closed = SessionWindows(BASE.rules), 0, 0
    for index in range(20 * TURN):
        outcome = windows.step(call_event(0, index))
        assert not outcome.late
        taken += isinstance(call_event(0, index), Item)
        closed += sum(len(window.items) for window in outcome.closed)
    assert closed >= taken - 2 * TURN * FEATURES_PER_EVENT


def test_what_is_expected_of_a_small_log() -> None:
    log = [
        reading("a", 100, "voice", 1.0),
        reading("a", 4999, "chat", 2.0),
        reading("a", LENGTH_MS, "chat", 5.0),
        reading("a", 200, "chat", 3.0),  # out of order, in time
        reading("a", LENGTH_MS + LATENESS_MS - 1, "chat", 5.0),
        reading("a", LENGTH_MS + LATENESS_MS, "chat", 5.0),  # now the first window closes
        reading("a", 300, "chat", 9.0),  # late
        reading("b", 100_000),  # another session's time is its own
    ]
    rows, late = expected(log)
    assert rows == {Row("a", BEGIN_MS, 3, 2.0, ("chat", "voice"))}
    assert late == 1


@pytest.mark.parametrize("sessions", [1, 7, 100])
def test_tenor_tallies_what_is_expected(sessions: int) -> None:
    log = readings(sessions, 6000)
    tallies: dict[str, Tally] = {}
    late, found = 0, []
    for offset, each in enumerate(log):
        tally = tallies.setdefault(each.session, Tally.new())
        for outcome in tally.take(offset, each, None):
            late += outcome.late
            found += [row(each.session, window) for window in outcome.closed]
    rows, really_late = expected(log)
    assert late == really_late > 0
    assert Check.of(found, rows) == Check(missing=0, wrong=0, repeated=0)


def row(session: str, window: Window) -> Row:
    return Row.of(session, window.start, [item.payload[0] for item in window.items])


def test_the_check_tells_missing_wrong_and_repeated_rows() -> None:
    right = {Row("a", 0, 1, 1.0, ("chat",)), Row("a", 5000, 1, 1.0, ("chat",))}
    wrong = Row("a", 5000, 2, 1.0, ("chat",))
    first = Row("a", 0, 1, 1.0, ("chat",))
    assert Check.of([first, first, wrong], right) == Check(missing=1, wrong=1, repeated=1)


def test_a_row_survives_its_json_whatever_the_order_of_its_sources() -> None:
    original = Row("a", 0, 2, 0.5, ("chat", "voice"))
    assert Row.from_body("a", original.body() | {"sources": ["voice", "chat"]}) == original


def test_ratios_are_taken_within_a_round() -> None:
    assert ratios([2.0, 9.0, 8.0], [1.0, 3.0, 8.0]) == summary([2.0, 3.0, 1.0])
    assert summary([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0, "rounds": 3}


def test_the_worker_has_a_core_of_its_own_if_there_is_one() -> None:
    assert Cores.of([0, 1, 2]) == Cores(2, frozenset({0, 1}))
    assert Cores.of([5]) == Cores(None, frozenset({5}))


@pytest.mark.parametrize("point", points(100), ids=lambda point: point.name)
def test_every_point_can_be_fed(point: Point) -> None:
    fed = Fed(point)
    assert fed.run(1000).cpu > 0


def test_the_truth_about_whole_calls() -> None:
    calls = Calls(sessions=1, turns=2)
    windows, events, features = calls.truth()
    assert windows == 3
    assert 0 < features < events < 3 * TURN + 3
