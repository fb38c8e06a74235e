"""The measures of live captions, on timelines made by hand."""

from __future__ import annotations

import pytest

from streams.evaluation import (
    TAIL_MS,
    EvaluationError,
    Tally,
    common,
    coverage,
    displays,
    erased,
    exact,
    final_delays,
    plain,
    stable_delays,
    text_of,
)
from streams.results import CaptionFinal, CaptionPartial, Gap, PartialWord, Silence, Word


def final(start: int, end: int, text: str) -> CaptionFinal:
    """Words of 100 ms, without pause, from `start` on."""
    return CaptionFinal(
        session="s",
        channel="c",
        start=start,
        end=end,
        text=text,
        language="en",
        revision=0,
        model="m",
        no_speech_probability=0,
        words=tuple(
            Word(text=word, start=start + 100 * i, end=start + 100 * (i + 1), probability=1)
            for i, word in enumerate(text.split())
        ),
    )


def partial(start: int, text: str) -> CaptionPartial:
    """Words with a star are stable."""
    words = tuple(
        PartialWord(text=w.strip("*"), start=start, end=start, probability=1, stable="*" in w)
        for w in text.split()
    )
    whole = final(start, start + 1000, text.replace("*", ""))
    return CaptionPartial(**{**whole.model_dump(), "words": words})


def silence(start: int, end: int) -> Silence:
    return Silence(session="s", channel="c", start=start, end=end)


def gap(start: int, end: int) -> Gap:
    return Gap(session="s", channel="c", start=start, end=end, reason="r")


def test_a_screen_shows_finals_and_the_latest_partial() -> None:
    timeline = [
        (500.0, partial(0, "so*")),
        (900.0, partial(0, "so* what")),
        (1500.0, final(0, 1000, "So, what?")),
        (2000.0, partial(1000, "it* is")),
        (2500.0, silence(1000, 2000)),
    ]
    seen = list(displays(timeline))
    assert [display.at for display in seen] == [500, 900, 1500, 2000, 2500]
    shown = [("so",), ("so", "what"), ("so", "what"), ("so", "what", "it", "is"), ("so", "what")]
    assert [display.shown for display in seen] == shown
    assert [display.stable for display in seen] == [
        ("so",), ("so",), ("so", "what"), ("so", "what", "it"), ("so", "what")
    ]  # fmt: skip


def test_what_is_said_of_earlier_audio_leaves_the_partial_alone() -> None:
    timeline = [(1.0, partial(1000, "hello")), (2.0, silence(0, 1000))]
    assert [display.shown for display in displays(timeline)] == [("hello",), ("hello",)]


def test_a_partial_that_comes_after_its_final_is_not_shown() -> None:
    timeline = [(1.0, final(0, 1000, "hello")), (2.0, partial(0, "yellow"))]
    assert [display.shown for display in displays(timeline)] == [("hello",), ("hello",)]


def test_keys() -> None:
    assert plain("Don't,") == plain("DONT") == "dont"
    assert plain("--") == ""
    assert exact("Don't,") == "Don't,"


@pytest.mark.parametrize(
    ("left", "right", "length"),
    [("", "", 0), ("ab", "", 0), ("ab", "abc", 2), ("abc", "axc", 1), ("abc", "abc", 3)],
)
def test_common_prefix(left: str, right: str, length: int) -> None:
    assert common(left, right) == common(right, left) == length


@pytest.mark.parametrize(
    ("texts", "count"),
    [
        ([], 0),
        (["ab", "abc", "abcd"], 0),
        (["abc", "abd"], 1),
        (["abc", "xbc"], 3),  # all that follows the change is taken back with it
        (["abc", "", "abc"], 3),
        (["abc", "ab", "a"], 2),
    ],
)
def test_words_that_were_taken_back(texts: list[str], count: int) -> None:
    assert erased(texts) == count


def test_a_word_is_stable_from_when_it_last_became_so() -> None:
    timeline = [
        (400.0, partial(0, "a* b")),
        (700.0, partial(0, "a* b* x*")),
        (1400.0, final(0, 1000, "A b c.")),
    ]
    # Ends of the words: 100, 200, 300 ms.
    assert stable_delays(timeline) == pytest.approx([0.3, 0.5, 1.1])


def test_a_word_that_went_away_in_between_was_not_stable_before() -> None:
    timeline = [
        (400.0, partial(0, "a* b*")),
        (700.0, partial(0, "a* x*")),
        (900.0, partial(0, "a* b*")),
        (1400.0, final(0, 1000, "a b")),
    ]
    assert stable_delays(timeline) == pytest.approx([0.3, 0.7])


def test_without_partials_every_word_waits_for_its_final() -> None:
    timeline = [(1400.0, final(0, 1000, "a --")), (2400.0, final(1000, 2000, "b"))]
    assert stable_delays(timeline) == pytest.approx([1.3, 1.3])
    assert stable_delays([(1.0, silence(0, 1000))]) == []


def test_a_final_is_late_by_the_end_of_its_speech() -> None:
    timeline = [(1400.0, final(0, 1000, "a b")), (1500.0, silence(1000, 1400))]
    assert final_delays(timeline) == pytest.approx([0.4 + TAIL_MS / 1000])


def test_coverage_counts_gaps_apart() -> None:
    timeline = [(0.0, final(0, 1000, "a")), (0.0, gap(1000, 1300)), (0.0, silence(1300, 2000))]
    assert coverage(timeline) == (1700, 300)
    assert coverage([]) == (0, 0)


@pytest.mark.parametrize("second", [silence(999, 2000), silence(1001, 2000), silence(0, 1000)])
def test_time_that_is_missing_or_said_twice_is_an_error(second: Silence) -> None:
    with pytest.raises(EvaluationError):
        coverage([(0.0, final(0, 1000, "a")), (0.0, second)])


def test_text_is_in_the_order_of_time() -> None:
    assert text_of([(0.0, final(1000, 2000, "b c")), (1.0, final(0, 1000, "a"))]) == "a b c"


def test_a_tally_is_of_all_channels_together() -> None:
    tally = Tally()
    tally.add([(500.0, partial(0, "a* x")), (900.0, final(0, 1000, "A b"))])
    tally.add([(500.0, partial(0, "x*")), (900.0, final(0, 1000, "c d")), (950.0, gap(1000, 1500))])
    assert (tally.words, tally.covered_ms, tally.gap_ms) == (4, 2000, 500)
    assert tally.erasure("shown") == 2 / 4  # x, x
    assert tally.erasure("shown_exact") == 3 / 4  # and a became A
    assert tally.erasure("stable") == 1 / 4
    assert tally.erasure("stable_exact") == 2 / 4
    assert len(tally.stable_s) == 4
    assert len(tally.final_s) == 2
