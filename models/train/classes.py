"""What a picture encoder was trained to tell apart, as pairs of a picture and a text.

Photos with captions are few, and show few kinds of things. But the last layer of a classifier says
in which direction the pictures of each class lie, and the class has a name: that makes a pair for
every class, of things that the photos do not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self, runtime_checkable

import numpy as np

from models.base import Floats, ImageRecognizer, TextEncoder
from models.train.pairs import Pairs

SAYING: Final = "A photo of a {}."


@runtime_checkable
class Classifier(Protocol):
    """An image encoder that names classes."""

    def classes(self) -> tuple[Sequence[str], Floats]:
        """Their names, and the rows of the last layer [classes, dimension]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """The names as texts [classes, dimension], and where from the centre of all pictures those of
    each class lie: unit vectors [classes, dimension]."""

    captions: Floats
    directions: Floats

    @classmethod
    def of(cls, image: ImageRecognizer, text: TextEncoder) -> Self | None:
        """Those of an encoder; None where it names none."""
        if not isinstance(image, Classifier):
            return None
        names, rows = image.classes()
        captions = text.encode([SAYING.format(name) for name in names])
        return cls(captions, _unit(rows - rows.mean(axis=0)))

    def beside(self, learned: Pairs) -> Pairs:
        """Photos and, after them, a picture for each class: as far from the centre of the photos as
        these are, and of length 1 as they are."""
        centre = learned.photos.mean(axis=0)
        radius = np.linalg.norm(learned.photos - centre, axis=1).mean()
        places = _unit(centre + radius * self.directions)
        count = len(places)
        return Pairs(
            photos=np.concatenate([learned.photos, places]),
            captions=np.concatenate([learned.captions, self.captions]),
            owner=np.concatenate([learned.owner, len(learned) + np.arange(count)]),
            hashes=learned.hashes + ("",) * count,
        )


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
