"""The experts of `models.fusion` as torch modules: how one is trained.

Sentiment is learned through what is served: the loss is the likelihood of the *posterior*, expert
times prior, so an expert that knows nothing learns a precision of zero rather than to repeat the
prior. Emotions are learned by cross-entropy with soft targets.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.base import Encoder, Floats
from models.fusion import EMOTIONS, LOG_VARIANCE, OUTLIER, Expert

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled features: `scores` -1 to 1 or NaN where unknown; `emotions` [n, 7], each row adding
    up to 1, or to 0 where unknown; `weights` [n] how much an example counts, 1 on average;
    `groups` [n] the speaker or the set that it is from."""

    vectors: Floats
    scores: Floats
    emotions: Floats
    weights: Floats
    groups: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.vectors)

    def at(self, rows: Rows | npt.NDArray[np.bool_]) -> Examples:
        return Examples(
            self.vectors[rows],
            self.scores[rows],
            self.emotions[rows],
            self.weights[rows],
            self.groups[rows],
        )


@dataclass(frozen=True, slots=True)
class Options:
    """How a head is trained; `epochs` is the most, `patience` how many without gain end it."""

    width: int
    dropout: float
    weight_decay: float
    learning_rate: float = 1e-3
    batch: int = 256
    epochs: int = 60
    patience: int = 6
    emotion_weight: float = 0.5
    prior_deviation: float = 0.4
    seed: int = 0


class Head(nn.Module):
    """`fusion.Expert` with gradients: [n, dimension] to [n, 2 + 7]."""

    shift: Tensor
    scale: Tensor

    def __init__(self, vectors: Floats, options: Options) -> None:
        super().__init__()
        self.register_buffer("shift", torch.from_numpy(vectors.mean(axis=0)))
        self.register_buffer("scale", torch.from_numpy(vectors.std(axis=0) + 1e-6))
        self.hidden = nn.Linear(vectors.shape[1], options.width)
        self.output = nn.Linear(options.width, 2 + len(EMOTIONS))
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        standard = ((vectors - self.shift) / self.scale).clamp(-OUTLIER, OUTLIER)
        hidden = torch.tanh(self.hidden(self.dropout(standard)))
        result: Tensor = self.output(self.dropout(hidden))
        return result


def sentiment_loss(output: Tensor, scores: Tensor, prior_deviation: float) -> Tensor:
    """Negative log likelihood [n] of the scores under the posterior, less a constant; or 0."""
    known = ~torch.isnan(scores)
    precision = torch.exp(-output[:, 1].clamp(*LOG_VARIANCE))
    total = precision + prior_deviation**-2
    mean = precision * torch.tanh(output[:, 0]) / total
    return known * (total * (scores.nan_to_num() - mean) ** 2 - torch.log(total)) / 2


def emotion_loss(output: Tensor, emotions: Tensor) -> Tensor:
    """Cross-entropy [n] of soft targets; 0 where there are none."""
    return functional.cross_entropy(output[:, 2:], emotions, reduction="none")


def fit(train: Examples, validation: Examples | None, options: Options) -> Head:
    """A head trained on `train`: the epoch best on `validation`, or the last where that is None."""
    torch.manual_seed(options.seed)
    head = Head(train.vectors, options)
    optimiser = torch.optim.AdamW(
        head.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
    )
    best, state, waited = float("inf"), copy.deepcopy(head.state_dict()), 0
    for epoch in range(options.epochs):
        _epoch(head, optimiser, train, options, epoch)
        if validation is None:
            continue
        now = _loss(head.eval(), validation, options).item()
        if now < best:
            best, state, waited = now, copy.deepcopy(head.state_dict()), 0
        else:
            waited += 1
        if waited == options.patience:
            break
    if validation is not None:
        head.load_state_dict(state)
    return head.eval()


def expert(
    head: Head, encoder: Encoder, train: Examples, *, full_s: float, least_s: float
) -> Expert:
    """The trained head as it is served; its trust and sharpness are 1 until calibrated."""
    arrays = {name: value.numpy().copy() for name, value in head.state_dict().items()}
    return Expert(
        encoder=encoder,
        shift=arrays["shift"],
        scale=arrays["scale"],
        hidden=arrays["hidden.weight"],
        hidden_bias=arrays["hidden.bias"],
        output=arrays["output.weight"],
        output_bias=arrays["output.bias"],
        emotion_prior=emotion_shares(train),
        trust=1.0,
        sharpness=1.0,
        full_s=full_s,
        least_s=least_s,
    )


def emotion_shares(examples: Examples) -> Floats:
    """How often each emotion occurs, by weight, [7], adding up to 1; to 0 where none is known."""
    counts = examples.weights @ examples.emotions
    shares: Floats = (counts / max(float(counts.sum()), 1e-9)).astype(np.float32)
    return shares


def _epoch(
    head: Head, optimiser: torch.optim.Optimizer, train: Examples, options: Options, epoch: int
) -> None:
    head.train()
    for rows in _batches(len(train), options, epoch):
        optimiser.zero_grad()
        _loss(head, train.at(rows), options).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _batches(count: int, options: Options, epoch: int) -> Iterator[Rows]:
    order = np.random.default_rng((options.seed, epoch)).permutation(count)
    for start in range(0, count, options.batch):
        yield order[start : start + options.batch]


def _loss(head: Head, examples: Examples, options: Options) -> Tensor:
    output = head(torch.from_numpy(examples.vectors))
    losses = sentiment_loss(output, torch.from_numpy(examples.scores), options.prior_deviation)
    losses = losses + options.emotion_weight * emotion_loss(
        output, torch.from_numpy(examples.emotions)
    )
    return (torch.from_numpy(examples.weights) * losses).mean()
