"""The join agent, killed at any moment: the sentiment is that of a calm run.

Its input is what the other agents write, with what their own restarts and other producers add:
features that come again, signals in any order, ticks, and vectors of an unknown encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Encoder
from streams.agents import signals
from streams.events import Event, EventType
from streams.features import Feature, Modality
from tests.property.agents import (
    T0,
    TEXT,
    VOICE,
    Blow,
    World,
    a_revocation_changes_nothing,
    crashes_change_nothing,
    interleaved,
    joining,
    live,
    undisturbed,
)

CHANNELS = ("agent", "customer")
SOURCES = ("audio/agent", "audio/customer", "text", "images")
UNKNOWN = Encoder("unknown-of-tests", "1", 3)


def feature(
    modality: Modality,
    time: int,
    evidence: str,
    *,
    session: str = "one",
    channel: str = "agent",
    kind: str = "message",
    expects: str = "",
    encoder: Encoder | None = None,
) -> Event:
    made = encoder or {Modality.VOICE: VOICE, Modality.TEXT: TEXT}.get(modality, UNKNOWN)
    return Feature(
        session=session,
        channel=channel,
        modality=modality,
        start=T0 + max(0, time - 900),
        end=T0 + time,
        encoder=made.id,
        revision=made.revision,
        vector=np.ones(3, np.float32),
        evidence=evidence,
        expects=expects,
        kind=kind,
    ).to_event(source="test")


def utterance(time: int, channel: str, session: str = "one") -> tuple[Event, Event]:
    """Voice and words of what was said until `time`."""
    name = f"{channel}-{time}"
    voice = feature(
        Modality.VOICE,
        time,
        name,
        session=session,
        channel=channel,
        kind="utterance",
        expects=name,
    )
    words = feature(Modality.TEXT, time, name, session=session, channel=channel, kind="caption")
    return voice, words


def progress(time: int, source: str, session: str = "one") -> Event:
    input_, _, channel = source.partition("/")
    return signals.progress(session, T0 + time, input_=input_, channel=channel)


def ended(input_: str, session: str = "one") -> Event:
    return signals.ended(session, T0, input_=input_)


def tick(idle: Sequence[str], until: int = 0, session: str = "one", expire: bool = False) -> Event:
    return signals.tick(
        session, T0, agent="join", idle=idle, until=T0 + until if until else 0, expire=expire
    )


def finish(session: str) -> list[Event]:
    return [*(ended(each, session) for each in ("audio", "text", "images")), expiry(session)]


def expiry(session: str) -> Event:
    return tick((), session=session, expire=True)


@st.composite
def anything(draw: st.DrawFn, session: str) -> list[Event]:
    """Events of a session in an order that no agent would write."""
    times = st.integers(1, 25_000)
    sources = st.sampled_from(SOURCES)
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
        st.builds(lambda time, source: [progress(time, source, session)], times, sources),
        st.builds(
            lambda idle, until: [tick(sorted(idle), until, session)],
            st.sets(sources),
            st.sampled_from([0, 5000, 12_000]),
        ),
        st.sampled_from(("audio", "text", "images")).map(lambda each: [ended(each, session)]),
        st.just(
            [feature(Modality.TEXT, 1000, "unknown", session=session, encoder=UNKNOWN)],
        ),
        st.just([expiry(session)]),
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


@settings(max_examples=200, deadline=None)
@given(logs(), st.data())
def test_crashes_change_nothing(log: list[Event], data: st.DataObject) -> None:
    crashes_change_nothing("features", log, joining, data)


@settings(max_examples=60, deadline=None)
@given(logs(), st.data())
def test_a_partition_that_goes_and_comes_back_changes_nothing(
    log: list[Event], data: st.DataObject
) -> None:
    a_revocation_changes_nothing("features", log, joining, data)


@settings(max_examples=100, deadline=None)
@given(logs(), st.data())
def test_features_that_come_again_change_nothing(log: list[Event], data: st.DataObject) -> None:
    """As an upstream agent writes them that was restarted: later, with the same id."""
    calm, _ = undisturbed("features", log, joining)
    features = [each for each in log if each.type is EventType.FEATURE]
    again = list(log)
    for event in data.draw(st.lists(st.sampled_from(features), max_size=4)) if features else []:
        again.insert(data.draw(st.integers(again.index(event) + 1, len(again))), event)
    world, _ = undisturbed("features", again, joining)
    assert sentiment(world) == sentiment(calm)


@settings(max_examples=60, deadline=None)
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


def crash_everywhere(log: Sequence[Event]) -> World:
    """The calm world, after all that have died once have come to the same."""
    calm, calls = undisturbed("features", log, joining)
    for call in range(calls):
        for part in (0.0, 1.0):
            world = World("features", log)
            live(world, joining, Blow(call, part))
            live(world, joining)
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
        tick(["audio/customer"]),
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
