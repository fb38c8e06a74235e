"""The figures of a session's report, as SVG: one axis of time for all of them. Pure.

Their size does not grow with the session: windows are averaged until they are few enough, and what
lies too close to be told apart is drawn as one. Colours come from the page's style sheet, by class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from streams.cues import NO_AUDIO
from streams.markup import SVG, Markup, element, number
from streams.results import SentimentWindow
from streams.session_report.facts import (
    MINUS,
    Facts,
    clock,
    interval,
    percent,
    short,
    signed,
)

WIDTH: Final = 1000
LEFT: Final = 112
RIGHT: Final = 56
"""What names and last values need beside the plot."""
POINTS: Final = 360
"""The most points of a line."""
DOTTED: Final = 90
"""The most points of a line that has a dot at each."""
LABELS: Final = 15
"""Characters of a name beside a plot."""
STEPS_S: Final = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
    43200,
    86400,
)
"""Between two marks on the axis."""
EMOTIONS: Final = ("joy", "surprise", "neutral", "sadness", "fear", "disgust", "anger")
"""From the brightest to the darkest; of others there are at most so many."""
MODALITIES: Final = ("text", "voice", "face", "image", "context")
SHADES: Final = 10
SEEN: Final = 5
"""A pause of fewer units of the drawing is none."""
APART: Final = 7
"""Marks of a colour are so far apart at least."""

Scale = Callable[[float], float]
"""From a score to its place on the drawing."""


@dataclass(frozen=True, slots=True)
class Point:
    """What was said of a span of time, in ms, by one window or by some on average."""

    start: int
    end: int
    score: float
    deviation: float
    emotions: Mapping[str, float] = field(default_factory=dict)
    contributions: Mapping[str, float] = field(default_factory=dict)

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


def points(windows: Sequence[SentimentWindow], most: int = POINTS) -> list[Point]:
    """The windows of a channel, in order of time, as not too many points."""
    size = -(-len(windows) // most) or 1
    return [_point(windows[i : i + size]) for i in range(0, len(windows), size)]


def _point(windows: Sequence[SentimentWindow]) -> Point:
    return Point(
        windows[0].start,
        max(each.end for each in windows),
        sum(each.score for each in windows) / len(windows),
        sum(each.deviation for each in windows) / len(windows),
        mean([each.emotions for each in windows]),
        mean([each.contributions for each in windows]),
    )


def mean(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of shares by name; one that is not there is 0."""
    names = dict.fromkeys(name for each in shares for name in each)
    return {name: sum(each.get(name, 0.0) for each in shares) / len(shares) for name in names}


