"""Sentiment and emotion of a window, from everything said in it: a product of trained experts.

Each modality has an expert, a small network trained here (`models.train.sentiment`): feature vector
to a Gaussian about the sentiment (-1 to 1), and logits of the emotions. A window is the product of
the experts' Gaussians and of the prior N(0, s0^2), the expert that is always there (Hinton 2002;
Wu and Goodman 2018, arXiv:1802.05335):

    precision = 1 / s0^2 + sum_i w_i / v_i        score = sum_i w_i m_i / v_i / precision

so whoever is sure is heard, and if nobody is the score stays near 0 with the prior's deviation.
Items of one modality are not independent (one speaker, one conversation): their weights w_i are
shares of the modality's seconds and add up to at most 1, a covariance intersection, which is never
surer than its parts however much is said. Emotions are pooled log-linearly over the same weights.

An image is accepted but not scored: there is no sentiment to learn for scenes, so it contributes
nothing and is not cited. Every item is computed alone, in numpy, so that a result is the same to
the last bit whatever else is in the batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import erf, sqrt
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import load as load_safetensors

from models.base import Encoder, Floats, ModelError

EMOTIONS: Final = ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral")
TENSORS: Final = ("shift", "scale", "hidden", "hidden_bias", "output", "output_bias")
UNSCORED: Final = "image"
LOG_VARIANCE: Final = (-5.0, 8.0)  # from a deviation of 0.08 to one that says nothing
OUTLIER: Final = 4.0  # deviations; a feature farther out is held there


@dataclass(frozen=True, slots=True)
class Item:
    """One feature of a window: `vector` [dimension] of `modality` 'text', 'voice' or 'image'.

    `seconds` is how long it lasted, or 0 where it has no length (a typed message).
    """

    id: str
    modality: str
    vector: Floats
    encoder: str
    revision: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a window says: `score` -1 (negative) to 1 (positive) with its standard deviation.

    `confidence` is the probability that `label` is right. `contributions` (per modality) and
    `evidence` (per item id) are shares of the experts' precision; each sums to 1.
    """

    score: float
    deviation: float
    label: str
    confidence: float
    emotions: dict[str, float]
    contributions: dict[str, float]
    evidence: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Belief:
    """An expert's view of one item: Gaussian about the sentiment, and log evidence [7] per emotion
    (log of how much likelier than before; 0 for an emotion that the expert never learned)."""

    mean: float
    precision: float
    emotions: Floats


