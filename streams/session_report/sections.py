"""The parts of a report that list what there was: transcript, windows, the account of the audio,
and the models. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from streams.markup import SVG, Markup, element, number
from streams.messages import Typed
from streams.results import CaptionFinal, Evidence, Gap, ImageRecognized, SentimentWindow
from streams.session_report.charts import MODALITIES, modality, ordered
from streams.session_report.contents import LONGEST, Contents, Entry, Scored, unsure
from streams.session_report.facts import (
    Facts,
    duration,
    interval,
    percent,
    short,
    signed,
    strongest,
)
from streams.session_report.parts import (
    QUOTED,
    clipped,
    everybody,
    gap_said,
    gauge,
    remark,
    share,
    speaker,
    table,
    tag,
    text_of,
)

CITED: Final = 6
"""Pieces of evidence of a window that are listed."""
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})?")


def transcript(facts: Facts, held: Contents) -> Markup:
    """What was said, typed, shown and not heard, in order of time."""
    rows = (_line(facts, held, each) for each in held.transcript)
    heads = ("Time", "Who", "What", "Score")
    return table(heads, rows, caption="Lines of the transcript", kind="transcript")


def _line(facts: Facts, held: Contents, entry: Entry) -> Markup:
    said = entry.said
    kind = {CaptionFinal: "said", Gap: "lost", Typed: "typed", ImageRecognized: "shown"}
    shown = isinstance(said, ImageRecognized)
    time = element("a", facts.at(entry.span[0]), href=f"#{entry.anchor}")
    scored = held.window(said) if isinstance(said, CaptionFinal) else None
    return element(
        "tr",
        element("th", time, scope="row", class_="time"),
        element("td", speaker(facts, said.channel), class_="by"),
        element("td", *_told(facts, entry), class_="what"),
        element("td", _score(scored) if scored else "", class_="score"),
        id=None if shown else entry.anchor,  # a picture stands elsewhere
        class_=kind[type(said)],
    )


def _told(facts: Facts, entry: Entry) -> Iterator[str]:
    match entry.said:
        case CaptionFinal() as caption:
            yield element("p", *_words(caption), dir="auto", lang=_language(caption.language))
            if caption.lost_ms:
                yield remark(f"{duration(caption.lost_ms)} of this never arrived")
        case Gap() as gap:
            yield element("p", f"[{gap_said(gap)}]")
        case Typed() as typed:
            yield tag(typed.message.kind)
            yield element("p", clipped(text_of(typed)), dir="auto")
        case ImageRecognized() as image:
            yield tag("picture")
            shows = short(image.labels[0].name) if image.labels else "nothing that was recognised"
            yield element("p", element("a", shows, href=f"#{entry.anchor}"))


def _words(caption: CaptionFinal) -> Iterator[str]:
    """A caption's text, its unsure words marked."""
    text, at = caption.text[:LONGEST], 0
    for begin, end, word in unsure(caption):
        yield text[at:begin]
        yield element("mark", text[begin:end], title=f"heard with {percent(word.probability)}")
        at = end
    yield clipped(caption.text[at:], LONGEST - at)


def _language(language: str) -> str | None:
    return language if _LANGUAGE.fullmatch(language) and language != "en" else None


def _score(scored: Scored) -> Markup:
    window = scored.window
    return element(
        "a",
        signed(window.score),
        href=f"#{scored.anchor}",
        class_=window.label,
        title=f"{window.label}: its window",
    )


def windows(facts: Facts, held: Contents) -> Markup:
    """Every score, how sure it is, and what it rests on."""
    heads = (
        "Window",
        "Channel",
        "Score",
        f"{percent(0.9)} interval",
        "Label",
        "Emotion",
        "Rests on",
        "Evidence",
    )
    rows = (_window(facts, held, each) for each in held.windows)
    return table(heads, rows, caption="Sentiment, window by window", kind="windows")


