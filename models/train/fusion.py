"""Trains `models.fusion`, tells how sure it may be, and writes what serves.

What it learns from is a matter of the recipe (`fusion_recipes`), how of `fusion_training`. Several
seeds tell how much is chance: figures are their mean and spread, and the first one is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.numpy import save

from models import registry
from models.fusion import (
    CLASSES,
    EMOTIONS,
    SENTIMENTS,
    UNCALIBRATED,
    Calibration,
    FusionModel,
)
from models.train import card, checkpoint, metrics, plots, ready_made
from models.train import fusion_calibration as calibrating
from models.train import fusion_training as training
from models.train.card import Card
from models.train.fusion_recipes import MOSI_READ, Patterns, Recipe, Sources, available, recipe
from models.train.fusion_steps import UNKNOWN
from models.train.fusion_training import Fit, Training
from models.train.metrics import Figures

OF_MOSI: Final = training.Options(
    prior_deviation=0.5, epochs=15, patience=15, rate=2e-3, dropout=0.3
)
"""Scores of CMU-MOSI are finer, and there is nothing to choose the epoch by."""


@dataclass(frozen=True, slots=True)
class Options:
    """`seeds` networks from `seed` on; `datasets`, or else all that there are, with `free` only the
    freely usable; `text`, `voice` and `face` name the encoders by URI."""

    seed: int = 0
    seeds: int = 1
    datasets: tuple[str, ...] = ()
    free: bool = False
    text: str = registry.AFFECT
    voice: str = registry.VOICE
    face: str = registry.EXPRESSION
    threads: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A network with its calibration, cuts and thresholds, and what it says of unseen samples."""

    fit: Fit
    calibration: dict[str, Calibration]
    cuts: tuple[float, float]
    thresholds: dict[str, float]
    said: Patterns

    def figures(self) -> Figures:
        """By pattern."""
        return {
            name: calibrating.figures(each, self.calibration[name])
            for name, each in self.said.items()
        }


DEFAULTS: Final = Options()


def train(data: Path, out: Path, options: Options = DEFAULTS, cache: Path | None = None) -> Figures:
    """Trains on the corpora, or one's own recordings, in `data`; writes the model's folder `out`.

    Returns figures on samples that were not learned from, by pattern of modalities. A run that was
    cut off goes on after its last epoch. Raises ModelError where data or encoders are missing.
    """
    torch.set_num_threads(options.threads)  # with one, sums are always in the same order
    datasets = options.datasets or available(data, free=options.free)
    sources = Sources(options.text, options.voice, options.face)
    made = recipe(data, datasets, sources, cache)
    usual = OF_MOSI if {"mosi", MOSI_READ} & set(datasets) else training.Options()
    networks: list[Figures] = []
    first: Made | None = None
    for seed in range(options.seed, options.seed + options.seeds):
        how = replace(usual, seed=seed)
        each = _made(made, _fitted(made, out / f"seed-{seed}", how), how)
        networks.append(each.figures())
        first = first or each
    assert first is not None  # noqa: S101  (there is at least one seed)
    _write(out, made, first, options)
    figures = {name: _mean([each[name] for each in networks]) for name in networks[0]}
    _describe(out, made, first, figures, options)
    for seed in range(options.seed, options.seed + options.seeds):
        checkpoint.clear(out / f"seed-{seed}")
        (out / f"seed-{seed}").rmdir()
    return figures


def _fitted(made: Recipe, folder: Path, options: training.Options) -> Fit:
    """A training that can be cut off."""
    run = Training(made.learned, made.held_out, made.alter, options)
    if (state := checkpoint.load(folder)) is not None:
        run.resume(*state)
    console = Console(stderr=True)
    with Progress(console=console, transient=not console.is_terminal) as progress:
        task = progress.add_task(f"seed {options.seed}", total=options.epochs, completed=run.done)
        while not run.over:
            run.epoch()
            checkpoint.save(folder, *run.state())
            progress.advance(task)
    return run.fit()


def _made(recipe_: Recipe, fit: Fit, options: training.Options) -> Made:
    said = recipe_.unseen(fit, options)
    scales = {name: calibrating.calibration(each) for name, each in said.items()}
    pattern, several = recipe_.several(fit, said)
    thresholds = calibrating.thresholds(several, scales[pattern])
    return Made(fit, scales, calibrating.cuts(said), thresholds, said)


def _mean(runs: Sequence[Figures]) -> Figures:
    """One run as it is, of several the mean and spread."""
    if len(runs) == 1:
        return runs[0]
    return {"n": runs[0]["n"], **metrics.mean_and_spread(runs)}


