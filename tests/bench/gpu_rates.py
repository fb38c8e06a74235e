"""How many answers a second a model gives, in batches and one at a time, and whether they agree.

What a batch is good for is told by the same items, the same model and the same device. Pure apart
from the clock and the model that is called.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Final, Generic, TypeVar

import numpy as np

from models.base import Floats, Transcript

T = TypeVar("T")
R = TypeVar("R")

SPEEDUP: Final = 8.0
"""Goal, on a GPU: so many times the answers of one-at-a-time calls, at the best size."""
BUSY_PERCENT: Final = 70.0
"""Goal: of the time in which a GPU does what its most sessions ask for."""
CALLS: Final = 2
"""The fewest that are timed; one goes before them untimed, for what the first one sets up."""


@dataclass(frozen=True, slots=True, eq=False)
class Part(Generic[T, R]):
    """A model under measurement: items go in together, `compare` tells how far apart the answers
    of a batch are from those of each alone. `seconds` is how much audio an item is; 0: none."""

    run: Callable[[list[T]], Sequence[R]]
    items: Sequence[T]
    compare: Callable[[Sequence[R], Sequence[R]], Mapping[str, float]]
    seconds: Callable[[T], float] = lambda _: 0.0
    note: str = ""


def measured(part: Part[T, R], sizes: Sequence[int], seconds: float) -> dict[str, Any]:
    """Of each size, timed for so many seconds: answers a second, times those of size 1, and where
    it is audio the real-time factor; and how far the answers of the largest size are off."""
    found = {size: timed(part, size, seconds) for size in sorted({1, *sizes})}
    per_s = {size: each["per_s"] for size, each in found.items()}
    together = list(islice(cycle(part.items), max(sizes)))
    alone = [part.run([item])[0] for item in together]
    return {
        **({"note": part.note} if part.note else {}),
        "sizes": {str(size): each for size, each in with_speedup(found).items()},
        "best_speedup": round(max(per_s.values()) / per_s[1], 2),
        **part.compare(part.run(together), alone),
    }


def timed(part: Part[T, R], size: int, seconds: float) -> dict[str, float]:
    """Calls with so many items each, of all items in turn, until the time is over."""
    batches = endless(part.items, size)
    part.run(next(batches))
    begun, calls, audio_s = time.perf_counter(), 0, 0.0
    while calls < CALLS or time.perf_counter() - begun < seconds:
        batch = next(batches)
        part.run(batch)
        calls += 1
        audio_s += sum(part.seconds(item) for item in batch)
    taken = time.perf_counter() - begun
    found = {"per_s": calls * size / taken}
    return {**found, "real_time_factor": taken / audio_s} if audio_s else found


def endless(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Batches of the items in turn: what is timed one at a time is timed in batches too."""
    turning = cycle(items)
    while True:
        yield list(islice(turning, size))


def with_speedup(found: Mapping[int, Mapping[str, float]]) -> dict[int, dict[str, float]]:
    """Each with what a batch of that size is good for, rounded to four digits."""
    return {
        size: {
            name: float(f"{value:.4g}")
            for name, value in {**each, "speedup": each["per_s"] / found[1]["per_s"]}.items()
        }
        for size, each in found.items()
    }


def vectors_apart(batch: Sequence[Floats], alone: Sequence[Floats]) -> dict[str, float]:
    """The largest difference of a number, and of a number that large."""
    pairs = list(zip(batch, alone, strict=True))
    return {
        "max_difference": float(max(np.abs(one - other).max() for one, other in pairs)),
        "largest": float(max(np.abs(other).max() for _, other in pairs)),
    }


def transcripts_apart(batch: Sequence[Transcript], alone: Sequence[Transcript]) -> dict[str, float]:
    """The share of equal texts, and of these the largest difference of a word's times (s)."""
    pairs = [each for each in zip(batch, alone, strict=True) if each[0].text == each[1].text]
    words = (word for one, other in pairs for word in zip(one.words, other.words, strict=True))
    times = (abs(at) for a, b in words for at in (a.start - b.start, a.end - b.end))
    return {
        "texts_equal": round(len(pairs) / len(batch), 4),
        "max_time_difference_s": round(max(times, default=0.0), 3),
    }


def best_rate(part: Mapping[str, Any]) -> float:
    """Of a part that was measured, answers a second at the best size."""
    return max(float(each["per_s"]) for each in part["sizes"].values())


def sessions_by_rates(run: Mapping[str, Any], decodes_per_s: float) -> float | None:
    """How many such sessions so many decodes a second are enough for, by what those of a run of
    `captions_capacity` asked for; None if nothing was decoded in it."""
    decodes = run["speech_s"] * run["partials_per_speech_s"] + run["finals"]
    return round(decodes_per_s * run["seconds"] * run["sessions"] / decodes, 1) if decodes else None


def goals(results: Mapping[str, Any]) -> dict[str, bool | None]:
    """Whether each goal is met; None where it was not measured, and where there is no GPU."""
    if results["device"] == "cpu":
        return {}
    met: dict[str, bool | None] = {
        f"{name} {SPEEDUP:g}x": part["best_speedup"] >= SPEEDUP
        for name, part in results["rates"].items()
    }
    if sessions := results.get("sessions"):
        busy = sessions["gpu_busy_percent"]
        met[f"busy {BUSY_PERCENT:g} %"] = None if busy is None else busy >= BUSY_PERCENT
    return met


def markdown(results: Mapping[str, Any]) -> str:
    """The table of docs/gpu.md."""
    rows = ["| | one at a time | best batch | times | alike |", "|---|---|---|---|---|"]
    for name, part in results["rates"].items():
        sizes = part["sizes"]
        best = max(sizes, key=lambda size: sizes[size]["per_s"])
        alike = (
            f"{part['texts_equal']:.0%} of texts" if "texts_equal" in part
            else f"to {part['max_difference']:.1g} of {part['largest']:.2g}"
        )  # fmt: skip
        rows.append(
            f"| {name} | {sizes['1']['per_s']:g} /s | {sizes[best]['per_s']:g} /s of {best}"
            f" | {part['best_speedup']:g} | {alike} |"
        )
    if sessions := results.get("sessions"):
        rows.append(f"| sessions | | {sessions['max_sustained']} | | |")
        rows.append(f"| GPU busy with them (%) | | {sessions['gpu_busy_percent'] or '-'} | | |")
    return "\n".join(rows)
