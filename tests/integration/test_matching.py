"""Chat and pictures of the demo call go through the agents on a real Kafka: matches come out, and
what was said and shown can be searched.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click import Command
from click.testing import CliRunner

from streams.asyncapi import schema
from streams.cli_search import match, search
from streams.events import JSON_TYPE, Event, EventType
from streams.replay import Moment, Script, load, replay
from tests.harness import Installation, events

Make = Callable[[], Installation]

SHOWN = "cat.jpg"
SAID = "A close-up of a cat's face."
"""What somebody says who describes a picture: nobody does in the call."""
THRESHOLD = "0.35"
"""Lower than that of the shipped weights, which are not what is tested here."""
WITHIN_MS = 30_000
PATIENCE_S = 60


def typed(at: float, text: str, kind: str = "message") -> Moment:
    value = {"text": text, "speaker": "agent", "kind": kind}
    return Moment(
        at=at,
        topic="text",
        type=EventType.TEXT_MESSAGE,
        start=at,
        channel="agent",
        content_type=JSON_TYPE,
        data=json.dumps(value).encode(),
    )


@pytest.fixture
def script(demo_call: Path) -> Script:
    """The call without its sound; somebody describes the cat that is shown, and does so again when
    it is long gone."""
    moments = [each for each in load([demo_call]).moments if each.topic != "audio"]
    cat = (demo_call / SHOWN).read_bytes()
    shown = next(each.at for each in moments if each.data == cat)
    said = [
        typed(shown + 3, SAID),
        typed(shown + 4, SAID, "vocabulary"),
        typed(shown + 3 + 2 * WITHIN_MS / 1000, SAID),
    ]
    return Script(tuple(sorted([*moments, *said], key=lambda each: each.at)))


async def found(tenor: Installation, command: Command, *arguments: str) -> list[dict[str, Any]]:
    """What a command finds, best first."""
    done = await asyncio.to_thread(
        CliRunner().invoke, command, [*arguments, "--json"], env=tenor.settings
    )
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


async def typed_and_shown(tenor: Installation, demo_call: Path) -> tuple[dict[str, str], set[str]]:
    """The texts by id, and the ids of the picture of the cat."""
    sent = events(await tenor.read(["text", "images"], s=2))
    texts = {
        event.id: json.loads(event.data)["text"]
        for event in sent
        if event.type is EventType.TEXT_MESSAGE and b"vocabulary" not in event.data
    }
    cat = (demo_call / SHOWN).read_bytes()
    return texts, {event.id for event in sent if event.data == cat}


async def matches(tenor: Installation, count: int) -> list[Event]:
    """What came out when so many matches of the cat had come."""
    records = await tenor.read(["recognition"], count=count, s=PATIENCE_S)
    return [event for event in events(records) if event.type is EventType.MATCH]


async def test_what_is_typed_and_shown_is_matched_and_found(
    installation: Make, script: Script, demo_call: Path
) -> None:
    tenor = installation()
    await tenor.make_topics()
    worker = tenor.start_worker(["text", "images", "match"], TENOR_MATCH_THRESHOLD=THRESHOLD)
    for session in ("one", "two"):
        await replay(script, tenor.brokers, tenor.topics, session, speed=0)
    worker.ready()
    pictures = sum(each.topic == "images" for each in script.moments)
    said = await matches(tenor, count=2 * (pictures + 1))
    texts, cats = await typed_and_shown(tenor, demo_call)
    _check_matches(said, texts, cats)

    best, *_ = await found(tenor, search, SAID, "--session", "two", "--top", "2")
    assert best["id"] in cats
    assert best["session"] == "two"
    about = await found(tenor, search, "--image", str(demo_call / SHOWN), "--top", "4")
    assert [each["content"] for each in about] == [SAID] * 4
    assert all(texts[each["id"]] == SAID for each in about)
    both = ("--session", "one", "--session", "two")
    pairs = await found(tenor, match, *both, "--threshold", THRESHOLD, "--publish")
    described = [pair for pair in pairs if pair["text"]["content"] == SAID]
    assert len({(pair["text"]["id"], pair["image"]["id"]) for pair in described}) == 4
    assert all(pair["text"]["session"] != pair["image"]["session"] for pair in pairs)
    assert len(await matches(tenor, count=10_000)) == len(said) + len(pairs)
    assert worker.stop() == 0


def _check_matches(said: list[Event], texts: dict[str, str], cats: set[str]) -> None:
    """Of both sessions the description and the cat, once; nothing that is a list of words."""
    assert len({event.id for event in said}) == len(said)
    for event in said:
        value = json.loads(event.data)
        jsonschema.validate(value, schema(event.type))
        assert value["left"] in texts
        assert value["model"].startswith("align@")
    described = [
        value
        for value in map(json.loads, (event.data for event in said))
        if texts[value["left"]] == SAID
    ]
    assert {(value["session"], value["right"] in cats) for value in described} == {
        ("one", True),
        ("two", True),
    }
    assert len(described) == 2
    assert all(value["probability"] > 0.1 for value in described)
