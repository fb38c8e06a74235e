"""How the sentiment of a session went, per channel, in a size that does not grow. Pure.

Only windows that can be corrected no more are summed up; until then what was last said of a window
is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from streams.results import ChannelSentiment, Sentiment


@dataclass(slots=True)
class Course:
    """The windows of one channel so far; scores in [-1, 1], times in ms."""

    windows: int = 0
    total: float = 0.0
    first: float = 0.0
    last: float = 0.0
    start: int = 0
    end: int = 0

    def add(self, start: int, end: int, score: float) -> None:
        if not self.windows:
            self.first, self.start = score, start
        self.last, self.end = score, end
        self.windows += 1
        self.total += score

    def summary(self, label: Callable[[float], str]) -> ChannelSentiment:
        mean = self.total / self.windows
        minutes = max(self.end - self.start, 1) / 60_000
        return ChannelSentiment(
            score=mean,
            label=cast(Sentiment, label(mean)),
            windows=self.windows,
            first=self.first,
            last=self.last,
            trend=(self.last - self.first) / minutes,
        )


@dataclass(frozen=True, slots=True)
class Scores:
    """What was last said of each channel in a window [start, end) ms."""

    start: int
    end: int
    by_channel: dict[str, float]


@dataclass(slots=True)
class Courses:
    """The courses of all channels, and the scores that may still be corrected."""

    settled: dict[str, Course] = field(default_factory=dict)
    scores: dict[int, Scores] = field(default_factory=dict)

    def put(self, scores: Scores) -> None:
        """What is said of a window, in place of what was said of it before."""
        self.scores[scores.start] = scores

    def settle(self, until: int) -> None:
        """Windows that end at or before this time (ms) are corrected no more."""
        done = [each for each in self.scores.values() if each.end <= until]
        for scores in sorted(done, key=lambda each: each.start):
            del self.scores[scores.start]
            for channel, score in scores.by_channel.items():
                course = self.settled.setdefault(channel, Course())
                course.add(scores.start, scores.end, score)

    def summary(self, label: Callable[[float], str]) -> dict[str, ChannelSentiment]:
        """By channel; `label` names a mean score."""
        return {name: course.summary(label) for name, course in sorted(self.settled.items())}

    def span(self) -> tuple[int, int]:
        """From the first to the last window (ms)."""
        courses = self.settled.values()
        return min(each.start for each in courses), max(each.end for each in courses)

    def snapshot(self) -> dict[str, Any]:
        """What `restore` needs, as JSON values."""
        return {
            "settled": {name: asdict(course) for name, course in self.settled.items()},
            "scores": [asdict(scores) for scores in self.scores.values()],
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Courses:
        """As they were at a snapshot."""
        return cls(
            {name: Course(**each) for name, each in state["settled"].items()},
            {each["start"]: Scores(**each) for each in state["scores"]},
        )
