"""What an encoder says by itself, read from the end of its vectors."""

from __future__ import annotations

import json
from math import nan
from pathlib import Path

import numpy as np
import pytest

from models.affect import FORMAT, HEADS, Layout
from models.base import Floats
from models.fusion import EMOTIONS, SENTIMENTS
from models.train import alone
from models.train.corpora import Sample
from models.train.corpora import alone as sentence

HIDDEN = 5
CUTS = dict.fromkeys(EMOTIONS, 0.3)


def source(folder: Path, *heads: str) -> str:
    facts = {"format": FORMAT, "base": "pkg:any", "revision": "1", "rank": 1, "cuts": CUTS}
    facts["heads"] = {name: HEADS[name] for name in heads}
    (folder / "model.json").write_text(json.dumps(facts))
    return f"file:{folder}"


def said(heads: tuple[str, ...], **outputs: list[float]) -> Floats:
    """A vector whose heads say this."""
    layout = Layout(HIDDEN, heads)
    vector = np.full(layout.dimension, nan, np.float32)
    for head, logits in outputs.items():
        vector[layout.head(head)] = logits
    return vector


def of(emotion: str, names: tuple[str, ...] = EMOTIONS) -> list[float]:
    return [9.0 if name == emotion else -9.0 for name in names]


def test_each_head_is_measured_by_its_own_labels(tmp_path: Path) -> None:
    heads = ("meld_emotions", "meld_sentiments", "sst2")
    samples = [
        Sample("1", "1", "", 0, 1, "hello", sentiment=1.0, emotions=("joy",)),
        Sample("2", "1", "", 0, 1, "hello", sentiment=0.0, emotions=("fear",)),
    ]
    joyful, positive = of("joy"), of("positive", SENTIMENTS)
    vector = said(heads, meld_emotions=joyful, meld_sentiments=positive)

    found = alone.of_texts("meld", samples, {"1": vector, "2": vector}, source(tmp_path, *heads))

    assert found["emotion"]["accuracy"] == found["sentiment"]["accuracy"] == 0.5


def test_an_emotion_is_there_from_its_own_probability_on(tmp_path: Path) -> None:
    logits = [-9.0] * len(EMOTIONS)
    logits[EMOTIONS.index("joy")], logits[EMOTIONS.index("fear")] = 3.0, np.log(0.31 / 0.69)
    vector = said(("goemotions",), goemotions=logits)
    samples = [sentence("1", "hello", emotions=("joy", "fear"))]

    found = alone.of_texts("goemotions", samples, {"1": vector}, source(tmp_path, "goemotions"))

    assert found["accuracy"] == 1.0


def test_a_head_that_was_not_trained_says_nothing(tmp_path: Path) -> None:
    samples = [sentence("1", "hello", sentiment=1.0)]
    made = {"1": said(("goemotions",), goemotions=of("joy"))}

    assert alone.of_texts("sst2", samples, made, source(tmp_path, "goemotions")) == {}


def test_faces_end_with_the_logarithms_of_their_probabilities() -> None:
    shares = np.full(len(EMOTIONS), 0.05)
    shares[EMOTIONS.index("joy")] = 0.7
    made = {name: np.append(np.ones(3), np.log(shares)).astype(np.float32) for name in "12"}
    samples = [sentence("1", "", emotions=("joy",)), sentence("2", "", emotions=("anger",))]

    found = alone.of_faces(samples, made)

    assert (found["n"], found["accuracy"]) == (2, 0.5)
    assert found["ece"] == pytest.approx(0.2, abs=1e-3)
