"""The published contract, made from the code: an AsyncAPI 3 document and JSON Schemas.

`python -m streams.docs` writes `docs/asyncapi.yaml` and `docs/schemas/<type>.json`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import TypeAdapter

from streams.codec import CONTENT_TYPES, EMPTY, SIZES
from streams.events import JSON_TYPE, TYPES_OF_TOPIC, EventType, Topics
from streams.features import REQUIRED, Modality
from streams.messages import TextMessage
from streams.results import PROVISIONAL, RESULTS

Json = dict[str, Any]

VERSION: Final = "1.0.0"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

TOPIC_TITLES: Final = {
    "audio": "Audio of sessions, in: up to two seconds and eight channels per event.",
    "text": "Text of sessions, in: chat, notes, vocabulary.",
    "images": "Pictures of sessions, in.",
    "features": "Embeddings and event-time progress, between the agents.",
    "recognition": "Captions, recognised pictures and matches, out.",
    "sentiment": "Sentiment per window and per session, out.",
    "checkpoints": "Progress per session, between runs; compacted.",
    "deadletters": "Records that could not be used, out: as received, with tenor-error- headers.",
}
TYPE_TITLES: Final = {
    EventType.AUDIO_CHUNK: "A piece of audio, of one channel or several",
    EventType.AUDIO_CUT: "What the channel has said up to here is an utterance, whatever follows",
    EventType.TEXT_MESSAGE: "Typed text",
    EventType.IMAGE_FRAME: "A picture",
    EventType.SESSION_ENDED: "No more events of the session come on this topic",
    EventType.FEATURE: "An embedding: float32 numbers, little-endian",
    EventType.PROGRESS: "A source's event time is complete up to ce_time",
    EventType.TICK: "Sources have been silent, nothing waits for them any more",
    EventType.CAPTION_PARTIAL: "Speech as heard so far",
    EventType.CAPTION_FINAL: "Speech of one utterance",
    EventType.CAPTION_SILENCE: "Audio without speech",
    EventType.CAPTION_GAP: "Audio that was not recognised",
    EventType.IMAGE_RECOGNIZED: "What a picture shows",
    EventType.MATCH: "Events of two modalities that are about the same",
    EventType.SENTIMENT_WINDOW: "The mood of a window",
    EventType.SENTIMENT_SESSION: "The mood of a session",
    EventType.CHECKPOINT: "How far a session's results are final; what is in it may change",
}
RECEIVED: Final = ("audio", "text", "images", "features", "checkpoints")
SENT: Final = ("features", "recognition", "sentiment", "checkpoints", "deadletters")
DEAD_LETTER: Final = "deadletter"

_TEXT: Final[Json] = {"type": "string"}
_CHANNEL: Final = (
    "audio track, such as customer or agent; where the media type has channels=2 or more, or a file"
    " has them, one name for each in their order, such as customer,agent"
)
_ENVELOPE: Final[Json] = {
    "type": "object",
    "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "minLength": 1, "description": "once for each source"},
        "ce_source": {
            "type": "string",
            "minLength": 1,
            "format": "uri-reference",
            "description": "who made it",
        },
        "ce_type": {"type": "string", "description": "of the event"},
        "ce_time": {"type": "string", "format": "date-time", "description": "event time"},
        "ce_subject": {"type": "string", "description": "the session, as in the key"},
        "ce_partitionkey": {"type": "string", "description": "the session, as in the key"},
        "ce_channel": {"type": "string", "description": _CHANNEL},
        "ce_sequence": {
            "type": "string",
            "pattern": "^[0-9]{1,20}$",
            "description": "counts the channel's chunks one by one",
        },
        "traceparent": {"type": "string", "description": "W3C Trace Context"},
    },
}
_ERROR_HEADERS: Final[Json] = {
    "type": "object",
    "required": [f"tenor-error-{n}" for n in ("reason", "message", "topic", "partition", "offset")],
    "properties": {
        "tenor-error-reason": {"type": "string", "description": "stable, for machines"},
        "tenor-error-message": {"type": "string", "description": "for people"},
        "tenor-error-topic": _TEXT,
        "tenor-error-partition": {"type": "string", "pattern": "^[0-9]+$"},
        "tenor-error-offset": {"type": "string", "pattern": "^[0-9]+$"},
        "tenor-error-cut": {"type": "string", "description": "what was cut, with original sizes"},
    },
}
_FEATURE_HEADERS: Final[Json] = {
    "type": "object",
    "required": [f"ce_{name}" for name in REQUIRED],
    "properties": {
        "ce_modality": {"enum": [modality.value for modality in Modality]},
        "ce_start": {"type": "string", "pattern": "^[0-9]+$", "description": "ms since 1970"},
        "ce_end": {"type": "string", "pattern": "^[0-9]+$", "description": "ms since 1970"},
        "ce_encoder": _TEXT,
        "ce_encoderrevision": _TEXT,
        "ce_dimension": {"type": "string", "pattern": "^[1-9][0-9]*$"},
        "ce_evidence": {"type": "string", "description": "id of what the vector was made from"},
        "ce_expects": {"type": "string", "description": "evidence of a companion to wait for"},
        "ce_kind": _TEXT,
    },
}
_DIGITS: Final[Json] = {"type": "string", "pattern": "^[0-9]+$"}
_ORIGIN: Final[Json] = {
    "ce_input": {"type": "string", "description": "topic (without prefix) that it is about"},
    "ce_origin": {**_DIGITS, "description": "offset there of the event that it stems from"},
}
_ENDED_HEADERS: Final[Json] = {"type": "object", "properties": _ORIGIN}
_PROGRESS_HEADERS: Final[Json] = {
    "type": "object",
    "properties": {
        **_ORIGIN,
        "ce_inputs": {
            "type": "string",
            "description": "what the session has, such as audio,text,images; windows then wait for"
            " each of them",
        },
    },
}
_TICK_HEADERS: Final[Json] = {
    "type": "object",
    "required": ["ce_idle"],
    "properties": {
        **_ORIGIN,
        "ce_idle": {"type": "string", "description": "JSON list of the sources that are silent"},
        "ce_until": {**_DIGITS, "description": "ms since 1970: nothing before is awaited"},
        "ce_seen": {**_DIGITS, "description": "offset of the last event that the writer knew"},
        "ce_expire": {"const": "true", "description": "there if the session is over"},
    },
}
_WINDOW_HEADERS: Final[Json] = {
    "type": "object",
    "properties": {f"ce_{PROVISIONAL}": {"const": "true", "description": "there if not final"}},
}
OWN_HEADERS: Final = {
    EventType.FEATURE: "FeatureHeaders",
    EventType.PROGRESS: "ProgressHeaders",
    EventType.SESSION_ENDED: "EndedHeaders",
    EventType.TICK: "TickHeaders",
    EventType.SENTIMENT_WINDOW: "WindowHeaders",
}
"""Schemas of the headers that a type has beside those of every event."""


def document(topics: Topics) -> Json:
    """The AsyncAPI 3.0.0 document of an installation with these topics."""
    names = asdict(topics)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tenor",
            "version": VERSION,
            "description": "Real-time analysis of live conversations: audio, text and pictures in;"
            " captions, recognised pictures and sentiment out. Records follow the CloudEvents 1.0"
            " Kafka binding in binary mode; the key is the session id in UTF-8.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON_TYPE,
        "channels": {topic: _channel(topic, address) for topic, address in names.items()},
        "operations": {
            f"{action}{topic.capitalize()}": _operation(action, topic)
            for action, listed in (("receive", RECEIVED), ("send", SENT))
            for topic in listed
        },
        "components": {
            "messages": {**{type_.value: _message(type_) for type_ in EventType}, **_dead_letter()},
            "schemas": _schemas(),
        },
    }


def schema(type_: EventType) -> Json:
    """The JSON Schema (draft 2020-12) of a type's JSON value. KeyError where it has none."""
    return {
        "$schema": DIALECT,
        "$id": f"urn:tenor:schema:{type_}",
        **_adapter(type_).json_schema(),
    }


