"""Trains the reader of faces, `models.expression`, and measures it as it serves.

It learns from FER2013 (Goodfellow et al., 2013) or from one's own cropped faces. A tenth of them is
not learned from: it says which epoch is kept, and then how sure the network may be (temperature
scaling: Guo et al., 2017).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.base import Floats, ModelError
from models.expression import DESCRIPTION, WEIGHTS, ExpressionNet, ExpressionRecognizer, prepare
from models.fusion import EMOTIONS
from models.train import card, checkpoint, corpora, media, metrics, plots, splits, unseen
from models.train.card import Card
from models.train.corpora import Sample
from models.train.face_training import Faces, Options, Training, logits
from models.train.metrics import Figures, Integers

MEASURED: Final = "validation"
"""The split that is only measured."""
BLOCK: Final = 64
TEMPERATURES: Final = tuple(float(x) for x in np.geomspace(0.25, 4, 161))
DEFAULTS: Final = Options()
OF_FER2013: Final = (
    "Labels of FER2013 are noisy: people agree with about two thirds of them.",
    "Disgust is rare in it and badly told; fear is taken for sadness or surprise.",
    "It learned from posed and found pictures of faces, mostly frontal, and not from calls.",
)
LEARNING: Final = "learning.png"
FROM: Final = "The first blocks of EfficientNet-Lite0 (ImageNet, Apache-2.0)"
NO_RECORD: Final = (
    ", trained on by an earlier version of this trainer, which left no record: with which options,"
    " for how many epochs and without which faces is unknown. The faces called held out of train"
    " may have been learned from; on them the temperature was chosen. Go by the other figures."
)
LIMITS: Final = (
    "It takes for granted that there is a face: the detector's confidence is another matter.",
    "What a face shows is not what its owner feels. Not for decisions about people.",
)


def train(data: Path, out: Path, options: Options = DEFAULTS) -> Figures:
    """Trains on the split 'train' of the faces in `data` and writes the model's folder `out`.

    Returns its figures on the faces held out of it and, where there is one, on the split
    'validation'. A run that was cut off goes on after its last epoch. Raises ModelError where
    there are no faces.
    """
    torch.set_num_threads(options.threads)
    learned, held_out = splits.apart(samples(data, "train"), options.held_out)
    training = Training(faces(learned), faces(held_out), options)
    training.resume(out)
    while not training.over:
        training.epoch()
        training.keep(out)
    write(out, training)
    keep_unseen(out, held_out)
    title = "Cross-entropy, and accuracy of the faces held out"
    plots.curves(out / LEARNING, title, training.history)
    checkpoint.clear(out)
    return report(data, out, held_out, notes=_notes(training), pictures=(LEARNING,))


def remeasure(data: Path, out: Path) -> Figures:
    """Calibrates and measures weights in `out` whose training left no record, and writes their
    card, which says so."""
    _, held_out = splits.apart(samples(data, "train"), DEFAULTS.held_out)
    network, seen = ExpressionNet(), faces(held_out)
    network.load_state_dict(load_file(out / WEIGHTS))
    sure = temperature(logits(network, seen.pixels), seen.shares)
    describe(out, {"temperature": round(sure, 3)})
    keep_unseen(out, held_out)
    return report(data, out, held_out, notes=NO_RECORD)


def evaluate(folder: Path, labelled: Sequence[Sample]) -> Figures:
    """Accuracy, F1, UAR and calibration of the model in `folder` on these faces."""
    return _figures(*judged(folder, labelled))


def samples(data: Path, split: str) -> list[Sample]:
    """A split's faces with an emotion that we have a name for, of a manifest or of FER2013."""
    found = corpora.read(_dataset(data), data, split)
    known = [each for each in found if each.image and set(each.emotions) & set(EMOTIONS)]
    if not known:
        raise ModelError(f"{data} has no face in {split!r} with one of {', '.join(EMOTIONS)}")
    return known


def faces(labelled: Sequence[Sample]) -> Faces:
    """The pictures as the network sees them, and their emotions in equal shares."""
    pixels = np.stack([prepare(media.face(each.image)) for each in labelled if each.image])
    named = np.array([[name in each.emotions for name in EMOTIONS] for each in labelled])
    shares = (named / named.sum(axis=1, keepdims=True)).astype(np.float32)
    return Faces(torch.from_numpy(pixels), torch.from_numpy(shares))


