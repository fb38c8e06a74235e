"""What of a session a report holds, and under which anchor each thing of it stands. Pure.

The report is bounded, and says what it left out. What is cited links to where it stands: so first
it is decided what stands where, and only then is anything written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from streams.cues import word_begins
from streams.messages import Typed
from streams.results import (
    CaptionFinal,
    Gap,
    ImageRecognized,
    Match,
    SentimentWindow,
    Word,
    result_event,
)
from streams.session_report.facts import Facts, count
from streams.thumbnails import SHOWN, Thumbnail

UNSURE: Final = 0.5
"""A word that was heard with less probability is marked."""
CHARACTERS: Final = 1_500_000
"""Of a transcript; an hour of talk has about 60,000."""
LONGEST: Final = 4000
"""Characters of one text."""
MARK: Final = 60
"""Characters that marking a word takes."""
ROW: Final = 200
"""And those of an entry."""
WINDOWS: Final = 5000
PICTURES: Final = 500
"""Pictures that are told of; fewer are shown."""
JPEG_BYTES: Final = 4 * 2**20
"""Of all pictures that are shown."""
MATCHES: Final = 300
_KINDS: Final = {CaptionFinal: "c", Gap: "g", Typed: "t", ImageRecognized: "p"}
"""What an anchor begins with."""

T = TypeVar("T")

Said = CaptionFinal | Gap | Typed | ImageRecognized
"""What a line of the transcript is about."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that stands in the report, and where."""

    anchor: str
    id: str
    said: Said

    @property
    def span(self) -> tuple[int, int]:
        if isinstance(self.said, Typed):
            return self.said.time, self.said.time
        return self.said.span()


@dataclass(frozen=True, slots=True)
class Scored:
    """A window that stands in the table."""

    anchor: str
    window: SentimentWindow


@dataclass(frozen=True)
class Contents:
    """What the report holds, each in order of time. `left_out` says in words what it does not."""

    transcript: list[Entry]
    images: list[Entry]
    shown: Mapping[str, Thumbnail]
    matches: list[Match]
    windows: list[Scored]
    left_out: list[str]
    by_id: Mapping[str, Entry]
    by_channel: Mapping[str, list[Scored]]

    def entry(self, id_: str) -> Entry | None:
        """Where a caption, a message or a picture stands, by its id."""
        return self.by_id.get(id_)

    def window(self, caption: CaptionFinal) -> Scored | None:
        """Where the window stands that a caption counts in: the one in which it ends."""
        windows = self.by_channel.get(caption.channel, [])
        i = bisect_right(windows, caption.end, key=lambda each: each.window.start) - 1
        return windows[i] if i >= 0 and caption.end < windows[i].window.end else None


def contents(facts: Facts) -> Contents:
    """Decides it."""
    left_out: list[str] = []
    images = _images(facts, left_out)
    shown = _shown(facts, images)
    transcript = _transcript(facts, [each for each in images if each.id in shown], left_out)
    windows = _windows(facts, left_out)
    by_channel: dict[str, list[Scored]] = {}
    for each in windows:
        by_channel.setdefault(each.window.channel, []).append(each)
    return Contents(
        transcript,
        images,
        shown,
        _first(facts.matches, MATCHES, "match", left_out),
        windows,
        left_out,
        {each.id: each for each in (*transcript, *images)},
        by_channel,
    )


def _images(facts: Facts, left_out: list[str]) -> list[Entry]:
    images = facts.images
    pictured = {each.id for each in facts.pictures}
    if len(images) > PICTURES:
        rest = [each for each in images if each.image not in pictured]
        kept = {each.image for each in rest[: PICTURES - len(pictured)]} | pictured
        left_out.append(f"{count(len(images) - len(kept), 'picture')} of {len(images):,}")
        images = [each for each in images if each.image in kept]
    return [Entry(f"p{n}", each.image, each) for n, each in enumerate(images, 1)]


def _shown(facts: Facts, images: Iterable[Entry]) -> dict[str, Thumbnail]:
    """The pictures themselves, of those that are told of."""
    told, free = {each.id for each in images}, JPEG_BYTES
    shown: dict[str, Thumbnail] = {}
    for each in facts.pictures[:SHOWN]:
        if each.id in told and len(each.jpeg) <= free:
            free -= len(each.jpeg)
            shown[each.id] = each
    return shown


def _transcript(facts: Facts, images: list[Entry], left_out: list[str]) -> list[Entry]:
    """What was said, not heard, typed and shown, up to where it is too much."""
    entries = [*_said(facts), *images]
    entries.sort(key=lambda each: (each.span, each.anchor))
    free = CHARACTERS
    for i, each in enumerate(entries):
        free -= cost(each.said)
        if free < 0:
            rest = count(len(entries) - i, "line")
            left_out.append(f"{rest} of the transcript, from {facts.at(each.span[0])} on")
            return entries[:i]
    return entries


def _said(facts: Facts) -> Iterator[Entry]:
    said: list[Said] = [*facts.captions, *facts.gaps, *facts.texts]
    for number, each in enumerate(said, 1):
        id_ = each.id if isinstance(each, Typed) else result_event(each, source="").id
        yield Entry(f"{_KINDS[type(each)]}{number}", id_, each)


def cost(said: Said) -> int:
    """About how many characters an entry takes."""
    match said:
        case CaptionFinal():
            return ROW + min(LONGEST, len(said.text)) + MARK * len(unsure(said))
        case Typed():
            return ROW + min(LONGEST, len(said.message.text))
    return ROW


def unsure(caption: CaptionFinal) -> list[tuple[int, int, Word]]:
    """Where the words of little probability are in a caption's text; nowhere if the text is not of
    its words."""
    if all(word.probability >= UNSURE for word in caption.words):
        return []
    words = [word for word in caption.words if word.text.strip()]
    begins = word_begins([word.text.strip() for word in words], caption.text[:LONGEST])
    return [
        (begin, begin + len(word.text.strip()), word)
        for begin, word in zip(begins, words, strict=False)
        if word.probability < UNSURE
    ]


def _windows(facts: Facts, left_out: list[str]) -> list[Scored]:
    windows = [each for of_channel in facts.windows.values() for each in of_channel]
    windows.sort(key=lambda each: each.start)  # stable: everybody stays last
    kept = _first(windows, WINDOWS, "window", left_out)
    return [Scored(f"w{n}", each) for n, each in enumerate(kept, 1)]


def _first(items: list[T], most: int, what: str, left_out: list[str]) -> list[T]:
    if len(items) > most:
        left_out.append(f"the last {count(len(items) - most, what)} of {len(items):,}")
    return items[:most]
