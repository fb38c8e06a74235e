"""How far an expert may be trusted, found on speakers and sets of sentences that it never met.

A network is too sure of itself away from its training data, so its precision is scaled by `trust`
and its emotions by `sharpness`, both the likeliest values on data held out by group. Where the
expert is no better than the prior its trust is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import ndtr

from models.base import Floats
from models.fusion import Expert, Verdict
from models.train.data import NEUTRAL
from models.train.heads import Examples, emotion_shares

SCALES: Final = (0.0, *(float(x) for x in np.round(np.geomspace(0.05, 2.0, 38), 3)))
LABELS: Final = ("negative", "neutral", "positive")

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What experts said of examples they did not learn from, with the truth."""

    means: Numbers  # [n]
    precisions: Numbers  # [n]
    evidence: Numbers  # [n, 7]
    truth: Examples

    def at(self, rows: npt.NDArray[np.bool_]) -> Predictions:
        return Predictions(
            self.means[rows], self.precisions[rows], self.evidence[rows], self.truth.at(rows)
        )

    def posterior(self, prior_deviation: float, trust: float = 1.0) -> tuple[Numbers, Numbers]:
        """Score and deviation, [n] each, of windows of one example."""
        precisions = trust * self.precisions
        total = precisions + prior_deviation**-2
        return precisions * self.means / total, total**-0.5


def predict(expert: Expert, truth: Examples) -> Predictions:
    """The examples' predictions by the code that serves."""
    beliefs = [expert.believe(vector) for vector in truth.vectors]
    return Predictions(
        means=np.array([belief.mean for belief in beliefs]),
        precisions=np.array([belief.precision for belief in beliefs]),
        evidence=np.stack([belief.emotions for belief in beliefs]).astype(np.float64),
        truth=truth,
    )


def out_of_group(
    examples: Examples, held_out: Examples, train: Callable[[Examples], Expert]
) -> Predictions:
    """Predictions of `held_out`, each by an expert trained on `examples` of the other groups."""
    return join(
        predict(train(examples.at(examples.groups != group)), held_out.at(held_out.groups == group))
        for group in np.unique(held_out.groups)
    )


def join(parts: Iterable[Predictions]) -> Predictions:
    parts = list(parts)
    return Predictions(
        means=np.concatenate([part.means for part in parts]),
        precisions=np.concatenate([part.precisions for part in parts]),
        evidence=np.concatenate([part.evidence for part in parts]),
        truth=concatenate([part.truth for part in parts]),
    )


def concatenate(parts: Iterable[Examples]) -> Examples:
    parts = list(parts)
    return Examples(
        vectors=np.concatenate([part.vectors for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        emotions=np.concatenate([part.emotions for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
        groups=np.concatenate([part.groups for part in parts]),
    )


def trust(predictions: Predictions, prior_deviation: float) -> float:
    """The scale of the precision under which the true scores are likeliest."""

    def loss(scale: float) -> float:
        score, deviation = predictions.posterior(prior_deviation, scale)
        errors = (predictions.truth.scores - score) / deviation
        losses = errors**2 / 2 + np.log(deviation)
        known = ~np.isnan(losses)
        return float(np.average(losses[known], weights=predictions.truth.weights[known]))

    return min(SCALES, key=loss)


def sharpness(predictions: Predictions, emotion_prior: Floats) -> float:
    """The scale of the emotions' evidence under which the true emotions are likeliest."""
    known = predictions.truth.emotions.sum(axis=1) > 0
    truth, weights = predictions.truth.emotions[known], predictions.truth.weights[known]
    base = np.log(np.maximum(emotion_prior, 1e-6))

    def loss(scale: float) -> float:
        logits = base + scale * predictions.evidence[known]
        log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return float(np.average(-(truth * log_p).sum(axis=1), weights=weights))

    return min(SCALES, key=loss)


def calibrated(
    expert: Expert,
    scores: Sequence[Predictions],
    emotions: Sequence[Predictions],
    prior_deviation: float,
) -> Expert:
    """The expert with the least trust and sharpness that `scores` and `emotions` ask for."""
    return replace(
        expert,
        trust=min(trust(each, prior_deviation) for each in scores),
        sharpness=min(sharpness(each, emotion_shares(each.truth)) for each in emotions),
    )


def verdict(score: Numbers, deviation: Numbers, truth: Floats, weights: Floats) -> Verdict:
    """From posteriors and true scores, [n] each: the cuts and the stretch that make the true labels
    likeliest. Unknown (NaN) scores are left out."""
    known = ~np.isnan(truth)
    score, deviation, weights = score[known], deviation[known], weights[known]
    labels = label_numbers(truth[known], NEUTRAL)

    def loss(parameters: Numbers) -> float:
        low, width, log_stretch = parameters
        stretched = np.exp(log_stretch) * deviation
        below = ndtr((low - score) / stretched)
        under = ndtr((low + np.exp(width) - score) / stretched)
        chosen = np.choose(labels, (below, under - below, 1 - under))
        return float(np.average(-np.log(np.maximum(chosen, 1e-9)), weights=weights))

    best = minimize(loss, (-NEUTRAL, np.log(2 * NEUTRAL), 0.0), method="Nelder-Mead").x
    cuts = (float(best[0]), float(best[0] + np.exp(best[1])))
    return Verdict(cuts, float(np.exp(best[2])))


def label_numbers(scores: Numbers | Floats, threshold: float) -> npt.NDArray[np.int64]:
    """0 negative, 1 neutral, 2 positive."""
    return (1 + np.sign(scores) * (np.abs(scores) > threshold)).astype(np.int64)


def macro_f1(
    said: npt.NDArray[np.int64], true: npt.NDArray[np.int64], weights: Floats, classes: int
) -> float:
    """Mean F1 of the classes that are true of any example."""
    scores = []
    for label in range(classes):
        hit, among = weights @ ((said == label) & (true == label)), weights @ (true == label)
        if among > 0:
            scores.append(2 * hit / (weights @ (said == label) + among))
    return float(np.mean(scores))
