"""The figures of a session's report with titles, legends, and what they show in words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from streams.markup import SVG, Markup, element, joined
from streams.results import SentimentWindow
from streams.session_report import charts
from streams.session_report.facts import (
    Facts,
    count,
    duration,
    listed,
    percent,
    short,
    signed,
    strongest,
)

PATTERN: Final = element(
    "svg",
    element(
        "defs",
        element(
            "pattern",
            element("rect", width=6, height=6, class_="lost-ground"),
            element("path", d="M0 0V6", class_="lost-line"),
            id="lost",
            width=6,
            height=6,
            patternUnits="userSpaceOnUse",
            patternTransform="rotate(45)",
        ),
    ),
    xmlns=SVG,
    width=0,
    height=0,
    class_="patterns",
    aria_hidden="true",
)
"""How gaps are filled; stands once in the page."""


def timeline(facts: Facts) -> Markup:
    """All figures that there is something for."""
    figures = []
    if facts.drawn:
        figures.append(_talk(facts))
    if facts.scored:
        figures += [_sentiment(facts), _emotions(facts), _contributions(facts)]
    return joined(figures)


def _figure(
    title: str, chart: Markup, lead: str, told: Iterable[str], legend: Iterable[Markup] = ()
) -> Markup:
    items, marks = [element("li", each) for each in told], [*legend]
    return element(
        "figure",
        element("h3", title),
        element("ul", *marks, class_="legend") if marks else "",
        element("div", chart, class_="chart", role="region", aria_label=title, tabindex=0),
        element("figcaption", element("p", lead), element("ul", *items)),
    )


def _mark(text: str, kind: str) -> Markup:
    """A line of a legend."""
    box = element("path", d="M1 1h12v12h-12z", class_=kind)
    swatch = element(
        "svg",
        box,
        xmlns=SVG,
        viewBox="0 0 14 14",
        aria_hidden="true",
    )
    return element("li", swatch, text)


def _talk(facts: Facts) -> Markup:
    legend = []
    if facts.gaps:
        legend = [_mark("not recognised", "gap"), _mark("no audio arrived", "gap none")]
    hidden = len(facts.channels) - len(facts.drawn)
    lead = "Bars are speech, at the right each channel's share of all talk." + (
        f" {count(hidden, 'channel')} that spoke less are not drawn." if hidden else ""
    )
    return _figure("Who spoke when", charts.talk(facts), lead, _spoken(facts), legend)


def _spoken(facts: Facts) -> Iterator[str]:
    for channel in facts.drawn:
        captions = sum(each.channel == channel for each in facts.captions)
        gaps = [each for each in facts.gaps if each.channel == channel]
        lost = sum(each.end - each.start for each in gaps)
        spoke = f"spoke {duration(facts.talk_ms(channel))} in {count(captions, 'caption')}"
        missing = f"; {count(len(gaps), 'gap')} of {duration(lost)} together" if gaps else ""
        yield f"{_named(channel)}: {spoke if captions else 'did not speak'}{missing}"
    if facts.texts:
        yield f"typed: {_times(facts, [each.time for each in facts.texts])}"
    if facts.images:
        yield f"pictures: {_times(facts, [each.time for each in facts.images])}"


def _times(facts: Facts, times: list[int], most: int = 12) -> str:
    told = listed(facts.at(each) for each in times[:most])
    return told if len(times) <= most else f"{told}, and {len(times) - most:,} more"


def _named(channel: str) -> str:
    return short(channel) or "unnamed"


def _sentiment(facts: Facts) -> Markup:
    lead = (
        "The line is the score of each window, the band the interval in which "
        f"{percent(0.9)} of the truths lie. It is dashed where nothing was scored."
        f"{_averaged(facts)}"
    )
    told = (_course(facts, each) for each in facts.scored)
    return _figure("Sentiment", charts.sentiment(facts), lead, told)


def _averaged(facts: Facts) -> str:
    most = max(len(facts.windows[each]) for each in facts.scored)
    size = -(-most // charts.POINTS)
    return f" A point is the mean of up to {size} windows." if size > 1 else ""


def _course(facts: Facts, channel: str) -> str:
    windows = facts.windows[channel]
    low, high = (pick(windows, key=lambda each: each.score) for pick in (min, max))
    return (
        f"{channel_of(channel)}: {count(len(windows), 'window')}, "
        f"first {signed(windows[0].score)}, last {signed(windows[-1].score)}; "
        f"lowest {signed(low.score)} at {facts.at(low.start)}, "
        f"highest {signed(high.score)} at {facts.at(high.start)}"
    )


def channel_of(channel: str) -> str:
    """A channel of windows."""
    return short(channel) or "everybody"


def _emotions(facts: Facts) -> Markup:
    lead = "The stronger the colour, the more probable the emotion." + _averaged(facts)
    told = (f"{channel_of(each)}: {_felt(facts.windows[each])}" for each in facts.scored)
    return _figure("Emotions", charts.emotions(facts), lead, told)


def _felt(windows: list[SentimentWindow]) -> str:
    likeliest = Counter(strongest(each)[0] for each in windows)
    told = (f"{name} in {many}" for name, many in likeliest.most_common(4) if name)
    return f"likeliest was {listed(told)} of {count(len(windows), 'window')}"


def _contributions(facts: Facts) -> Markup:
    windows = [each for name in facts.scored for each in facts.windows[name]]
    names = charts.ordered((n for each in windows for n in each.contributions), charts.MODALITIES)
    legend = [_mark(short(name), f"part {charts.modality(name)}") for name in names]
    lead = (
        "The share of each modality in a score's certainty; context is everything that was before "
        "the window." + _averaged(facts)
    )
    told = (f"{channel_of(each)}: {_relied(facts.windows[each])}" for each in facts.scored)
    return _figure("What the scores rest on", charts.contributions(facts), lead, told, legend)


def _relied(windows: list[SentimentWindow]) -> str:
    shares = charts.mean([each.contributions for each in windows])
    names = charts.ordered(shares, charts.MODALITIES)
    told = listed(f"{short(name)} {percent(shares[name])}" for name in names)
    return f"on average {told}" if names else "nothing was told"
