"""Networks that transformers reads from a folder, where nothing lighter does.

Those of a CLIP (Radford et al., 2021) or SigLIP (Zhai et al., 2023) bring texts and pictures into
one space.

Importing transformers takes some seconds and 200 MB: nothing else here imports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import logging

from models import registry
from models.base import Encoder, Floats, Label, ModelError, Pixels
from models.expression import ExpressionRecognizer
from models.image import Recognizer

logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a log is no terminal

_BATCH = 32
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


class TowerTextEncoder:
    """The text side of a CLIP or SigLIP in a folder of transformers: `base.TextEncoder`.

    Its vectors are in the space of those of `TowerRecognizer`, from the same folder. Each text is
    padded to the length that the network was trained with, as SigLIP must be.
    """

    def __init__(self, folder: Path, name: str, *, device: str = "cpu") -> None:
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model: Any = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
            )
            self.encoder = encoder_of(folder, name)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{folder} holds no model of transformers: {error}") from error
        self._model.eval().to(device)
        self._tokens: int = self._model.config.text_config.max_position_embeddings

    def encode(self, texts: Sequence[str]) -> Floats:
        """Unit vectors [n, dimension] in the order of `texts`."""
        vectors = np.zeros((len(texts), self.encoder.dimension), np.float32)
        for first in range(0, len(texts), _BATCH):
            batch = list(texts[first : first + _BATCH])
            vectors[first : first + _BATCH] = self._encode(batch)
        return vectors

    @torch.inference_mode()
    def _encode(self, texts: list[str]) -> Floats:
        tokens = self._tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=self._tokens,
            return_tensors="pt",
        ).to(self._model.device)
        found = _embeddings(self._model.get_text_features(**tokens))
        return np.asarray(normalize(found, dim=1).cpu().numpy(), dtype=np.float32)


class TowerRecognizer(Recognizer):
    """The image side of a CLIP or SigLIP in a folder of transformers; it names no classes."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        device: str = "cpu",
        expressions: ExpressionRecognizer | None = None,
    ) -> None:
        super().__init__(expressions)
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
        self.encoder = encoder_of(folder, name)

    def _look(self, images: Sequence[Pixels]) -> tuple[Tensor, list[tuple[Label, ...]]]:
        return self._embed(images), [() for _ in images]

    @torch.inference_mode()
    def _embed(self, images: Sequence[Pixels]) -> Tensor:
        pixels = self._processor(images=list(images), return_tensors="pt").to(self._model.device)
        return _embeddings(self._model.get_image_features(**pixels))


def encoder_of(folder: Path, name: str) -> Encoder:
    """Who both sides of a CLIP or SigLIP say they are, as they share a space.

    Raises ModelError if the folder holds neither.
    """
    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
        width = getattr(config, "projection_dim", None) or config.vision_config.hidden_size
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder} holds no CLIP or SigLIP: {error}") from error
    return Encoder(name, registry.fingerprint(folder), width)


def _embeddings(found: Any) -> Tensor:  # noqa: ANN401
    """What transformers 4 returns as a tensor, and 5 in an output that holds it."""
    embeddings: Tensor = getattr(found, "pooler_output", found)
    return embeddings
