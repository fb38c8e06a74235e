"""How sure the fusion model may be: fitted to what it says of samples that it did not learn from.

The interval that is to hold 90 % of the truths is stretched until it does (split conformal
prediction: Papadopoulos et al., 2002; Lei et al., 2018), logits are divided by a temperature (Guo
et al., 2017), both for each pattern of modalities that are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Final

import numpy as np

from models.base import Floats
from models.fusion import EMOTIONS, SENTIMENTS, Calibration
from models.train import metrics
from models.train.fusion_steps import UNKNOWN
from models.train.fusion_training import Answers
from models.train.metrics import INTERVAL_90, Figures

LEVEL: Final = 0.9
LEAST: Final = 30
"""Samples of which a figure is made; of fewer, nothing is said."""
TEMPERATURES: Final = np.geomspace(0.3, 4, 105)
CUTS: Final = np.linspace(0.02, 0.6, 30)
THRESHOLDS: Final = np.linspace(0.06, 0.8, 75)


def calibration(said: Answers) -> Calibration:
    """Of one pattern."""
    return Calibration(
        stretch=round(_stretch(said), 4),
        emotions=_temperature(said.logits[:, : len(EMOTIONS)], said.truth.emotions),
        sentiments=_temperature(said.logits[:, len(EMOTIONS) :], _sentiments(said)),
    )


def _stretch(said: Answers) -> float:
    known = ~np.isnan(said.truth.score)
    if known.sum() < LEAST:
        return 1.0
    errors = np.abs(said.truth.score - clipped(said.mean)) * np.sqrt(said.precision)
    rank = min(ceil((known.sum() + 1) * LEVEL), known.sum()) - 1
    ninetieth: float = np.sort(errors[known])[rank].item()
    return ninetieth / INTERVAL_90


def clipped(mean: Floats) -> Floats:
    """As scores are told: from -1 to 1."""
    return np.asarray(np.clip(mean, -1, 1), np.float32)


def _sentiments(said: Answers) -> Floats:
    """One-hot, or zeros where unknown."""
    known = said.truth.sentiment[:, None]
    return np.asarray(known == np.arange(len(SENTIMENTS)), np.float32)


def _temperature(logits: Floats, truth: Floats) -> float:
    known = truth.sum(axis=1) > 0
    if known.sum() < LEAST:
        return 1.0
    losses = [-(truth[known] * log_softmax(logits[known] / t)).sum() for t in TEMPERATURES]
    return round(float(TEMPERATURES[int(np.argmin(losses))]), 4)


def log_softmax(logits: Floats) -> Floats:
    """Log probabilities of the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), np.float32)


def cuts(said: Mapping[str, Answers]) -> tuple[float, float]:
    """What parts the scores into negative, neutral and positive with the best macro F1."""
    means = np.concatenate([clipped(each.mean) for each in said.values()])
    true = np.concatenate([each.truth.sentiment for each in said.values()])
    means, true = means[true != UNKNOWN], true[true != UNKNOWN]
    if len(true) < LEAST:
        return -1 / 3, 1 / 3
    best = max(
        ((low, high) for low in CUTS for high in CUTS),
        key=lambda cut: _macro_f1(true, 1 + (means > cut[1]) - (means < -cut[0])),
    )
    return round(-float(best[0]), 3), round(float(best[1]), 3)


def thresholds(said: Answers, scale: Calibration) -> dict[str, float]:
    """By emotion, the probability from which saying that it is there, beside the likeliest one,
    gives the best F1; of samples that may have several, with the calibration of their pattern."""
    known = said.truth.emotions.sum(axis=1) > 0
    if known.sum() < LEAST:
        return dict.fromkeys(EMOTIONS, 0.5)
    true = said.truth.emotions[known] > 0
    likely = np.exp(log_softmax(said.logits[known, : len(EMOTIONS)] / scale.emotions))
    first = likely.argmax(axis=1)

    def best(n: int) -> float:
        scores = [_f1(true[:, n], (likely[:, n] >= each) | (first == n)) for each in THRESHOLDS]
        return round(float(THRESHOLDS[int(np.argmax(scores))]), 3)

    return {name: best(n) for n, name in enumerate(EMOTIONS)}


def _macro_f1(true: metrics.Integers, said: metrics.Integers) -> float:
    return float(np.mean([_f1(true == label, said == label) for label in np.unique(true)]))


def _f1(true: metrics.Bools, said: metrics.Bools) -> float:
    return float(2 * (true & said).sum() / max(true.sum() + said.sum(), 1))


def figures(said: Answers, scale: Calibration) -> Figures:
    """Figures of one pattern, as they are served with this calibration."""
    result: Figures = {"n": len(said.mean)}
    known = ~np.isnan(said.truth.score)
    if known.sum() >= LEAST:
        mean, score = clipped(said.mean)[known], said.truth.score[known]
        deviation = scale.stretch / np.sqrt(said.precision[known])
        result |= metrics.regression(score, mean)
        result |= metrics.rounded(coverage90=metrics.coverage(score, mean, deviation))
    labelled = said.truth.sentiment != UNKNOWN
    if labelled.sum() >= LEAST:
        logits = said.logits[labelled, len(EMOTIONS) :] / scale.sentiments
        result |= _classified(said.truth.sentiment[labelled], logits, "sentiment_")
    single = said.truth.emotions.max(axis=1) == 1
    if single.sum() >= LEAST:
        logits = said.logits[single, : len(EMOTIONS)] / scale.emotions
        result |= _classified(said.truth.emotions[single].argmax(axis=1), logits, "emotion_")
    return result


def _classified(true: metrics.Integers, logits: Floats, prefix: str) -> Figures:
    probabilities = np.exp(log_softmax(logits))
    label = probabilities.argmax(axis=1)
    found = metrics.classification(true, label)
    found |= metrics.rounded(ece=metrics.ece(probabilities.max(axis=1), label == true))
    return {f"{prefix}{name}": value for name, value in found.items()}
