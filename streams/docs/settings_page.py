"""docs/settings.md: every environment variable with its default, its range, and what it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from pydantic_settings import BaseSettings

from streams.docs.markdown import MADE, code, joined, table
from streams.gateway.settings import GatewaySettings
from streams.settings import Settings


class Group(NamedTuple):
    """Settings from `first` on, up to the first of the next group; so a new one is in the group in
    whose midst it is written."""

    title: str
    first: str
    note: str


GROUPS: Final = (
    Group("Kafka", "brokers", "Who is let in, and how: [security](security.md)."),
    Group("Topics and groups", "topic_prefix", "Topics that are there already stay as they are."),
    Group("Models", "speech_model", "Which there are, and one's own: [models](models.md)."),
    Group("Devices and speech recognition", "device", "What they do: [captions](captions.md)."),
    Group("Models that hang or fail", "model_stall_s", "[Overload and sick models](overload.md)."),
    Group("Windows and matches", "window", "[Windows](windows.md), [matches](matching.md)."),
    Group("Lateness and silence", "lateness_ms", "What waits for what: [windows](windows.md)."),
    Group("Batches and memory", "batch_size", "Where events wait: [overload](overload.md)."),
    Group("Kafka's consumer groups", "session_timeout_s", "[What Faust does on Kafka](faust.md)."),
    Group("Metrics and log", "metrics_host", "Of a worker; the gateway has its own, below."),
)
GATEWAY: Final = (
    Group("Gateway", "host", "Also read: those of Kafka, of topics, and of the log."),
    Group(
        "Limits of the gateway", "events_per_second", "[What is beyond them](gateway.md#limits)."
    ),
    Group("Stopping a gateway", "drain_s", "[How it stops](gateway.md#stopping)."),
)
HEAD: Final = ("variable", "default", "range", "what")
INTRODUCTION: Final = """\
# Settings

Environment variables, read when a process starts: to change one, start the process anew. A wrong
one ends the command with its name and what is expected. Names end in their unit: `_MS` is
milliseconds, `_S` seconds, `_BYTES` bytes."""
ELSEWHERE: Final = (
    ("TENOR_CACHE", "the user's cache", "a folder", "Where downloads and derived files are kept"),
    ("JAVA_HOME", "", "a folder", "Of the Java (17 or newer) that a private Kafka runs on"),
)
"""What is read beside the two classes of settings."""


def page() -> str:
    """The whole page."""
    return joined(
        [
            MADE,
            INTRODUCTION,
            *_sections(Settings, GROUPS),
            *_sections(GatewaySettings, GATEWAY),
            "## Of the machine",
            table(HEAD, (_row(*each) for each in ELSEWHERE)),
        ]
    )


def _sections(settings: type[BaseSettings], groups: Sequence[Group]) -> Iterator[str]:
    names = list(settings.model_fields)
    starts = [names.index(group.first) for group in groups]
    for group, start, end in zip(groups, starts, [*starts[1:], len(names)], strict=True):
        yield f"## {group.title}"
        yield group.note
        yield table(HEAD, (_described(settings, name) for name in names[start:end]))


def _described(settings: type[BaseSettings], name: str) -> tuple[str, ...]:
    schema = settings.model_json_schema()["properties"][name]
    variable = f"{settings.model_config['env_prefix']}{name.upper()}"
    return _row(variable, str(schema["default"]), range_of(schema), schema["description"])


def _row(variable: str, default: str, range_: str, what: str) -> tuple[str, ...]:
    return code(variable), code(default), range_, what


def range_of(schema: dict[str, Any]) -> str:
    """What a setting may be, by its JSON Schema, in words; nothing where it may be any text."""
    if pattern := schema.get("pattern"):
        words = re.fullmatch(r"\^\(([\w|]+)\)\$", pattern)
        return ", ".join(map(code, words[1].split("|"))) if words else code(pattern)
    if "minLength" in schema:
        return "not empty"
    least, above, most = (
        f"{schema[name]:.12g}" if name in schema else ""
        for name in ("minimum", "exclusiveMinimum", "maximum")
    )
    if least and most:
        return f"{least} to {most}"
    parts = least and f"{least} or more", above and f"more than {above}", most and f"up to {most}"
    return ", ".join(filter(None, parts))
