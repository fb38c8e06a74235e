"""Trains the common space of texts and pictures on photos with captions.

The encoders are those that serve, and stay as they are; one linear map for each is learned by
contrast (InfoNCE both ways: van den Oord et al., 2018; Radford et al., 2021, "CLIP"): in a batch, a
caption must find its photo and a photo its caption. The inputs are standardised, and many of their
numbers are left out at random, for there are few photos. The classes that the picture encoder knows
by name are learned beside them (`models.train.classes`).

A tenth of the photos, chosen by the hash of their bytes, is never learned from: on it depends which
epoch is kept, and what a cosine is worth. What is reported are others again: `RUNS` times 100 are
drawn, and measured with a model that was trained without them. It takes seconds, so that there is
nothing to go on from when it is cut off.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import log
from pathlib import Path
from typing import Final

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from safetensors.numpy import save
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, normalize

from models import registry
from models.align import (
    DESCRIPTION,
    IMAGE,
    MATCHING,
    TEXT,
    WEIGHTS,
    AlignModel,
    Calibration,
    Projection,
)
from models.base import Encoder, Floats, ModelError
from models.train import card, corpora, galleries, pairs, plots
from models.train.classes import Classes
from models.train.metrics import Figures, Integers, mean_and_spread, recall_at
from models.train.pairs import Pairs
from models.train.splits import fraction
from models.train.terms import TERMS

RUNS: Final = 5
FEWEST: Final = 60
"""Photos."""
PART: Final = 4
"""At most a fourth of the photos is drawn to be measured on."""
CURVE: Final = "learning-curve.png"
MEASURED: Final = ("recall_at", "recall_at_image_to_text", "matches")
"""What `galleries.measure` tells."""

Tensors = dict[str, Floats]
Encoders = Mapping[str, Encoder]


@dataclass(frozen=True, slots=True)
class Options:
    """How to train: `width` of the space, AdamW's `rate`, falling to 0, and `decay`, `dropout` of
    the inputs, the first `temperature` of the loss (it is learned), `held_out` the share of the
    photos that validates; `classes`: those that the picture encoder names are learned, too;
    `text_model` and `image_model` are the encoders' URIs."""

    width: int = 256
    epochs: int = 60
    batch: int = 128
    rate: float = 1e-3
    decay: float = 0.1
    dropout: float = 0.5
    temperature: float = 0.1
    held_out: float = 0.1
    classes: bool = True
    seed: int = 0
    threads: int = 1
    text_model: str = registry.TEXT
    image_model: str = registry.IMAGE


DEFAULTS: Final = Options()


@dataclass(frozen=True, slots=True)
class Fit:
    """The projections of the best epoch, and the recall on the photos held out after each epoch."""

    projections: dict[str, Projection]
    curve: list[dict[str, float]]


def train(
    data: Sequence[Path], out: Path, options: Options = DEFAULTS, cache: Path | None = None
) -> Figures:
    """Trains on the photos of these folders, each with a captions.json, writes the model's folder
    `out`, and returns the figures on photos that were not learned from.

    Raises ModelError where there are too few photos, or one cannot be read.
    """
    torch.set_num_threads(options.threads)
    photos = [photo for folder in data for photo in pairs.learned(folder)]
    if len(photos) < FEWEST:
        raise ModelError(f"{len(photos)} photos are too few: at least {FEWEST} are needed")
    text, image = pairs.load(options.text_model, options.image_model)
    encoders = {TEXT: text.encoder, IMAGE: image.encoder}
    every = pairs.encoded(photos, text, image, cache)
    trainer = Trainer(encoders, Classes.of(image, text) if options.classes else None, options)
    rest, held = apart(every, options.held_out)
    figures = unseen(every, rest, every.of(held), trainer)
    fit = trainer.fitted(every.of(rest), every.of(held))
    write(out, calibrated(fit.projections, every.of(held)), every, options)
    describe(out, [folder.resolve().name for folder in data], figures, fit)
    return figures


def apart(every: Pairs, share: float) -> tuple[Integers, Integers]:
    """Numbers of the photos to learn from, and of those that validate."""
    held = np.array([fraction(each) < share for each in every.hashes])
    return np.flatnonzero(~held), np.flatnonzero(held)


