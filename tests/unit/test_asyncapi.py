"""The published contract equals the code, and what the code makes satisfies it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from streams.asyncapi import as_yaml, document, schema, write
from streams.codec import Headers, encode
from streams.docs.examples import EXAMPLES, RESULTS_MADE, dead_letter_example
from streams.events import JSON_TYPE, TYPES_OF_TOPIC, Event, EventType, Topics
from streams.messages import TextMessage
from streams.results import RESULTS, Result

DOCS = Path(__file__).parents[2] / "docs"
TOPICS = Topics.of("other.")
CONTRACT = document(TOPICS)


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


def test_there_is_an_example_of_every_type() -> None:
    assert set(EXAMPLES) == set(EventType)


@pytest.mark.parametrize("event", EXAMPLES.values(), ids=EXAMPLES)
def test_what_the_code_makes_satisfies_the_contract(event: Event) -> None:
    message = CONTRACT["components"]["messages"][event.type]
    assert_satisfies(message["headers"], as_text(encode(event)[2]))
    if event.content_type == JSON_TYPE:
        assert_satisfies(message["payload"], json.loads(event.data))


@pytest.mark.parametrize("type_", RESULTS)
def test_results_satisfy_their_schema(type_: EventType) -> None:
    Draft202012Validator(schema(type_)).validate(json.loads(EXAMPLES[type_].data))


@pytest.mark.parametrize("result", RESULTS_MADE, ids=lambda result: result.event_type)
def test_the_contract_refuses_what_is_incomplete(result: Result) -> None:
    message = CONTRACT["components"]["messages"][result.event_type]
    value = {**result.model_dump(mode="json"), "session": None}
    assert not Draft202012Validator(schema(result.event_type)).is_valid(value)
    inside = {"allOf": [message["payload"]], "components": CONTRACT["components"]}
    assert not Draft7Validator(inside).is_valid(value)


@pytest.mark.parametrize(
    ("type_", "header"), [(EventType.FEATURE, "ce_encoder"), (EventType.TICK, "ce_idle")]
)
def test_the_contract_refuses_an_event_without_its_headers(type_: EventType, header: str) -> None:
    headers = as_text(encode(EXAMPLES[type_])[2])
    del headers[header]
    message = CONTRACT["components"]["messages"][type_]
    inside = {**message["headers"], "components": CONTRACT["components"]}
    assert not Draft7Validator(inside).is_valid(headers)


def test_dead_letters_satisfy_the_contract() -> None:
    *_, headers = dead_letter_example()
    message = CONTRACT["components"]["messages"]["deadletter"]
    assert_satisfies(message["headers"], {name: (raw or b"").decode() for name, raw in headers})


def test_text_messages_satisfy_the_contract() -> None:
    text = asdict(TextMessage("hi", kind="vocabulary", vocabulary=("Tenor",)))
    value = json.loads(json.dumps(text))
    Draft202012Validator(schema(EventType.TEXT_MESSAGE)).validate(value)
    assert not Draft202012Validator(schema(EventType.TEXT_MESSAGE)).is_valid({"kind": "shout"})
