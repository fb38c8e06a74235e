"""Vectors of samples: kept on disk, made once, and of what is in the files whatever their form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from models.base import SAMPLE_RATE, Encoder, Floats, ModelError
from models.train import features, media
from models.train.corpora import Place, Sample


class Listener:
    """Says how long each clip is and how loud, and counts what it has heard."""

    def __init__(self, revision: str = "r1") -> None:
        self.encoder = Encoder("listener", revision, 2)
        self.heard = 0

    def encode(self, audio: Sequence[Floats]) -> Floats:
        self.heard += len(audio)
        return np.array([[len(each), np.abs(each).mean()] for each in audio], np.float32)


def spoken(path: Path, samples: Floats, rate: int = SAMPLE_RATE) -> Sample:
    soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return Sample(path.name, path.name, "", 0, 1, audio=Place(path))


def buzz(hertz: float, rate: int = SAMPLE_RATE, seconds: float = 0.5) -> Floats:
    times = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def test_vectors_are_made_once(tmp_path: Path) -> None:
    clips = [spoken(tmp_path / f"{n}.wav", buzz(200 + n)) for n in range(3)]
    listener, cache = Listener(), tmp_path / "cache"
    first = features.voices(listener, clips, cache)
    again = features.voices(listener, clips, cache)
    np.testing.assert_array_equal(first, again)
    assert first.shape == (3, 2) and listener.heard == 3
    features.voices(listener, clips, cache, telephone=True)
    assert listener.heard == 6
    spoken(tmp_path / "0.wav", buzz(500))
    features.voices(listener, clips, cache)
    assert listener.heard == 9
    other = Listener("r2")
    features.voices(other, clips, cache)
    assert other.heard == 3


def test_what_was_cut_off_goes_on_after_its_last_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "BLOCK", 2)
    numbers = list(range(5))
    made: list[int] = []
    encoder = Encoder("e", "r", 1)

    def encode(start: int, end: int) -> Floats:
        if start == 4 and len(made) == 4:
            made.append(-1)
            raise KeyboardInterrupt
        made.extend(numbers[start:end])
        return np.array(numbers[start:end], np.float32)[:, None]

    contents = [bytes([n]) for n in numbers]
    with pytest.raises(KeyboardInterrupt):
        features.cached(tmp_path, encoder, contents, encode, "numbers")
    vectors = features.cached(tmp_path, encoder, contents, encode, "numbers")
    assert vectors[:, 0].tolist() == numbers
    assert made == [0, 1, 2, 3, -1, 4]


def test_nothing_has_no_vectors(tmp_path: Path) -> None:
    assert features.voices(Listener(), [], tmp_path).shape == (0, 2)


def test_a_sample_without_a_clip_is_named(tmp_path: Path) -> None:
    clip = spoken(tmp_path / "a.wav", buzz(200))
    with pytest.raises(ModelError, match="b has no audio"):
        features.voices(Listener(), [clip, replace(clip, id="b", audio=None)], tmp_path)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_clip_is_the_same_sound_at_any_rate(tmp_path: Path, rate: int, channels: int) -> None:
    samples = np.repeat(buzz(440, rate)[:, None], channels, axis=1)
    heard = media.clip(Place(spoken(tmp_path / "clip.wav", samples, rate).audio.path))  # type: ignore[union-attr]
    assert heard.dtype == np.float32
    expected = buzz(440)
    assert len(heard) == pytest.approx(len(expected), abs=2)
    middle = slice(1000, -1000)
    np.testing.assert_allclose(heard[: len(expected)][middle], expected[middle], atol=0.02)


@pytest.mark.parametrize(
    ("name", "make", "why"),
    [
        ("a.flac", lambda path: path.write_bytes(b"no recording"), "cannot read"),
        ("absent.flac", lambda path: None, "cannot read"),
        ("long.wav", lambda path: soundfile.write(path, np.zeros(31 * 8000), 8000), "cut"),
        ("empty.wav", lambda path: soundfile.write(path, np.zeros(0), 8000), "cut"),
        ("slow.wav", lambda path: soundfile.write(path, np.zeros(100), 100), "bring it"),
    ],
)
def test_a_clip_that_is_none_is_named(
    tmp_path: Path, name: str, make: Callable[[Path], object], why: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(ModelError, match=why) as error:
        media.clip(Place(tmp_path / name))
    assert name in str(error.value)


def test_a_telephone_lets_a_band_through() -> None:
    def loudness(hertz: float) -> float:
        return float(np.sqrt((media.telephone(buzz(hertz)) ** 2).mean()))

    assert loudness(1000) == pytest.approx(0.35, abs=0.03)
    assert loudness(60) < 0.05 and loudness(6000) < 0.05