def unseen(every: Pairs, rest: Integers, held: Pairs, trainer: Trainer) -> Figures:
    """Figures on 100 photos, drawn from the `rest`, by a model that was trained without them: mean
    and spread over `RUNS`."""
    size, runs = min(galleries.GALLERY, len(rest) // PART), []
    for run in track(range(RUNS), description="unseen photos", console=Console(stderr=True)):
        order = np.random.default_rng(run).permutation(rest)
        fit = trainer.with_seed(run).fitted(every.of(order[size:]), held)
        model = calibrated(fit.projections, held)
        runs.append(galleries.measure(model, every.of(order[:size])))
    return {
        "photos": len(every),
        "held_out": len(held),
        "runs": RUNS,
        "gallery": size,
        **{name: mean_and_spread([each[name] for each in runs]) for name in MEASURED},
    }


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains maps for the vectors of these encoders, on photos and on `known` classes."""

    encoders: Encoders
    known: Classes | None
    options: Options

    def with_seed(self, seed: int) -> Trainer:
        return replace(self, options=replace(self.options, seed=seed))

    def fitted(self, learned: Pairs, held: Pairs) -> Fit:
        """Trains, and keeps the epoch that is best on the photos held out."""
        options = self.options
        torch.manual_seed(options.seed)
        if self.known:
            learned = self.known.beside(learned)
        maps = Maps(learned, options)
        optimiser = torch.optim.AdamW(maps.groups(options.decay), lr=options.rate)
        steps = options.epochs * max(1, len(learned) // options.batch)
        pace = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=steps)
        fit = Fit({}, [])
        for epoch in range(options.epochs):
            for captions, photos in batches(learned, options, epoch):
                loss = maps(captions, photos)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                pace.step()
            fit = better(fit, maps.projections(self.encoders), held)
        return fit


def better(fit: Fit, projections: dict[str, Projection], held: Pairs) -> Fit:
    """The fit after one more epoch with these projections, by the sum of the recalls."""
    model = AlignModel(projections, 0.0, "")
    cosines = galleries.similarities(model, held)
    recall = recall_at(galleries.ranks(cosines, held.owner)[0])
    best = max((sum(each.values()) for each in fit.curve), default=-1.0)
    kept = projections if sum(recall.values()) > best else fit.projections
    return Fit(kept, [*fit.curve, recall])


def batches(learned: Pairs, options: Options, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Every photo once, in random order, with one of its captions each; a rest is left out."""
    random = np.random.default_rng((options.seed, epoch))
    captions_of = learned.captions_of()
    order, size = random.permutation(len(learned)), min(options.batch, len(learned))
    for first in range(0, len(order) - size + 1, size):
        chosen = order[first : first + size]
        captions = [random.choice(captions_of[photo]) for photo in chosen]
        yield torch.from_numpy(learned.captions[captions]), torch.from_numpy(learned.photos[chosen])


class Maps(nn.Module):
    """Both maps and the temperature: captions and photos [n, dimension], pairs by place, to their
    loss."""

    def __init__(self, learned: Pairs, options: Options) -> None:
        super().__init__()
        self.text = Map(learned.captions, options)
        self.image = Map(learned.photos, options)
        self.sharpness = nn.Parameter(torch.tensor(-log(options.temperature)))

    def forward(self, captions: Tensor, photos: Tensor) -> Tensor:
        logits = self.sharpness.exp() * self.text(captions) @ self.image(photos).T
        true = torch.arange(len(logits))
        return cross_entropy(logits, true) + cross_entropy(logits.T, true)

    def groups(self, decay: float) -> list[dict[str, object]]:
        """The parameters for the optimiser: the temperature does not decay."""
        maps = [*self.text.parameters(), *self.image.parameters()]
        return [
            {"params": maps, "weight_decay": decay},
            {"params": [self.sharpness], "weight_decay": 0.0},
        ]

    def projections(self, encoders: Encoders) -> dict[str, Projection]:
        """What serves."""
        sides = {TEXT: self.text, IMAGE: self.image}
        return {name: Projection(encoders[name], *side.folded()) for name, side in sides.items()}


class Map(nn.Module):
    """One modality: vectors, standardised as those it is made with, to unit vectors [n, width]."""

    def __init__(self, vectors: Floats, options: Options) -> None:
        super().__init__()
        self.shift = torch.from_numpy(vectors.mean(axis=0))
        self.scale = torch.from_numpy(vectors.std(axis=0)) + 1e-4
        self.linear = nn.Linear(vectors.shape[1], options.width)
        self.dropout = options.dropout

    def forward(self, vectors: Tensor) -> Tensor:
        standard = dropout((vectors - self.shift) / self.scale, self.dropout)
        return normalize(self.linear(standard), dim=1)

    def folded(self) -> tuple[Floats, Floats]:
        """Weight [dimension, width], such as it is once it was stored in 16 bits, and bias, with
        the standardisation in them."""
        with torch.no_grad():
            weight = (self.linear.weight / self.scale).T.half().float()
            bias = self.linear.bias - self.shift @ weight
        return weight.contiguous().numpy(), bias.numpy()


def calibrated(projections: dict[str, Projection], held: Pairs) -> AlignModel:
    """The model, with what a cosine is worth: logistic regression on all pairs of the photos held
    out, weighted so that `MATCHING` of them match."""
    model = AlignModel(projections, 0.0, "")
    cosines = galleries.similarities(model, held)
    true = galleries.true_pairs(cosines, held.owner).ravel()
    platt = LogisticRegression(C=np.inf, solver="newton-cholesky")
    platt.fit(cosines.reshape(-1, 1), true, galleries.shares(true) * true.size)
    calibration = Calibration(float(platt.coef_[0, 0]), float(platt.intercept_[0]))
    return replace(model, threshold=calibration.threshold, calibration=calibration)


def write(out: Path, model: AlignModel, every: Pairs, options: Options) -> None:
    """The folder that `AlignModel.load` reads."""
    assert model.calibration is not None  # noqa: S101  (just made)
    tensors = {"calibration": np.array([model.calibration.slope, model.calibration.intercept])}
    for name, side in model.projections.items():
        assert side.weight is not None and side.bias is not None  # noqa: S101
        tensors |= {f"{name}.weight": side.weight.astype(np.float16), f"{name}.bias": side.bias}
    facts = {
        "encoders": {name: asdict(encoder) for name, encoder in model.encoders.items()},
        "options": asdict(options),
        "photos": " ".join(every.hashes),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / WEIGHTS).write_bytes(save(tensors))
    (out / DESCRIPTION).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def describe(out: Path, data: Sequence[str], figures: Figures, fit: Fit) -> None:
    """The learning curve and the model card."""
    lines = {f"recall at {k}": [each[k] for each in fit.curve] for k in fit.curve[0]}
    plots.curves(out / CURVE, "text to picture, photos held out", lines)
    names = [name if name in TERMS else "manifest" for name in data]
    unseen = f"{figures['gallery']} photos not learned from, {RUNS} times: mean and deviation"
    card.write(
        out,
        card.Card(
            title="Common space of texts and pictures",
            made_by=f"tenor train align --data DIR, which held {' and '.join(data)}",
            revision=registry.fingerprint(out),
            corpora=dict.fromkeys(names, "learned from, validated and measured on: photos apart"),
            tables={
                f"Recall at k, {unseen}": {way: figures[name] for name, way in WAYS.items()},
                f"Pairs above the threshold, {unseen}": {"text and picture": figures["matches"]},
            },
            pictures=[CURVE],
            limits=LIMITS,
            notes=NOTES.format(
                learned=figures["photos"] - figures["held_out"], held=figures["held_out"]
            ),
        ),
    )


WAYS: Final = {"recall_at": "text to picture", "recall_at_image_to_text": "picture to text"}
NOTES: Final = (
    "One linear map for each of two encoders that stay as they are. Learned from {learned} photos;"
    " {held} others chose the epoch, the threshold and the calibration. Beside the photos it"
    " learned the names of the classes that the picture encoder knows, each with the direction in"
    " which that class lies: not from their pictures. Every caption looks for its photo in the"
    " gallery, every photo for any of its captions among those of the gallery."
    f" Precision and calibration error are those of pairs of which {MATCHING:.0%} match,"
    " the others being captions of other photos; words of a conversation that are about no picture"
    " lie farther away. The shipped model differs from those measured in that it learned from these"
    " photos too."
)
LIMITS: Final = (
    "It knows what it saw: everyday photos of people, animals, sport, streets, food and rooms."
    " Damaged goods, documents and screenshots were not among them.",
    "It tells what a picture is about, not details: counts, colours, who does what to whom.",
    "English only.",
    "The captions describe; what people say about a picture that both see is often not about what"
    " is in it, and is then not found.",
)


def evaluate(
    folder: Path,
    split: str,
    model_folder: Path | None,
    *,
    text_model: str = registry.TEXT,
    image_model: str = registry.IMAGE,
    cache: Path | None = None,
) -> Figures:
    """Figures on the photos of a split in galleries of 100, by the code that serves; of those,
    `seen` took part in the training. Without a model's folder, the encoders share a space.

    Raises ModelError where the photos, the model or its encoders are not there.
    """
    found = corpora.photos(folder, split)
    text, image = pairs.load(text_model, image_model)
    model = _model(model_folder, text.encoder, image.encoder)
    photos = pairs.encoded(found, text, image, cache)
    known = trained_on(model_folder) if model_folder else frozenset()
    seen = sum(each in known for each in photos.hashes)
    note = {"note": "photos that were trained on are no unseen ones"} if seen else {}
    return {
        "dataset": folder.resolve().name,
        "split": split,
        "n": len(photos),
        "captions": len(photos.captions),
        "seen": seen,
        **note,
        **galleries.measure(model, photos),
        "threshold": round(model.threshold, 4),
        "model": model.revision,
    }


def trained_on(model_folder: Path) -> frozenset[str]:
    """Hashes of the photos that took part in a model's training."""
    facts = json.loads((model_folder / DESCRIPTION).read_bytes())
    return frozenset(str(facts.get("photos", "")).split())


def _model(folder: Path | None, text: Encoder, image: Encoder) -> AlignModel:
    if folder is None:
        return AlignModel.identity(text, image)
    model = AlignModel.load(folder)
    model.check(TEXT, text)
    model.check(IMAGE, image)
    return model
