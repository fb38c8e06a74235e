"""Pictures to an embedding, labels and faces.

EfficientNet-Lite0, trained on ImageNet, gives an embedding and labels; the image tower of a CLIP or
SigLIP gives an embedding that lies in one space with text, and no labels.

EfficientNet: Tan and Le, 2019; Lite is its variant without squeeze-and-excitation.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.imagenet_info import ImageNetInfo
from timm.data.transforms_factory import create_transform
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from models import registry
from models.base import Encoder, ImageContent, ImageRecognizer, Label, ModelError, Pixels
from models.face import FaceDetector

_LABELS = 5
_CLASSES = 1000
_EMBEDDING = 1280
_BATCH = 16

# transformers and timm leave these without types
_processors: Any = AutoImageProcessor
_data_config: Any = resolve_model_data_config


def load(path: Path, name: str, *, device: str = "cpu") -> ImageRecognizer:
    """EfficientNet-Lite0 for a file of weights, a tower of transformers for a folder."""
    kind = EfficientNetRecognizer if path.is_file() else TowerRecognizer
    return kind(path, name, device=device)


class _Recognizer(ABC):
    """What both kinds share: batches, faces, the way from arrays to `ImageContent`."""

    encoder: Encoder

    def __init__(self) -> None:
        self._faces = FaceDetector()

    def recognize(self, images: Sequence[Pixels]) -> list[ImageContent]:
        """One content per picture (uint8 RGB [height, width, 3]), in order."""
        return [
            content
            for first in range(0, len(images), _BATCH)
            for content in self._recognize(images[first : first + _BATCH])
        ]

    @torch.inference_mode()
    def _recognize(self, images: Sequence[Pixels]) -> list[ImageContent]:
        embeddings, labels = self._look(images)
        vectors = normalize(embeddings.float(), dim=1).cpu().numpy()
        return [
            ImageContent(np.asarray(vector, dtype=np.float32), named, self._faces.detect(image))
            for vector, named, image in zip(vectors, labels, images, strict=True)
        ]

    @abstractmethod
    def _look(self, images: Sequence[Pixels]) -> tuple[Tensor, list[tuple[Label, ...]]]:
        """Embeddings [n, dimension], of any length, and the labels of every picture."""


class EfficientNetRecognizer(_Recognizer):
    """EfficientNet-Lite0: the pooled features [1280] and the five likeliest ImageNet classes."""

    def __init__(self, weights: Path, name: str, *, device: str = "cpu") -> None:
        super().__init__()
        self._model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        self._model.load_state_dict(_by_order(weights, self._model.state_dict()))
        self._model.eval().to(device)
        self._device = device
        self._transform: Any = create_transform(**_data_config(self._model))
        self._names = _class_names()
        self.encoder = Encoder(name, registry.fingerprint(weights), _EMBEDDING)

    def _look(self, images: Sequence[Pixels]) -> tuple[Tensor, list[tuple[Label, ...]]]:
        batch = torch.stack([self._transform(Image.fromarray(image)) for image in images])
        features = self._model.forward_features(batch.to(self._device))
        embeddings = self._model.forward_head(features, pre_logits=True)
        probabilities = torch.softmax(self._model.classifier(embeddings), dim=1)
        values, classes = (top.tolist() for top in probabilities.topk(_LABELS, dim=1))
        labels = [
            tuple(Label(self._names[c], p) for c, p in zip(best, value, strict=True))
            for best, value in zip(classes, values, strict=True)
        ]
        return embeddings, labels


class TowerRecognizer(_Recognizer):
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


def _by_order(weights: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors under timm's names: the layers have the same order, not the same names."""
    try:
        state = torch.load(weights, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ModelError(f"{weights} is not a file of weights: {error}") from error
    shapes, expected = ([t.shape for t in d.values()] for d in (state, wanted))
    if shapes != expected:
        raise ModelError(f"{weights} does not hold EfficientNet-Lite0: its shapes differ")
    return dict(zip(wanted, state.values(), strict=True))


def _class_names() -> list[str]:
    info = ImageNetInfo()
    return [info.index_to_description(i).split(",")[0] for i in range(_CLASSES)]
