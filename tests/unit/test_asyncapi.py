"""The published contract equals the code, and what the code makes satisfies it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from streams.asyncapi import as_yaml, document, schema, write
from streams.codec import Headers, encode
from streams.deadletters import DeadLetterError, dead_letter
from streams.events import TYPES_OF_TOPIC, Event, EventType, Topics
from streams.features import Feature, Modality
from streams.messages import TextMessage
from streams.results import (
    RESULTS,
    CaptionFinal,
    CaptionPartial,
    ChannelSentiment,
    Evidence,
    Face,
    Gap,
    ImageRecognized,
    Label,
    Match,
    PartialWord,
    Result,
    SentimentSession,
    SentimentWindow,
    Silence,
    Word,
    result_event,
)

DOCS = Path(__file__).parents[2] / "docs"
TOPICS = Topics.of("other.")
CONTRACT = document(TOPICS)

SPAN: dict[str, Any] = {"session": "s", "channel": "agent", "start": 1000, "end": 2000}
SPEECH: dict[str, Any] = {
    **SPAN,
    "text": "hi",
    "language": "en",
    "revision": 1,
    "model": "m",
    "no_speech_probability": 0.0,
}
RESULTS_MADE: list[Result] = [
    CaptionFinal(**SPEECH, words=(Word(text="hi", start=1000, end=1200, probability=0.9),)),
    CaptionPartial(
        **SPEECH,
        words=(PartialWord(text="hi", start=1000, end=1200, probability=0.9, stable=True),),
    ),
    Silence(**SPAN),
    Gap(**SPAN, reason="lost"),
    ImageRecognized(
        session="s",
        channel="",
        time=1000,
        image="i",
        labels=(Label(name="cat", probability=0.5),),
        faces=(Face(x=0.1, y=0.1, width=0.2, height=0.2, confidence=1.0),),
        model="m",
    ),
    Match(
        session="s",
        time=1000,
        left="a",
        right="b",
        left_modality="text",
        right_modality="image",
        similarity=-0.5,
        model="m",
    ),
    SentimentWindow(
        **SPAN,
        revision=0,
        final=True,
        score=-0.5,
        deviation=0.2,
        label="negative",
        confidence=0.9,
        emotions={"anger": 0.7},
        contributions={"text": 1.0},
        evidence=(
            Evidence(id="c", modality="text", channel="agent", start=1000, end=2000, weight=1.0),
        ),
        model="m",
    ),
    SentimentSession(
        session="s",
        start=0,
        end=2000,
        channels={
            "": ChannelSentiment(
                score=0.0, label="neutral", windows=1, first=0.0, last=0.0, trend=0.0
            )
        },
    ),
]


def references(node: object) -> Iterator[str]:
    """Every $ref in the document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from references(child)


def resolve(reference: str) -> object:
    node: Any = CONTRACT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def assert_satisfies(part: dict[str, Any], value: object) -> None:
    """Validates against a schema inside the document; payloads there are JSON Schema draft 7."""
    schema_ = {**part, "components": CONTRACT["components"]}
    if "$ref" in part:  # draft 7 ignores what stands beside a $ref
        schema_ = {"allOf": [part], "components": CONTRACT["components"]}
    Draft7Validator(schema_).validate(value)


def as_text(headers: Headers) -> dict[str, str]:
    return {name: value.decode() for name, value in headers}


def test_the_committed_files_are_what_the_code_makes(tmp_path: Path) -> None:
    write(tmp_path)
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.*")}
    assert len(made) == 10
    assert {path: (DOCS / path).read_text() for path in made} == made
    assert {path.name for path in (DOCS / "schemas").iterdir()} == {
        path.name for path in made if path.parent.name == "schemas"
    }


def test_the_yaml_says_the_same_as_the_document() -> None:
    assert yaml.safe_load(as_yaml(CONTRACT)) == json.loads(json.dumps(CONTRACT))


