"""The trained reader of texts on disk, and how good each of its heads is, measured as it serves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import save

from models import registry
from models.affect import FORMAT, HEADS, AffectNet, AffectTextEncoder
from models.base import Floats, ModelError
from models.fusion import EMOTIONS
from models.train import card, corpora, metrics, plots
from models.train.card import Card
from models.train.corpora import Sample
from models.train.metrics import Bools, Figures, Integers
from models.train.text_batches import OUTPUTS, TAUGHT, target

MEASURED: Final = "dev"
"""The split that is only measured."""
HELD_OUT: Final = "held out of train"
CUTS: Final = tuple(float(x) for x in np.arange(0.1, 0.71, 0.02))
"""Probabilities from which on GoEmotions' emotions may be said to be there."""
LIMITS: Final = (
    "It reads English, a text at a time: what was said before it is the fusion model's matter.",
    "It reads 64 tokens of a text.",
    "Irony, and what only its context tells, it takes literally.",
    "What a text says is not what its author feels. Not for decisions about people.",
)
ROWS: Final[Mapping[str, str]] = {
    "meld_emotions": "MELD, seven emotions",
    "meld_sentiments": "MELD, three sentiments",
    "goemotions": "GoEmotions, seven emotions, several at once",
    "sst2": "SST-2, two sentiments",
    "scored": "scored sentences",
}


@dataclass(frozen=True, slots=True)
class Made:
    """How a network came about: the losses of its phases, the seed, and by corpus what was held
    out of what it learned from."""

    histories: Mapping[str, Mapping[str, Sequence[float]]]
    seed: int
    held_out: Mapping[str, Sequence[Sample]]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What is true of n labelled sentences, and what a head said of them, both [n, outputs]."""

    head: str
    true: Floats
    said: Floats


def write(data: Path, out: Path, net: AffectNet, made: Made) -> Figures:
    """Writes the model's folder with its card and pictures; returns the figures by part and head.

    The split 'dev' is measured where `data` has it, after everything was decided.
    """
    _write_model(out, net, made, [])  # what serves chooses the cuts
    answers = {HELD_OUT: judged(out, made.held_out)}
    cuts = [0.5] * len(EMOTIONS)
    for each in answers[HELD_OUT]:
        if each.head == "goemotions":
            cuts = best_cuts(each.true > 0, probabilities(each))
    _write_model(out, net, made, cuts)
    if measured := _measured(data, made):
        answers[MEASURED] = judged(out, measured)
    figures = {
        part: {each.head: figures_of(each, cuts) for each in heads}
        for part, heads in answers.items()
    }
    pictures = _draw(out, list(answers.values())[-1], made)
    card.write(out, _card(out, figures, pictures, made))
    return figures


def judged(folder: Path, by_corpus: Mapping[str, Sequence[Sample]]) -> list[Answers]:
    """What the model in `folder` says of labelled sentences of corpora, an answer per head."""
    encoder = AffectTextEncoder(folder)
    answers = []
    for corpus, samples in by_corpus.items():
        vectors = encoder.encode([sample.text for sample in samples])
        targets = np.array([target(corpus, sample) for sample in samples], np.float32)
        for head in TAUGHT[corpus]:
            true = targets[:, OUTPUTS.head(head)]
            known = ~np.isnan(true[:, 0])
            if known.any():
                said = vectors[known, encoder.layout.head(head)]
                answers.append(Answers(head, true[known], said))
    return answers


def figures_of(answers: Answers, cuts: Sequence[float]) -> Figures:
    """The usual figures of a head; GoEmotions' emotions are there from `cuts` [7] on."""
    true, said = answers.true, answers.said
    if answers.head == "scored":
        return {"n": len(true), **metrics.regression(true[:, 0], said[:, 0])}
    if answers.head == "goemotions":
        there = probabilities(answers) >= np.array(cuts)
        return {"n": len(true), **metrics.multilabel(true > 0, there)}
    right, confidence = sureness(answers)
    names = _named(true), _named(said)
    return {
        "n": len(true),
        **metrics.classification(*names),
        **metrics.rounded(ece=metrics.ece(confidence, right)),
    }


def probabilities(answers: Answers) -> Floats:
    """Of each output [n, outputs]; those of one label of several sum to 1."""
    logits = torch.from_numpy(answers.said)
    exclusive = answers.head.startswith("meld")
    made: Floats = (logits.softmax(dim=1) if exclusive else logits.sigmoid()).numpy()
    return made


