"""What the fusion model learns from, and what tells how sure it may be.

There are three recipes: of the corpora that the encoders were trained on, through the vectors of
samples that these had not seen; of CMU-MOSI with its ready-made features; of one's own recordings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np

from models import registry
from models.base import Encoder, Floats, ModelError
from models.fusion import EMOTIONS, SENTIMENTS
from models.train import corpora, features, material, ready_made, unseen
from models.train import fusion_training as training
from models.train.corpora import MANIFEST, WHOLE, Sample
from models.train.fusion_steps import Steps, at
from models.train.fusion_training import Answers, Fit, answers
from models.train.judgements import MULTILABEL
from models.train.material import Material
from models.train.metrics import Integers
from models.train.splits import folds

TEXTS: Final = ("meld", "goemotions", "sst2", "scored")
CLIPS: Final = ("ravdess", "emodb")
FACES: Final = ("fer2013",)
DEFAULT: Final = ("meld", "goemotions", "sst2", *CLIPS, *FACES)
FREE: Final = ("goemotions", "scored", "emodb")
COUNTS: Final = {"scored": 0.5}
"""How much a sample counts, where not in full: ratings are of reviews and editorials."""
STRANGE: Final = 0.48
"""Of the voices: so that they tell emotions as well as from one corpus to the other, where the UAR
is 0.47, and not as within one, where it is 0.78 on average (the voices' encoder's card)."""
MOSI_READ: Final = "mosi-read"
"""CMU-MOSI with its transcripts read by our own reader, beside the ready-made features."""
LENT: Final = 0.4
FOLDS: Final = 5

Patterns = Mapping[str, Answers]
"""Answers by pattern of modalities ("text+voice")."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the trained encoders are, as URIs."""

    text: str = registry.AFFECT
    voice: str = registry.VOICE
    face: str = registry.EXPRESSION


class Recipe(ABC):
    """`encoders` by modality; `corpora` are named in the card; `held_out` chooses the epoch, where
    there is one."""

    encoders: Mapping[str, Encoder]
    corpora: Sequence[str]
    learned: Steps
    held_out: Steps | None = None

    def alter(self, steps: Steps, random: np.random.Generator) -> Steps:
        """What an epoch makes of `learned`."""
        return steps

    @abstractmethod
    def unseen(self, fit: Fit, options: training.Options) -> Patterns:
        """What such a network says of samples that it did not learn from."""

    def several(self, fit: Fit, said: Patterns) -> tuple[str, Answers]:
        """A pattern, and what is said with it of such samples as may have several emotions."""
        return next(iter(said.items()))


def recipe(data: Path, datasets: Sequence[str], sources: Sources, cache: Path | None) -> Recipe:
    """That of these corpora in `data`. Raises ModelError where something is missing."""
    if {"mosi", MOSI_READ} & set(datasets):
        if len(datasets) > 1:
            raise ModelError("CMU-MOSI's features are of other encoders: train on it alone")
        return OfMosi(data, sources.text if MOSI_READ in datasets else None, cache)
    if "manifest" in datasets:
        if len(datasets) > 1:
            raise ModelError("own recordings are trained on alone")
        return OfRecordings(data, sources, cache)
    return OfCorpora(data, datasets, sources)


def available(data: Path, *, free: bool = False) -> tuple[str, ...]:
    """What there is to learn from in a folder."""
    if (data / MANIFEST).is_file():
        return ("manifest",)
    wanted = FREE if free else DEFAULT
    found = tuple(name for name in wanted if (data / corpora.READERS[name][1]).is_dir())
    if not found:
        raise ModelError(f"{data} holds none of {', '.join(wanted)}, and no {MANIFEST}")
    return found


def patterns(modalities: Collection[str]) -> Iterator[tuple[str, ...]]:
    """Every set of modalities, the small ones first."""
    for count in range(1, len(modalities) + 1):
        yield from combinations(modalities, count)


