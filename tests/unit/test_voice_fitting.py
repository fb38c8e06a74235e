"""The head of voices on made vectors: what it learns, what it must not, and how sure it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import softmax

from models.base import Floats
from models.fusion import SENTIMENTS
from models.train.voice_fitting import (
    HEADS,
    STRENGTHS,
    Choice,
    Examples,
    Problem,
    balance,
    calibrated,
    choose,
    crossfitted,
    fit,
    path,
)
from models.train.voice_report import crossed, figures
from models.voice import OUTPUTS, VOICE_EMOTIONS, Head

DIMENSION = 20
SPEAKERS = 9
PLAIN = Choice(0.1, (1.0, 1.0))


def made(seed: int = 0, count: int = 360, corpus: str = "one", signal: float = 2.0) -> Examples:
    """Anger, joy and neutral shift three numbers of twenty; a speaker's own shift is in all."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, 3, count)
    speakers = random.integers(0, SPEAKERS, count)
    vectors = random.normal(size=(count, DIMENSION)) + random.normal(size=(SPEAKERS, 1))[speakers]
    vectors[np.arange(count), classes] += signal
    shares = np.zeros((count, len(OUTPUTS)), np.float32)
    names = np.array([VOICE_EMOTIONS.index(each) for each in ("anger", "joy", "neutral")])
    shares[np.arange(count), names[classes]] = 1
    sentiments = np.array([SENTIMENTS.index(each) for each in ("negative", "positive", "neutral")])
    shares[np.arange(count), HEADS[1].start + sentiments[classes]] = 1
    allowed = np.ones_like(shares, dtype=bool)
    allowed[:, HEADS[0]] = shares[:, HEADS[0]].any(axis=0)
    return Examples(
        vectors.astype(np.float32),
        shares,
        allowed,
        (corpus,) * count,
        tuple(f"{corpus}/{speaker}" for speaker in speakers),
    )


def joined(*parts: Examples) -> Examples:
    return Examples(
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.shares for part in parts]),
        np.concatenate([part.allowed for part in parts]),
        tuple(name for part in parts for name in part.corpora),
        tuple(name for part in parts for name in part.speakers),
    )


def recall(examples: Examples, logits: Floats) -> float:
    return float(figures(examples, logits)["uar"])


def test_a_signal_is_learned_and_noise_is_not() -> None:
    learned, new = made(0), made(1)
    assert recall(new, fit(learned, PLAIN)(new.vectors)) > 0.8
    nothing = made(2, signal=0.0)
    assert recall(made(3, signal=0.0), fit(nothing, PLAIN)(made(3, signal=0.0).vectors)) < 0.45


def test_slopes_are_those_of_the_loss() -> None:
    examples = joined(made(0, 20), made(1, 20, "two"))
    problem = Problem(examples.vectors, examples)
    start = np.random.default_rng(0).normal(size=(len(examples), len(OUTPUTS)))

    def loss(flat: Floats) -> float:
        return float(problem.loss(flat.reshape(start.shape).astype(np.float64))[0].sum())

    def slope(flat: Floats) -> Floats:
        return problem.loss(flat.reshape(start.shape))[1].ravel()

    assert check_grad(loss, slope, start.ravel(), epsilon=1e-3) < 1e-2


def test_every_speaker_is_held_out_once_and_whole() -> None:
    examples = joined(made(0), made(1, corpus="two"))
    parts = list(examples.parts(4, seed=0))
    assert np.sum([held for _, held in parts], axis=0).tolist() == [1] * len(examples)
    for learned, held in parts:
        speakers = np.array(examples.speakers)
        assert not set(speakers[learned]) & set(speakers[held])
        assert set(np.array(examples.corpora)[held]) == {"one", "two"}
    other = [held.tolist() for _, held in examples.parts(4, seed=1)]
    assert other != [held.tolist() for _, held in parts]


def test_what_a_speaker_alone_has_does_not_leak_into_what_is_said_of_them() -> None:
    """Each speaker has one emotion and a mark: who heard them knows all, who did not nothing."""
    random = np.random.default_rng(0)
    examples = made(0, signal=0.0)
    emotion = {name: random.integers(0, 3) for name in sorted(set(examples.speakers))}
    shares = np.zeros_like(examples.shares)
    for row, speaker in enumerate(examples.speakers):
        shares[row, emotion[speaker]] = 1
    allowed = np.zeros_like(examples.allowed)
    allowed[:, :3] = True
    marks = np.array([[s.endswith(str(n)) for n in range(SPEAKERS)] for s in examples.speakers])
    marked = replace(
        examples,
        vectors=np.hstack([examples.vectors, 5 * marks]).astype(np.float32),
        shares=shares,
        allowed=allowed,
    )
    assert recall(marked, fit(marked, PLAIN)(marked.vectors)) > 0.95
    assert recall(marked, crossfitted(marked, [0])[0]) < 0.6


