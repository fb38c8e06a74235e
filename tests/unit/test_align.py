"""The common space: what is read of a folder, what is refused, and that company changes nothing."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.align import CLIP_THRESHOLD, AlignModel, Calibration
from models.base import Encoder, Floats, ModelError

WORDS = Encoder("words", "r1", 48)
PIXELS = Encoder("pixels", "r2", 80)
WIDTH = 16


def written(folder: Path, **changes: Floats) -> Path:
    """A model of random maps; `changes` replace tensors."""
    random = np.random.default_rng(0)
    tensors: dict[str, Floats] = {"calibration": np.array([10, -4], np.float32)}
    for name, encoder in (("text", WORDS), ("image", PIXELS)):
        weight = random.standard_normal((encoder.dimension, WIDTH))
        tensors[f"{name}.weight"] = weight.astype(np.float16)
        tensors[f"{name}.bias"] = random.standard_normal(WIDTH).astype(np.float32)
    save_file(tensors | changes, folder / "model.safetensors")
    encoders = {"text": asdict(WORDS), "image": asdict(PIXELS)}
    (folder / "model.json").write_text(json.dumps({"encoders": encoders}))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> AlignModel:
    return AlignModel.load(written(tmp_path))


def vectors(count: int, encoder: Encoder = WORDS) -> Floats:
    random = np.random.default_rng(1)
    return random.standard_normal((count, encoder.dimension)).astype(np.float32)


def test_vectors_of_both_modalities_become_unit_vectors_of_one_width(model: AlignModel) -> None:
    for modality, encoder in (("text", WORDS), ("image", PIXELS)):
        projected = model.project(modality, vectors(5, encoder))
        assert projected.shape == (5, WIDTH)
        assert projected.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(projected, axis=1), 1, atol=1e-6)
    assert model.project("text", vectors(0)).shape == (0, WIDTH)


@pytest.mark.parametrize("count", [2, 3, 7, 33, 100])
def test_a_vector_has_the_same_bits_alone_and_in_company(model: AlignModel, count: int) -> None:
    many = vectors(count, PIXELS)
    together = model.project("image", many)
    alone = np.concatenate([model.project("image", many[n : n + 1]) for n in range(count)])
    np.testing.assert_array_equal(together, alone)


def test_a_vector_of_nothing_is_finite() -> None:
    identity = AlignModel.identity(WORDS, WORDS)
    assert np.isfinite(identity.project("text", np.zeros((1, 48), np.float32))).all()


def test_a_match_is_what_is_more_likely_one_than_not(model: AlignModel) -> None:
    assert model.threshold == pytest.approx(0.4)
    assert model.probability(model.threshold) == pytest.approx(0.5)
    probabilities = [model.probability(each / 10) or 0.0 for each in range(-10, 11)]
    assert probabilities == sorted(probabilities)
    assert 0 < probabilities[0] < probabilities[-1] < 1


def test_calibration_takes_many_at_a_time() -> None:
    calibration = Calibration(10.0, -4.0)
    many = calibration(np.array([[0.4, 1.0], [0.0, 0.4]], np.float32))
    np.testing.assert_allclose(many, [[0.5, 0.9975], [0.018, 0.5]], atol=1e-3)


@pytest.mark.parametrize(
    "other",
    [
        Encoder("words", "r1", 49),
        Encoder("words", "another", 48),
        Encoder("another", "r1", 48),
        PIXELS,
    ],
)
def test_another_encoder_is_refused(model: AlignModel, other: Encoder) -> None:
    model.check("text", WORDS)
    with pytest.raises(ModelError, match="words r1"):
        model.check("text", other)


def test_another_modality_is_refused(model: AlignModel) -> None:
    with pytest.raises(ModelError, match="text, image"):
        model.check("voice", WORDS)
    with pytest.raises(ModelError, match="text, image"):
        model.project("voice", vectors(1))


@pytest.mark.parametrize("shape", [(48,), (1, 47), (1, 1, 48)])
def test_another_shape_is_refused(model: AlignModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"expected \(n, 48\)"):
        model.project("text", np.zeros(shape, np.float32))


def test_a_clip_needs_no_maps() -> None:
    clip = Encoder("org/clip", "r", 48)
    model = AlignModel.identity(clip, clip)
    vector = vectors(1)
    projected = model.project("image", vector)
    np.testing.assert_allclose(projected, vector / np.linalg.norm(vector), rtol=1e-6)
    np.testing.assert_array_equal(projected, model.project("text", vector))
    assert (model.threshold, model.probability(0.3)) == (CLIP_THRESHOLD, None)


def test_two_encoders_of_one_length_share_no_space() -> None:
    with pytest.raises(ModelError, match="share no space"):
        AlignModel.identity(WORDS, Encoder("others", "r1", 48))


@pytest.mark.parametrize(
    "changes",
    [
        {"text.weight": np.zeros((48, WIDTH + 1), np.float32)},
        {
            "text.weight": np.zeros((48, WIDTH + 1), np.float32),
            "text.bias": np.zeros(WIDTH + 1, np.float32),
        },
        {"calibration": np.zeros(3, np.float32)},
        {"calibration": np.array([-1, 0], np.float32)},
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Floats]) -> None:
    with pytest.raises(ModelError, match="tenor train align"):
        AlignModel.load(written(tmp_path, **changes))


@pytest.mark.parametrize("file", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("what", [None, b"", b"{}", b"[]", b"\xff" * 20])
def test_files_that_are_no_model_are_refused(tmp_path: Path, file: str, what: bytes | None) -> None:
    written(tmp_path)
    (tmp_path / file).unlink()
    if what is not None:
        (tmp_path / file).write_bytes(what)
    with pytest.raises(ModelError, match="tenor train align"):
        AlignModel.load(tmp_path)


def test_other_weights_are_another_revision(tmp_path: Path) -> None:
    one = AlignModel.load(written(tmp_path)).revision
    assert AlignModel.load(written(tmp_path)).revision == one
    changed = written(tmp_path, calibration=np.array([10, -5], np.float32))
    assert AlignModel.load(changed).revision != one
