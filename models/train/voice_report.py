"""Figures, pictures and the card of the head that reads feelings from voices.

All are of speakers that a head was neither chosen nor fitted with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich.progress import track

from models import registry
from models.base import Floats
from models.train import card, metrics, plots
from models.train.card import Card
from models.train.metrics import Figures, Integers
from models.train.voice_fitting import (
    FOLDS,
    HEADS,
    INNER_FOLDS,
    STDERR,
    STRENGTHS,
    Bools,
    Choice,
    Examples,
    choose,
    fit,
    probabilities,
)
from models.voice import OUTPUTS, VOICE_EMOTIONS

WAYS: Final = ("as recorded", "by telephone")
"""The first and the second half of the examples."""
LIMITS: Final = (
    "Of the published corpora: actors who play emotions in two sentences (RAVDESS) or ten (EMO-DB)."
    " People on calls show less, mix it, and hide it.",
    "From one corpus to another it is right far less often than within one: see the table, where"
    " there are two. Expect that of any new language, room or way of speaking.",
    "Surprise and calm are learned from RAVDESS only, boredom from EMO-DB only; other data may lack"
    " other emotions.",
    "Not for decisions about people.",
)


def report(out: Path, examples: Examples, logits: Floats, choice: Choice, command: str) -> Figures:
    """Writes the card with its pictures into `out`, and returns the figures.

    `logits` [runs, n, 12] are the cross-fitted ones of the examples, a run for each way of dealing
    out the speakers.
    """
    names = tuple(dict.fromkeys(examples.corpora))
    within = {
        f"{name}, {way}": _over_runs(examples, logits, rows_of(examples, name, way))
        for name in names
        for way in WAYS
    }
    across = crossed(examples) if len(names) > 1 else {}
    titles = {
        f"Speakers held out, dealt out in {len(logits)} ways": within,
        "From one corpus to the other, of the emotions of both": across,
    }
    made = Card(
        title="Feelings in voices",
        made_by=command,
        revision=registry.load_voice(f"file:{out}").encoder.revision,
        corpora=dict.fromkeys(names, "training, and by cross-validation over its speakers"),
        tables={title: table for title, table in titles.items() if table},
        pictures=[
            *_draw(out, examples, logits[0]),
            _draw_learning(out, examples, choice),
        ],
        limits=LIMITS,
        notes=_notes(choice),
    )
    card.write(out, made)
    return {**within, **across}


def crossed(examples: Examples) -> Figures:
    """Of every two corpora, the second one as judged by a head that learned from the first, of the
    emotions that both have; as recorded."""
    names = tuple(dict.fromkeys(examples.corpora))
    found: Figures = {}
    for learned in names:
        own = examples.of(np.array(examples.corpora) == learned)
        head = fit(own, choose(own, 0))
        for name in names:
            if name != learned:
                other = examples.of(rows_of(examples, name, WAYS[0])).limited(own.shares)
                found[f"{learned} to {name}"] = {
                    "clips": len(other),
                    **figures(other, head(other.vectors)),
                }
    return found


def rows_of(examples: Examples, corpus: str, way: str) -> Bools:
    """Which examples are a corpus's clips in one of `WAYS`."""
    first = np.arange(len(examples)) < len(examples) // 2
    chosen: Bools = (np.array(examples.corpora) == corpus) & (first == (way == WAYS[0]))
    return chosen


def figures(examples: Examples, logits: Floats) -> Figures:
    """Of the emotions that the clips' corpus has, and the recall of their sentiments."""
    made: Figures = {}
    if (emotions := _answers(examples, logits, 0)) is not None:
        true, shares = emotions
        said = shares.argmax(axis=1)
        error = metrics.ece(shares.max(axis=1), said == true)
        made |= {**metrics.classification(true, said), **metrics.rounded(ece=error)}
    if (sentiments := _answers(examples, logits, 1)) is not None:
        true, shares = sentiments
        made["sentiment_uar"] = metrics.classification(true, shares.argmax(axis=1))["uar"]
    return made


