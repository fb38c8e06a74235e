"""OpenAI's realtime transcription: what results are in its events, and what its clients say. Pure.

`Conversation` is one session of a client: it hears how much audio has come and which results, and
each event of the client, and says what the client is to be told. An *item* is an utterance or,
where the client commits by itself, all audio from one commit to the next. A word is sent as a delta
only when it is stable and all words before it are, as it cannot be taken back.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Final

from streams.gateway.openai_session import BadEvent, Config, updated
from streams.gateway.positions import SLACK_MS, News, Piece, Spoken, Timeline
from streams.results import CaptionFinal, CaptionPartial, Gap, Result, Word

Message = dict[str, Any]

SHORTEST_MS: Final = 100
"""Of what may be committed."""
LONGEST_ID: Final = 512
TRANSCRIPTION: Final = "conversation.item.input_audio_transcription"
UNHEARD: Final = ("no-audio", "no-speech")
"""Gaps that are no failure to a client that was told of no speech."""


@dataclass(frozen=True, slots=True)
class Append:
    """Audio, as the session's format has it."""

    audio: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """What was said ends here, whatever comes."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The session was set anew."""

    before: Config
    config: Config


Deed = Append | Cut | Configured
"""What is to be done with the audio because of a client's event."""


@dataclass(slots=True)
class Item:
    """A message of the user. Event times (ms) `begin` and `end` say which audio may be in it; it is
    open while it has no end. `start` is its first position (ms). `sent` words of the utterance
    under way were told, and `spoken` says whether any word ever was."""

    id: str
    begin: int
    start: float
    end: int | None = None
    texts: list[str] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    failure: str = ""
    announced: bool = False
    sent: int = 0
    spoken: bool = False


class Conversation:
    """One session. `event` reads what the client sends, all else says what it is told."""

    def __init__(self, id_: str, config: Config) -> None:
        self.id = id_
        self.config = config
        self.timeline = Timeline()
        self.spoken = Spoken(self.timeline)
        self._begin = 0  # event time from which audio is in the item that is open, or to come
        self._open: Item | None = None
        self._committed: deque[Item] = deque()
        self._previous: str | None = None
        self._events = 0
        self._items = 0

    def created(self) -> Message:
        """The first event."""
        return self._event("session.created", session=self.config.session(self.id))

    def begin(self, time: int) -> None:
        """The audio that comes now lies at this event time (ms)."""
        self.spoken.begin(time)

    def take(self, ms: float) -> None:
        """So much audio has come."""
        self.timeline.take(ms)

    def event(self, text: str) -> tuple[list[Message], Deed | None]:
        """Takes an event of the client: what it is told, and what is to be done."""
        culprit = None
        try:
            event = _object(text)
            culprit = _id(event)
            match event.get("type"):
                case "input_audio_buffer.append":
                    return [], Append(_audio(event))
                case "input_audio_buffer.commit":
                    _known(event)
                    return list(self._commit()), Cut()
                case "input_audio_buffer.clear":
                    _known(event)
                    return [self._clear()], Cut()
                case "session.update":
                    _known(event, "session")
                    return self._update(event.get("session"))
            raise _unknown(event.get("type"))
        except BadEvent as bad:
            return [self.error(bad, culprit)], None

    def result(self, result: Result) -> list[Message]:
        """What a result of the audio is to the client."""
        return [message for news in self.spoken.hear(result) for message in self._tell(news)]

    def error(self, bad: BadEvent, culprit: str | None = None, *, ours: bool = False) -> Message:
        """Something is wrong, by the client's event of this id."""
        error = {
            "type": "server_error" if ours else "invalid_request_error",
            "code": bad.code,
            "message": bad.message,
            "param": bad.param,
            "event_id": culprit,
        }
        return self._event("error", error=error)

    # --- what the client does

    def _update(self, session: object) -> tuple[list[Message], Deed]:
        before, self.config = self.config, updated(self.config, session)
        told = [self._event("session.updated", session=self.config.session(self.id))]
        item = self._open
        if item and item.texts and self.config.detects:  # it would wait for another utterance
            told += [*self._close(item, self.spoken.settled), *self._complete(item)]
        return told, Configured(before, self.config)

    def _commit(self) -> Iterator[Message]:
        end = self.timeline.time
        since = max(self._begin, self.spoken.settled) if self.config.detects else self._begin
        buffered = self.timeline.position - self.timeline.place(since)
        if buffered < SHORTEST_MS:
            raise BadEvent(
                "input_audio_buffer_commit_empty",
                f"at least {SHORTEST_MS} ms of audio are committed; there are {buffered:.0f} ms",
            )
        item = self._open or self._new(since)
        yield from self._close(item, end)
        if self.spoken.complete:
            yield from self._complete(item)

    def _clear(self) -> Message:
        self._begin, self._open = self.timeline.time, None
        return self._event("input_audio_buffer.cleared")

    # --- what was heard

    def _tell(self, news: News) -> Iterator[Message]:
        item = self._item(news)
        if isinstance(news, CaptionPartial):
            stable = list(takewhile(lambda word: word.stable, news.words))
            if item or (news.words and news.start >= self._begin):
                item = item or self._new(news.start)
                yield from self._started(item)
                yield from self._delta(item, stable)
            return
        if item is None and news.start >= self._begin and _speaks(news):
            item = self._new(news.start)
        if item:
            yield from self._piece(item, news)
        self.timeline.forget(news.end)

    def _item(self, news: News) -> Item | None:
        """The item that a result belongs to, if there is one yet."""
        for item in self._committed:
            if item.end is not None and item.begin <= news.start < item.end:
                return item
        return self._open if news.start >= self._begin else None

    def _piece(self, item: Item, piece: Piece) -> Iterator[Message]:
        if isinstance(piece, CaptionFinal):
            yield from self._started(item)
            yield from self._delta(item, piece.words)
            item.texts.append(piece.text)
            item.words += piece.words
        elif isinstance(piece, Gap) and (item.announced or piece.reason not in UNHEARD):
            yield from self._started(item)
            item.failure = item.failure or piece.reason
        item.sent = 0
        if item.end is None and self.config.detects:
            end = round(self.timeline.place(piece.end))
            yield self._event(
                "input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=item.id
            )
            yield from self._close(item, piece.end)
        if item.end is not None and piece.end >= item.end - SLACK_MS:
            yield from self._complete(item)

    def _new(self, start: int) -> Item:
        """An item that begins with an utterance, or with all that was not committed yet."""
        self._items += 1
        place = self.timeline.place(start if self.config.detects else self._begin)
        self._open = Item(f"item_{self.id}_{self._items}", self._begin, place)
        return self._open

    def _started(self, item: Item) -> Iterator[Message]:
        """Tells, where speech is detected here, that some was."""
        if not item.announced and item.end is None and self.config.detects:
            start = math.floor(item.start)
            yield self._event(
                "input_audio_buffer.speech_started", audio_start_ms=start, item_id=item.id
            )
        item.announced = True

    def _delta(self, item: Item, words: Sequence[Word]) -> Iterator[Message]:
        """Tells those of the words of the utterance under way that were not told."""
        if len(words) <= item.sent:
            return
        text = " ".join(word.text for word in words[item.sent :])
        yield self._event(
            f"{TRANSCRIPTION}.delta",
            item_id=item.id,
            content_index=0,
            delta=f" {text}" if item.spoken else text,
            **self._logprobs(words[item.sent :]),
        )
        item.sent, item.spoken = len(words), True

    def _close(self, item: Item, end: int) -> Iterator[Message]:
        """The item goes up to here; what comes now is of another one."""
        item.end = self._begin = end
        self._open = None
        self._committed.append(item)
        before, self._previous = self._previous, item.id
        about = {"previous_item_id": before, "item_id": item.id}
        yield self._event("input_audio_buffer.committed", **about)
        for step in ("added", "created", "done"):
            yield self._event(
                f"conversation.item.{step}", previous_item_id=before, item=_message(item)
            )

    def _complete(self, item: Item) -> Iterator[Message]:
        """All of the item was heard."""
        self._committed.remove(item)
        about = {"item_id": item.id, "content_index": 0}
        if item.failure and not item.texts:
            error = {
                "type": "transcription_error",
                "code": item.failure,
                "message": f"this audio was not recognised: {item.failure}",
            }
            yield self._event(f"{TRANSCRIPTION}.failed", **about, error=error)
            return
        seconds = (self.timeline.place(item.end or 0) - item.start) / 1000
        yield self._event(
            f"{TRANSCRIPTION}.completed",
            **about,
            transcript=" ".join(item.texts),
            usage={"type": "duration", "seconds": round(max(0.0, seconds), 3)},
            **self._logprobs(item.words),
        )

    def _logprobs(self, words: Iterable[Word]) -> Message:
        if not self.config.logprobs:
            return {}
        return {"logprobs": [_logprob(word) for word in words]}

    def _event(self, type_: str, **fields: Any) -> Message:  # noqa: ANN401  (those of the event)
        self._events += 1
        return {"type": type_, "event_id": f"event_{self.id}_{self._events}", **fields}


