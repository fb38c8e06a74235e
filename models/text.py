"""Sentences to unit vectors by any encoder of transformers, mean-pooled over the tokens.

Pooling as in Reimers and Gurevych, "Sentence-BERT", 2019.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import normalize

from models import bert, registry
from models.base import Encoder, Floats, ModelError

MAX_TOKENS = 256
"""Tokens of a text that count; what MiniLM was trained on, and more than an utterance has."""
_BATCH = 32

Tower = Callable[[Sequence[str]], tuple[Tensor, Tensor]]
"""Texts to hidden states [n, tokens, dimension] and their mask [n, tokens]."""


class PooledTextEncoder:
    """`base.TextEncoder` over a folder with config.json, a tokenizer and .safetensors weights."""

    def __init__(self, folder: Path, name: str, *, device: str = "cpu") -> None:
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            self._tower = _tower(folder, config, device)
            dimension = config["hidden_size"]
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"{folder} holds no text encoder of transformers: {error}") from error
        self.encoder = Encoder(name, registry.fingerprint(folder), dimension)

    def encode(self, texts: Sequence[str]) -> Floats:
        """Unit vectors [n, dimension] in the order of `texts`.

        Texts of like length share a batch, so that little is padded.
        """
        vectors = np.zeros((len(texts), self.encoder.dimension), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for first in range(0, len(order), _BATCH):
            chosen = order[first : first + _BATCH]
            vectors[chosen] = self._encode([texts[i] for i in chosen])
        return vectors

    @torch.inference_mode()
    def _encode(self, texts: list[str]) -> Floats:
        hidden, mask = self._tower(texts)
        mean = bert.pooled(hidden, mask)
        return np.asarray(normalize(mean, dim=1).cpu().numpy(), dtype=np.float32)


def _tower(folder: Path, config: dict[str, Any], device: str) -> Tower:
    tokens = min(MAX_TOKENS, config.get("max_position_embeddings", MAX_TOKENS))
    if bert.reads(folder, config):
        return bert.Bert(folder, config, tokens=tokens, device=device)
    from models.towers import TextTower  # noqa: PLC0415  (it takes seconds to import)

    return TextTower(folder, tokens=tokens, device=device)
