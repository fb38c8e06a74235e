"""A replay, which has read more of the log than there was, biases an utterance as before."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.context import EARLIER_MS, KEPT, PROMPT, SEEN, Bias, Context, Heard, Text, bias
from streams.messages import Kind

KINDS: tuple[Kind, ...] = ("vocabulary", "message", "note")
WORDS = ("Kestrel", "Siobhan Gallagher", "kestrel", "x" * 59, *(f"QX-{n}" for n in range(60)))


class Utterance(NamedTuple):
    """Where an utterance begins: event time, and its chunk's time stamp and offset."""

    start: int
    stamp: int
    offset: int

    def bias(self, texts: Iterable[Text], heard: Iterable[Heard] = ()) -> Bias:
        return bias(texts, heard, start=self.start, stamp=self.stamp, offset=self.offset)

    def comes_too_late(self, text: Text) -> bool:
        return text.time > self.start - EARLIER_MS or text.stamp > self.stamp


@st.composite
def utterances(draw: st.DrawFn) -> Utterance:
    """Anywhere in a log; event time and time stamp are about the same."""
    stamp = draw(st.integers(0, 80_000))
    return Utterance(stamp + draw(st.integers(-3000, 9000)), stamp, draw(st.integers(0, 50)))


@st.composite
def logs(draw: st.DrawFn) -> list[Text]:
    """What is typed in a session, in the order of the log: time stamps do not go back, event times
    may. A log is long, so it is drawn as one seed."""
    chance = random.Random(draw(st.integers(0, 10_000)))
    kinds = chance.choice([KINDS, KINDS[:1], KINDS[1:]])
    log, stamp = [], 0
    for place in range(draw(st.integers(0, 4 * KEPT))):
        stamp += chance.choice([0, 1, 500, 3000])
        time = stamp + chance.choice([0, 0, -5000, 5000])
        terms = tuple(chance.sample(WORDS, chance.randint(1, 3)))
        log.append(Text(stamp, time, f"e{place:03d}", chance.choice(kinds), terms))
    return log


def sort_of(text: Text) -> str:
    return "vocabulary" if text.kind == "vocabulary" else "messages"


def read_ahead(log: Sequence[Text], utterance: Utterance) -> list[Text]:
    """As much of the log as a reader may have read when the utterance is replayed: no more than
    KEPT - SEEN texts of a sort that are too late for it."""
    late: Counter[str] = Counter()
    for place, text in enumerate(log):
        late[sort_of(text)] += utterance.comes_too_late(text)
        if late[sort_of(text)] > KEPT - SEEN:
            return list(log[:place])
    return list(log)


def shuffled(data: st.DataObject, texts: Sequence[Text]) -> list[Text]:
    """In any order, some of them repeated."""
    chance = random.Random(data.draw(st.integers(0, 10_000)))
    mixed = [*texts, *chance.sample(texts, len(texts) // 3)]
    chance.shuffle(mixed)
    return mixed


@settings(max_examples=300)
@given(logs(), utterances(), st.data())
def test_later_texts_change_no_bias(
    log: list[Text], utterance: Utterance, data: st.DataObject
) -> None:
    known = [text for text in log if not utterance.comes_too_late(text)]
    whole = utterance.bias(known)
    ahead = read_ahead(log, utterance)
    enough = max((ahead.index(text) + 1 for text in known if text in ahead), default=0)
    read = ahead[: data.draw(st.integers(enough, len(ahead)))]
    if set(known) <= set(read):
        assert utterance.bias(Context(shuffled(data, read)).texts) == whole


@settings(max_examples=200)
@given(logs(), st.data())
def test_a_context_is_a_function_of_what_was_added(log: list[Text], data: st.DataObject) -> None:
    whole = Context(log)
    cut = data.draw(st.integers(0, len(log)))
    kept = Context.of(json.loads(json.dumps(Context(shuffled(data, log[:cut])).state())))
    back = data.draw(st.integers(0, cut))  # a restart reads some of them again
    for text in log[back:]:
        kept.add(text)
    assert kept.texts == whole.texts == Context(shuffled(data, log)).texts
    for sort in ("vocabulary", "messages"):
        of_sort = [text for text in log if sort_of(text) == sort]
        kept_of_sort = [text for text in whole.texts if sort_of(text) == sort]
        assert kept_of_sort == sorted(of_sort)[-KEPT:]


@settings(max_examples=300)
@given(logs(), utterances())
def test_a_prompt_is_short_and_made_of_its_evidence(log: list[Text], utterance: Utterance) -> None:
    found = utterance.bias(log)
    assert len(found.prompt) <= PROMPT
    assert bool(found.prompt) == bool(found.evidence)
    cited = [text for text in log if text.id in found.evidence]
    assert not any(map(utterance.comes_too_late, cited))
    terms = found.prompt.rstrip(".").split(", ") if found.prompt else []
    assert all(any(term in text.terms for text in cited) for term in terms)
    by_id = {text.id: text for text in cited}
    first = [next(id_ for id_ in found.evidence if term in by_id[id_].terms) for term in terms]
    assert set(first) == set(found.evidence)


@settings(max_examples=200)
@given(
    st.lists(
        st.builds(
            Heard,
            st.uuids().map(str),
            st.integers(0, 100_000),
            st.integers(0, 50),
            st.lists(st.sampled_from(WORDS), max_size=4).map(lambda said: f"so {', '.join(said)}"),
        ),
        max_size=20,
        unique_by=lambda heard: heard.id,
    ),
    utterances(),
    st.data(),
)
def test_later_captions_change_no_bias(
    heard: list[Heard], utterance: Utterance, data: st.DataObject
) -> None:
    known = [
        each
        for each in heard
        if each.end <= utterance.start - EARLIER_MS and each.offset <= utterance.offset
    ]
    later = [each for each in heard if each not in known]
    more = data.draw(st.lists(st.sampled_from(later), unique=True)) if later else []
    found = utterance.bias((), data.draw(st.permutations([*known, *more])))
    assert found == utterance.bias((), known)
    assert set(found.evidence) <= {each.id for each in known}
