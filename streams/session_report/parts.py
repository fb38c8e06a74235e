"""What the sections of a report are put together from: tables, names, quotations, scales. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from streams.cues import NO_AUDIO
from streams.markup import SVG, Markup, element, number
from streams.messages import Typed
from streams.results import CaptionFinal, Gap, ImageRecognized
from streams.session_report.contents import LONGEST, Entry
from streams.session_report.facts import Facts, count, duration, percent, short

QUOTED: Final = 120
"""Characters of what is quoted beside something else."""


def table(heads: Sequence[str], rows: Iterable[Markup], *, caption: str, kind: str) -> Markup:
    """A table that can be scrolled sideways where there is not the room for it."""
    head = element("tr", *(element("th", each, scope="col") for each in heads))
    body = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", *rows),
        class_=kind,
    )
    return element("div", body, class_="wide", role="region", aria_label=caption, tabindex=0)


def speaker(facts: Facts, channel: str) -> Markup:
    """A channel's name in its colour."""
    name = short(channel) or "unnamed"
    return element("span", name, class_=f"who {facts.colour(channel)}", dir="auto")


def everybody() -> Markup:
    return element("span", "everybody", class_="who call")


def share(of: float) -> Markup:
    return element("span", percent(of), class_="share")


def tag(text: str) -> Markup:
    return element("span", text, class_="tag")


def remark(text: str) -> Markup:
    return element("p", text, class_="remark")


def clipped(text: str, most: int = LONGEST) -> str:
    return (
        text
        if len(text) <= most
        else f"{text[:most]}… ({count(len(text) - most, 'character')} more)"
    )


def text_of(typed: Typed) -> str:
    message = typed.message
    return message.text if message.kind != "vocabulary" else ", ".join(message.vocabulary)


def gap_said(gap: Gap) -> str:
    """What a gap is, and for how long."""
    why = "no audio" if gap.reason == NO_AUDIO else f"not recognised: {short(gap.reason)}"
    return f"{why}, {duration(gap.end - gap.start)}"


def quoted(facts: Facts, entry: Entry | None, otherwise: str) -> Markup:
    """A link to something, which says what it is; if it does not stand here, only `otherwise`."""
    if entry is None:
        return element("span", f"{short(otherwise)}, not in this report", class_="remark")
    match entry.said:
        case CaptionFinal(text=text):
            what = f"“{short(text, QUOTED)}”"
        case Typed() as typed:
            what = f"“{short(text_of(typed), QUOTED)}”"
        case ImageRecognized(labels=labels):
            what = short(labels[0].name) if labels else "picture"
        case Gap() as gap:
            what = gap_said(gap)
    time = element("span", facts.at(entry.span[0]), class_="at")
    return element("a", what, " ", time, href=f"#{entry.anchor}", dir="auto")


def gauge(score: float, low: float, high: float, label: str) -> Markup:
    """A score and a range on the scale from negative to positive; the numbers stand beside it."""
    place, begin, end = (number(50 + 48 * each) for each in (score, low, high))
    return element(
        "svg",
        element("path", d="M2 6H98M50 2V10", class_="scale"),
        element("path", d=f"M{begin} 6H{end}", class_="range"),
        element("path", d=f"M{place} 6h0", class_=f"spot {label}"),
        xmlns=SVG,
        viewBox="0 0 100 12",
        class_="gauge",
        aria_hidden="true",
    )