def only(steps: Steps, pattern: Collection[str]) -> Steps:
    """With no other modalities than these."""
    mask = np.array([m in pattern for m in steps.vectors], np.float32)
    return replace(steps, weight=steps.weight * mask)


def having(steps: Steps, pattern: Collection[str]) -> Integers:
    """The numbers of the samples that have all of a pattern."""
    place = [n for n, m in enumerate(steps.vectors) if m in pattern]
    return np.flatnonzero((steps.weight[:, place] > 0).all(axis=1))


def chosen(said: Answers, rows: Integers) -> Answers:
    """Of these samples."""
    return Answers(said.mean[rows], said.precision[rows], said.logits[rows], at(said.truth, rows))


class OfCorpora(Recipe):
    """Of sentences, dialogues, acted voices and faces, which are lent to one another by emotion.

    A pattern with text is of samples that had their own, one without of clips and faces: what
    people mostly feel is another thing in dialogues than in what actors were asked to play. Only
    what encoders conclude is read: their inner features are not the same in the networks that had
    not seen a sample as in the one that serves, and what was learned of them would not hold. A call
    is none of the corpora, and of one that it never heard the encoder of voices knows less than of
    a new speaker in one that it knows: so a share of the voices, `STRANGE`, is another's.
    """

    def __init__(self, data: Path, datasets: Sequence[str], sources: Sources) -> None:
        self.corpora = datasets
        self.encoders, dimensions, vectors = _encoders(datasets, sources)
        parts = [material.apart(part) for part in _parts(data, datasets, vectors)]
        self.learned, self._own = (
            material.steps(_joined([part[side] for part in parts], vectors), dimensions)
            for side in (0, 1)
        )
        sizes = [len(own) for _, own in parts]
        self._several = np.flatnonzero(np.repeat([n in MULTILABEL for n in datasets], sizes))
        self._banks = [material.bank(self.learned, m) for m in self.encoders if m != "text"]
        lenders = [material.bank(self._own, m) for m in self.encoders if m != "text"]
        self._lent = _strange(material.lend(self._own, lenders, 1.0, _draws(0)), _draws(1))
        self.held_out = _strange(material.lend(self._own, lenders, LENT, _draws(2)), _draws(3))

    def alter(self, steps: Steps, random: np.random.Generator) -> Steps:
        return _strange(material.lend(steps, self._banks, LENT, random), random)

    def unseen(self, fit: Fit, options: training.Options) -> Patterns:
        return _by_pattern(fit, self._lent, self._measured)

    def several(self, fit: Fit, said: Patterns) -> tuple[str, Answers]:
        if not len(self._several):
            return super().several(fit, said)
        own = only(at(self._own, self._several), ("text",))
        return "text", answers(fit.layout, fit.parameters, own)

    def _measured(self, pattern: Sequence[str]) -> Integers:
        """The samples of a pattern, which have a part of it themselves; not without their text."""
        own = {m: self._own.weight[:, n] > 0 for n, m in enumerate(self._own.vectors)}
        part = np.any([own[m] for m in pattern], axis=0)
        if "text" in own:
            part &= own["text"] == ("text" in pattern)
        return np.intersect1d(having(self._lent, pattern), np.flatnonzero(part))