def test_every_topic_is_a_channel() -> None:
    addresses = {name: channel["address"] for name, channel in CONTRACT["channels"].items()}
    assert addresses == asdict(TOPICS)


def test_every_topic_has_an_operation() -> None:
    used = {operation["channel"]["$ref"] for operation in CONTRACT["operations"].values()}
    assert used == {f"#/channels/{field.name}" for field in fields(Topics)}


def test_every_type_is_a_message_of_its_channels() -> None:
    assert set(EventType) < set(CONTRACT["components"]["messages"])
    for topic, types in TYPES_OF_TOPIC.items():
        assert set(types) <= set(CONTRACT["channels"][topic]["messages"])


def test_all_references_resolve() -> None:
    found = list(references(CONTRACT))
    assert len(found) > 50
    for reference in found:
        assert resolve(reference)


@pytest.mark.parametrize("type_", [EventType.TEXT_MESSAGE, *RESULTS])
def test_published_schemas_are_schemas(type_: EventType) -> None:
    Draft202012Validator.check_schema(schema(type_))


def test_there_is_an_example_of_every_result() -> None:
    assert {result.event_type for result in RESULTS_MADE} == set(RESULTS)


@pytest.mark.parametrize("result", RESULTS_MADE, ids=lambda result: result.event_type)
def test_results_satisfy_the_contract(result: Result) -> None:
    event = result_event(result, source="/tenor", traceparent="")
    message = CONTRACT["components"]["messages"][event.type]
    value = json.loads(event.data)
    Draft202012Validator(schema(event.type)).validate(value)
    assert_satisfies(message["payload"], value)
    assert_satisfies(message["headers"], as_text(encode(event)[2]))


@pytest.mark.parametrize("result", RESULTS_MADE, ids=lambda result: result.event_type)
def test_the_contract_refuses_what_is_incomplete(result: Result) -> None:
    message = CONTRACT["components"]["messages"][result.event_type]
    value = {**result.model_dump(mode="json"), "session": None}
    assert not Draft202012Validator(schema(result.event_type)).is_valid(value)
    inside = {"allOf": [message["payload"]], "components": CONTRACT["components"]}
    assert not Draft7Validator(inside).is_valid(value)


def test_features_satisfy_the_contract() -> None:
    feature = Feature(
        session="s",
        channel="agent",
        modality=Modality.TEXT,
        start=0,
        end=5,
        encoder="e",
        revision="1",
        vector=np.zeros(3, np.float32),
        evidence="c",
    )
    headers = as_text(encode(feature.to_event(source="/tenor"))[2])
    message = CONTRACT["components"]["messages"][EventType.FEATURE]
    assert_satisfies(message["headers"], headers)
    del headers["ce_encoder"]
    inside = {**message["headers"], "components": CONTRACT["components"]}
    assert not Draft7Validator(inside).is_valid(headers)


def test_media_headers_satisfy_the_contract() -> None:
    event = Event(
        EventType.AUDIO_CHUNK, "1", "/a", "s", 0, sequence=3, content_type="audio/wav", data=b"x"
    )
    message = CONTRACT["components"]["messages"][EventType.AUDIO_CHUNK]
    assert_satisfies(message["headers"], as_text(encode(event)[2]))


def test_dead_letters_satisfy_the_contract() -> None:
    error = DeadLetterError("late", "too late", "tenor.text", 0, 1)
    *_, headers = dead_letter(b"k", b"v", [], error)
    message = CONTRACT["components"]["messages"]["deadletter"]
    assert_satisfies(message["headers"], {name: (raw or b"").decode() for name, raw in headers})


def test_text_messages_satisfy_the_contract() -> None:
    text = asdict(TextMessage("hi", kind="vocabulary", vocabulary=("Tenor",)))
    value = json.loads(json.dumps(text))
    Draft202012Validator(schema(EventType.TEXT_MESSAGE)).validate(value)
    assert not Draft202012Validator(schema(EventType.TEXT_MESSAGE)).is_valid({"kind": "shout"})
