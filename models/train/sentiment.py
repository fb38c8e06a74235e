"""Trains the experts of `models.fusion`, calibrates them, and writes what serves.

    python -m models.train.sentiment --data ../shared/data --out models/weights

Only freely usable data trains what is written: GoEmotions and the scored sentences for text, EMO-DB
for voice. RAVDESS (CC BY-NC-SA) measures the voice expert on English that it never heard, and may
only lower two numbers, its trust and its sharpness. SST-2 and CMU-MOSI only measure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch
from safetensors.numpy import save

from models import registry
from models.fusion import EMOTIONS, TENSORS, Expert, FusionModel, Item, Verdict
from models.train import data as corpora
from models.train import figures
from models.train.calibration import (
    Predictions,
    calibrated,
    concatenate,
    join,
    out_of_group,
    predict,
    verdict,
)
from models.train.card import model_card
from models.train.data import Clip
from models.train.features import clip_examples, sentence_examples
from models.train.heads import Examples, Options, emotion_shares, expert, fit
from models.voice import ProsodicVoiceEncoder

PRIOR_DEVIATION: Final = 0.4  # root mean square of the scored sentences: 0.38
TEXT: Final = Options(
    width=128,
    dropout=0.2,
    weight_decay=0.01,
    epochs=40,
    patience=4,
    prior_deviation=PRIOR_DEVIATION,
)
VOICE: Final = Options(
    width=64, dropout=0.6, weight_decay=0.1, epochs=40, batch=64, prior_deviation=PRIOR_DEVIATION
)
MAPPED_WEIGHT: Final = 0.3  # of a GoEmotions sentence: its score is mapped, not rated
VOICE_FULL_S: Final = 2.0  # the length of EMO-DB's clips here
CUSTOMER: Final = (
    "I have been waiting for three weeks and nobody calls me back, this is ridiculous.",
    "Oh that is great, thank you so much for your help.",
    "My order number is four five six.",
)

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trained:
    """An expert; predictions of the held-out part of its own corpora, which the labels are fitted
    to; of a foreign corpus, which they are not; and its figures."""

    expert: Expert
    held_out: Predictions
    foreign: Predictions
    figures: Figures


def train(data: Path, out: Path, cache: Path) -> Figures:
    """Trains on the corpora in `data`, writes model and card to `out`, returns the figures.

    Features are kept in `cache`. Raises ModelError where a corpus is missing.
    """
    torch.set_num_threads(1)  # sums in one order, and so the same weights every time
    text = _train_text(data, cache)
    voice = _train_voice(data, cache)
    labels = _verdict(text, voice)
    _write(out, {"text": text.expert, "voice": voice.expert}, labels)
    result = _all_figures(text, voice, labels, FusionModel.load(out))
    (out / "MODEL_CARD.md").write_text(
        model_card(result, corpora.POLARITY, PRIOR_DEVIATION), encoding="utf-8"
    )
    return result


def _train_text(data: Path, cache: Path) -> Trained:
    encoder = registry.load_text()
    rated, rated_dev = corpora.scored(data)

    def examples(sentences: Sequence[corpora.Sentence], name: str, weight: float = 1) -> Examples:
        return sentence_examples(encoder, sentences, cache, name, weight)

    mapped = examples(corpora.goemotions(data, "train"), "GoEmotions train", MAPPED_WEIGHT)
    mapped_dev = examples(corpora.goemotions(data, "dev"), "GoEmotions dev", MAPPED_WEIGHT)
    learning = concatenate([examples(rated, "scored sets, train"), mapped])
    validation = concatenate([examples(rated_dev, "scored sets, validation"), mapped_dev])
    signs = examples(corpora.sst2(data), "SST-2 dev")
    opinions = examples(corpora.mosi(data), "CMU-MOSI")

    def fitted(part: Examples) -> Expert:
        met = validation.at(np.isin(validation.groups, part.groups))
        return expert(fit(part, met, TEXT), encoder.encoder, part, full_s=1.0, least_s=1.0)

    whole = fitted(learning)
    unseen_sets = out_of_group(learning, validation, _announced("text", fitted))
    held_out = predict(whole, validation)
    final = calibrated(whole, [join([held_out, unseen_sets])], [held_out], PRIOR_DEVIATION)
    foreign = predict(whole, opinions)
    result = {
        **_by_group(held_out, final),
        "unseen_sets": _by_group(unseen_sets, final),
        "sst2_dev": figures.sign_accuracy(predict(whole, signs)),
        "mosi": _figures(foreign, final),
    }
    return Trained(final, held_out, foreign, result)


def _train_voice(data: Path, cache: Path) -> Trained:
    speech = registry.load_speech()
    encoder = ProsodicVoiceEncoder(speech.encoder)

    def examples(clips: list[Clip], name: str) -> Examples:
        """Every clip twice, as recorded and as a telephone gives it."""
        phoned = [replace(clip, audio=corpora.telephone(clip.audio)) for clip in clips]
        return concatenate(
            clip_examples(speech, encoder, part, cache, f"{name}{where}")
            for part, where in ((clips, ""), (phoned, " by telephone"))
        )

    def fitted(part: Examples) -> Expert:
        head = fit(part, None, VOICE)
        return expert(head, encoder.encoder, part, full_s=VOICE_FULL_S, least_s=0.0)

    german = examples(corpora.emodb(data), "EMO-DB")
    english = examples(corpora.ravdess(data), "RAVDESS")
    whole = fitted(german)
    unseen_speakers = out_of_group(german, german, _announced("voice", fitted))
    unseen_corpus = predict(whole, english)
    unseen = [unseen_speakers, unseen_corpus]
    final = calibrated(whole, unseen, unseen, PRIOR_DEVIATION)
    result = {
        "emodb_unseen_speakers": _figures(unseen_speakers, final),
        "ravdess_trained_on_emodb": _figures(unseen_corpus, final),
        "emodb_trained_on_ravdess": _figures(predict(fitted(english), german), final),
        "ravdess_unseen_speakers": _figures(_by_speaker(english, english, fitted), final),
        "ravdess_unseen_speakers_trained_on_both": _figures(
            _by_speaker(concatenate([german, english]), english, fitted), final
        ),
    }
    return Trained(final, unseen_speakers, unseen_corpus, result)


def _verdict(*trained: Trained) -> Verdict:
    posteriors = [each.held_out.posterior(PRIOR_DEVIATION, each.expert.trust) for each in trained]
    return verdict(
        np.concatenate([score for score, _ in posteriors]),
        np.concatenate([deviation for _, deviation in posteriors]),
        np.concatenate([each.held_out.truth.scores for each in trained]),
        np.concatenate([each.held_out.truth.weights for each in trained]),
    )


def _by_speaker(
    learning: Examples, held_out: Examples, fitted: Callable[[Examples], Expert]
) -> Predictions:
    return out_of_group(learning, held_out, _announced("voice", fitted))


def _announced(name: str, fitted: Callable[[Examples], Expert]) -> Callable[[Examples], Expert]:
    """Says which group is held out: the longest silence of a run is here."""

    def announce(part: Examples) -> Expert:
        click.echo(f"{name}: learning from {', '.join(np.unique(part.groups))}", err=True)
        return fitted(part)

    return announce


def _figures(predictions: Predictions, final: Expert) -> Figures:
    """Figures as served: with the trust of the final expert."""
    result: Figures = figures.sentiment(predictions, PRIOR_DEVIATION, final.trust)
    result |= figures.sign_accuracy(predictions)
    if predictions.truth.emotions.any() and predictions.evidence.any():
        result |= figures.emotions(predictions, emotion_shares(predictions.truth))
    return result


def _by_group(predictions: Predictions, final: Expert) -> Figures:
    return {
        str(group): _figures(predictions.at(predictions.truth.groups == group), final)
        for group in np.unique(predictions.truth.groups)
    }


def _all_figures(text: Trained, voice: Trained, labels: Verdict, model: FusionModel) -> Figures:
    return {
        "revision": model.revision,
        "text": text.figures,
        "voice": voice.figures,
        "trust": {"text": text.expert.trust, "voice": voice.expert.trust},
        "sharpness": {"text": text.expert.sharpness, "voice": voice.expert.sharpness},
        "labels": {
            name: figures.confidence(predictions, PRIOR_DEVIATION, each.expert.trust, labels)
            for each, parts in (
                (text, {"text": text.held_out, "mosi (not fitted to)": text.foreign}),
                (voice, {"voice": voice.held_out, "ravdess (not fitted to)": voice.foreign}),
            )
            for name, predictions in parts.items()
        },
        "verdict": asdict(labels),
        "sentences": _sentences(model),
    }


def _sentences(model: FusionModel) -> Figures:
    """What the model as written thinks of sentences that a customer might say."""
    encoder = registry.load_text()
    name = encoder.encoder
    windows = [
        [Item("caption", "text", vector, name.id, name.revision, 3.0)]
        for vector in encoder.encode(CUSTOMER)
    ]
    opinions = model.judge(windows)
    return {
        sentence: asdict(opinion)
        for sentence, opinion in zip(CUSTOMER, opinions, strict=True)
        if opinion
    }


def _write(out: Path, experts: dict[str, Expert], labels: Verdict) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{modality}.{name}": np.ascontiguousarray(getattr(each, name))
        for modality, each in experts.items()
        for name in TENSORS
    }
    (out / "model.safetensors").write_bytes(save(tensors))
    description = {
        "emotions": EMOTIONS,
        "emotion_prior": experts["text"].emotion_prior.tolist(),
        "prior_deviation": PRIOR_DEVIATION,
        "verdict": asdict(labels),
        "experts": {modality: _described(each) for modality, each in experts.items()},
    }
    (out / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _described(each: Expert) -> Figures:
    return {
        "encoder": asdict(each.encoder),
        "emotion_prior": each.emotion_prior.tolist(),
        "trust": each.trust,
        "sharpness": each.sharpness,
        "full_s": each.full_s,
        "least_s": each.least_s,
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--cache", type=click.Path(path_type=Path), help="Kept features.")
def main(data: Path, out: Path, cache: Path | None) -> None:
    """Train the sentiment model and print its figures as JSON."""
    result = train(data, out, cache or registry.cache_folder() / "features")
    click.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
