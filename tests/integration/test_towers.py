"""Both sides of a CLIP and of a SigLIP, small ones of random weights made here: one space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from models import registry
from models.align import IMAGE, TEXT
from models.base import ModelError

WORDS = ["<pad>", "<end>", "<unknown>", "a", "red", "car", "cat", "on", "the", "sofa"]
TEXTS = ["a red car", "the cat on the sofa", "a cat", ""]
TOWER = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
WORDS_CONFIG = {**TOWER, "vocab_size": len(WORDS), "max_position_embeddings": 12}
PIXELS_CONFIG = {**TOWER, "image_size": 32, "patch_size": 16}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}


def tokenizer(folder: Path) -> None:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    made = Tokenizer(WordLevel(vocabulary, unk_token="<unknown>"))  # noqa: S106  (a word)
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unknown>"}
    whole: Any = PreTrainedTokenizerFast(tokenizer_object=made, **special)  # type: ignore[no-untyped-call]
    whole.save_pretrained(folder)


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    model: Any
    processor: Any
    if request.param == "clip":
        text = {**WORDS_CONFIG, **TOKENS}
        model = CLIPModel(
            CLIPConfig(text_config=text, vision_config=PIXELS_CONFIG, projection_dim=8)
        )
        crop = {"height": 32, "width": 32}
        processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=crop)
    else:
        config: Any = SiglipConfig(text_config=WORDS_CONFIG, vision_config=PIXELS_CONFIG)
        model = SiglipModel(config)
        processor = SiglipImageProcessor(size={"height": 32, "width": 32})
    model.save_pretrained(made)
    processor.save_pretrained(made)
    tokenizer(made)
    return made


def test_texts_are_read_by_the_text_side(folder: Path) -> None:
    encoder = registry.load_text(f"file:{folder}")
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (4, encoder.encoder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] < 0.9999
    assert encoder.encode([]).shape == (0, encoder.encoder.dimension)
    long = encoder.encode(["a red car " * 50])  # cut to the network's 12 positions
    assert np.isfinite(long).all()


def test_a_text_does_not_depend_on_its_batch(folder: Path) -> None:
    encoder = registry.load_text(f"file:{folder}")
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, atol=1e-5)


def test_texts_are_those_of_transformers(folder: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    model: Any = AutoModel.from_pretrained(folder)
    tokens: Any = AutoTokenizer.from_pretrained(folder)(
        TEXTS[:1], padding="max_length", max_length=12, return_tensors="pt"
    )
    with torch.inference_mode():
        found = model.get_text_features(**tokens)
    expected = getattr(found, "pooler_output", found).numpy()[0]
    [vector] = registry.load_text(f"file:{folder}").encode(TEXTS[:1])
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_both_sides_are_one_encoder_and_share_a_space(folder: Path) -> None:
    uri = f"file:{folder}"
    text, image = registry.load_text(uri), registry.load_image(uri, expression="")
    assert text.encoder == image.encoder
    model = registry.load_align("", text=uri, image=uri)
    assert model.encoders == {TEXT: text.encoder, IMAGE: image.encoder}
    [content] = image.recognize([np.zeros((40, 40, 3), np.uint8)])
    place = model.project(IMAGE, content.embedding[None])
    np.testing.assert_allclose(place[0], content.embedding, atol=1e-6)


def test_without_an_align_model_two_encoders_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="need one CLIP"):
        registry.load_align("", image=f"file:{folder}")


def test_what_has_one_side_only_is_no_space() -> None:
    with pytest.raises(ModelError, match="no CLIP"):
        registry.load_align("", text=registry.TEXT, image=registry.TEXT)
