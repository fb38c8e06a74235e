"""The events of Tenor: their types, the topics they live on, and how their ids are made.

One `Event` is one CloudEvent and one Kafka record; `streams.codec` turns it into bytes and back.
Times are integer milliseconds since the Unix epoch, in event time. Ids of everything that Tenor
makes are functions of what they stand for, so that a repeated result carries the same id.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Final, Self

JSON_TYPE: Final = "application/json"
VECTOR_TYPE: Final = "application/vnd.tenor.f32le"
"""Media type of a feature's value: float32 numbers, little-endian, nothing else."""

_IDS: Final = uuid.UUID("b0d0e04d-c2d5-42b2-b00d-c0754d626e63")


class CodecError(Exception):
    """An event that cannot be read. `reason` is stable and for machines; the message is for people.

    The message says what was got and what is expected, and never quotes the value of a record.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class EventType(StrEnum):
    """Every `ce_type`. A breaking change to one of them is a new type."""

    AUDIO_CHUNK = "tenor.audio.chunk.v1"
    AUDIO_CUT = "tenor.audio.cut.v1"
    TEXT_MESSAGE = "tenor.text.message.v1"
    IMAGE_FRAME = "tenor.image.frame.v1"
    SESSION_ENDED = "tenor.session.ended.v1"
    FEATURE = "tenor.feature.v1"
    PROGRESS = "tenor.progress.v1"
    TICK = "tenor.tick.v1"
    CAPTION_PARTIAL = "tenor.caption.partial.v1"
    CAPTION_FINAL = "tenor.caption.final.v1"
    CAPTION_SILENCE = "tenor.caption.silence.v1"
    CAPTION_GAP = "tenor.caption.gap.v1"
    IMAGE_RECOGNIZED = "tenor.image.recognized.v1"
    MATCH = "tenor.match.v1"
    SENTIMENT_WINDOW = "tenor.sentiment.window.v1"
    SENTIMENT_SESSION = "tenor.sentiment.session.v1"
    CHECKPOINT = "tenor.checkpoint.v1"


TYPES_OF_TOPIC: Final[Mapping[str, tuple[EventType, ...]]] = {
    "audio": (
        EventType.AUDIO_CHUNK,
        EventType.AUDIO_CUT,
        EventType.PROGRESS,
        EventType.TICK,
        EventType.SESSION_ENDED,
    ),
    "text": (
        EventType.TEXT_MESSAGE,
        EventType.PROGRESS,
        EventType.TICK,
        EventType.SESSION_ENDED,
    ),
    "images": (
        EventType.IMAGE_FRAME,
        EventType.PROGRESS,
        EventType.TICK,
        EventType.SESSION_ENDED,
    ),
    "features": (
        EventType.FEATURE,
        EventType.PROGRESS,
        EventType.TICK,
        EventType.SESSION_ENDED,
    ),
    "recognition": (
        EventType.CAPTION_PARTIAL,
        EventType.CAPTION_FINAL,
        EventType.CAPTION_SILENCE,
        EventType.CAPTION_GAP,
        EventType.IMAGE_RECOGNIZED,
        EventType.MATCH,
    ),
    "sentiment": (EventType.SENTIMENT_WINDOW, EventType.SENTIMENT_SESSION),
    "checkpoints": (EventType.CHECKPOINT,),
    "deadletters": (),
}
"""What each topic (a field of `Topics`) carries; dead letters carry whatever was received."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of the topics."""

    audio: str
    text: str
    images: str
    features: str
    recognition: str
    sentiment: str
    checkpoints: str
    deadletters: str

    @classmethod
    def of(cls, prefix: str = "tenor.") -> Self:
        """The topics of one installation; `prefix` tells it from others on the same brokers."""
        return cls(**{topic.name: prefix + topic.name for topic in fields(cls)})


@dataclass(frozen=True, slots=True)
class Event:
    """One event: CloudEvents attributes and the value.

    `session` is the Kafka key, `ce_subject` and `ce_partitionkey`; `data` the value; `extensions`
    all other CloudEvents attributes, by names of lower-case ASCII letters and digits.
    """

    type: EventType
    id: str
    source: str
    session: str
    time: int
    channel: str = ""
    sequence: int | None = None
    content_type: str = ""
    data: bytes = b""
    traceparent: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)


def event_id(
    session: str,
    type_: str,
    channel: str,
    start: int,
    end: int,
    *,
    revision: int = 0,
    about: str = "",
) -> str:
    """The id of what Tenor says about [start, end] ms of a channel: a version 5 UUID.

    `about` tells apart what shares all the rest, such as two pictures of the same instant.
    """
    name = json.dumps([session, type_, channel, start, end, revision, about])
    return str(uuid.uuid5(_IDS, name))


def channel_names(event_channel: str, count: int) -> tuple[str, ...]:
    """The names of a chunk's `count` channels, in their order in the audio.

    One channel has the event's own. Several are named with commas between (`customer,agent`);
    `call` for two makes `call-1` and `call-2`, no name at all `1` and `2`.

    Raises:
        CodecError: another number of names than of channels, an empty or a repeated one.
    """
    if count == 1:
        return (event_channel,)
    names = [name.strip() for name in event_channel.split(",")]
    if len(names) == 1:
        prefix = f"{names[0]}-" if names[0] else ""
        return tuple(f"{prefix}{number}" for number in range(1, count + 1))
    if len(names) != count or len({*names} - {""}) != count:
        expected = f"{count} different names, one name, or none"
        raise CodecError("channel-names", f"ce_channel must hold {expected}: {count} channels came")
    return tuple(names)
