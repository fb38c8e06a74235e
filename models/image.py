"""Pictures to an embedding, labels and faces.

EfficientNet-Lite0, trained on ImageNet, gives an embedding and labels. `models.towers` has others.

EfficientNet: Tan and Le, 2019; Lite is its variant without squeeze-and-excitation.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from models import efficientnet, registry
from models.base import Encoder, ImageContent, Label, ModelError, Pixels
from models.face import FaceDetector

_LABELS = 5
_BATCH = 16
NAMES = Path(__file__).parent / "weights" / "imagenet_labels.txt"
"""Of ImageNet's classes, in their order: the first synonym of each synset (WordNet 3.0)."""


class Recognizer(ABC):
    """What all kinds share: batches, faces, the way from arrays to `ImageContent`."""

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


class EfficientNetRecognizer(Recognizer):
    """EfficientNet-Lite0: the pooled features [1280] and the five likeliest ImageNet classes."""

    def __init__(self, weights: Path, name: str, *, device: str = "cpu") -> None:
        super().__init__()
        self._model = efficientnet.EfficientNetLite0()
        self._model.load_state_dict(_by_order(weights, self._model.state_dict()))
        self._model.eval().to(device)
        self._device = device
        self._names = NAMES.read_text(encoding="utf-8").splitlines()
        self.encoder = Encoder(name, registry.fingerprint(weights), efficientnet.WIDTH)

    def _look(self, images: Sequence[Pixels]) -> tuple[Tensor, list[tuple[Label, ...]]]:
        batch = torch.stack([efficientnet.prepare(image) for image in images])
        embeddings, logits = self._model(batch.to(self._device))
        probabilities = torch.softmax(logits, dim=1)
        values, classes = (top.tolist() for top in probabilities.topk(_LABELS, dim=1))
        labels = [
            tuple(Label(self._names[c], p) for c, p in zip(best, value, strict=True))
            for best, value in zip(classes, values, strict=True)
        ]
        return embeddings, labels


def _by_order(weights: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors under our names: the layers have the same order, not the same names."""
    try:
        state = torch.load(weights, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ModelError(f"{weights} is not a file of weights: {error}") from error
    shapes, expected = ([t.shape for t in d.values()] for d in (state, wanted))
    if shapes != expected:
        raise ModelError(f"{weights} does not hold EfficientNet-Lite0: its shapes differ")
    return dict(zip(wanted, state.values(), strict=True))
