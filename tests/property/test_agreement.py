"""What is shown of a growing utterance, whatever the hypotheses are and whenever they come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from streams.agreement import Caution, LiveCaption
from streams.results import PartialWord, Word

LENGTH_MS = 200

Hypothesis = tuple[list[Word], int, bool]
"""Words, where the audio ends that they were heard in (ms), and whether the speaker pauses."""


@st.composite
def hypotheses(draw: st.DrawFn) -> list[Hypothesis]:
    """Of a few words, so that they often agree; each of more audio than the one before."""
    made: list[Hypothesis] = []
    until = 0
    for _ in range(draw(st.integers(1, 7))):
        until += draw(st.integers(100, 900))
        texts = draw(st.lists(st.sampled_from("abcd"), max_size=1 + until // LENGTH_MS))
        words = [
            Word(
                text=text,
                start=place * LENGTH_MS,
                end=(place + 1) * LENGTH_MS,
                probability=draw(st.sampled_from([0.2, 0.7, 0.95, 1.0])),
            )
            for place, text in enumerate(texts)
        ]
        made.append((words, until, draw(st.booleans())))
    return made


def content(words: Iterable[PartialWord]) -> list[tuple[str, bool]]:
    return [(word.text, word.stable) for word in words]


def stable(caption: LiveCaption) -> list[str]:
    return [word.text for word in caption.shown if word.stable]


def within(some: Iterable[str], all_: Iterable[str]) -> bool:
    """Whether the words are among the others, in their order."""
    rest = iter(all_)
    return all(each in rest for each in some)


@given(hypotheses())
def test_stable_words_stay_in_their_order(heard: Sequence[Hypothesis]) -> None:
    caption = LiveCaption()
    for words, until, paused in heard:
        before = stable(caption)
        caption.hear(words, until, paused=paused)
        assert within(before, stable(caption))


@given(hypotheses())
def test_the_revision_counts_the_changes(heard: Sequence[Hypothesis]) -> None:
    caption = LiveCaption()
    for words, until, paused in heard:
        shown, revision = content(caption.shown), caption.revision
        changed = caption.hear(words, until, paused=paused)
        assert changed == (content(caption.shown) != shown)
        assert caption.revision == revision + changed


@given(hypotheses())
def test_only_what_two_hypotheses_said_is_stable(heard: Sequence[Hypothesis]) -> None:
    caption = LiveCaption()
    said: dict[str, int] = dict.fromkeys("abcd", 0)
    for words, until, paused in heard:
        for text in {word.text for word in words}:
            said[text] += 1
        caption.hear(words, until, paused=paused)
        assert all(said[text] > 1 for text in stable(caption))


@given(hypotheses(), st.data())
def test_case_and_marks_do_not_matter(heard: Sequence[Hypothesis], data: st.DataObject) -> None:
    plain, marked = LiveCaption(), LiveCaption()
    forms = st.sampled_from(["{}", "{},", '"{}"', "{}.", "({})?"])
    cases = st.sampled_from([str.upper, str.lower])
    for words, until, paused in heard:
        plain.hear(words, until, paused=paused)
        dressed = [
            word.model_copy(update={"text": data.draw(forms).format(data.draw(cases)(word.text))})
            for word in words
        ]
        marked.hear(dressed, until, paused=paused)
        bare = [(w.text.strip('",.()?').lower(), w.stable) for w in marked.shown]
        assert bare == content(plain.shown)


@given(hypotheses(), st.integers(0, 3000))
def test_words_beyond_a_cut_are_carried_on(heard: Sequence[Hypothesis], cut: int) -> None:
    caption = LiveCaption()
    for words, until, paused in heard:
        caption.hear(words, until, paused=paused)
    before, revision = caption.shown, caption.revision
    rest = caption.cut(cut)
    assert caption.shown == tuple(word for word in before if word.start < cut)
    assert (rest.shown if rest else ()) == tuple(word for word in before if word.start >= cut)
    assert caption.revision == revision + (rest is not None)
    if rest:
        assert rest.revision == 0
        carried = stable(rest)
        rest.hear([word for word in heard[-1][0] if word.start >= cut], heard[-1][1] + 500)
        assert within(carried, stable(rest))


@given(hypotheses())
def test_what_is_heard_alike_often_enough_is_what_is_shown(heard: Sequence[Hypothesis]) -> None:
    """However the hypotheses began, as long as nothing is stable."""
    caption = LiveCaption(Caution(sure=1000, old_ms=10**9))
    for words, until, paused in heard:
        caption.hear(words, until, paused=paused)
    words, until, _ = heard[-1]
    for later in range(1, 4):
        caption.hear(words, until + later * 1000)
    assert content(caption.shown) == [(word.text, False) for word in words]
