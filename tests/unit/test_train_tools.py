"""What all trainings share: parts to validate with, figures of merit, cards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.train import metrics
from models.train.card import Card, write
from models.train.corpora import READERS, Sample, alone
from models.train.splits import apart, folds
from models.train.terms import TERMS


def said(session: str, number: int, speaker: str = "") -> Sample:
    return Sample(f"{session}/{number}", session, speaker, 0, 1, "hello")


def test_a_conversation_is_never_on_both_sides() -> None:
    samples = [said(f"dialogue{d}", n) for d in range(200) for n in range(3)]
    learned, held = apart(samples, 0.1)
    assert not {s.session for s in learned} & {s.session for s in held}
    assert len(learned) + len(held) == len(samples)
    assert 30 < len(held) < 90


def test_a_speaker_of_clips_is_never_on_both_sides() -> None:
    clips = [Sample(f"{s}/{n}", f"{s}/{n}", f"actor{s}", 0, 1) for s in range(40) for n in range(5)]
    learned, held = apart(clips, 0.3)
    assert held
    assert not {s.speaker for s in learned} & {s.speaker for s in held}


def test_the_parts_do_not_depend_on_what_else_is_there() -> None:
    samples = [alone(f"sst2/train/{n}", "hello") for n in range(100)]
    _, held = apart(samples)
    _, again = apart(samples[50:])
    assert {s.id for s in again} == {s.id for s in held} & {s.id for s in samples[50:]}


def test_folds_are_about_even_and_whole() -> None:
    groups = [f"actor{n % 12}" for n in range(120)]
    places = folds(groups, 4)
    assert sorted({places.count(fold) for fold in range(4)}) == [30]
    assert all(
        len({p for g, p in zip(groups, places, strict=True) if g == actor}) == 1
        for actor in set(groups)
    )


def test_figures_of_labels() -> None:
    true, right = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    figures = metrics.classification(true, right)
    assert figures["accuracy"] == 0.75
    assert figures["uar"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-4)
    assert figures["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2, abs=1e-4)
    assert figures["weighted_f1"] == pytest.approx((3 * 0.8 + 2 / 3) / 4, abs=1e-4)


def test_who_is_as_sure_as_right_is_calibrated() -> None:
    sure = np.full(100, 0.75)
    assert metrics.ece(sure, np.arange(100) < 75) == pytest.approx(0)
    assert metrics.ece(sure, np.arange(100) < 25) == pytest.approx(0.5)


def test_a_constant_correlates_with_nothing() -> None:
    assert metrics.regression(np.array([0.0, 1.0]), np.zeros(2)) == {"mae": 0.5, "corr": 0.0}


def test_recall_counts_ranks_from_nought() -> None:
    assert metrics.recall_at(np.array([0, 4, 5, 99])) == {"1": 0.25, "5": 0.5, "10": 0.75}


def test_several_seeds_have_a_mean_and_a_spread() -> None:
    figures = metrics.mean_and_spread([{"mae": 1.0}, {"mae": 3.0}])
    assert figures == {"mae": 2.0, "mae_spread": 1.0}


def test_every_corpus_has_terms() -> None:
    assert set(READERS) <= set(TERMS)


def test_a_card_names_what_is_not_free(tmp_path: Path) -> None:
    tables = {"Figures": {"dev": {"accuracy": 0.5}, "test": {"macro_f1": 0.25}}}
    card = Card(
        "Moods",
        "tenor train",
        "abc",
        {"goemotions": "training", "meld": "training"},
        tables,
        ["curve.png"],
        ["English only."],
    )
    write(tmp_path, card)
    text = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Not freely usable: MELD (Poria et al. 2019)." in text
    assert "| dev | 0.5 |  |" in text
    assert "![curve](curve.png)" in text
