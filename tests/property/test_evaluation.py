"""What holds of the measures whatever is shown: partial captions of any words, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from streams.evaluation import Tally, common, displays, erased, stable_delays, text_of
from streams.results import CaptionFinal, CaptionPartial, PartialWord, Word

Words = list[str]
WORDS = st.lists(st.sampled_from("abc"), max_size=6)
UTTERANCE_MS = 1000
LATER_MS = 10_000
"""Every final caption comes this long after the beginning of its utterance."""


@st.composite
def utterances(draw: st.DrawFn) -> list[tuple[list[tuple[Words, int]], Words]]:
    """Of each: partial captions with how many of their words are stable, and the final one."""
    partial = WORDS.flatmap(lambda ws: st.tuples(st.just(ws), st.integers(0, len(ws))))
    return draw(st.lists(st.tuples(st.lists(partial, max_size=5), WORDS), max_size=3))


def timeline(
    spoken: Sequence[tuple[list[tuple[Words, int]], Words]],
) -> list[tuple[float, CaptionPartial | CaptionFinal]]:
    said: list[tuple[float, CaptionPartial | CaptionFinal]] = []
    for number, (partials, words) in enumerate(spoken):
        start = number * UTTERANCE_MS
        about = {
            "session": "s",
            "channel": "c",
            "start": start,
            "end": start + UTTERANCE_MS,
            "language": "en",
            "revision": 0,
            "model": "m",
            "no_speech_probability": 0,
        }
        for i, (guess, stable) in enumerate(partials):
            parts = tuple(
                PartialWord(text=w, start=start, end=start, probability=1, stable=place < stable)
                for place, w in enumerate(guess)
            )
            heard = CaptionPartial(**about, text=" ".join(guess), words=parts)
            said.append((start * LATER_MS + float(i), heard))
        ends = tuple(Word(text=w, start=start, end=start, probability=1) for w in words)
        final = CaptionFinal(**about, text=" ".join(words), words=ends)
        said.append((start * LATER_MS + float(LATER_MS), final))
    return said


@given(WORDS, WORDS)
def test_the_common_prefix_is_the_longest(left: Words, right: Words) -> None:
    length = common(left, right)
    assert left[:length] == right[:length]
    assert left[: length + 1] != right[: length + 1] or length == min(len(left), len(right))


@given(st.lists(WORDS))
def test_a_text_that_only_grows_takes_nothing_back(pieces: list[Words]) -> None:
    texts = [list(chain(*pieces[:n])) for n in range(len(pieces) + 1)]
    assert erased(texts) == 0


@given(st.lists(WORDS, min_size=1))
def test_what_was_shown_is_taken_back_or_in_the_end_still_there(texts: list[Words]) -> None:
    shown = sum(len(b) - common(a, b) for a, b in zip([[], *texts], texts, strict=False))
    assert shown == erased(texts) + len(texts[-1])


@given(utterances())
def test_a_word_waits_for_its_final_at_the_longest(
    spoken: list[tuple[list[tuple[Words, int]], Words]],
) -> None:
    said = timeline(spoken)
    finals = [(at, each) for at, each in said if isinstance(each, CaptionFinal)]
    longest = [(at - word.end) / 1000 for at, final in finals for word in final.words]
    delays = stable_delays(said)
    assert len(delays) == len(longest)
    assert all(delay <= most for delay, most in zip(delays, longest, strict=True))


@given(utterances())
def test_the_screen_ends_with_the_final_captions(
    spoken: list[tuple[list[tuple[Words, int]], Words]],
) -> None:
    said = timeline(spoken)
    words = [word for _, final in spoken for word in final]
    assert text_of(said).split() == words
    seen = list(displays(said))
    assert not seen or list(seen[-1].shown) == list(seen[-1].stable) == words
    assert all(set(display.stable) <= set(display.shown) for display in seen)


@given(utterances())
def test_what_is_stable_from_the_start_is_never_late_nor_taken_back(
    spoken: list[tuple[list[tuple[Words, int]], Words]],
) -> None:
    """A recogniser that is right at once, whose partial captions only grow."""
    right = [([(words, len(words))], words) for _, words in spoken]
    tally = Tally()
    tally.add(timeline(right))
    assert tally.erasure("shown") == tally.erasure("stable") == 0
    assert all(delay < LATER_MS / 1000 for delay in stable_delays(timeline(right[:1])))
