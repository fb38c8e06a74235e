"""What a run of many live sessions comes to, and whether it can go on like that. Pure.

The figures are those that `captions_capacity.py` documents. All times are in ms unless a name says
seconds; results, deliveries and samples have them from one clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from streams.evaluation import (
    TAIL_MS,
    EvaluationError,
    coverage,
    final_delays,
    plain,
    stable_delays,
)
from streams.report import percentiles
from streams.results import CaptionFinal, CaptionPartial, Gap, Result, Silence
from streams.segmenter import SAMPLE_RATE

CHUNK_MS: Final = 100
LATEST_S: Final = 2.0
GROWTH_S: Final = 0.5
GROWTH_EVENTS: Final = 20.0
DISTRUST: Final = ("no-speech", "repetition")
"""Reasons of gaps that depend on the audio alone, and not on load."""

Span = tuple[float, float]
Timed = Sequence[tuple[float, float]]
"""Values, each after its time."""


@dataclass(slots=True)
class Line:
    """One session: the event time of its beginning, how many ms are fed, and what was delivered.

    `spoken` counts the samples of speech in each of its chunks.
    """

    start: int
    fed_ms: int
    spoken: Sequence[int]
    timeline: list[tuple[float, Result]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the results reach to the end."""
        accounts = (
            each for _, each in self.timeline if isinstance(each, CaptionFinal | Silence | Gap)
        )
        return max((each.end for each in accounts), default=0) >= self.start + self.fed_ms

    def finals(self) -> Iterator[tuple[float, CaptionFinal]]:
        """Final captions, each after its delivery."""
        return ((at, each) for at, each in self.timeline if isinstance(each, CaptionFinal))

    def due(self) -> list[Span]:
        """When each final caption was due (the end of its speech), and when it came."""
        return [(each.end - TAIL_MS, at) for at, each in self.finals()]


@dataclass(frozen=True, slots=True)
class Sample:
    """The agent's metrics, and CPU seconds and resident bytes by process, at a time."""

    at: float
    metrics: Mapping[str, float]
    cpu_s: Mapping[str, float]
    rss: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Run:
    """What was seen of some sessions; what counts is what falls in the window."""

    window: Span
    lines: Sequence[Line]
    samples: Sequence[Sample]


def figures(run: Run) -> dict[str, Any]:
    """All of one run as JSON values."""
    words, finals = word_delays(run), caption_delays(run)
    accounts = _accounts(run.lines)
    lag = [(s.at, s.metrics[name]) for s in run.samples if (name := _LAG) in s.metrics]
    found: dict[str, Any] = {
        "sessions": len(run.lines),
        "seconds": round((run.window[1] - run.window[0]) / 1000),
        "stable_s": percentiles(words),
        "final_s": percentiles(finals),
        "words": len(words),
        "finals": len(finals),
        "backlog_s": means(run.window, backlog(run), 3),
        "lag_events": means(run.window, lag, 3),
        **_partials(run),
        **_resources(run),
        **accounts,
    }
    reasons = objections(found, complete=all(line.complete for line in run.lines))
    return {**found, "not_sustained": reasons, "sustained": not reasons}


_LAG: Final = "tenor_consumer_lag_events/audio/audio"


def objections(found: Mapping[str, Any], *, complete: bool) -> list[str]:
    """Why so many sessions are not sustained."""
    latest = found["stable_s"]["p95"]
    lost = sum(ms for reason, ms in found["gaps"].items() if reason not in DISTRUST)
    reasons = {
        "latency": latest is None or latest > LATEST_S,
        "backlog": _grows(found["backlog_s"], GROWTH_S),
        "lag": _grows(found["lag_events"], GROWTH_EVENTS * found["sessions"]),
        "accounts": found["covered_ms"] + found["gap_ms"] != found["fed_ms"],
        "gaps": lost > 0,
        "unfinished": not complete,
    }
    return [reason for reason, holds in reasons.items() if holds]


def _grows(thirds: Sequence[float | None], by: float) -> bool:
    _, middle, last = thirds
    return middle is not None and last is not None and last - middle > by


def word_delays(run: Run) -> list[float]:
    """`stable_delays` (s) of the words that end in the window."""
    delays: list[float] = []
    for line in run.lines:
        spoken = (word for _, each in line.finals() for word in each.words if plain(word.text))
        ends = [word.end for word in spoken]
        delays += _inside(run.window, zip(ends, stable_delays(line.timeline), strict=True))
    return delays


