"""Figures of merit of predictions, all of windows of one example, all JSON numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.base import Floats
from models.fusion import Verdict
from models.train.calibration import LABELS, Numbers, Predictions, label_numbers, macro_f1
from models.train.data import NEUTRAL

Figures = dict[str, float]
INTERVAL_90 = 1.645  # deviations either side


def sentiment(predictions: Predictions, prior_deviation: float, trust: float) -> Figures:
    """Error, correlation and honesty of the score; weighted as the examples are."""
    known = ~np.isnan(predictions.truth.scores)
    truth, weights = predictions.truth.scores[known], predictions.truth.weights[known]
    score, deviation = (x[known] for x in predictions.posterior(prior_deviation, trust))
    error = np.abs(truth - score)
    return _rounded(
        n=len(truth),
        mae=np.average(error, weights=weights),
        rmse=np.average(error**2, weights=weights) ** 0.5,
        rmse_of_saying_0=np.average(truth.astype(np.float64) ** 2, weights=weights) ** 0.5,
        correlation=_correlation(score, truth, weights),
        coverage_90=np.average(error < INTERVAL_90 * deviation, weights=weights),
        mean_deviation=np.average(deviation, weights=weights),
        score_of_neutral=np.mean(score[np.abs(truth) <= NEUTRAL]),
    )


def sign_accuracy(predictions: Predictions) -> Figures:
    """Share of clearly positive or negative examples whose mean has the right sign, and the area
    under the curve that tells the positive from the negative."""
    truth, means = predictions.truth.scores, predictions.means
    clear = np.abs(np.nan_to_num(truth)) > NEUTRAL
    positive, negative = means[clear & (truth > 0)], means[clear & (truth < 0)]
    return _rounded(
        sign_accuracy=np.mean((means[clear] > 0) == (truth[clear] > 0)),
        sign_auc=np.mean(positive[:, None] > negative[None]),
    )


def emotions(predictions: Predictions, emotion_prior: Floats) -> Figures:
    """Accuracy (any label of several is right); of the examples with one label macro F1, and
    unweighted average recall by the evidence alone, as if all emotions were equally common."""
    said = (np.log(np.maximum(emotion_prior, 1e-6)) + predictions.evidence).argmax(axis=1)
    truth = predictions.truth.emotions
    single = truth.max(axis=1) == 1
    true = truth[single].argmax(axis=1)
    hit = predictions.evidence[single].argmax(axis=1) == true
    return _rounded(
        accuracy=np.mean(truth[np.arange(len(said)), said] > 0),
        macro_f1=macro_f1(said[single], true, np.ones(len(true), np.float32), truth.shape[1]),
        unweighted_average_recall=np.mean([hit[true == label].mean() for label in np.unique(true)]),
    )


def confidence(
    predictions: Predictions, prior_deviation: float, trust: float, verdict: Verdict
) -> Figures:
    """The label against the true one, and how far its confidence is from how often it is right
    (expected calibration error, ten bins)."""
    known = ~np.isnan(predictions.truth.scores)
    score, deviation = (x[known] for x in predictions.posterior(prior_deviation, trust))
    weights = predictions.truth.weights[known]
    said = [verdict.label(s) for s in score]
    sure = np.array(
        [verdict.probability(*each) for each in zip(said, score, deviation, strict=True)]
    )
    labels = np.array([LABELS.index(label) for label in said])
    true = label_numbers(predictions.truth.scores[known], NEUTRAL)
    return _rounded(
        label_accuracy=np.average(labels == true, weights=weights),
        label_macro_f1=macro_f1(labels, true, weights, len(LABELS)),
        mean_confidence=np.average(sure, weights=weights),
        calibration_error=_calibration_error(sure, labels == true, weights),
    )


def _calibration_error(sure: Numbers, right: npt.NDArray[np.bool_], weights: Floats) -> float:
    bins = np.minimum((sure * 10).astype(int), 9)
    gaps = [abs(float(weights[bins == b] @ (sure - right)[bins == b])) for b in range(10)]
    return sum(gaps) / float(weights.sum())


def _correlation(said: Numbers, truth: Floats, weights: Floats) -> float:
    covariance = np.cov(said, truth, aweights=weights)
    spread = np.sqrt(covariance[0, 0] * covariance[1, 1])
    return float(covariance[0, 1] / spread) if spread > 0 else 0.0


def _rounded(**figures: float | np.floating[Any]) -> Figures:
    return {name: round(float(value), 3) for name, value in figures.items()}