@dataclass(frozen=True, slots=True)
class Expert:
    """One modality's trained network: standardise, one hidden layer of tanh, nine outputs.

    `trust` scales the precision and `sharpness` the emotion evidence, both calibrated on speakers
    and sentences that were not trained on. An item counts in full from `full_s` seconds on; one
    of unknown or shorter length than `least_s` counts as that.
    """

    encoder: Encoder
    shift: Floats  # [dimension]
    scale: Floats  # [dimension]
    hidden: Floats  # [width, dimension]
    hidden_bias: Floats  # [width]
    output: Floats  # [2 + 7, width]
    output_bias: Floats  # [2 + 7]
    emotion_prior: Floats  # [7], probability in training; 0 where never seen
    trust: float
    sharpness: float
    full_s: float
    least_s: float

    def believe(self, vector: Floats) -> Belief:
        """What the vector [dimension] says of the sentiment and the emotions."""
        output = self._forward(vector)
        log_variance = float(np.clip(output[1], *LOG_VARIANCE))
        return Belief(
            mean=float(np.tanh(output[0])),
            precision=self.trust * float(np.exp(-log_variance)),
            emotions=self.sharpness * self._evidence(output[2:]),
        )

    def _forward(self, vector: Floats) -> Floats:
        standard = np.clip((vector - self.shift) / self.scale, -OUTLIER, OUTLIER)
        hidden = np.tanh(self.hidden @ standard + self.hidden_bias)
        result: Floats = self.output @ hidden + self.output_bias
        return result

    def _evidence(self, logits: Floats) -> Floats:
        known = self.emotion_prior > 0
        evidence = np.zeros_like(logits)
        if known.any():
            evidence[known] = log_softmax(logits[known]) - np.log(self.emotion_prior[known])
        return evidence

    def weights(self, seconds: Sequence[float]) -> Floats:
        """Weights of a window's items, [items], in all at most 1."""
        lengths = np.maximum(np.asarray(seconds, dtype=np.float32), self.least_s)
        return np.asarray(lengths / max(float(lengths.sum()), self.full_s), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Verdict:
    """From a Gaussian to a label: the probability of each is that of the true sentiment below,
    between and above `cuts`, the deviation stretched by `stretch`. What is not more likely than
    not negative or positive is neutral, and so is what nobody knows."""

    cuts: tuple[float, float]
    stretch: float

    def label(self, score: float) -> str:
        if score < self.cuts[0]:
            return "negative"
        return "positive" if score > self.cuts[1] else "neutral"

    def probability(self, label: str, score: float, deviation: float) -> float:
        """Calibrated probability that `label` is right."""
        below, under = (_normal((cut - score) / (self.stretch * deviation)) for cut in self.cuts)
        return {"negative": below, "neutral": under - below, "positive": 1 - under}[label]


class FusionModel:
    """Windows of items to opinions."""

    def __init__(
        self,
        experts: Mapping[str, Expert],
        prior_deviation: float,
        emotion_prior: Floats,
        verdict: Verdict,
        revision: str,
    ) -> None:
        self.experts = experts
        self.prior_deviation = prior_deviation
        self.emotion_prior = emotion_prior
        self.verdict = verdict
        self.revision = revision

    @classmethod
    def load(cls, path: Path) -> FusionModel:
        """The model in directory `path`, from `model.json` and `model.safetensors`.

        The revision is a digest of both. Raises ModelError where they are missing or malformed.
        """
        try:
            description = (path / "model.json").read_bytes()
            tensors = (path / "model.safetensors").read_bytes()
            return cls._build(
                json.loads(description),
                load_safetensors(tensors),
                hashlib.sha256(description + tensors).hexdigest()[:12],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"no usable fusion model in {path} ({error}); "
                "train one with python -m models.train.sentiment"
            ) from error

    @classmethod
    def _build(
        cls, description: dict[str, Any], tensors: Mapping[str, Floats], revision: str
    ) -> FusionModel:
        if tuple(description["emotions"]) != EMOTIONS:
            raise ValueError(f"emotions {description['emotions']}, expected {EMOTIONS}")
        experts = {
            modality: _expert(
                values,
                {
                    name.removeprefix(f"{modality}."): tensor
                    for name, tensor in tensors.items()
                    if name.startswith(f"{modality}.")
                },
            )
            for modality, values in description["experts"].items()
        }
        verdict = description["verdict"]
        return cls(
            experts=experts,
            prior_deviation=float(description["prior_deviation"]),
            emotion_prior=np.asarray(description["emotion_prior"], dtype=np.float32),
            verdict=Verdict(tuple(verdict["cuts"]), verdict["stretch"]),
            revision=revision,
        )

    def judge(self, windows: Sequence[Sequence[Item]]) -> list[Opinion | None]:
        """One opinion per window, independent of the others; None where nothing can be scored.

        Raises ModelError for an item of an encoder or a modality that was not trained on.
        """
        return [self._judge(window) for window in windows]

    def _judge(self, window: Sequence[Item]) -> Opinion | None:
        items = [item for item in window if item.modality != UNSCORED]
        beliefs = [self._expert(item).believe(item.vector) for item in items]
        weights = self._weights(items)
        precisions = weights * np.array([belief.precision for belief in beliefs])
        informed = float(precisions.sum())
        if not informed > 0:
            return None
        total = informed + self.prior_deviation**-2
        means = np.array([belief.mean for belief in beliefs])
        score, deviation = float(precisions @ means / total), total**-0.5
        label = self.verdict.label(score)
        shares = precisions / informed
        return Opinion(
            score=score,
            deviation=deviation,
            label=label,
            confidence=self.verdict.probability(label, score, deviation),
            emotions=self._emotions(weights, beliefs),
            contributions={
                modality: float(sum(shares[_of(modality, items)]))
                for modality in dict.fromkeys(item.modality for item in items)
            },
            evidence=tuple((item.id, float(s)) for item, s in zip(items, shares, strict=True)),
        )

    def _expert(self, item: Item) -> Expert:
        expert = self.experts.get(item.modality)
        if expert is None:
            raise ModelError(f"item {item.id}: no expert for modality {item.modality!r}")
        trained = expert.encoder
        if (item.encoder, item.revision) != (trained.id, trained.revision):
            raise ModelError(
                f"item {item.id} was made by encoder {item.encoder} {item.revision}, but the "
                f"{item.modality} expert was trained on {trained.id} {trained.revision}"
            )
        if item.vector.shape != (trained.dimension,):
            raise ModelError(
                f"item {item.id}: vector of shape {item.vector.shape}, "
                f"expected ({trained.dimension},)"
            )
        return expert

    def _weights(self, items: Sequence[Item]) -> Floats:
        weights = np.zeros(len(items), dtype=np.float32)
        for modality, expert in self.experts.items():
            chosen = _of(modality, items)
            if chosen:
                weights[chosen] = expert.weights([items[index].seconds for index in chosen])
        return weights

    def _emotions(self, weights: Floats, beliefs: Sequence[Belief]) -> dict[str, float]:
        pooled = np.log(self.emotion_prior)
        for weight, belief in zip(weights, beliefs, strict=True):
            pooled = pooled + weight * belief.emotions
        probabilities = np.exp(log_softmax(pooled))
        return dict(zip(EMOTIONS, probabilities.tolist(), strict=True))


def log_softmax(logits: Floats) -> Floats:
    """Log probabilities of the last axis."""
    shifted = logits - logits.max()
    result: Floats = shifted - np.log(np.exp(shifted).sum())
    return result


def _normal(deviations: float) -> float:
    """The normal distribution's probability below."""
    return (1 + erf(deviations / sqrt(2))) / 2


def _of(modality: str, items: Sequence[Item]) -> list[int]:
    return [index for index, item in enumerate(items) if item.modality == modality]


def _expert(values: dict[str, Any], tensors: Mapping[str, Floats]) -> Expert:
    return Expert(
        encoder=Encoder(**values["encoder"]),
        **{name: tensors[name] for name in TENSORS},
        emotion_prior=np.asarray(values["emotion_prior"], dtype=np.float32),
        trust=float(values["trust"]),
        sharpness=float(values["sharpness"]),
        full_s=float(values["full_s"]),
        least_s=float(values["least_s"]),
    )
