"""The calls that are fed: short cuts of a recorded conversation, the same whenever they are made.

Pure; all chance comes from a seed. What biases a caption depends on the order of the logs, so a
feeder has to wait until Kafka has confirmed a record that is not audio before it sends the next.
"""

# ruff: noqa: S311 - chance that can be repeated is what is wanted here

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from streams import codec
from streams.deadletters import RawHeaders
from streams.events import JSON_TYPE, Event, EventType
from streams.replay import CHUNK_S, Author, Moment, Script, sendings

LIVE: Final = 3
"""Calls that are live at a time."""
VOCABULARY: Final = {
    "kind": "vocabulary",
    "vocabulary": ["photo gift shop", "astronaut", "refund", "coffee cup"],
}
MOST_DELAYED_S: Final = 0.7
"""Less than the lateness that is allowed by default, by the length of a chunk and some more."""
HELD_BACK_S: Final = 1.0
"""So much later a producer whose events are delayed may say that they have been sent."""
AGAIN_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Input:
    """One record, sent `at` s after its call begins; `type` is None if it is malformed."""

    at: float
    topic: str
    type: EventType | None
    key: bytes | None
    value: bytes | None
    headers: RawHeaders


@dataclass(frozen=True, slots=True)
class Call:
    """One session: it begins `begins` s after the first, and has no audio after `seconds` s."""

    session: str
    begins: float
    seconds: float
    inputs: tuple[Input, ...]


Change = Callable[[Call, Random], Call]


def plan(script: Script, sessions: int, seconds: float, seed: int, start: int) -> list[Call]:
    """So many calls, of which `LIVE` overlap; the first begins at event time `start` (ms)."""
    calls = []
    for number in range(sessions):
        chance = Random(f"{seed}/{number}")
        begins, session = number * seconds / LIVE, f"prove-{seed}-{number:03d}"
        short = cut(script, seconds, chance)
        calls.append(Call(session, begins, seconds, record(short, session, start, begins)))
    return calls


def cut(script: Script, seconds: float, chance: Random) -> Script:
    """A part of a conversation, with a vocabulary, two of its messages and one of its pictures."""
    chunks = round(seconds / CHUNK_S)
    first = chance.randint(0, round(script.seconds / CHUNK_S) - chunks)
    audio = [
        _at(moment, moment.start - first * CHUNK_S, moment.at - first * CHUNK_S)
        for moment in script.moments
        if moment.topic == "audio" and first <= round(moment.start / CHUNK_S) < first + chunks
    ]
    others = [_vocabulary()]
    for topic, count in (("text", 2), ("images", 1)):
        known = [moment for moment in script.moments if moment.topic == topic]
        for moment in chance.sample(known, count):
            at = round(chance.uniform(1.0, seconds - 2.0), 3)
            others.append(_at(moment, at, at))
    return Script(tuple(sorted([*audio, *others], key=lambda moment: moment.at)))


def _at(moment: Moment, start: float, at: float) -> Moment:
    return replace(moment, start=round(start, 6), at=round(at, 6))


def _vocabulary() -> Moment:
    data = json.dumps(VOCABULARY).encode()
    return Moment(0.1, "text", EventType.TEXT_MESSAGE, 0.1, "agent", JSON_TYPE, data)


def record(script: Script, session: str, start: int, begins: float) -> tuple[Input, ...]:
    """A call's inputs; from the first on it declares what there will be."""
    start += round(begins * 1000)
    author = Author(session, start, script.inputs)
    return tuple(
        of_event(sending.event, sending.at, sending.topic)
        for sending in [*author.progress(start), *sendings(script, session, start)]
    )


def of_event(event: Event, at: float, topic: str) -> Input:
    key, value, headers = codec.encode(event)
    return Input(at, topic, event.type, key, value, list(headers))