def ordered(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Those that are known, in their order, then others; as many as are known at most."""
    names = list(dict.fromkeys(names))
    told = [name for name in known if name in names]
    return (told + sorted(name for name in names if name not in known))[: len(known)]


class Canvas:
    """A drawing that grows downwards; times (ms since the epoch) run to the right."""

    def __init__(self, facts: Facts) -> None:
        self.height = 0.0
        self._facts = facts
        self._parts: list[Markup] = []

    def x(self, time: float) -> float:
        """The place of a time; of one outside the session, the edge."""
        share = (time - self._facts.start) / self._facts.length
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, share))

    def add(self, *parts: Markup) -> None:
        self._parts += parts

    def merged(self, spans: Iterable[tuple[int, int]]) -> list[list[float]]:
        """Where spans begin and end; those that would touch are one."""
        merged: list[list[float]] = []
        for start, end in sorted(spans):
            left, right = self.x(start), max(self.x(end), self.x(start) + 1)
            if merged and left - merged[-1][1] < 0.5:
                merged[-1][1] = max(merged[-1][1], right)
            else:
                merged.append([left, right])
        return merged

    def span(self, point: Point) -> str:
        return f"{self._facts.at(point.start)} to {self._facts.at(point.end)}"

    def name(self, channel: str, y: float, colour: str) -> None:
        self.text(LEFT - 14, y, short(channel, LABELS), f"name strong {colour}", channel)

    def text(self, x: float, y: float, text: str, kind: str, title: str = "") -> None:
        more = (element("title", title),) if title and title != text else ()
        self.add(element("text", text, *more, class_=kind, x=x, y=y))

    def drawn(self, label: str) -> Markup:
        """The whole, over the lines of the time axis."""
        bottom = self.height
        marks = [mark for ms in ticks(self._facts.length) for mark in self._mark(ms, bottom)]
        return element(
            "svg",
            element("g", *marks, class_="axis"),
            *self._parts,
            xmlns=SVG,
            viewBox=f"0 0 {WIDTH} {number(bottom + 24)}",
            role="img",
            aria_label=label,
        )

    def _mark(self, ms: int, bottom: float) -> Iterator[Markup]:
        x = self.x(self._facts.start + ms)
        yield element("path", d=f"M{number(x)} 0V{number(bottom + 5)}", class_="grid")
        yield element("text", clock(ms), class_="tick", x=x, y=bottom + 19)


def ticks(length: int) -> range:
    """Where the axis is marked, in ms since the beginning."""
    step = next((each for each in STEPS_S if length / 1000 / each <= 9), length // 9000)
    return range(0, length + 1, step * 1000)


def talk(facts: Facts) -> Markup:
    """Who spoke when, with gaps; what was typed and shown below."""
    canvas = Canvas(facts)
    for channel in facts.drawn:
        _voice(canvas, facts, channel)
    for name, told in (("typed", facts.texts), ("pictures", facts.images)):
        if told:
            _instants(canvas, name, [(each.time, facts.colour(each.channel)) for each in told])
    return canvas.drawn("Who spoke when")


def _voice(canvas: Canvas, facts: Facts, channel: str) -> None:
    """A row: what a channel said over what was there, and what was not heard."""
    top, colour = canvas.height + 5, facts.colour(channel)
    spoken = [each for each in facts.captions if each.channel == channel]
    lost = [each for each in facts.gaps if each.channel == channel]
    canvas.name(channel or "unnamed", top + 12, colour)
    for spans, kind in (
        ([facts.span], "track"),
        ([each.span() for each in spoken], f"speech {colour}"),
        ([each.span() for each in lost if each.reason == NO_AUDIO], "gap none"),
        ([each.span() for each in lost if each.reason != NO_AUDIO], "gap"),
    ):
        boxes = [_box(left, right, top, 16) for left, right in canvas.merged(spans)]
        if boxes:
            canvas.add(element("path", d="".join(boxes), class_=kind))
    if facts.talk_ms(channel):
        canvas.text(WIDTH - RIGHT + 10, top + 12, percent(facts.share(channel)), "value")
    canvas.height += 30


def _instants(canvas: Canvas, name: str, times: Sequence[tuple[int, str]]) -> None:
    """A row of marks by time and colour; some that would lie on each other are one."""
    y = canvas.height + 13
    shape = "l6 6l-6 6l-6 -6z" if name == "typed" else "h5v12h-10v-12z"
    canvas.text(LEFT - 14, y + 4, name, "name")
    last = dict.fromkeys((colour for _, colour in times), -math.inf)
    for time, colour in sorted(times):
        x = canvas.x(time)
        if x - last[colour] >= APART:
            last[colour] = x
            d = f"M{number(x)} {number(y - 6)}{shape}"
            canvas.add(element("path", d=d, class_=f"mark {colour}"))
    canvas.height += 26


def _box(left: float, right: float, y: float, height: float) -> str:
    return f"M{number(left)} {number(y)}h{number(right - left)}v{number(height)}H{number(left)}z"


def sentiment(facts: Facts) -> Markup:
    """The score of each channel, with the interval in which 90 % of the truths are."""
    canvas = Canvas(facts)
    for channel in facts.scored:
        _panel(canvas, facts, channel, 112)
        canvas.height += 22
    canvas.height -= 22
    return canvas.drawn("Sentiment over time")


def _panel(canvas: Canvas, facts: Facts, channel: str, height: float) -> None:
    top, colour = canvas.height, facts.colour(channel)

    def y(score: float) -> float:
        return top + 4 + (height - 8) * (1 - score) / 2

    for score, kind in ((1, "grid"), (0, "zero"), (-1, "grid")):
        canvas.add(element("path", d=f"M{LEFT} {number(y(score))}H{WIDTH - RIGHT}", class_=kind))
    canvas.name(channel or "everybody", y(0) + 5, colour)
    canvas.text(LEFT - 14, y(1) + 8, "positive +1", "small")
    canvas.text(LEFT - 14, y(-1) - 1, f"negative {MINUS}1", "small")
    canvas.add(*_line(canvas, points(facts.windows[channel]), y, colour))
    last = facts.windows[channel][-1].score
    canvas.text(WIDTH - RIGHT + 10, y(last) + 4, signed(last), "value")
    canvas.height += height


def _line(canvas: Canvas, line: Sequence[Point], y: Scale, colour: str) -> Iterator[Markup]:
    """The band, the line over it, and a dot for each window where they are not too many. Where
    there was no window the band is interrupted, and the line is dashed."""
    runs = list(_runs(canvas, line))
    for run in runs:
        yield element("path", d=_band(canvas, run, y), class_=f"band {colour}")
    for before, after in pairwise(runs):
        bridge = _path(_spots(canvas, [before[-1], after[0]], y))
        yield element("path", d=bridge, class_=f"bridge {colour}")
    for run in runs:
        yield element("path", d=_path(_spots(canvas, run, y)), class_=f"line {colour}")
    for each in line if len(line) <= DOTTED else ():
        yield _dot(canvas, each, y, colour)


def _runs(canvas: Canvas, line: Sequence[Point]) -> Iterator[list[Point]]:
    """Points that follow each other without a pause that can be seen."""
    run: list[Point] = []
    for each in line:
        if run and canvas.x(each.start) - canvas.x(run[-1].end) > SEEN:
            yield run
            run = []
        run.append(each)
    if run:
        yield run


def _band(canvas: Canvas, run: Sequence[Point], y: Scale) -> str:
    """The outline of the intervals, from the beginning of the first window to the end of the
    last."""
    edges = [interval(each.score, each.deviation) for each in run]
    xs = [canvas.x(run[0].start), *(canvas.x(each.middle) for each in run), canvas.x(run[-1].end)]
    lows, highs = ([side[0], *side, side[-1]] for side in zip(*edges, strict=True))
    there, back = zip(xs, highs, strict=True), reversed([*zip(xs, lows, strict=True)])
    return _path([(x, y(score)) for x, score in (*there, *back)]) + "z"


def _spots(canvas: Canvas, line: Iterable[Point], y: Scale) -> list[tuple[float, float]]:
    return [(canvas.x(each.middle), y(each.score)) for each in line]


def _path(spots: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = spots
    line = "".join(f"L{number(x)} {number(y)}" for x, y in rest)
    return f"M{number(x)} {number(y)}{line or 'h0'}"


def _dot(canvas: Canvas, point: Point, y: Scale, colour: str) -> Markup:
    low, high = interval(point.score, point.deviation)
    told = f"{canvas.span(point)}: {signed(point.score)} ({signed(low)} to {signed(high)})"
    x = canvas.x(point.middle)
    return element(
        "circle", element("title", told), cx=x, cy=y(point.score), r=3.2, class_=f"dot {colour}"
    )


def emotions(facts: Facts) -> Markup:
    """The probability of each emotion as the strength of a colour, per channel."""
    canvas = Canvas(facts)
    for channel in facts.scored:
        line = points(facts.windows[channel])
        names = ordered((name for each in line for name in each.emotions), EMOTIONS)
        colour, top = facts.colour(channel), canvas.height
        canvas.name(channel or "everybody", top + 14, colour)
        canvas.add(_scored(canvas, line, top + 22, 15 * len(names)))
        for i, name in enumerate(names):
            y = top + 22 + 15 * i
            canvas.text(LEFT - 14, y + 11, short(name, LABELS), "small", name)
            canvas.add(*_shades(canvas, line, name, y, colour))
        canvas.height += 22 + 15 * len(names) + 10
    canvas.height -= 10
    return canvas.drawn("Emotions over time")


def _scored(canvas: Canvas, line: Sequence[Point], top: float, height: float) -> Markup:
    """The ground on which a column for each window stands: where there is none was no window."""
    boxes = (_box(left, right, top, height) for left, right, _ in _columns(canvas, line))
    return element("path", d="".join(boxes), class_="track")


def _shades(
    canvas: Canvas, line: Sequence[Point], name: str, y: float, colour: str
) -> Iterator[Markup]:
    """A path for each shade."""
    boxes: dict[int, list[str]] = {}
    for left, right, each in _columns(canvas, line):
        shade = round(SHADES * each.emotions.get(name, 0.0))
        boxes.setdefault(shade, []).append(_box(left, right, y + 0.5, 14))
    for shade, paths in sorted(boxes.items()):
        if shade:
            opacity = f"{shade / SHADES:.1f}"
            yield element("path", d="".join(paths), fill_opacity=opacity, class_=f"cell {colour}")


def contributions(facts: Facts) -> Markup:
    """How much each modality was relied on, one upon the other, per channel."""
    canvas = Canvas(facts)
    for channel in facts.scored:
        line = points(facts.windows[channel])
        top = canvas.height
        canvas.name(channel or "everybody", top + 37, facts.colour(channel))
        canvas.text(LEFT - 14, top + 10, percent(1), "small")
        canvas.text(LEFT - 14, top + 64, "0", "small")
        for name, boxes in _stacked(canvas, line, top, 64).items():
            canvas.add(element("path", d="".join(boxes), class_=f"part {modality(name)}"))
        canvas.height += 64 + 16
    canvas.height -= 16
    return canvas.drawn("What the scores rest on")


def _stacked(
    canvas: Canvas, line: Sequence[Point], top: float, height: float
) -> dict[str, list[str]]:
    boxes: dict[str, list[str]] = {}
    for left, right, each in _columns(canvas, line):
        y = top + height
        for name in ordered(each.contributions, MODALITIES):
            part = height * min(each.contributions[name], (y - top) / height)
            y -= part
            boxes.setdefault(name, []).append(_box(left, right, y, part))
    return boxes


def modality(name: str) -> str:
    """The class of what belongs to a modality."""
    return f"m-{name}" if name in MODALITIES else "m-other"


def _columns(canvas: Canvas, line: Sequence[Point]) -> Iterator[tuple[float, float, Point]]:
    """From where to where each point has the place to itself, as windows may overlap, and up to the
    next one where it cannot be seen that there is a pause."""
    for i, each in enumerate(line):
        before = line[i - 1].middle if i else -math.inf
        after = line[i + 1] if i + 1 < len(line) else None
        left = canvas.x(max(each.start, (before + each.middle) / 2))
        end = min(each.end, (after.middle + each.middle) / 2) if after else each.end
        right = canvas.x(end)
        if after and 0 < canvas.x(after.start) - right <= SEEN:
            right = canvas.x(after.start)
        yield left, max(left, right - (1 if right - left > 6 else 0)), each
