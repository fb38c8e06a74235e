"""How the network of `models.expression` learns from faces, epoch by epoch.

The first blocks of EfficientNet-Lite0, as trained on ImageNet, go on learning. Against few faces
with doubtful labels every epoch shows them altered (`augmentation`) and mixed in pairs (mixup:
Zhang et al., 2018), labels are smoothed (Szegedy et al., 2016), blocks are skipped at random
(stochastic depth: Huang et al., 2016), and what counts is the running average of the weights. The
first epochs see the faces smaller, which is faster (progressive learning: Tan and Le, 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models import registry
from models.efficientnet import Block, EfficientNetLite0
from models.expression import SIDE, ExpressionNet, enlarge, scaled
from models.image import by_order
from models.train import checkpoint
from models.train.augmentation import altered, mixed

SMALL: Final = 80
"""Pixels of a face's side in the first epochs."""
WARM_UP: Final = 200
"""Steps in which the rate rises to its full height."""
LAST_RATE: Final = 0.01
"""Of the full rate, at the end of the cosine."""
LONGEST_GRADIENT: Final = 2.0
BLOCK: Final = 128


@dataclass(frozen=True, slots=True)
class Options:
    """How to train.

    `small` is the share of the epochs that see small faces, `decay` AdamW's of the weights,
    `dropout` the share of features left out, `skipped` that of the last block's runs, `mixup` the
    strength of mixing, `smoothing` the share of a label that is given to all emotions, `memory` of
    the running average per step, `fixed` the number of first blocks that stay as they are,
    `held_out` the share of the faces that is not learned from; `patience` epochs without gain on
    those end the training.
    """

    seed: int = 0
    epochs: int = 24
    small: float = 0.625
    batch: int = 48
    rate: float = 1e-3
    decay: float = 0.02
    dropout: float = 0.3
    skipped: float = 0.1
    mixup: float = 0.2
    smoothing: float = 0.1
    memory: float = 0.995
    fixed: int = 3
    held_out: float = 0.1
    patience: int = 6
    threads: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Prepared faces [n, 48, 48], uint8, and the shares [n, 7] of their emotions."""

    pixels: Tensor
    shares: Tensor

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All faces once in a random order; a last batch that is not full is left out."""
        order = torch.randperm(len(self.pixels))
        for chosen in torch.split(order, size)[: batches(len(order), size)]:
            yield self.pixels[chosen], self.shares[chosen]