def disordered(call: Call, chance: Random) -> Call:
    """Media come in another order within the lateness that is allowed, and anything twice.

    The ends stay behind all media; what says how far a producer is comes later, or it would lie.
    """
    moved = [_delayed(each, chance) for each in call.inputs]
    end = min(each.at for each in moved if each.type is EventType.SESSION_ENDED)
    moved += list(_repeated(moved, end, chance))
    return replace(call, inputs=_in_order(moved))


def _delayed(input_: Input, chance: Random) -> Input:
    if input_.type in (EventType.PROGRESS, EventType.SESSION_ENDED):
        return replace(input_, at=input_.at + HELD_BACK_S)
    late = chance.uniform(0, MOST_DELAYED_S) if chance.random() < 0.25 else 0.0
    return replace(input_, at=input_.at + late)


def _repeated(inputs: Sequence[Input], end: float, chance: Random) -> Iterator[Input]:
    for each in inputs:
        ends = each.type is EventType.SESSION_ENDED
        if ends or chance.random() < 0.15:
            again = each.at + chance.uniform(0, AGAIN_S)
            yield replace(each, at=again if ends else min(again, end - 0.001))


def _in_order(inputs: Sequence[Input]) -> tuple[Input, ...]:
    return tuple(sorted(inputs, key=lambda each: each.at))


def poisoned(call: Call, chance: Random) -> Call:
    """With one malformed record of each kind in between."""
    chunk = next(each for each in call.inputs if each.type is EventType.AUDIO_CHUNK)
    bad = [
        replace(each, at=chance.uniform(0, call.seconds))
        for each in malformed(call.session, _time_of(chunk))
    ]
    return replace(call, inputs=_in_order([*call.inputs, *bad]))


def _time_of(input_: Input) -> int:
    return codec.parse_time((dict(input_.headers)["ce_time"] or b"").decode())


def malformed(session: str, time: int) -> Iterator[Input]:
    """Records of a session that cannot be used; none may have an effect on it."""

    def bad(topic: str, type_: EventType, name: str, content_type: str, data: bytes) -> Input:
        event = Event(
            type=type_,
            id=f"{session}/bad/{topic}/{name}",
            source="tenor/prove",
            session=session,
            time=time,
            channel="customer",
            content_type=content_type,
            data=data,
        )
        return replace(of_event(event, 0.0, topic), type=None)

    audio, text, image = EventType.AUDIO_CHUNK, EventType.TEXT_MESSAGE, EventType.IMAGE_FRAME
    garbage = bytes(range(7, 256)) * 4
    yield bad("audio", audio, "garbage as WAV", "audio/wav", garbage)
    yield bad("audio", audio, "garbage as FLAC", "audio/flac", b"fLaC" + garbage)
    yield bad("audio", audio, "half a sample", "audio/L16;rate=16000", garbage[:301])
    yield bad("audio", audio, "too large", "audio/L16;rate=16000", bytes(1_500_000))
    yield bad("audio", text, "of another topic", "text/plain", b"hello")
    yield bad("images", image, "garbage as PNG", "image/png", b"\x89PNG\r\n\x1a\n" + garbage)
    yield bad("images", image, "garbage as JPEG", "image/jpeg", garbage)
    yield bad("text", text, "not UTF-8", "text/plain", b"caf\xe9 \xff")
    yield bad("text", text, "no JSON", JSON_TYPE, b'{"text": ')
    yield bad("text", text, "too large", "text/plain", b"a" * 70_000)
    whole = bad("audio", audio, "header", "audio/L16;rate=16000", bytes(6400))
    for name, raw in (("ce_type", b"com.example.unknown"), ("ce_time", b"yesterday")):
        yield replace(whole, headers=[*_without(whole, name), (name, raw)])
    yield replace(whole, headers=[*_without(whole, "ce_channel"), ("ce_channel", b"\xff\xfe")])
    yield replace(whole, headers=_without(whole, "ce_id"))
    yield replace(whole, headers=[])


def _without(input_: Input, name: str) -> RawHeaders:
    return [header for header in input_.headers if header[0] != name]
