"""The audio agent, killed at any moment: the captions, silences and gaps are those of a calm run.

The calls are short and odd: chunks of any length, jitter, losses, repeats, late and broken chunks.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Floats
from streams.captions import JITTER_MS
from streams.context import Context
from streams.events import Event, EventType
from streams.g711 import mu_law
from streams.results import CaptionPartial
from tests.property.agents import (
    T0,
    VOICE,
    Blow,
    Desk,
    Process,
    World,
    a_revocation_changes_nothing,
    crashes_change_nothing,
    live,
    undisturbed,
)
from tests.property.calls import chunk, end, logs, numbered, sound, tick, tracks
from tests.property.standins import Typed, listening

SPOKEN = (EventType.CAPTION_FINAL, EventType.CAPTION_SILENCE, EventType.CAPTION_GAP)


@settings(max_examples=130)
@given(logs(), st.data())
def test_crashes_change_nothing(log: list[Event], data: st.DataObject) -> None:
    crashes_change_nothing("audio", log, listening, data)


@settings(max_examples=75)
@given(logs(), st.data())
def test_a_partition_that_goes_and_comes_back_changes_nothing(
    log: list[Event], data: st.DataObject
) -> None:
    a_revocation_changes_nothing("audio", log, listening, data)


@given(logs())
def test_no_millisecond_is_told_twice(log: list[Event]) -> None:
    world, _ = undisturbed("audio", log, listening)
    for session in ("one", "two"):
        for channel in ("customer", "agent"):
            spans = spans_of(world, session, channel)
            assert all(a[1] <= b[0] for a, b in pairwise(spans))


@given(tracks("one", "customer"))
def test_every_millisecond_is_told_once(track: list[Event]) -> None:
    world, _ = undisturbed("audio", [*track, end("one")], listening)
    spans = spans_of(world, "one", "customer")
    good = [event for event in track if event.data and len(event.data) % 2 == 0]
    assert bool(spans) == bool(good)
    if good:
        assert spans[0][0] == good[0].time
        assert all(a[1] == b[0] for a, b in pairwise(spans))
        last = max(event.time + len(event.data) // 32 for event in good)
        assert abs(spans[-1][1] - last) <= JITTER_MS + 1


@given(st.one_of(tracks("one", "agent"), numbered("one", "agent")))
def test_a_partial_comes_before_its_final_and_what_is_stable_in_it_stays(log: list[Event]) -> None:
    world, _ = undisturbed("audio", [*log, end("one")], listening)
    _check_partials(world)


def _check_partials(world: World) -> None:
    told_up_to, before = 0, None
    for _, event in world.delivered:
        if event.type in SPOKEN:
            told_up_to = json.loads(event.data)["end"]
        elif event.type is EventType.CAPTION_PARTIAL:
            partial = CaptionPartial.model_validate_json(event.data)
            assert partial.start >= told_up_to
            if before and partial.start == before.start:
                assert partial.revision > before.revision
                stable = iter(word.text for word in partial.words if word.stable)
                assert all(word.text in stable for word in before.words if word.stable)
            before = partial


@given(st.one_of(tracks("one", "agent"), numbered("one", "agent")))
def test_a_final_is_of_all_its_audio(log: list[Event]) -> None:
    """The stand-in hears a word in every 100 ms, forty at most; pauses it decoded at early are no
    ends."""
    world, _ = undisturbed("audio", [*log, end("one")], listening)
    for caption in world.said(EventType.CAPTION_FINAL):
        _whole_caption(caption)


def _whole_caption(caption: dict[str, Any]) -> int:
    """Its length (ms), which says how many words it has."""
    length: int = caption["end"] - caption["start"]
    assert len(caption["words"]) in {min(40, (length + odd) // 100) for odd in (-1, 0, 1)}
    return length


@settings(max_examples=50)
@given(logs())
def test_no_feature_comes_of_what_was_told_to_be_complete(log: list[Event]) -> None:
    world, _ = undisturbed("audio", log, listening)
    complete: dict[tuple[str, str], int] = {}
    for _, event in world.delivered:
        channel = event.session, event.channel
        if event.type is EventType.PROGRESS:
            complete[channel] = event.time
        elif event.type is EventType.FEATURE:
            assert event.time >= complete.get(channel, 0)


@settings(max_examples=50)
@given(tracks("one", "customer", calm=True))
def test_jitter_alone_makes_no_gap(track: list[Event]) -> None:
    world, _ = undisturbed("audio", [*track, end("one")], listening)
    gaps = [each for each in world.said(EventType.CAPTION_GAP) if each["reason"] == "no-audio"]
    spans = spans_of(world, "one", "customer")
    assert not gaps
    assert not world.dead_letters
    assert spans[-1][1] - spans[0][0] == sum(len(event.data) // 2 for event in track) // 16


def spans_of(world: World, session: str, channel: str) -> list[tuple[int, int]]:
    return [
        (each["start"], each["end"])
        for each in world.said(*SPOKEN)
        if (each["session"], each["channel"]) == (session, channel)
    ]


def told(world: World) -> list[tuple[int, int, str]]:
    """Every span from T0 on, in ms, with what was said of it."""
    return [
        (
            each["start"] - T0,
            each["end"] - T0,
            each.get("reason", "words" if "text" in each else "silence"),
        )
        for each in world.said(*SPOKEN)
    ]


def speak(*events: Event) -> World:
    return undisturbed("audio", [*events, end("one")], listening)[0]


def test_a_lost_chunk_is_a_gap() -> None:
    second = sound(False, 16_000)
    world = speak(
        chunk("one", "agent", T0, second), chunk("one", "agent", T0 + 2000, second, "third")
    )
    assert told(world) == [
        (0, 1000, "silence"),
        (1000, 2000, "no-audio"),
        (2000, 3000, "silence"),
    ]


def test_a_chunk_that_cannot_be_decoded_is_a_dead_letter_and_a_gap() -> None:
    second = sound(False, 16_000)
    broken = replace(chunk("one", "agent", T0 + 1000, second), data=b"123")
    world = speak(
        chunk("one", "agent", T0, second), broken, chunk("one", "agent", T0 + 2000, second, "third")
    )
    assert world.dead_letters == {(1, "truncated-audio")}
    assert (1000, 2000, "no-audio") in told(world)


def test_a_late_chunk_is_a_dead_letter() -> None:
    second = sound(False, 16_000)
    world = speak(
        chunk("one", "agent", T0 + 5000, second), chunk("one", "agent", T0, second, "late")
    )
    assert world.dead_letters == {(1, "late")}
    assert told(world) == [(5000, 6000, "silence")]


def test_a_chunk_that_is_sent_again_is_heard_once() -> None:
    piece = chunk("one", "agent", T0, sound(False, 1600))
    world = speak(piece, piece, piece)
    assert told(world) == [(0, 100, "silence")]
    assert not world.dead_letters


def test_what_cannot_be_recognised_is_a_gap_and_the_call_goes_on() -> None:
    kinds = {
        kind
        for seed in range(40)
        for _, _, kind in told(speak(chunk("one", "agent", T0, sound(True, 16_000, seed))))
    }
    assert kinds == {"words", "silence", "repetition", "recognition-failed"}


def test_a_voice_that_cannot_be_encoded_takes_nothing_from_its_caption() -> None:
    """Every other one follows its caption."""
    voiceless = 0
    for seed in range(40):
        world = speak(chunk("one", "agent", T0, sound(True, 16_000, seed)))
        ids = [event.id for _, event in world.delivered if event.type is EventType.CAPTION_FINAL]
        voices = [event for _, event in world.delivered if event.type is EventType.FEATURE]
        voiceless += len(ids) - len(voices)
        assert [voice.extensions["expects"] for voice in voices] in ([], ids)
    assert 0 < voiceless < 20


@pytest.fixture
def captioned() -> Event:
    """A chunk that leads to a caption."""
    spoken = (chunk("one", "agent", T0, sound(True, 16_000, seed)) for seed in range(40))
    return next(each for each in spoken if speak(each).said(EventType.CAPTION_FINAL))


async def test_a_caption_does_not_wait_for_its_voice(
    captioned: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = threading.Event()

    class Watched(Desk):
        async def deliver(self, events: Iterable[tuple[str, Event]]) -> None:
            await super().deliver(outgoing := list(events))
            if any(event.type is EventType.CAPTION_FINAL for _, event in outgoing):
                left.set()

    def patient(audio: Floats) -> Floats:
        if not left.wait(10):
            raise TimeoutError
        return np.zeros(VOICE.dimension, np.float32)

    monkeypatch.setattr("tests.property.standins._voice", patient)
    log = [captioned, end("one")]
    process = Process(world := World("audio", log), listening, Watched(world))
    await process.assigned(paced=False)
    await process.close()
    assert world.said(EventType.CAPTION_FINAL)
    assert [event.type for _, event in world.delivered].count(EventType.FEATURE) == 1


def test_a_call_in_mu_law() -> None:
    """20 ms of a telephone at a time."""
    audio = np.concatenate([sound(False, 8000), sound(True, 8000, 4), sound(False, 8000)])
    log: list[Event] = [
        replace(
            chunk("one", "agent", T0 + place // 8, audio[:0], str(place)),
            content_type="audio/PCMU;rate=8000",
            data=mu_law(audio[place : place + 160]),
        )
        for place in range(0, len(audio), 160)
    ]
    log.append(end("one"))
    calm, calls = undisturbed("audio", log, listening)
    assert [kind for _, _, kind in told(calm)] == ["silence", "words", "silence"]
    world = World("audio", log)
    for call in range(0, calls, 1 + calls // 20):
        live(world, listening, Blow(call, 1.0))
    live(world, listening)
    assert world.results() == calm.results()


def conversation() -> list[Event]:
    """Two take turns, for 20 s."""
    turns = [
        chunk("one", name, T0 + half * 500, sound(loud == (half // 3 % 2), 8000, half))
        for half in range(40)
        for loud, name in enumerate(["agent", "customer"])
    ]
    return [*turns, end("one")]


def test_what_biases_a_caption_is_the_same_after_any_crash() -> None:
    """Texts that were typed, and earlier captions; a life that reads ahead knows more of them."""
    log = conversation()
    calm = World("audio", log)
    calls = live(calm, listening, paced=True)
    captions = calm.said(EventType.CAPTION_FINAL)
    evidence = {id_ for caption in captions for id_ in caption["biased_by"]}
    ids = {event.id for _, event in calm.delivered if event.type is EventType.CAPTION_FINAL}
    assert evidence & ids
    assert {"text-12", "text-22"} <= evidence
    world = World("audio", log)
    for call in range(0, calls, 1 + calls // 20):
        live(world, listening, Blow(call, 0.0))
    live(world, listening)
    assert world.results() == calm.results()


def test_a_pause_in_which_a_final_was_decoded_early_need_not_be_its_end() -> None:
    """It goes on, and ends, in one chunk."""
    lengths = [0]
    for seed in range(8):
        parts = [(True, 1000), (False, 700), (True, 900), (False, 1000)]
        audio = np.concatenate([sound(loud, ms * 16, seed) for loud, ms in parts])
        begun = np.split(audio[: 1700 * 16], 50)
        chunks = [chunk("one", "agent", T0 + 34 * n, part) for n, part in enumerate(begun)]
        rest = chunk("one", "agent", T0 + 1700, audio[1700 * 16 :])
        world = speak(*chunks, rest)
        lengths += map(_whole_caption, world.said(EventType.CAPTION_FINAL))
    assert max(lengths) > 2000


def test_a_partial_that_took_too_long_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waited for texts as long as its final did, which went first."""

    async def context(self: Typed, partition: int, session: str) -> Context:
        await asyncio.sleep(0.02)
        return Context()

    monkeypatch.setattr(Typed, "context", context)
    audio = np.concatenate([sound(part % 2 == 1, 12_000, part) for part in range(20)])
    chunks = [
        chunk("one", "agent", T0 + place // 16, audio[place : place + 1600])
        for place in range(0, len(audio), 1600)
    ]
    _check_partials(speak(*chunks))


async def test_a_caption_is_waited_for_that_biases_another() -> None:
    """However long it takes to be delivered."""

    class SlowDesk(Desk):
        async def deliver(self, events: Iterable[tuple[str, Event]]) -> None:
            await asyncio.sleep(0.01)
            await super().deliver(events)

    log = conversation()
    slow, calm = World("audio", log), World("audio", log)
    for desk in (SlowDesk(slow), Desk(calm)):
        process = Process(desk.world, listening, desk)
        await process.assigned(paced=desk.world is calm)
        await process.close()
    assert slow.results() == calm.results()


def test_a_channel_that_is_ahead_does_not_wait_for_the_captions_of_the_other() -> None:
    """They are cut after its own, at the end, though they were said before."""
    world = speak(
        chunk("one", "customer", T0, sound(True, 16_000, 1)),
        chunk("one", "agent", T0 + 4000, sound(True, 16_000, 1)),
    )
    assert [span[:2] for span in told(world)] == [(0, 1000), (4000, 5000)]


def test_a_channel_never_goes_back_in_time() -> None:
    """After a pause the channel begins anew, but not before where it ended."""
    second = sound(False, 16_000)
    world = speak(
        chunk("one", "agent", T0, second),
        tick("one", T0 + 1000, "agent"),
        chunk("one", "agent", T0 + 900, second, "early by a little"),
        tick("one", T0 + 2000, "agent"),
        chunk("one", "agent", T0 + 500, second, "late"),
        chunk("one", "agent", T0 + 9000, second, "after a pause"),
    )
    assert told(world) == [
        (0, 1000, "silence"),
        (1000, 2000, "silence"),
        (9000, 10_000, "silence"),
    ]
    assert world.dead_letters == {(4, "late")}


async def test_an_idle_session_is_forgotten_and_revoked_at_the_same_time() -> None:
    log = [end("one"), end("two"), end("three")]
    world = World("audio", log)
    process = Process(world, listening, Desk(world))
    await process.assigned(paced=False)
    watching = asyncio.create_task(process.agent.watch_idleness(0))
    while process.agent._lanes:
        await process.agent.revoke({0})
        await asyncio.sleep(0)
    assert not watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await process.close()
