"""The join agent, killed at any moment: the sentiment is that of a calm run.

Its input is what the other agents write, with what their own restarts and other producers add:
features that come again, signals in any order and late, ticks, and vectors of an unknown encoder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agents import signals
from streams.agents.join import JoinAgent, JoinSession
from streams.events import Event, EventType
from streams.features import Modality
from tests.property import agents
from tests.property.agents import (
    T0,
    Blow,
    Desk,
    MakeAgent,
    Process,
    World,
    a_revocation_changes_nothing,
    crashes_change_nothing,
    interleaved,
    live,
    undisturbed,
)
from tests.property.features_log import (
    CHANNELS,
    INPUTS,
    SOURCES,
    UNKNOWN,
    ended,
    expiry,
    feature,
    finish,
    joining,
    joining_with,
    makers,
    progress,
    tick,
    utterance,
)


@st.composite
def anything(draw: st.DrawFn, session: str) -> list[Event]:
    """Events of a session in an order that no agent would write."""
    times = st.integers(1, 25_000)
    sources = st.sampled_from(SOURCES)
    inputs = st.sampled_from(INPUTS)
    origins = st.integers(-1, 9)
    pairs = st.builds(utterance, times, st.sampled_from(CHANNELS), st.just(session))
    one = st.one_of(
        pairs.map(list),
        pairs.map(lambda pair: [pair[0]]),
        pairs.map(lambda pair: [pair[1]]),
        st.builds(
            lambda time, modality: [feature(modality, time, f"{modality}{time}", session=session)],
            times,
            st.sampled_from([Modality.TEXT, Modality.IMAGE]),
        ),
        st.builds(
            lambda *values: [progress(*values)],
            times,
            sources,
            st.just(session),
            origins,
            st.sampled_from([(), (), (), INPUTS, ("audio", "text")]),
        ),
        st.builds(
            lambda *values: [tick(*values)],
            inputs,
            st.sets(sources).map(sorted),
            st.sampled_from([0, 5000, 12_000]),
            st.just(session),
            st.integers(0, 9),
        ),
        st.builds(lambda *values: [ended(*values)], inputs, st.just(session), origins),
        st.just(
            [feature(Modality.TEXT, 1000, "unknown", session=session, encoder=UNKNOWN)],
        ),
        st.integers(-1, 20).map(lambda seen: [expiry(session, seen)]),
    )
    log = [event for events in draw(st.lists(one, max_size=18)) for event in events]
    for event in draw(st.lists(st.sampled_from(log), max_size=4)) if log else []:
        log.insert(draw(st.integers(0, len(log))), event)
    return [*log, expiry(session)]


@st.composite
def calls(draw: st.DrawFn, session: str = "one") -> list[Event]:
    """A session as the agents write it: per channel in order, then the ends."""
    channels = [_channel(draw, session, name) for name in CHANNELS]
    times = sorted(draw(st.lists(st.integers(1, 25_000), max_size=5)))
    chat = [feature(Modality.TEXT, each, f"chat{each}", session=session) for each in times]
    begin = [progress(0, f"audio/{name}", session) for name in CHANNELS]
    return [*begin, *draw(interleaved([*channels, chat])), *finish(session)]


def _channel(draw: st.DrawFn, session: str, name: str) -> list[Event]:
    events: list[Event] = []
    for time in sorted(draw(st.sets(st.integers(1, 25_000), max_size=6))):
        events += [*utterance(time, name, session), progress(time, f"audio/{name}", session)]
    return events


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    names = ["one", "two"][: draw(st.integers(1, 2))]
    return draw(interleaved([draw(anything(name) | calls(name)) for name in names]))


@settings(max_examples=200)
@given(logs(), makers, st.data())
def test_crashes_change_nothing(log: list[Event], make: MakeAgent, data: st.DataObject) -> None:
    crashes_change_nothing("features", log, make, data)


@settings(max_examples=60)
@given(logs(), makers, st.data())
def test_a_partition_that_goes_and_comes_back_changes_nothing(
    log: list[Event], make: MakeAgent, data: st.DataObject
) -> None:
    a_revocation_changes_nothing("features", log, make, data)


@given(logs(), makers, st.data())
def test_features_that_come_again_change_nothing(
    log: list[Event], make: MakeAgent, data: st.DataObject
) -> None:
    """As an upstream agent writes them that was restarted: later, with the same id."""
    log = [event for event in log if "seen" not in event.extensions]  # its places would be others
    calm, _ = undisturbed("features", log, make)
    features = [each for each in log if each.type is EventType.FEATURE]
    again = list(log)
    for event in data.draw(st.lists(st.sampled_from(features), max_size=4)) if features else []:
        again.insert(data.draw(st.integers(again.index(event) + 1, len(again))), event)
    world, _ = undisturbed("features", again, make)
    assert sentiment(world) == sentiment(calm)


@settings(max_examples=60)
@given(calls(), st.data())
def test_words_may_come_before_their_voice(log: list[Event], data: st.DataObject) -> None:
    calm, _ = undisturbed("features", log, joining)
    other = list(log)
    voices = [i for i, event in enumerate(log) if event.extensions.get("modality") == "voice"]
    for place in data.draw(st.sets(st.sampled_from(voices))) if voices else []:
        words = next(i for i in range(place, len(other)) if _companion(other[place], other[i]))
        if not data.draw(st.booleans(), label="words first"):
            # words that are long in coming: just before the ends
            other.insert(len(other) - 4, other[words])
            other[words] = progress(0, "audio/agent")
        else:
            other[place], other[words] = other[words], other[place]
    world, _ = undisturbed("features", other, joining)
    said = sum(event.extensions.get("kind") == "caption" for event in log)
    assert heard(world) == heard(calm)
    assert len(heard(world)) == 2 * said


def _companion(voice: Event, words: Event) -> bool:
    return (
        words.extensions.get("evidence") == voice.extensions["evidence"]
        and words.extensions.get("modality") == "text"
    )


def heard(world: World) -> set[tuple[str, str, int]]:
    """What of the audio is evidence of the whole conversation's sentiment, and in which window."""
    return {
        (each["id"], each["modality"], window["start"])
        for window in world.said(EventType.SENTIMENT_WINDOW)
        for each in window["evidence"]
        if not window["channel"] and not each["id"].startswith("chat")
    }


