"""EfficientNet-Lite0 as torch layers, and how a picture is brought to its size.

timm has it too, but takes some seconds and 150 MB for what it imports: too much for a worker that
is to replace another one soon. Lite is EfficientNet (Tan and Le, 2019) without squeeze-and-
excitation and with ReLU6; the numbers are those of the published weights, which TensorFlow trained.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import pad

from models.base import Pixels

SIDE: Final = 224
SHOWN: Final = 0.875
"""The part of the shorter side that the network sees."""
WIDTH: Final = 1280
CLASSES: Final = 1000

STEM: Final = 32
STAGES: Final = (  # blocks, kernel, stride of the first block, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def prepare(image: Pixels) -> Tensor:
    """The middle of a picture (uint8 RGB [height, width, 3]) as [3, 224, 224] in [-1, 1]."""
    height, width = image.shape[:2]
    side = SHOWN * min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    middle = Image.fromarray(image).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    return torch.from_numpy(np.array(middle)).permute(2, 0, 1).float() / 127.5 - 1


class EfficientNetLite0(nn.Module):
    """Its `state_dict` has the tensors of the published weights, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, STEM, kernel=3, stride=2)
        self.blocks = nn.Sequential(*_blocks())
        self.head = _convolution(STAGES[-1][-1], WIDTH)
        self.classifier = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of pictures [n, 3, 224, 224] the pooled features [n, 1280] and the classes' logits."""
        features = self.head(self.blocks(self.stem(images))).mean(dim=(2, 3))
        return features, self.classifier(features)


class Block(nn.Module):
    """Inverted residual: expand, filter each channel, project (Sandler et al., 2018)."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        self.layers = nn.Sequential(
            *([_convolution(before, inner)] if expansion > 1 else []),
            _convolution(inner, inner, kernel=kernel, stride=stride, groups=inner),
            _convolution(inner, after, linear=True),
        )
        self.residual = stride == 1 and before == after

    def forward(self, features: Tensor) -> Tensor:
        projected: Tensor = self.layers(features)
        return features + projected if self.residual else projected


class _Same(nn.Conv2d):
    """A strided convolution padded as TensorFlow does: the odd row and column come last."""

    def forward(self, features: Tensor) -> Tensor:
        total = self.kernel_size[0] - 2  # of an even size at stride 2
        first, last = total // 2, total - total // 2
        return super().forward(pad(features, (first, last, first, last)))


def _blocks() -> list[Block]:
    channels = [STEM, *(stage[-1] for stage in STAGES)]
    return [
        Block(after if again else before, after, kernel, 1 if again else stride, expansion)
        for (before, after), (count, kernel, stride, expansion, _) in zip(
            pairwise(channels), STAGES, strict=True
        )
        for again in range(count)
    ]


def _convolution(
    before: int,
    after: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    linear: bool = False,
) -> nn.Sequential:
    convolution = (
        nn.Conv2d(before, after, kernel, padding=kernel // 2, groups=groups, bias=False)
        if stride == 1
        else _Same(before, after, kernel, stride, groups=groups, bias=False)
    )
    norm = nn.BatchNorm2d(after, eps=1e-3)
    layers: OrderedDict[str, nn.Module] = OrderedDict(convolution=convolution, norm=norm)
    if not linear:
        layers["activation"] = nn.ReLU6(inplace=True)
    return nn.Sequential(layers)
