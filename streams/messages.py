"""Typed text of a session: chat, notes, and vocabulary that its speech recognition should know."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Final, Literal, get_args

from pydantic import Field

from streams.codec import SIZES
from streams.events import JSON_TYPE, CodecError, Event, EventType

Kind = Literal["message", "note", "vocabulary"]

MAXIMUM_TEXT: Final = 16_384
MAXIMUM_SPEAKER: Final = 200
MAXIMUM_WORD: Final = 100
MAXIMUM_WORDS: Final = 500
_CHARSETS: Final = ("utf-8", "utf8", "us-ascii")


@dataclass(frozen=True, slots=True)
class TextMessage:
    """What a client says in text: a message needs `text`, a vocabulary its words or phrases.

    A `message` was said to the other side by `speaker`, a `note` was not.
    """

    text: Annotated[str, Field(max_length=MAXIMUM_TEXT)] = ""
    speaker: Annotated[str, Field(max_length=MAXIMUM_SPEAKER)] = ""
    kind: Kind = "message"
    vocabulary: Annotated[
        tuple[Annotated[str, Field(max_length=MAXIMUM_WORD)], ...],
        Field(max_length=MAXIMUM_WORDS),
    ] = ()


@dataclass(frozen=True, slots=True)
class Typed:
    """A text of a session: the id of its event, when it was (ms, event time), and whose it is."""

    id: str
    time: int
    channel: str
    message: TextMessage


class TypedTexts:
    """Texts of a session, each once, as many as fit; `left_out` counts those that do not."""

    def __init__(self, room: int) -> None:
        """`room` is for the values of the events, in bytes."""
        self.left_out = 0
        self._room = room
        self._texts: dict[str, Typed] = {}

    def add(self, event: Event) -> None:
        """Raises CodecError as `text_message`."""
        if event.id in self._texts:
            return
        message, size = text_message(event), len(event.data)
        if size > self._room:
            self.left_out += 1
            return
        self._room -= size
        channel = message.speaker or event.channel
        self._texts[event.id] = Typed(event.id, event.time, channel, message)

    def in_order(self) -> list[Typed]:
        """By time."""
        return sorted(self._texts.values(), key=lambda each: (each.time, each.id))


def text_message(event: Event) -> TextMessage:
    """Reads the value of a text event: `text/plain` (UTF-8) or JSON, unknown fields ignored.

    Raises CodecError: bad-charset, bad-utf8, bad-json, bad-field, bad-characters, text-too-long,
    empty-text.
    """
    type_, _, parameters = event.content_type.partition(";")
    _check_charset(parameters)
    text = _utf8(event.data)
    message = _from_json(text) if type_.strip().lower() == JSON_TYPE else TextMessage(text)
    _check(message)
    return message


def values_of(message: TextMessage) -> tuple[bytes, ...]:
    """The values (JSON) of the events that say it: a long vocabulary takes several. Raises
    CodecError as `text_message`."""
    _check(message)
    value = json.dumps(asdict(message), ensure_ascii=False).encode()
    if len(value) <= SIZES[EventType.TEXT_MESSAGE]:
        return (value,)
    words = message.vocabulary
    if len(words) <= 1:
        raise CodecError("text-too-long", f"as JSON the text has {len(value)} bytes")
    halves = words[: len(words) // 2], words[len(words) // 2 :]
    return tuple(each for half in halves for each in values_of(replace(message, vocabulary=half)))


def vocabulary_of(words: Iterable[str]) -> tuple[str, ...]:
    """Words and phrases as a vocabulary takes them, each once. Raises ValueError, in words for
    whoever gave them."""
    kept = tuple(dict.fromkeys(filter(None, (" ".join(word.split()) for word in words))))
    fit = all(len(word) <= MAXIMUM_WORD and word.isprintable() for word in kept)
    if len(kept) > MAXIMUM_WORDS or not fit:
        raise ValueError(f"at most {MAXIMUM_WORDS}, of at most {MAXIMUM_WORD} printable characters")
    return kept


def _check_charset(parameters: str) -> None:
    for parameter in parameters.lower().split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(' "') not in _CHARSETS:
            raise CodecError("bad-charset", "the charset of a text must be utf-8")


def _utf8(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CodecError("bad-utf8", f"the text is not UTF-8 at byte {error.start}") from None


def _from_json(text: str) -> TextMessage:
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise CodecError("bad-json", f"the value is not JSON at character {error.pos}") from None
    except (ValueError, RecursionError):
        message = "the value is JSON with too long a number or too deep a nesting"
        raise CodecError("bad-json", message) from None
    if not isinstance(fields, dict):
        raise CodecError("bad-json", "the value must be a JSON object with the field text")
    kind = fields.get("kind", "message")
    if kind not in get_args(Kind):
        raise CodecError("bad-field", f"kind must be one of: {', '.join(get_args(Kind))}")
    return TextMessage(
        _string(fields.get("text", ""), "text"),
        _string(fields.get("speaker", ""), "speaker"),
        kind,
        _strings(fields.get("vocabulary", [])),
    )


def _string(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise CodecError("bad-field", f"{name} must be a string")
    return value


def _strings(values: object) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise CodecError("bad-field", "vocabulary must be a list of strings")
    return tuple(_string(value, "each word of vocabulary") for value in values)


def _check(message: TextMessage) -> None:
    for name, text, most in (
        ("text", message.text, MAXIMUM_TEXT),
        ("speaker", message.speaker, MAXIMUM_SPEAKER),
        *(("a word of vocabulary", word, MAXIMUM_WORD) for word in message.vocabulary),
    ):
        if len(text) > most:
            raise CodecError("text-too-long", f"{name} has {len(text)} characters of {most}")
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise CodecError("bad-characters", f"{name} holds NUL or half a surrogate pair")
    if len(message.vocabulary) > MAXIMUM_WORDS:
        words = len(message.vocabulary)
        raise CodecError("text-too-long", f"vocabulary has {words} words of {MAXIMUM_WORDS}")
    needed = (message.text, *message.vocabulary)[: None if message.kind == "vocabulary" else 1]
    if not any(text.strip() for text in needed):
        raise CodecError("empty-text", f"a {message.kind} must say something")