def _write(out: Path, recipe_: Recipe, made: Made, options: Options) -> None:
    """What `FusionModel.load` reads. Matrices have 16 bits a number."""
    out.mkdir(parents=True, exist_ok=True)
    layout = made.fit.layout
    tensors = {
        name: np.ascontiguousarray(value, np.float16 if value.ndim == 2 else np.float32)
        for name, value in made.fit.parameters.items()
    }
    facts: dict[str, Any] = {
        "emotions": EMOTIONS,
        "sentiments": SENTIMENTS,
        "layout": {**asdict(layout), "dimensions": dict(layout.dimensions)},
        "encoders": {name: asdict(each) for name, each in recipe_.encoders.items()},
        "calibration": {name: asdict(each) for name, each in made.calibration.items()},
        "cuts": made.cuts,
        "thresholds": made.thresholds,
        "corpora": list(recipe_.corpora),
        "options": {**asdict(options), "epochs": made.fit.chosen},
    }
    (out / "model.safetensors").write_bytes(save(tensors))
    (out / "model.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _describe(
    out: Path, recipe_: Recipe, made: Made, figures: Mapping[str, Figures], options: Options
) -> None:
    """The card with its pictures."""
    use = "learned from, by utterances held out measured and calibrated"
    seeds = f"{options.seeds} seeds: mean and spread" if options.seeds > 1 else "one seed"
    card.write(
        out,
        Card(
            title="Sentiment and emotion of a conversation",
            made_by="tenor train fusion",
            revision=FusionModel.load(out).revision,
            corpora=dict.fromkeys(recipe_.corpora, use),
            tables={f"By modalities that are there, {seeds}": figures},
            pictures=_draw(out, made),
            limits=LIMITS_OF_MOSI if "mosi" in recipe_.corpora else LIMITS,
            notes=NOTES_OF_MOSI if "mosi" in recipe_.corpora else NOTES,
        ),
    )


def _draw(out: Path, made: Made) -> list[str]:
    """Of the pattern with the most samples, the first one of these."""
    plots.curves(out / "learning.png", "Loss", {k: v for k, v in made.fit.history.items() if v})
    name = max(made.said, key=lambda each: len(made.said[each].mean))
    said, scale, drawn = made.said[name], made.calibration.get(name, UNCALIBRATED), ["learning.png"]
    parts = {
        "emotions": (slice(0, len(EMOTIONS)), EMOTIONS, scale.emotions),
        "sentiments": (slice(len(EMOTIONS), CLASSES), SENTIMENTS, scale.sentiments),
    }
    single = said.truth.emotions.max(axis=1) == 1
    true = {
        "emotions": np.where(single, said.truth.emotions.argmax(axis=1), UNKNOWN),
        "sentiments": said.truth.sentiment,
    }
    for part, (columns, names, temperature) in parts.items():
        known = true[part] >= 0
        if not known.any():
            continue
        likely = np.exp(calibrating.log_softmax(said.logits[known, columns] / temperature))
        label, right = likely.argmax(axis=1), true[part][known]
        plots.confusion(out / f"{part}.png", f"{part}, {name}", names, right, label)
        reliability = out / f"{part}-reliability.png"
        plots.reliability(reliability, f"{part}, {name}", likely.max(axis=1), label == right)
        drawn += [f"{part}.png", reliability.name]
    return drawn


NOTES: Final = (
    "It learned from vectors that encoders made of samples which they had not seen, so that it does"
    " not trust them more than they deserve. No corpus here has words, voices and faces of the"
    " same people: a sample that lacks a modality was lent it by another one of the same emotion,"
    " in training and in the figures of several modalities, which take these to be independent"
    " given the emotion. Of the voices 48 % are those of other samples, there as here: that is how"
    " much less the encoder of voices knows of a corpus that it never heard. Patterns with text are"
    " of texts, those without of clips and faces. The epoch, the intervals (90 % of the truths, for"
    " each pattern) and the temperatures are of"
    " conversations and speakers held out, and so are the figures of this card; those of parts"
    " that nothing was fitted to are printed by `tenor eval sentiment`. A score is how likely an"
    " utterance is positive less how likely it is negative; where a corpus has only emotions, joy"
    " is positive, anger, disgust, fear and sadness are negative, and surprise is neither."
)
NOTES_OF_MOSI: Final = (
    "Trained on the ready-made features of CMU-MOSI in place of the encoders', to compare with"
    " what others have measured on them; it does not serve. An encoder of texts that is called"
    f" `{ready_made.WITH_AFFECT}` has behind the ready-made vector that of our own reader, which"
    " knows nothing of CMU-MOSI. The ready-made features of text and pictures were"
    " made by networks that learned from these very labels. They are right in 98 and 92 % here and"
    " in 76 and 51 % on unseen videos, so in training 45 and 90 % of them are those of other"
    " utterances; so are 90 % of those of voices, by which a logistic regression is right in 48 %"
    " of videos left out. Figures of this card are of videos left out, with features swapped alike."
)
LIMITS: Final = (
    "Voices are those of actors, faces posed or found, dialogues those of one television series."
    " Calls are another matter.",
    "English texts; voices of German and English speakers.",
    "How voice and words contradict each other (irony) is in none of the data.",
    "Contributions are shares of precision, how much each was relied on; they are no causes.",
    "Not for decisions about people (hiring, credit, discipline).",
)
LIMITS_OF_MOSI: Final = ("Opinions on films by 93 people who speak into a camera, in English.",)