def write(folder: Path) -> None:
    """Writes the document and the schemas of all JSON values into a folder."""
    schemas = folder / "schemas"
    schemas.mkdir(parents=True, exist_ok=True)
    for type_ in _with_schema():
        text = json.dumps(schema(type_), indent=2, ensure_ascii=False)
        (schemas / f"{type_}.json").write_text(text + "\n", encoding="utf-8")
    (folder / "asyncapi.yaml").write_text(as_yaml(document(Topics.of())), encoding="utf-8")


def as_yaml(contract: Json) -> str:
    """YAML without anchors, which tools for AsyncAPI do not all read."""
    plain = json.loads(json.dumps(contract))  # shared parts become separate ones
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def _with_schema() -> list[EventType]:
    return [EventType.TEXT_MESSAGE, *RESULTS]


def _adapter(type_: EventType) -> TypeAdapter[Any]:
    model = TextMessage if type_ is EventType.TEXT_MESSAGE else RESULTS[type_]
    return TypeAdapter(model)


def _channel(topic: str, address: str) -> Json:
    types = [type_.value for type_ in TYPES_OF_TOPIC[topic]] or [DEAD_LETTER]
    kafka: Json = {"topic": address, "bindingVersion": "0.5.0"}
    if topic == "checkpoints":
        kafka["topicConfiguration"] = {"cleanup.policy": ["compact", "delete"]}
    return {
        "address": address,
        "description": TOPIC_TITLES[topic],
        "messages": {name: _ref("messages", name) for name in types},
        "bindings": {"kafka": kafka},
    }


