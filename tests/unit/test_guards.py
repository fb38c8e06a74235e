"""Which transcripts are believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.base import HURRIED, LOOP_RATIO, Transcript, Word
from streams.guards import (
    LOG_PROBABILITY,
    LONGEST_PHRASE,
    NO_SPEECH,
    REPEATED,
    distrust,
    repeats,
)

BELIEVED = Transcript(
    text="Good morning, my name is Ann.",
    words=(),
    language="en",
    no_speech_probability=NO_SPEECH,
    average_log_probability=LOG_PROBABILITY,
    compression_ratio=LOOP_RATIO,
)
"""At every limit, but beyond none."""


def test_at_the_limits_it_is_believed() -> None:
    assert distrust(BELIEVED) is None


def test_no_speech_takes_both_signs_of_it() -> None:
    unlikely = replace(BELIEVED, average_log_probability=LOG_PROBABILITY - 0.1)
    noise = replace(BELIEVED, no_speech_probability=NO_SPEECH + 0.1)
    assert distrust(unlikely) is None
    assert distrust(noise) is None
    both = replace(unlikely, no_speech_probability=NO_SPEECH + 0.1)
    assert distrust(both) == "no-speech"


def test_text_that_compresses_well_is_a_loop() -> None:
    assert distrust(replace(BELIEVED, compression_ratio=LOOP_RATIO + 0.1)) == "repetition"


@pytest.mark.parametrize("phrase", ["no", "thank you", "one two three four five six"])
def test_a_phrase_may_be_said_four_times_in_a_row(phrase: str) -> None:
    said = replace(BELIEVED, text=" ".join(["So,"] + [phrase] * REPEATED + ["then."]))
    assert distrust(said) is None
    again = replace(BELIEVED, text=" ".join(["So,"] + [phrase] * (REPEATED + 1) + ["then."]))
    assert distrust(again) == "repetition"


def test_words_that_take_no_time_are_hurried() -> None:
    instants = [Word("so", 1.0, 1.0, 0.9)] * (HURRIED - 1)
    slow = Word("then", 1.0, 1.3, 0.9)
    assert not replace(BELIEVED, words=(*instants, slow, *instants)).hurried
    assert replace(BELIEVED, words=(slow, *instants, instants[0])).hurried


def test_case_does_not_hide_a_loop() -> None:
    assert distrust(replace(BELIEVED, text="No no NO no nO")) == "repetition"


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("", 0),
        ("a", 1),
        ("a b c", 1),
        ("a a", 2),
        ("a b a b a", 2),
        ("a b a b a b", 3),
        ("x a a a y a a", 3),
        ("a b c a b c x a b c", 2),
    ],
)
def test_how_often_in_a_row(text: str, times: int) -> None:
    assert repeats(text.split()) == times


def test_a_phrase_has_six_words_at_most() -> None:
    def phrase(length: int) -> list[str]:
        return [str(number) for number in range(length)]

    assert repeats(phrase(LONGEST_PHRASE) * 3) == 3
    assert repeats(phrase(LONGEST_PHRASE + 1) * 3) == 1
