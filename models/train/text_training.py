"""How the network of `models.affect` learns from sentences, epoch by epoch, phase by phase.

A batch holds sentences of like length from all corpora of the phase; each teaches the heads that
its corpus has labels for (multi-task learning: Caruana, 1997) and through them the adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

from models.affect import HEADS, AffectNet, Layout
from models.bert import Bert
from models.train import checkpoint
from models.train.text_batches import OUTPUTS, Batch, Texts, batches, joined

WARM_UP: Final = 0.06
"""Share of the steps in which the rate rises to its full height."""
LONGEST_GRADIENT: Final = 1.0
SMOOTHING: Final = 0.05
"""Share of MELD's labels that is given to all (label smoothing: Szegedy et al., 2016)."""
DEVIATION: Final = 0.25
"""Of the raters' mean score from what a text says: that of the scores' Gaussian."""
MEASURED: Final = 4096
"""Tokens of a batch that is only measured."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the training: `epochs` with a rate that rises to `rate` and then falls to nothing.

    A batch holds `tokens`; matrices `decay`. An epoch sees what is to be learned `often` times,
    and a `share`, drawn anew, of what was learned before.
    """

    name: str
    epochs: int
    rate: float
    tokens: int = 1024
    decay: float = 0.01
    often: int = 1
    share: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a phase learns, what it repeats of earlier phases, and what it is measured on: the
    epoch that is best there is kept. Without the latter it is the last one."""

    learned: Texts
    repeated: Texts | None = None
    held_out: Texts | None = None


class Training:
    """A network in one phase."""

    def __init__(self, bert: Bert, net: AffectNet, phase: Phase, material: Material) -> None:
        torch.manual_seed(phase.seed)
        self.bert, self.net, self.phase, self.material = bert, net, phase, material
        self.bert.network.requires_grad_(False)
        self.optimiser = AdamW(_parameters(net, phase.decay), lr=phase.rate)
        self.history: dict[str, list[float]] = {"learned": [], "held out": []}
        self.best = snapshot(net)

    @property
    def done(self) -> int:
        """Epochs."""
        return len(self.history["learned"])

    @property
    def chosen(self) -> int:
        """The epoch with the least loss on what was held out, counted from 1, or the last one."""
        losses = self.history["held out"]
        return 1 + int(np.argmin(losses)) if losses else self.done

    def run(self, folder: Path, epochs: int | None = None) -> None:
        """Learns for all of the phase's epochs or only these, and ends with the best one.

        It goes on from the checkpoint in `folder`, and leaves one after every epoch.
        """
        self.resume(folder)
        while self.done < (epochs or self.phase.epochs):
            self.epoch()
            self.keep(folder)
        self.net.load_state_dict(self.best)
        self.net.eval()

    def epoch(self) -> None:
        """Learns from every sentence, and measures."""
        random = np.random.default_rng((self.phase.seed, self.done))
        seen = list(batches(self._drawn(random), self.phase.tokens, random))
        self.net.train()
        told = track(
            seen,
            description=f"{self.phase.name}, epoch {self.done + 1} of {self.phase.epochs}",
            console=Console(stderr=True),
        )
        losses = []
        for number, batch in enumerate(told):
            self._set_rate((self.done + number / len(seen)) / self.phase.epochs)
            losses.append(self._learn(batch))
        self.history["learned"].append(float(np.mean(losses)))
        if self.material.held_out is not None:
            self.history["held out"].append(measured(self.bert, self.net, self.material.held_out))
        if self.chosen == self.done:
            self.best = snapshot(self.net)

    def _drawn(self, random: np.random.Generator) -> Texts:
        parts = [self.material.learned] * self.phase.often
        if (before := self.material.repeated) is not None:
            count = round(self.phase.share * len(before))
            parts.append(before.at(random.permutation(len(before))[:count]))
        return joined(parts)

    def _set_rate(self, done: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.phase.rate * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))

    def _learn(self, batch: Batch) -> float:
        vectors = self.net(self.bert.network, batch.ids, batch.mask)
        found = loss(self.net.layout, vectors, batch.targets)
        self.optimiser.zero_grad()
        found.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), LONGEST_GRADIENT)
        self.optimiser.step()
        return found.item()

    def keep(self, folder: Path) -> None:
        """Writes a checkpoint of everything that the next epochs depend on."""
        tensors = {
            **checkpoint.pack(self.net, self.optimiser),
            **{f"best.{name}": tensor for name, tensor in self.best.items()},
        }
        checkpoint.save(folder, tensors, {**self._kind(), "history": self.history})

    def resume(self, folder: Path) -> None:
        """Goes on from the checkpoint, if one is there of the same phase and as many sentences."""
        kept = checkpoint.load(folder)
        if kept is None or {name: kept[1].get(name) for name in self._kind()} != self._kind():
            return
        tensors, facts = kept
        checkpoint.unpack(tensors, self.net, self.optimiser)
        best = [name for name in tensors if name.startswith("best.")]
        self.best = {name.removeprefix("best."): tensors[name] for name in best}
        self.history = facts["history"]

    def _kind(self) -> dict[str, Any]:
        parts = (self.material.learned, self.material.repeated, self.material.held_out)
        return {"phase": asdict(self.phase), "texts": [len(part) if part else 0 for part in parts]}


def loss(layout: Layout, vectors: Tensor, targets: Tensor) -> Tensor:
    """Negative log likelihood, per sentence, of the labels in targets [n, outputs of all of
    `HEADS`] by vectors [n, dimension]; what is NaN does not count."""
    whole = vectors.new_zeros(())
    for name in layout.heads:
        wanted = targets[:, OUTPUTS.head(name)]
        known = ~wanted[:, 0].isnan()
        if known.any():
            whole = whole + _loss(name, vectors[known, layout.head(name)], wanted[known]).sum()
    return whole / len(vectors)


def _loss(name: str, outputs: Tensor, wanted: Tensor) -> Tensor:
    if name == "scored":
        return (outputs - wanted) ** 2 / (2 * DEVIATION**2)
    if name.startswith("meld"):
        return functional.cross_entropy(
            outputs, wanted, reduction="none", label_smoothing=SMOOTHING
        )
    return functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="none")


@torch.no_grad()
def measured(bert: Bert, net: AffectNet, sentences: Texts) -> float:
    """The loss per sentence of a network that does not learn from these."""
    net.eval()
    whole = 0.0
    for batch in batches(sentences, MEASURED):
        found = loss(net.layout, net(bert.network, batch.ids, batch.mask), batch.targets)
        whole += found.item() * len(batch.rows)
    return whole / len(sentences)


@torch.no_grad()
def vectors(bert: Bert, net: AffectNet, sentences: Texts) -> Tensor:
    """The vectors [n, dimension] of sentences, in their order."""
    net.eval()
    found = torch.zeros(len(sentences), net.layout.dimension)
    for batch in batches(sentences, MEASURED):
        found[batch.rows] = net(bert.network, batch.ids, batch.mask)
    return found


def widened(net: AffectNet, bert: Bert, heads: Sequence[str], seed: int) -> AffectNet:
    """A copy of the network that has also these heads, which know nothing yet."""
    torch.manual_seed(seed)
    names = [name for name in HEADS if name in {*net.layout.heads, *heads}]
    wider = AffectNet(bert.network, names, net.adapters.rank, net.dropout)
    state = net.state_dict()
    width = net.layout.width
    for kind in ("weight", "bias"):
        ours = wider.heads.state_dict()[kind].clone()
        for name in net.layout.heads:
            there, here = wider.layout.head(name), net.layout.head(name)
            theirs = state[f"heads.{kind}"][here.start - width : here.stop - width]
            ours[there.start - width : there.stop - width] = theirs
        state[f"heads.{kind}"] = ours
    wider.load_state_dict(state)
    return wider


def snapshot(net: nn.Module) -> dict[str, Tensor]:
    """A copy of its state."""
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def _parameters(net: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Matrices, which decay, and biases, which do not."""
    parameters = list(net.parameters())
    return [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]
