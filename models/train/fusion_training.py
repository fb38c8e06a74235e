"""How the network of `models.fusion` learns: conversations unrolled in time, on torch.

Every epoch sees the samples with other modalities left out (modality dropout: Neverova et al.,
2016), so that one network serves every pattern of what is there, and each expert also learns alone,
through the product that it alone would make with the prior (auxiliary unimodal losses).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from models.base import Floats, ModelError
from models.fusion import (
    CLASSES,
    EMOTIONS,
    SENTIMENTS,
    Layout,
    Network,
)
from models.train import fusion_steps
from models.train.fusion_steps import Steps, leave_out, shuffled
from models.train.fusion_unrolling import Batch, batches, unrolled

LONGEST_GRADIENT: Final = 1.0
Parameters = dict[str, Tensor]
Alter = Callable[[Steps, np.random.Generator], Steps]
"""What an epoch makes of the samples."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to train: `dropout` of vectors and places, `left_out` the share of a sample's modalities
    that it goes without, `alone` the weight of the experts' own losses, `emotions` and `sentiments`
    those of the two kinds of labels beside the score; `patience` epochs without gain end it."""

    seed: int = 0
    width: int = 32
    memory: int = 32
    prior_deviation: float = 0.7
    epochs: int = 40
    patience: int = 6
    batch: int = 256
    rate: float = 3e-3
    decay: float = 0.02
    dropout: float = 0.1
    left_out: float = 0.3
    alone: float = 0.3
    emotions: float = 0.5
    sentiments: float = 0.5


def initial(layout: Layout, seed: int) -> dict[str, Floats]:
    """Parameters to begin with; `shift` and `scale` are 0 and 1."""
    random = np.random.default_rng(seed)
    return {name: _initial(name, shape, random) for name, shape in layout.shapes().items()}


def _initial(name: str, shape: Sequence[int], random: np.random.Generator) -> Floats:
    part, _, kind = name.rpartition(".")
    if kind in ("weight", "missing"):
        spread = _SPREAD.get(part.rpartition(".")[2], 1.0)
        drawn = random.standard_normal(shape) * spread / np.sqrt(shape[0])
        return np.asarray(drawn, np.float32)
    return np.full(shape, _START.get(name, 1.0 if kind == "scale" else 0.0), np.float32)


_SPREAD: Final = {"judge": 0.3, "heed": 0.1, "before": 0.1, "residual": 0.1, "gate": 0.1}
_START: Final = {"decay": -4.0, "gate.bias": -1.0}


def loss(network: Network, batch: Batch, options: Options) -> Tensor:
    """Of a batch, per sample that counts 1."""
    fused, beliefs = unrolled(network, batch)
    tracks = len(fused.mean[0]) // len(batch.end)

    def each(values: Tensor) -> Tensor:
        """[sessions, steps, ..] as [steps, tracks * sessions, ..]."""
        return torch.cat([values.transpose(0, 1)] * tracks, dim=1)

    truth = Truth(each(batch.score), each(batch.emotions), each(batch.sentiment))
    heard = (batch.weight > 0).any(-1)
    counts = each(batch.counts * heard)
    whole = (counts * truth.loss(fused.mean, fused.precision, fused.logits, options)).sum()
    own = Truth(batch.score, batch.emotions, batch.sentiment)
    prior = network.layout.prior_deviation**-2
    for i, belief in enumerate(beliefs.values()):
        precision = belief.precision + prior
        mean = belief.precision * belief.mean / precision
        alone = own.loss(mean, precision, network.parameters["prior"] + belief.logits, options)
        here = batch.counts * (batch.weight[..., i] > 0)
        whole = whole + options.alone * tracks * (here * alone).sum()
    return whole / counts.sum().clamp(min=1e-6)


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of samples [..]: `score` or NaN, `emotions` [.., 7] or zeros, `sentiment`."""

    score: Tensor
    emotions: Tensor
    sentiment: Tensor

    def loss(self, mean: Tensor, precision: Tensor, logits: Tensor, options: Options) -> Tensor:
        """Negative log likelihoods [..], those of what is unknown 0."""
        known = ~torch.isnan(self.score)
        error = (self.score.nan_to_num() - mean) ** 2
        gaussian = known * (precision * error - torch.log(precision)) / 2
        likely = functional.log_softmax(logits[..., : len(EMOTIONS)], -1)
        emotions = -(self.emotions * likely).sum(-1)
        sentiments = functional.log_softmax(logits[..., len(EMOTIONS) :], -1)
        labelled = self.sentiment.clamp(min=0)
        said = -sentiments.gather(-1, labelled[..., None])[..., 0] * (self.sentiment >= 0)
        return gaussian + options.emotions * emotions + options.sentiments * said


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a network says of the speakers of n samples: `mean` and `precision` [n] of the sentiment
    and `logits` [n, CLASSES]; and what is true of them."""

    mean: Floats
    precision: Floats
    logits: Floats
    truth: Steps


@torch.no_grad()
def answers(layout: Layout, parameters: Mapping[str, Floats], steps: Steps) -> Answers:
    """Of the samples in their order."""
    network = Network(layout, {k: torch.from_numpy(v) for k, v in parameters.items()}, torch)
    mean, precision = (np.zeros(len(steps), np.float32) for _ in range(2))
    logits = np.zeros((len(steps), CLASSES), np.float32)
    for batch in batches(steps, 4096, None):
        fused, _ = unrolled(network, batch)
        rows, sessions = batch.rows.T, len(batch.rows)
        real = rows >= 0
        for into, said in (
            (mean, fused.mean),
            (precision, fused.precision),
            (logits, fused.logits),
        ):
            into[rows[real]] = said[:, :sessions][real].numpy()
    return Answers(mean, precision, logits, steps)


def joined(parts: Sequence[Answers]) -> Answers:
    """One after the other."""
    mean, precision, logits = (
        np.concatenate([getattr(p, name) for p in parts])
        for name in ("mean", "precision", "logits")
    )
    return Answers(mean, precision, logits, fusion_steps.joined([p.truth for p in parts]))


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """The network of the best epoch, which is `chosen`, and the losses of each."""

    layout: Layout
    parameters: dict[str, Floats]
    history: dict[str, list[float]]
    chosen: int


class Training:
    """A network on its way: one `epoch` after the other until it is `over`."""

    def __init__(
        self, learned: Steps, held_out: Steps | None, alter: Alter, options: Options
    ) -> None:
        torch.manual_seed(options.seed)
        dimensions = {m: v.shape[1] for m, v in learned.vectors.items()}
        self.layout = Layout(dimensions, options.width, options.memory, options.prior_deviation)
        self.learned, self.held_out, self.alter, self.options = learned, held_out, alter, options
        self.parameters = self._start()
        self.optimiser = torch.optim.AdamW(self._groups(), lr=options.rate)
        self.history: dict[str, list[float]] = {"learned": [], "held out": []}
        self.best = self.snapshot()

    @property
    def done(self) -> int:
        """Epochs."""
        return len(self.history["learned"])

    @property
    def chosen(self) -> int:
        """The best epoch on what was held out, counted from 1, or the last one."""
        losses = self.history["held out"]
        return 1 + int(np.argmin(losses)) if losses else self.done

    @property
    def over(self) -> bool:
        return self.done >= self.options.epochs or self.done - self.chosen >= self.options.patience

    def epoch(self) -> None:
        """Learns from every session once, and measures."""
        random = np.random.default_rng((self.options.seed, self.done))
        torch.manual_seed(1000 * self.options.seed + self.done)
        steps = leave_out(self.alter(self.learned, random), self.options.left_out, random)
        network = self._network(lambda x: functional.dropout(x, self.options.dropout))
        losses = []
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.rate * (1 - self.done / self.options.epochs)
        for batch in batches(shuffled(steps, random), self.options.batch, random):
            found = loss(network, batch, self.options)
            self.optimiser.zero_grad()
            found.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._learning(), LONGEST_GRADIENT)
            self.optimiser.step()
            losses.append(found.item())
        self.history["learned"].append(float(np.mean(losses)))
        if self.held_out is not None:
            self.history["held out"].append(self._held_out_loss(self.held_out))
        if self.chosen == self.done:
            self.best = self.snapshot()

    def fit(self) -> Fit:
        return Fit(self.layout, self.best, self.history, self.chosen)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What `resume` needs: tensors and JSON values."""
        tensors = {f"now.{name}": each.detach() for name, each in self.parameters.items()}
        tensors |= {f"best.{name}": torch.from_numpy(each) for name, each in self.best.items()}
        for number, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": each for name, each in moments.items()}
        return tensors, {"history": self.history, "options": asdict(self.options)}

    def resume(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Goes on from a state. Raises ModelError for that of another training."""
        if facts["options"] != asdict(self.options):
            raise ModelError("the training that was cut off had other options: delete its folder")
        self.history = facts["history"]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, each in tensors.items():
            part, _, rest = name.partition(".")
            if part == "now":
                self.parameters[rest].data.copy_(each)
            elif part == "best":
                self.best[rest] = each.numpy()
            else:
                number, _, kind = rest.partition(".")
                moments.setdefault(int(number), {})[kind] = each
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})

    def snapshot(self) -> dict[str, Floats]:
        return {name: p.detach().clone().numpy() for name, p in self.parameters.items()}

    def _held_out_loss(self, held_out: Steps) -> float:
        with torch.no_grad():
            network = self._network(lambda x: x)
            parts = [
                (loss(network, batch, self.options).item(), float(batch.counts.sum()))
                for batch in batches(held_out, 4 * self.options.batch, None)
            ]
        return sum(value * count for value, count in parts) / sum(count for _, count in parts)

    def _network(self, drop: Callable[[Tensor], Tensor]) -> Network:
        return Network(self.layout, self.parameters, torch, drop)

    def _start(self) -> Parameters:
        values = initial(self.layout, self.options.seed)
        for number, (modality, vectors) in enumerate(self.learned.vectors.items()):
            here = vectors[self.learned.weight[:, number] > 0]
            if len(here):
                values[f"{modality}.shift"] = here.mean(axis=0)
                values[f"{modality}.scale"] = here.std(axis=0) + 1e-3
        shares = self.learned.emotions.sum(axis=0) + 1
        sentiments = [(self.learned.sentiment == n).sum() + 1 for n in range(len(SENTIMENTS))]
        values["prior"] = np.log(
            np.concatenate([shares / shares.sum(), np.array(sentiments) / sum(sentiments)])
        ).astype(np.float32)
        assert len(values["prior"]) == CLASSES  # noqa: S101
        fixed = (".shift", ".scale")
        return {
            name: torch.from_numpy(value).requires_grad_(not name.endswith(fixed))
            for name, value in values.items()
        }

    def _learning(self) -> list[Tensor]:
        return [p for p in self.parameters.values() if p.requires_grad]

    def _groups(self) -> list[dict[str, Any]]:
        """Only matrices decay."""
        return [
            {
                "params": [p for p in self._learning() if p.ndim == 2],
                "weight_decay": self.options.decay,
            },
            {"params": [p for p in self._learning() if p.ndim != 2], "weight_decay": 0.0},
        ]


def trained(learned: Steps, held_out: Steps | None, alter: Alter, options: Options) -> Fit:
    """A whole training at once."""
    training = Training(learned, held_out, alter, options)
    while not training.over:
        training.epoch()
    return training.fit()
