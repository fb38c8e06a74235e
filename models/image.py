"""Pictures to an embedding, labels, and faces with what they express.

EfficientNet-Lite0, trained on ImageNet, gives an embedding and labels. `models.towers` has others.

EfficientNet: Tan and Le, 2019; Lite is its variant without squeeze-and-excitation.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from models import efficientnet, registry
from models.base import Encoder, Face, Floats, ImageContent, Label, ModelError, Pixels
from models.expression import ExpressionRecognizer
from models.face import FaceDetector
from models.fusion import EMOTIONS

_LABELS = 5
_BATCH = 16
READ_FACES = 8
"""Of how many faces of a picture the expression is read: a crowd must not hold up the others."""
NAMES = Path(__file__).parent / "weights" / "imagenet_labels.txt"
"""Of ImageNet's classes, in their order: the first synonym of each synset (WordNet 3.0)."""

Found = tuple[Pixels, tuple[Face, ...]]
"""A picture and the faces found in it."""


class Recognizer(ABC):
    """What all kinds share: batches, faces, the way from arrays to `ImageContent`.

    `expressions` reads the largest faces of a picture; without it they are only found.
    """

    encoder: Encoder

    def __init__(self, expressions: ExpressionRecognizer | None) -> None:
        self._faces = FaceDetector()
        self._expressions = expressions
        self.face_encoder = expressions.encoder if expressions else None

    def recognize(self, images: Sequence[Pixels]) -> list[ImageContent]:
        """One content per picture (uint8 RGB [height, width, 3]), in order."""
        return self.describe([(image, self.find(image)) for image in images])

    def find(self, image: Pixels) -> tuple[Face, ...]:
        """Its faces, largest first; what they express is not yet read. One thread at a time."""
        return self._faces.detect(image)

    def describe(self, images: Sequence[Found]) -> list[ImageContent]:
        """One content per picture with its faces, in order."""
        return [
            content
            for first in range(0, len(images), _BATCH)
            for content in self._describe(images[first : first + _BATCH])
        ]

    @torch.inference_mode()
    def _describe(self, images: Sequence[Found]) -> list[ImageContent]:
        embeddings, labels = self._look([image for image, _ in images])
        vectors = normalize(embeddings.float(), dim=1).cpu().numpy()
        return [
            ImageContent(np.asarray(vector, dtype=np.float32), named, faces)
            for vector, named, faces in zip(vectors, labels, self._read(images), strict=True)
        ]

    def _read(self, images: Sequence[Found]) -> list[tuple[Face, ...]]:
        """All faces of each picture, the `READ_FACES` largest with what they express: the network
        reads those of all pictures together."""
        if self._expressions is None:
            return [faces for _, faces in images]
        chosen = [(image, face) for image, faces in images for face in faces[:READ_FACES]]
        looked = zip(*self._expressions.look([face_pixels(*each) for each in chosen]), strict=True)
        read = (
            replace(face, expression=_expression(likely), embedding=vector)
            for (_, face), (vector, likely) in zip(chosen, looked, strict=True)
        )
        return [
            (*islice(read, len(faces[:READ_FACES])), *faces[READ_FACES:]) for _, faces in images
        ]

    @abstractmethod
    def _look(self, images: Sequence[Pixels]) -> tuple[Tensor, list[tuple[Label, ...]]]:
        """Embeddings [n, dimension], of any length, and the labels of every picture."""


class EfficientNetRecognizer(Recognizer):
    """EfficientNet-Lite0: the pooled features [1280] and the five likeliest ImageNet classes."""

    def __init__(
        self,
        weights: Path,
        name: str,
        *,
        device: str = "cpu",
        expressions: ExpressionRecognizer | None = None,
    ) -> None:
        super().__init__(expressions)
        self._model = efficientnet.EfficientNetLite0()
        self._model.load_state_dict(by_order(weights, self._model.state_dict()))
        self._model.eval().to(device)
        self._device = device
        self._names = NAMES.read_text(encoding="utf-8").splitlines()
        self.encoder = Encoder(name, registry.fingerprint(weights), efficientnet.WIDTH)

    def classes(self) -> tuple[Sequence[str], Floats]:
        """ImageNet's classes by name, and the directions [1000, 1280] in which their pictures lie:
        the rows of the last layer."""
        rows = self._model.classifier.weight.detach()
        return self._names, np.asarray(rows.cpu().numpy(), np.float32)

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


def face_pixels(image: Pixels, face: Face) -> Pixels:
    """What is in the face's box: FER2013's faces were cut by the same cascade, without a margin."""
    height, width = image.shape[:2]
    left, top = round(face.x * width), round(face.y * height)
    right, bottom = round((face.x + face.width) * width), round((face.y + face.height) * height)
    return image[top : max(bottom, top + 1), left : max(right, left + 1)]


def _expression(probabilities: Floats) -> tuple[Label, ...]:
    """The emotions by name, likeliest first."""
    order = np.argsort(-probabilities, kind="stable")
    return tuple(Label(EMOTIONS[n], float(probabilities[n])) for n in order)


def by_order(weights: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """EfficientNet-Lite0's tensors in a .pth file under our names, `wanted`: the layers have the
    same order, not the same names. Raises ModelError."""
    try:
        state = torch.load(weights, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ModelError(f"{weights} is not a file of weights: {error}") from error
    shapes, expected = ([t.shape for t in d.values()] for d in (state, wanted))
    if shapes != expected:
        raise ModelError(f"{weights} does not hold EfficientNet-Lite0: its shapes differ")
    return dict(zip(wanted, state.values(), strict=True))
