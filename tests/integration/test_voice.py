"""Prosody of made sounds, and the shipped sentiment model on real encoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models import registry
from models.base import SAMPLE_RATE, Encoder, Floats, ModelError, Transcript, Utterance
from models.fusion import FusionModel, Item
from models.train.calibration import Predictions, trust
from models.train.data import telephone
from models.train.heads import Examples, Head, Options, expert, fit
from models.voice import PROSODY, ProsodicVoiceEncoder, prosody

WEIGHTS = Path(registry.__file__).parent / "weights"
SPEECH = Encoder("speech", "r1", 8)


def tone(hertz: float, seconds: float = 1.0) -> Floats:
    """A buzz with harmonics, as a voice has them."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    waves = [np.sin(2 * np.pi * hertz * n * times) / n for n in range(1, 12)]
    buzz: Floats = (0.1 * np.sum(waves, axis=0)).astype(np.float32)
    return buzz


def measure(audio: Floats, name: str) -> float:
    return float(prosody(audio)[PROSODY.index(name)])


def transcript(encoding: Floats) -> Transcript:
    return Transcript("", (), "en", 0.0, 0.0, 1.0, encoding)


@pytest.mark.parametrize("hertz", [90, 150, 220, 350])
@pytest.mark.parametrize("heard", [lambda x: x, telephone], ids=["headset", "telephone"])
def test_pitch_is_found_though_a_telephone_cuts_it_off(
    hertz: float, heard: Callable[[Floats], Floats]
) -> None:
    semitones = measure(heard(tone(hertz)), "pitch_median")
    assert 100 * 2 ** (semitones / 12) == pytest.approx(hertz, rel=0.03)


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros(0, np.float32),
        np.zeros(1, np.float32),
        np.zeros(5 * SAMPLE_RATE, np.float32),
        np.full(3200, 0.5, np.float32),
        np.full(3200, np.nan, np.float32),
        tone(150, 0.2),
    ],
)
def test_prosody_is_always_finite(audio: Floats) -> None:
    assert np.isfinite(prosody(audio)).all()


def test_prosody_does_not_depend_on_the_gain() -> None:
    audio = np.concatenate([tone(120), np.zeros(8000, np.float32), tone(180)])
    quiet = (audio / 8).astype(np.float32)
    np.testing.assert_allclose(prosody(audio), prosody(quiet), atol=0.05)


def test_a_pause_is_measured() -> None:
    audio = np.concatenate([tone(120), np.zeros(SAMPLE_RATE // 2, np.float32), tone(120)])
    assert measure(audio, "longest_pause") == pytest.approx(0.5, abs=0.06)


def test_a_voice_vector_is_the_mean_encoding_and_then_prosody() -> None:
    encoder = ProsodicVoiceEncoder(SPEECH)
    audio = tone(150)
    [vector] = encoder.encode([audio], [transcript(np.arange(8, dtype=np.float32))])
    assert vector.shape == (encoder.encoder.dimension,)
    assert vector[:4].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(vector[4:], prosody(audio))
    with pytest.raises(ModelError, match="expected"):
        encoder.encode([audio], [transcript(np.zeros(4, np.float32))])


def examples(count: int, signal: float) -> Examples:
    """Scores that follow the first of five features to this degree, the rest is noise."""
    random = np.random.default_rng(count)
    vectors = random.normal(size=(count, 5)).astype(np.float32)
    noise = random.normal(size=count)
    scores = 0.4 * (signal * vectors[:, 0] + (1 - signal) * noise)
    emotions = np.zeros((count, 7), np.float32)
    emotions[np.arange(count), np.where(vectors[:, 0] > 0, 3, 0)] = 1
    groups = np.full(count, "one")
    return Examples(
        vectors, scores.astype(np.float32), emotions, np.ones(count, np.float32), groups
    )


OPTIONS = Options(width=8, dropout=0.0, weight_decay=0.0, learning_rate=1e-2, epochs=15)


def test_what_is_trained_is_what_serves() -> None:
    data = examples(300, 1.0)
    head = Head(data.vectors, OPTIONS).eval()
    served = expert(head, Encoder("e", "r", 5), data, full_s=1.0, least_s=0.0)
    with torch.inference_mode():
        output = head(torch.from_numpy(data.vectors)).numpy()
    beliefs = [served.believe(vector) for vector in data.vectors]
    np.testing.assert_allclose([b.mean for b in beliefs], np.tanh(output[:, 0]), atol=1e-5)
    np.testing.assert_allclose([b.precision for b in beliefs], np.exp(-output[:, 1]), rtol=1e-4)


def test_training_learns_a_signal_and_its_limits() -> None:
    def deviation(signal: float) -> float:
        train, new = examples(2000, signal), examples(500, signal)
        head = fit(train, new, OPTIONS)
        served = expert(head, Encoder("e", "r", 5), train, full_s=1.0, least_s=0.0)
        return float(np.mean([served.believe(v).precision ** -0.5 for v in new.vectors]))

    assert deviation(0.9) < 0.5 * deviation(0.0)


def test_an_expert_that_knows_nothing_is_not_trusted() -> None:
    truth = examples(2000, 0.0)
    guesses = np.random.default_rng(1).choice([-0.8, 0.8], 2000)
    predictions = Predictions(guesses, np.full(2000, 10.0), np.zeros((2000, 7)), truth)
    assert trust(predictions, 0.4) == 0


@pytest.fixture(scope="module")
def shipped() -> FusionModel:
    return FusionModel.load(WEIGHTS)


def test_the_shipped_model_hears_what_a_customer_says(shipped: FusionModel) -> None:
    encoder = registry.load_text()
    name = encoder.encoder
    angry, pleased, matter_of_fact = shipped.judge(
        [
            [Item("c", "text", vector, name.id, name.revision, 3.0)]
            for vector in encoder.encode(
                [
                    "I have been waiting for three weeks and nobody calls me back, "
                    "this is ridiculous.",
                    "Oh that is great, thank you so much for your help.",
                    "My order number is four five six.",
                ]
            )
        ]
    )
    assert angry and pleased and matter_of_fact
    assert [angry.label, matter_of_fact.label, pleased.label] == ["negative", "neutral", "positive"]


def test_the_shipped_model_takes_the_served_voice(shipped: FusionModel) -> None:
    speech = registry.load_speech(threads=1)
    voice = ProsodicVoiceEncoder(speech.encoder)
    audio = [tone(150, 2.0)]
    [vector] = voice.encode(audio, speech.transcribe([Utterance(audio[0])]))
    name = voice.encoder
    [opinion] = shipped.judge([[Item("v", "voice", vector, name.id, name.revision, 2.0)]])
    assert opinion is None or abs(opinion.score) < 0.4  # a buzz is not a strong feeling


def test_the_weights_are_small() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.glob("model.*")) < 2_000_000
