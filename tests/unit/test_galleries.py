"""Retrieval figures on galleries small enough to count by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.align import AlignModel
from models.base import Encoder, Floats, ImageContent, ModelError, Pixels
from models.train import galleries, pairs
from models.train.corpora import Photo
from models.train.pairs import Pairs

SAME = Encoder("clip", "r", 8)


def model(threshold: float = 0.5) -> AlignModel:
    made = AlignModel.identity(SAME, SAME)
    return AlignModel(made.projections, threshold, "r")


def separate(photos: int, captions: int = 2) -> Pairs:
    """Photos in directions of their own, each with captions in exactly its direction."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((photos, 8)).astype(np.float32)
    owner = np.repeat(np.arange(photos), captions)
    hashes = tuple(f"{n:08x}" for n in range(photos))
    return Pairs(vectors, vectors[owner], owner, hashes)


def test_ranks_count_what_comes_before() -> None:
    cosines = np.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.8], [0.7, 0.6, 0.4]], np.float32)
    owner = np.array([0, 1, 1])  # nobody describes the third photo
    texts, pictures = galleries.ranks(cosines, owner)
    assert texts.tolist() == [0, 1, 1]
    assert pictures.tolist() == [0, 0]


def test_who_cannot_tell_finds_nothing() -> None:
    texts, pictures = galleries.ranks(np.zeros((20, 10), np.float32), np.repeat(range(10), 2))
    assert texts.tolist() == [9] * 20
    assert pictures.tolist() == [18] * 10


def test_what_fits_is_found_at_once() -> None:
    figures = galleries.measure(model(), separate(30), size=10)
    assert figures["recall_at"] == {"1": 1.0, "5": 1.0, "10": 1.0}
    assert figures["recall_at_image_to_text"]["1"] == 1.0
    assert figures["gallery"] == 10
    assert figures["matches"]["recall"] == 1.0


def test_what_fits_by_chance_is_found_by_chance() -> None:
    apart = separate(100)
    turned = Pairs(np.roll(apart.photos, 1, axis=1), apart.captions, apart.owner, apart.hashes)
    found = galleries.measure(model(), turned, size=20)["recall_at"]
    assert found["1"] == pytest.approx(0.05, abs=0.05)
    assert found["10"] == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(
    ("photos", "size", "count"), [(5, 100, 1), (100, 100, 1), (159, 100, 10), (1234, 100, 12)]
)
def test_galleries_are_of_one_size_and_hold_each_photo_once(
    photos: int, size: int, count: int
) -> None:
    drawn = list(galleries.drawn(photos, size))
    assert len(drawn) == count
    assert {len(set(each.tolist())) for each in drawn} == {min(size, photos)}
    assert all(each.max() < photos for each in drawn)
    again = list(galleries.drawn(photos, size))
    assert all((one == other).all() for one, other in zip(drawn, again, strict=True))


def test_every_photo_is_in_some_gallery() -> None:
    seen = {photo for each in galleries.drawn(300) for photo in each.tolist()}
    assert seen == set(range(300))


def test_a_match_is_weighed_as_one_in_ten() -> None:
    cosines = np.array([[0.9, 0.6], [0.1, 0.4]], np.float32)
    figures = galleries.decisions(model(0.5), cosines, np.array([0, 1]))
    assert figures["recall"] == 0.5
    assert figures["precision"] == pytest.approx(0.05 / (0.05 + 0.45))


def test_a_choice_of_photos_keeps_their_captions() -> None:
    every = separate(6)
    chosen = every.of(np.array([4, 1]))
    assert chosen.owner.tolist() == [1, 1, 0, 0]
    np.testing.assert_array_equal(chosen.photos[chosen.owner], chosen.captions)
    assert chosen.hashes == ("00000004", "00000001")
    assert [each.tolist() for each in chosen.captions_of()] == [[2, 3], [0, 1]]


class Colours:
    """A stand-in for both encoders: a picture's mean colour; a text's length."""

    encoder = Encoder("colours", "r", 3)
    face_encoder: Encoder | None = None

    def recognize(self, images: Sequence[Pixels]) -> list[ImageContent]:
        means = [each.mean(axis=(0, 1)).astype(np.float32) for each in images]
        return [ImageContent(mean, (), ()) for mean in means]

    def encode(self, texts: Sequence[str]) -> Floats:
        return np.array([[len(each), 0, 0] for each in texts], np.float32)


def folder_of(folder: Path, *splits: str) -> Path:
    rows = []
    for number, split in enumerate(splits):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / f"{number}.png")
        rows.append({"file": f"{number}.png", "captions": ["a" * number, "b"], "split": split})
    (folder / "captions.json").write_text(json.dumps(rows))
    return folder


def test_only_splits_for_training_are_learned_from(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "train", "test", "val2017", "dev", "train2017")
    assert sorted(photo.path.stem for photo in pairs.learned(folder)) == ["0", "2", "4"]


def test_a_folder_without_such_photos_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it has dev, test"):
        pairs.learned(folder_of(tmp_path, "test", "dev"))


def test_photos_and_captions_are_encoded_in_order(tmp_path: Path) -> None:
    photos = pairs.learned(folder_of(tmp_path, *["train"] * 3))
    found = pairs.encoded(photos, Colours(), Colours(), tmp_path / "cache")
    assert found.photos[:, 0].tolist() == [0, 1, 2]
    assert found.captions[:, 0].tolist() == [0, 1, 1, 1, 2, 1]
    assert found.owner.tolist() == [0, 0, 1, 1, 2, 2]
    first = hashlib.sha256((tmp_path / "0.png").read_bytes()).hexdigest()
    assert found.hashes[0] == first[: pairs.DIGITS]


def test_a_photo_without_captions_is_left_out(tmp_path: Path) -> None:
    [photo] = pairs.learned(folder_of(tmp_path, "train"))
    silent = Photo(photo.path, ())
    found = pairs.encoded([silent, photo], Colours(), Colours(), tmp_path / "cache")
    assert len(found) == 1
    with pytest.raises(ModelError, match="caption"):
        pairs.encoded([silent], Colours(), Colours(), tmp_path / "cache")


def test_a_photo_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    [photo] = pairs.learned(folder_of(tmp_path, "train"))
    photo.path.write_bytes(b"no picture")
    with pytest.raises(ModelError, match=r"0\.png"):
        pairs.encoded([photo], Colours(), Colours(), tmp_path / "cache")
