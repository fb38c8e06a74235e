"""Which voices sound alike, among the features that Kafka holds up to now.

The numbers of a voice vector are of very different scales, so each is standardised by all voices of
its encoder that are held; likeness is the cosine of what comes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.base import Encoder
from streams.archive import Archive, ArchiveError, Sessions
from streams.features import Feature, Floats, Modality
from streams.matching import similarity
from streams.ranking import Best
from streams.search import Recent

FLAT: Final = 1e-6
"""The deviation of a number that is the same in all vectors: it tells nothing."""


@dataclass(slots=True)
class Scales:
    """Mean and deviation of each number of vectors [dimension], in the memory of two of them."""

    count: int
    total: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    @classmethod
    def of(cls, dimension: int) -> Scales:
        return cls(0, np.zeros(dimension), np.zeros(dimension))

    def add(self, vector: Floats) -> None:
        self.count += 1
        self.total += vector
        self.squares += np.square(vector, dtype=np.float64)

    def standard(self, vector: Floats) -> Floats:
        """The vector standardised, and of length 1; all nought where it is the mean."""
        mean = self.total / self.count
        deviation = np.sqrt(np.maximum(self.squares / self.count - mean**2, 0))
        centred = np.where(deviation > FLAT, (vector - mean) / np.maximum(deviation, FLAT), 0)
        return np.asarray(centred / max(float(np.linalg.norm(centred)), FLAT), np.float32)


async def alike(
    archive: Archive, evidence: str, *, top: int, sessions: Sessions = None
) -> list[tuple[float, Feature]]:
    """The voices that sound most like that of the caption `evidence`, and how much.

    Raises ArchiveError where that voice is not held.
    """
    wanted, scales = await _survey(archive, evidence)
    made, place = _encoder(wanted), scales.standard(wanted.vector)
    best = Best[Feature](top)
    async for batch in archive.features(Modality.VOICE, sessions):
        for id_, voice in batch:
            if voice.evidence != evidence and _encoder(voice) == made:
                best.offer(similarity(place, scales.standard(voice.vector)), id_, voice)
    return best.ranked()


async def _survey(archive: Archive, evidence: str) -> tuple[Feature, Scales]:
    """The caption's voice, and the scales of all voices of its encoder."""
    wanted: Feature | None = None
    scales, recent = dict[Encoder, Scales](), Recent()
    async for batch in archive.features(Modality.VOICE):
        for _, voice in recent.new(batch):
            scales.setdefault(_encoder(voice), Scales.of(len(voice.vector))).add(voice.vector)
            wanted = voice if voice.evidence == evidence else wanted
    if wanted is None:
        raise ArchiveError(f"Kafka holds no voice of a caption {evidence!r}")
    return wanted, scales[_encoder(wanted)]


def _encoder(feature: Feature) -> Encoder:
    return Encoder(feature.encoder, feature.revision, len(feature.vector))
