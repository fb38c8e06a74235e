"""The fusion model as it serves, with networks of chance and some that are worked out by hand."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.base import Encoder, Floats, ModelError
from models.fusion import (
    CONTEXT,
    EMOTIONS,
    NOTHING,
    SENTIMENTS,
    UNCALIBRATED,
    Calibration,
    FusionModel,
    Item,
    Layout,
    Network,
    Opinion,
    Track,
    Window,
    weights_of,
)

LAYOUT = Layout({"text": 3, "voice": 4}, width=5, memory=6, prior_deviation=0.5)
THRESHOLDS = {**dict.fromkeys(EMOTIONS, 0.3), "fear": 0.1}
ENCODERS = {"text": Encoder("words", "r1", 3), "voice": Encoder("tones", "r1", 4)}


def parameters(layout: Layout = LAYOUT, seed: int = 0) -> dict[str, Floats]:
    random = np.random.default_rng(seed)
    drawn = {n: random.standard_normal(s) / 2 for n, s in layout.shapes().items()}
    return {
        n: (np.abs(v) + 0.5 if "scale" in n else v).astype(np.float32) for n, v in drawn.items()
    }


def model(**changes: Any) -> FusionModel:  # noqa: ANN401
    whole = FusionModel(
        Network(LAYOUT, parameters()), ENCODERS, {}, (-0.2, 0.3), THRESHOLDS, "test"
    )
    return replace(whole, **changes)


def silenced(*names: str) -> FusionModel:
    """Without what these parameters of the network do."""
    quiet = {n: np.zeros_like(v) if n.startswith(names) else v for n, v in parameters().items()}
    return model(network=Network(LAYOUT, quiet))


def text(*values: float, name: str = "t", seconds: float = 3.0) -> Item:
    return Item(name, "text", np.array(values, np.float32), "words", "r1", seconds)


def voice(*values: float, name: str = "v", seconds: float = 3.0) -> Item:
    return Item(name, "voice", np.array(values, np.float32), "tones", "r1", seconds)


HELLO = text(0.1, -0.4, 0.9)
SIGH = voice(1.0, 0.5, -0.5, 0.2)


def judged(window: Window, by: FusionModel | None = None) -> Opinion:
    [opinion] = (by or model()).judge([window])
    assert opinion is not None
    return opinion


def test_an_opinion_is_whole() -> None:
    opinion = judged(Window([HELLO, SIGH], 5.0))
    assert -1 <= opinion.score <= 1
    assert opinion.deviation > 0
    assert opinion.label in SENTIMENTS
    assert list(opinion.emotions) == list(EMOTIONS)
    assert sum(opinion.emotions.values()) == pytest.approx(1, abs=1e-5)
    assert set(opinion.contributions) == {"text", "voice", CONTEXT}
    assert sum(opinion.contributions.values()) == pytest.approx(1, abs=1e-5)
    assert [id_ for id_, _ in opinion.evidence] == ["t", "v"]


def test_evidence_divides_what_its_modality_contributed() -> None:
    items = [HELLO, text(2.0, 0.0, -1.0, name="u"), SIGH]
    opinion = judged(Window(items, 5.0))
    of = dict(opinion.evidence)
    assert of["t"] + of["u"] == pytest.approx(opinion.contributions["text"], abs=1e-5)
    assert of["v"] == pytest.approx(opinion.contributions["voice"], abs=1e-5)


def test_without_memory_and_residual_it_is_the_product_of_experts() -> None:
    by = silenced("before", "residual")
    network = by.network
    alone = [
        network.believe("text", HELLO.vector[None]),
        network.believe("voice", SIGH.vector[None]),
    ]
    # what was before says nothing, with the precision of a variance of 1
    precisions = np.array([*(float(b.precision[0]) for b in alone), 1.0])
    means = np.array([*(float(b.mean[0]) for b in alone), 0.0])
    total = precisions.sum() + LAYOUT.prior_deviation**-2
    opinion = judged(Window([HELLO, SIGH], 5.0), by)
    assert opinion.score == pytest.approx(precisions @ means / total, abs=1e-5)
    assert opinion.deviation == pytest.approx(total**-0.5, abs=1e-5)
    assert opinion.contributions["text"] == pytest.approx(
        precisions[0] / precisions.sum(), abs=1e-5
    )


def test_saying_it_ten_times_makes_it_no_surer() -> None:
    once = judged(Window([HELLO], 5.0))
    often = judged(Window([replace(HELLO, id=str(n)) for n in range(10)], 5.0))
    assert often.deviation == pytest.approx(once.deviation, rel=1e-4)
    assert often.score == pytest.approx(once.score, abs=1e-5)


def test_a_short_sound_counts_for_less_than_a_long_one() -> None:
    one, two = np.zeros(1, np.intp), np.zeros(2, np.intp)
    assert weights_of("voice", [0.2], one) == pytest.approx([0.1])
    assert weights_of("voice", [3.0, 1.0], two).tolist() == [0.75, 0.25]
    assert weights_of("voice", [0.0], one) > 0
    assert weights_of("text", [0.0], one) == 1
    assert sum(weights_of("text", [0.0, 9.0, 2.0], np.zeros(3, np.intp))) == pytest.approx(1)


def windows() -> list[Window]:
    """Of several kinds, with and without a past."""
    random = np.random.default_rng(3)
    past = judged(Window([SIGH], 2.0)).track
    made = [Window([HELLO], 5.0), Window([SIGH, HELLO], 7.5, past, past), Window([SIGH], 3.0, past)]
    for n in range(20):
        items = [text(*random.standard_normal(3), name=f"t{k}") for k in range(n % 3)]
        items += [voice(*random.standard_normal(4), name=f"v{k}") for k in range((n + 1) % 2)]
        made.append(Window(items, 9.0 + n, past, NOTHING))
    return made


def test_a_result_has_the_same_bits_in_any_company() -> None:
    by = model()
    together = by.judge(windows())
    assert together == [by.judge([window])[0] for window in windows()]
    assert together == list(reversed(by.judge(list(reversed(windows())))))


def apart(one: Opinion, other: Opinion) -> float:
    """How far the emotions of two opinions are from each other."""
    return sum(abs(one.emotions[e] - other.emotions[e]) for e in EMOTIONS)


def test_what_was_before_counts_and_fades() -> None:
    past = judged(Window([voice(4.0, -4.0, 4.0, -4.0)], 0.0)).track
    anew = judged(Window([HELLO], 5.0))
    soon = judged(Window([HELLO], 5.0, past, past))
    later = judged(Window([HELLO], 50.0, past, past))
    long_after = judged(Window([HELLO], 1e6, replace(past, last={}), past))
    assert apart(soon, anew) > apart(later, anew) > 0
    assert apart(long_after, anew) == pytest.approx(0, abs=1e-6)


def test_the_future_changes_nothing() -> None:
    """A session in windows: what is said of the first ones does not depend on how it goes on."""

    def said(last: Item) -> list[float]:
        track, scores = NOTHING, []
        for n, item in enumerate([HELLO, SIGH, last]):
            opinion = judged(Window([item], 5.0 * n, track, track))
            track = opinion.track
            scores.append(opinion.score)
        return scores

    one, other = said(HELLO), said(text(-3.0, 3.0, -3.0))
    assert one[:2] == other[:2]
    assert one[2] != other[2]


def test_memory_goes_through_json_without_a_change() -> None:
    track = judged(Window([HELLO, SIGH], 5.25)).track
    kept = Track.restore(json.loads(json.dumps(track.state())))
    assert kept == track
    assert judged(Window([SIGH], 7.0, kept, kept)) == judged(Window([SIGH], 7.0, track, track))
    assert len(json.dumps(track.state())) < 200


def test_memory_of_another_network_is_as_good_as_none() -> None:
    past = judged(Window([SIGH], 2.0)).track
    foreign = replace(past, memory=past.memory * 2)
    beside, alone = Window([HELLO], 5.0, past, past), Window([HELLO], 5.0, foreign, foreign)
    none = replace(past, memory=b"")
    assert model().judge([alone, beside]) == [
        judged(Window([HELLO], 5.0, none, none)),
        judged(beside),
    ]


def test_memory_does_not_grow() -> None:
    track, sizes = NOTHING, set()
    for n in range(50):
        track = judged(Window([HELLO, SIGH], 5.0 * n, track, track)).track
        sizes.add(len(track.memory))
    assert sizes == {2 * LAYOUT.memory}


def test_calibration_is_that_of_what_is_there() -> None:
    scales = {"text": Calibration(2.0, 1.0, 1.0), "text+voice": Calibration(1.0, 100.0, 100.0)}
    plain, scaled = model(), model(calibration=scales)
    alone, both = Window([HELLO], 5.0), Window([SIGH, HELLO], 5.0)
    assert judged(alone, scaled).deviation == pytest.approx(2 * judged(alone, plain).deviation)
    assert judged(alone, scaled).emotions == judged(alone, plain).emotions
    assert judged(both, scaled).confidence == pytest.approx(1 / 3, abs=0.05)
    assert judged(Window([SIGH], 5.0), scaled) == judged(Window([SIGH], 5.0), plain)
    assert UNCALIBRATED.stretch == 1.0


def test_nothing_scorable_is_no_opinion() -> None:
    picture = Item("i", "image", np.ones(5, np.float32), "any", "r9", 0.0)
    assert model().judge([Window([]), Window([picture], 5.0)]) == [None, None]
    beside = judged(Window([picture, HELLO], 5.0))
    assert beside == judged(Window([HELLO], 5.0))


@pytest.mark.parametrize(
    "item",
    [
        replace(HELLO, encoder="others"),
        replace(HELLO, revision="r2"),
        text(1.0, 2.0),
        replace(HELLO, vector=np.ones((3, 1), np.float32)),
    ],
)
def test_vectors_of_another_encoder_are_refused(item: Item) -> None:
    with pytest.raises(ModelError, match="item t was made by"):
        model().judge([Window([item], 5.0)])


def test_labels_of_means_lie_between_the_cuts() -> None:
    labels = [model().label(score) for score in (-1.0, -0.21, -0.2, 0.3, 0.31, 1.0)]
    assert labels == ["negative", "negative", "neutral", "neutral", "positive", "positive"]


def test_the_likeliest_emotion_and_those_that_reach_their_thresholds_are_there() -> None:
    likely = {**dict.fromkeys(EMOTIONS, 0.0), "anger": 0.25, "joy": 0.26}
    assert model().named(likely) == ["joy"]
    assert model().named({**likely, "fear": 0.1, "neutral": 0.3}) == ["fear", "neutral"]


def facts() -> dict[str, Any]:
    return {
        "emotions": EMOTIONS,
        "sentiments": SENTIMENTS,
        "layout": asdict(LAYOUT),
        "encoders": {name: asdict(each) for name, each in ENCODERS.items()},
        "calibration": {"text": asdict(Calibration(1.5, 0.9, 1.1))},
        "cuts": [-0.2, 0.3],
        "thresholds": THRESHOLDS,
    }


def written(folder: Path, *, tensors: dict[str, Floats] | None = None, **changes: object) -> Path:
    save_file(tensors or parameters(), folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(facts() | changes), encoding="utf-8")
    return folder


def test_a_model_is_read_from_its_folder(tmp_path: Path) -> None:
    loaded = FusionModel.load(written(tmp_path))
    assert loaded.encoders == ENCODERS
    both = Window([HELLO, SIGH], 5.0)
    assert judged(both, loaded).score == judged(both).score
    assert judged(Window([HELLO], 5.0), loaded).deviation > judged(Window([HELLO], 5.0)).deviation


def test_the_revision_follows_the_content(tmp_path: Path) -> None:
    first = FusionModel.load(written(tmp_path)).revision
    assert FusionModel.load(written(tmp_path)).revision == first
    other = written(tmp_path, tensors=parameters(seed=1))
    assert FusionModel.load(other).revision != first


@pytest.mark.parametrize(
    "changes",
    [
        {"emotions": ["joy"]},
        {"cuts": [1]},
        {"thresholds": {"joy": 0.3}},
        {"layout": {"dimensions": {"text": 3}}},
        {"encoders": {"text": {}}},
        {"calibration": 3},
        {"tensors": {"prior": np.zeros(10, np.float32)}},
    ],
)
def test_a_malformed_model_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="tenor train fusion"):
        FusionModel.load(written(tmp_path, **changes))


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="tenor train fusion"):
        FusionModel.load(tmp_path / "nowhere")
