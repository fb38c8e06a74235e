"""Which samples of a training part only validate: the same in every run, and for every model.

A network that reads what another one learned must be checked on what neither has seen, so all of
them ask here. It is by hash of who speaks or of the conversation, so that no part of one is on both
sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from models.train.corpora import Sample


def apart(samples: Sequence[Sample], share: float = 0.1) -> tuple[list[Sample], list[Sample]]:
    """Samples to learn from and, of about `share` of the groups, to validate with."""
    learned: list[Sample] = []
    held: list[Sample] = []
    for sample in samples:
        (held if fraction(group_of(sample)) < share else learned).append(sample)
    return learned, held


def group_of(sample: Sample) -> str:
    """What must not be divided: the conversation, or the speaker of a clip that stands alone."""
    alone = sample.session == sample.id
    return sample.speaker if alone and sample.speaker else sample.session


def fraction(name: str) -> float:
    """A number in [0, 1) that stands for the name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def folds(groups: Sequence[str], count: int) -> list[int]:
    """A fold 0..count-1 for each sample; those of a group share it, and the groups are dealt out
    one after the other in the order of their hashes."""
    order = sorted(set(groups), key=fraction)
    place = {group: n % count for n, group in enumerate(order)}
    return [place[group] for group in groups]
