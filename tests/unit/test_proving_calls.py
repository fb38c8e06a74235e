"""The calls that are fed are the same whenever they are made, and disturbed within the rules."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from streams import codec
from streams.events import TYPES_OF_TOPIC, CodecError, Event, EventType
from streams.proving.calls import (
    HELD_BACK_S,
    LIVE,
    MOST_DELAYED_S,
    Call,
    Input,
    disordered,
    malformed,
    plan,
    poisoned,
)
from streams.replay import Script, load
from streams.settings import Settings

START = 1_760_000_040_000
SECONDS = 20.0
MEDIA = (EventType.AUDIO_CHUNK, EventType.TEXT_MESSAGE, EventType.IMAGE_FRAME)
DECODED_LATER = {"WAV", "FLAC", "PNG", "JPEG", "sample", "UTF-8", "JSON"}
"""The last words of the names of what only its agent finds out."""


@pytest.fixture(scope="module")
def script(demo_call: Path) -> Script:
    return load([demo_call])


@pytest.fixture(scope="module")
def calls(script: Script) -> list[Call]:
    return plan(script, 7, SECONDS, 5, START)


def event_of(each: Input) -> Event:
    accept = TYPES_OF_TOPIC[each.topic]
    return codec.decode(each.key, each.value, each.headers, now=START, accept=accept)


def name(each: Input) -> tuple[object, ...]:
    """All that it is, but for when it is sent."""
    return each.topic, each.key, each.value, tuple(each.headers)


def test_the_same_seed_makes_the_same_calls_and_another_makes_others(
    script: Script, calls: list[Call]
) -> None:
    assert plan(script, 7, SECONDS, 5, START) == calls
    others = plan(script, 7, SECONDS, 6, START)
    assert not {call.session for call in others} & {call.session for call in calls}
    assert others[0].inputs[20].value != calls[0].inputs[20].value


def test_at_most_so_many_are_live_at_a_time(calls: list[Call]) -> None:
    for call in calls:
        live = [o for o in calls if o.begins <= call.begins < o.begins + o.seconds - 1e-9]
        assert len(live) <= LIVE


def test_a_call_has_all_inputs_and_says_so_from_the_first_record_on(calls: list[Call]) -> None:
    for call in calls:
        events = [event_of(each) for each in call.inputs]
        assert {event.session for event in events} == {call.session}
        kinds = Counter(event.type for event in events)
        assert kinds[EventType.AUDIO_CHUNK] == 2 * SECONDS / 0.2
        assert kinds[EventType.TEXT_MESSAGE] == 3
        assert kinds[EventType.IMAGE_FRAME] == 1
        assert kinds[EventType.SESSION_ENDED] == 3
        declared = [e.extensions.get("inputs") for e in events if e.type is EventType.PROGRESS]
        assert set(declared) == {"audio,images,text"}
        assert [event.type for event in events[:2]] == [EventType.PROGRESS] * 2
        assert [event.type for event in events[-3:]] == [EventType.SESSION_ENDED] * 3


def test_the_audio_of_a_channel_is_without_a_hole(calls: list[Call]) -> None:
    for number, call in enumerate(calls):
        begin = START + round(number * SECONDS / LIVE * 1000)
        chunks = [event_of(e) for e in call.inputs if e.type is EventType.AUDIO_CHUNK]
        for channel in ("customer", "agent"):
            own = [event for event in chunks if event.channel == channel]
            assert [event.sequence for event in own] == list(range(len(own)))
            assert [event.time for event in own] == [begin + 200 * i for i in range(len(own))]


def test_nothing_is_sent_before_it_can_be_known(calls: list[Call]) -> None:
    for call in calls:
        ats = [each.at for each in call.inputs]
        assert ats == sorted(ats)
        assert ats[-1] == pytest.approx(SECONDS)


def test_disorder_moves_media_within_the_lateness_and_loses_nothing(calls: list[Call]) -> None:
    moved = 0
    for seed, call in enumerate([*calls, *calls]):
        changed = disordered(call, Random(seed))
        assert {name(each) for each in changed.inputs} == {name(each) for each in call.inputs}
        assert len(changed.inputs) > len(call.inputs)
        first = {name(each): each.at for each in reversed(changed.inputs)}
        for each in call.inputs:
            late = first[name(each)] - each.at
            control = each.type not in MEDIA
            assert late == pytest.approx(HELD_BACK_S) if control else 0 <= late <= MOST_DELAYED_S
        ats = [e.at for e in changed.inputs if e.type in MEDIA]
        ends = [e.at for e in changed.inputs if e.type is EventType.SESSION_ENDED]
        assert max(ats) < min(ends)
        assert len(ends) == 6
        times = [event_of(e).time for e in changed.inputs if e.type is EventType.AUDIO_CHUNK]
        moved += times != sorted(times)
    assert moved == 2 * len(calls)
    assert Settings().lateness_ms / 1000 > MOST_DELAYED_S + 0.2


def test_disorder_never_lets_a_producer_lie(calls: list[Call]) -> None:
    """What it says has been sent has been sent."""
    for call in calls:
        told = {"text": 0, "images": 0}
        sent: set[str] = set()
        for each in disordered(call, Random(2)).inputs:
            event = event_of(each)
            if event.type is EventType.PROGRESS:
                told[each.topic] = max(told[each.topic], event.time)
            elif each.topic in told and event.id not in sent:
                assert event.time >= told[each.topic]
                sent.add(event.id)


def test_poison_adds_malformed_records_and_changes_nothing_else(calls: list[Call]) -> None:
    changed = poisoned(calls[0], Random(1))
    assert tuple(each for each in changed.inputs if each.type) == calls[0].inputs
    bad = [each for each in changed.inputs if each.type is None]
    assert len(bad) == len(list(malformed("a", START))) >= 12
    assert {each.topic for each in bad} == {"audio", "text", "images"}
    assert {each.key for each in bad} == {calls[0].session.encode()}


def test_malformed_records_are_refused_when_they_are_read_or_are_no_media() -> None:
    for each in malformed("a", START):
        try:
            event = event_of(each)
        except CodecError:
            continue
        assert event.id.split()[-1] in DECODED_LATER
