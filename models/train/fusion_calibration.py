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


def _macro_f1(true: metrics.Integers, said: metrics.Integers) -> float:
    scores = []
    for label in np.unique(true):
        hits = ((said == label) & (true == label)).sum()
        scores.append(2 * hits / max((said == label).sum() + (true == label).sum(), 1))
    return float(np.mean(scores))


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
