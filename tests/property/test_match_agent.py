"""The match agent, killed at any moment: the matches are those of a calm run, and those that an
oracle finds which compares everything with everything.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Encoder, Floats
from streams.agents import matching
from streams.agents.base import Agent, Means
from streams.agents.matching import LONGEST, MatchAgent, Space
from streams.events import Event, EventType
from streams.features import Feature, Modality
from streams.matching import SIDES
from streams.settings import Settings
from tests.property.agents import (
    T0,
    VOICE,
    Assignment,
    Desk,
    MakeAgent,
    Models,
    Process,
    World,
    a_revocation_changes_nothing,
    crashes_change_nothing,
    interleaved,
    undisturbed,
)
from tests.property.features_log import CHANNELS, INPUTS, ended, expiry, finish, progress, tick

WITHIN: Final = 5000
THRESHOLD: Final = 0.8
ENCODERS: Final = {
    Modality.MEANING: Encoder("meaning-of-tests", "1", 2),
    Modality.IMAGE: Encoder("image-of-tests", "1", 2),
    Modality.VOICE: VOICE,
}
STRANGE: Final = Encoder("strange", "1", 2)
PIECES: Final = st.sampled_from([Modality.MEANING, Modality.IMAGE])
ANGLES: Final = st.sampled_from([0, 20, 60, 90])


def comparing(means: Means, models: Models) -> Agent:
    """The match agent, with a space in which every vector lies where it points to."""
    space = Space(
        place=models.batcher("align", _place),
        encoders={side: ENCODERS[modality] for modality, side in SIDES.items()},
        threshold=THRESHOLD,
        probability=lambda cosine: cosine**2,
        model="align-of-tests",
    )
    return MatchAgent(replace(means, settings=Settings(match_within_ms=WITHIN)), space)


def _place(item: tuple[str, Floats]) -> Floats:
    if item[1][1] == 0.5:
        raise ValueError("poison")
    return np.asarray(item[1] / np.linalg.norm(item[1]), np.float32)


def piece(
    modality: Modality,
    time: int,
    name: str = "",
    angle: float = 0,
    *,
    session: str = "one",
    encoder: Encoder | None = None,
    caption: bool = False,
    channel: str = "agent",
    begun: int = 0,
) -> Event:
    """A text or a picture that points there (degrees)."""
    made, turned = encoder or ENCODERS[modality], np.deg2rad(angle)
    return Feature(
        session=session,
        channel=channel,
        modality=modality,
        start=T0 + max(0, time - begun),
        end=T0 + time,
        encoder=made.id,
        revision=made.revision,
        vector=np.array([np.cos(turned), np.sin(turned)], np.float32),
        evidence=name or f"{modality}-{time}-{angle}",
        kind="caption" if caption else "message" if modality is Modality.MEANING else "picture",
    ).to_event(source="test")


def utterance(time: int, channel: str, angle: float, session: str = "one") -> tuple[Event, Event]:
    """Voice, and what its words are about."""
    name = f"{channel}-{time}"
    voice = Feature(
        session=session,
        channel=channel,
        modality=Modality.VOICE,
        start=T0 + max(0, time - 2000),
        end=T0 + time,
        encoder=VOICE.id,
        revision=VOICE.revision,
        vector=np.ones(3, np.float32),
        evidence=name,
        expects=name,
        kind="utterance",
    ).to_event(source="test")
    words = piece(
        Modality.MEANING,
        time,
        name,
        angle,
        session=session,
        caption=True,
        channel=channel,
        begun=2000,
    )
    return voice, words


@st.composite
def calls(draw: st.DrawFn, session: str) -> list[Event]:
    """A session as the agents write it, which are not equally fast: words, pictures and chat come
    in their own orders, however late, in less time than everything is held."""
    voices, words = [], []
    for name in CHANNELS:
        lines = sorted(draw(st.dictionaries(st.integers(1, 25_000), ANGLES, max_size=4)).items())
        said = [utterance(time, name, angle, session) for time, angle in lines]
        voices.append([voice for voice, _ in said])
        words.append([word for _, word in said])
    rest = [
        [piece(modality, *each, session=session) for each in draw(_placed())]
        for modality in (Modality.MEANING, Modality.IMAGE)
    ]
    signals = [progress(time, "audio/agent", session) for time in (5000, 15_000, 25_000)]
    log = draw(interleaved([*voices, *words, *rest, signals]))
    for event in draw(st.lists(st.sampled_from(log), max_size=3)):
        log.insert(draw(st.integers(0, len(log))), event)
    return [*log, *finish(session)]


def _placed() -> st.SearchStrategy[list[tuple[int, str, int]]]:
    return st.lists(st.tuples(st.integers(1, 25_000), st.just(""), ANGLES), max_size=5)


@st.composite
def anything(draw: st.DrawFn, session: str) -> list[Event]:
    """In an order that no agent would write, over minutes."""
    times = st.integers(1, 200_000)
    one = st.one_of(
        st.builds(piece, PIECES, times, st.just(""), ANGLES, session=st.just(session)),
        st.builds(utterance, times, st.sampled_from(CHANNELS), ANGLES, st.just(session)).flatmap(
            st.sampled_from
        ),
        st.builds(progress, times, st.sampled_from(["audio/agent", "text"]), st.just(session)),
        st.builds(tick, st.sampled_from(INPUTS), st.just(["text"]), times, st.just(session)),
        st.builds(ended, st.sampled_from(INPUTS), st.just(session)),
        st.integers(-1, 20).map(lambda seen: expiry(session, seen)),
        st.just(piece(Modality.IMAGE, 1000, "strange", session=session, encoder=STRANGE)),
        st.just(piece(Modality.IMAGE, 1000, "poison", 30, session=session)),
    )
    return [*draw(st.lists(one, max_size=25)), expiry(session)]


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    names = ["one", "two"][: draw(st.integers(1, 2))]
    return draw(interleaved([draw(anything(name) | calls(name)) for name in names]))


def matches(world: World) -> dict[tuple[str, str], dict[str, Any]]:
    """What was said, by session, text and picture."""
    said = [json.loads(e.data) for _, e in world.delivered if e.type is EventType.MATCH]
    return {(each["left"], each["right"]): each for each in said}


def expected(log: Sequence[Event]) -> set[tuple[str, str]]:
    """All with all."""
    features = [Feature.from_event(event) for event in log if event.type is EventType.FEATURE]
    texts = [each for each in features if each.modality is Modality.MEANING]
    pictures = [each for each in features if each.modality is Modality.IMAGE]
    return {
        (text.evidence, picture.evidence)
        for text, picture in product(texts, pictures)
        if text.session == picture.session
        and float(text.vector @ picture.vector) >= THRESHOLD
        and text.start - picture.end <= WITHIN
        and picture.start - text.end <= WITHIN
    }


@settings(max_examples=200)
@given(logs(), st.data())
def test_crashes_change_nothing(log: list[Event], data: st.DataObject) -> None:
    crashes_change_nothing("features", log, comparing, data)


@settings(max_examples=60)
@given(logs(), st.data())
def test_a_partition_that_goes_and_comes_back_changes_nothing(
    log: list[Event], data: st.DataObject
) -> None:
    a_revocation_changes_nothing("features", log, comparing, data)


@settings(max_examples=150)
@given(calls("one"))
def test_all_pairs_are_found_whatever_comes_first(log: list[Event]) -> None:
    world, _ = undisturbed("features", log, comparing)
    assert matches(world).keys() == expected(log)
    assert not world.dead_letters


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 600_000), PIECES, ANGLES), min_size=1, max_size=40))
def test_what_is_on_time_is_found_in_a_long_session(
    drawn: list[tuple[int, Modality, int]],
) -> None:
    log = list[Event]()
    for time, modality, angle in sorted(drawn):
        log += [piece(modality, time, angle=angle), progress(time, "audio/agent")]
    world, _ = undisturbed("features", [*log, *finish("one")], comparing)
    assert matches(world).keys() == expected(log)


def test_a_match_says_what_it_is_of() -> None:
    _, words = utterance(3000, "customer", 20)
    log = [piece(Modality.IMAGE, 4000, "cat"), words, *finish("one")]
    world, _ = undisturbed("features", log, comparing)
    [said] = matches(world).values()
    assert said | {"similarity": 0, "probability": 0} == {
        "session": "one",
        "time": T0 + 4000,
        "left": "customer-3000",
        "left_modality": "text",
        "left_channel": "customer",
        "right": "cat",
        "right_modality": "image",
        "right_channel": "agent",
        "right_session": "",
        "similarity": 0,
        "probability": 0,
        "model": "align-of-tests",
    }
    assert said["similarity"] == pytest.approx(np.cos(np.deg2rad(20)))
    assert said["probability"] == pytest.approx(said["similarity"] ** 2)


async def acknowledged(log: Sequence[Event], make: MakeAgent = comparing) -> int:
    """How many records, from the first on, are acknowledged when all were handed over."""
    world = World("features", log)
    process = Process(world, make, Desk(world))
    assignment = Assignment(world, process.agent)
    await assignment.hand_over(paced=True)
    assignment.drop()
    await process.close()
    return world.position


async def test_a_picture_is_held_for_as_long_as_words_may_come_that_are_near_it() -> None:
    """And for no longer: its record is acknowledged, however long the session is."""
    length = Settings().window_ms
    enough = WITHIN + LONGEST + 2 * length
    begin = [piece(Modality.IMAGE, 1000), progress(1000, "audio/agent")]
    held = [*begin, progress(1000 + WITHIN + LONGEST - length, "audio/agent")]
    assert await acknowledged(held) == 0
    assert await acknowledged([*held, progress(1000 + enough, "audio/agent")]) > 2


def test_words_that_are_still_to_come_hold_pictures() -> None:
    """The voice was heard, and the agent that reads its words is minutes behind."""
    voice, words = utterance(2000, "agent", 0)
    log = [piece(Modality.IMAGE, 1500, "cat"), voice, progress(300_000, "audio/agent")]
    assert asyncio.run(acknowledged(log)) == 0
    world, _ = undisturbed("features", [*log, words, *finish("one")], comparing)
    assert matches(world).keys() == {("agent-2000", "cat")}


def test_of_too_many_the_latest_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "HELD", 3)
    pictures = [piece(Modality.IMAGE, 1000 + n, f"picture{n}") for n in range(5)]
    log = [*pictures, piece(Modality.MEANING, 1500, "text"), *finish("one")]
    world, _ = undisturbed("features", log, comparing)
    assert matches(world).keys() == {("text", f"picture{n}") for n in (2, 3, 4)}


async def test_features_that_say_nothing_here_are_passed_over() -> None:
    log = [
        replace(piece(Modality.MEANING, 1000), extensions=_as(Modality.TEXT)),
        replace(piece(Modality.IMAGE, 1000), extensions=_as(Modality.FACE)),
    ]
    assert await acknowledged(log) == 2


def _as(modality: Modality) -> dict[str, str]:
    return {**piece(Modality.MEANING, 1000).extensions, "modality": modality.value}


async def test_encoders_that_the_space_does_not_know_are_counted_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    strange = [piece(Modality.IMAGE, 1000 + n, f"strange{n}", encoder=STRANGE) for n in range(3)]
    world = World("features", [*strange, *finish("one")])
    process = Process(world, comparing, Desk(world))
    await process.assigned(paced=True)
    assert len([each for each in caplog.records if "strange" in each.message]) == 1
    counted = process.agent.metrics.registry.get_sample_value(
        "tenor_unmatched_features_total", {"reason": "unknown-encoder"}
    )
    assert counted == 3
    assert not world.dead_letters
    await process.close()


async def test_a_silent_session_is_ended_also_where_no_join_runs() -> None:
    world = World("features", [piece(Modality.IMAGE, 1000)])
    process = Process(world, comparing, Desk(world))
    assignment = Assignment(world, process.agent)
    await assignment.hand_over(paced=True)
    (lane,) = process.agent._lanes.values()
    assert lane.session.tick(lane.silent_s) is None
    process.clock = 12 * Settings().expire_after_s
    ending = lane.session.tick(lane.silent_s)
    assert ending is not None
    assignment.drop()
    await process.close()
    assert await acknowledged([*world.log, ending]) == 2
