"""Which texts and pictures of a session are about the same thing: a pure state machine.

Pieces are held while more may come that is near them, and each new one is compared with those that
are held. Which pairs come of it does not depend on the order: of pieces that were all held
together, always the same. Nothing is forgotten here by itself: who drives this says when.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from streams.features import Floats, Modality

MATCHED: Final = (Modality.TEXT, Modality.IMAGE)
"""What is compared: a text with a picture. Other modalities are not held."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A text or a picture, by id: when it was (ms, event time), and its unit vector [width] in the
    common space."""

    id: str
    modality: Modality
    channel: str
    start: int
    end: int
    vector: Floats = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Pair:
    """A text and a picture that match, and their cosine."""

    text: Piece
    image: Piece
    similarity: float

    @property
    def time(self) -> int:
        """When both were there (ms)."""
        return max(self.text.end, self.image.end)


class Matcher:
    """The pieces of one session that are held, and what is a match: a cosine of `threshold` or
    more, not farther apart than `within` ms."""

    def __init__(self, threshold: float, within: int) -> None:
        self._threshold = threshold
        self._within = within
        self._held: dict[Modality, dict[str, Piece]] = {each: {} for each in MATCHED}

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def add(self, piece: Piece) -> list[Pair]:
        """Holds a piece; its pairs with those that are held, by their ids. One that is held already
        makes none again."""
        held = self._held.get(piece.modality)
        if held is None or piece.id in held:
            return []
        held[piece.id] = piece
        others = self._others(piece)
        return sorted(self._pairs(piece, others), key=lambda pair: (pair.text.id, pair.image.id))

    def forget(self, ids: Iterable[str]) -> None:
        """Lets pieces go; ids that are not held are passed over."""
        for id_ in ids:
            for held in self._held.values():
                held.pop(id_, None)

    def _others(self, piece: Piece) -> Iterator[Piece]:
        other = Modality.IMAGE if piece.modality is Modality.TEXT else Modality.TEXT
        return (each for each in self._held[other].values() if apart(piece, each) <= self._within)

    def _pairs(self, piece: Piece, others: Iterable[Piece]) -> Iterator[Pair]:
        for other in others:
            text, image = (piece, other) if piece.modality is Modality.TEXT else (other, piece)
            cosine = similarity(text.vector, image.vector)
            if cosine >= self._threshold:
                yield Pair(text, image, cosine)


def apart(one: Piece, other: Piece) -> int:
    """The time between two pieces (ms); 0 where they overlap."""
    return max(0, max(one.start, other.start) - min(one.end, other.end))


def similarity(text: Floats, image: Floats) -> float:
    """The cosine of two unit vectors, made of these two alone: a matrix of many would have other
    last bits."""
    return float(np.clip(np.dot(text, image), -1, 1))
