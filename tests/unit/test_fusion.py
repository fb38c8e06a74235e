"""The product of experts, with experts small enough to be worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from math import exp, sqrt
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.base import Encoder, ModelError
from models.fusion import EMOTIONS, TENSORS, Expert, FusionModel, Item, Opinion, Verdict

UNIFORM = np.full(7, 1 / 7, dtype=np.float32)
VERDICT = Verdict(cuts=(-0.1, 0.1), stretch=1.0)


def expert(encoder: str, *, log_variance: float = 0.0, full_s: float = 1.0) -> Expert:
    """Mean tanh(tanh(x0)); log evidence of joy follows x1; the same precision everywhere."""
    output = np.zeros((9, 2), dtype=np.float32)
    output[0, 0] = output[2 + EMOTIONS.index("joy"), 1] = 1
    bias = np.zeros(9, dtype=np.float32)
    bias[1] = log_variance
    return Expert(
        encoder=Encoder(encoder, "r1", 2),
        shift=np.zeros(2, dtype=np.float32),
        scale=np.ones(2, dtype=np.float32),
        hidden=np.eye(2, dtype=np.float32),
        hidden_bias=np.zeros(2, dtype=np.float32),
        output=output,
        output_bias=bias,
        emotion_prior=UNIFORM,
        trust=1.0,
        sharpness=1.0,
        full_s=full_s,
        least_s=1.0 if encoder == "words" else 0.0,
    )


def model(**changes: Expert) -> FusionModel:
    experts = {"text": expert("words"), "voice": expert("tones", full_s=2.0)} | changes
    return FusionModel(experts, 0.5, UNIFORM, VERDICT, "test")


def text(value: float, *, seconds: float = 3.0, name: str = "t", joy: float = 0.0) -> Item:
    vector = np.array([value, joy], dtype=np.float32)
    return Item(name, "text", vector, "words", "r1", seconds)


def voice(value: float, *, seconds: float = 3.0, name: str = "v") -> Item:
    return Item(name, "voice", np.array([value, 0], np.float32), "tones", "r1", seconds)


def image() -> Item:
    return Item("i", "image", np.ones(5, np.float32), "any", "r9", 0.0)


def judged(*items: Item, by: FusionModel | None = None) -> Opinion:
    [opinion] = (by or model()).judge([items])
    assert opinion is not None
    return opinion


def test_one_item_is_weighed_against_the_prior() -> None:
    opinion = judged(text(10.0))  # held at 4 deviations
    mean = np.tanh(np.tanh(4.0))
    assert opinion.score == pytest.approx(mean * 1 / (1 + 4), abs=1e-6)
    assert opinion.deviation == pytest.approx(1 / sqrt(5))
    assert opinion.label == "positive"


def test_a_surer_expert_counts_for_more() -> None:
    both = model(voice=expert("tones", log_variance=2.0))
    opinion = judged(text(1.0), voice(-1.0), by=both)
    assert opinion.score > 0
    assert opinion.contributions["text"] == pytest.approx(1 / (1 + exp(-2.0)), abs=1e-6)
    assert sum(opinion.contributions.values()) == pytest.approx(1)


def test_saying_it_ten_times_makes_it_no_surer() -> None:
    once, often = judged(text(1.0)), judged(*(text(1.0, name=f"t{n}") for n in range(10)))
    assert often.deviation == pytest.approx(once.deviation)
    assert often.score == pytest.approx(once.score)


def test_a_second_modality_makes_it_surer() -> None:
    assert judged(text(1.0), voice(1.0)).deviation < judged(text(1.0)).deviation


def test_evidence_is_shared_by_seconds_and_adds_up_to_one() -> None:
    opinion = judged(text(1.0, seconds=6.0, name="long"), text(-1.0, seconds=2.0, name="short"))
    assert dict(opinion.evidence) == pytest.approx({"long": 0.75, "short": 0.25})
    assert opinion.score > 0


def test_a_message_without_a_length_counts() -> None:
    assert judged(text(1.0, seconds=0.0)) == judged(text(1.0, seconds=1.0))


def test_a_short_sound_counts_for_less_than_a_long_one() -> None:
    assert judged(voice(1.0, seconds=0.2)).score < judged(voice(1.0, seconds=2.0)).score


def test_emotions_are_probabilities_and_follow_the_evidence() -> None:
    emotions = judged(text(0.0, joy=3.0)).emotions
    assert sum(emotions.values()) == pytest.approx(1)
    assert max(emotions, key=emotions.__getitem__) == "joy"


def test_an_emotion_that_was_never_learned_keeps_its_prior() -> None:
    never = UNIFORM.copy()
    never[EMOTIONS.index("joy")] = 0
    blind = model(text=replace(expert("words"), emotion_prior=never / never.sum()))
    assert judged(text(0.0, joy=3.0), by=blind).emotions["joy"] == pytest.approx(1 / 7)


def test_nothing_scorable_is_no_opinion() -> None:
    distrusted = model(voice=replace(expert("tones"), trust=0.0))
    assert distrusted.judge([[], [image()], [voice(1.0)]]) == [None, None, None]


def test_an_image_changes_nothing() -> None:
    assert judged(text(1.0), image()) == judged(text(1.0))


def test_a_window_does_not_depend_on_its_batch() -> None:
    windows = [[text(x / 7), voice(-x / 5)] for x in range(5)]
    alone = [model().judge([window])[0] for window in windows]
    assert model().judge(windows) == alone


def test_confidence_is_the_probability_of_the_label() -> None:
    total = sum(VERDICT.probability(x, 0.07, 0.3) for x in ("negative", "neutral", "positive"))
    assert total == pytest.approx(1)
    assert VERDICT.label(0.1) == "neutral"
    assert VERDICT.probability("positive", 5.0, 0.3) == pytest.approx(1)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (replace(text(1.0), encoder="other"), ["other r1", "words r1"]),
        (replace(text(1.0), revision="r2"), ["words r2", "words r1"]),
        (replace(text(1.0), modality="smell"), ["smell"]),
        (replace(text(1.0), vector=np.zeros(3, np.float32)), ["(3,)", "(2,)"]),
    ],
)
def test_an_unknown_feature_is_refused(item: Item, words: list[str]) -> None:
    with pytest.raises(ModelError) as refused:
        model().judge([[item]])
    assert all(word in str(refused.value) for word in words)


def test_a_model_is_loaded_as_it_was_written(tmp_path: Path) -> None:
    words = expert("words")
    save_file({f"text.{n}": getattr(words, n) for n in TENSORS}, tmp_path / "model.safetensors")
    description = {
        "emotions": EMOTIONS,
        "emotion_prior": UNIFORM.tolist(),
        "prior_deviation": 0.5,
        "verdict": {"cuts": [-0.1, 0.1], "stretch": 1.0},
        "experts": {
            "text": {
                "encoder": {"id": "words", "revision": "r1", "dimension": 2},
                "emotion_prior": UNIFORM.tolist(),
                "trust": 1.0,
                "sharpness": 1.0,
                "full_s": 1.0,
                "least_s": 1.0,
            }
        },
    }
    (tmp_path / "model.json").write_text(json.dumps(description))
    loaded = FusionModel.load(tmp_path)
    assert loaded.judge([[text(0.7)]]) == model().judge([[text(0.7)]])
    (tmp_path / "model.json").write_text(json.dumps(description | {"prior_deviation": 0.4}))
    assert FusionModel.load(tmp_path).revision != loaded.revision


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"models\.train\.sentiment"):
        FusionModel.load(tmp_path)
