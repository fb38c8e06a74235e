"""CMU-MOSI's ready-made features in place of the encoders', and, where wanted, beside its text
features what our own reader of texts makes of the transcripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from models.base import Encoder, Floats, TextEncoder
from models.train import features
from models.train.corpora import Sample

WITH_AFFECT: Final = "mosi-text+affect"
"""The encoder of text features that have the reader's vector behind them."""


def encoders(samples: Sequence[Sample], reader: Encoder | None) -> dict[str, Encoder]:
    """Names for what made the features, by modality."""
    made = {m: Encoder(f"mosi-{m}", "1", len(v)) for m, v in samples[0].features.items()}
    if reader:
        size = made["text"].dimension + reader.dimension
        made["text"] = Encoder(WITH_AFFECT, reader.revision, size)
    return made


def vectors(
    samples: Sequence[Sample], reader: TextEncoder | None, cache: Path | None = None
) -> dict[str, dict[str, Floats]]:
    """By modality and by the sample's id. Raises ModelError where texts cannot be read."""
    found = {m: {s.id: s.features[m] for s in samples} for m in samples[0].features}
    if reader:
        read = features.texts(reader, samples, cache)
        both = zip(samples, read, strict=True)
        found["text"] = {s.id: np.concatenate([s.features["text"], v]) for s, v in both}
    return found
