"""The image agent, killed at any moment: what it says of pictures and faces does not change."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.base import Encoder, Face, ImageContent, Label, Pixels
from streams.agents import signals
from streams.agents.base import Agent, Means
from streams.agents.images import ImageAgent
from streams.agents.join import source_of
from streams.events import Event, EventType
from streams.features import Feature, Modality
from tests.property.agents import (
    T0,
    Models,
    World,
    a_revocation_changes_nothing,
    crashes_change_nothing,
    undisturbed,
)

PICTURE = Encoder("picture-of-tests", "1", 2)
FACE = Encoder("face-of-tests", "1", 3)
UNREAD = 9
"""Faces from here on have no expression."""


def seeing(means: Means, models: Models) -> Agent:
    """The image agent, who sees as many faces as the picture is wide, all different."""
    return ImageAgent(means, models.batcher("image", _recognize).submit, PICTURE, FACE)


def seeing_no_expression(means: Means, models: Models) -> Agent:
    """The image agent without a reader of faces."""
    return ImageAgent(means, models.batcher("image", _recognize_only).submit, PICTURE)


def _recognize(image: Pixels) -> ImageContent:
    width = image.shape[1]
    faces = tuple(
        Face(
            *(0.1, 0.1, 0.9 - n / 100, 0.9 - n / 100, 0.25),
            expression=(Label("joy", 0.75), Label("anger", 0.25)) if n < UNREAD else (),
            embedding=np.array([n, width, 1], np.float32) if n < UNREAD else None,
        )
        for n in range(width)
    )
    return ImageContent(np.array([width, 1], np.float32), (Label("room", 1.0),), faces)


def _recognize_only(image: Pixels) -> ImageContent:
    return ImageContent(np.zeros(2, np.float32), (), (Face(0.1, 0.1, 0.5, 0.5, 0.25),))


def picture(time: int, faces: int) -> Event:
    file = io.BytesIO()
    Image.new("RGB", (faces, 1)).save(file, "PNG")
    return Event(
        type=EventType.IMAGE_FRAME,
        id=f"picture-{time}-{faces}",
        source="test",
        session="one",
        time=T0 + time,
        channel="customer",
        content_type="image/png",
        data=file.getvalue(),
    )


def features(world: World) -> list[Feature]:
    found = {event.id: event for topic, event in world.delivered if topic == "features"}
    return [Feature.from_event(e) for e in found.values() if e.type is EventType.FEATURE]


def recognised(world: World) -> dict[str, Any]:
    (event,) = [event for topic, event in world.delivered if topic == "recognition"]
    value: dict[str, Any] = json.loads(event.data)
    return value


def silent(time: int) -> Event:
    return signals.tick("one", T0 + time, agent="images", idle=["images"], until=T0, seen=1000)


pictures = st.builds(picture, st.integers(1, 20_000), st.integers(1, 12))
logs = st.lists(pictures, max_size=6).map(lambda log: [*log, silent(30_000)])


@settings(max_examples=50)
@given(logs, st.data())
def test_crashes_change_nothing(log: list[Event], data: st.DataObject) -> None:
    crashes_change_nothing("images", log, seeing, data)


@settings(max_examples=25)
@given(logs, st.data())
def test_a_partition_that_goes_and_comes_back_changes_nothing(
    log: list[Event], data: st.DataObject
) -> None:
    a_revocation_changes_nothing("images", log, seeing, data)


def test_each_face_that_was_read_is_a_feature_of_its_own() -> None:
    world, _ = undisturbed("images", [picture(1, 12), silent(2)], seeing)

    whole, *faces = features(world)

    assert (whole.modality, whole.encoder, whole.kind) == (Modality.IMAGE, PICTURE.id, "picture")
    assert [(each.modality, each.encoder) for each in faces] == [(Modality.FACE, FACE.id)] * UNREAD
    assert [each.vector.tolist() for each in faces] == [[n, 12, 1] for n in range(UNREAD)]
    assert len({each.kind for each in faces}) == UNREAD
    assert {each.evidence for each in (whole, *faces)} == {"picture-1-12"}
    assert {(each.start, each.end, each.channel) for each in faces} == {
        (T0 + 1, T0 + 1, "customer")
    }


def test_a_face_is_a_sign_of_life_of_the_pictures() -> None:
    world, _ = undisturbed("images", [picture(1, 2), silent(2)], seeing)
    assert {source_of(feature) for feature in features(world)} == {"images"}


def test_a_sure_expression_does_not_hide_that_the_face_is_doubtful() -> None:
    world, _ = undisturbed("images", [picture(1, 12), silent(2)], seeing)

    first, *_, last = recognised(world)["faces"]

    assert first["confidence"] == 0.25
    assert first["expression"] == [
        {"name": "joy", "probability": 0.75},
        {"name": "anger", "probability": 0.25},
    ]
    assert last["expression"] == []


def test_without_a_reader_of_faces_they_are_only_found() -> None:
    world, _ = undisturbed("images", [picture(1, 1), silent(2)], seeing_no_expression)
    assert [each.modality for each in features(world)] == [Modality.IMAGE]
    assert [face["expression"] for face in recognised(world)["faces"]] == [[]]
