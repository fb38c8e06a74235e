"""Labelled sentences as the network of `models.affect` reads them: tokens, targets, batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.affect import HEADS, Layout
from models.base import Floats
from models.bert import Bert
from models.fusion import EMOTIONS, SENTIMENTS
from models.train.corpora import Sample

TAUGHT: Final[Mapping[str, tuple[str, ...]]] = {
    "goemotions": ("goemotions",),
    "scored": ("scored",),
    "sst2": ("sst2",),
    "meld": ("meld_emotions", "meld_sentiments"),
    "manifest": ("meld_emotions", "meld_sentiments", "scored"),
}
"""The heads that a corpus has labels for. One's own recordings are labelled as MELD is."""
OUTPUTS: Final = Layout(0, tuple(HEADS))
"""Where each head's outputs are in a row of targets."""
NEUTRAL: Final = 0.125
"""A sentiment of at most this size is neutral: half a step of the scored sets."""
BUCKET: Final = 2048
"""Sentences that are sorted by length together: less padding, and still a random order."""

Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """n sentences: `tokens` of each, and `targets` [n, outputs of all of `HEADS`], NaN where the
    sentence has no label for a head."""

    tokens: Sequence[Sequence[int]]
    targets: Floats

    def __len__(self) -> int:
        return len(self.tokens)

    def at(self, rows: Sequence[int] | Integers) -> Texts:
        """Only these sentences."""
        return Texts([self.tokens[row] for row in rows], self.targets[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Sentences by their numbers `rows`: `ids` and `mask` [n, longest], `targets` [n, outputs]."""

    rows: list[int]
    ids: Tensor
    mask: Tensor
    targets: Tensor


def read(bert: Bert, corpus: str, samples: Sequence[Sample]) -> Texts:
    """Sentences of a corpus as the network reads them."""
    encoded = bert.tokenizer.encode_batch([sample.text for sample in samples])
    tokens = [each.ids[: sum(each.attention_mask)] for each in encoded]
    rows = [target(corpus, sample) for sample in samples]
    return Texts(tokens, np.reshape(np.array(rows, np.float32), (-1, OUTPUTS.dimension)))


def joined(parts: Sequence[Texts]) -> Texts:
    """All sentences, one part after the other."""
    tokens = [each for part in parts for each in part.tokens]
    return Texts(tokens, np.concatenate([part.targets for part in parts]))


def target(corpus: str, sample: Sample) -> Floats:
    """What the heads are to say of a sample [outputs of all of `HEADS`], NaN where unknown."""
    row = np.full(OUTPUTS.dimension, np.nan, np.float32)
    for head in TAUGHT[corpus]:
        row[OUTPUTS.head(head)] = _wanted(head, sample)
    return row


def _wanted(head: str, sample: Sample) -> npt.ArrayLike:
    if HEADS[head] == EMOTIONS:
        named = np.array([name in sample.emotions for name in EMOTIONS], np.float32)
        if not named.any():
            return np.nan
        return named if head == "goemotions" else named / named.sum()
    if isnan(sample.sentiment):
        return np.nan
    if head == "meld_sentiments":
        sign = 0 if abs(sample.sentiment) <= NEUTRAL else int(np.sign(sample.sentiment))
        return [float(n == sign + 1) for n in range(len(SENTIMENTS))]
    return sample.sentiment if head == "scored" else sample.sentiment > 0


def batches(
    sentences: Texts, tokens: int, random: np.random.Generator | None = None
) -> Iterator[Batch]:
    """All sentences in batches of at most `tokens` with the padding, or of one that is longer.

    In random order, or without `random` from the shortest to the longest.
    """
    groups = _groups(np.array([len(each) for each in sentences.tokens]), tokens, random)
    for number in random.permutation(len(groups)) if random else range(len(groups)):
        yield _padded(sentences, groups[number])


def _groups(lengths: Integers, tokens: int, random: np.random.Generator | None) -> list[list[int]]:
    order = random.permutation(len(lengths)) if random else np.arange(len(lengths))
    size = BUCKET if random else max(1, len(order))
    groups: list[list[int]] = []
    for first in range(0, len(order), size):
        bucket = order[first : first + size]
        group: list[int] = []
        for row in bucket[np.argsort(lengths[bucket], kind="stable")]:
            if group and (len(group) + 1) * lengths[row] > tokens:
                groups.append(group)
                group = []
            group.append(int(row))
        groups.append(group)
    return groups


def _padded(sentences: Texts, rows: list[int]) -> Batch:
    longest = max(len(sentences.tokens[row]) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for place, row in enumerate(rows):
        tokens = sentences.tokens[row]
        ids[place, : len(tokens)] = torch.tensor(tokens)
        mask[place, : len(tokens)] = 1
    return Batch(rows, ids, mask, torch.from_numpy(sentences.targets[rows]))
