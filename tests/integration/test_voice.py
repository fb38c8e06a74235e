"""Voices: prosody of made sounds, what the encoders make of them, and the head that is shipped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models import registry
from models.base import SAMPLE_RATE, Floats, ModelError, VoiceEncoder
from models.prosody import PROSODY, prosody
from models.train import corpora, features, unseen
from models.train import voice as trainer
from models.train.media import telephone
from models.voice import OUTPUTS, VOICE_EMOTIONS, AffectVoiceEncoder

DATA = Path(__file__).parents[3] / "shared" / "data"
FREE = "pkg:models/weights/free/voice"


def tone(hertz: float, seconds: float = 1.0) -> Floats:
    """A buzz with harmonics, as a voice has them."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    waves = [np.sin(2 * np.pi * hertz * n * times) / n for n in range(1, 12)]
    buzz: Floats = (0.1 * np.sum(waves, axis=0)).astype(np.float32)
    return buzz


def measure(audio: Floats, name: str) -> float:
    return float(prosody(audio)[PROSODY.index(name)])


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


@pytest.fixture(scope="module")
def sound() -> VoiceEncoder:
    return registry.load_sound()


@pytest.fixture(scope="module")
def shipped() -> VoiceEncoder:
    return registry.load_voice()


def test_a_vector_of_sound_ends_with_prosody_and_has_no_gain(sound: VoiceEncoder) -> None:
    audio = np.concatenate([tone(120), np.zeros(8000, np.float32), tone(180)])
    loud, quiet = sound.encode([audio, (audio / 8).astype(np.float32)])
    assert loud.shape == (sound.encoder.dimension,)
    np.testing.assert_allclose(loud[-len(PROSODY) :], prosody(audio))
    np.testing.assert_allclose(loud, quiet, atol=0.1)


@pytest.mark.parametrize("load", [registry.load_sound, registry.load_voice])
def test_a_voice_does_not_depend_on_its_batch(load: Callable[[], VoiceEncoder]) -> None:
    encoder = load()
    audio = [tone(120), tone(200, 0.4), np.zeros(0, np.float32), np.full(8000, np.nan, np.float32)]
    together = encoder.encode(audio)
    assert together.shape == (4, encoder.encoder.dimension) and np.isfinite(together).all()
    for number, each in enumerate(audio):
        np.testing.assert_allclose(encoder.encode([each])[0], together[number], atol=1e-4)


def test_more_than_thirty_seconds_are_refused(shipped: VoiceEncoder) -> None:
    with pytest.raises(ModelError):
        shipped.encode([np.zeros(31 * SAMPLE_RATE, np.float32)])


def test_the_revision_names_the_head_and_what_it_hears_with(
    shipped: VoiceEncoder, sound: VoiceEncoder
) -> None:
    head = registry.fingerprint(registry.resolve(registry.VOICE))
    assert shipped.encoder.id == "affect-voice"
    assert shipped.encoder.revision == f"{head}-{sound.encoder.revision}"
    assert shipped.encoder.dimension == len(OUTPUTS)
    assert registry.load_voice(FREE).encoder.revision != shipped.encoder.revision


def test_the_shipped_head_knows_whom_it_learned_from() -> None:
    """Those are no test of it; of others its card tells."""
    for dataset in ("ravdess", "emodb"):
        if not (DATA / dataset).is_dir():
            pytest.skip(f"{dataset} is absent: ../shared/data/{dataset}")
        clips = corpora.read(dataset, DATA, corpora.WHOLE)[::20]
        true, shares = trainer.judged(registry.resolve(registry.VOICE), clips)
        assert (shares.argmax(axis=1) == true).mean() > 0.75
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
        possible = {VOICE_EMOTIONS[n] for n in np.flatnonzero(shares.sum(axis=0))}
        assert possible == {sample.emotions[0] for sample in clips}


def test_a_head_of_other_vectors_is_refused(tmp_path: Path) -> None:
    shutil.copytree(registry.resolve(registry.VOICE), tmp_path / "voice")
    file = tmp_path / "voice" / "model.json"
    facts = json.loads(file.read_text())
    facts["encoder"]["revision"] = "another"
    file.write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="trained on vectors of"):
        registry.load_voice(f"file:{tmp_path / 'voice'}")
    file.write_text("{}")
    with pytest.raises(ModelError, match="tenor train voice"):
        registry.load_voice(f"file:{tmp_path / 'voice'}")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people who are angry with a rising pitch and sad with a falling one, each at a pitch of
    their own; of one clip nothing is known."""
    import soundfile

    folder = tmp_path_factory.mktemp("own")
    rows = []
    for person in range(6):
        for emotion, steps in (("anger", (1.0, 1.25, 1.5)), ("sadness", (1.5, 1.25, 1.0))):
            for take in range(2):
                name = f"{person}-{emotion}-{take}.wav"
                pitch = 100 + 20 * person + 5 * take
                soundfile.write(
                    folder / name,
                    np.concatenate([tone(pitch * step, 0.3) for step in steps]),
                    SAMPLE_RATE,
                )
                rows.append(
                    {"id": name, "speaker": f"p{person}", "audio": name, "emotion": emotion}
                )
    rows.append({"id": "unknown", "speaker": "p0", "audio": rows[0]["audio"], "emotion": "awe"})
    (folder / corpora.MANIFEST).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def test_own_recordings_teach_a_head(own: Path, tmp_path: Path, sound: VoiceEncoder) -> None:
    options = trainer.Options(runs=1, cache=tmp_path / "cache")
    figures = trainer.train(own, tmp_path / "out", options)
    assert figures["manifest, as recorded"]["clips"] == 24
    assert figures["manifest, as recorded"]["uar"] > 0.8
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.json", "MODEL_CARD.md", "learning.png", unseen.FILE} <= files
    assert {"confusion-manifest.png", "reliability-manifest.png"} <= files

    encoder = registry.load_voice(f"file:{tmp_path / 'out'}")
    assert isinstance(encoder, AffectVoiceEncoder)
    clips = trainer.learned(own).samples
    anger, sadness = OUTPUTS.index("anger"), OUTPUTS.index("sadness")
    logits = features.voices(encoder, clips, tmp_path / "cache")
    angry = np.array(["anger" in sample.emotions for sample in clips])
    assert ((logits[:, anger] > logits[:, sadness]) == angry).all()
    kept = unseen.load(tmp_path / "out")
    assert set(kept) == {f"{s.id}{way}" for s in clips for way in ("", "#telephone")}
    seen = np.stack([kept[sample.id] for sample in clips])
    assert np.abs(seen - logits).max() > 0.01  # those of heads that did not learn from the speaker


def test_too_few_speakers_are_refused(own: Path, tmp_path: Path) -> None:
    rows = (own / corpora.MANIFEST).read_text(encoding="utf-8").splitlines()
    (tmp_path / corpora.MANIFEST).write_text("\n".join(rows[:8]), encoding="utf-8")
    with pytest.raises(ModelError, match="speakers"):
        trainer.learned(tmp_path)
    with pytest.raises(ModelError, match="none of ravdess, emodb"):
        trainer.learned(tmp_path / "absent")
