"""Training of the reader of texts on corpora made up here: phases, cut off and gone on with."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models import affect, registry
from models.affect import HEADS, AffectNet, AffectTextEncoder
from models.base import ModelError
from models.train import corpora, splits, text, unseen
from models.train.card import FILE as CARD
from models.train.text import Options
from models.train.text_batches import read
from models.train.text_training import Material, Training, measured, vectors, widened

OPTIONS = Options(rank=4, held_out=0.3, folds=2, epochs=2, threads=1)
GOOD = ("a lovely day", "what a great film", "I am so happy", "thanks, that is wonderful")
BAD = ("a terrible day", "what a boring film", "I am so sad", "go away, that is awful")


def table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def sentences(name: str, count: int) -> list[tuple[str, bool]]:
    """Different ones for every corpus; the second is whether it is a good one."""
    return [
        (f"{(GOOD if n % 2 else BAD)[n // 2 % 4]}, {name} number {n}", n % 2 == 1)
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All corpora in little, in the form in which they are published."""
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "dev"):
        table(
            folder / "text" / f"goemotions_ekman_{split}.csv",
            [
                {"text": said, "labels": "joy|surprise" if good else "anger"}
                for said, good in sentences(f"post {split}", 24)
            ],
        )
        table(
            folder / "text" / f"sst2_{split}.csv",
            [{"label": int(g), "sentence": s} for s, g in sentences(f"film {split}", 20)],
        )
        table(
            folder / "meld" / f"{split}.csv",
            [
                {
                    "Utterance": said,
                    "Speaker": "Ann",
                    "Emotion": "joy" if good else "sadness",
                    "Sentiment": "positive" if good else "negative",
                    "Dialogue_ID": n // 2,
                    "Utterance_ID": n % 2,
                    "StartTime": "00:00:01,000",
                    "EndTime": "00:00:02,000",
                }
                for n, (said, good) in enumerate(sentences(f"line {split}", 24))
            ],
        )
    for name in corpora.SCORED:
        rows = sentences("film train" if name == corpora.MOVIES else name, 12)
        if name == corpora.MOVIES:
            rows += sentences("film dev", 4)
        table(
            folder / "text" / f"vader_{name}.csv",
            [
                {"id": f"{n // 3}_{n}", "score": 2 if g else -2, "text": s}
                for n, (s, g) in enumerate(rows)
            ],
        )
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    text.train(data, folder, OPTIONS)
    return folder


def test_a_training_that_was_cut_off_makes_the_same_network(
    data: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, epoch = Training.keep, Training.epoch
    learned: list[str] = []

    def cut_off(training: Training, folder: Path) -> None:
        keep(training, folder)
        if (training.phase.name, training.done) == ("reviews", 1):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Training, "keep", cut_off)
        text.train(data, tmp_path, OPTIONS)

    def counted(training: Training) -> None:
        learned.append(training.phase.name)
        epoch(training)

    monkeypatch.setattr(Training, "epoch", counted)
    text.train(data, tmp_path, OPTIONS)
    assert learned[:3] == ["reviews", "dialogues", "dialogues"]
    for name in ("model.safetensors", "model.json", unseen.FILE):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_what_is_written(data: Path, trained: Path) -> None:
    encoder = AffectTextEncoder(trained)
    facts = json.loads((trained / "model.json").read_text(encoding="utf-8"))
    assert encoder.layout.heads == tuple(HEADS)
    assert encoder.encoder.dimension == 384 + 7 + 3 + 7 + 1 + 1
    assert list(facts["cuts"]) == list(HEADS["goemotions"])
    card = (trained / CARD).read_text(encoding="utf-8")
    assert encoder.encoder.revision in card
    assert "MELD (Poria et al. 2019)" in card
    for name in ("learning.png", "confusion.png", "reliability.png"):
        assert name in card
        assert (trained / name).stat().st_size > 1000


