"""What is measured on corpora: the folder's splits, the patterns, the model that fits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.base import Encoder, ModelError
from models.fusion import EMOTIONS, SENTIMENTS, Layout
from models.train import evaluate
from models.train.evaluate import Sources
from models.train.fusion_training import initial

DIMENSIONS = {"text": 3, "voice": 2, "image": 3}
NOWHERE = Sources("pkg:nowhere", "pkg:nowhere", "pkg:nowhere", "pkg:nowhere")


@pytest.fixture
def fusion(tmp_path: Path) -> Sources:
    """A network that has learned nothing, on three made-up encoders."""
    folder = tmp_path / "fusion"
    folder.mkdir()
    layout = Layout(DIMENSIONS, width=4, memory=4)
    save_file(initial(layout, 0), folder / "model.safetensors")
    encoders = {
        m: {"id": f"mosi-{m}", "revision": "1", "dimension": d} for m, d in DIMENSIONS.items()
    }
    facts = {
        "emotions": EMOTIONS,
        "sentiments": SENTIMENTS,
        "cuts": [-0.3, 0.3],
        "thresholds": dict.fromkeys(EMOTIONS, 0.3),
        "layout": {"dimensions": DIMENSIONS, "width": 4, "memory": 4},
        "encoders": encoders,
        "calibration": {},
    }
    (folder / "model.json").write_text(json.dumps(facts))
    return replace(NOWHERE, fusion=f"file:{folder}")


@pytest.fixture
def mosi(tmp_path: Path) -> Path:
    """Two videos of the form of CMU-MOSI."""
    folder = tmp_path / "mosi"
    folder.mkdir()
    rows = ["video,clip,text,score,label2,split,split_std"]
    rows += [f"v{n // 4},{n % 4},FINE,{n - 4},1,{'test' if n < 4 else 'train'},x" for n in range(8)]
    (folder / "mosi_utterances.csv").write_text("\n".join(rows))
    random = np.random.default_rng(0)
    np.savez(
        folder / "mosi_utterance_features.npz",
        text=random.standard_normal((8, 3)),
        audio=random.standard_normal((8, 2)),
        visual=random.standard_normal((8, 3)),
    )
    return folder


def test_all_seven_patterns_are_measured_and_the_last_is_the_whole(
    fusion: Sources, mosi: Path
) -> None:
    figures = evaluate.evaluate("mosi", mosi.parent, "test", fusion)

    assert (figures["dataset"], figures["split"], figures["n"]) == ("mosi", "test", 4)
    assert list(figures["patterns"]) == [
        "text",
        "audio",
        "image",
        "text+audio",
        "text+image",
        "audio+image",
        "text+audio+image",
    ]
    assert figures["patterns"]["text+audio+image"]["mae"] == figures["mae"]
    assert len({each["mae"] for each in figures["patterns"].values()}) > 1
    assert "note" not in figures
    json.dumps(figures)


def test_what_was_learned_from_is_noted(fusion: Sources, mosi: Path) -> None:
    assert "trained on" in evaluate.evaluate("mosi", mosi, "train", fusion)["note"]


def test_only_the_first_samples(fusion: Sources, mosi: Path) -> None:
    assert evaluate.evaluate("mosi", mosi, "test", fusion, limit=3)["n"] == 3


def test_the_splits_that_there_are_are_named(fusion: Sources, mosi: Path) -> None:
    with pytest.raises(ModelError, match="no split 'dev': it has test, train, all"):
        evaluate.evaluate("mosi", mosi, "dev", fusion)


def clips(folder: Path) -> Path:
    (folder / "labels.csv").write_text(
        "file,actor,emotion,seconds\na.flac,1,happy,1.0\nb.flac,2,sad,1.0\n", encoding="utf-8"
    )
    return folder


def listener(folder: Path, *speakers: str) -> Sources:
    (folder / "model.json").write_text(json.dumps({"speakers": speakers}))
    return replace(NOWHERE, voice=f"file:{folder}")


def test_clips_are_divided_by_who_was_learned_from(tmp_path: Path) -> None:
    folder, sources = clips(tmp_path), listener(tmp_path, "ravdess/1")

    def speakers(split: str) -> list[str]:
        return [s.speaker for s in evaluate.of_split("ravdess", folder, split, sources)]

    assert speakers("train") == ["ravdess/1"]
    assert speakers("test") == ["ravdess/2"]
    assert speakers("all") == ["ravdess/1", "ravdess/2"]


def test_clips_of_others_are_none_that_were_trained_on(tmp_path: Path) -> None:
    folder = clips(tmp_path)
    known, unknown = listener(tmp_path, "ravdess/1"), tmp_path / "other"
    unknown.mkdir()
    samples = evaluate.of_split("ravdess", folder, "all", known)

    assert evaluate.trained_on("ravdess", "all", samples, known)
    assert not evaluate.trained_on("ravdess", "all", samples, listener(unknown, "ravdess/3"))


def test_no_speaker_is_left_to_measure(tmp_path: Path) -> None:
    folder, sources = clips(tmp_path), listener(tmp_path, "ravdess/1", "ravdess/2")

    with pytest.raises(ModelError, match="no speaker of ravdess in 'test': 'train' are those"):
        evaluate.of_split("ravdess", folder, "test", sources)


def test_another_encoder_than_trained_on_is_refused() -> None:
    trained, named = Encoder("affect", "1", 3), Encoder("affect", "2", 3)

    evaluate.check("text", trained, trained)
    with pytest.raises(ModelError, match=r"trained on text of affect 1.* set TENOR_AFFECT_MODEL"):
        evaluate.check("text", trained, named)
