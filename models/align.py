"""The common space in which texts, pictures and voices are compared: one linear map per modality.

The encoders stay as they are, and only the maps are trained, so that a picture and the words about
it come to lie close together (`models.train.align`; the loss of Radford et al., 2021, "CLIP", on
locked towers, Zhai et al., 2022, "LiT"). The cosine of two vectors of the space says how much they
are about the same thing, and `probability` what such a cosine is worth. The encoders of a CLIP
share a space as they come: there the maps are left out (`identity`).

Every vector is multiplied alone, in numpy: it is the same to the last bit in any company.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from models import registry
from models.base import Encoder, Floats, ModelError

WEIGHTS: Final = "model.safetensors"
DESCRIPTION: Final = "model.json"
TEXT: Final = "text"
IMAGE: Final = "image"
VOICE: Final = "voice"
MATCHING: Final = 0.1
"""The share of pairs that match which probabilities take for granted: a picture comes up among ten
texts, and one of them is about it."""
CLIP_THRESHOLD: Final = 0.28
"""The cosine from which LAION-5B took a picture and its text for a pair, by CLIP ViT-B/32
(Schuhmann et al., 2022)."""


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """The way from an encoder's vectors to the common space: `weight` [dimension, width] and `bias`
    [width]; without them the encoder's space is the common one."""

    encoder: Encoder
    weight: Floats | None = None
    bias: Floats | None = None

    def __call__(self, vectors: Floats) -> Floats:
        """Vectors [n, dimension] as unit vectors [n, width]."""
        projected = np.asarray(vectors, np.float32)
        if self.weight is not None and self.bias is not None:
            projected = (projected[:, None] @ self.weight)[:, 0] + self.bias
        lengths = np.linalg.norm(projected, axis=1, keepdims=True)
        return np.asarray(projected / np.maximum(lengths, 1e-12), np.float32)


@dataclass(frozen=True, slots=True)
class Calibration:
    """From a cosine to the probability of a match: logistic (Platt, 1999)."""

    slope: float
    intercept: float

    @property
    def threshold(self) -> float:
        """The cosine from which a pair is more likely a match than not."""
        return -self.intercept / self.slope

    def __call__(self, similarities: Floats) -> Floats:
        """Probabilities of cosines [n]."""
        odds = np.exp(-(self.slope * similarities + self.intercept))
        return np.asarray(1 / (1 + odds), np.float32)


@dataclass(frozen=True, slots=True)
class AlignModel:
    """The projections by modality, the cosine from which a pair is a match (`threshold`), and where
    that was learned too, its calibration."""

    projections: Mapping[str, Projection]
    threshold: float
    revision: str
    calibration: Calibration | None = None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The model in a folder, from `model.json` and `model.safetensors`.

        Raises ModelError where they are missing or malformed.
        """
        try:
            encoders = json.loads((folder / DESCRIPTION).read_bytes())["encoders"]
            tensors = load_file(folder / WEIGHTS)
            projections = {name: _projection(name, e, tensors) for name, e in encoders.items()}
            slope, intercept = map(float, tensors["calibration"])
            calibration = Calibration(slope, intercept)
            if not slope > 0 or len({tensors[f"{name}.bias"].shape for name in encoders}) != 1:
                raise ValueError("its tensors do not fit together")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise ModelError(
                f"no usable align model in {folder} ({error}); train one with tenor train align"
            ) from error
        revision = registry.fingerprint(folder)
        return cls(projections, calibration.threshold, revision, calibration)

    @classmethod
    def identity(cls, text: Encoder, image: Encoder) -> Self:
        """Of two encoders that share a space, which are the two sides of one CLIP.

        Raises ModelError where they are of different models.
        """
        if text != image:
            raise ModelError(
                f"{text} and {image} share no space: choose one CLIP for both, or an align model"
                " that was trained for them"
            )
        projections = {TEXT: Projection(text), IMAGE: Projection(image)}
        return cls(projections, CLIP_THRESHOLD, text.revision)

    @property
    def encoders(self) -> dict[str, Encoder]:
        """Whose vectors it reads, by modality."""
        return {name: each.encoder for name, each in self.projections.items()}

    def check(self, modality: str, encoder: Encoder) -> None:
        """Raises ModelError for vectors of an encoder or a modality that was not trained on."""
        if (trained := self._projection(modality).encoder) != encoder:
            raise ModelError(
                f"made by encoder {encoder.id} {encoder.revision} ({encoder.dimension} numbers),"
                f" but the align model's {modality} side was trained on {trained.id}"
                f" {trained.revision} ({trained.dimension})"
            )

    def project(self, modality: str, vectors: Floats) -> Floats:
        """Vectors [n, dimension] of the modality's encoder as unit vectors [n, width].

        Raises ModelError for another modality or dimension.
        """
        projection = self._projection(modality)
        if vectors.ndim != 2 or vectors.shape[1] != projection.encoder.dimension:
            raise ModelError(
                f"{modality} vectors of shape {vectors.shape},"
                f" expected (n, {projection.encoder.dimension})"
            )
        return projection(vectors)

    def probability(self, similarity: float) -> float | None:
        """Of a match, at this cosine, where `MATCHING` of all pairs match; None: not known."""
        if self.calibration is None:
            return None
        return float(self.calibration(np.array(similarity, np.float32)))

    def _projection(self, modality: str) -> Projection:
        if modality not in self.projections:
            known = ", ".join(self.projections)
            raise ModelError(f"the align model has no side for {modality!r}: it has {known}")
        return self.projections[modality]


def _projection(name: str, encoder: dict[str, Any], tensors: Mapping[str, Floats]) -> Projection:
    made = Encoder(**encoder)
    weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    if weight.shape != (made.dimension, *bias.shape):
        raise ValueError(f"{name}.weight is {weight.shape}")
    return Projection(made, weight.astype(np.float32), bias.astype(np.float32))
