"""Labelled recordings, sentences, faces and photos, read into one form: `Sample`.

A corpus is a folder in the form in which it is published, or one's own recordings beside a
`manifest.jsonl` (docs/training.md). Every reader takes the folder and the name of a split. Media
are named, not read: `models.train.features` reads what an encoder is to see.

Sentiment is -1 to 1. A corpus that gives only a label says which sentiment it stands for; one that
gives only emotions says nothing of the sentiment.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.base import Floats, ModelError
from models.train import manifest as manifests

SPOKEN: Final = {
    "angry": "anger",
    "happiness": "joy",
    "happy": "joy",
    "sad": "sadness",
    "fearful": "fear",
    "surprised": "surprise",
    "surprise": "surprise",
}
"""The corpora's names of emotions to ours; those that we have no name for keep theirs."""
LABELS: Final = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}
WHOLE: Final = "all"
MANIFEST: Final = "manifest.jsonl"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a recording or a picture is: a file, or the `index`-th array `name` of an .npz."""

    path: Path
    name: str = ""
    index: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One labelled piece of a session; times in seconds from its start.

    `sentiment` is NaN and `emotions` empty where unknown. `features` are vectors that come with the
    corpus and stand for what an encoder would have made, by modality.
    """

    id: str
    session: str
    speaker: str
    start: float
    end: float
    text: str = ""
    audio: Place | None = None
    image: Place | None = None
    sentiment: float = nan
    emotions: tuple[str, ...] = ()
    features: dict[str, Floats] = field(default_factory=dict)


Reader = Callable[[Path, str], list[Sample]]


def read(dataset: str, folder: Path, split: str) -> list[Sample]:
    """The samples of `split` of a corpus by its name, in the order of its sessions.

    `folder` is the corpus's own, or the one that holds it. Raises ModelError where the corpus, the
    split or a file is missing or malformed, and says what there is.
    """
    own, there = home(dataset, folder), splits(dataset, folder)
    reader, _ = READERS[dataset]
    if there and split not in (*there, WHOLE):
        raise ModelError(f"{own} has no split {split!r}: it has {', '.join([*there, WHOLE])}")
    named = there if split == WHOLE and dataset in (*FILES, "fer2013") else [split]
    try:
        samples = [sample for name in named for sample in reader(own, name)]
    except (KeyError, ValueError) as error:
        raise ModelError(f"{own} is not as {dataset} is published: {error!r}") from error
    if not samples:
        raise ModelError(f"{own} has no sample of the split {split!r}")
    return samples


def home(dataset: str, folder: Path) -> Path:
    """The corpus's own folder, where `folder` is that or the one that holds it.

    Raises ModelError where there is none.
    """
    if dataset not in READERS:
        raise ModelError(f"no dataset {dataset!r}: there are {', '.join(READERS)}")
    _, inside = READERS[dataset]
    own = folder / inside if inside and (folder / inside).is_dir() else folder
    if not own.is_dir():
        raise ModelError(f"no folder {own}")
    return own


def splits(dataset: str, folder: Path) -> list[str]:
    """The names of the splits that a corpus has; none where it does not divide itself."""
    folder = home(dataset, folder)
    if dataset == "manifest":
        return sorted({row.split for row in manifests.read(folder / MANIFEST)})
    if dataset in FILES:
        start = FILES[dataset]
        return sorted(path.stem.removeprefix(start) for path in folder.glob(f"{start}*.csv"))
    if dataset == "fer2013":
        return [name.removeprefix("y_") for name in _arrays(folder) if name.startswith("y_")]
    if dataset in TABLES:
        return sorted({row["split"] for row in rows(folder / TABLES[dataset]) if "split" in row})
    return []


FILES: Final = {"meld": "", "goemotions": "goemotions_ekman_", "sst2": "sst2_"}
"""How the files start whose names end in that of the split."""
TABLES: Final = {
    "mosi": "mosi_utterances.csv",
    "ravdess": "labels.csv",
    "emodb": "labels.csv",
}
"""Those of all splits, told by a column."""


