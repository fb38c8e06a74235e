"""Which utterances Whisper hears together, and after which prompt; no weights are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from whisper.decoding import DecodingOptions, DecodingTask
from whisper.model import ModelDimensions, Whisper

from models.base import SAMPLE_RATE, ModelError, Transcript, Utterance
from models.whisper import (
    CONTEXTS_S,
    bucket,
    context_s,
    in_buckets,
    prompt_tokens,
    tokenizer_for,
)

ENGLISH, MULTILINGUAL = 51864, 51865
LONGEST = 448 // 2
"""Tokens, of a prompt with its mark."""

PROMPTS = ("", "Kowalski", "Adler", "invoice number, Kowalski")


def _utterance(seconds: float, prompt: str = "") -> Utterance:
    return Utterance(np.zeros(round(seconds * SAMPLE_RATE), np.float32), prompt)


def _transcript(text: str, ratio: float = 1.0) -> Transcript:
    return Transcript(text, (), "en", 0.0, 0.0, ratio)


@pytest.fixture(scope="module", params=[ENGLISH, MULTILINGUAL])
def network(request: pytest.FixtureRequest) -> Whisper:
    """As small as can be: openai-whisper asks a network only for its sizes to make a prompt."""
    return Whisper(ModelDimensions(80, 4, 8, 1, 1, request.param, 448, 8, 1, 1))


@settings(max_examples=30)  # each makes the whole list of suppressed tokens anew
@given(text=st.text(st.characters(exclude_characters="<|>", exclude_categories=["Cs"])))
@example(text="")
@example(text="  invoice ")
@example(text="order number " * 300)
def test_a_prompt_is_what_openai_whisper_makes_of_it(network: Whisper, text: str) -> None:
    options = DecodingOptions(without_timestamps=True, fp16=False)
    alone = DecodingTask(network, options).initial_tokens
    prompted = DecodingTask(network, replace(options, prompt=text.strip())).initial_tokens
    tokens = prompt_tokens(network.dims.n_vocab, text)
    assert (*tokens, *alone) == prompted
    assert len(tokens) <= LONGEST


@pytest.mark.parametrize("vocabulary", [ENGLISH, MULTILINGUAL])
def test_a_prompt_holds_no_special_token_but_its_mark(vocabulary: int) -> None:
    tokenizer = tokenizer_for(vocabulary, "en")
    mark, *text = prompt_tokens(vocabulary, "<|endoftext|> <|startoftranscript|> <|0.00|>")
    assert mark == tokenizer.sot_prev
    assert max(text) < tokenizer.eot


def test_a_context_holds_its_audio() -> None:
    assert [context_s(s) for s in (0.1, 12, 12.1, 20, 25, 30)] == [12, 12, 20, 20, 30, 30]
    for seconds in (0, 30.1):
        with pytest.raises(ModelError):
            bucket(ENGLISH, _utterance(seconds))


@given(
    st.lists(
        st.builds(_utterance, st.sampled_from([1, 12, 13, 20, 25]), st.sampled_from(PROMPTS)),
        max_size=8,
    ),
    st.data(),
)
def test_what_goes_through_together_is_of_one_bucket(
    utterances: list[Utterance], data: st.DataObject
) -> None:
    """Each comes back in its place, heard last in a context that did not loop or the longest."""
    calls: list[tuple[list[int], float]] = []

    def decode(group: Sequence[Utterance], context: float) -> list[Transcript]:
        places = [next(i for i, u in enumerate(utterances) if u is each) for each in group]
        calls.append((places, context))
        return [_transcript(str(i), data.draw(st.sampled_from([1.0, 9.0]))) for i in places]

    done = in_buckets(ENGLISH, utterances, decode)
    assert [t.text for t in done] == [str(i) for i in range(len(utterances))]
    for places, context in calls:
        shortest, lengths = zip(*(bucket(ENGLISH, utterances[i]) for i in places), strict=True)
        assert len(set(lengths)) == 1
        assert max(shortest) <= context
    for i, utterance in enumerate(utterances):
        contexts = [context for places, context in calls if i in places]
        assert contexts == [c for c in CONTEXTS_S if contexts[0] <= c <= contexts[-1]]
        assert contexts[0] == bucket(ENGLISH, utterance)[0]
        assert done[i].compression_ratio == 1.0 or contexts[-1] == CONTEXTS_S[-1]


def test_a_loop_is_decoded_again_in_a_longer_context() -> None:
    short, long, other = _utterance(1), _utterance(13), _utterance(1, "Kowalski")
    calls: list[tuple[list[Utterance], float]] = []

    def decode(group: Sequence[Utterance], context: float) -> list[Transcript]:
        calls.append((list(group), context))
        return [_transcript("", 10.0 if context == CONTEXTS_S[0] else 1.0) for _ in group]

    in_buckets(ENGLISH, [long, short, other], decode)
    assert calls == [
        ([short], 12.0),
        ([other], 12.0),
        ([long, short], 20.0),
        ([other], 20.0),
    ]
