"""Vectors of training samples by networks that had not learned from those samples.

A network that reads another network's vectors of the samples which that one learned from sees it
surer than it will ever be again, and learns to trust it too much. So every trainer of an encoder
leaves, beside its model, the vectors that networks trained without a sample make of it
(cross-fitting; Chernozhukov et al., 2018), and `models.train.fusion` learns from these.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from models.base import Floats, ModelError

FILE: Final = "unseen.safetensors"


def save(folder: Path, ids: Sequence[str], vectors: Floats) -> None:
    """Keeps the vectors [n, dimension] of the samples with these ids; in 16 bits."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = np.ascontiguousarray(vectors, np.float16)
    save_file({"vectors": halves}, folder / FILE, metadata={"ids": json.dumps(list(ids))})


def load(folder: Path) -> dict[str, Floats]:
    """Vectors [dimension] by the samples' ids. Raises ModelError where there are none."""
    path = folder / FILE
    try:
        with safe_open(path, "np") as file:
            ids = json.loads(file.metadata()["ids"])
            vectors = file.get_tensor("vectors").astype(np.float32)
            return dict(zip(ids, vectors, strict=True))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(
            f"no vectors of unseen samples in {path} ({error}): train that encoder first"
        ) from error
