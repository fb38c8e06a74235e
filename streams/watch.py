"""Follows the results of sessions as they come: for people in a terminal, or as JSON lines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection
from dataclasses import asdict, dataclass, field
from datetime import datetime

from rich.console import Console
from rich.text import Text

from streams import codec, records
from streams.clock import now_ms
from streams.connection import Connection
from streams.events import CodecError, Event, Topics
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    Gap,
    ImageRecognized,
    Match,
    Result,
    SentimentSession,
    SentimentWindow,
    result_of,
)

COLOURS = ("cyan", "magenta", "yellow", "green", "blue")
MOODS = {"negative": "red", "neutral": "white", "positive": "green"}
BAR = 10


@dataclass(frozen=True, slots=True)
class Received:
    """A record of an output topic (a field of `Topics`), when it came (ms), and its event if it
    has a readable one."""

    topic: str
    at: int
    event: Event | None


async def follow(
    brokers: Connection,
    topics: Topics,
    outputs: Collection[str] = ("recognition", "sentiment"),
    *,
    from_start: bool = False,
) -> AsyncIterator[Received]:
    """Every record of these topics, from now on or from the start; never ends.

    The first item comes before any record and holds no event: from it on nothing is missed.
    """
    fields = {name: field for field, name in asdict(topics).items() if field in outputs}
    start = "earliest" if from_start else "latest"
    options = {"auto_offset_reset": start, "fetch_max_wait_ms": 100}
    async with records.reader(brokers, *fields, **options) as consumer:
        for place in consumer.assignment():
            await consumer.position(place)
        yield Received("", now_ms(), None)
        async for record in consumer:
            yield Received(fields[record.topic], now_ms(), _event(record))


def _event(record: object) -> Event | None:
    key, value, headers = (getattr(record, name) for name in ("key", "value", "headers"))
    try:
        return codec.decode(key, value, headers, now=now_ms())
    except CodecError:
        return None


@dataclass(slots=True)
class Screen:
    """Shows results as lines; where there is a terminal, partial captions too until they are final:
    stable words as they will stay, the others in grey."""

    console: Console
    zero: int = 0
    one_session: bool = False
    _colours: dict[str, str] = field(default_factory=dict)
    _pending: bool = False

    def show(self, result: Result) -> None:
        """Prints one result, or nothing for those that say nothing to people."""
        if isinstance(result, CaptionPartial):
            self._partial(result)
        elif (line := self._line(result)) is not None:
            self._clear()
            self.console.print(self._prefix(result) + line, soft_wrap=True)

    def _partial(self, caption: CaptionPartial) -> None:
        if self.console.is_terminal:
            text = self._prefix(caption) + self._speaker(caption.channel)
            text += _newest_words(caption, self.console.width - 1 - len(text))
            self._clear()
            self.console.print(text, end="", soft_wrap=True)
            self._pending = True

    def _clear(self) -> None:
        if self._pending:
            self.console.file.write("\r\x1b[2K")
            self._pending = False

    def _line(self, result: Result) -> Text | None:
        match result:
            case CaptionFinal():
                return self._speaker(result.channel) + Text(result.text)
            case Gap():
                ms = result.end - result.start
                return self._speaker(result.channel) + Text(
                    f"[{ms / 1000:.1f} s not recognised: {result.reason}]", style="red"
                )
            case ImageRecognized(channel=speaker) | Match(left_channel=speaker):
                return self._speaker(speaker) + _picture(result)
            case SentimentWindow(final=True) if result.channel:
                return self._speaker(result.channel) + _mood(result)
            case SentimentSession():
                return _summary(result)
        return None

    def _prefix(self, result: Result) -> Text:
        _, end = result.span()
        if self.zero:
            at = f"{max(0, end - self.zero) / 1000:6.1f} s  "
        else:
            at = f"{datetime.fromtimestamp(end / 1000).astimezone():%H:%M:%S}  "
        session = "" if self.one_session else f"{result.session[:16]}  "
        return Text(at + session, style="bright_black")

    def _speaker(self, channel: str) -> Text:
        colour = self._colours.setdefault(channel, COLOURS[len(self._colours) % len(COLOURS)])
        return Text(f"{channel[:12]:<12} ", style=colour)


def _newest_words(caption: CaptionPartial, width: int) -> Text:
    """The end of a partial caption, as much as fits one line."""
    words = [Text(w.text, style="" if w.stable else "bright_black") for w in caption.words]
    text = Text(" ").join(words)
    return text if len(text) <= width else Text("…") + text[len(text) - max(0, width - 1) :]


def _mood(result: SentimentWindow) -> Text:
    filled = round((result.score + 1) / 2 * BAR)
    strongest = max(result.emotions, key=lambda name: result.emotions[name], default="")
    gave = ", ".join(f"{name} {share:.0%}" for name, share in result.contributions.items())
    text = Text("mood ", style="bright_black")
    text += Text("█" * filled + "░" * (BAR - filled), style=MOODS[result.label])
    text += Text(f" {result.score:+.2f} ±{result.deviation:.2f} ", style="bold")
    text += Text(f"{result.label} ({result.confidence:.0%})", style=MOODS[result.label])
    text += Text(" corrected" if result.revision else "")
    return text + Text(f"  {strongest}; {gave}", style="bright_black")


def _picture(result: ImageRecognized | Match) -> Text:
    if isinstance(result, Match):
        pair = f"[match {result.similarity:.2f}: {result.left} and {result.right}]"
        return Text(pair, style="bold")
    labels = ", ".join(f"{each.name} {each.probability:.0%}" for each in result.labels[:3])
    faces = f"; {len(result.faces)} face(s)" if result.faces else ""
    return Text(f"[picture: {labels}{faces}]", style="bold")


def _summary(result: SentimentSession) -> Text:
    parts = [
        f"{channel or 'together'} {each.score:+.2f} {each.label}"
        f" (from {each.first:+.2f} to {each.last:+.2f})"
        for channel, each in result.channels.items()
    ]
    return Text("session over: " + "; ".join(parts), style="bold")


def as_json(received: Received) -> str:
    """One line of JSON: type, id, time (ms) and the result itself."""
    event = received.event
    if event is None:
        return json.dumps({"topic": received.topic, "unreadable": True})
    data = json.loads(event.data) if event.data else None
    return json.dumps({"type": event.type, "id": event.id, "time": event.time, "data": data})


def shown(received: Received, session: str | None) -> Result | None:
    """The result in a record, if it is one and of this session (None: of any)."""
    event = received.event
    if event is None or (session is not None and event.session != session):
        return None
    try:
        return result_of(event)
    except CodecError:
        return None