def meld(folder: Path, split: str) -> list[Sample]:
    """MELD (Poria et al. 2019): dialogues of a series, text and labels of every utterance."""
    samples = []
    for row in rows(folder / f"{split}.csv"):
        dialogue, number = row["Dialogue_ID"], int(row["Utterance_ID"])
        start, end = clock(row["StartTime"]), clock(row["EndTime"])
        samples.append(
            Sample(
                id=f"meld/{split}/{dialogue}/{number}",
                session=f"meld/{split}/{dialogue}",
                speaker=row["Speaker"],
                start=start,
                end=max(start, end),
                text=plain(row["Utterance"]),
                sentiment=LABELS[row["Sentiment"]],
                emotions=(row["Emotion"],),
            )
        )
    return samples


def mosi(folder: Path, split: str) -> list[Sample]:
    """CMU-MOSI (Zadeh et al. 2016) by its column `split`, with its ready-made features.

    The features of text and pictures were made by networks that learned from the labels of its
    train part: it has no part to validate with.
    """
    labels, path = rows(folder / TABLES["mosi"]), folder / "mosi_utterance_features.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            vectors = {m: arrays[k] for m, k in MOSI.items()}
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    samples = []
    for n, row in enumerate(labels):
        if row["split"] == split or split == WHOLE:
            said = row["text"]
            samples.append(
                Sample(
                    id=f"mosi/{row['video']}/{row['clip']}",
                    session=f"mosi/{row['video']}",
                    speaker=row["video"],
                    start=float(row["clip"]),  # times are not given: one after the other
                    end=float(row["clip"]) + 1,
                    text=said if any(map(str.islower, said)) else said.capitalize(),
                    sentiment=float(row["score"]) / 3,
                    features={m: np.asarray(v[n], np.float32) for m, v in vectors.items()},
                )
            )
    return samples


MOSI: Final = {"text": "text", "voice": "audio", "image": "visual"}


def goemotions(folder: Path, split: str) -> list[Sample]:
    """GoEmotions (Demszky et al. 2020) in Ekman's emotions; a sentence may have several."""
    return [
        alone(f"goemotions/{split}/{n}", row["text"], emotions=tuple(row["labels"].split("|")))
        for n, row in enumerate(rows(folder / f"goemotions_ekman_{split}.csv"))
    ]


def sst2(folder: Path, split: str) -> list[Sample]:
    """SST-2 (Socher et al. 2013): sentences of film reviews, positive or negative."""
    return [
        alone(f"sst2/{split}/{n}", row["sentence"], sentiment=2.0 * int(row["label"]) - 1)
        for n, row in enumerate(rows(folder / f"sst2_{split}.csv"))
    ]


SCORED: Final = ("tweets", "amazonReviewSnippets", "nytEditorialSnippets", "movieReviewSnippets")
MOVIES: Final = "movieReviewSnippets"


def scored(folder: Path, split: str) -> list[Sample]:
    """Four sets of sentences with the mean score of several raters (Hutto and Gilbert 2014).

    All are of the split 'train'. The film reviews are also what SST-2 is made of, so only those
    are read that are in its train part, and its dev and test parts stay unseen. Such a sentence
    has its twin's name for a speaker, the others that of their article or review: see `splits`.
    """
    if split not in ("train", WHOLE):
        return []
    twins = {letters(each.text): each.id for each in sst2(folder, "train")}
    samples = []
    for name in SCORED:
        for row in rows(folder / f"vader_{name}.csv"):
            twin = twins.get(letters(row["text"]))
            if name == MOVIES and twin is None:
                continue
            article, several, _ = row["id"].partition("_")
            sample = alone(f"scored/{name}/{row['id']}", row["text"])
            source = f"scored/{name}/{article}" if several else ""
            score = float(row["score"]) / 4
            samples.append(replace(sample, speaker=twin or source, sentiment=score))
    return samples