class OfMosi(Recipe):
    """Of CMU-MOSI's train part. Its features of text and pictures come from networks that learned
    from the labels of this very part: on it a logistic regression by them is right in 98 and 92 %,
    on unseen videos in 76 and 51 (`data/README`). So in every epoch as many of them are swapped for
    those of another utterance as makes them as good as they are on unseen videos. What it says of
    videos left out, of features swapped alike, then tells how sure it may be. Voices' features were
    made without labels, but by them a logistic regression is right in 48 % of the train part's
    videos that it was not fitted to: they are swapped like those of pictures. A `reader`'s own
    vectors of the transcripts, which knows nothing of CMU-MOSI, are left as they are.
    """

    SWAPPED: Final = {"text": 0.45, "voice": 0.9, "image": 0.9}

    def __init__(self, data: Path, reader: str | None, cache: Path | None) -> None:
        samples = corpora.read("mosi", data, "train")
        self.corpora = ("mosi",)
        affect = registry.load_affect(reader) if reader else None
        self.encoders = ready_made.encoders(samples, affect.encoder if affect else None)
        self._made = {m: len(v) for m, v in samples[0].features.items()}
        vectors = ready_made.vectors(samples, affect, cache)
        whole = Material(samples, vectors, np.ones(len(samples), np.float32))
        self.learned = _signed(
            material.steps(whole, {m: e.dimension for m, e in self.encoders.items()})
        )
        self._fold = np.array(folds([s.session for s in samples], FOLDS))

    def alter(self, steps: Steps, random: np.random.Generator) -> Steps:
        vectors = dict(steps.vectors)
        for modality, share in self.SWAPPED.items():
            rows = np.flatnonzero(random.random(len(steps)) < share)
            others, made = random.permutation(len(steps))[: len(rows)], self._made[modality]
            vectors[modality] = vectors[modality].copy()
            vectors[modality][rows, :made] = vectors[modality][others, :made]
        return replace(steps, vectors=vectors)

    def unseen(self, fit: Fit, options: training.Options) -> Patterns:
        parts: dict[str, list[Answers]] = {}
        for fold in range(FOLDS):
            rest, left = (np.flatnonzero((self._fold == fold) == held) for held in (False, True))
            found = training.trained(at(self.learned, rest), None, self.alter, options)
            unseen_ = self.alter(at(self.learned, left), np.random.default_rng(fold))
            for pattern in patterns(tuple(self.encoders)):
                said = answers(found.layout, found.parameters, only(unseen_, pattern))
                parts.setdefault("+".join(pattern), []).append(said)
        return {name: training.joined(each) for name, each in parts.items()}


def _signed(steps: Steps) -> Steps:
    """With positive or negative as the sentiment, as CMU-MOSI is measured; 0 is positive."""
    positive, negative = SENTIMENTS.index("positive"), SENTIMENTS.index("negative")
    return replace(steps, sentiment=np.where(steps.score >= 0, positive, negative))


class OfRecordings(Recipe):
    """Of one's own recordings, by the encoders as they are."""

    def __init__(self, data: Path, sources: Sources, cache: Path | None) -> None:
        samples = corpora.read("manifest", data, "train")
        self.corpora = ("manifest",)
        self.encoders, vectors = _encoded(samples, sources, cache)
        whole = Material(samples, vectors, np.ones(len(samples), np.float32))
        dimensions = {name: encoder.dimension for name, encoder in self.encoders.items()}
        learned, held_out = material.apart(whole)
        if not len(held_out) or not len(learned):
            raise ModelError(f"{data} has too few conversations or speakers to hold some out")
        self.learned = material.steps(learned, dimensions)
        self.held_out = material.steps(held_out, dimensions)

    def unseen(self, fit: Fit, options: training.Options) -> Patterns:
        assert self.held_out is not None  # noqa: S101
        return _by_pattern(fit, self.held_out, partial(having, self.held_out))


def _by_pattern(fit: Fit, steps: Steps, measured: Callable[[Sequence[str]], Integers]) -> Patterns:
    """What the network says of these samples with each pattern, of those `measured` in it."""
    found = {}
    for pattern in patterns(tuple(steps.vectors)):
        if len(rows := measured(pattern)):
            said = answers(fit.layout, fit.parameters, only(steps, pattern))
            found["+".join(pattern)] = chosen(said, rows)
    return found


def _strange(steps: Steps, random: np.random.Generator) -> Steps:
    """With a share of the voices swapped for those of other samples, of whatever emotion."""
    if "voice" not in steps.vectors:
        return steps
    place = list(steps.vectors).index("voice")
    here = np.flatnonzero(steps.weight[:, place] > 0)
    rows = here[random.random(len(here)) < STRANGE]
    voices = steps.vectors["voice"].copy()
    voices[rows] = steps.vectors["voice"][random.choice(here, len(rows))]
    return replace(steps, vectors={**steps.vectors, "voice": voices})


