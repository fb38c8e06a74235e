"""Figures of what was said of samples whose sentiment or emotion is known."""

from __future__ import annotations

from math import nan

import pytest

from models.fusion import EMOTIONS, Opinion
from models.train import judgements
from models.train.corpora import Sample
from models.train.judgements import Judged


def judged(
    *,
    sentiment: float = nan,
    emotions: tuple[str, ...] = (),
    score: float = 0.0,
    deviation: float = 0.5,
    label: str = "neutral",
    confidence: float = 0.5,
    said: dict[str, float] | None = None,
) -> Judged:
    probabilities = {name: (said or {}).get(name, 0.0) for name in EMOTIONS}
    sample = Sample("1", "1", "", 0, 1, "hello", sentiment=sentiment, emotions=emotions)
    return Judged(
        sample, Opinion(score, deviation, label, confidence, probabilities, {"text": 1.0}, ())
    )


def test_dialogues_have_sentiment_at_the_top_and_both_beside() -> None:
    figures = judgements.figures(
        "meld",
        [
            judged(
                sentiment=1.0, emotions=("joy",), label="positive", confidence=0.9, said={"joy": 1}
            ),
            judged(
                sentiment=-1.0,
                emotions=("anger",),
                label="neutral",
                confidence=0.6,
                said={"joy": 1},
            ),
        ],
    )

    assert (figures["n"], figures["accuracy"]) == (2, 0.5)
    assert figures["sentiment"]["accuracy"] == 0.5
    assert figures["sentiment"]["ece"] == pytest.approx((0.1 + 0.6) / 2)
    assert figures["emotion"]["accuracy"] == 0.5
    assert figures["emotion"]["ece"] == pytest.approx(0.5)


def test_a_mosi_score_of_nought_is_positive_and_errors_are_on_its_own_scale() -> None:
    figures = judgements.figures(
        "mosi",
        [
            judged(sentiment=0.0, score=0.1, deviation=0.01),
            judged(sentiment=-1.0, score=-0.5, deviation=0.5),
            judged(sentiment=1.0, score=0.8, deviation=0.5),
        ],
    )

    assert figures["accuracy"] == 1.0
    assert figures["mae"] == pytest.approx(3 * (0.1 + 0.5 + 0.2) / 3)
    assert figures["coverage90"] == pytest.approx(2 / 3, abs=1e-4)
    assert "emotion" not in figures


def test_how_sure_a_sign_is_follows_from_the_deviation() -> None:
    sure = judgements.figures("sst2", [judged(sentiment=1.0, score=0.5, deviation=0.1)])
    unsure = judgements.figures("sst2", [judged(sentiment=1.0, score=0.5, deviation=100.0)])

    assert sure["ece"] == pytest.approx(0, abs=1e-3)
    assert unsure["ece"] == pytest.approx(0.5, abs=1e-2)
    assert "mae" not in sure


def test_of_samples_with_several_emotions_the_whole_set_that_is_said_counts() -> None:
    said = {"joy": 0.5, "surprise": 0.3}
    both = judged(emotions=("joy", "surprise"), said=said)
    figures = judgements.figures(
        "goemotions",
        [
            both._replace(named=("joy", "surprise")),
            both._replace(named=("joy",)),
            judged(emotions=("fear",), said={"fear": 0.2})._replace(named=("fear",)),
            judged(emotions=("fear",), said={"fear": 0.2})._replace(named=("fear", "anger")),
        ],
    )

    assert figures["accuracy"] == 0.5
    assert figures["emotion"]["accuracy"] == 0.5


def test_what_is_calm_or_bored_is_neutral_and_emotions_stand_for_a_sentiment() -> None:
    figures = judgements.figures(
        "ravdess",
        [
            judged(emotions=("calm",), label="neutral", said={"neutral": 1}),
            judged(emotions=("boredom",), label="neutral", said={"sadness": 1}),
            judged(emotions=("surprise",), label="positive", said={"surprise": 1}),
        ],
    )

    assert figures["accuracy"] == figures["emotion"]["accuracy"] == pytest.approx(2 / 3, abs=1e-4)
    assert (figures["sentiment"]["n"], figures["sentiment"]["accuracy"]) == (2, 1.0)


def test_of_nothing_there_are_no_figures() -> None:
    assert judgements.figures("manifest", [judged()]) == {"n": 1}
