"""Networks that transformers reads from a folder, where nothing lighter does.

Importing transformers takes some seconds and 200 MB: nothing else here imports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import logging

from models import registry
from models.base import Encoder, Label, ModelError, Pixels
from models.image import Recognizer

logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a log is no terminal

_processors: Any = AutoImageProcessor  # transformers leaves it without types


class TextTower:
    """Any text encoder and its tokeniser; of a text at most `tokens` are read.

    Raises OSError, ValueError or RuntimeError if the folder holds none.
    """

    def __init__(self, folder: Path, *, tokens: int, device: str = "cpu") -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
        self._model: Any = model.eval().to(device)
        self._tokens = min(tokens, self._tokenizer.model_max_length)

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The last hidden states [n, tokens, width], and 1 for each token [n, tokens], 0 beyond."""
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._tokens, return_tensors="pt"
        ).to(self._model.device)
        return self._model(**tokens).last_hidden_state, tokens["attention_mask"]


class TowerRecognizer(Recognizer):
    """The image side of a CLIP or SigLIP in a folder of transformers; it names no classes."""

    def __init__(self, folder: Path, name: str, *, device: str = "cpu") -> None:
        super().__init__()
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            self._model: Any = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
            self._processor: Any = _processors.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{folder} holds no model of transformers: {error}") from error
        if not hasattr(self._model, "get_image_features"):
            raise ModelError(f"{folder} holds {config.model_type}, which has no image tower")
        self._model.eval().to(device)
        side = config.vision_config.image_size
        [probe] = self._embed([np.zeros((side, side, 3), np.uint8)])
        self.encoder = Encoder(name, registry.fingerprint(folder), len(probe))

    def _look(self, images: Sequence[Pixels]) -> tuple[Tensor, list[tuple[Label, ...]]]:
        return self._embed(images), [() for _ in images]

    @torch.inference_mode()
    def _embed(self, images: Sequence[Pixels]) -> Tensor:
        pixels = self._processor(images=list(images), return_tensors="pt").to(self._model.device)
        found = self._model.get_image_features(**pixels)
        # transformers 4 returns the tensor, 5 an output that holds it
        embeddings: Tensor = getattr(found, "pooler_output", found)
        return embeddings
