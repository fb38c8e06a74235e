"""The reader of texts: its vectors, its adapters in and beside the weights, folders of none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from models import affect, registry
from models.affect import HEADS, AffectNet, AffectTextEncoder, Layout
from models.base import ModelError
from models.bert import Bert
from models.train.corpora import Sample, alone
from models.train.text_batches import read
from models.train.text_training import vectors

TEXTS = ("no", "I am glad that you could come.", "What? " * 50, "", "the film was far too long")


def altered(seed: int = 0) -> tuple[Bert, AffectNet]:
    """MiniLM and adapters that do change it."""
    bert = affect.base(registry.TEXT)
    torch.manual_seed(seed)
    net = AffectNet(bert.network, tuple(HEADS), 4).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("up"):
                parameter.normal_(std=0.05)
        net.shift.normal_()
        net.scale.uniform_(0.5, 2)
    return bert, net


def written(folder: Path, **changes: object) -> Path:
    """A folder of such a model; facts are changed."""
    _, net = altered()
    facts = {
        "format": affect.FORMAT,
        "base": registry.TEXT,
        "revision": registry.fingerprint(registry.resolve(registry.TEXT)),
        "rank": 4,
        "heads": HEADS,
        **changes,
    }
    (folder / "model.json").write_text(json.dumps(facts), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(save(net.state_dict()))
    return folder


def test_adapters_in_the_weights_do_what_they_do_beside_them(tmp_path: Path) -> None:
    bert, net = altered()
    beside = vectors(bert, net, read(bert, "sst2", [_sample(each) for each in TEXTS])).numpy()
    within = AffectTextEncoder(written(tmp_path)).encode(TEXTS)
    np.testing.assert_allclose(within, beside, atol=1e-4)
    plain = net.vectors(*bert(TEXTS)).detach().numpy()
    assert np.abs(plain - beside).max() > 0.1  # they do change something


def test_a_vector_does_not_depend_on_the_other_texts(tmp_path: Path) -> None:
    encoder = AffectTextEncoder(written(tmp_path))
    together = encoder.encode(TEXTS)
    apart = np.concatenate([encoder.encode([each]) for each in TEXTS])
    np.testing.assert_allclose(together, apart, atol=1e-4)
    assert encoder.encode([]).shape == (0, encoder.encoder.dimension)


def test_the_encoder_is_named_by_its_own_weights(tmp_path: Path) -> None:
    folder = written(tmp_path)
    made = registry.load_affect(f"file:{folder}").encoder
    assert (made.id, made.revision) == ("affect", registry.fingerprint(folder))
    assert made.dimension == 384 + 19


def test_where_what_is() -> None:
    layout = Layout(384, ("goemotions", "scored"))
    assert layout.hidden == slice(0, 384)
    assert layout.head("goemotions") == slice(384, 391)
    assert layout.head("scored") == slice(391, 392)
    assert layout.outputs == slice(384, layout.dimension) == slice(384, 392)
    with pytest.raises(ModelError, match="no head 'sst2': this model has goemotions, scored"):
        layout.head("sst2")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format": 99}, "format 99"),
        ({"heads": {"sst2": ["negative"]}}, "negative"),
        ({"heads": {"unknown": ["a"]}}, "unknown"),
        ({"heads": ["sst2"]}, "no usable affect model"),
        ({"rank": "few"}, "no usable affect model"),
        ({"rank": 8}, "size mismatch"),
        ({"revision": "0" * 12}, "install the version that it was made with"),
        ({"base": "pkg:silero_vad"}, "no BERT"),
    ],
)
def test_other_facts_are_refused(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        AffectTextEncoder(written(tmp_path, **changes))


def test_broken_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="make one with tenor train text"):
        AffectTextEncoder(tmp_path)
    folder = written(tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="make one with tenor train text"):
        AffectTextEncoder(folder)
    shutil.copyfile(folder / "model.json", folder / "model.safetensors")
    with pytest.raises(ModelError, match="make one with tenor train text"):
        AffectTextEncoder(folder)


def _sample(text: str) -> Sample:
    return alone("sst2/x/0", text, sentiment=1.0)