def sentiment(world: World) -> dict[str, bytes]:
    return {event.id: event.data for topic, event in world.delivered if topic == "sentiment"}


def test_the_vectors_of_an_unknown_encoder_are_dead_letters() -> None:
    strange = feature(Modality.TEXT, 1000, "strange", encoder=UNKNOWN)
    known = feature(Modality.TEXT, 1000, "known")
    world, _ = undisturbed("features", [strange, known, *finish("one")], joining)
    assert world.dead_letters == {(0, "unknown-encoder")}
    (window, *_) = world.said(EventType.SENTIMENT_WINDOW)
    assert [each["id"] for each in window["evidence"]] == ["known"]


def crash_everywhere(log: Sequence[Event], make: MakeAgent = joining) -> World:
    """The calm world, after all that have died once have come to the same."""
    calm, calls = undisturbed("features", log, make)
    for call in range(calls):
        for part in (0.0, 1.0):
            world = World("features", log)
            live(world, make, Blow(call, part))
            live(world, make)
            assert world.results() == calm.results()
    return calm


def test_a_late_feature_that_closes_a_window_is_a_dead_letter_and_no_less() -> None:
    """Its words end before the voice that waits for them, in a window that is closed."""
    voice, _ = utterance(7000, "agent")
    words = feature(Modality.TEXT, 1000, "agent-7000", kind="caption")
    log = [voice, progress(20_000, "audio/agent"), words, *finish("one")]
    assert crash_everywhere(log).dead_letters == {(2, "late")}


def test_a_late_feature_wakes_its_source_also_after_a_crash() -> None:
    log = [
        progress(2000, "audio/customer"),
        progress(2000, "audio/agent"),
        tick("audio", ["audio/customer"]),
        progress(12_000, "audio/agent"),
        *utterance(3000, "customer"),
        *utterance(18_000, "agent"),
        progress(20_000, "audio/agent"),
        *utterance(13_000, "customer"),
        *finish("one"),
    ]
    assert {offset for offset, _ in crash_everywhere(log).dead_letters} == {4, 5}


def test_a_late_feature_that_comes_again_changes_nothing() -> None:
    late = feature(Modality.TEXT, 100, "late")
    log = [progress(20_000, "audio/agent"), late, late, *finish("one")]
    assert crash_everywhere(log).dead_letters == {(1, "late")}


def test_features_that_the_fusion_model_fails_on_are_dead_letters() -> None:
    poison = feature(Modality.TEXT, 1000, "poison")
    log = [poison, feature(Modality.TEXT, 7000, "good"), *finish("one")]
    calm = crash_everywhere(log)
    assert calm.dead_letters == {(0, "fusion-failed")}
    assert [
        each["id"]
        for window in calm.said(EventType.SENTIMENT_WINDOW)[:1]
        for each in window["evidence"]
    ] == ["good"]


