"""Corpora as samples: one's own manifest, and what is wrong with a folder."""

from __future__ import annotations

import json
from math import isnan
from pathlib import Path

import numpy as np
import pytest

from models.base import ModelError
from models.train import corpora


def written(folder: Path, *rows: dict[str, object]) -> Path:
    (folder / corpora.MANIFEST).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def test_a_manifest_is_read_in_order_of_sessions_and_time(tmp_path: Path) -> None:
    written(
        tmp_path,
        {"id": "3", "session": "b", "start": 1, "end": 2, "text": "later", "split": "dev"},
        {"id": "2", "session": "b", "audio": "x.wav", "sentiment": -0.5, "split": "dev"},
        {"id": "1", "image": "x.jpg", "emotion": ["happy", "surprise"], "split": "dev"},
        {"id": "0", "text": "of another split"},
    )

    first, second, third = corpora.read("manifest", tmp_path, "dev")

    assert (first.session, first.emotions) == ("1", ("joy", "surprise"))
    assert first.image == corpora.Place(tmp_path / "x.jpg")
    assert isnan(first.sentiment)
    assert (second.id, second.sentiment) == ("2", -0.5)
    assert second.audio == corpora.Place(tmp_path / "x.wav")
    assert (third.start, third.end, third.text) == (1, 2, "later")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"text": "no id"}, "id"),
        ({"id": "1", "sentiment": 3}, "sentiment"),
        ({"id": "1", "start": float("nan")}, "start"),
        ({"id": "1", "mood": "good"}, "mood"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, row: dict[str, object], what: str) -> None:
    written(tmp_path, {"id": "0"}, row)

    with pytest.raises(ModelError, match=f"line 2: {what}"):
        corpora.read("manifest", tmp_path, "all")


def test_an_id_is_there_once(tmp_path: Path) -> None:
    written(tmp_path, {"id": "0"}, {"id": "1"}, {"id": "0"})

    with pytest.raises(ModelError, match="line 3: id: '0' is there twice"):
        corpora.read("manifest", tmp_path, "all")


def test_a_corpus_of_several_files_is_read_whole(tmp_path: Path) -> None:
    for split, sentence in (("dev", "good"), ("test", "better")):
        (tmp_path / f"sst2_{split}.csv").write_text(f"label,sentence\n1,{sentence}\n")

    assert [s.id for s in corpora.read("sst2", tmp_path, "all")] == ["sst2/dev/0", "sst2/test/0"]
    with pytest.raises(ModelError, match="no split 'train': it has dev, test, all"):
        corpora.read("sst2", tmp_path, "train")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no dataset 'mood': there are meld, mosi"):
        corpora.read("mood", tmp_path, "dev")
    with pytest.raises(ModelError, match=r"meld.csv|dev.csv"):
        corpora.read("meld", tmp_path, "dev")
    with pytest.raises(ModelError, match="no split 'dev': it has train, all"):
        corpora.read("manifest", written(tmp_path, {"id": "0"}), "dev")


def test_dialogues_have_times_speakers_and_labels(tmp_path: Path) -> None:
    (tmp_path / "meld").mkdir()
    (tmp_path / "meld" / "dev.csv").write_text(
        "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,StartTime,EndTime\n"
        'It\x92s on,Ross,joy,positive,7,2,"00:01:02,250","00:01:01,000"\n',
        encoding="utf-8",
    )

    [sample] = corpora.read("meld", tmp_path, "dev")

    assert (sample.session, sample.speaker, sample.text) == ("meld/dev/7", "Ross", "It's on")
    assert (sample.start, sample.end) == (62.25, 62.25)
    assert (sample.sentiment, sample.emotions) == (1.0, ("joy",))


def test_faces_are_places_in_the_archive(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "fer2013_48x48.npz",
        classes=np.array(["angry", "happy"]),
        x_test=np.zeros((2, 48, 48), np.uint8),
        y_test=np.array([1, 0], np.int8),
    )

    first, second = corpora.read("fer2013", tmp_path, "test")

    assert (first.emotions, second.emotions) == (("joy",), ("anger",))
    assert second.image == corpora.Place(tmp_path / "fer2013_48x48.npz", "x_test", 1)
    with pytest.raises(ModelError, match="no split 'dev': it has test, all"):
        corpora.read("fer2013", tmp_path, "dev")


def test_photos_have_captions(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    rows = [{"file": "a.jpg", "captions": ["a red car"], "split": "test"}]
    (tmp_path / "captions.json").write_text(json.dumps(rows), encoding="utf-8")

    [photo] = corpora.photos(tmp_path, "test")

    assert photo == corpora.Photo(tmp_path / "images" / "a.jpg", ("a red car",))
    with pytest.raises(ModelError, match="no photo of the split 'dev': it has test"):
        corpora.photos(tmp_path, "dev")
