"""What counts as missing, extra, different and repeated; and how long a silence was."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from streams.events import Event, EventType
from streams.proving.comparison import (
    Finals,
    compare,
    describe,
    interruption_s,
    match_letters,
    median_and_most,
    uncovered,
)

WINDOW, FINAL = EventType.SENTIMENT_WINDOW, EventType.CAPTION_FINAL


def result(id_: str, type_: EventType = FINAL, session: str = "s", **fields: object) -> Event:
    data = json.dumps(fields).encode()
    return Event(type_, id_, "tenor/x", session, 0, channel="a", data=data)


def finals(*events: Event) -> Finals:
    made = Finals()
    for event in events:
        made.add(event)
    return made


def window(id_: str, revision: int, score: float = 0.0) -> Event:
    return result(id_, WINDOW, start=0, end=5, revision=revision, final=True, score=score)


def test_the_same_results_in_another_order_and_again_are_the_same() -> None:
    one, two = result("1", text="a"), result("2", text="b")
    found = compare(finals(one, two), finals(two, one, two, two))
    assert found.same
    assert (found.expected, found.found, found.repeated) == (2, 2, 2)


def test_what_is_not_there_is_missing_and_what_nobody_expects_is_extra() -> None:
    found = compare(finals(result("1"), result("2")), finals(result("2"), result("3")))
    assert (found.missing, found.extra, found.different) == (("1",), ("3",), ())
    assert (found.expected, found.found, found.same) == (2, 1, False)


@pytest.mark.parametrize(
    "other",
    [
        result("1", text="b"),
        result("1", EventType.CAPTION_GAP, text="a"),
        result("1", session="t", text="a"),
    ],
)
def test_another_content_under_the_same_id_is_different(other: Event) -> None:
    found = compare(finals(result("1", text="a")), finals(other))
    assert found.different == ("1",)
    assert not (found.missing or found.extra or found.same)


def test_a_run_that_contradicts_itself_is_different() -> None:
    calm = finals(result("1", text="a"))
    for order in (("a", "b"), ("b", "a")):
        found = compare(calm, finals(*(result("1", text=text) for text in order)))
        assert found.different == ("1",)
        assert found.repeated == 0


def test_partial_captions_and_interim_windows_do_not_count() -> None:
    partial = result("1", EventType.CAPTION_PARTIAL, text="a")
    interim = result("2", WINDOW, start=0, end=5, revision=0, final=False)
    assert finals(partial, interim).results == {}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_two_revisions_the_higher_one_counts(order: Iterable[int]) -> None:
    made = finals(*(window(f"r{revision}", revision) for revision in order))
    assert set(made.results) == {"r2"}
    made.add(window("r0", 0))
    assert (set(made.results), made.repeated, made.conflicting) == ({"r2"}, 1, set())
    made.add(window("r0", 0, score=1.0))
    assert made.conflicting == {"r0"}


def test_revisions_of_other_spans_are_other_results() -> None:
    later = result("2", WINDOW, start=5, end=10, revision=1, final=True)
    assert set(finals(window("1", 0), later).results) == {"1", "2"}


def test_a_description_says_nothing_that_was_said() -> None:
    made = finals(result("1", text="secret"), result("2", text="secret"), window("3", 0))
    told = describe(["1", "2", "3", "unknown"], made)
    assert told == "s: 2 tenor.caption.final.v1; s: 1 tenor.sentiment.window.v1"


def test_each_malformed_record_has_its_letter() -> None:
    bad = {("audio", 0, 7): b"x", ("text", 1, 2): None}
    letters = match_letters(bad, [(("audio", 0, 7), b"x"), (("text", 1, 2), None)])
    assert letters.right
    assert (letters.expected, letters.repeated) == (2, 0)


def test_letters_that_lack_are_of_good_records_or_altered_are_wrong() -> None:
    bad = {("audio", 0, 7): b"x", ("text", 1, 2): b"y"}
    letters = match_letters(bad, [(("audio", 0, 7), b"z"), *[(("audio", 0, 8), b"x")] * 2])
    assert letters.missing == (("text", 1, 2),)
    assert letters.extra == (("audio", 0, 8),)
    assert letters.altered == (("audio", 0, 7),)
    assert letters.repeated == 1
    assert not letters.right


@pytest.mark.parametrize(
    ("spans", "wrong"),
    [
        ([(0, 4), (4, 10)], 0),
        ([(0, 4), (4, 9)], 0),
        ([(0, 4), (4, 8)], 2),
        ([(0, 4), (5, 10)], 1),
        ([(0, 5), (4, 10)], 1),
        ([(1, 10)], 1),
        ([], 10),
    ],
)
def test_audio_is_covered_exactly_once(spans: list[tuple[int, int]], wrong: int) -> None:
    made = finals(*(result(str(s), start=s[0], end=s[1]) for s in spans))
    made.add(result("elsewhere", session="t", start=0, end=3))
    assert uncovered(made, "s", "a", 0, 10) == wrong


def test_an_interruption_is_the_longest_silence_after_the_fault() -> None:
    fed = {"a": (0, 40_000), "b": (0, 40_000)}
    calm = list(range(0, 40_000, 1000))
    assert interruption_s({"a": calm, "b": calm}, fed, 10_500) == 1.0
    broken = [stamp for stamp in calm if not 12_000 < stamp < 20_000]
    assert interruption_s({"a": calm, "b": broken}, fed, 10_500) == 8.0
    assert interruption_s({"a": calm, "b": broken}, fed, 15_000) == 5.0


def test_only_sessions_that_are_fed_long_enough_count() -> None:
    fed = {"over": (0, 20_000), "new": (11_000, 60_000)}
    signs = {"over": [30_000], "new": [30_000]}
    assert interruption_s(signs, fed, 10_000) is None
    assert interruption_s(signs, fed, 11_000) == 19.0
    assert interruption_s({}, fed, 11_000) is None


def test_median_and_most_tell_of_how_many() -> None:
    assert median_and_most([None]) == {"p50": None, "max": None, "measured": 0}
    assert median_and_most([3.0, None, 1.0, 2.0, 9.0]) == {"p50": 2.0, "max": 9.0, "measured": 4}
