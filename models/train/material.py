"""What the fusion model learns from: labelled vectors of each modality, and conversations of them.

No corpus here has words, voices and faces of the same people with labels of what they feel. So
where a sample lacks a modality it may be lent one by another sample of the same emotion: a sentence
of MELD the voice of an actor, or a face. That takes what the modalities say to be independent given
the emotion, which is also what a product of experts takes for granted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Final

import numpy as np

from models.base import Floats
from models.fusion import EMOTIONS, SENTIMENTS, weights_of
from models.train.corpora import Sample
from models.train.fusion_steps import UNKNOWN, Steps
from models.train.metrics import Integers
from models.train.replay import Vectors
from models.train.splits import fraction, group_of

POLARITY: Final = {
    "joy": 1.0,
    "neutral": 0.0,
    "calm": 0.0,
    "boredom": 0.0,
    "anger": -1.0,
    "disgust": -1.0,
    "fear": -1.0,
    "sadness": -1.0,
}
"""The sentiment that an emotion stands for in a corpus that gives only these; surprise: none."""
AS_OURS: Final = {"calm": "neutral", "boredom": "neutral"}
"""Emotions that we have no name for, by the one that they are nearest to."""
NEUTRAL: Final = 1 / 3
"""A score within this of 0 is called neutral."""
HELD_OUT: Final = 0.2
TELEPHONE: Final = "#telephone"


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Samples in the order of their sessions, their vectors, and how much each counts."""

    samples: Sequence[Sample]
    vectors: Vectors
    counts: Floats

    def __len__(self) -> int:
        return len(self.samples)

    def of(self, rows: Sequence[int]) -> Material:
        return Material([self.samples[n] for n in rows], self.vectors, self.counts[list(rows)])


def apart(material: Material, share: float = HELD_OUT) -> tuple[Material, Material]:
    """What is learned from and what is held out, by conversation or speaker. It is another draw
    than that of the encoders' trainings: what these held out is all that some corpora give."""
    held = [fraction(f"fusion {group_of(sample)}") < share for sample in material.samples]
    return (
        material.of([n for n, each in enumerate(held) if not each]),
        material.of([n for n, each in enumerate(held) if each]),
    )


def by_telephone(sample: Sample) -> Sample:
    """The same clip as a telephone gives it, a sample of its own."""
    name = f"{sample.id}{TELEPHONE}"
    return replace(sample, id=name, session=name if sample.session == sample.id else sample.session)


def ours(sample: Sample) -> list[str]:
    """The sample's emotions by our names, without those that have none."""
    named = [AS_OURS.get(emotion, emotion) for emotion in sample.emotions]
    return [emotion for emotion in named if emotion in EMOTIONS]


def score_of(sample: Sample) -> float:
    """Its sentiment, or that of its emotions; NaN where neither is known."""
    if not isnan(sample.sentiment):
        return sample.sentiment
    known = [POLARITY[emotion] for emotion in sample.emotions if emotion in POLARITY]
    return sum(known) / len(known) if len(known) == len(sample.emotions) > 0 else nan


def sentiment_of(score: float) -> int:
    """The number of what a score is called among SENTIMENTS, or `UNKNOWN`."""
    if isnan(score):
        return UNKNOWN
    return SENTIMENTS.index("neutral") + int(score > NEUTRAL) - int(score < -NEUTRAL)


def steps(material: Material, dimensions: Mapping[str, int]) -> Steps:
    """As the training takes it; `dimensions` says how many of the last numbers of each modality's
    vectors are read."""
    samples = material.samples
    scores = [score_of(sample) for sample in samples]
    sessions, speakers = _numbers(samples)
    return Steps(
        vectors={m: _stacked(samples, material.vectors[m], d) for m, d in dimensions.items()},
        weight=np.array([_weights(s, material.vectors, dimensions) for s in samples], np.float32),
        end=np.array([sample.end for sample in samples], np.float32),
        speaker=speakers,
        session=sessions,
        score=np.array(scores, np.float32),
        emotions=np.array([_shares(ours(sample)) for sample in samples], np.float32),
        sentiment=np.array([sentiment_of(score) for score in scores]),
        counts=material.counts,
    )


def _stacked(samples: Sequence[Sample], vectors: Mapping[str, Floats], dimension: int) -> Floats:
    nothing = np.zeros(dimension, np.float32)
    found = [vectors.get(sample.id, nothing)[-dimension:] for sample in samples]
    return np.stack(found).astype(np.float32)


def _weights(sample: Sample, vectors: Vectors, modalities: Mapping[str, int]) -> list[float]:
    seconds, alone = [sample.end - sample.start], np.zeros(1, np.intp)
    weights = {m: float(weights_of(m, seconds, alone)[0]) for m in modalities}
    return [weight if sample.id in vectors[m] else 0.0 for m, weight in weights.items()]


def _numbers(samples: Sequence[Sample]) -> tuple[Integers, Integers]:
    """Of each sample its session, and its speaker within that, counted in order."""
    sessions: dict[str, int] = {}
    speakers: dict[str, dict[str, int]] = {}
    numbers = []
    for sample in samples:
        known = speakers.setdefault(sample.session, {})
        session = sessions.setdefault(sample.session, len(sessions))
        numbers.append((session, known.setdefault(sample.speaker, len(known))))
    both = np.array(numbers)
    return both[:, 0], both[:, 1]


def _shares(emotions: Sequence[str]) -> Floats:
    shares = np.zeros(len(EMOTIONS), np.float32)
    for emotion in emotions:
        shares[EMOTIONS.index(emotion)] += 1 / len(emotions)
    return shares


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """Vectors of one modality [n, dimension] that samples may be lent, with their weights [n], and
    which of them are of each emotion."""

    modality: str
    vectors: Floats
    weights: Floats
    of_emotion: Mapping[int, Integers]


def bank(found: Steps, modality: str) -> Bank:
    """Of the samples that have the modality and one emotion."""
    place = list(found.vectors).index(modality)
    weight = found.weight[:, place]
    alone = (weight > 0) & (found.emotions.max(axis=1) == 1)
    emotion = found.emotions.argmax(axis=1)
    rows = {e: np.flatnonzero(alone & (emotion == e)) for e in range(len(EMOTIONS))}
    return Bank(
        modality, found.vectors[modality], weight, {e: r for e, r in rows.items() if len(r)}
    )


def lend(to: Steps, banks: Sequence[Bank], share: float, random: np.random.Generator) -> Steps:
    """Of the samples with one emotion, about `share` get each modality that they lack."""
    vectors, weight = dict(to.vectors), to.weight.copy()
    emotion = np.where(to.emotions.max(axis=1) == 1, to.emotions.argmax(axis=1), UNKNOWN)
    for each in banks:
        place = list(vectors).index(each.modality)
        lacks = (weight[:, place] == 0) & (random.random(len(to)) < share)
        filled = vectors[each.modality].copy()
        for number, rows in each.of_emotion.items():
            takers = np.flatnonzero(lacks & (emotion == number))
            lent = random.choice(rows, len(takers))
            filled[takers], weight[takers, place] = each.vectors[lent], each.weights[lent]
        vectors[each.modality] = filled
    return replace(to, vectors=vectors, weight=weight)
