"""The fusion model's training: on torch, but of the very network that serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.base import Encoder, Floats, ModelError
from models.fusion import EMOTIONS, FusionModel, Network
from models.train import checkpoint, material
from models.train.corpora import Sample
from models.train.fusion_steps import UNKNOWN, Steps, leave_out
from models.train.fusion_training import (
    Options,
    Training,
    answers,
    trained,
)
from models.train.fusion_unrolling import batches
from models.train.material import Material
from models.train.replay import opinions

DIMENSIONS = {"text": 4, "voice": 3}
EMOTION = ("joy", "anger")
THRESHOLDS = dict.fromkeys(EMOTIONS, 0.3)
QUICK = Options(width=8, memory=8, epochs=3, batch=64)


def dialogues(count: int, turns: int = 4, seed: int = 0) -> Material:
    """Two people who speak in turn. A text says its own mood; a voice is of the mood before."""
    random = np.random.default_rng(seed)
    samples: list[Sample] = []
    text: dict[str, Floats] = {}
    voice: dict[str, Floats] = {}
    for dialogue in range(count):
        before = 0
        for turn in range(turns):
            name, mood = f"{seed}/{dialogue}/{turn}", int(random.integers(2))
            speaker = "ab"[turn % 2]
            sample = Sample(
                name, f"{seed}/{dialogue}", speaker, 3.0 * turn, 3.0 * turn + 2.5,
                sentiment=1.0 - 2 * mood, emotions=(EMOTION[mood],),
            )  # fmt: skip
            samples.append(sample)
            if random.random() < 0.8:
                text[name] = _vector(4, mood, random)
            if random.random() < 0.8 or name not in text:
                voice[name] = _vector(3, before, random)
            before = mood
    return Material(samples, {"text": text, "voice": voice}, np.ones(len(samples), np.float32))


def _vector(size: int, mood: int, random: np.random.Generator) -> Floats:
    drawn = random.standard_normal(size)
    drawn[0] += 3.0 * (1 - 2 * mood)
    return drawn.astype(np.float32)


def plain(steps: Steps, _: np.random.Generator) -> Steps:
    return steps


def served(steps: Steps, options: Options = QUICK) -> tuple[FusionModel, Training]:
    training = Training(steps, None, plain, options)
    while not training.over:
        training.epoch()
    fit = training.fit()
    encoders = {name: Encoder(name, "1", size) for name, size in DIMENSIONS.items()}
    network = Network(fit.layout, fit.parameters)
    return FusionModel(network, encoders, {}, (-0.3, 0.3), THRESHOLDS, "test"), training


def test_what_is_trained_is_what_serves() -> None:
    """Of every speaker, with a memory, and whatever is missing."""
    talk = dialogues(12)
    steps = material.steps(talk, DIMENSIONS)
    model, training = served(steps)
    said = answers(training.layout, training.best, steps)
    for n, opinion in enumerate(opinions(model, talk.samples, talk.vectors)):
        assert opinion is not None
        assert opinion.score == pytest.approx(np.clip(said.mean[n], -1, 1), abs=2e-3)
        assert opinion.deviation == pytest.approx(said.precision[n] ** -0.5, rel=5e-3)
        # memories are kept in 16 bits while it serves


def test_a_cut_off_training_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    steps = material.steps(dialogues(12), DIMENSIONS)
    whole = trained(steps, steps, plain, QUICK)
    first = Training(steps, steps, plain, QUICK)
    first.epoch()
    checkpoint.save(tmp_path, *first.state())
    second = Training(steps, steps, plain, QUICK)
    state = checkpoint.load(tmp_path)
    assert state is not None
    second.resume(*state)
    while not second.over:
        second.epoch()
    assert second.history == whole.history
    for name, value in whole.parameters.items():
        np.testing.assert_array_equal(second.best[name], value)


def test_a_state_of_other_options_is_refused() -> None:
    steps = material.steps(dialogues(3), DIMENSIONS)
    state = Training(steps, None, plain, QUICK).state()
    with pytest.raises(ModelError, match="other options"):
        Training(steps, None, plain, replace(QUICK, seed=9)).resume(*state)


def test_it_learns_who_is_right_and_remembers() -> None:
    """The text is right; the voice says the mood before, which the text has told already."""
    learned = material.steps(dialogues(100, turns=6), DIMENSIONS)
    unseen = material.steps(dialogues(40, turns=6, seed=1), DIMENSIONS)
    fit = trained(learned, None, plain, replace(QUICK, epochs=8, batch=32, rate=1e-2, dropout=0.0))
    said = answers(fit.layout, fit.parameters, unseen)
    has_text = unseen.weight[:, 0] > 0
    right = np.sign(said.mean) == unseen.score
    assert right[has_text].mean() > 0.95
    assert right[~has_text].mean() < 0.75
    assert said.precision[has_text].mean() > 2 * said.precision[~has_text].mean()


def test_a_batch_holds_every_sample_once() -> None:
    steps = material.steps(dialogues(9), DIMENSIONS)
    rows = np.concatenate([b.rows[b.rows >= 0].numpy() for b in batches(steps, 16, None)])
    assert sorted(rows) == list(range(len(steps)))
    for batch in batches(steps, 16, np.random.default_rng(0)):
        assert not batch.counts[batch.rows < 0].any()
        assert not batch.weight[batch.rows < 0].any()


def test_one_modality_is_always_left() -> None:
    steps = material.steps(dialogues(40), DIMENSIONS)
    bare = leave_out(steps, 0.9, np.random.default_rng(0))
    assert (bare.weight > 0).any(axis=1).all()
    assert (bare.weight <= steps.weight).all()
    assert (bare.weight > 0).sum() < 0.7 * (steps.weight > 0).sum()


def test_what_is_lent_has_the_same_emotion() -> None:
    voices = dialogues(30, seed=5)
    told = material.steps(voices, DIMENSIONS)
    lenders = [material.bank(told, "voice")]
    texts = dialogues(30, seed=6)
    without = Material(texts.samples, {"text": texts.vectors["text"], "voice": {}}, texts.counts)
    given = material.lend(
        material.steps(without, DIMENSIONS), lenders, 1.0, np.random.default_rng(0)
    )
    emotion_of = {v.tobytes(): told.emotions[n] for n, v in enumerate(told.vectors["voice"])}
    assert (given.weight[:, 1] > 0).all()
    for vector, emotions in zip(given.vectors["voice"], given.emotions, strict=True):
        np.testing.assert_array_equal(emotion_of[vector.tobytes()], emotions)


def _sample(*emotions: str, sentiment: float = float("nan")) -> Sample:
    return Sample("s", "s", "", 0.0, 1.0, sentiment=sentiment, emotions=emotions)


@pytest.mark.parametrize(
    ("emotions", "score", "number"),
    [
        (("joy",), 1.0, 2),
        (("calm",), 0.0, 1),
        (("anger", "neutral"), -0.5, 0),
        (("surprise",), None, UNKNOWN),
        (("joy", "surprise"), None, UNKNOWN),
        ((), None, UNKNOWN),
    ],
)
def test_emotions_stand_for_a_sentiment(
    emotions: Sequence[str], score: float | None, number: int
) -> None:
    found = material.score_of(_sample(*emotions))
    assert material.sentiment_of(found) == number
    assert np.isnan(found) if score is None else found == score
    assert material.score_of(_sample(*emotions, sentiment=0.25)) == 0.25


def test_nobody_is_on_both_sides() -> None:
    learned, held_out = material.apart(dialogues(200))
    one, other = ({s.session for s in part.samples} for part in (learned, held_out))
    assert not one & other
    assert 0.1 < len(other) / 200 < 0.3
