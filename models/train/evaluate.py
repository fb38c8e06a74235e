"""Sentiment and emotion measured on a labelled corpus, by the very code that serves.

Every sample is encoded and is a window of its conversation, in the order of time
(`models.train.replay`). The figures, which `models.train.judgements` explains, also stand under
`patterns` for every set of modalities, of the samples that have all of it, with the rest taken
away; and under `encoder` are those of what an encoder says by itself (`models.train.alone`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models import registry
from models.base import Encoder, Floats, ModelError
from models.fusion import FusionModel
from models.train import corpora, features, judgements, ready_made, replay
from models.train.corpora import WHOLE, Sample
from models.train.fusion_recipes import CLIPS, FACES, TEXTS, patterns
from models.train.judgements import Judged
from models.train.metrics import Figures

NAMES: Final = {"voice": "audio", "face": "image"}
"""What modalities are called in figures."""
LEARNED: Final = "train"
MOSI_MODEL: Final = "pkg:models/weights/mosi"
"""Trained on MOSI's ready-made vectors, which no encoder of ours makes."""
NOTE: Final = "weights may have been trained on these samples: this is no measure of their quality"

Vectors = dict[str, dict[str, Floats]]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the models are, as URIs: that which fuses, and the encoders of text, voice and faces,
    which run on `device`."""

    fusion: str
    text: str
    voice: str
    face: str
    device: str = "cpu"


def evaluate(
    dataset: str,
    folder: Path,
    split: str,
    sources: Sources,
    *,
    limit: int | None = None,
    cache: Path | None = None,
) -> Figures:
    """The figures on a corpus's split, or on its first `limit` samples.

    `folder` is the corpus's own or the one that holds it. Vectors are kept in `cache`. Raises
    ModelError where samples or models are not there or do not fit.
    """
    model = FusionModel.load(registry.resolve(sources.fusion))
    samples = of_split(dataset, folder, split, sources)[:limit]
    vectors = seen(samples, model, sources, cache)
    if not vectors:
        raise ModelError(
            f"nothing in {split!r} of {dataset} can be judged: no {', '.join(model.encoders)}"
        )

    def figures(pattern: Collection[str]) -> Figures:
        said = judged(model, samples, vectors, pattern)
        whole = [each for each in said if all(each.sample.id in vectors[m] for m in pattern)]
        return judgements.figures(dataset, whole)

    everything = judged(model, samples, vectors)
    return {
        "dataset": dataset,
        "split": split,
        **judgements.figures(dataset, everything),
        "patterns": {name_of(pattern): figures(pattern) for pattern in patterns(tuple(vectors))},
        **encoder_alone(dataset, samples, vectors, sources, cache),
        "model": model.revision,
        "encoders": {NAMES.get(m, m): model.encoders[m].revision for m in vectors},
        **({"note": NOTE} if trained_on(dataset, split, samples, sources) else {}),
    }


def of_split(dataset: str, folder: Path, split: str, sources: Sources) -> list[Sample]:
    """The samples of a split. Of a corpus of acted clips that does not divide itself, 'train' are
    the speakers that the encoder of voices learned from, and any other name stands for the rest."""
    samples = corpora.read(dataset, folder, split)
    divided = dataset not in CLIPS or corpora.splits(dataset, folder)
    if divided or split == WHOLE:
        return samples
    known = learned_speakers(sources.voice)
    chosen = corpora.of_speakers(samples, known, held=split == LEARNED)
    if not chosen:
        raise ModelError(
            f"{folder} has no speaker of {dataset} in {split!r}: {LEARNED!r} are those that"
            f" {sources.voice} learned from, any other name stands for the rest, and {WHOLE!r} for"
            " both"
        )
    return chosen


def trained_on(dataset: str, split: str, samples: Sequence[Sample], sources: Sources) -> bool:
    """Whether some of the samples may have been learned from."""
    if dataset in CLIPS:
        return bool({sample.speaker for sample in samples} & learned_speakers(sources.voice))
    return split in (LEARNED, WHOLE)


def learned_speakers(voice: str) -> set[str]:
    """Those that an encoder of voices learned from, as its model.json tells."""
    path = registry.resolve(voice) / "model.json"
    try:
        return set(map(str, json.loads(path.read_bytes()).get("speakers", ())))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error


def seen(
    samples: Sequence[Sample], model: FusionModel, sources: Sources, cache: Path | None = None
) -> Vectors:
    """The vectors by modality and by the sample's id, of the modalities that the samples have and
    the model takes; ready-made ones where a corpus has them."""
    if any(sample.features for sample in samples):
        text = model.encoders.get("text")
        reads = text is not None and text.id == ready_made.WITH_AFFECT
        reader = registry.load_affect(sources.text) if reads else None
        found = ready_made.encoders(samples, reader.encoder if reader else None)
        for name, encoder in found.items():
            check(name, model.encoders.get(name, encoder), encoder)
        ready = ready_made.vectors(samples, reader, cache)
        return {modality: ready[modality] for modality in model.encoders if modality in ready}
    return {
        modality: made
        for modality, expected in model.encoders.items()
        if (made := _encoded(modality, expected, samples, sources, cache))
    }


def _encoded(
    modality: str,
    expected: Encoder,
    samples: Sequence[Sample],
    sources: Sources,
    cache: Path | None,
) -> dict[str, Floats]:
    has, encode = ENCODERS.get(modality, (_never, _text))
    chosen = [sample for sample in samples if has(sample)]
    if not chosen:
        return {}
    vectors = encode(chosen, expected, sources, cache)
    return {sample.id: vector for sample, vector in zip(chosen, vectors, strict=True)}


def _text(
    samples: Sequence[Sample], expected: Encoder, sources: Sources, cache: Path | None
) -> Floats:
    encoder = registry.load_affect(sources.text, sources.device)
    check("text", expected, encoder.encoder)
    return features.texts(encoder, samples, cache)


def _voice(
    samples: Sequence[Sample], expected: Encoder, sources: Sources, cache: Path | None
) -> Floats:
    encoder = registry.load_voice(sources.voice, sources.device)
    check("voice", expected, encoder.encoder)
    return features.voices(encoder, samples, cache)


def _face(
    samples: Sequence[Sample], expected: Encoder, sources: Sources, cache: Path | None
) -> Floats:
    recognizer = registry.load_expression(sources.face, sources.device)
    check("face", expected, recognizer.encoder)
    return features.faces(recognizer, samples, cache)


def _never(_: Sample) -> bool:
    return False


Encode = Callable[[Sequence[Sample], Encoder, Sources, Path | None], Floats]
ENCODERS: Final[Mapping[str, tuple[Callable[[Sample], Any], Encode]]] = {
    "text": (lambda sample: sample.text.strip(), _text),
    "voice": (lambda sample: sample.audio, _voice),
    "face": (lambda sample: sample.image, _face),
}
"""By modality, whether a sample has it, and what makes its vectors."""


def check(modality: str, expected: Encoder, found: Encoder) -> None:
    """Raises ModelError where the fusion model was trained on another encoder."""
    if found != expected:
        cure = SETTINGS.get(modality, "--model")
        raise ModelError(
            f"the fusion model was trained on {modality} of {expected.id} {expected.revision}, but"
            f" {found.id} {found.revision} is named: set {cure}, or train fusion anew"
        )


SETTINGS: Final = {
    "text": "TENOR_AFFECT_MODEL",
    "voice": "TENOR_VOICE_MODEL",
    "face": "TENOR_EXPRESSION_MODEL",
}


def judged(
    model: FusionModel,
    samples: Sequence[Sample],
    vectors: Vectors,
    pattern: Collection[str] | None = None,
) -> list[Judged]:
    """What is said of the samples; those of which nothing can be said are left out."""
    said = replay.opinions(model, samples, vectors, pattern)
    return [
        Judged(sample, opinion, model.named(opinion.emotions))
        for sample, opinion in zip(samples, said, strict=True)
        if opinion
    ]


def encoder_alone(
    dataset: str, samples: Sequence[Sample], vectors: Vectors, sources: Sources, cache: Path | None
) -> Figures:
    """What the encoder that learned from such a corpus says by itself."""
    from models.train import alone  # noqa: PLC0415  (it imports every encoder's training)

    if dataset in CLIPS:
        return {"encoder": alone.of_clips(samples, sources.voice, cache)}
    if dataset in FACES:
        return {"encoder": alone.of_faces(samples, vectors["face"])}
    if dataset in TEXTS:
        return {"encoder": alone.of_texts(dataset, samples, vectors["text"], sources.text)}
    return {}


def name_of(pattern: Sequence[str]) -> str:
    """As it is called in figures: text+audio."""
    return "+".join(NAMES.get(modality, modality) for modality in pattern)
