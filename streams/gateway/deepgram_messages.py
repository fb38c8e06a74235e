"""Deepgram's streaming protocol: what results are in its messages, and what its clients say. Pure.

`Listening` is one stream: it hears how much audio has come and which results, and what the client
asks for, and says what the client is to be told. Positions are seconds of the client's own audio.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from streams.gateway.deepgram_query import Options
from streams.gateway.positions import SLACK_MS, News, Piece, Spoken, Timeline
from streams.messages import vocabulary_of
from streams.results import CaptionFinal, CaptionPartial, Gap, Result, Silence, Word
from streams.segmenter import FRAME, SAMPLE_RATE, Rules

Message = dict[str, Any]

UNHEARD_MS: Final = 1000
"""How old audio must be so that a word in it would have been shown: until then nobody knows whether
it is silent."""
TAIL_MS: Final = 100
"""After a pause, a caption goes on for at least so long after its last word."""
_RULES: Final = Rules()
CUT_MS: Final = (_RULES.longest - _RULES.search) * FRAME * 1000 // SAMPLE_RATE
"""A shorter utterance has ended with a pause; this long, it may have been cut without one."""
ARCHITECTURE: Final = "whisper"
FAILED: Final = "CONFIGURE_INTERNAL_ERROR"
_EDGES: Final = re.compile(r"^[^\w]+|[^\w]+$")


class BadMessage(Exception):  # noqa: N818  (an answer, not a fault)
    """What a client said that cannot be understood, in words for it; with a `code` if it was a
    Configure."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code

    def answer(self, request_id: str) -> Message:
        """What the client is told."""
        if not self.code:
            return {"type": "Error", "variant": "SchemaError", "description": str(self)}
        about = {"request_id": request_id, "code": self.code, "description": str(self)}
        return {"type": "ConfigureFailure", **about}


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """There is no audio now, but the stream goes on."""


@dataclass(frozen=True, slots=True)
class Finalize:
    """What was said so far shall be final, of one channel or all."""

    channel: int | None = None


@dataclass(frozen=True, slots=True)
class CloseStream:
    """What was said so far shall be final, and that is all."""


@dataclass(frozen=True, slots=True)
class Configure:
    """More words to expect."""

    keyterms: tuple[str, ...]


Said = KeepAlive | Finalize | CloseStream | Configure


