"""docs/events.md: every type of event, from the published contract and the examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from streams.asyncapi import OWN_HEADERS, TOPIC_TITLES, TYPE_TITLES, document
from streams.checkpoints import LARGEST
from streams.codec import CONTENT_TYPES, DEFAULT_LIMITS, EMPTY, SIZES, encode
from streams.deadletters import RawHeaders
from streams.docs.examples import EXAMPLES, dead_letter_example
from streams.docs.markdown import MADE, anchor, block, code, joined, table
from streams.events import JSON_TYPE, TYPES_OF_TOPIC, Event, EventType, Topics
from streams.results import RESULTS

Json = dict[str, Any]

SENT: Final = (
    EventType.AUDIO_CHUNK,
    EventType.AUDIO_CUT,
    EventType.TEXT_MESSAGE,
    EventType.IMAGE_FRAME,
    EventType.PROGRESS,
    EventType.SESSION_ENDED,
)
INTERNAL: Final = (EventType.FEATURE, EventType.TICK, EventType.CHECKPOINT)
DIRECTIONS: Final = (
    ("in", "What you send", SENT),
    ("out", "What comes out", tuple(RESULTS)),
    ("internal", "Between the agents", INTERNAL),
)
"""Sections of the page; every type is in one."""

_INNERMOST: Final = re.compile(r"[{\[][^{}\[\]]{1,150}[}\]]")
"""What of a JSON text has nothing within: it stands on one line."""

INTRODUCTION: Final = """\
# Events

Every record is a [CloudEvent](https://cloudevents.io) of version 1.0 in Kafka's binary mode: the
value is the medium or the JSON itself, the rest is in headers. The key is the session, in UTF-8, on
every topic. For machines the same is in [asyncapi.yaml](asyncapi.yaml) and [schemas](schemas).
See also how to send events ([sending](sending.md)), what the words mean ([concepts](concepts.md)),
and how large everything may be ([limits](limits.md)).

Readers must ignore fields and headers that they do not know: new ones may come. What would break a
reader becomes a new type (`.v2`)."""
DEAD_LETTERS: Final = """\
## Dead letters

On `{topic}` lies what could not be used: key, value and headers as they were received, and why.
How to look at it and send it back: [dead letters](deadletters.md)."""


def page(topics: Topics) -> str:
    """The whole page, for an installation with these topics."""
    contract = document(topics)
    return joined(
        [
            MADE,
            INTRODUCTION,
            "## Topics",
            _topics(contract),
            "## All types",
            _types(),
            "## Headers of every event",
            _headers(_schema(contract, "CloudEventHeaders")),
            f"So looks a chat message in Kafka (key {code('my-call')}):",
            block(_told(_every_header(EXAMPLES[EventType.TEXT_MESSAGE]))),
            *(part for _, title, types in DIRECTIONS for part in _section(contract, title, types)),
            DEAD_LETTERS.format(topic=topics.deadletters),
            _headers(_schema(contract, "DeadLetterHeaders")),
            block(_told(dead_letter_example()[2])),
        ]
    )


def _topics(contract: Json) -> str:
    rows = (
        (code(contract["channels"][name]["address"]), TOPIC_TITLES[name], _linked(types))
        for name, types in TYPES_OF_TOPIC.items()
    )
    return table(("topic", "what is on it", "types"), rows)


def _linked(types: Sequence[EventType]) -> str:
    if not types:
        return f"[any](#{anchor('Dead letters')})"
    return ", ".join(f"[{short(each)}](#{anchor(each)})" for each in types)


def short(type_: EventType) -> str:
    """A type's name without what all have: `caption.final`."""
    return type_.removeprefix("tenor.").removesuffix(".v1")


def _types() -> str:
    rows = (
        (
            f"[{type_}](#{anchor(type_)})",
            direction,
            _topics_of(type_),
            _content(type_),
            _size(type_),
        )
        for direction, _, types in DIRECTIONS
        for type_ in types
    )
    return table(("type", "direction", "topic", "content type", "value, at most"), rows)


def _topics_of(type_: EventType) -> str:
    return ", ".join(topic for topic, types in TYPES_OF_TOPIC.items() if type_ in types)


def _content(type_: EventType) -> str:
    return ", ".join(map(code, CONTENT_TYPES.get(type_, (JSON_TYPE,))))


def _size(type_: EventType) -> str:
    if type_ is EventType.CHECKPOINT:
        size = LARGEST
    elif type_ in EMPTY:
        return "empty"
    else:
        size = SIZES.get(type_, DEFAULT_LIMITS.size)
    return f"{size // 1024} KiB" if size % 2**20 else f"{size // 2**20} MiB"


def _section(contract: Json, title: str, types: Sequence[EventType]) -> Iterator[str]:
    yield f"## {title}"
    for type_ in types:
        yield f"### {type_}"
        yield _prose(type_)
        if type_ in OWN_HEADERS:
            yield _headers(_schema(contract, OWN_HEADERS[type_]))
        yield block(_told(_own_headers(EXAMPLES[type_])))
        yield _value(EXAMPLES[type_])


def _prose(type_: EventType) -> str:
    if type_ not in RESULTS:
        return f"{TYPE_TITLES[type_]}."
    told = " ".join((RESULTS[type_].__doc__ or "").split())
    return f"{told} [Schema](schemas/{type_}.json)."


def _headers(schema: Json) -> str:
    required = schema.get("required", ())
    rows = (
        (code(name), "yes" if name in required else "", _described(described))
        for name, described in schema["properties"].items()
    )
    return table(("header", "needed", "what"), rows)


def _described(schema: Json) -> str:
    if "const" in schema:
        told = code(schema["const"])
    elif "enum" in schema:
        told = ", ".join(map(code, schema["enum"]))
    elif "pattern" in schema:
        told = "digits"
    else:
        told = ""
    return "; ".join(filter(None, [told, schema.get("description", "")]))


def _schema(contract: Json, name: str) -> Json:
    found: Json = contract["components"]["schemas"][name]
    return found


def _every_header(event: Event) -> RawHeaders:
    return [*encode(event)[2]]


def _own_headers(event: Event) -> RawHeaders:
    """Without those that are the same, or say nothing, in an example."""
    common = {"ce_specversion", "ce_id", "ce_source", "ce_subject", "ce_partitionkey"}
    return [header for header in _every_header(event) if header[0] not in common]


def _told(headers: RawHeaders) -> str:
    return "\n".join(f"{name}: {(raw or b'').decode()}" for name, raw in headers)


def _value(event: Event) -> str:
    if not event.data:
        return ""
    if event.content_type != JSON_TYPE:
        return f"and {len(event.data)} bytes."
    lines = json.dumps(json.loads(event.data), indent=1, ensure_ascii=False)
    return block(_INNERMOST.sub(lambda found: " ".join(found[0].split()), lines), "json")