def _draws(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _encoders(
    datasets: Sequence[str], sources: Sources
) -> tuple[dict[str, Encoder], dict[str, int], dict[str, dict[str, Floats]]]:
    """By modality: encoders, how many numbers they conclude with, and what they made of samples
    that they had not seen."""
    encoders: dict[str, Encoder] = {}
    conclusions: dict[str, int] = {}
    vectors: dict[str, dict[str, Floats]] = {}

    def put(modality: str, uri: str, encoder: Encoder, concluded: int) -> None:
        encoders[modality], conclusions[modality] = encoder, concluded
        vectors[modality] = unseen.load(registry.resolve(uri))

    if set(TEXTS) & set(datasets):
        reader = registry.load_affect(sources.text)
        put("text", sources.text, reader.encoder, reader.layout.dimension - reader.layout.width)
    if set(CLIPS) & set(datasets):
        listener = registry.load_voice(sources.voice).encoder
        put("voice", sources.voice, listener, listener.dimension)
    if set(FACES) & set(datasets):
        watcher = registry.load_expression(sources.face).encoder
        put("face", sources.face, watcher, len(EMOTIONS))
    return encoders, conclusions, vectors


def _parts(
    data: Path, datasets: Sequence[str], vectors: Mapping[str, Mapping[str, Floats]]
) -> Iterator[Material]:
    """What there is of each corpus."""
    known = set().union(*vectors.values())
    for name in datasets:
        found = corpora.read(name, data, WHOLE if name in CLIPS else "train")
        found += [material.by_telephone(sample) for sample in found if name in CLIPS]
        samples = [sample for sample in found if sample.id in known]
        if not samples:
            raise ModelError(f"no vectors of {name}: train its encoder on it, too")
        if name == "scored":
            samples = [replace(each, sentiment=_polar(each.sentiment)) for each in samples]
        yield Material(samples, vectors, np.full(len(samples), COUNTS.get(name, 1.0), np.float32))


def _polar(rating: float) -> float:
    """From how strong a feeling is, 1 the strongest, to how likely it is positive less how likely
    negative: of what is half as strong nobody doubts which it is."""
    return max(-1.0, min(1.0, 2 * rating))


def _joined(parts: Sequence[Material], vectors: Mapping[str, Mapping[str, Floats]]) -> Material:
    samples = [sample for part in parts for sample in part.samples]
    return Material(samples, vectors, np.concatenate([part.counts for part in parts]))


def _encoded(
    samples: Sequence[Sample], sources: Sources, cache: Path | None
) -> tuple[dict[str, Encoder], dict[str, dict[str, Floats]]]:
    """Encoders by modality and their vectors by sample, of what the samples have."""
    encoders: dict[str, Encoder] = {}
    vectors: dict[str, dict[str, Floats]] = {}

    def put(modality: str, of: Sequence[Sample], encoder: Encoder, made: Floats) -> None:
        encoders[modality] = encoder
        vectors[modality] = {sample.id: v for sample, v in zip(of, made, strict=True)}

    if texts := [sample for sample in samples if sample.text.strip()]:
        reader = registry.load_affect(sources.text)
        put("text", texts, reader.encoder, features.texts(reader, texts, cache))
    if clips := [sample for sample in samples if sample.audio]:
        listener = registry.load_voice(sources.voice)
        put("voice", clips, listener.encoder, features.voices(listener, clips, cache))
    if faces := [sample for sample in samples if sample.image]:
        watcher = registry.load_expression(sources.face)
        put("face", faces, watcher.encoder, features.faces(watcher, faces, cache))
    if not encoders:
        raise ModelError("the recordings have neither text nor audio nor pictures of faces")
    return encoders, vectors
