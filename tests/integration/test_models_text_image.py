"""Text and image encoders: the default weights, and small ones made here for the other ways in."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
)

from models import registry
from models.base import ImageRecognizer, ModelError, Pixels, TextEncoder
from models.face import FaceDetector, confidence

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


def test_any_encoder_of_transformers_is_read_from_a_folder(small_bert: Path) -> None:
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
