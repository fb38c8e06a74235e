"""Sentences to unit vectors by any encoder of transformers, mean-pooled over the tokens.

Pooling as in Reimers and Gurevych, "Sentence-BERT", 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from models import registry
from models.base import Encoder, Floats, ModelError

logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a log is no terminal

MAX_TOKENS = 256
"""Tokens of a text that count; what MiniLM was trained on, and more than an utterance has."""
_BATCH = 32


class TransformersTextEncoder:
    """`base.TextEncoder` over a folder with config.json, a tokenizer and .safetensors weights."""

    def __init__(self, folder: Path, name: str, *, device: str = "cpu") -> None:
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{folder} holds no text encoder of transformers: {error}") from error
        self._model: Any = model.eval().to(device)
        self._max_tokens = min(
            MAX_TOKENS,
            self._tokenizer.model_max_length,
            getattr(model.config, "max_position_embeddings", MAX_TOKENS),
        )
        self.encoder = Encoder(name, registry.fingerprint(folder), model.config.hidden_size)

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
        tokens = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        ).to(self._model.device)
        hidden = self._model(**tokens).last_hidden_state  # [n, tokens, dimension]
        mask = tokens["attention_mask"][..., None].to(hidden.dtype)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return np.asarray(normalize(mean, dim=1).cpu().numpy(), dtype=np.float32)
