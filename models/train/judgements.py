"""Figures of what the fusion model said of samples whose sentiment or emotion is known.

- `sentiment`: three labels; of MOSI and SST-2, positive or negative by the sign of the score, a
  score of 0 being positive. `mae` and `corr` of the score (MOSI's from -3 to 3), and `coverage90`,
  how often the truth lies in the interval that is to hold 90 % of it; not of SST-2, whose sentences
  have no scores. Where a corpus knows only emotions, it is the sentiment that these stand for;
- `emotion`: the likeliest of our seven, RAVDESS's calm and EMO-DB's boredom counting as neutral.
  Where samples may have several, what is said are the likeliest and all that reach the model's
  thresholds, and `accuracy` is of the whole set;
- `ece`: the calibration error of how sure the model is of the label, of the sign, or of the
  likeliest emotion.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import Final, NamedTuple

import numpy as np
from scipy.stats import norm

from models.base import Floats
from models.fusion import EMOTIONS, SENTIMENTS, Opinion
from models.train import metrics
from models.train.corpora import Sample
from models.train.material import ours, score_of, sentiment_of
from models.train.metrics import Figures

SCALE: Final = {"mosi": 3.0}
"""What a corpus's own scores reach; ours reach 1."""
SIGNED: Final = ("mosi", "sst2")
UNSCORED: Final = ("sst2",)
MULTILABEL: Final = ("goemotions",)


class Judged(NamedTuple):
    """A sample and what was said of it; `named` are the emotions that are said to be there."""

    sample: Sample
    opinion: Opinion
    named: Sequence[str] = ()


def figures(dataset: str, judged: Sequence[Judged]) -> Figures:
    """All that apply: `sentiment` and `emotion`; and at the top, with `n`, how many samples were
    judged, those of what the corpus is about."""
    parts: Figures = {}
    scored = [each for each in judged if not isnan(score_of(each.sample))]
    if scored:
        parts["sentiment"] = sentiment(dataset, scored)
    named = [each for each in judged if ours(each.sample)]
    if named:
        several = dataset in MULTILABEL or any(len(ours(sample)) > 1 for sample, *_ in named)
        parts["emotion"] = emotion_sets(named) if several else emotion(named)
    about = any(not isnan(sample.sentiment) for sample, *_ in judged)
    return {**parts.get("sentiment" if about else "emotion", {}), "n": len(judged), **parts}


def sentiment(dataset: str, scored: Sequence[Judged]) -> Figures:
    """Of samples whose sentiment is known."""
    said = signs(scored) if dataset in SIGNED else labels(scored)
    numbers = {} if dataset in UNSCORED else scores(scored, SCALE.get(dataset, 1.0))
    return {"n": len(scored), **said, **numbers}


def labels(scored: Sequence[Judged]) -> Figures:
    """Negative, neutral or positive."""
    true = np.array([sentiment_of(score_of(sample)) for sample, *_ in scored])
    said = np.array([SENTIMENTS.index(opinion.label) for _, opinion, _ in scored])
    sure = np.array([opinion.confidence for _, opinion, _ in scored])
    return {**metrics.classification(true, said), **_ece(sure, said == true)}


def signs(scored: Sequence[Judged]) -> Figures:
    """Positive or negative; how sure that is follows from the score's deviation."""
    true = np.array([sample.sentiment >= 0 for sample, *_ in scored])
    said = np.array([opinion.score >= 0 for _, opinion, _ in scored])
    sure = np.array([norm.cdf(abs(opinion.score) / opinion.deviation) for _, opinion, _ in scored])
    return {
        **metrics.classification(true.astype(int), said.astype(int)),
        **_ece(sure, said == true),
    }


def scores(scored: Sequence[Judged], scale: float) -> Figures:
    """The score as a number that reaches `scale`, and its interval."""
    true = np.array([score_of(sample) for sample, *_ in scored])
    mean = np.array([opinion.score for _, opinion, _ in scored])
    deviation = np.array([opinion.deviation for _, opinion, _ in scored])
    covered = metrics.coverage(true, mean, deviation)
    return {
        **metrics.regression(scale * true, scale * mean),
        **metrics.rounded(coverage90=covered),
    }


def emotion(named: Sequence[Judged]) -> Figures:
    """The likeliest emotion of samples that have one."""
    probabilities = _probabilities(named)
    true = np.array([EMOTIONS.index(ours(sample)[0]) for sample, *_ in named])
    said = probabilities.argmax(axis=1)
    sure = _ece(probabilities.max(axis=1), said == true)
    return {"n": len(named), **metrics.classification(true, said), **sure}


def emotion_sets(named: Sequence[Judged]) -> Figures:
    """All emotions of samples that may have several."""
    probabilities = _probabilities(named)
    true = np.array([[name in ours(sample) for name in EMOTIONS] for sample, *_ in named])
    likeliest = probabilities.argmax(axis=1)
    said = np.array([[name in each.named for name in EMOTIONS] for each in named])
    right = true[np.arange(len(true)), likeliest]
    sure = _ece(probabilities.max(axis=1), right)
    return {"n": len(named), **metrics.multilabel(true, said), **sure}


def _probabilities(named: Sequence[Judged]) -> Floats:
    return np.array(
        [[opinion.emotions[e] for e in EMOTIONS] for _, opinion, _ in named], np.float32
    )


def _ece(sure: metrics.Numbers, right: metrics.Bools) -> Figures:
    return metrics.rounded(ece=metrics.ece(sure, right))
