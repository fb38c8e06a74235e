"""Text and image encoders: the default weights, and small ones made here for the other ways in."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data.imagenet_info import ImageNetInfo
from timm.data.transforms_factory import create_transform
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
)

from models import bert, registry
from models.base import ImageRecognizer, ModelError, Pixels, TextEncoder
from models.efficientnet import CLASSES, EfficientNetLite0, prepare
from models.face import FaceDetector, confidence
from models.image import NAMES
from models.text import MAX_TOKENS
from models.towers import TextTower

CALL = Path(__file__).parents[2] / "demo" / "call"
COMMIT = "0123456789abcdef" * 2 + "01234567"
SENTENCES = [
    "My brakes squeal.",
    "The brakes of my car make a noise and I would like to have them repaired this week.",
    "She baked a chocolate cake.",
    "",
]


@pytest.fixture(scope="module")
def text() -> TextEncoder:
    return registry.load_text()


@pytest.fixture(scope="module")
def image() -> ImageRecognizer:
    return registry.load_image()


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "my", "brakes", "cake", "the", "."]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
    )
    BertModel(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    BertTokenizer(vocab=str(vocabulary)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    tower = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**tower, "vocab_size": 10},
        vision_config={**tower, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder


def _picture(name: str) -> Pixels:
    path = CALL / name
    if not path.exists():
        pytest.skip(f"the demo call has no {name}")
    return np.asarray(Image.open(path).convert("RGB"))


def test_sentences_become_unit_vectors_near_their_like(text: TextEncoder) -> None:
    vectors = text.encode(SENTENCES)
    assert vectors.shape == (4, text.encoder.dimension) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    assert text.encode([]).shape == (0, text.encoder.dimension)


def test_a_text_does_not_depend_on_its_batch(text: TextEncoder) -> None:
    texts = [*SENTENCES, "word " * 1000]
    together = text.encode(texts)
    alone = np.concatenate([text.encode([sentence]) for sentence in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_bert_on_torchs_layers_is_that_of_transformers(text: TextEncoder) -> None:
    folder = registry.resolve(registry.TEXT)
    config = json.loads((folder / "config.json").read_text())
    texts = [*SENTENCES, "Ça va, señor? \u4f60\u597d " * 100]
    ours = bert.Bert(folder, config, tokens=MAX_TOKENS)
    theirs = TextTower(folder, tokens=MAX_TOKENS)
    with torch.inference_mode():
        (hidden, mask), (expected, their_mask) = ours(texts), theirs(texts)
    assert torch.equal(mask, their_mask)
    there = mask.bool()
    torch.testing.assert_close(hidden[there], expected[there], atol=1e-4, rtol=1e-4)


def test_the_default_models_need_none_of_the_libraries_that_take_long_to_import() -> None:
    code = (
        "import sys; from models import registry; registry.load_text(); registry.load_image();"
        "print(*({'transformers', 'timm', 'torchvision', 'torch._dynamo'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("lighter", [True, False])
def test_any_encoder_of_transformers_is_read_from_a_folder(
    small_bert: Path, monkeypatch: pytest.MonkeyPatch, lighter: bool
) -> None:
    if not lighter:
        monkeypatch.setattr(bert, "reads", lambda folder, config: False)
    encoder = registry.load_text(f"file:{small_bert}")
    assert (encoder.encoder.dimension, encoder.encoder.id) == (16, small_bert.name)
    one, other = encoder.encode(["my brakes.", "the cake."])
    assert one @ other < 0.9999
    long = encoder.encode(["my brakes " * 50])  # cut to the network's 12 positions
    np.testing.assert_allclose(np.linalg.norm(long), 1, atol=1e-5)


def test_an_encoder_is_read_from_the_hubs_cache(
    small_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = tmp_path / "models--org--name" / "snapshots"
    snapshots.mkdir(parents=True)
    (snapshots / COMMIT).symlink_to(small_bert)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    from_hub = registry.load_text(f"hf:org/name@{COMMIT}")
    from_disk = registry.load_text(f"file:{small_bert}")
    assert from_hub.encoder.id == "org/name"
    assert from_hub.encoder.revision == from_disk.encoder.revision
    np.testing.assert_array_equal(from_hub.encode(SENTENCES), from_disk.encode(SENTENCES))


def test_a_folder_of_something_else_is_no_text_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no text encoder"):
        registry.load_text(f"file:{tmp_path}")


def test_efficientnet_is_that_of_timm() -> None:
    weights = torch.load(registry.resolve(registry.IMAGE), weights_only=True)
    theirs: Any = timm.create_model("tf_efficientnet_lite0")
    ours = EfficientNetLite0()
    for network in (theirs, ours):
        named = dict(zip(network.state_dict(), weights.values(), strict=True))
        network.load_state_dict(named)
        network.eval()
    pictures = torch.stack([prepare(_picture(name)) for name in ("cat.jpg", "cup.jpg")])
    with torch.inference_mode():
        features, logits = ours(pictures)
        torch.testing.assert_close(logits, theirs(pictures), atol=1e-3, rtol=1e-3)
        expected = theirs.forward_head(theirs.forward_features(pictures), pre_logits=True)
        torch.testing.assert_close(features, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["cat.jpg", "cup.jpg", "astronaut.jpg"])
def test_a_picture_is_prepared_as_by_timm(name: str) -> None:
    picture = _picture(name)
    transform: Any = create_transform(
        (3, 224, 224), mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.875
    )
    for each in (picture, picture[:, ::2], np.ascontiguousarray(picture[::3])):
        difference = (prepare(each) - transform(Image.fromarray(each))).abs()
        assert difference.mean() < 0.05  # theirs crops at whole pixels of the smaller picture


def test_a_thin_picture_is_not_blown_up() -> None:
    assert prepare(np.zeros((1, 60_000, 3), np.uint8)).shape == (3, 224, 224)


def test_classes_have_the_names_of_timm() -> None:
    info = ImageNetInfo()
    assert [info.index_to_description(n).split(",")[0] for n in range(CLASSES)] == (
        NAMES.read_text(encoding="utf-8").splitlines()
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cat.jpg", ("cat", "tabby", "lynx")), ("cup.jpg", ("cup", "espresso", "mug"))],
)
def test_a_picture_is_recognised(
    image: ImageRecognizer, name: str, expected: tuple[str, ...]
) -> None:
    [content] = image.recognize([_picture(name)])
    assert any(word in label.name for label in content.labels for word in expected)
    probabilities = [label.probability for label in content.labels]
    assert len(probabilities) == 5 and probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) <= 1
    np.testing.assert_allclose(np.linalg.norm(content.embedding), 1, atol=1e-5)
    assert content.embedding.shape == (image.encoder.dimension,)


def test_a_picture_does_not_depend_on_its_batch(image: ImageRecognizer) -> None:
    pictures = [_picture("cat.jpg"), _picture("cup.jpg"), np.zeros((1, 3, 3), np.uint8)]
    for picture, in_batch in zip(pictures, image.recognize(pictures), strict=True):
        [alone] = image.recognize([picture])
        np.testing.assert_allclose(alone.embedding, in_batch.embedding, atol=1e-4)
        assert alone.faces == in_batch.faces


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="shapes differ"):
        registry.load_image(f"file:{tmp_path / 'other.pth'}")
    (tmp_path / "broken.pth").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="not a file of weights"):
        registry.load_image(f"file:{tmp_path / 'broken.pth'}")


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (io.StringIO, ("code ran",))


def test_code_in_weights_is_not_run(tmp_path: Path) -> None:
    torch.save({"conv.weight": _Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(ModelError, match="not a file of weights"):
        registry.load_image(f"file:{tmp_path / 'bomb.pth'}")


def test_a_clip_gives_embeddings_without_labels(small_clip: Path) -> None:
    tower = registry.load_image(f"file:{small_clip}")
    assert tower.encoder.dimension == 8
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    black, other = tower.recognize([np.zeros((50, 30, 3), np.uint8), noise])
    assert black.labels == () and other.faces == ()
    np.testing.assert_allclose(np.linalg.norm(other.embedding), 1, atol=1e-5)
    assert np.abs(black.embedding - other.embedding).max() > 1e-3


def test_a_text_model_has_no_image_tower(small_bert: Path) -> None:
    with pytest.raises(ModelError):
        registry.load_image(f"file:{small_bert}")


def test_a_face_is_found_where_it_is() -> None:
    portrait = _picture("astronaut.jpg")
    [face] = FaceDetector().detect(portrait)
    assert face.confidence > 0.5
    shifted = np.pad(portrait, ((0, 0), (portrait.shape[1], 0), (0, 0)))
    [moved] = FaceDetector().detect(shifted)
    assert moved.x == pytest.approx((1 + face.x) / 2, abs=0.03)
    assert moved.y == pytest.approx(face.y, abs=0.03)
    large = np.kron(portrait, np.ones((4, 4, 1), np.uint8))
    [same] = FaceDetector().detect(large)
    assert same.x == pytest.approx(face.x, abs=0.03)


def test_no_face_in_an_empty_picture() -> None:
    assert FaceDetector().detect(np.full((300, 300, 3), 128, np.uint8)) == ()


def test_confidence_rises_with_the_cascades_weight() -> None:
    scores = [confidence(weight) for weight in (54, 55, 56, 57)]
    assert scores == sorted(scores) and scores[0] < 0.1 and scores[-1] > 0.9
