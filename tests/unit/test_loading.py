"""Calls of `tenor load` are made as promised, and what is lost or late is told."""

from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from streams.loading import LoadError
from streams.loading.accounts import lost
from streams.loading.calls import SHARE, Conversation, Load
from streams.loading.latencies import Latencies
from streams.replay import CHUNK_S, Script, load
from streams.results import CaptionPartial, Gap, PartialWord, Result
from tests.made_results import (
    CALLS,
    WHOLE,
    accounts,
    caption,
    event,
    final,
    silence,
    summed_up,
    window,
)


@pytest.fixture(scope="module")
def script(demo_call: Path) -> Script:
    return load([demo_call])


@pytest.fixture(scope="module")
def conversation(script: Script) -> Conversation:
    return Conversation(script)


# --- calls


def test_somebody_speaks_for_the_share_of_the_time_that_is_promised(
    conversation: Conversation,
) -> None:
    steps = list(islice(conversation.play(Random(3)), round(1200 / CHUNK_S)))
    assert sum(step.loud for step in steps) / len(steps) == pytest.approx(SHARE, abs=0.03)


def test_calls_begin_where_nobody_speaks_and_each_at_another_time_and_place(
    conversation: Conversation,
) -> None:
    made = Load("load", 20, 600.0)
    calls = [list(islice(made.call(n, conversation), 200)) for n in range(made.sessions)]
    assert not any(call[0].loud for call in calls)
    assert len({made.begins_ms(n) for n in range(made.sessions)}) > 15
    assert all(one != other for one, other in pairwise(calls))


def test_every_channel_has_a_chunk_in_every_step_and_everything_is_in_order(
    conversation: Conversation,
) -> None:
    made = Load("load", 1, 60.0)
    moments = [
        moment
        for number, step in enumerate(made.call(0, conversation))
        for moment in step.moved(number)
    ]
    for channel in conversation.channels:
        starts = [m.start for m in moments if (m.topic, m.channel) == ("audio", channel)]
        assert starts == [pytest.approx(n * CHUNK_S) for n in range(made.steps)]
    assert [m.at for m in moments] == sorted(m.at for m in moments)
    assert {m.topic for m in moments} == {"audio", "text", "images"}


def test_the_same_seed_makes_the_same_calls(conversation: Conversation) -> None:
    one, same, other = (Load("load", 3, 20.0, seed) for seed in (1, 1, 2))
    assert list(one.call(1, conversation)) == list(same.call(1, conversation))
    assert list(one.call(1, conversation)) != list(other.call(1, conversation))
    assert one.spans(5000) == same.spans(5000) != other.spans(5000)


def test_a_call_without_a_pause_makes_none(script: Script) -> None:
    spoken = next(step for step in Conversation(script).steps if step.loud)
    with pytest.raises(LoadError, match="--folder"):
        Conversation(Script(spoken.moments))


# --- accounts


def test_a_call_that_is_there_whole_and_once_lost_nothing() -> None:
    made = accounts(*WHOLE, window(0, 5000), window(5000, 10_000), summed_up(2, 1))
    assert lost(made.figures()) == []
    assert made.figures()["audio"]["sent_ms"] == 10_000


def test_what_comes_again_with_the_same_content_is_a_repetition() -> None:
    once = [*WHOLE, window(0, 5000), summed_up(1, 1)]
    made = accounts(*once, *once)
    assert lost(made.figures()) == []
    assert made.figures()["repeated"] == 5


@pytest.mark.parametrize(
    ("results", "told"),
    [
        ((WHOLE[0], WHOLE[2]), "5000 ms of audio missing"),
        (WHOLE[:2], "2000 ms of audio missing"),
        ((*WHOLE, silence(8000, 9500)), "1500 ms of audio accounted for more than once"),
        ((*WHOLE, silence(11_000, 11_500)), "500 ms of audio accounted for more than once"),
        ((silence(1000, 11_000, 300),), "300 ms of audio that did not come"),
        (
            (*WHOLE[:2], Gap(session="s", channel="a", start=9000, end=11_000, reason="no-audio")),
            "2000 ms of audio in gaps (no-audio)",
        ),
        (WHOLE, "2 windows missing"),
        ((*WHOLE, window(0, 5000), window(0, 5000, score=1)), "1 windows told twice, differently"),
        (WHOLE[:1], "1 captions missing"),
    ],
)
def test_what_is_lost_is_told(results: tuple[Result, ...], told: str) -> None:
    assert told in lost(accounts(*results, summed_up(2, 1)).figures())


def test_a_session_without_a_summary_and_dead_letters_are_losses() -> None:
    made = accounts(*WHOLE)
    made.letters["late"] += 3
    assert made.unfinished == 1
    assert lost(made.figures()) == ["1 sessions without a summary", "3 dead letters (late)"]


def test_distrust_of_a_transcript_and_what_is_not_final_are_no_losses() -> None:
    gap = Gap(session="s", channel="a", start=9000, end=11_000, reason="no-speech")
    made = accounts(*WHOLE[:2], gap, window(0, 5000, final=False), summed_up(0, 1))
    assert lost(made.figures()) == []


# --- latencies


def latencies(*arrived: tuple[int, Result]) -> dict[str, Any]:
    made = Latencies(CALLS)
    for at, result in arrived:
        made.add(event(result), result, at)
    return made.figures()


def test_each_kind_is_timed_from_the_end_of_what_it_is_about() -> None:
    word = final(2000, 4192, ("no", 3900))
    found = latencies(
        (4800, word),
        (5400, window(0, 5000, event(word).id)),
        (11_250, window(10_000, 15_000)),  # ends with the call
        (11_500, summed_up(2)),
    )
    assert found["final"]["max"] == 0.8  # 192 ms of silence are kept at the end of an utterance
    assert found["word_stable"]["max"] == 0.9
    assert (found["sentiment"]["p50"], found["sentiment"]["max"]) == (0.25, 0.4)
    after = found["sentiment_after_words"]  # they were there before the window's end
    assert (after["count"], after["max"]) == (1, 0.4)
    assert found["session"]["max"] == 0.5
    assert found["image"] == {"count": 0, "p50": None, "p95": None, "p99": None, "max": None}


def test_a_window_may_be_read_before_the_captions_that_it_cites() -> None:
    word = final(2000, 4192, ("no", 3900))
    found = latencies(
        (5400, window(0, 5000, event(word).id)), (5100, word), (9000, window(5000, 10_000))
    )
    assert found["sentiment_after_words"]["max"] == 0.3


def test_a_word_is_stable_when_a_partial_says_so_and_it_stays() -> None:
    words = tuple(
        PartialWord(text=t, start=3000, end=3500, probability=1, stable=s)
        for t, s in (("no", True), ("way", False))
    )
    partial = CaptionPartial(**{**caption(2000, 3700), "words": words})
    found = latencies(
        (3800, partial),
        (3900, silence(1000, 2000)),  # before it: the utterance goes on
        (5000, final(2000, 4192, ("no", 3500), ("way", 3900))),
    )
    assert (found["partial"]["max"], found["word_stable"]["count"]) == (0.1, 2)
    assert (found["word_stable"]["p50"], found["word_stable"]["max"]) == (0.3, 1.1)
