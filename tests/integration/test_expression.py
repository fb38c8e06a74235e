"""The shipped reader of faces: on FER2013's where they are, and on faces of pictures."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import registry
from models.base import Face, ImageRecognizer, ModelError, Pixels
from models.expression import SEEN, WIDTH, ExpressionRecognizer, prepare
from models.fusion import EMOTIONS
from models.image import READ_FACES, face_pixels

FER2013 = Path(__file__).parents[3] / "shared" / "data" / "fer2013"
PORTRAIT = Path(__file__).parents[2] / "demo" / "call" / "astronaut.jpg"


@pytest.fixture(scope="module")
def expressions() -> ExpressionRecognizer:
    return ExpressionRecognizer(registry.resolve(registry.EXPRESSION))


@pytest.fixture(scope="module")
def image() -> ImageRecognizer:
    return registry.load_image()


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    if not PORTRAIT.exists():
        pytest.skip("the demo call has no portrait")
    return np.asarray(Image.open(PORTRAIT).convert("RGB"))


def test_expressions_of_faces_never_seen_are_told(expressions: ExpressionRecognizer) -> None:
    path = FER2013 / "fer2013_48x48.npz"
    if not path.is_file():
        pytest.skip("FER2013 is absent: ../shared/data/fer2013")
    with np.load(path, allow_pickle=False) as arrays:
        faces, labels = arrays["x_validation"][::12], arrays["y_validation"][::12]
    _, probabilities = expressions.look(list(faces))
    right = probabilities.argmax(axis=1) == labels  # its classes are in the order of ours
    assert right.mean() > 0.5
    surer = np.argsort(probabilities.max(axis=1))[len(labels) // 2 :]
    assert right[surer].mean() > right.mean() + 0.05


def test_a_smile_is_joy(image: ImageRecognizer, portrait: Pixels) -> None:
    [content] = image.recognize([portrait])
    [face] = content.faces
    probabilities = [label.probability for label in face.expression]
    assert face.expression[0].name == "joy"
    assert {label.name for label in face.expression} == set(EMOTIONS)
    assert all(more >= less for more, less in pairwise(probabilities))
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert image.face_encoder is not None and face.embedding is not None
    assert face.embedding.shape == (image.face_encoder.dimension,)


def test_of_a_crowd_the_largest_faces_are_read(image: ImageRecognizer, portrait: Pixels) -> None:
    [found] = image.recognize([portrait])
    [face] = found.faces
    head = face_pixels(portrait, Face(face.x - 0.05, face.y - 0.05, 0.3, 0.3, 1.0))
    crowd = np.tile(head, (3, 4, 1))
    [content] = image.recognize([crowd])
    assert len(content.faces) > READ_FACES
    read = [face for face in content.faces if face.expression]
    assert read == list(content.faces[:READ_FACES])
    assert all(face.embedding is not None for face in read)


def test_without_a_reader_faces_are_only_found(portrait: Pixels) -> None:
    image = registry.load_image(expression="")
    [content] = image.recognize([portrait])
    assert image.face_encoder is None
    assert [(face.expression, face.embedding) for face in content.faces] == [((), None)]


def test_a_face_does_not_depend_on_its_batch(
    expressions: ExpressionRecognizer, portrait: Pixels
) -> None:
    faces = [portrait, portrait[:, :, 0], portrait[::2, 100:300], np.zeros((1, 3), np.uint8)]
    together = expressions.look(faces)
    for number, face in enumerate(faces):
        for alone, batch in zip(expressions.look([face]), together, strict=True):
            np.testing.assert_allclose(alone[0], batch[number], atol=1e-3)
    vectors, probabilities = together
    np.testing.assert_allclose(np.exp(vectors[:, WIDTH:]), probabilities, rtol=1e-4)
    vectors, probabilities = expressions.look([])
    assert vectors.shape == (0, expressions.encoder.dimension)
    assert probabilities.shape == (0, len(EMOTIONS))


def test_a_face_is_as_glad_in_a_mirror(expressions: ExpressionRecognizer, portrait: Pixels) -> None:
    face = portrait[60:180, 160:300]
    vectors, _ = expressions.look([face, face[:, ::-1]])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=0.05)


def test_light_and_contrast_do_not_count(portrait: Pixels) -> None:
    dark = (portrait // 3 + 20).astype(np.uint8)
    bright, dim = (prepare(each).astype(int) for each in (portrait, dark))
    assert bright.shape == (SEEN, SEEN)
    assert np.abs(bright - dim).mean() < 8


def test_a_face_at_the_edge_is_cut_inside_the_picture() -> None:
    picture = np.arange(100, dtype=np.uint8).reshape(10, 10)
    assert face_pixels(picture, Face(0.8, 0.5, 0.2, 0.5, 1.0)).tolist() == [
        [row * 10 + 8, row * 10 + 9] for row in range(5, 10)
    ]
    assert face_pixels(picture, Face(0.5, 0.5, 0.01, 0.01, 1.0)).shape == (1, 1)


def test_a_folder_of_something_else_is_no_reader_of_faces(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="tenor train face"):
        ExpressionRecognizer(tmp_path)
    (tmp_path / "model.json").write_text('{"emotions": ["calm"], "temperature": 1}')
    with pytest.raises(ModelError, match="expected"):
        registry.load_image(expression=f"file:{tmp_path}")
