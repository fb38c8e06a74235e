"""The labelled sentences and clips that the experts learn from, read into one form.

A score is -1 to 1. Where a corpus gives only an emotion its sentiment is `POLARITY`, the usual size
of a clearly felt sentence in the scored sets: joy is positive; anger, disgust, fear and sadness are
negative; neutral, calm and boredom are 0. Surprise has no sign in text, and 0 is what it is given
in speech.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from scipy.signal import butter, resample_poly, sosfilt

from models.base import SAMPLE_RATE, Floats, ModelError

POLARITY: Final = 0.4
NEUTRAL: Final = 0.125
"""A score of at most this size is called neutral: half a step of the scored sets."""

SCORED: Final = ("tweets", "amazonReviewSnippets", "nytEditorialSnippets", "movieReviewSnippets")
MOVIES: Final = "movieReviewSnippets"
VALIDATION_SHARE: Final = 0.2

_SIGN: Final = {"joy": 1, "neutral": 0, "anger": -1, "disgust": -1, "fear": -1, "sadness": -1}
_SPOKEN: Final = {
    "angry": "anger",
    "happiness": "joy",
    "happy": "joy",
    "sad": "sadness",
    "fearful": "fear",
    "surprised": "surprise",
    "calm": "neutral",
    "boredom": "neutral",
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A labelled text; `score` NaN and `emotions` empty where unknown; `group` the corpus."""

    text: str
    score: float
    emotions: tuple[str, ...]
    group: str


@dataclass(frozen=True, slots=True)
class Clip:
    """A labelled recording, mono float32 at 16 kHz; `group` the speaker."""

    audio: Floats
    score: float
    emotions: tuple[str, ...]
    group: str


def goemotions(data: Path, part: str) -> list[Sentence]:
    """GoEmotions (Demszky et al. 2020) in Ekman's emotions; `part` is train or dev."""
    return [
        Sentence(row["text"], _polarity(labels), labels, "goemotions")
        for row in _rows(data / "text" / f"goemotions_ekman_{part}.csv")
        for labels in [tuple(row["labels"].split("|"))]
    ]


def scored(data: Path) -> tuple[list[Sentence], list[Sentence]]:
    """Training and validation sentences of the sets scored by VADER's raters (Hutto 2014).

    The last fifth of each set, by its order, validates: neighbours come from one article or review.
    The film reviews are also the source of SST-2, so only those are used that are known to be in
    SST-2's train part (as a list of sentences; its labels are not read): its dev and test parts
    stay unseen.
    """
    train: list[Sentence] = []
    validation: list[Sentence] = []
    for name in SCORED:
        sentences = list(_scored_set(data, name))
        first = round(len(sentences) * (1 - VALIDATION_SHARE))
        train += sentences[:first]
        validation += sentences[first:]
    return train, validation


def sst2(data: Path) -> list[Sentence]:
    """The dev sentences of SST-2 (Socher et al. 2013), 1 or -1: a check, never trained on."""
    rows = _rows(data / "text" / "sst2_dev.csv")
    return [Sentence(r["sentence"], 2.0 * int(r["label"]) - 1, (), "sst2") for r in rows]


def mosi(data: Path) -> list[Sentence]:
    """Transcripts of CMU-MOSI (Zadeh et al. 2016), scored -1 to 1: a check, never trained on."""
    rows = _rows(data / "mosi" / "mosi_utterances.csv")
    return [Sentence(_sentence_case(r["text"]), float(r["score"]) / 3, (), "mosi") for r in rows]


def emodb(data: Path) -> list[Clip]:
    """EMO-DB (Burkhardt et al. 2005): acted German."""
    return list(_clips(data / "emodb", "speaker"))


def ravdess(data: Path) -> list[Clip]:
    """RAVDESS speech (Livingstone and Russo 2018): acted North American English."""
    return list(_clips(data / "ravdess", "actor"))


def telephone(audio: Floats) -> Floats:
    """The audio (16 kHz) as a telephone gives it: 300-3400 Hz, 8 kHz, 8 bits of mu-law (G.711)."""
    band = butter(4, (300, 3400), "bandpass", fs=SAMPLE_RATE, output="sos")
    narrow = np.clip(resample_poly(sosfilt(band, audio), 1, 2), -1, 1)
    companded = np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256)
    coded = np.round(companded * 127.5) / 127.5
    expanded = np.sign(coded) * np.expm1(np.abs(coded) * np.log(256)) / 255
    return np.asarray(resample_poly(expanded, 2, 1), dtype=np.float32)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise ModelError(f"no training data at {path}: see --data")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _polarity(emotions: Sequence[str]) -> float:
    if "surprise" in emotions:
        return nan
    return POLARITY * sum(_SIGN[emotion] for emotion in emotions) / len(emotions)


def _scored_set(data: Path, name: str) -> Iterator[Sentence]:
    rows = _rows(data / "text" / f"vader_{name}.csv")
    usable = _letters_of(_rows(data / "text" / "sst2_train.csv")) if name == MOVIES else None
    for row in rows:
        if usable is None or _letters(row["text"]) in usable:
            yield Sentence(row["text"], float(row["score"]) / 4, (), name)


def _letters_of(rows: Sequence[Mapping[str, str]]) -> set[str]:
    return {_letters(row["sentence"]) for row in rows}


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _sentence_case(text: str) -> str:
    return text if any(map(str.islower, text)) else text.capitalize()


def _clips(folder: Path, speaker: str) -> Iterator[Clip]:
    for row in _rows(folder / "labels.csv"):
        audio, rate = soundfile.read(folder / "flac" / row["file"], dtype="float32")
        if rate != SAMPLE_RATE:
            raise ModelError(f"{row['file']} has {rate} Hz, expected {SAMPLE_RATE}")
        emotion = _SPOKEN.get(row["emotion"], row["emotion"])
        score = POLARITY * _SIGN.get(emotion, 0)
        yield Clip(audio, score, (emotion,), f"{folder.name}-{row[speaker]}")
