"""Which texts and pictures of a session are about the same thing: a pure state machine.

Pieces are held while more may come that is near them, and each new one is compared with those that
are held. Which pairs come of it does not depend on the order: of pieces that were all held
together, always the same. Nothing is forgotten here by itself: who drives this says when.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from streams.features import Floats, Modality
from streams.results import Match

SIDES: Final[Mapping[Modality, str]] = {Modality.MEANING: "text", Modality.IMAGE: "image"}
"""What is compared, a text with a picture, by the names that the common space has for them."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A text or a picture, by the id of its event or caption: when it was (ms, event time), and its
    unit vector [width] in the common space. `trace` is the one that it is part of."""

    id: str
    modality: Modality
    channel: str
    start: int
    end: int
    vector: Floats = field(compare=False, repr=False)
    trace: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Pair:
    """A text and a picture that match, and their cosine."""

    text: Piece
    image: Piece
    similarity: float

    def result(self, session: str, probability: float | None, model: str) -> Match:
        """The result that says so, of two pieces of one session."""
        text, image = self.text, self.image
        return Match(
            session=session,
            time=max(text.end, image.end),
            left=text.id,
            right=image.id,
            left_modality=SIDES[text.modality],
            right_modality=SIDES[image.modality],
            left_channel=text.channel,
            right_channel=image.channel,
            similarity=self.similarity,
            probability=probability,
            model=model,
        )


class Matcher:
    """The pieces of one session that are held, of each modality at most the `most` latest, and what
    is a match: a cosine of `threshold` or more, not farther apart than `within` ms."""

    def __init__(self, threshold: float, within: int, most: int) -> None:
        self._threshold = threshold
        self._within = within
        self._most = most
        self._held: dict[Modality, dict[str, Piece]] = {each: {} for each in SIDES}

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def add(self, piece: Piece) -> list[Pair]:
        """Holds a piece; its pairs with those that are held, by their ids. One that is held already
        makes none again."""
        held = self._held[piece.modality]
        if piece.id in held:
            return []
        held[piece.id] = piece
        if len(held) > self._most:
            self.forget([min(held.values(), key=lambda each: (each.end, each.id))])
        others = self._others(piece)
        return sorted(self._pairs(piece, others), key=lambda pair: (pair.text.id, pair.image.id))

    def forget(self, pieces: Iterable[Piece]) -> None:
        """Lets pieces go; those that are not held are passed over."""
        for piece in pieces:
            self._held[piece.modality].pop(piece.id, None)

    def _others(self, piece: Piece) -> Iterator[Piece]:
        other = Modality.IMAGE if piece.modality is Modality.MEANING else Modality.MEANING
        return (each for each in self._held[other].values() if apart(piece, each) <= self._within)

    def _pairs(self, piece: Piece, others: Iterable[Piece]) -> Iterator[Pair]:
        for other in others:
            text, image = (piece, other) if piece.modality is Modality.MEANING else (other, piece)
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