def sureness(answers: Answers) -> tuple[Bools, Floats]:
    """Whether the likeliest label [n] is true, and its probability; GoEmotions': of every emotion
    [n * 7] whether it is there, and the probability that it is."""
    likely = probabilities(answers)
    if answers.head == "goemotions":
        return (answers.true > 0).ravel(), likely.ravel()
    right = _named(answers.true) == _named(answers.said)
    if answers.head == "sst2":
        likely = np.concatenate([1 - likely, likely], axis=1)
    return right, likely.max(axis=1)


def best_cuts(true: Bools, likely: Floats) -> list[float]:
    """The probability of each emotion [n, 7] from which on to say it makes its best F1."""

    def f1(column: int, cut: float) -> float:
        said = likely[:, column] >= cut
        both = float((said & true[:, column]).sum())
        return 2 * both / max(1.0, float(said.sum() + true[:, column].sum()))

    best = (max(CUTS, key=partial(f1, column)) for column in range(true.shape[1]))
    return [round(cut, 2) for cut in best]


def _named(outputs: Floats) -> Integers:
    """The label's number [n]; a single output stands for two labels."""
    if outputs.shape[1] == 1:  # a true 0 or 1, or a logit
        return (outputs[:, 0] > 0).astype(int)
    named: Integers = outputs.argmax(axis=1)
    return named


def _measured(data: Path, made: Made) -> dict[str, list[Sample]]:
    found = {}
    for corpus in made.held_out:
        try:
            found[corpus] = corpora.read(corpus, data, MEASURED)
        except ModelError:  # not every corpus has it
            continue
    return found


def _write_model(out: Path, net: AffectNet, made: Made, cuts: Sequence[float]) -> None:
    halves = {name: tensor.half().contiguous() for name, tensor in net.state_dict().items()}
    facts: dict[str, Any] = {
        "format": FORMAT,
        "base": registry.TEXT,
        "revision": registry.fingerprint(registry.resolve(registry.TEXT)),
        "rank": net.adapters.rank,
        "heads": {name: HEADS[name] for name in net.layout.heads},
        "cuts": dict(zip(EMOTIONS, cuts, strict=False)),
        "epochs": {name: len(history["learned"]) for name, history in made.histories.items()},
        "seed": made.seed,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.safetensors").write_bytes(save(halves))
    (out / "model.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _draw(out: Path, answers: Sequence[Answers], made: Made) -> list[str]:
    """Pictures of the learning, and of the emotions in the last part measured."""
    lines = {
        f"{phase}: {part}": losses
        for phase, history in made.histories.items()
        for part, losses in history.items()
    }
    plots.curves(out / "learning.png", "Loss per sentence", lines)
    names = ["learning.png"]
    of_emotions = [each for each in answers if HEADS[each.head] == EMOTIONS]
    if of_emotions:
        shown = of_emotions[-1]
        title = ROWS[shown.head].partition(",")[0]
        alone = (shown.true > 0).sum(axis=1) == 1
        true, said = _named(shown.true[alone]), _named(shown.said[alone])
        plots.confusion(out / "confusion.png", f"Emotions of {title}", EMOTIONS, true, said)
        right, confidence = sureness(shown)
        plots.reliability(out / "reliability.png", f"Emotions of {title}", confidence, right)
        names += ["confusion.png", "reliability.png"]
    return names


def _card(out: Path, figures: Mapping[str, Figures], pictures: Sequence[str], made: Made) -> Card:
    return Card(
        title="Sentiment and emotions of texts",
        made_by="tenor train text",
        revision=AffectTextEncoder(out).encoder.revision,
        corpora={name: _use(name, figures.get(MEASURED, {})) for name in made.held_out},
        tables={
            f"Each head on its own corpus, {part}": {ROWS[h]: f for h, f in heads.items()}
            for part, heads in figures.items()
        },
        pictures=pictures,
        limits=LIMITS,
        notes=(
            f"Low-rank changes of all-MiniLM-L6-v2 (Apache-2.0), seed {made.seed}. The epochs that"
            " are kept, and from which probability an emotion of GoEmotions is said to be there,"
            " were chosen on what is held out of train. The heads see a text alone."
        ),
    )


def _use(corpus: str, measured: Figures) -> str:
    apart = any(head in measured for head in TAUGHT[corpus])
    return f"training; '{MEASURED}' measures only" if apart else "training"
