"""How well words find pictures and pictures words, as it is reported: in galleries of 100 photos.

A caption looks for its photo among those of the gallery, a photo for any of its captions among all
of them (Hodosh et al., 2013). How hard that is depends on the gallery's size, so galleries of one
size are drawn from whatever there is, and their figures averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Final

import numpy as np

from models.align import IMAGE, MATCHING, TEXT, AlignModel
from models.base import Floats
from models.train.metrics import Bools, Figures, Integers, Numbers, recall_at, rounded
from models.train.pairs import Pairs

GALLERY: Final = 100
"""Photos."""
LEAST: Final = 10
"""Galleries that are drawn at least, where there are more photos than one holds."""
BINS: Final = 10


def measure(model: AlignModel, pairs: Pairs, size: int = GALLERY) -> Figures:
    """Figures of the model on photos and captions, each the mean over galleries of `size` photos:
    recall at 1, 5 and 10 of texts that look for pictures and of pictures that look for texts, and
    how good `decisions` are."""
    measured = [_measured(model, pairs.of(chosen)) for chosen in drawn(len(pairs), size)]
    return {
        "gallery": min(size, len(pairs)),
        "galleries": len(measured),
        **{name: _mean([each[name] for each in measured]) for name in measured[0]},
    }


def _measured(model: AlignModel, gallery: Pairs) -> dict[str, Figures]:
    cosines = similarities(model, gallery)
    photos_before, captions_before = ranks(cosines, gallery.owner)
    return {
        "recall_at": recall_at(photos_before),
        "recall_at_image_to_text": recall_at(captions_before),
        "matches": decisions(model, cosines, gallery.owner),
    }


def drawn(photos: int, size: int = GALLERY, seed: int = 0) -> Iterator[Integers]:
    """Galleries as numbers of photos: all photos in random order, cut into galleries of `size`, as
    often as it takes. Where there are no more than that, all of them are the only one."""
    if photos <= size:
        yield np.arange(photos)
        return
    random, each = np.random.default_rng(seed), photos // size
    for _ in range(ceil(LEAST / each)):
        order = random.permutation(photos)
        yield from (np.sort(order[n * size : (n + 1) * size]) for n in range(each))


def similarities(model: AlignModel, pairs: Pairs) -> Floats:
    """Cosines [captions, photos] in the common space."""
    captions = model.project(TEXT, pairs.captions)
    cosines: Floats = captions @ model.project(IMAGE, pairs.photos).T
    return cosines


def ranks(cosines: Floats, owner: Integers) -> tuple[Integers, Integers]:
    """Of each caption, how many photos come before its own; of each photo that has captions, how
    many of the others' captions come before the first of its own.

    What is as close comes before: who cannot tell finds nothing.
    """
    own = true_pairs(cosines, owner)
    right = cosines[np.arange(len(owner)), owner]
    photos_before = ((cosines >= right[:, None]) & ~own).sum(axis=1)
    best = np.where(own, cosines, -np.inf).max(axis=0)
    captions_before = ((cosines >= best) & ~own).sum(axis=0)
    return photos_before, captions_before[own.any(axis=0)]


def decisions(model: AlignModel, cosines: Floats, owner: Integers) -> Figures:
    """What the model calls a match, where `MATCHING` of all pairs are: how much of it is right, how
    many matches it finds, and the expected calibration error of its probability."""
    true = true_pairs(cosines, owner)
    weights, said = shares(true), cosines >= model.threshold
    right = float(weights[said & true].sum())
    precision = right / max(float(weights[said].sum()), 1e-12)
    figures = {"precision": precision, "recall": right / MATCHING}
    if model.calibration:
        figures["ece"] = _ece(model.calibration(cosines), true, weights)
    return rounded(**figures)


def true_pairs(cosines: Floats, owner: Integers) -> Bools:
    """Which of the pairs [captions, photos] belong together."""
    own: Bools = owner[:, None] == np.arange(cosines.shape[1])
    return own


def shares(true: Bools) -> Numbers:
    """Weights of pairs that add up to 1, and those of the true ones to `MATCHING`."""
    each = MATCHING / max(int(true.sum()), 1), (1 - MATCHING) / max(int((~true).sum()), 1)
    return np.where(true, *each)


def _ece(confidence: Floats, true: Bools, weights: Numbers) -> float:
    """As `metrics.ece`, of pairs that do not all count the same."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = weights * (confidence - true)
    return sum(abs(float(gaps[place == b].sum())) for b in range(BINS))


def _mean(figures: Sequence[Figures]) -> Figures:
    return rounded(**{name: np.mean([each[name] for each in figures]) for name in figures[0]})