def letters(text: str) -> str:
    """What is left of a sentence however it was set: two corpora's copies are the same."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def spoken(name: str, speaker: str) -> Reader:
    """A corpus of acted clips in `flac/` with labels.csv; `speaker` is the column that names who
    speaks. Without a column `split`, every split but 'all' is one of speakers: see `of_speakers`.
    """

    def reader(folder: Path, split: str) -> list[Sample]:
        samples = []
        for row in rows(folder / TABLES[name]):
            if split != WHOLE and row.get("split", split) != split:
                continue
            emotion = SPOKEN.get(row["emotion"], row["emotion"])
            samples.append(
                Sample(
                    id=f"{name}/{row['file']}",
                    session=f"{name}/{row['file']}",
                    speaker=f"{name}/{row[speaker]}",
                    start=0.0,
                    end=float(row["seconds"]),
                    audio=Place(folder / "flac" / row["file"]),
                    emotions=(emotion,),
                )
            )
        return samples

    return reader


def fer2013(folder: Path, split: str) -> list[Sample]:
    """FER2013 (Goodfellow et al. 2013): faces of 48 x 48 grey pixels with seven expressions."""
    path = folder / FACES
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = [str(name) for name in arrays["classes"]]
            labels = arrays[f"y_{split}"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    return [
        Sample(
            id=f"fer2013/{split}/{n}",
            session=f"fer2013/{split}/{n}",
            speaker="",
            start=0.0,
            end=0.0,
            image=Place(path, f"x_{split}", n),
            emotions=(SPOKEN.get(names[label], names[label]),),
        )
        for n, label in enumerate(labels)
    ]


def _arrays(folder: Path) -> list[str]:
    try:
        with np.load(folder / FACES, allow_pickle=False) as arrays:
            return list(arrays)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {folder / FACES}: {error}") from error


FACES: Final = "fer2013_48x48.npz"


def manifest(folder: Path, split: str) -> list[Sample]:
    """One's own recordings: `manifest.jsonl`, a JSON object per line, sessions in order of time."""
    rows_ = manifests.read(folder / MANIFEST)
    samples = [_own(folder, row) for row in rows_ if split in (WHOLE, row.split)]
    return sorted(samples, key=lambda sample: (sample.session, sample.start, sample.id))


def _own(folder: Path, row: manifests.Row) -> Sample:
    emotions = [row.emotion] if isinstance(row.emotion, str) else row.emotion
    return Sample(
        id=row.id,
        session=row.session or row.id,
        speaker=row.speaker,
        start=row.start,
        end=max(row.start, row.end),
        text=row.text,
        audio=Place(folder / row.audio) if row.audio else None,
        image=Place(folder / row.image) if row.image else None,
        sentiment=nan if row.sentiment is None else row.sentiment,
        emotions=tuple(SPOKEN.get(each, each) for each in emotions),
    )


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture with the sentences that describe it."""

    path: Path
    captions: tuple[str, ...]


def photos(folder: Path, split: str) -> list[Photo]:
    """Flickr8k and COCO as pictures and a captions.json: [{file, captions, split}].

    Raises ModelError where there is none of the split.
    """
    path = folder / "captions.json"
    try:
        rows_: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        found = [
            Photo(_picture(folder, row["file"]), tuple(row["captions"]))
            for row in rows_
            if split in (WHOLE, row.get("split", split))
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"cannot read photos of {path}: {error!r}") from error
    if not found:
        splits = sorted({str(row.get("split")) for row in rows_})
        raise ModelError(f"{path} has no photo of the split {split!r}: it has {', '.join(splits)}")
    return found


def _picture(folder: Path, file: str) -> Path:
    inside = folder / "images" / file
    return inside if inside.is_file() else folder / file


def alone(id_: str, text: str, *, sentiment: float = nan, emotions: tuple[str, ...] = ()) -> Sample:
    """A sentence that is its own session."""
    return Sample(id_, id_, "", 0.0, 0.0, text, sentiment=sentiment, emotions=emotions)


def of_speakers(samples: Sequence[Sample], held_out: set[str], *, held: bool) -> list[Sample]:
    """The samples whose speaker is (`held`) or is not one of `held_out`."""
    return [sample for sample in samples if (sample.speaker in held_out) == held]


def plain(text: str) -> str:
    """Quotation marks that Windows left in the file, as everybody else writes them."""
    return text.translate(_QUOTES)


_QUOTES: Final = str.maketrans({"\x91": "'", "\x92": "'", "\x93": '"', "\x94": '"', "\u2019": "'"})


def clock(time: str) -> float:
    """'00:20:57,256' in seconds."""
    hours, minutes, seconds = time.replace(",", ".").split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header. Raises ModelError."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ModelError(f"cannot read {path}: {error}") from error


READERS: Final[dict[str, tuple[Reader, str]]] = {
    "meld": (meld, "meld"),
    "mosi": (mosi, "mosi"),
    "goemotions": (goemotions, "text"),
    "sst2": (sst2, "text"),
    "scored": (scored, "text"),
    "ravdess": (spoken("ravdess", "actor"), "ravdess"),
    "emodb": (spoken("emodb", "speaker"), "emodb"),
    "fer2013": (fer2013, "fer2013"),
    "manifest": (manifest, ""),
}