def _speaks(piece: Piece) -> bool:
    """Whether a client that was told of no speech is to be told of this."""
    return isinstance(piece, CaptionFinal) or (
        isinstance(piece, Gap) and piece.reason not in UNHEARD
    )


def _message(item: Item) -> Message:
    return {
        "id": item.id,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }


def _logprob(word: Word) -> Message:
    logprob = math.log(max(word.probability, 1e-6))
    return {"token": word.text, "bytes": list(word.text.encode()), "logprob": round(logprob, 4)}


def _object(text: str) -> Message:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        raise BadEvent("invalid_json", "the event is not JSON") from None
    if not isinstance(event, dict):
        raise BadEvent("invalid_json", "the event is no JSON object")
    return event


def _id(event: Message) -> str | None:
    id_ = event.get("event_id")
    return id_[:LONGEST_ID] if isinstance(id_, str) else None


def _known(event: Message, *names: str) -> None:
    if unknown := sorted(map(str, event.keys() - {"type", "event_id", *names})):
        message = "this event has no such field"
        raise BadEvent("unknown_parameter", message, unknown[0][:LONGEST_ID])


def _unknown(type_: object) -> BadEvent:
    if not isinstance(type_, str):
        return BadEvent("missing_type", "the event has no type", "type")
    return BadEvent(
        "unknown_event",
        "in a transcription session a client may send session.update and"
        " input_audio_buffer.append, .commit and .clear",
        "type",
    )


def _audio(event: Message) -> bytes:
    _known(event, "audio")
    audio = event.get("audio")
    if not isinstance(audio, str):
        raise BadEvent("invalid_type", "audio must be a string, in base64", "audio")
    try:
        return base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise BadEvent("invalid_value", "audio must be in base64", "audio") from None