def _window(facts: Facts, held: Contents, scored: Scored) -> Markup:
    window = scored.window
    low, high = interval(window.score, window.deviation)
    emotion, probability = strongest(window)
    who = speaker(facts, window.channel) if window.channel else everybody()
    corrected = [remark(f"corrected, revision {window.revision}")] if window.revision else []
    return element(
        "tr",
        element("th", facts.between(window.start, window.end), scope="row", class_="time"),
        element("td", who),
        element("td", signed(window.score), class_=f"number {window.label}"),
        element(
            "td",
            gauge(window.score, low, high, window.label),
            f"{signed(low)} to {signed(high)}",
            class_="interval",
        ),
        element("td", window.label, " ", share(window.confidence), *corrected, class_="label"),
        element("td", emotion, " ", share(probability) if emotion else "", class_="emotion"),
        element("td", *_contributions(window), class_="rests"),
        element("td", *_evidence(facts, held, window), class_="evidence"),
        id=scored.anchor,
    )


def _contributions(window: SentimentWindow) -> Iterator[str]:
    """A bar of the shares, and the shares in words."""
    names = ordered(window.contributions, MODALITIES)
    boxes, at = list[Markup](), 0.0
    for name in names:
        width = 100 * window.contributions[name]
        boxes.append(
            element(
                "path", d=f"M{number(at)} 0h{number(width)}v6H{number(at)}z", class_=modality(name)
            )
        )
        at += width
    yield element(
        "svg",
        *boxes,
        xmlns=SVG,
        viewBox="0 0 100 6",
        class_="bar",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    for name in names:
        yield element("span", f"{short(name)} ", share(window.contributions[name]), class_="part")
        yield " "


def _evidence(facts: Facts, held: Contents, window: SentimentWindow) -> Iterator[Markup]:
    ranked = sorted(window.evidence, key=lambda each: (-each.weight, each.start, each.id))
    if not ranked:
        yield remark("nothing new was said")
        return
    yield element("ul", *(_cited(facts, held, each) for each in ranked[:CITED]))
    if len(ranked) > CITED:
        yield remark(f"and {len(ranked) - CITED} more")


def _cited(facts: Facts, held: Contents, evidence: Evidence) -> Markup:
    entry = held.entry(evidence.id)
    name = f"{_source(entry, evidence)} {facts.at(evidence.start)}"
    link = element("a", name, href=f"#{entry.anchor}") if entry else name
    return element("li", link, " ", share(evidence.weight))


def _source(entry: Entry | None, evidence: Evidence) -> str:
    """What a piece of evidence is: of a caption its words or its voice count apart."""
    if evidence.modality != "text" or entry is None:
        return short(evidence.modality)
    return entry.said.message.kind if isinstance(entry.said, Typed) else "words"


def account(facts: Facts) -> Markup:
    """What became of each millisecond of audio."""
    heads = (
        "Channel",
        "Audio",
        "Speech",
        "Silence",
        "Not recognised or missing",
        "Captions",
        "Words",
    )
    rows = (_accounted(facts, channel) for channel in facts.coverage)
    return table(heads, rows, caption="Account of the audio", kind="list")


def _accounted(facts: Facts, channel: str) -> Markup:
    of = facts.coverage[channel]
    captions = [each for each in facts.captions if each.channel == channel]
    words = sum(len(each.text.split()) for each in captions)
    parts = [
        element(
            "td",
            duration(of[name]),
            " ",
            share(of[name] / max(1, of["covered_ms"])),
            class_="number",
        )
        for name in ("caption_ms", "silence_ms", "gap_ms")
    ]
    return element(
        "tr",
        element("th", speaker(facts, channel), scope="row"),
        element("td", f"{of['covered_ms']:,} ms", class_="number"),
        *parts,
        element("td", f"{len(captions):,}", class_="number"),
        element("td", f"{words:,}", class_="number"),
    )


def models(facts: Facts) -> Markup:
    """Which models made the results."""
    used = {
        "speech": {each.model for each in facts.captions},
        "pictures and faces": {each.model for each in facts.images},
        "matches": {each.model for each in facts.matches},
        "sentiment and emotion": {
            each.model for windows in facts.windows.values() for each in windows
        },
    }
    rows = [
        element(
            "tr",
            element("th", part, scope="row"),
            element("td", *_revisions(sorted(names))),
        )
        for part, names in used.items()
        if names
    ]
    return table(("Part", "Model and revision"), rows, caption="Models", kind="list")


def _revisions(names: Sequence[str]) -> Iterator[Markup]:
    for each in names[:CITED]:
        yield element("p", element("code", short(each, QUOTED)))
    if len(names) > CITED:
        yield remark(f"and {len(names) - CITED} more")
