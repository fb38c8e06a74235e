"""Classes of a picture encoder as pairs beside photos with captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from models.base import Encoder, Floats, ImageRecognizer
from models.train.classes import Classes
from models.train.pairs import Pairs

ROWS = np.array([[2, 0, 1], [0, 2, 1], [-2, -2, 1]], np.float32)


class Naming:
    """An image encoder that names three classes."""

    def classes(self) -> tuple[Sequence[str], Floats]:
        return ("cup", "cat", "fence"), ROWS


class Reading:
    """A text encoder that counts letters."""

    encoder = Encoder("letters", "1", 2)

    def encode(self, texts: Sequence[str]) -> Floats:
        self.read = list(texts)
        return np.array([[len(text), text.count("c")] for text in texts], np.float32)


def photos(count: int) -> Pairs:
    """Unit vectors about a centre, with two captions each."""
    vectors = np.random.default_rng(0).normal(1, 0.1, (count, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    captions = np.zeros((2 * count, 2), np.float32)
    return Pairs(vectors, captions, np.repeat(np.arange(count), 2), ("hash",) * count)


@pytest.fixture
def classes() -> Classes:
    found = Classes.of(cast(ImageRecognizer, Naming()), Reading())
    assert found is not None
    return found


def test_an_encoder_that_names_no_classes_has_none() -> None:
    assert Classes.of(cast(ImageRecognizer, cast(Any, object())), Reading()) is None


def test_a_class_is_said_by_its_name() -> None:
    text = Reading()
    Classes.of(cast(ImageRecognizer, Naming()), text)
    assert text.read == ["A photo of a cup.", "A photo of a cat.", "A photo of a fence."]


def test_classes_stand_after_the_photos_each_with_its_name(classes: Classes) -> None:
    learned = photos(20)
    both = classes.beside(learned)
    assert len(both) == 23
    assert both.photos[:20] == pytest.approx(learned.photos)
    assert [list(numbers) for numbers in both.captions_of()[-3:]] == [[40], [41], [42]]
    assert both.captions[-3:] == pytest.approx(classes.captions)
    assert len(both.hashes) == 23


def test_a_class_lies_in_its_direction_as_far_away_as_photos_do(classes: Classes) -> None:
    learned = photos(200)
    placed = classes.beside(learned).photos[-3:]
    assert np.linalg.norm(placed, axis=1) == pytest.approx(np.ones(3))
    centre = learned.photos.mean(axis=0)
    spread = np.linalg.norm(learned.photos - centre, axis=1).mean()
    away = placed - centre
    assert np.linalg.norm(away, axis=1) == pytest.approx(np.full(3, spread), rel=0.5)
    own = away @ (ROWS - ROWS.mean(axis=0)).T
    assert list(own.argmax(axis=1)) == [0, 1, 2]