def test_every_sample_of_the_last_phase_has_a_vector_of_a_network_that_had_not_seen_it(
    data: Path, trained: Path
) -> None:
    kept = unseen.load(trained)
    meld = corpora.read("meld", data, "train")
    assert {sample.id for sample in meld} <= set(kept)
    learned, held_out = splits.apart(meld, OPTIONS.held_out)
    encoder = AffectTextEncoder(trained)

    def gap(samples: Sequence[corpora.Sample]) -> float:
        made = encoder.encode([sample.text for sample in samples])
        return float(np.abs(made - np.stack([kept[sample.id] for sample in samples])).max())

    assert gap(held_out) < 0.02
    assert gap(learned) > 0.02
    _, reviews = splits.apart(corpora.read("sst2", data, "train"), OPTIONS.held_out)
    others = {id_ for id_ in kept if id_.startswith("sst2/")}
    assert others == {sample.id for sample in reviews}


def test_free_weights_have_no_heads_of_what_is_not_free_and_can_be_gone_on_from(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    figures = text.train(data, tmp_path / "free", replace(OPTIONS, free=True))
    assert AffectTextEncoder(tmp_path / "free").layout.heads == ("goemotions", "scored")
    assert set(figures["dev"]) == {"goemotions"}
    assert "MELD" not in (tmp_path / "free" / CARD).read_text(encoding="utf-8")
    later = replace(OPTIONS, start=tmp_path / "free")
    figures = text.train(data, tmp_path / "later", later)
    assert set(figures["held out of train"]) == set(HEADS)
    made, whole = (
        AffectTextEncoder(folder).encode(GOOD) for folder in (tmp_path / "later", trained)
    )
    assert np.abs(made - whole).max() < 0.1  # it began with the same weights in 16 bits


def test_own_recordings_go_on_from_a_trained_model(trained: Path, tmp_path: Path) -> None:
    rows = [
        {
            "id": f"own {n}",
            "session": f"call {n // 3}",
            "text": said,
            "sentiment": 0.8 if good else -0.6,
            "emotion": "joy" if good else "anger",
            "split": "dev" if n >= 18 else "train",
        }
        for n, (said, good) in enumerate(sentences("call", 24))
    ]
    rows.append({"id": "silent", "text": " ", "split": "train"})
    lines = "\n".join(map(json.dumps, rows))
    (tmp_path / corpora.MANIFEST).write_text(lines, encoding="utf-8")
    figures = text.train(tmp_path, tmp_path / "out", replace(OPTIONS, start=trained))
    assert figures["dev"]["scored"]["n"] == 6
    assert set(unseen.load(tmp_path / "out")) == {f"own {n}" for n in range(18)}


def test_it_learns(data: Path) -> None:
    bert = affect.base(registry.TEXT)
    torch.manual_seed(0)
    net = AffectNet(bert.network, ("sst2",), 4)
    lesson = read(bert, "sst2", corpora.read("sst2", data, "train"))
    phase = replace(text.PHASES["general"], epochs=12, tokens=64)
    before = measured(bert, net, lesson)
    training = Training(bert, net, phase, Material(lesson, held_out=lesson))
    for _ in range(phase.epochs):
        training.epoch()
    assert training.history["held out"][-1] < before / 2


def test_more_heads_change_nothing_of_what_was_there(data: Path) -> None:
    bert = affect.base(registry.TEXT)
    net = AffectNet(bert.network, ("goemotions", "scored"), 4)
    wider = widened(net, bert, ("sst2",), seed=1)
    assert wider.layout.heads == ("goemotions", "sst2", "scored")
    lesson = read(bert, "sst2", corpora.read("sst2", data, "dev"))
    old, new = vectors(bert, net, lesson), vectors(bert, wider, lesson)
    for name in net.layout.heads:
        before, after = old[:, net.layout.head(name)], new[:, wider.layout.head(name)]
        # A wider product may be summed in another order, so not bit by bit.
        torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


def test_missing_corpora_are_named(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    with pytest.raises(ModelError, match="goemotions_ekman_train"):
        text.train(tmp_path, tmp_path / "out", OPTIONS)