def said(text: str, channels: int) -> Said:
    """What a client's text message says. Raises BadMessage."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise BadMessage("the message is not JSON") from None
    if not isinstance(message, dict):
        raise BadMessage("the message is no JSON object")
    match message.get("type"):
        case "KeepAlive":
            return KeepAlive()
        case "CloseStream":
            return CloseStream()
        case "Finalize":
            return Finalize(_channel(message.get("channel"), channels))
        case "Configure":
            return Configure(_terms(message))
    raise BadMessage("type must be KeepAlive, Finalize, CloseStream or Configure")


def _channel(index: object, channels: int) -> int | None:
    if index is None:
        return None
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < channels:
        raise BadMessage(f"channel must be a number from 0 to {channels - 1}")
    return index


def _terms(message: Message) -> tuple[str, ...]:
    terms = message.get("keyterms")
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
        raise BadMessage("keyterms must be a list of strings")
    kept = _vocabulary(terms)
    if not kept or message.get("features"):
        what = "keyterms can be added, not cleared, and features cannot be switched here"
        raise BadMessage(what, FAILED)
    return kept


def _vocabulary(terms: Iterable[str]) -> tuple[str, ...]:
    try:
        return vocabulary_of(terms)
    except ValueError as error:
        raise BadMessage(f"keyterms: {error}", "CONFIGURE_KEYTERM_LIMIT_EXCEEDED") from None


@dataclass(slots=True)
class Channel:
    """One channel of a stream. `told` is the position (ms) up to which results were told,
    `finalize` event times at which the client wanted captions to be final; `quiet_from` is the
    position at which the last word ended, None before there is one and once its end was told."""

    index: int
    spoken: Spoken = field(default_factory=lambda: Spoken(Timeline()))
    told: float = 0.0
    finalize: list[int] = field(default_factory=list)
    speaking: bool = False
    shown: bool = False
    quiet_from: float | None = None

    @property
    def timeline(self) -> Timeline:
        return self.spoken.timeline


class Listening:
    """One stream of a client."""

    def __init__(self, options: Options, request_id: str) -> None:
        self.options = options
        self.request_id = request_id
        self.keyterms = options.keyterms
        self.channels = [Channel(index) for index in range(len(options.names))]
        self._by_name = dict(zip(options.names, self.channels, strict=True))
        self._model = ""

    @property
    def complete(self) -> bool:
        """Whether everything that came has been told of in final results."""
        return all(channel.spoken.complete for channel in self.channels)

    def begin(self, index: int, time: int) -> None:
        """The audio of a channel that comes now lies at this event time (ms)."""
        self.channels[index].spoken.begin(time)

    def take(self, index: int, ms: float) -> None:
        """So much audio of a channel has come."""
        self.channels[index].timeline.take(ms)

    def heard(self, now: int) -> list[Message]:
        """A word that was said some time before `now`, in event time (ms), would be known."""
        told: list[Message] = []
        for channel in self.channels:
            if not channel.shown:
                told += self._quiet(channel, channel.timeline.place(now - UNHEARD_MS))
        return told

    def result(self, channel: str, result: Result) -> list[Message]:
        """What a result of a channel, by its name, is to the client."""
        known = self._by_name.get(channel)
        if known is None:
            return []
        return [m for news in known.spoken.hear(result) for m in self._tell(known, news)]

    def finalize(self, index: int) -> list[Message]:
        """The client wants to know what was said up to now in this channel."""
        channel = self.channels[index]
        if not channel.spoken.complete:
            channel.finalize = [*dict.fromkeys([*channel.finalize, channel.timeline.time])]
            return []
        return [self._results(channel, channel.told, channel.told, (), final=True, asked=True)]

    def configure(self, keyterms: Sequence[str]) -> Message:
        """More words are expected from now on. Raises BadMessage."""
        self.keyterms = _vocabulary([*self.keyterms, *keyterms])
        return {
            "type": "ConfigureSuccess",
            "request_id": self.request_id,
            "keyterms": list(self.keyterms),
        }

    def metadata(self, session: str, created: str, sha256: str) -> Message:
        """The last message: what the stream was."""
        info = self._metadata()
        return {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": self.request_id,
            "sha256": sha256,
            "created": created,
            "duration": _seconds(max(each.timeline.position for each in self.channels)),
            "channels": len(self.channels),
            "models": [info["model_uuid"]],
            "model_info": {info["model_uuid"]: info["model_info"]},
            "requested_model": self.options.model,
            "session": session,
            "extra": dict(self.options.extra),
            "tags": list(self.options.tags),
        }

    def _tell(self, channel: Channel, news: News) -> Iterator[Message]:
        if isinstance(news, CaptionPartial):
            yield from self._partial(channel, news)
        else:
            yield from self._piece(channel, news)

    def _partial(self, channel: Channel, partial: CaptionPartial) -> Iterator[Message]:
        start, end = channel.timeline.place(partial.start), channel.timeline.place(partial.end)
        channel.shown = bool(partial.words)
        if partial.words:
            yield from self._begun(channel, partial.words)
        if self.options.interim_results:
            yield self._results(channel, start, end, partial.words, text=partial.text)

    def _piece(self, channel: Channel, piece: Piece) -> Iterator[Message]:
        start, end = channel.told, max(channel.told, channel.timeline.place(piece.end))
        asked = self._answers(channel, piece.end)
        words: tuple[Word, ...] = ()
        text, ended, reason = "", False, ""
        if isinstance(piece, CaptionFinal):
            self._model = piece.model
            words, text = piece.words, piece.text
            ended = asked or _paused(piece)
            yield from self._begun(channel, words)
        elif isinstance(piece, Gap):
            reason = piece.reason
        if words or text or asked or end > start:
            yield self._results(
                channel,
                start,
                end,
                words,
                text=text,
                final=True,
                ended=ended,
                asked=asked,
                gap=reason,
            )
        channel.told, channel.shown = end, False
        channel.speaking = channel.speaking and isinstance(piece, CaptionFinal) and not ended
        if words:
            channel.quiet_from = channel.timeline.place(words[-1].end)
        elif isinstance(piece, Silence):
            yield from self._quiet(channel, end)
        channel.timeline.forget(piece.end)

    def _begun(self, channel: Channel, words: Sequence[Word]) -> Iterator[Message]:
        """What is told before the first words of an utterance."""
        start = channel.timeline.place(words[0].start) if words else channel.told
        yield from self._quiet(channel, start)
        if self.options.vad_events and not channel.speaking:
            yield {
                "type": "SpeechStarted",
                "channel": self._of(channel),
                "timestamp": _seconds(start),
            }
        channel.speaking = True

    def _quiet(self, channel: Channel, until: float) -> Iterator[Message]:
        """Nothing was said after the last word, up to this position."""
        after, since = self.options.utterance_end_ms, channel.quiet_from
        if after and since is not None and until - since >= after:
            channel.quiet_from = None
            yield {
                "type": "UtteranceEnd",
                "channel": self._of(channel),
                "last_word_end": _seconds(since),
            }

    @staticmethod
    def _answers(channel: Channel, end: int) -> bool:
        """Whether a piece that ends at this event time is what the client asked for."""
        waiting = [time for time in channel.finalize if time > end + SLACK_MS]
        answered = len(waiting) < len(channel.finalize)
        channel.finalize = waiting
        return answered

    def _results(
        self,
        channel: Channel,
        start: float,
        end: float,
        words: Iterable[Word],
        *,
        text: str = "",
        final: bool = False,
        ended: bool = False,
        asked: bool = False,
        gap: str = "",
    ) -> Message:
        told = [_word(channel.timeline, word) for word in words]
        confidence = sum(word["confidence"] for word in told) / len(told) if told else 0.0
        alternative = {"transcript": text, "confidence": round(confidence, 4), "words": told}
        message = {
            "type": "Results",
            "channel_index": self._of(channel),
            "duration": _seconds(end - start),
            "start": _seconds(start),
            "is_final": final,
            "speech_final": ended and self.options.endpointing,
            "from_finalize": asked,
            "channel": {"alternatives": [alternative]},
            "metadata": self._metadata(),
        }
        return message | ({"gap": gap} if gap else {})

    def _metadata(self) -> Message:
        return {
            "request_id": self.request_id,
            "model_info": {"name": "tenor", "version": self._model, "arch": ARCHITECTURE},
            "model_uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:tenor:model:{self._model}")),
        }

    def _of(self, channel: Channel) -> list[int]:
        return [channel.index, len(self.channels)]


def _paused(caption: CaptionFinal) -> bool:
    """Whether the speaker paused after it; speech without a pause is cut in its midst."""
    if caption.end - caption.start < CUT_MS or not caption.words:
        return True
    return caption.end - caption.words[-1].end >= TAIL_MS


def _word(timeline: Timeline, word: Word) -> Message:
    start, end = timeline.place(word.start), timeline.place(word.end)
    return {
        "word": _EDGES.sub("", word.text).lower() or word.text,
        "start": _seconds(start),
        "end": _seconds(end),
        "confidence": round(word.probability, 4),
        "punctuated_word": word.text,
    }


def _seconds(ms: float) -> float:
    return round(ms / 1000, 3)
