"""What is to be known of a session at a glance: made of its results, one after the other. Pure.

Captions and scores that come twice, or again after a worker was restarted, change nothing; pictures
and matches are counted as they come.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, Literal

from streams.events import Event
from streams.results import (
    CaptionFinal,
    Gap,
    ImageRecognized,
    Match,
    SentimentSession,
    SentimentWindow,
    Silence,
    result_of,
)

CUSTOMER: Final = "customer"
"""What the channel is called whose mood counts, or begins with (`customer-1`)."""
SMOOTH_MS: Final = 10_000
"""Time constant of the smoothed score."""
ALERT_MS: Final = 60_000
FALL: Final = 0.5
"""So much the smoothed score of the customer falls, within `ALERT_MS`, for an alert."""
LOW: Final = -0.5
"""Or it is lower than this, while the whole 90 % interval of the score is negative."""
INTERVAL: Final = 1.645
"""Standard deviations on each side that hold 90 %."""
KEPT_MS: Final = 120_000
POINTS: Final = 60
"""Scores of a channel that are kept: those of the last `KEPT_MS` (event time), at most so many."""
SHOWN: Final = 24
"""Of these are shown."""
CHANNELS: Final = 16
"""Of a session that are told of; there is no real conversation of more."""


@dataclass(frozen=True, slots=True)
class Point:
    """A final score of a window [start, end) ms."""

    start: int
    end: int
    score: float
    deviation: float
    revision: int


@dataclass(frozen=True, slots=True)
class Channel:
    """A speaker: the latest that is said of the mood, final scores, and speech up to `heard`."""

    latest: SentimentWindow | None = None
    points: tuple[Point, ...] = ()
    talk_ms: int = 0
    captions: int = 0
    heard: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """That a customer's mood is bad, as of an event time (ms): the smoothed score came `from_` its
    best of the last `ALERT_MS`, and is `to` now."""

    channel: str
    reason: Literal["fell", "negative"]
    time: int
    from_: float
    to: float

    def document(self) -> dict[str, Any]:
        """What clients are told."""
        return {
            "channel": self.channel,
            "reason": self.reason,
            "time": self.time,
            "from": round(self.from_, 3),
            "to": round(self.to, 3),
        }


@dataclass(frozen=True)
class Summary:
    """A session. `start` and `last` are event times (ms) of what was said of it, `written` is when
    Kafka took the first and the last of that."""

    session: str
    start: int = 0
    last: int = 0
    written: tuple[int, int] = (0, 0)
    ended: int | None = None
    channels: Mapping[str, Channel] = field(default_factory=dict)
    pictures: int = 0
    matches: int = 0
    gap_ms: int = 0

    @cached_property
    def alert(self) -> Alert | None:
        """Whether somebody should look after this conversation, while it goes on."""
        return None if self.ended else alert_of(self.channels, self.last)

    @cached_property
    def text(self) -> str:
        """As JSON."""
        return json.dumps(self.document(), ensure_ascii=False, separators=(",", ":"))

    def document(self) -> dict[str, Any]:
        """What clients are told."""
        return {
            "session": self.session,
            "start": self.start,
            "last": self.last,
            "ended": self.ended,
            "alert": self.alert.document() if self.alert else None,
            "captions": sum(each.captions for each in self.channels.values()),
            "pictures": self.pictures,
            "matches": self.matches,
            "gap_ms": self.gap_ms,
            "channels": {name: _told(each) for name, each in sorted(self.channels.items())},
        }


def fold(summary: Summary, event: Event, written: int = 0) -> Summary:
    """The summary with one more result. One that begins after the end begins the session anew.
    Raises CodecError where the event carries none."""
    result = result_of(event)
    start, end = result.span()
    if summary.ended is not None and start >= summary.ended:
        summary = Summary(summary.session, written=summary.written)
    summary = replace(
        summary,
        start=min(start, summary.start or start),
        last=max(end, summary.last),
        written=(summary.written[0] or written, max(written, summary.written[1])),
    )
    match result:
        case CaptionFinal() | Silence() | Gap():
            summary = _accounted(summary, result)
        case SentimentWindow():
            summary = _scored(summary, result)
        case ImageRecognized():
            summary = replace(summary, pictures=summary.pictures + 1)
        case Match():
            summary = replace(summary, matches=summary.matches + 1)
        case SentimentSession():
            summary = replace(summary, ended=result.end)
    return summary


def alert_of(channels: Mapping[str, Channel], now: int) -> Alert | None:
    """Whether a customer's mood is bad: its smoothed score fell by `FALL` or more from where it was
    within the last `ALERT_MS`, or is below `LOW` with the 90 % interval of the score below 0.

    It is the channel that is called customer that counts, or each if none is. Only final scores
    count, which are the same for everybody, and none that is older than `ALERT_MS` at `now` (ms of
    event time).
    """
    for name in _customers(channels):
        points = channels[name].points
        if points and points[-1].end > now - ALERT_MS and (alert := _alert(name, points)):
            return alert
    return None


def smoothed(points: tuple[Point, ...]) -> list[float]:
    """The score after each of them, smoothed over event time."""
    levels = [point.score for point in points[:1]]
    for before, point in pairwise(points):
        weight = 1 - math.exp((before.end - point.end) / SMOOTH_MS)
        levels.append(levels[-1] + weight * (point.score - levels[-1]))
    return levels


def _customers(channels: Mapping[str, Channel]) -> list[str]:
    named = [name for name in sorted(channels) if name]
    customers = [name for name in named if name.casefold().startswith(CUSTOMER)]
    return customers or named or list(channels)


def _alert(name: str, points: tuple[Point, ...]) -> Alert | None:
    levels, last = smoothed(points), points[-1]
    since = last.end - ALERT_MS
    best = max(level for level, point in zip(levels, points, strict=True) if point.end >= since)
    if best - levels[-1] >= FALL:
        return Alert(name, "fell", last.end, best, levels[-1])
    if levels[-1] < LOW and last.score + INTERVAL * last.deviation < 0:
        return Alert(name, "negative", last.end, best, levels[-1])
    return None


def _channel(summary: Summary, name: str) -> Channel:
    return summary.channels.get(name, Channel())


def _with(summary: Summary, name: str, channel: Channel) -> Summary:
    if name not in summary.channels and len(summary.channels) >= CHANNELS:
        return summary
    return replace(summary, channels={**summary.channels, name: channel})


def _accounted(summary: Summary, result: CaptionFinal | Silence | Gap) -> Summary:
    """Of a channel these follow each other without a hole: what begins earlier came before."""
    channel = _channel(summary, result.channel)
    if result.start < channel.heard:
        return summary
    channel = replace(channel, heard=result.end)
    ms = result.end - result.start
    if isinstance(result, CaptionFinal):
        talk_ms = channel.talk_ms + ms - result.lost_ms
        channel = replace(channel, talk_ms=talk_ms, captions=channel.captions + 1)
    if isinstance(result, Gap):
        summary = replace(summary, gap_ms=summary.gap_ms + ms)
    return _with(summary, result.channel, channel)


def _scored(summary: Summary, result: SentimentWindow) -> Summary:
    channel = _channel(summary, result.channel)
    latest = channel.latest
    if latest is None or _order(result) >= _order(latest):
        channel = replace(channel, latest=_bare(result))
    if result.final:
        channel = replace(channel, points=_points(channel.points, result))
    return _with(summary, result.channel, channel)


def _points(points: tuple[Point, ...], result: SentimentWindow) -> tuple[Point, ...]:
    """With this one, in place of what was said of its window before."""
    point = Point(result.start, result.end, result.score, result.deviation, result.revision)
    if any(each.start == point.start and each.revision > point.revision for each in points):
        return points
    others = [each for each in points if each.start != point.start]
    found = sorted([point, *others], key=lambda each: (each.end, each.start))
    return tuple(each for each in found if each.end > found[-1].end - KEPT_MS)[-POINTS:]


def _order(window: SentimentWindow) -> tuple[int, bool, int]:
    return window.start, window.final, window.revision


def _bare(window: SentimentWindow) -> SentimentWindow:
    """Without what a summary does not tell."""
    return window.model_copy(update={"evidence": (), "contributions": {}, "emotions": {}})


def _told(channel: Channel) -> dict[str, Any]:
    latest = channel.latest
    return {
        "score": latest and round(latest.score, 3),
        "deviation": latest and round(latest.deviation, 3),
        "label": latest and latest.label,
        "confidence": latest and round(latest.confidence, 3),
        "final": latest and latest.final,
        "time": latest and latest.end,
        "history": [round(each.score, 3) for each in channel.points[-SHOWN:]],
        "talk_ms": channel.talk_ms,
        "captions": channel.captions,
    }
