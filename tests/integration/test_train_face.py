"""Training of the reader of faces: from one's own pictures, cut off and gone on with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.base import ModelError
from models.expression import DIMENSION
from models.fusion import EMOTIONS
from models.train import corpora, face, media, splits, unseen
from models.train.augmentation import altered, mixed
from models.train.face_training import Faces, Options, Training, pace

OPTIONS = Options(epochs=3, small=0.34, batch=8, held_out=0.3)
CLASSES = ("joy", "sadness")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes that lie are joy, those that stand are sadness; two have labels unknown to us."""
    folder = tmp_path_factory.mktemp("own")
    generator = np.random.default_rng(0)
    rows = []
    for number in range(24):
        stripes = np.tile(np.repeat([40, 200], 6), 5)[:60]
        noise = generator.normal(0, 20, (60, 60))
        lying = number % 2 == 0
        pixels = (stripes[:, None] if lying else stripes[None, :]) + noise
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        emotion = "calm" if number >= 22 else CLASSES[number % 2]
        split = "odd" if number == 23 else "validation" if number >= 19 else "train"
        name = f"{number}.png"
        rows.append({"id": str(number), "image": name, "emotion": emotion, "split": split})
    (folder / corpora.MANIFEST).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def test_a_training_that_was_cut_off_makes_the_same_network(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = face.train(own, tmp_path / "whole", OPTIONS)
    keep = Training.keep

    def cut_off(training: Training, folder: Path) -> None:
        keep(training, folder)
        if training.done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Training, "keep", cut_off)
        face.train(own, tmp_path / "cut", OPTIONS)
    learned: list[int] = []
    epoch = Training.epoch

    def counted(training: Training) -> None:
        learned.append(training.done)
        epoch(training)

    monkeypatch.setattr(Training, "epoch", counted)
    assert face.train(own, tmp_path / "cut", OPTIONS) == figures
    assert learned == [2]
    whole, cut = ((tmp_path / each / "model.safetensors").read_bytes() for each in ("whole", "cut"))
    assert whole == cut
    files = {path.name for path in (tmp_path / "cut").iterdir()}
    assert {"model.json", "MODEL_CARD.md", "learning.png", "confusion.png"} <= files
    assert "checkpoint.safetensors" not in files
    _, held_out = splits.apart(face.samples(own, "train"), OPTIONS.held_out)
    kept = unseen.load(tmp_path / "cut")
    assert set(kept) == {sample.id for sample in held_out}
    assert {len(vector) for vector in kept.values()} == {DIMENSION}
    assert face.evaluate(tmp_path / "cut", face.samples(own, "validation")) == figures["validation"]


def test_weights_without_a_record_are_calibrated_and_said_to_have_none(
    own: Path, tmp_path: Path
) -> None:
    face.train(own, tmp_path, replace(OPTIONS, epochs=1, small=0.0))
    weights = (tmp_path / "model.safetensors").read_bytes()
    facts = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({"emotions": EMOTIONS, "temperature": 9.0}))
    figures = face.remeasure(own, tmp_path)
    assert figures["validation"]["faces"] == 3
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    again = json.loads((tmp_path / "model.json").read_text())
    assert again == {"emotions": list(EMOTIONS), "temperature": facts["temperature"]}
    assert "left no record" in (tmp_path / "MODEL_CARD.md").read_text()


def test_the_first_blocks_stay_as_they_are(own: Path) -> None:
    learned = face.faces(face.samples(own, "train"))
    training = Training(learned, learned, OPTIONS)
    before = {name: each.clone() for name, each in training.network.state_dict().items()}
    training.epoch()
    changed = {n for n, t in training.network.state_dict().items() if not torch.equal(t, before[n])}
    fixed = ("stem.", *(f"blocks.{number}." for number in range(OPTIONS.fixed)))
    assert changed and not [name for name in changed if name.startswith(fixed)]
    assert any(name.startswith(f"blocks.{OPTIONS.fixed}.") for name in changed)


def test_other_options_begin_anew(own: Path, tmp_path: Path) -> None:
    learned = face.faces(face.samples(own, "train"))
    training = Training(learned, learned, OPTIONS)
    training.epoch()
    training.keep(tmp_path)
    same = Training(learned, learned, OPTIONS)
    same.resume(tmp_path)
    other = Training(learned, learned, replace(OPTIONS, seed=1))
    other.resume(tmp_path)
    assert (same.done, other.done) == (1, 0)


def test_faces_with_unknown_emotions_are_left_out(own: Path) -> None:
    labelled = face.samples(own, "validation")
    assert [sample.id for sample in labelled] == ["19", "20", "21"]
    shares = face.faces(labelled).shares.numpy()
    assert [EMOTIONS[n] for n in shares.argmax(axis=1)] == ["sadness", "joy", "sadness"]
    with pytest.raises(ModelError, match="no face"):
        face.samples(own, "odd")


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "face.png").write_bytes(b"no picture")
    with pytest.raises(ModelError, match=r"face\.png"):
        media.face(corpora.Place(tmp_path / "face.png"))


def test_every_face_is_learned_from_once_an_epoch() -> None:
    torch.manual_seed(0)
    faces = Faces(torch.arange(7), torch.arange(7))
    batches = [pixels.tolist() for pixels, _ in faces.batches(3)]
    assert [len(batch) for batch in batches] == [3, 3]
    assert len({each for batch in batches for each in batch}) == 6
    assert [len(pixels) for pixels, _ in faces.batches(9)] == [7]


def test_the_rate_rises_and_then_falls() -> None:
    rates = [pace(step, 2000) for step in range(2000)]
    top = rates.index(max(rates))
    assert rates[0] < 0.01 and rates[top] > 0.95 and rates[-1] < 0.02
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_the_temperature_undoes_too_much_and_too_little_confidence() -> None:
    torch.manual_seed(0)
    honest = torch.randn(5000, 7)
    drawn = torch.multinomial(honest.softmax(dim=1), 1)[:, 0]
    shares = torch.nn.functional.one_hot(drawn, 7).float()
    assert face.temperature(honest, shares) == pytest.approx(1, abs=0.1)
    assert face.temperature(honest * 2, shares) == pytest.approx(2, abs=0.2)
    assert face.temperature(honest / 2, shares) == pytest.approx(0.5, abs=0.05)


def test_altered_faces_differ_and_stay_faces() -> None:
    torch.manual_seed(0)
    one = torch.nn.functional.interpolate(torch.randn(1, 1, 6, 6), size=(48, 48))
    faces = altered(one.clamp(-1, 1).expand(16, -1, -1, -1), 80)
    assert faces.shape == (16, 1, 80, 80) and faces.abs().max() < 3
    assert (faces[1:] - faces[:-1]).abs().mean(dim=(1, 2, 3)).min() > 0.05


def test_mixed_faces_keep_the_sum_of_their_shares() -> None:
    torch.manual_seed(0)
    faces, shares = torch.rand(8, 1, 4, 4), torch.eye(7)[torch.arange(8) % 7]
    seen, wanted = mixed(faces, shares, 1.0)
    torch.testing.assert_close(wanted.sum(dim=1), torch.ones(8))
    assert not torch.equal(seen, faces)
    torch.testing.assert_close(seen.mean(), faces.mean(), atol=1e-5, rtol=0)
