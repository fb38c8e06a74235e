"""The text agent, killed at any moment: what it tells the join is that of a calm run. Also when it
says that a session has fallen silent, and when it must not.
"""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Encoder, Floats
from streams.agents import signals
from streams.agents.base import Agent, Means
from streams.agents.text import Reader, TextAgent
from streams.events import Event, EventType
from streams.features import Feature, Modality
from tests.property.agents import (
    T0,
    TEXT,
    Assignment,
    Desk,
    Models,
    Process,
    World,
    a_revocation_changes_nothing,
    crashes_change_nothing,
    interleaved,
    undisturbed,
)

MEANING = Encoder("meaning-of-tests", "1", 3)
EVER = 1_000_000
"""Beyond every offset of these logs."""


def writing(means: Means, models: Models) -> Agent:
    """The text agent, with vectors that are a function of the text."""
    affect = Reader(models.batcher("affect", _affect), TEXT)
    return TextAgent(means, affect, Reader(models.batcher("text", _embed), MEANING))


def _affect(text: str) -> Floats:
    if text == "venom":
        raise ValueError(text)
    return np.array([len(text), 0, 1], np.float32)


def _embed(text: str) -> Floats:
    if text == "poison":
        raise ValueError(text)
    return np.array([len(text), ord(text[0]), 1], np.float32)


def message(session: str, time: int, text: str = "words", kind: str = "message") -> Event:
    return Event(
        type=EventType.TEXT_MESSAGE,
        id=f"{session}-{time}-{text}",
        source="test",
        session=session,
        time=T0 + time,
        content_type="application/json",
        data=json.dumps({"text": text, "kind": kind}).encode(),
    )


def silent(session: str, time: int, seen: int) -> Event:
    return signals.tick(session, T0 + time, agent="text", idle=["text"], until=T0, seen=seen)


@st.composite
def chats(draw: st.DrawFn, session: str) -> list[Event]:
    times = st.integers(1, 20_000)
    one = st.one_of(
        st.builds(message, st.just(session), times, st.sampled_from(["words", "poison", "venom"])),
        st.builds(
            lambda time: signals.progress(session, T0 + time, input_="text", inputs=["audio"]),
            times,
        ),
        st.builds(lambda time: signals.ended(session, T0 + time, input_="text"), times),
        st.builds(silent, st.just(session), times, st.integers(0, 25)),
        st.builds(
            lambda time: signals.tick(session, T0 + time, agent="text", until=T0 + time), times
        ),
    )
    return [*draw(st.lists(one, max_size=10)), silent(session, 30_000, EVER)]


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    names = ["one", "two"][: draw(st.integers(1, 2))]
    return draw(interleaved([draw(chats(name)) for name in names]))


@settings(max_examples=150)
@given(logs(), st.data())
def test_crashes_change_nothing(log: list[Event], data: st.DataObject) -> None:
    crashes_change_nothing("text", log, writing, data)


@settings(max_examples=50)
@given(logs(), st.data())
def test_a_partition_that_goes_and_comes_back_changes_nothing(
    log: list[Event], data: st.DataObject
) -> None:
    a_revocation_changes_nothing("text", log, writing, data)


@given(logs())
def test_silence_is_told_only_where_nothing_was_missed(log: list[Event]) -> None:
    world, _ = undisturbed("text", log, writing)
    told = {
        signals.origin_of(event)
        for _, event in world.delivered
        if event.type is EventType.TICK and signals.idle_sources(event)
    }
    assert told == {place for place in range(len(log)) if _is_silent(log, place)}


def _is_silent(log: list[Event], place: int) -> bool:
    """Whether the record at `place` says that the session is silent, and it has spoken, and has
    not since the record that the writer had seen."""
    tick = log[place]
    if tick.type is not EventType.TICK or not signals.idle_sources(tick):
        return False
    before = [i for i in range(place) if log[i].session == tick.session]
    heard = [i for i in before if log[i].type is not EventType.TICK and not _refused(log[i])]
    settled = [i for i in before if _is_silent(log, i)]
    fresh = [i for i in heard if not settled or i > settled[-1]]
    return bool(fresh) and fresh[-1] <= signals.seen_of(tick)


def _refused(event: Event) -> bool:
    return b"poison" in event.data or b"venom" in event.data


def test_a_text_is_read_twice_and_a_vocabulary_once() -> None:
    """How a text is meant and what it is about are two features of one evidence; a list of words is
    about nothing."""
    log = [message("one", 1), message("one", 2, kind="note"), message("one", 3, kind="vocabulary")]
    world, _ = undisturbed("text", [*log, silent("one", 30_000, EVER)], writing)
    made = [
        Feature.from_event(event) for _, event in world.delivered if event.type is EventType.FEATURE
    ]
    assert [(each.evidence, each.modality, each.kind, each.encoder) for each in made] == [
        ("one-1-words", Modality.TEXT, "message", TEXT.id),
        ("one-1-words", Modality.MEANING, "message", MEANING.id),
        ("one-2-words", Modality.TEXT, "note", TEXT.id),
        ("one-2-words", Modality.MEANING, "note", MEANING.id),
        ("one-3-words", Modality.TEXT, "vocabulary", TEXT.id),
    ]


async def test_who_takes_a_quiet_session_over_sees_that_it_is_quiet() -> None:
    """The last message is kept unacknowledged, so that the next owner knows of the session."""
    world = World("text", [message("one", 1), message("one", 2)])
    for _ in range(2):
        process = Process(world, writing, Desk(world))
        assignment = Assignment(world, process.agent)
        await assignment.hand_over(paced=True)
        assignment.drop()
        assert world.position == 1
        process.clock = 100.0
        (lane,) = process.agent._lanes.values()
        tick = lane.session.tick(lane.silent_s)
        assert tick is not None
        assert signals.idle_sources(tick) == {"text"}
        assert signals.seen_of(tick) == 1
        await process.close()
