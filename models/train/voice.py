"""Trains the head that reads feelings from voices, `models.voice.AffectVoiceEncoder`.

It learns from acted speech, RAVDESS (Livingstone and Russo, 2018) and EMO-DB (Burkhardt et al.,
2005), or from one's own recordings; from every clip as it was recorded and as a telephone gives it.
What is reported is always of speakers that a head was neither chosen nor fitted with, and knows
nothing of them from elsewhere: no speaker's mean is taken.

It takes minutes, most of which is hearing; what was heard is kept in the cache, so that a run that
was cut off goes on there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from models import registry
from models.base import Encoder, Floats, ModelError, VoiceEncoder
from models.fusion import SENTIMENTS
from models.train import corpora, features, unseen, voice_report
from models.train.corpora import Sample
from models.train.material import by_telephone, score_of, sentiment_of
from models.train.metrics import Figures, Integers
from models.train.splits import group_of
from models.train.voice_fitting import (
    HEADS,
    INNER_FOLDS,
    Choice,
    Examples,
    choose,
    crossfitted,
    fit,
    probabilities,
)
from models.voice import DESCRIPTION, VOICE_EMOTIONS, WEIGHTS, Head

CORPORA: Final = ("ravdess", "emodb")
FREE: Final = ("emodb",)
"""What anybody may learn from."""
FEWEST: Final = INNER_FOLDS + 1
"""Speakers from which something can be held out, and held out again."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to train; `base` hears, by its URI; `runs` ways of dealing out the speakers are measured,
    the first by `seed`."""

    seed: int = 0
    free: bool = False
    runs: int = 5
    threads: int = 1
    base: str = registry.SPEECH_ENGLISH
    cache: Path | None = None


DEFAULTS: Final = Options()


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Samples with the corpora that they are of."""

    samples: tuple[Sample, ...]
    corpora: tuple[str, ...]

    def named(self) -> tuple[str, ...]:
        """Each corpus once; its samples stand together."""
        return tuple(dict.fromkeys(self.corpora))

    def of(self, corpus: str) -> list[Sample]:
        pairs = zip(self.samples, self.corpora, strict=True)
        return [sample for sample, name in pairs if name == corpus]


def train(data: Path, out: Path, options: Options = DEFAULTS) -> Figures:
    """Trains on the split 'train' of the clips in `data` and writes the model's folder `out`.

    `data` holds ravdess and emodb, or one of them, or a manifest. Returns the figures on speakers
    held out. Raises ModelError where there are no clips, or of too few speakers.
    """
    registry.set_threads(options.threads)
    clips = learned(data, free=options.free)
    encoder = registry.load_sound(options.base)
    examples = heard(encoder, clips, options.cache)
    seeds = range(options.seed, options.seed + options.runs)
    logits = crossfitted(examples, seeds)
    choice = choose(examples, options.seed)
    write(out, fit(examples, choice), facts(encoder.encoder, clips, choice, options))
    keep_unseen(out, clips, logits[0])
    command = "tenor train voice" + (" --free" if options.free else "")
    return voice_report.report(out, examples, logits, choice, command)


def judged(
    folder: Path, samples: Sequence[Sample], cache: Path | None = None
) -> tuple[Integers, Floats]:
    """The true emotion [n] of every clip, a number in `VOICE_EMOTIONS`, and the probabilities
    [n, 9] that the model in `folder` gives, of the emotions that occur among the clips.

    Of several emotions of a clip the first one is taken to be true. Raises ModelError.
    """
    known = [sample for sample in samples if set(sample.emotions) & set(VOICE_EMOTIONS)]
    encoder = registry.load_voice(f"file:{folder}")
    shares = np.array([_emotions(sample) for sample in known], np.float32)
    logits = features.voices(encoder, known, cache)[:, HEADS[0]]
    return shares.argmax(axis=1), probabilities(logits, np.any(shares, axis=0, keepdims=True))


def learned(data: Path, *, free: bool = False) -> Clips:
    """The labelled clips to learn from. Raises ModelError."""
    found: dict[str, list[Sample]] = {}
    for name in _datasets(data, free=free):
        samples = [each for each in corpora.read(name, data, "train") if _usable(each)]
        if len({group_of(each) for each in samples}) < FEWEST:
            raise ModelError(
                f"{name} in {data} has labelled clips of fewer than {FEWEST} speakers, and some"
                " must be held out: name more speakers, or leave it out"
            )
        found[name] = samples
    names = tuple(name for name, samples in found.items() for _ in samples)
    return Clips(tuple(each for samples in found.values() for each in samples), names)


def heard(encoder: VoiceEncoder, clips: Clips, cache: Path | None) -> Examples:
    """Every clip as recorded, and then every clip as by telephone."""
    vectors = [
        features.voices(encoder, clips.of(name), cache, telephone=telephone)
        for telephone in (False, True)
        for name in clips.named()
    ]
    shares = np.array([_shares(sample) for sample in clips.samples], np.float32)
    allowed = np.ones_like(shares, dtype=bool)
    for name in clips.named():
        own = np.array(clips.corpora) == name
        allowed[own, HEADS[0]] = shares[own, HEADS[0]].any(axis=0)
    return Examples(
        vectors=np.concatenate(vectors),
        shares=np.tile(shares, (2, 1)),
        allowed=np.tile(allowed, (2, 1)),
        corpora=clips.corpora * 2,
        speakers=tuple(group_of(sample) for sample in clips.samples) * 2,
    )


def facts(encoder: Encoder, clips: Clips, choice: Choice, options: Options) -> dict[str, Any]:
    """What `AffectVoiceEncoder` must know of the weights, and how they came to be."""
    return {
        "emotions": VOICE_EMOTIONS,
        "sentiments": SENTIMENTS,
        "base": options.base,
        "encoder": {"id": encoder.id, "revision": encoder.revision},
        "speakers": sorted({sample.speaker for sample in clips.samples}),
        "strength": choice.strength,
        "temperatures": [round(each, 3) for each in choice.temperatures],
        "seed": options.seed,
    }


def write(out: Path, head: Head, known: Mapping[str, Any]) -> None:
    """The weights, and what is known of them."""
    out.mkdir(parents=True, exist_ok=True)
    (out / WEIGHTS).write_bytes(head.tensors())
    (out / DESCRIPTION).write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def keep_unseen(out: Path, clips: Clips, logits: Floats) -> None:
    """Leaves what heads said of speakers that they had not heard to those who learn from it."""
    phoned = [by_telephone(sample) for sample in clips.samples]
    unseen.save(out, [sample.id for sample in (*clips.samples, *phoned)], logits)


def _datasets(data: Path, *, free: bool) -> tuple[str, ...]:
    if (data / corpora.MANIFEST).is_file():
        return ("manifest",)
    names = FREE if free else CORPORA
    there = tuple(name for name in names if (data / name).is_dir())
    if not there:
        raise ModelError(f"{data} has none of {', '.join(names)}, and no {corpora.MANIFEST}")
    return there


def _usable(sample: Sample) -> bool:
    return sample.audio is not None and any(_shares(sample))


def _shares(sample: Sample) -> list[float]:
    """Of `OUTPUTS`: the emotions in equal shares, and the sentiment, given or that of the
    emotions."""
    label = sentiment_of(score_of(sample))
    return [*_emotions(sample), *(float(n == label) for n in range(len(SENTIMENTS)))]


def _emotions(sample: Sample) -> list[float]:
    known = [emotion for emotion in sample.emotions if emotion in VOICE_EMOTIONS]
    return [known.count(emotion) / len(known) if known else 0.0 for emotion in VOICE_EMOTIONS]
