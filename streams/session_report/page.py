"""The page of a report: its head and its sections. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from streams.markup import Markup, element, joined
from streams.messages import Typed
from streams.results import ChannelSentiment, Result, SentimentWindow
from streams.session_report import figures, gallery, parts, sections
from streams.session_report.contents import UNSURE, Contents, Entry, contents
from streams.session_report.facts import (
    EVERYBODY,
    MINUS,
    STEADY,
    Facts,
    count,
    duration,
    listed,
    percent,
    short,
    signed,
    strongest,
)
from streams.session_report.style import POLICY, STYLE
from streams.thumbnails import Thumbnail

ARROWS: Final = {
    "rising": "\N{NORTH EAST ARROW}",
    "steady": "\N{RIGHTWARDS ARROW}",
    "falling": "\N{SOUTH EAST ARROW}",
}
HOUR: Final = 3_600_000
CARDS: Final = 24
"""Channels that have a card."""


def html(
    results: Iterable[Result],
    texts: Iterable[Typed] = (),
    pictures: Iterable[Thumbnail] = (),
    *,
    left_out: Mapping[str, int] | None = None,
) -> str:
    """The file. Of one session: its final results, each once, what was typed, and thumbnails, as
    `streams.history.read_session` gives them; `left_out` counts what it did not give, by what that
    is."""
    facts = Facts(tuple(results), tuple(texts), tuple(pictures))
    held = contents(facts)
    held.left_out[:0] = [f"{many:,} {what}" for what, many in (left_out or {}).items()]
    told = [each for each in _sections(facts, held) if each.body]
    body = element(
        "body",
        element("a", "Skip to the report", href="#report", class_="skip"),
        figures.PATTERN,
        _head(facts),
        element("nav", element("ul", *map(_link, told)), aria_label="Contents"),
        element("main", *(each.markup() for each in told), id="report"),
        element("footer", element("p", _READ)),
    )
    return "<!doctype html>\n" + element("html", _meta(facts), body, lang="en") + "\n"


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the report."""

    id: str
    title: str
    lead: str
    body: Markup

    def markup(self) -> Markup:
        title = element("h2", self.title, id=self.id)
        lead = element("p", self.lead, class_="lead") if self.lead else ""
        opening = element("div", title, lead, class_="opening")
        return element(
            "section", opening, self.body, class_=f"on-{self.id}", aria_labelledby=self.id
        )


def _link(section: Section) -> Markup:
    return element("li", element("a", section.title, href=f"#{section.id}"))


def _meta(facts: Facts) -> Markup:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name_="referrer", content="no-referrer"),
        element("meta", name_="robots", content="noindex"),
        element("meta", name_="color-scheme", content="light dark"),
        element("title", f"{short(facts.session)} · Tenor"),
        element("style", Markup(STYLE)),
    )


def _head(facts: Facts) -> Markup:
    begun = datetime.fromtimestamp(facts.start / 1000, UTC)
    ended = datetime.fromtimestamp(sum((facts.start, facts.length)) / 1000, UTC)
    words = sum(len(each.text.split()) for each in facts.captions)
    day = element("time", f"{begun:%A, %-d %B %Y}", datetime=f"{begun:%Y-%m-%dT%H:%M:%SZ}")
    told = {
        "Date": joined([day, f", {begun:%H:%M:%S} to {ended:%H:%M:%S} UTC"]),
        "Length": duration(facts.length),
        "Channels": listed(short(each) or "unnamed" for each in facts.channels[:CARDS]) or "none",
        "Contents": f"{count(words, 'word')} said, {count(len(facts.texts), 'text')} typed, "
        f"{count(len(facts.images), 'picture')}",
    }
    return element(
        "header",
        element("p", "Tenor · report of a session", class_="brand"),
        element("h1", facts.session, dir="auto"),
        "" if facts.summary else _goes_on(facts),
        element("dl", *(_fact(name, text) for name, text in told.items()), class_="facts"),
    )


def _fact(name: str, text: str) -> Markup:
    return element("div", element("dt", name), element("dd", text))


def _goes_on(facts: Facts) -> Markup:
    upto = facts.at(facts.start + facts.length)
    text = f"This session had not ended when the report was made. It is told up to {upto}."
    return element("p", element("strong", "Not ended. "), text, class_="notice", role="note")


def _sections(facts: Facts, held: Contents) -> Iterator[Section]:
    yield Section("overview", "Overview", "", _overview(facts, held))
    yield Section("timeline", "Timeline", _TIMELINE, figures.timeline(facts))
    said = sections.transcript(facts, held) if held.transcript else Markup()
    yield Section("transcript", "Transcript", _TRANSCRIPT, said)
    yield Section("pictures", "Pictures", _PICTURES, _pictures(facts, held))
    scored = sections.windows(facts, held) if held.windows else Markup()
    yield Section("windows", "Windows", _WINDOWS, scored)
    heard = sections.account(facts) if facts.coverage else Markup()
    yield Section("audio", "Audio", _AUDIO, heard)
    yield Section("about", "About this report", "", _about(facts, held))


def _overview(facts: Facts, held: Contents) -> Markup:
    cards = [_card(facts, each) for each in facts.channels[:CARDS]]
    if EVERYBODY in facts.means and len(facts.channels) > 1:
        cards.append(_card(facts, EVERYBODY))
    points = [point for each in facts.scored for point in _points(facts, held, each)]
    return joined(
        [
            element("div", *cards, class_="cards"),
            element("ul", *points, class_="points", aria_label="What stands out") if points else "",
        ]
    )