def _over_runs(examples: Examples, logits: Floats, rows: Bools) -> Figures:
    runs = [figures(examples.of(rows), each[rows]) for each in logits]
    return {"clips": int(rows.sum()), **metrics.mean_and_spread(runs)}


def _answers(examples: Examples, logits: Floats, head: int) -> tuple[Integers, Floats] | None:
    """True classes and probabilities of the clips that one of `HEADS` has something to say of."""
    shares = examples.shares[:, HEADS[head]]
    known = shares.sum(axis=1) > 0
    if not known.any():
        return None
    possible = examples.allowed[known][:, HEADS[head]]
    return shares[known].argmax(axis=1), probabilities(logits[known][:, HEADS[head]], possible)


def _draw(out: Path, examples: Examples, logits: Floats) -> list[str]:
    """Confusion matrices and reliability diagrams of the clips as recorded."""
    pictures = []
    for name in dict.fromkeys(examples.corpora):
        rows = rows_of(examples, name, WAYS[0])
        answers = _answers(examples.of(rows), logits[rows], 0)
        if answers is not None:
            pictures += _draw_corpus(out, name, *answers)
    return pictures


def _draw_corpus(out: Path, name: str, true: Integers, shares: Floats) -> list[str]:
    said, there = shares.argmax(axis=1), np.unique(true)
    right, sure = said == true, shares.max(axis=1)
    emotions = [VOICE_EMOTIONS[each] for each in there]
    matrix, diagram = f"confusion-{name}.png", f"reliability-{name}.png"
    places = [np.searchsorted(there, each) for each in (true, said)]
    plots.confusion(out / matrix, f"Voices: {name}", emotions, *places)
    plots.reliability(out / diagram, f"Voices: {name}", sure, right)
    return [matrix, diagram]


def _draw_learning(out: Path, examples: Examples, choice: Choice) -> str:
    """The recall of speakers held out by how many folds of the others were learned from."""
    picture, folds = "learning.png", [held for _, held in examples.parts(FOLDS, 0)]
    logits = np.zeros((len(folds) - 1, len(examples), len(OUTPUTS)), np.float32)
    steps = [(count, n) for count in range(1, len(folds)) for n in range(len(folds))]
    for count, number in track(steps, "with fewer speakers     ", console=STDERR):
        others = [folds[(number + n) % len(folds)] for n in range(1, count + 1)]
        head = fit(examples.of(np.any(others, axis=0)), choice)
        logits[count - 1, folds[number]] = head(examples.vectors[folds[number]])
    lines = _curves(examples, logits)
    plots.curves(out / picture, "UAR of speakers held out", lines, across="folds learned from")
    return picture


def _curves(examples: Examples, logits: Floats) -> Mapping[str, Sequence[float]]:
    lines = {}
    for name in dict.fromkeys(examples.corpora):
        rows = rows_of(examples, name, WAYS[0])
        runs = [figures(examples.of(rows), each[rows]) for each in logits]
        lines[name] = [float(run["uar" if "uar" in run else "sentiment_uar"]) for run in runs]
    return lines


def _notes(choice: Choice) -> str:
    return (
        "Multinomial logistic regression on the standardised vector of `models.voice` (blocks 1 and"
        " 2 of Whisper's encoder, pooled, and prosody), from every clip as recorded and as by"
        f" telephone. Speakers are dealt out to {FOLDS} folds; for every fold the penalty (one of"
        f" {', '.join(map(str, STRENGTHS))}) and the temperatures were chosen by {INNER_FOLDS}-fold"
        " cross-validation over the speakers of the other folds, and never on the fold that is"
        f" measured. The shipped head learned from all speakers, with {choice.strength:g}. Nothing"
        " is known of a speaker but the clip itself: no speaker's mean is taken."
    )
