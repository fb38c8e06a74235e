"""The benches of live captions: their talk is as promised, and what a load comes to is right."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from streams.media import Pcm
from streams.metrics import read_metrics
from streams.results import CaptionFinal, Gap, Silence, Word
from tests.bench.capacity import Line, Run, Sample, figures, means, quantile
from tests.bench.noises import KINDS, sounds
from tests.bench.talk import CHUNK, SHARE, divided, talk

RATE = 16_000


def speech(*seconds: float) -> list[Pcm]:
    random = np.random.default_rng(0)
    return [random.integers(-8000, 8000, round(RATE * s)).astype(np.int16) for s in seconds]


def test_what_is_too_long_is_halved_where_it_is_quiet() -> None:
    [long] = speech(10.0)
    long[RATE * 4 : RATE * 4 + RATE // 2] = 0
    parts = divided(long, RATE * 7)
    assert [len(part) / RATE for part in parts] == pytest.approx([4.25, 5.75], abs=0.2)
    assert np.array_equal(np.concatenate(parts), long)


def test_talk_is_speech_for_its_share_of_the_time_and_differs_by_seed() -> None:
    phrases = speech(1.0, 2.5, 4.0, 7.0)
    chunks = list(islice(talk(phrases, 1), 20_000))
    assert {len(audio) for audio, _ in chunks} == {CHUNK}
    assert sum(spoken for _, spoken in chunks) / (20_000 * CHUNK) == pytest.approx(SHARE, abs=0.02)
    first = np.concatenate([audio for audio, _ in islice(talk(phrases, 1), 100)])
    other = np.concatenate([audio for audio, _ in islice(talk(phrases, 2), 100)])
    assert np.array_equal(first, np.concatenate([audio for audio, _ in chunks[:100]]))
    assert not np.array_equal(first, other)


def test_sounds_are_as_long_as_asked_and_of_one_seed() -> None:
    made, again = dict(sounds(1.0)), dict(sounds(1.0))
    assert set(made) == set(KINDS)
    for name, audio in made.items():
        assert audio.shape == (RATE,) and np.array_equal(audio, again[name])
    assert not made["digital silence"].any()


def caption(start: int, end: int, *words: int) -> CaptionFinal:
    """A final caption with a word that ends at each of these times."""
    return CaptionFinal(
        session="s",
        channel="",
        start=start,
        end=end,
        text="word " * len(words),
        language="en",
        revision=0,
        model="m",
        no_speech_probability=0.0,
        words=tuple(Word(text="word", start=at - 100, end=at, probability=1.0) for at in words),
    )


def run_of(*timeline: tuple[float, CaptionFinal | Silence | Gap]) -> Run:
    samples = [
        Sample(
            float(at), {"tenor_captions_degradation": at / 1000}, {"machine": at / 500}, {"w": 5}
        )
        for at in range(0, 9000, 1000)
    ]
    return Run((3000.0, 9000.0), [Line(1000, 8000, [CHUNK] * 80, list(timeline))], samples)


def test_a_run_in_which_all_comes_in_time_is_sustained() -> None:
    found = figures(
        run_of(
            (2500.0, caption(1000, 2192, 1900)),
            (5000.0, caption(2192, 4692, 3000, 4000)),
            (9500.0, Silence(session="s", channel="", start=4692, end=9000)),
        )
    )
    assert found["sustained"] and not found["not_sustained"]
    assert found["words"] == 2 and found["stable_s"] == {"p50": 1.0, "p95": 2.0}
    assert found["finals"] == 1 and found["final_s"] == {"p50": 0.5, "p95": 0.5}
    assert found["speech_s"] == 6.0
    assert found["cpu_cores"] == {"others": 2.0}


@pytest.mark.parametrize(
    ("late_ms", "end", "reason", "objection"),
    [
        (1600, 9000, "no-speech", "latency"),
        (0, 9000, "recognition-failed", "gaps"),
        (0, 8000, "no-speech", "unfinished"),
        (0, 8000, "no-speech", "accounts"),
    ],
)
def test_what_speaks_against_a_run(late_ms: int, end: int, reason: str, objection: str) -> None:
    found = figures(
        run_of(
            (5000.0 + late_ms, caption(1000, 4692, 3500, 4600)),
            (9500.0, Gap(session="s", channel="", start=4692, end=end, reason=reason)),
        )
    )
    assert objection in found["not_sustained"]
    assert ("latency" in found["not_sustained"]) == (late_ms > 0)


def test_a_backlog_that_grows_is_not_sustained() -> None:
    found = figures(
        run_of((5500.0, caption(1000, 5192, 4000)), (9900.0, caption(5192, 7192, 7000)))
    )
    assert "backlog" in found["not_sustained"]


def test_means_of_parts_leave_out_what_is_outside() -> None:
    assert means((0, 30), [(-1, 9), (0, 1), (9, 3), (25, 5), (30, 9)], 3) == [2.0, None, 5.0]


def test_a_quantile_is_the_upper_bound_of_its_bucket() -> None:
    name = "lag_bucket"
    lines = [f'{name}{{le="{bound}"}} 5' for bound in ("0.1", "0.5", "+Inf")]
    first = read_metrics("\n".join(["# TYPE lag histogram", *lines, ""]))
    last = {f"{name}/0.1": 14.0, f"{name}/0.5": 24.0, f"{name}/+Inf": 25.0}
    samples = [Sample(0, first, {}, {}), Sample(1, last, {}, {})]
    assert quantile(Run((0, 1), [], samples), f"{name}/", 0.45) == 0.1
    assert quantile(Run((0, 1), [], samples), f"{name}/", 0.9) == 0.5