class Training:
    """A network on its way: one `epoch` after the other until it is `over`."""

    def __init__(self, learned: Faces, held_out: Faces, options: Options) -> None:
        torch.manual_seed(options.seed)
        self.learned = learned
        self.held_out = held_out
        self.options = options
        self.network = start(options)
        average = get_ema_multi_avg_fn(options.memory)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self.optimiser = AdamW(_groups(self.network, options.decay))
        self.best: dict[str, Tensor] = {}
        self.history: dict[str, list[float]] = {"learned": [], "held out": [], "accuracy": []}

    @property
    def done(self) -> int:
        """Epochs."""
        return len(self.history["held out"])

    @property
    def small(self) -> int:
        """Epochs with small faces."""
        return int(self.options.epochs * self.options.small)

    @property
    def side(self) -> int:
        """Pixels of a face's side in the epoch to come."""
        return SMALL if self.done < self.small else SIDE

    @property
    def chosen(self) -> int:
        """The epoch with the least loss on the faces held out, of those with faces in full size;
        0 before there is one."""
        losses = self.history["held out"][self.small :]
        return self.small + 1 + int(np.argmin(losses)) if losses else 0

    @property
    def over(self) -> bool:
        waited = self.done - self.chosen if self.chosen else 0
        return self.done >= self.options.epochs or waited >= self.options.patience

    def epoch(self) -> None:
        """Learns from every face once, and measures."""
        size, side = self.options.batch, self.side
        count = batches(len(self.learned.pixels), size)
        learning(self.network, self.options.fixed)
        told = track(
            self.learned.batches(size),
            total=count,
            description=f"epoch {self.done + 1:2} of {self.options.epochs}",
            console=Console(stderr=True),
        )
        first, steps = self.done * count, self.options.epochs * count
        losses = [
            self._learn(pixels, shares, side, pace(step, steps))
            for step, (pixels, shares) in enumerate(told, first)
        ]
        self._measure(float(np.mean(losses)), side)

    def _learn(self, pixels: Tensor, shares: Tensor, side: int, rate: float) -> float:
        options = self.options
        seen, wanted = mixed(altered(scaled(pixels), side), shares, options.mixup)
        for group in self.optimiser.param_groups:
            group["lr"] = options.rate * rate
        _, found = self.network(seen.contiguous(memory_format=torch.channels_last))
        loss = cross_entropy(found, wanted, label_smoothing=options.smoothing)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), LONGEST_GRADIENT)
        self.optimiser.step()
        self.average.update_parameters(self.network)
        return loss.item()

    def _measure(self, loss: float, side: int) -> None:
        found, wanted = (
            logits(cast(ExpressionNet, self.average.module), self.held_out.pixels, side),
            self.held_out.shares,
        )
        right = found.argmax(dim=1) == wanted.argmax(dim=1)
        self.history["learned"].append(loss)
        self.history["held out"].append(cross_entropy(found, wanted).item())
        self.history["accuracy"].append(right.float().mean().item())
        if self.chosen == self.done:
            weights = self.average.module.state_dict()
            self.best = {name: tensor.clone() for name, tensor in weights.items()}

    def keep(self, folder: Path) -> None:
        """Writes a checkpoint of everything that the next epochs depend on."""
        tensors = {
            **checkpoint.pack(self.network, self.optimiser),
            **{f"average.{name}": tensor for name, tensor in self.average.state_dict().items()},
            **{f"best.{name}": tensor for name, tensor in self.best.items()},
        }
        checkpoint.save(folder, tensors, {**self._kind(), "history": self.history})

    def resume(self, folder: Path) -> None:
        """Goes on from the checkpoint, if one is there of the same options and as many faces."""
        kept = checkpoint.load(folder)
        if kept is None or {name: kept[1].get(name) for name in self._kind()} != self._kind():
            return
        tensors, facts = kept
        checkpoint.unpack(tensors, self.network, self.optimiser)
        self.average.load_state_dict(_under("average.", tensors))
        self.best = _under("best.", tensors)
        self.history = facts["history"]

    def _kind(self) -> dict[str, Any]:
        return {
            "options": asdict(self.options),
            "faces": [len(self.learned.pixels), len(self.held_out.pixels)],
        }


def start(options: Options) -> ExpressionNet:
    """The network with the weights of ImageNet and a head that knows nothing."""
    whole = EfficientNetLite0()
    whole.load_state_dict(by_order(registry.resolve(registry.IMAGE), whole.state_dict()))
    network = ExpressionNet(options.dropout)
    count = len(network.blocks)
    network.stem, network.blocks = whole.stem, whole.blocks[:count]
    nn.init.zeros_(network.head.weight)
    for number, block in enumerate(network.blocks, 1):
        if isinstance(block, Block) and block.residual:
            block.layers.register_forward_hook(skipping(options.skipped * number / count))
    return network.to(memory_format=torch.channels_last)


def learning(network: ExpressionNet, fixed: int) -> None:
    """Lets the network learn but for its first `fixed` blocks: edges and textures are the same in
    faces, and these blocks see the most pixels and take the most time."""
    network.train()
    for layer in (network.stem, *network.blocks[:fixed]):
        layer.eval()
        layer.requires_grad_(False)


def skipping(share: float) -> Callable[[nn.Module, object, Tensor], Tensor]:
    """A hook after a block's layers: in training they add nothing to that share of the faces."""

    def hook(layers: nn.Module, _: object, added: Tensor) -> Tensor:
        if not layers.training:
            return added
        kept = torch.rand(len(added), 1, 1, 1) >= share
        return added * kept / (1 - share)

    return hook


def pace(step: int, steps: int) -> float:
    """The share of the full rate: a short rise, then half a cosine."""
    falling = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * step / steps)) / 2
    return min(1.0, (step + 1) / WARM_UP) * falling


def batches(count: int, size: int) -> int:
    """Full batches; one that is not full if there is no other."""
    return max(1, count // size)


@torch.inference_mode()
def logits(network: ExpressionNet, pixels: Tensor, side: int = SIDE) -> Tensor:
    """Logits [n, 7] of prepared faces [n, 48, 48]."""
    network.eval()
    blocks = torch.split(pixels, BLOCK)
    return torch.cat([network.both_ways(enlarge(block, side))[1] for block in blocks])


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weights, which decay, and biases and norms, which do not."""
    parameters = list(network.parameters())
    return [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