def _operation(action: str, topic: str) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "summary": TOPIC_TITLES[topic],
    }


def _message(type_: EventType) -> Json:
    accepted = CONTENT_TYPES.get(type_, (JSON_TYPE,))
    message: Json = {
        "name": type_.value,
        "title": TYPE_TITLES[type_],
        "headers": _headers(type_, accepted),
        "payload": _payload(type_),
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": "0.5.0"}},
    }
    if accepted:
        message["contentType"] = accepted[-1] if type_ is EventType.TEXT_MESSAGE else accepted[0]
    return message


def _headers(type_: EventType, accepted: tuple[str, ...]) -> Json:
    own: Json = {"properties": {"ce_type": {"const": type_.value}}}
    if accepted:
        described = "media type, one of (parameters allowed): " + ", ".join(accepted)
        own["properties"]["content-type"] = {"type": "string", "description": described}
        if type_ not in EMPTY:
            own["required"] = ["content-type"]
    parts = [_ref("schemas", "CloudEventHeaders"), own]
    if type_ in OWN_HEADERS:
        parts.append(_ref("schemas", OWN_HEADERS[type_]))
    return {"type": "object", "allOf": parts}


def _payload(type_: EventType) -> Json:
    if type_ in _with_schema():
        return _ref("schemas", _adapter(type_).json_schema()["title"])
    if type_ is EventType.CHECKPOINT:
        return {"description": "internal; its fields may change between versions"}
    if type_ in EMPTY:
        return {"type": "string", "maxLength": 0}
    size = f"at most {SIZES[type_]} bytes"
    if type_ is EventType.FEATURE:
        size = f"4 bytes per dimension, {size}"
    return {"type": "string", "format": "binary", "description": size}


def _dead_letter() -> Json:
    title = "A record that could not be used, as received, with the reason in headers"
    headers = _ref("schemas", "DeadLetterHeaders")
    payload = {"description": "the value as received"}
    message = {"name": DEAD_LETTER, "title": title, "headers": headers, "payload": payload}
    return {DEAD_LETTER: {**message, "contentType": "application/octet-stream"}}


def _schemas() -> Json:
    template = "#/components/schemas/{model}"
    models, definitions = TypeAdapter.json_schemas(
        [(type_.value, "validation", _adapter(type_)) for type_ in _with_schema()],
        ref_template=template,
    )
    named = {made["title"]: made for made in models.values() if "title" in made}
    return {
        "CloudEventHeaders": _ENVELOPE,
        "FeatureHeaders": _FEATURE_HEADERS,
        "EndedHeaders": _ENDED_HEADERS,
        "ProgressHeaders": _PROGRESS_HEADERS,
        "TickHeaders": _TICK_HEADERS,
        "WindowHeaders": _WINDOW_HEADERS,
        "DeadLetterHeaders": _ERROR_HEADERS,
        **dict(sorted({**named, **definitions.get("$defs", {})}.items())),
    }


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}
