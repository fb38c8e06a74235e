"""The bench for a GPU: what it counts, compares and prints, without a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.base import Floats, Transcript, Word
from tests.bench.gpu_rates import (
    Part,
    endless,
    goals,
    markdown,
    measured,
    sessions_by_rates,
    transcripts_apart,
    vectors_apart,
    with_speedup,
)


def transcript(text: str, *ends: float) -> Transcript:
    words = tuple(Word("w", end - 1, end, 1.0) for end in ends)
    return Transcript(text, words, "en", 0.0, 0.0, 1.0)


def rate(*per_s: float) -> dict[str, Any]:
    sizes = {str(4**n): {"per_s": each} for n, each in enumerate(per_s)}
    best = max(per_s) / per_s[0]
    return {"sizes": sizes, "best_speedup": best, "max_difference": 1e-6, "largest": 2.0}


def test_every_batch_goes_on_where_the_last_one_ended() -> None:
    batches = endless("abc", 2)
    assert [next(batches) for _ in range(3)] == [["a", "b"], ["c", "a"], ["b", "c"]]


def test_a_part_is_timed_at_every_size_and_alone() -> None:
    calls: list[int] = []

    def run(items: list[float]) -> list[Floats]:
        calls.append(len(items))
        return [np.array([item, len(items)], np.float32) for item in items]

    found = measured(Part(run, [1.0, 2.0], vectors_apart, lambda item: item), [4], 0.0)
    assert calls == [1, 1, 1, 4, 4, 4, 1, 1, 1, 1, 4]  # one untimed, two timed; then compared
    assert set(found["sizes"]) == {"1", "4"}
    assert found["sizes"]["1"]["speedup"] == 1
    assert all(each["real_time_factor"] > 0 for each in found["sizes"].values())
    assert (found["max_difference"], found["largest"]) == (3.0, 2.0)


def test_a_speedup_is_over_one_at_a_time() -> None:
    found = with_speedup({1: {"per_s": 3.0}, 8: {"per_s": 10.0}})
    assert found == {1: {"per_s": 3.0, "speedup": 1.0}, 8: {"per_s": 10.0, "speedup": 3.333}}


def test_transcripts_are_held_against_each_other() -> None:
    alone = [transcript("a", 1.0, 2.0), transcript("b", 3.0)]
    batch = [transcript("a", 1.0, 2.25), transcript("c", 9.0)]
    assert transcripts_apart(batch, alone) == {"texts_equal": 0.5, "max_time_difference_s": 0.25}
    assert transcripts_apart(alone, alone) == {"texts_equal": 1.0, "max_time_difference_s": 0.0}


def test_sessions_are_as_many_as_their_decodes() -> None:
    run = {
        "speech_s": 60.0,
        "partials_per_speech_s": 1.5,
        "finals": 10,
        "seconds": 50,
        "sessions": 2,
    }
    assert sessions_by_rates(run, 100.0) == 100.0  # each asks for one a second
    assert sessions_by_rates({**run, "speech_s": 0.0, "finals": 0}, 100.0) is None


@pytest.mark.parametrize(("busy", "met"), [(70.0, True), (69.9, False), (None, None)])
def test_goals_are_for_a_gpu(busy: float | None, met: bool | None) -> None:
    results: dict[str, Any] = {
        "device": "cuda",
        "rates": {"text": rate(10, 80), "voice": rate(10, 79)},
        "sessions": {"max_sustained": 9, "gpu_busy_percent": busy},
    }
    assert goals(results) == {"text 8x": True, "voice 8x": False, "busy 70 %": met}
    assert goals({**results, "device": "cpu"}) == {}


def test_the_table_has_a_row_for_each_part() -> None:
    speech = {**rate(2, 30, 20), "texts_equal": 0.99}
    results: dict[str, Any] = {"rates": {"text": rate(10, 80), "tiny": speech}}
    lines = markdown(results).splitlines()
    assert lines[2:] == [
        "| text | 10 /s | 80 /s of 4 | 8 | to 1e-06 of 2 |",
        "| tiny | 2 /s | 30 /s of 4 | 15 | 99% of texts |",
    ]
    results["sessions"] = {"max_sustained": 9, "gpu_busy_percent": None}
    assert markdown(results).splitlines()[4:] == [
        "| sessions | | 9 | | |",
        "| GPU busy with them (%) | | - | | |",
    ]
