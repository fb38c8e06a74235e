"""What a face expresses: seven emotions with calibrated probabilities, and a feature vector.

The network is the first blocks of EfficientNet-Lite0 with a head of its own, trained by
`models.train.face` on FER2013 (Goodfellow et al., 2013). Those faces are 48 x 48 grey pixels with
an equalised histogram, cut as OpenCV's cascade cuts them: so any face is brought to that form.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models import registry
from models.base import Encoder, Floats, ModelError, Pixels
from models.efficientnet import STAGES, EfficientNetLite0
from models.fusion import EMOTIONS

SEEN: Final = 48
"""Pixels of a face's side that the network is shown."""
SIDE: Final = 112
"""Pixels that they are spread over, since EfficientNet halves a picture's size five times."""
GLARE: Final = 248
"""From this grey on everything is white: equalising would make a pattern of its noise."""
STAGES_USED: Final = 6
BLOCKS: Final = sum(stage[0] for stage in STAGES[:STAGES_USED])
WIDTH: Final = STAGES[STAGES_USED - 1][-1]
"""Features of a face."""
WEIGHTS: Final = "model.safetensors"
DESCRIPTION: Final = "model.json"
DIMENSION: Final = WIDTH + len(EMOTIONS)
"""Of the vector that stands for a face: its features, then the logarithms of the probabilities."""


class ExpressionNet(nn.Module):
    """Faces to features and logits; `dropout` is the share of features left out in training."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        whole = EfficientNetLite0()
        self.stem = whole.stem
        self.blocks = whole.blocks[:BLOCKS]
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(WIDTH, len(EMOTIONS))

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Of faces [n, 1, SIDE, SIDE] in [-1, 1] the features [n, WIDTH] and logits [n, 7]."""
        features = self.blocks(self.stem(faces.expand(-1, 3, -1, -1))).mean(dim=(2, 3))
        return features, self.head(self.dropout(features))

    def both_ways(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """The means of what the faces and their mirror images give: a face is as glad in a mirror,
        and the network errs less in the mean of both."""
        count = len(faces)
        features, logits = self(torch.cat([faces, faces.flip(3)]))
        return (features[:count] + features[count:]) / 2, (logits[:count] + logits[count:]) / 2


class ExpressionRecognizer:
    """The trained network in a folder with model.safetensors and model.json.

    Raises ModelError where the folder holds none.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        network = ExpressionNet()
        try:
            facts: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            if tuple(facts["emotions"]) != EMOTIONS:
                raise ValueError(f"emotions {facts['emotions']}, expected {EMOTIONS}")
            self._temperature = float(facts["temperature"])
            network.load_state_dict(load_file(folder / WEIGHTS))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"no usable expression model in {folder} ({error}); make one with tenor train face"
            ) from error
        self._network = network.eval().to(device).to(memory_format=torch.channels_last)
        self._device = device
        self.encoder = Encoder("expression", registry.fingerprint(folder), DIMENSION)

    @torch.inference_mode()
    def look(self, faces: Sequence[Pixels]) -> tuple[Floats, Floats]:
        """Vectors [n, dimension] and the probabilities [n, 7] of `fusion.EMOTIONS`.

        A vector is the network's features [WIDTH] and then the probabilities' logarithms [7]. A
        face is uint8, grey [height, width] or RGB [height, width, 3], of any size. That it is one
        is taken for granted: of something else the probabilities say nothing.
        """
        if not faces:
            return np.zeros((0, DIMENSION), np.float32), np.zeros((0, len(EMOTIONS)), np.float32)
        batch = torch.from_numpy(np.stack([prepare(face) for face in faces]))
        features, logits = self._network.both_ways(enlarge(batch.to(self._device)))
        shares = torch.log_softmax(logits / self._temperature, dim=1)
        return torch.cat([features, shares], dim=1).cpu().numpy(), shares.exp().cpu().numpy()


def prepare(face: Pixels) -> Pixels:
    """A face of any size in the form of FER2013: uint8 [48, 48], grey, equalised."""
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) if face.ndim == 3 else face
    shrinks = min(grey.shape) > SEEN
    small = cv2.resize(
        grey, (SEEN, SEEN), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    return np.asarray(cv2.equalizeHist(np.minimum(small, GLARE)), dtype=np.uint8)


def enlarge(faces: Tensor, side: int = SIDE) -> Tensor:
    """Prepared faces [n, 48, 48], uint8, as the network takes them: [n, 1, side, side]."""
    return interpolate(scaled(faces), size=(side, side), mode="bilinear", align_corners=False)


def scaled(faces: Tensor) -> Tensor:
    """Pixels [n, 48, 48] of 0 to 255 as [n, 1, 48, 48] of -1 to 1."""
    return faces[:, None].float() / 127.5 - 1
