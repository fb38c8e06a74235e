"""Trains the reader of texts, `models.affect`, on MiniLM's weights.

It learns in phases: from GoEmotions and scored sentences, which anybody may use; then from SST-2's
film reviews; then from MELD's dialogues. A later phase repeats a share of what the earlier ones
taught, so that it is not forgotten (rehearsal: Robins, 1995). A tenth of every corpus is not
learned from: it says which epoch is kept. One's own recordings go on from a trained model.

The vectors of the last phase's own sentences come from networks that learned it without them
(see `unseen`): the phases before are shared, so that this costs little.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from models import affect, registry
from models.affect import AffectNet
from models.base import ModelError
from models.bert import Bert
from models.train import checkpoint, corpora, splits, text_report, unseen
from models.train.corpora import Sample
from models.train.metrics import Figures
from models.train.text_batches import TAUGHT, Texts, joined, read
from models.train.text_training import Material, Phase, Training, vectors, widened

PHASES: Final[Mapping[str, Phase]] = {
    "general": Phase("general", epochs=3, rate=1e-3),
    "reviews": Phase("reviews", epochs=1, rate=5e-4, share=0.1),
    "dialogues": Phase("dialogues", epochs=3, rate=5e-4, share=0.12),
    "own": Phase("own", epochs=5, rate=5e-4),
}
CORPORA: Final[Mapping[str, tuple[str, ...]]] = {
    "general": ("goemotions", "scored"),
    "reviews": ("sst2",),
    "dialogues": ("meld",),
    "own": ("manifest",),
}
"""What a phase learns from."""
LEAST_SPREAD: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Options:
    """How to train.

    `free`: only from what anybody may use. `start`: a folder of weights that were trained so, which
    the other phases then go on from instead of learning it anew; for one's own recordings any
    folder. `rank` of the adapters, `dropout` of features, `held_out` the share of every corpus that
    is not learned from, `folds` of the last phase, `epochs` of every phase instead of its own.
    """

    seed: int = 0
    free: bool = False
    start: Path | None = None
    rank: int = 32
    dropout: float = 0.1
    held_out: float = 0.1
    folds: int = 3
    epochs: int | None = None
    threads: int = 2


DEFAULTS: Final = Options()


def train(data: Path, out: Path, options: Options = DEFAULTS) -> Figures:
    """Trains on the corpora in `data`, or on its manifest.jsonl, and writes the model's folder.

    Returns its figures on the sentences held out of train and, where there is one, on the split
    'dev'. A run that was cut off goes on after its last epoch. Raises ModelError where a corpus is
    missing or nothing in it is labelled.
    """
    torch.set_num_threads(options.threads)
    course = Course(data, out, options)
    course.run()
    held_out = {name: samples for each in course.lessons for name, samples in each.held_out.items()}
    figures = text_report.write(
        data, out, course.net, text_report.Made(course.histories, options.seed, held_out)
    )
    ids, made = course.unseen()
    unseen.save(out, ids, made.numpy())
    course.clear()
    return figures


class Lesson:
    """A phase and its sentences by corpus."""

    def __init__(self, phase: Phase, data: Path, bert: Bert, options: Options) -> None:
        self.phase = replace(phase, seed=options.seed, epochs=options.epochs or phase.epochs)
        self.learned: dict[str, list[Sample]] = {}
        self.held_out: dict[str, list[Sample]] = {}
        for name in CORPORA[phase.name]:
            samples = labelled(data, name, "train")
            self.learned[name], self.held_out[name] = splits.apart(samples, options.held_out)
        self.learned_texts = _texts(bert, self.learned)
        self.held_out_texts = _texts(bert, self.held_out)

    @property
    def heads(self) -> set[str]:
        return {head for name in self.learned for head in TAUGHT[name]}


class Course:
    """All phases of a training, one after the other; `net` is what was learned so far."""

    def __init__(self, data: Path, out: Path, options: Options) -> None:
        self.out, self.options = out, options
        self.bert = affect.base(registry.TEXT)
        phases = phases_of(data, options)
        self.lessons = [Lesson(PHASES[name], data, self.bert, options) for name in phases]
        self.histories: dict[str, dict[str, list[float]]] = {}
        torch.manual_seed(options.seed)
        self.net, self._skipped = self._start(phases)
        self._before = self.net
        self._chosen = 0

    def _start(self, phases: Sequence[str]) -> tuple[AffectNet, int]:
        """The network to begin with, and how many phases it has behind it."""
        options = self.options
        if options.start is None and phases[0] != "own":
            heads = sorted(self.lessons[0].heads, key=list(affect.HEADS).index)
            return AffectNet(self.bert.network, heads, options.rank, options.dropout), 0
        folder = options.start or registry.resolve(registry.AFFECT)
        net = affect.restored(folder, affect.read_facts(folder), self.bert.network, options.dropout)
        return net, int(phases[0] == "general")

    def run(self) -> None:
        """Learns it all, and then what the hidden states are to be shifted and scaled by."""
        for number in range(self._skipped, len(self.lessons)):
            lesson = self.lessons[number]
            self._before = widened(self.net, self.bert, sorted(lesson.heads), self.options.seed)
            self.net = copy.deepcopy(self._before)
            training = Training(self.bert, self.net, lesson.phase, self._material(number))
            training.run(self.out / lesson.phase.name)
            self.histories[lesson.phase.name] = training.history
            self._chosen = training.chosen
        self._standardise()

    def _material(self, number: int) -> Material:
        lesson = self.lessons[number]
        before = [each.learned_texts for each in self.lessons[:number]]
        held_out = lesson.held_out_texts if len(lesson.held_out_texts) else None
        return Material(lesson.learned_texts, joined(before) if before else None, held_out)

    def _standardise(self) -> None:
        seen = joined([each.held_out_texts for each in self.lessons])
        if not len(seen):
            seen = self.lessons[-1].learned_texts
        self.net.shift.zero_()
        self.net.scale.fill_(1)
        hidden = vectors(self.bert, self.net, seen)[:, self.net.layout.hidden]
        self.net.shift.copy_(hidden.mean(dim=0))
        self.net.scale.copy_(hidden.std(dim=0) + LEAST_SPREAD)

    def unseen(self) -> tuple[list[str], Tensor]:
        """Ids and vectors [n, dimension] of training samples by networks that had not learned from
        them: of what was held out by the final network, and of the last phase's other samples by
        one that learned the phase without their fold. What is learned free has no such phase."""
        found = [self._held_out(lesson) for lesson in self.lessons]
        if not self.options.free:
            found += self._cross_fitted(self.lessons[-1])
        return [id_ for ids, _ in found for id_ in ids], torch.cat([made for _, made in found])

    def _held_out(self, lesson: Lesson) -> tuple[list[str], Tensor]:
        ids = [sample.id for samples in lesson.held_out.values() for sample in samples]
        return ids, vectors(self.bert, self.net, lesson.held_out_texts)

    def _cross_fitted(self, lesson: Lesson) -> Iterator[tuple[list[str], Tensor]]:
        samples = [sample for samples in lesson.learned.values() for sample in samples]
        folds = splits.folds([splits.group_of(sample) for sample in samples], self.options.folds)
        material = self._material(len(self.lessons) - 1)
        for fold in sorted(set(folds)):
            theirs = [n for n, each in enumerate(folds) if each == fold]
            others = [n for n, each in enumerate(folds) if each != fold]
            net = copy.deepcopy(self._before)
            net.shift, net.scale = self.net.shift, self.net.scale
            without = replace(material, learned=material.learned.at(others), held_out=None)
            phase = replace(lesson.phase, name=f"{lesson.phase.name} without fold {fold + 1}")
            training = Training(self.bert, net, phase, without)
            training.run(self._fold(fold), self._chosen)
            said = vectors(self.bert, net, material.learned.at(theirs))
            yield [samples[n].id for n in theirs], said

    def _fold(self, number: int) -> Path:
        return self.out / f"fold-{number + 1}"

    def clear(self) -> None:
        """Removes the checkpoints: the training is over."""
        folders = [self.out / each.phase.name for each in self.lessons]
        folders += [self._fold(number) for number in range(self.options.folds)]
        for folder in folders:
            checkpoint.clear(folder)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def phases_of(data: Path, options: Options) -> tuple[str, ...]:
    """The names of the phases that a training on `data` has."""
    if (data / corpora.MANIFEST).is_file():
        return ("own",)
    return ("general",) if options.free else ("general", "reviews", "dialogues")


def labelled(data: Path, corpus: str, split: str) -> list[Sample]:
    """A split's samples with a text. Raises ModelError where there are none."""
    found = [each for each in corpora.read(corpus, data, split) if each.text.strip()]
    if not found:
        raise ModelError(f"{data} has no text in {split!r} of {corpus}")
    return found


def _texts(bert: Bert, by_corpus: Mapping[str, Sequence[Sample]]) -> Texts:
    return joined([read(bert, name, samples) for name, samples in by_corpus.items()])