def test_what_is_late_corrects_the_window_and_counts_once_in_the_summary() -> None:
    log = [
        progress(0, "audio/agent"),
        *utterance(3000, "agent"),
        progress(8000, "audio/agent"),
        feature(Modality.TEXT, 2000, "late"),
        *utterance(9000, "agent"),
        *finish("one"),
    ]
    calm = crash_everywhere(log, joining_with(correction_ms=10_000))
    assert not calm.dead_letters
    together = [each for each in calm.said(EventType.SENTIMENT_WINDOW) if not each["channel"]]
    told = [(each["start"] - T0, each["revision"], len(each["evidence"])) for each in together]
    assert told == [(0, 0, 2), (0, 1, 3), (5000, 0, 2)]
    (summary,) = calm.said(EventType.SENTIMENT_SESSION)
    assert summary["channels"][""]["windows"] == 2
    assert summary["channels"][""]["first"] == together[1]["score"]
    assert summary["captions"] == 2


class Letters(set[tuple[int, str]]):
    """Dead letters, counted."""

    written = 0

    def add(self, letter: tuple[int, str]) -> None:
        self.written += 1
        super().add(letter)


def test_a_feature_of_many_windows_is_refused_once() -> None:
    log = [*utterance(4000, "agent"), feature(Modality.TEXT, 4100, "poison"), *finish("one")]
    letters = Letters()
    world = World("features", log, dead_letters=letters)
    live(world, joining_with(window="hopping", hop_ms=1000))
    assert letters == {(place, "fusion-failed") for place in range(3)}
    assert letters.written == 3
    assert not world.said(EventType.SENTIMENT_SESSION)


def test_a_caption_in_many_windows_counts_once() -> None:
    log = [*utterance(4000, "agent"), *utterance(6000, "agent"), *finish("one")]
    world, _ = undisturbed("features", log, joining_with(window="hopping", hop_ms=1000))
    (summary,) = world.said(EventType.SENTIMENT_SESSION)
    assert summary["captions"] == 2
    assert summary["channels"][""]["windows"] == 7


def test_provisional_results_say_what_is_known_so_far() -> None:
    shown: list[dict[str, Any]] = []
    log = [
        *(progress(0, f"audio/{name}") for name in CHANNELS),
        *utterance(1500, "agent")[:1],
        *(progress(3200, f"audio/{name}") for name in CHANNELS),
        utterance(1500, "agent")[1],
        *(progress(4000, f"audio/{name}") for name in CHANNELS),
        *finish("one"),
    ]
    calm, _ = undisturbed("features", log, joining_with(shown))
    told = [(each["start"] - T0, each["revision"], len(each["evidence"])) for each in shown]
    assert told == [(0, 2, 1), (0, 2, 1), (0, 3, 2), (0, 3, 2)]
    assert [each["revision"] for each in calm.said(EventType.SENTIMENT_WINDOW)] == [0, 0]
    ids = {event.id for _, event in calm.delivered}
    assert len(ids) == len(calm.delivered)


async def sessions_after(log: Sequence[Event], states: World) -> tuple[Process, JoinSession]:
    """An agent that has taken this log, and its session `one`."""
    process = Process(states, joining, Desk(states))
    await process.agent.assign({0})
    for offset in range(len(log)):
        await process.agent.handle(agents.Assignment(states, process.agent)._record(offset))
    lane = next(iter(process.agent._lanes.values()))
    while lane.busy:  # noqa: ASYNC110  (a lane tells nobody)
        await asyncio.sleep(0.001)
    assert isinstance(lane.session, JoinSession)
    return process, lane.session


@pytest.mark.parametrize(
    ("log", "after_s"),
    [
        ([progress(0, "audio/agent")], 12 * 300),
        ([progress(0, "audio/agent"), tick("audio", ["audio/agent"])], 300),
        ([progress(0, "text", inputs=INPUTS), tick("text", ["text"])], 12 * 300),
        ([feature(Modality.TEXT, 500, "chat"), ended("text")], 10),
        ([utterance(500, "agent")[0], ended("audio")], 300),
    ],
    ids=["live", "idle", "unseen input", "ended", "ended but awaiting words"],
)
async def test_a_session_expires_after_its_own_silence(log: list[Event], after_s: float) -> None:
    process, session = await sessions_after(log, World("features", log))
    assert session.tick(lambda _: after_s - 0.1) is None
    event = session.tick(lambda _: after_s)
    assert event is not None
    spoken = [place for place, each in enumerate(log) if each.type is not EventType.TICK]
    assert signals.seen_of(event) == spoken[-1]
    assert "expire" in event.extensions
    assert not session.over
    await process.close()


async def test_a_session_that_waits_to_expire_is_unfinished_for_the_next_owner() -> None:
    log = [feature(Modality.TEXT, 500, "chat"), tick("text", ["text"])]
    process, session = await sessions_after(log, World("features", log))
    agent = process.agent
    assert isinstance(agent, JoinAgent)
    assert agent.unfinished(session.remember())
    await process.close()
    over = [*log, *finish("one")]
    process, session = await sessions_after(over, World("features", over))
    assert session.over
    assert not agent.unfinished(session.remember())
    assert session.tick(lambda _: 10**9) is None
    await process.close()