def judged(folder: Path, labelled: Sequence[Sample]) -> tuple[Integers, Floats]:
    """The first true emotion [n] of every face, and the model's probabilities [n, 7]."""
    _, probabilities = look(folder, labelled)
    return faces(labelled).shares.argmax(dim=1).numpy(), probabilities


def look(folder: Path, labelled: Sequence[Sample]) -> tuple[Floats, Floats]:
    """What `ExpressionRecognizer.look` makes of the faces, in blocks."""
    recognizer = ExpressionRecognizer(folder)
    pictures = [media.face(each.image) for each in labelled if each.image]
    blocks = [pictures[first : first + BLOCK] for first in range(0, len(pictures), BLOCK)]
    vectors, probabilities = zip(*[recognizer.look(block) for block in blocks], strict=True)
    return np.concatenate(vectors), np.concatenate(probabilities)


def keep_unseen(out: Path, held_out: Sequence[Sample]) -> None:
    """Leaves the vectors of the faces that were not learned from to those who learn from them."""
    unseen.save(out, [each.id for each in held_out], look(out, held_out)[0])


def write(out: Path, training: Training) -> None:
    """The best epoch's weights as float16, and what `ExpressionRecognizer` must know of them."""
    network = ExpressionNet()
    halves = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in training.best.items()
    }
    network.load_state_dict(halves)
    found = logits(network, training.held_out.pixels)
    out.mkdir(parents=True, exist_ok=True)
    (out / WEIGHTS).write_bytes(save(halves))
    describe(
        out,
        {
            "temperature": round(temperature(found, training.held_out.shares), 3),
            "epochs": training.chosen,
            "options": asdict(training.options),
        },
    )


def describe(out: Path, facts: Mapping[str, Any]) -> None:
    """Writes what is to be known of the weights."""
    text = json.dumps({"emotions": EMOTIONS, **facts}, indent=2)
    (out / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def temperature(found: Tensor, shares: Tensor) -> float:
    """What the logits [n, 7] are to be divided by to make the true emotions likeliest."""
    losses = [cross_entropy(found / each, shares).item() for each in TEMPERATURES]
    return TEMPERATURES[int(np.argmin(losses))]


def report(
    data: Path,
    out: Path,
    held_out: Sequence[Sample],
    *,
    notes: str,
    pictures: Sequence[str] = (),
) -> Figures:
    """Writes the card with its pictures, `pictures` first, and returns the figures."""
    parts = {"held out of train": held_out}
    if (measured := _measured(data)) is not None:
        parts[MEASURED] = measured
    answers = {name: judged(out, part) for name, part in parts.items()}
    figures = {name: _figures(*answer) for name, answer in answers.items()}
    drawn = (*pictures, *_draw(out, *list(answers.values())[-1]))
    card.write(out, _card(out, _dataset(data), figures, drawn, notes))
    return figures


def _dataset(data: Path) -> str:
    return "manifest" if (data / corpora.MANIFEST).is_file() else "fer2013"


def _measured(data: Path) -> list[Sample] | None:
    try:
        return samples(data, MEASURED)
    except ModelError:  # one's own manifest need not have it
        return None


def _figures(true: Integers, probabilities: Floats) -> Figures:
    said = probabilities.argmax(axis=1)
    error = metrics.ece(probabilities.max(axis=1), said == true)
    return {
        "faces": len(true),
        **metrics.classification(true, said),
        **metrics.rounded(ece=error),
    }


def _draw(out: Path, true: Integers, probabilities: Floats) -> list[str]:
    """Pictures of the last part measured."""
    said, names = probabilities.argmax(axis=1), ["confusion.png", "reliability.png"]
    confusion, reliability = (out / name for name in names)
    plots.confusion(confusion, "Expressions", EMOTIONS, true, said)
    plots.reliability(reliability, "Expressions", probabilities.max(axis=1), said == true)
    return names


def _card(out: Path, dataset: str, figures: Figures, pictures: Sequence[str], notes: str) -> Card:
    return Card(
        title="Expressions of faces",
        made_by="tenor train face",
        revision=ExpressionRecognizer(out).encoder.revision,
        corpora={dataset: f"training; its split '{MEASURED}' measures only"},
        tables={"Seven expressions": figures},
        pictures=pictures,
        limits=(*(OF_FER2013 if dataset == "fer2013" else ()), *LIMITS),
        notes=f"{FROM}{notes}",
    )


def _notes(training: Training) -> str:
    options = training.options
    return (
        f", trained on for {training.chosen} of {options.epochs} epochs with seed {options.seed};"
        " the epoch and the temperature were chosen on the faces held out of train."
    )
