"""What the window-join does in cases that are worth a look each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from streams.windows import Ended, Event, Item, Outcome, Progress, Rules, SessionWindows, Tick
from tests.property.sessions import (
    BURSTS,
    HOPPING,
    INPUTS,
    LATENESS,
    TUMBLING,
    Run,
    assert_empty,
    numbered,
)


def test_a_burst_is_shown_as_it_grows() -> None:
    run = Run(replace(BURSTS, early=1000))
    run.feed(numbered([*reporting(), Item("one", 0, "text", 500), *reach(1400)]))
    assert not run.provisional
    run.feed(renumbered(10, [*reach(1600), Item("two", 0, "text", 2400), *reach(3600)]))
    assert [(w.start, w.end, w.revision, len(w.items)) for w in run.provisional] == [
        (500, 3000, 1, 1),
        (500, 4900, 3, 2),
    ]


def reporting() -> list[Event]:
    return [Progress(0, source, 0) for source in ("audio/agent", "text", "images")]


def reach(time: int) -> list[Event]:
    return [Progress(0, source, time) for source in ("text", "images", "audio/agent")]


def renumbered(begin: int, events: Sequence[Event]) -> list[Event]:
    return [replace(event, offset=begin + place) for place, event in enumerate(events)]


def test_a_late_item_corrects_its_closed_windows_and_enters_the_open_ones() -> None:
    log = [*reporting(), Item("a", 0, "text", 4500), *reach(6000), Item("b", 0, "text", 4600)]
    run = Run(replace(HOPPING, correction=4000)).feed(numbered([*log, *reach(9000)]))
    assert run.revisions == {
        ((0, 6000), 0): ("a",),
        ((0, 6000), 1): ("a", "b"),
        ((2000, 8000), 0): ("a", "b"),
    }
    assert not run.late


def test_what_is_too_late_for_one_of_its_windows_is_in_none() -> None:
    log = [*reporting(), Item("a", 0, "text", 4500), *reach(6000), Item("b", 0, "text", 4600)]
    run = Run(HOPPING).feed(numbered([*log, *reach(20_000)]))
    assert set(run.finals.values()) == {("a",)}
    assert run.late == {7}


def test_a_correction_of_a_burst_keeps_its_span() -> None:
    log = [*reporting(), Item("a", 0, "text", 1000), *reach(4000), Item("b", 0, "text", 3400)]
    run = Run(replace(BURSTS, correction=4000)).feed(
        numbered([*log, Item("c", 0, "text", 900), *reach(9000)])
    )
    assert run.revisions == {((1000, 3500), 0): ("a",), ((1000, 3500), 1): ("a", "b")}
    assert run.late == {8}


def test_nothing_is_corrected_after_the_end_of_the_session() -> None:
    ends: list[Event] = [Ended(0, name) for name in INPUTS]
    log = [*reporting(), Item("a", 0, "text", 1000), *ends]
    run = Run(replace(TUMBLING, correction=60_000))
    run.feed(numbered([*log, Item("b", 0, "text", 1100), Item("b", 0, "text", 1100)]))
    assert run.finals == {(0, 5000): ("a",)}
    assert run.late == {7}
    assert_empty(run)


def idle(*sources: str, origin: int = -1) -> Tick:
    return Tick(0, frozenset(sources), 0, False, sources[0].partition("/")[0], origin)


def test_idle_sources_hold_back_no_more_but_a_companion_does() -> None:
    voice = Item("voice", 0, "audio/agent", 4000, expects="words")
    log: list[Event] = [Progress(0, "audio/agent", 0), voice, Progress(0, "audio/agent", 4000)]
    run = Run(TUMBLING).feed(numbered([*log, idle("audio/agent")]))
    assert not run.finals
    assert run.windows.awaited
    run.step(Item("words", 4, "audio/agent", 4000, evidence="words"))
    assert run.finals == {(0, 5000): ("words", "voice")}
    assert not run.ended
    assert run.step(Ended(5, "audio")).ended


def test_an_end_alone_does_not_cut_off_what_was_not_declared() -> None:
    """The chat may be the quick one, and the audio behind."""
    run = Run(TUMBLING).feed(numbered([Item("chat", 0, "text", 1000), Ended(0, "text")]))
    assert not run.finals
    assert not run.ended
    run.step(Item("voice", 2, "audio/agent", 1200))
    run.step(Progress(3, "audio/agent", 1200))
    assert run.step(replace(idle("audio/agent"), offset=4)).ended
    assert run.finals == {(0, 5000): ("chat", "voice")}


def test_an_end_after_all_have_fallen_idle_ends_the_session_also_after_a_restart() -> None:
    run = Run(TUMBLING).feed(numbered([Item("chat", 0, "text", 1000), idle("text")]))
    assert run.finals == {(0, 5000): ("chat",)}
    again = SessionWindows.restore(TUMBLING, run.windows.snapshot())
    assert again.step(Ended(2, "text")).ended


def test_an_end_after_an_idle_source_has_woken_does_not() -> None:
    log: list[Event] = [Item("chat", 0, "text", 1000), idle("text"), Item("more", 0, "text", 9000)]
    run = Run(TUMBLING).feed(numbered([*log, Ended(0, "text")]))
    assert not run.ended
    assert run.windows.alive


def test_a_declared_session_is_over_with_the_end_of_its_last_input() -> None:
    log = [Progress(0, "audio/agent", 1000, inputs=frozenset({"audio", "text"}))]
    run = Run(TUMBLING).feed(numbered([*log, Item("chat", 0, "text", 900), Ended(0, "text")]))
    assert not run.ended
    assert run.step(Ended(3, "audio")).ended
    assert run.finals == {(0, 5000): ("chat",)}


def test_sparse_inputs_are_complete_as_far_as_each_of_their_ticks_says() -> None:
    run = Run(TUMBLING).feed(numbered([Item("a", 0, "text", 100), Item("b", 0, "images", 100)]))
    run.step(Tick(2, until=20_000, input="text"))
    assert run.windows.watermark == 0
    run.step(Tick(3, until=7000, input="images"))
    assert run.windows.watermark == 7000 - LATENESS
    assert run.finals == {(0, 5000): ("b", "a")}


def test_an_input_that_has_ended_holds_nothing_back() -> None:
    """Words of the last utterance come after the end of their input, while the chat goes on."""
    run = Run(TUMBLING).feed(
        numbered(
            [
                Progress(0, "text", 0),
                Progress(0, "images", 60_000),
                Item("voice", 0, "audio/agent", 4000, expects="words"),
                Progress(0, "audio/agent", 4000),
                Ended(0, "audio"),
                Item("words", 0, "audio/agent", 4000, "words"),
                Item("more", 0, "audio/agent", 4500),
                Progress(0, "text", 20_000),
            ]
        )
    )
    assert run.finals == {(0, 5000): ("words", "voice", "more")}
    assert run.windows.complete == 20_000


def test_what_an_idle_source_sends_later_counts_again() -> None:
    log = [*reporting(), *reach(9000)[:2], Progress(0, "audio/agent", 1000)]
    run = Run(TUMBLING).feed(numbered([*log, idle("audio/agent")]))
    assert run.windows.watermark == 9000
    run.step(Progress(7, "audio/agent", 10_000))
    run.feed(renumbered(8, reach(12_000)[:2]))
    assert run.windows.watermark == 10_000


def test_a_valid_expiry_ends_the_session() -> None:
    log: list[Event] = [*reporting(), Item("a", 0, "text", 100, expects="b")]
    assert Run(TUMBLING).feed(numbered([*log, Tick(0, expire=True, seen=3)])).ended == [4]
    assert not Run(TUMBLING).feed(numbered([*log, Tick(0, expire=True, seen=2)])).ended


def test_what_lies_after_what_the_writer_of_an_expiry_knew_is_known_after_a_restart() -> None:
    run = Run(TUMBLING).feed(numbered([*reporting(), *reach(6000)]))
    assert run.windows.covered == 5
    again = SessionWindows.restore(TUMBLING, run.windows.snapshot())
    assert again.step(Tick(6, expire=True, seen=4)).repeated
    assert again.step(Tick(7, expire=True, seen=5)).ended


def test_a_tick_of_an_upstream_agent_after_the_end_leaves_nothing_open() -> None:
    ends: list[Event] = [Ended(0, name) for name in INPUTS]
    log = [*reporting(), *ends, idle("text", origin=9)]
    run = Run(TUMBLING)
    outcomes = [run.step(event) for event in numbered(log)]
    assert outcomes[-1] == Outcome(advanced=True)
    assert_empty(run)
    assert run.step(Progress(7, "text", 5, origin=9)).repeated


@pytest.mark.parametrize(
    "rules",
    [Rules(kind="hopping", hop=1500), Rules(kind="session", gap=6000), Rules(kind="sliding")],
)
def test_rules_that_make_no_sense_are_refused(rules: Rules) -> None:
    with pytest.raises(ValueError, match="no windows can be cut"):
        SessionWindows(rules)


def test_event_time_stays_where_it_was_after_a_restart() -> None:
    """A source that was idle wakes far behind, while a window waits for its companion."""
    log = [*reporting(), idle("text"), Item("voice", 0, "audio/agent", 7000, expects="words")]
    run = Run(TUMBLING).feed(numbered([*log, *reach(20_000)[1:]]))
    again = SessionWindows.restore(TUMBLING, run.windows.snapshot())
    assert (again.complete, again.watermark) == (7000, 20_000)
    for event in numbered([*log, *reach(20_000)[1:], Progress(0, "text", 2000)]):
        again.step(event)
    closed = again.step(Item("words", 8, "", 7000, evidence="words")).closed
    assert [window.start for window in closed] == [5000]


def test_what_corrects_a_closed_window_makes_no_open_one_wait() -> None:
    voice = Item("voice", 0, "audio/agent", 4000, expects="words")
    log = [*reporting(), *reach(6000), voice, Item("next", 0, "text", 7000), *reach(10_000)]
    run = Run(replace(TUMBLING, correction=4000)).feed(numbered(log))
    assert run.finals == {(0, 5000): ("voice",), (5000, 10_000): ("next",)}


def test_a_correction_comes_too_late_although_the_window_is_still_held() -> None:
    log = [*reporting(), Item("a", 0, "text", 1000), *reach(4000), *reach(5000)]
    run = Run(replace(BURSTS, correction=1000)).feed(numbered(log))
    assert run.finals == {(1000, 3500): ("a",)}
    assert run.step(Item("b", 10, "text", 3400)).late


def test_what_was_late_does_not_get_in_when_it_is_fed_again() -> None:
    """Its last window can still be corrected, but the first one could not."""
    log = [*reporting(), *reach(20_000), Item("b", 0, "text", 9500), Item("c", 0, "text", 13_000)]
    rules = replace(HOPPING, memory=0, correction=8000)
    run = Run(rules).feed(numbered(log))
    assert run.late == {6}
    assert run.windows.covered == 7
    again = SessionWindows.restore(rules, run.windows.snapshot())
    assert [again.step(event).repeated for event in numbered(log)[6:]] == [True, False]


def test_what_was_late_for_a_burst_long_ago_does_not_get_in_when_it_is_fed_again() -> None:
    log = [*reporting(), *reach(30_000), Item("b", 0, "text", 10_000), *reach(36_000)]
    rules = replace(BURSTS, memory=0)
    run = Run(rules).feed(numbered(log))
    assert run.late == {6}
    again = SessionWindows.restore(rules, run.windows.snapshot())
    assert again.step(numbered(log)[6]).repeated
