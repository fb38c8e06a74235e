"""Pages that are made from the code are as the code makes them, and leave nothing out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streams.agents.signals import step
from streams.codec import decode, encode
from streams.docs.__main__ import write
from streams.docs.events_page import DIRECTIONS
from streams.docs.examples import EXAMPLES
from streams.docs.settings_page import GATEWAY, GROUPS, range_of
from streams.events import TYPES_OF_TOPIC, Event, EventType
from streams.features import Feature
from streams.gateway.settings import GatewaySettings
from streams.messages import text_message
from streams.results import RESULTS, result_of
from streams.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
SIGNALS = {EventType.PROGRESS, EventType.SESSION_ENDED, EventType.TICK}


def test_the_committed_pages_are_what_the_code_makes(tmp_path: Path) -> None:
    write(tmp_path)
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.*")}
    wrong = {path for path, text in made.items() if (DOCS / path).read_text() != text}
    assert not wrong, "run `make docs`"
    assert {Path("events.md"), Path("settings.md"), Path("asyncapi.yaml")} < set(made)


def test_every_type_is_in_one_section() -> None:
    told = [type_ for *_, types in DIRECTIONS for type_ in types]
    assert sorted(told) == sorted(EventType)


@pytest.mark.parametrize("event", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_is_read_as_it_was_written(event: Event) -> None:
    accepted = next(types for types in TYPES_OF_TOPIC.values() if event.type in types)
    assert decode(*encode(event), now=event.time, accept=accepted) == event


def test_agents_and_readers_take_the_examples() -> None:
    assert text_message(EXAMPLES[EventType.TEXT_MESSAGE]).text
    assert Feature.from_event(EXAMPLES[EventType.FEATURE]).vector.size
    assert all(step(EXAMPLES[type_], offset=1) for type_ in SIGNALS)
    assert all(result_of(EXAMPLES[type_]) for type_ in RESULTS)


def test_every_setting_is_told_once() -> None:
    page = (DOCS / "settings.md").read_text()
    for settings, prefix in ((Settings, "TENOR_"), (GatewaySettings, "TENOR_GATEWAY_")):
        for name in settings.model_fields:
            assert page.count(f"| `{prefix}{name.upper()}` |") == 1


def test_groups_begin_with_the_first_setting_and_stand_in_the_order_of_the_code() -> None:
    for settings, groups in ((Settings, GROUPS), (GatewaySettings, GATEWAY)):
        names = list(settings.model_fields)
        starts = [names.index(group.first) for group in groups]
        assert starts[0] == 0
        assert starts == sorted(set(starts))


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({}, ""),
        ({"minimum": 1}, "1 or more"),
        ({"minimum": 0, "maximum": 16777216}, "0 to 16777216"),
        ({"exclusiveMinimum": 0}, "more than 0"),
        ({"exclusiveMinimum": 0, "maximum": 2.5}, "more than 0, up to 2.5"),
        ({"maximum": 9}, "up to 9"),
        ({"minLength": 1}, "not empty"),
        ({"pattern": "^(one|two)$"}, "`one`, `two`"),
        ({"pattern": "^[a-z]+$"}, "`^[a-z]+$`"),
    ],
)
def test_ranges_are_told_in_words(schema: dict[str, Any], told: str) -> None:
    assert range_of(schema) == told