def _card(facts: Facts, channel: str) -> Markup:
    everybody = channel == EVERYBODY and EVERYBODY not in facts.channels
    name, mean = channel or ("everybody" if everybody else "unnamed"), facts.means.get(channel)
    told = {
        "Spoke": _spoke(facts, channel, everybody=everybody),
        "Said": count(
            sum(everybody or each.channel == channel for each in facts.captions), "caption"
        ),
        "Typed": count(sum(everybody or each.channel == channel for each in facts.texts), "text"),
    }
    if windows := facts.windows.get(channel):
        scores = [each.score for each in windows]
        told |= {
            "Scored": count(len(windows), "window"),
            "Range": f"{signed(min(scores))} to {signed(max(scores))}",
        }
    if mean:
        told["Trend"] = _trend(mean.trend, facts.length)
    return element(
        "article",
        element("h3", short(name), dir="auto"),
        *(
            _mean(mean, windows or ())
            if mean
            else [element("p", "No sentiment was told.", class_="course")]
        ),
        element("dl", *(_pair(name, text) for name, text in told.items())),
        class_=f"card {'call' if everybody else facts.colour(channel)}",
    )


def _trend(a_minute: float, length: int) -> str:
    """By how much a score changes, in a time that the session has."""
    return f"{signed(60 * a_minute)} an hour" if length > HOUR else f"{signed(a_minute)} a minute"


def _spoke(facts: Facts, channel: str, *, everybody: bool) -> str:
    if everybody:
        return f"{duration(sum(map(facts.talk_ms, facts.channels)))} together"
    if not facts.talk_ms(channel):
        return "not at all"
    return f"{duration(facts.talk_ms(channel))}, {percent(facts.share(channel))} of all talk"


def _pair(name: str, text: str) -> Markup:
    return joined([element("dt", name), element("dd", text)])


def _mean(mean: ChannelSentiment, windows: Sequence[SentimentWindow]) -> Iterator[Markup]:
    change = mean.last - mean.first
    course = "steady" if abs(change) < STEADY else "rising" if change > 0 else "falling"
    scores = [each.score for each in windows] or [mean.first, mean.last]
    yield element(
        "p",
        element("strong", signed(mean.score), class_=mean.label),
        element("span", f"{mean.label} on average"),
        class_="mean",
    )
    told = f"{ARROWS[course]} {course} from {signed(mean.first)} to {signed(mean.last)}"
    yield element("p", told, class_="course")
    yield parts.gauge(mean.score, min(scores), max(scores), mean.label)
    yield element("p", element("span", "negative"), element("span", "positive"), class_="ends")


def _points(facts: Facts, held: Contents, channel: str) -> Iterator[Markup]:
    """The lowest and the highest window of a channel, with what counted most in it."""
    windows = facts.windows[channel]
    if channel == EVERYBODY or len(windows) < 2:
        return
    low, high = (pick(windows, key=lambda each: each.score) for pick in (min, max))
    for word, window in (("lowest", low), ("highest", high)):
        emotion, probability = strongest(window)
        felt = f", {emotion} {percent(probability)}" if emotion else ""
        cited = _heaviest(held, window)
        yield element(
            "li",
            parts.speaker(facts, channel),
            f" at the {word}, ",
            element("strong", signed(window.score), class_=window.label),
            f" at {facts.between(window.start, window.end)}{felt}",
            element("p", parts.quoted(facts, cited, "")) if cited else "",
            class_=facts.colour(channel),
        )


def _heaviest(held: Contents, window: SentimentWindow) -> Entry | None:
    ranked = sorted(window.evidence, key=lambda each: -each.weight)
    return next((entry for each in ranked if (entry := held.entry(each.id))), None)


def _pictures(facts: Facts, held: Contents) -> Markup:
    shown = gallery.pictures(facts, held)
    if not held.matches:
        return shown
    title = element("h3", "Matches")
    return joined([shown, element("div", title, gallery.matches(facts, held), class_="below")])


def _about(facts: Facts, held: Contents) -> Markup:
    left_out = [element("li", each) for each in held.left_out]
    return joined(
        [
            sections.models(facts),
            element("div", element("h3", "How to read it"), _HOW, class_="below"),
            element(
                "div",
                element("h3", "What is left out"),
                element("ul", *left_out, class_="notes") if left_out else element("p", _WHOLE),
                class_="below",
            ),
        ]
    )


_TIMELINE: Final = "All figures have the same axis of time, from the beginning of the session."
_TRANSCRIPT: Final = (
    "What was said, typed and shown, in order. Words over a wavy line were heard with less than "
    f"{percent(UNSURE)} probability. The score is that of the window in which a caption ends."
)
_PICTURES: Final = (
    "What the pictures show, likeliest first. A box is a face; a dashed one may well be none."
)
_WINDOWS: Final = (
    f"Scores run from {MINUS}1, negative, to +1, positive. Each links to what it was made from."
)
_AUDIO: Final = "Every millisecond of audio is in exactly one caption, silence or gap."
_WHOLE: Final = "Nothing: this is the whole session."
_READ: Final = (
    "Made by Tenor. This file is complete in itself: it loads nothing and runs no script."
)
_HOW: Final = element(
    "ul",
    element("li", "A score is how likely positive a window is, less how likely negative."),
    element(
        "li",
        f"{percent(0.9)} of the truths lie within 1.645 deviations of the score: that is the band "
        "in the figure and the interval in the table.",
    ),
    element(
        "li",
        "A contribution says how much a modality was relied on, not what caused the score; context "
        "is everything that was before the window.",
    ),
    element("li", "Where a window cites nothing, nobody said or showed anything new in it."),
    element(
        "li", "Times count from the beginning of the session; event time, not when it was read."
    ),
    class_="notes",
)