def test_emotions_that_a_corpus_lacks_are_not_learned_from_it() -> None:
    """Calm is only in the second corpus, whose clips are otherwise as the first one's."""
    first, second = made(0), made(1, corpus="two")
    calm, neutral = VOICE_EMOTIONS.index("calm"), VOICE_EMOTIONS.index("neutral")
    shares = second.shares.copy()
    shares[:, calm], shares[:, neutral] = shares[:, neutral], 0
    allowed = np.ones_like(shares, dtype=bool)
    allowed[:, HEADS[0]] = shares[:, HEADS[0]].any(axis=0)
    head = fit(joined(first, replace(second, shares=shares, allowed=allowed)), PLAIN)
    logits = head(first.vectors)
    level = first.shares[:, neutral] == 1
    assert np.abs(logits[level, calm] - logits[level, neutral]).mean() < 0.7
    assert (logits[level, calm] > logits[level, VOICE_EMOTIONS.index("joy")]).mean() > 0.8


def test_classes_weigh_the_same_and_the_unknown_nothing() -> None:
    examples = made(0)
    shares = examples.shares.copy()
    shares[:50] = 0
    weights = balance(replace(examples, shares=shares))
    assert (weights[:50] == 0).all()
    for head, outputs in enumerate(HEADS):
        sums = weights[:, head] @ shares[:, outputs]
        assert sums[sums > 0] == pytest.approx(np.full(3, (len(examples) - 50) / 3), rel=1e-4)


def test_a_strong_penalty_makes_small_weights() -> None:
    sizes = [float(np.abs(head.weights).sum()) for head in path(made(0), STRENGTHS)]
    assert sizes == sorted(sizes) and sizes[-1] > 1.2 * sizes[0]


def test_speakers_held_out_are_told_with_honest_confidence() -> None:
    learned, new = made(0, 2000, signal=1.0), made(1, 2000, signal=1.0)
    assert figures(new, fit(learned, choose(learned, 0))(new.vectors))["ece"] < 0.06


def test_a_temperature_changes_how_sure_and_not_what() -> None:
    head = fit(made(0), PLAIN)
    cooler = calibrated(head, Choice(0.1, (2.0, 1.0)))
    vectors = made(1).vectors
    before, after = head(vectors), cooler(vectors)
    np.testing.assert_allclose(after[:, HEADS[0]] * 2, before[:, HEADS[0]], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after[:, HEADS[1]], before[:, HEADS[1]], rtol=1e-4, atol=1e-5)


def test_between_corpora_only_the_emotions_of_both_count() -> None:
    first, second = made(0), made(1, corpus="two")
    anger, fear = VOICE_EMOTIONS.index("anger"), VOICE_EMOTIONS.index("fear")
    shares = second.shares.copy()
    shares[:, fear], shares[:, anger] = shares[:, anger], 0
    allowed = np.ones_like(shares, dtype=bool)
    allowed[:, HEADS[0]] = shares[:, HEADS[0]].any(axis=0)
    both = joined(first, replace(second, shares=shares, allowed=allowed))
    found = crossed(joined(both, both))
    assert set(found) == {"one to two", "two to one"}
    assert found["one to two"]["clips"] == int((shares[:, fear] == 0).sum())
    assert found["one to two"]["uar"] > 0.8


def test_what_is_far_from_all_speech_is_not_told_with_certainty() -> None:
    head = fit(made(0), PLAIN)
    far = np.full((1, DIMENSION), 1e6, np.float32)
    assert np.isfinite(head(far)).all()
    np.testing.assert_allclose(head(far), head(far * 10), rtol=1e-5)
    assert softmax(head(far)[:, HEADS[1]]).max() < 0.999


def test_a_vector_has_the_same_bits_in_any_company() -> None:
    random = np.random.default_rng(0)
    drawn = [random.standard_normal(shape) for shape in (1550, 1550, (12, 1550), 12)]
    head = Head(*(np.asarray(each, np.float32) for each in drawn))
    vectors = np.asarray(random.standard_normal((5, 1550)), np.float32)
    alone = [head(vector[None])[0].tobytes() for vector in vectors]
    assert [logits.tobytes() for logits in head(vectors)] == alone
