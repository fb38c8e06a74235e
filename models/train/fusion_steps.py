"""Labelled samples of conversations as arrays: what the fusion model's training goes through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from models.base import Floats
from models.train.metrics import Integers

UNKNOWN: Final = -1
"""Of a label's number."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """n samples, those of a session together and in order.

    `vectors` [n, dimension] by modality, zeros where there is none; `weight` [n, modalities], 0
    there; `end` [n] seconds; `speaker` [n] counts within a `session` [n]; `score` [n] or NaN;
    `emotions` [n, 7], rows that sum to 1, or to 0 where unknown; `sentiment` [n] by number or
    `UNKNOWN`; `counts` [n] how much a sample counts.
    """

    vectors: Mapping[str, Floats]
    weight: Floats
    end: Floats
    speaker: Integers
    session: Integers
    score: Floats
    emotions: Floats
    sentiment: Integers
    counts: Floats

    def __len__(self) -> int:
        return len(self.end)

    def sessions(self) -> list[Integers]:
        """The numbers of each session's samples."""
        starts = np.flatnonzero(np.diff(self.session, prepend=UNKNOWN))
        return np.split(np.arange(len(self)), starts[1:])


ARRAYS: Final = (
    "weight",
    "end",
    "speaker",
    "session",
    "score",
    "emotions",
    "sentiment",
    "counts",
)


def at(steps: Steps, rows: Integers) -> Steps:
    """Only these samples."""
    return Steps(
        {m: v[rows] for m, v in steps.vectors.items()},
        *(getattr(steps, name)[rows] for name in ARRAYS),
    )


def joined(parts: Sequence[Steps]) -> Steps:
    """One after the other."""
    return Steps(
        {m: np.concatenate([each.vectors[m] for each in parts]) for m in parts[0].vectors},
        *(np.concatenate([getattr(each, name) for each in parts]) for name in ARRAYS),
    )


def shuffled(steps: Steps, random: np.random.Generator) -> Steps:
    """The sessions in another order, so that batches are made anew."""
    sessions = steps.sessions()
    order = np.concatenate([sessions[n] for n in random.permutation(len(sessions))])
    return at(steps, order)


def leave_out(steps: Steps, share: float, random: np.random.Generator) -> Steps:
    """Each sample without a part of its modalities; one stays."""
    here = steps.weight > 0
    kept = here & (random.random(here.shape) >= share)
    lots = np.where(here, random.random(here.shape), -1.0)
    spared = np.eye(here.shape[1], dtype=bool)[lots.argmax(axis=1)] & here
    kept |= spared & ~kept.any(axis=1, keepdims=True)
    return replace(steps, weight=np.where(kept, steps.weight, 0).astype(np.float32))