def caption_delays(run: Run) -> list[float]:
    """`final_delays` (s) of the captions that were due in the window."""
    delays: list[float] = []
    for line in run.lines:
        due = [due for due, _ in line.due()]
        delays += _inside(run.window, zip(due, final_delays(line.timeline), strict=True))
    return delays


def backlog(run: Run) -> Timed:
    """Every half second: for how long (s) the oldest final caption that waits has been due."""
    waits = [each for line in run.lines for each in line.due()]
    return [
        (now, max((now - due for due, at in waits if due <= now < at), default=0.0) / 1000)
        for now in range(round(run.window[0]), round(run.window[1]), 500)
    ]


def means(window: Span, values: Timed, parts: int) -> list[float | None]:
    """The mean of the values in each of so many equal parts of the window."""
    length = (window[1] - window[0]) / parts
    edges = [window[0] + part * length for part in range(parts)] + [window[1]]
    groups = [_inside((start, end), values) for start, end in pairwise(edges)]
    return [round(sum(group) / len(group), 3) if group else None for group in groups]


def _inside(window: Span, values: Iterable[tuple[float, float]]) -> list[float]:
    return [value for at, value in values if window[0] <= at < window[1]]


def _partials(run: Run) -> dict[str, Any]:
    shown = [(at, 1.0) for line in run.lines for at, each in line.timeline if _partial(each)]
    spoken_s = sum(sum(_inside(run.window, _speech(line))) for line in run.lines) / SAMPLE_RATE
    decoded = _grown(run, "tenor_batch_size_sum/speech-partial")
    skipped = _grown(run, "tenor_partials_skipped_total/")
    levels = [(s.at, s.metrics.get("tenor_captions_degradation", 0.0)) for s in run.samples]
    return {
        "speech_s": round(spoken_s, 1),
        "partials_per_speech_s": round(len(_inside(run.window, shown)) / max(0.1, spoken_s), 3),
        "partials_skipped": round(skipped / max(1.0, skipped + decoded), 4),
        "degradation": means(run.window, levels, 10),
    }


def _partial(result: Result) -> bool:
    return isinstance(result, CaptionPartial)


def _speech(line: Line) -> Iterator[tuple[float, float]]:
    return ((line.start + place * CHUNK_MS, float(n)) for place, n in enumerate(line.spoken))


def _resources(run: Run) -> dict[str, Any]:
    """CPU and memory by process; `others` is what the machine did that was none of these."""
    first, last = _ends(run)
    seconds = (last.at - first.at) / 1000
    cores = {name: (last.cpu_s[name] - first.cpu_s[name]) / seconds for name in last.cpu_s}
    machine = cores.pop("machine")
    cores["others"] = max(0.0, machine - sum(cores.values()))
    return {
        "cpu_cores": {name: round(busy, 3) for name, busy in cores.items()},
        "rss_mb": {n: round(max(s.rss[n] for s in run.samples) / 1e6) for n in last.rss},
        "loop_lag_p95_s": quantile(run, "tenor_event_loop_lag_seconds_bucket/", 0.95),
    }


def quantile(run: Run, buckets: str, share: float) -> float | None:
    """The upper bound of the histogram's bucket in which this quantile of the window lies."""
    first, last = _ends(run)
    grown = {
        float(name.removeprefix(buckets)): count - first.metrics.get(name, 0.0)
        for name, count in last.metrics.items()
        if name.startswith(buckets)
    }
    total = max(grown.values(), default=0.0)
    return next((bound for bound in sorted(grown) if total and grown[bound] >= share * total), None)


def _grown(run: Run, names: str) -> float:
    """By how much the counters whose names begin so grew in the window."""
    first, last = _ends(run)
    known = (name for name in last.metrics if name.startswith(names))
    return sum(last.metrics[name] - first.metrics.get(name, 0.0) for name in known)


def _ends(run: Run) -> tuple[Sample, Sample]:
    inside = [s for s in run.samples if run.window[0] <= s.at <= run.window[1]]
    return inside[0], inside[-1]


def _accounts(lines: Sequence[Line]) -> dict[str, Any]:
    """Of all audio, not only that of the window. Spans that overlap or leave a hole count as 0."""
    covered = gap = 0
    gaps: Counter[str] = Counter()
    for line in lines:
        for _, each in line.timeline:
            if isinstance(each, Gap):
                gaps[each.reason] += each.end - each.start
        try:
            recognised, lost = coverage(line.timeline)
        except EvaluationError:
            continue
        covered, gap = covered + recognised, gap + lost
    fed = sum(line.fed_ms for line in lines)
    return {"covered_ms": covered, "gap_ms": gap, "fed_ms": fed, "gaps": dict(gaps)}
