"""What a search makes of the features it is given; the archive is a list here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import cast

import numpy as np
import pytest

from models.align import AlignModel
from models.base import Encoder, Floats
from streams import search
from streams.archive import Archive, Features, Sessions, content
from streams.events import JSON_TYPE, CodecError, Event, EventType
from streams.features import Feature, Modality
from streams.results import (
    CaptionFinal,
    Gap,
    ImageRecognized,
    Label,
    Match,
    result_event,
    result_of,
)
from streams.search import Recent, Space, between, find

CLIP = Encoder("clip", "r", 2)
START = 1_760_000_000_000


class Listed:
    """An archive of these features, in batches of two."""

    def __init__(self, *features: Feature) -> None:
        self._features = features
        self.reads = 0

    async def features(
        self, modality: Modality, sessions: Sessions = None
    ) -> AsyncIterator[Features]:
        self.reads += 1
        chosen = [
            (each.to_event(source="test").id, each)
            for each in self._features
            if each.modality is modality and (sessions is None or each.session in sessions)
        ]
        for first in range(0, len(chosen), 2):
            yield chosen[first : first + 2]


def feature(
    modality: Modality, evidence: str, angle: float, session: str = "a", encoder: str = "clip"
) -> Feature:
    """Its vector has this angle, in degrees."""
    turned = np.deg2rad(angle)
    vector = np.array([np.cos(turned), np.sin(turned)], np.float32)
    kind = "picture" if modality is Modality.IMAGE else "message"
    return Feature(
        session, "agent", modality, START, START, encoder, "r", vector, evidence, kind=kind
    )


def image(evidence: str, angle: float, session: str = "a", encoder: str = "clip") -> Feature:
    return feature(Modality.IMAGE, evidence, angle, session, encoder)


def text(evidence: str, angle: float, session: str = "b") -> Feature:
    return feature(Modality.MEANING, evidence, angle, session)


@pytest.fixture
def space() -> Space:
    return Space(AlignModel.identity(CLIP, CLIP))


def archive(*features: Feature) -> Archive:
    return cast(Archive, Listed(*features))


EAST: Floats = np.array([1, 0], np.float32)


async def test_the_nearest_are_found_each_once(space: Space) -> None:
    held = archive(image("far", 90), image("near", 10), image("exact", 0), image("near", 10))
    found = await find(held, space, Modality.IMAGE, EAST, top=2)
    assert [each.evidence for _, each in found] == ["exact", "near"]
    assert found[0][0] == pytest.approx(1.0)
    assert found[1][0] == pytest.approx(np.cos(np.deg2rad(10)))


async def test_only_sessions_that_are_named_are_searched(space: Space) -> None:
    held = archive(image("one", 0, "a"), image("two", 50, "b"))
    found = await find(held, space, Modality.IMAGE, EAST, top=5, sessions={"b"})
    assert [each.evidence for _, each in found] == ["two"]


async def test_features_of_other_encoders_are_counted_and_left_out(space: Space) -> None:
    held = archive(image("one", 0), image("two", 0, encoder="other"))
    found = await find(held, space, Modality.IMAGE, EAST, top=5)
    assert [each.evidence for _, each in found] == ["one"]
    assert space.foreign == {"other@r": 1}


async def test_pairs_are_of_different_sessions_and_above_the_threshold(space: Space) -> None:
    held = archive(
        image("i", 0, "a"),
        image("j", 30, "b"),
        text("same session", 0, "a"),
        text("t", 5, "b"),
        text("nothing", 120, "c"),
    )
    best, count = await between(held, space, 0.9, top=10)
    assert [(each.text.evidence, each.image.evidence) for each in best] == [("t", "i")]
    assert count == 1


async def test_the_best_are_shown_and_all_are_delivered_once(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "PICTURES", 2)  # so that texts are read several times
    images = [image(f"i{n}", n, "a") for n in range(5)]
    texts = [text(f"t{n}", n + 0.5, "b") for n in range(4)]
    delivered: list[Event] = []

    async def deliver(events: Sequence[Event]) -> None:
        delivered.extend(events)

    held = Listed(*images, *images[:2], *texts, *texts)
    best, count = await between(cast(Archive, held), space, 0.5, top=3, deliver=deliver)
    assert held.reads > 2
    assert count == len(delivered) == len({event.id for event in delivered}) == 20
    cosines = [each.similarity for each in best]
    assert len(best) == 3
    assert cosines == sorted(cosines, reverse=True)
    matches = [result_of(event) for event in delivered]
    assert {match.session for match in matches} == {"b"}
    assert all(isinstance(match, Match) and match.right_session == "a" for match in matches)


async def test_a_match_says_what_it_is_of(space: Space) -> None:
    [couple], _ = await between(archive(image("i", 0), text("t", 0)), space, 0.5, top=1)
    match = couple.match(space.model)
    assert (match.left, match.left_modality, match.left_channel) == ("t", "text", "agent")
    assert (match.right, match.right_modality, match.right_session) == ("i", "image", "a")
    assert (match.time, match.probability, match.model) == (START, None, "align@r")
    assert match.similarity == pytest.approx(1.0)


def test_repetitions_are_known_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "REMEMBERED", 2)
    recent = Recent()
    [a, b, c] = [(name, text(name, 0)) for name in "abc"]
    assert recent.new([a, b, a]) == [a, b]
    assert recent.new([c, b]) == [c]
    assert recent.new([a]) == [a]


def test_what_a_feature_was_made_of_can_be_read() -> None:
    caption = CaptionFinal(
        session="s",
        channel="agent",
        start=START,
        end=START + 1,
        text="Hello.",
        language="en",
        revision=0,
        model="m",
        no_speech_probability=0.0,
        words=(),
    )
    said = result_event(caption, source="test")
    assert content(said) == (said.id, "Hello.")
    labels = tuple(Label(name=name, probability=0.25) for name in ("cat", "dog", "cup", "car"))
    picture = ImageRecognized(
        session="s", channel="", time=START, image="i", labels=labels, faces=(), model="m"
    )
    shown = result_event(picture, source="test")
    assert content(shown) == ("i", "cat 25%, dog 25%, cup 25%")
    typed = Event(
        EventType.TEXT_MESSAGE, "t", "/t", "s", START, data=b"Hi", content_type="text/plain"
    )
    assert content(typed) == ("t", "Hi")


@pytest.mark.parametrize("data", [b"{}", b"\xff", b'{"text": 1}'])
def test_what_cannot_be_read_is_an_error_of_the_codec(data: bytes) -> None:
    event = Event(EventType.TEXT_MESSAGE, "t", "/t", "s", START, data=data, content_type=JSON_TYPE)
    with pytest.raises(CodecError):
        content(event)
    gap = Gap(session="s", channel="", start=START, end=START, reason="lost")
    with pytest.raises(CodecError):
        content(result_event(gap, source="test"))
