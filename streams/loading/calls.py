"""The calls of a load: a recorded conversation again and again, with pauses as calls have them.

The conversation is cut into steps, each of one chunk of every channel and of the chat and pictures
that came meanwhile. When a turn is over, a pause may follow, of steps of the recording in which
nobody speaks; pauses are such that somebody speaks `SHARE` of the time. Pure; all chance comes
from a seed.
"""

# ruff: noqa: S311 - chance that can be repeated is what is wanted here

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice
from random import Random
from typing import Final

import numpy as np

from streams.loading import LoadError
from streams.media import Limits, decode_audio
from streams.replay import CHUNK_S, Moment, Script

SHARE: Final = 0.45
"""Of a call, the time in which somebody speaks."""
LONGEST_PAUSE_S: Final = 12.0
LOUD: Final = 328
"""Root of the mean square, of 32768, from which a chunk counts as speech: -40 dB."""
SPREAD_S: Final = 20.0
"""Within this time, or a quarter of the calls' if that is shorter, all calls begin."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Step:
    """One chunk of every channel, and chat and pictures; their times are from its beginning."""

    moments: tuple[Moment, ...]
    loud: bool

    def moved(self, number: int) -> Iterator[Moment]:
        """Its moments as the step of that number, from 0, of a call."""
        by = number * CHUNK_S
        for moment in self.moments:
            yield replace(moment, at=round(moment.at + by, 6), start=round(moment.start + by, 6))


class Conversation:
    """A conversation without end. Raises LoadError if there is nothing to make it of."""

    def __init__(self, script: Script) -> None:
        self.steps = _cut(script)
        self.channels = tuple(sorted({m.channel for m in script.moments if m.topic == "audio"}))
        self.inputs = script.inputs
        self._pauses = [
            Step(tuple(m for m in step.moments if m.topic == "audio"), loud=False)
            for step in self.steps
            if not step.loud
        ]
        if not self._pauses:
            raise LoadError("the call has no pause to make others of: name another by --folder")

    def play(self, chance: Random) -> Iterator[Step]:
        """Its steps, from a place on where nobody speaks, with pauses between the turns."""
        first = chance.choice([at for at, step in enumerate(self.steps) if not step.loud])
        owed, spoke = 0.0, False
        for step in chain(self.steps[first:], cycle(self.steps)):
            yield step
            owed += 1 / SHARE - 1 if step.loud else -1
            if spoke and not step.loud:
                pause = self._pause(owed, chance)
                yield from pause
                owed -= len(pause)
            spoke = step.loud

    def _pause(self, owed: float, chance: Random) -> list[Step]:
        longest = LONGEST_PAUSE_S / CHUNK_S
        length = max(0.0, min(owed * chance.uniform(0.5, 1.5), longest))
        return chance.choices(self._pauses, k=round(length))


def _cut(script: Script) -> list[Step]:
    """Steps as far as every channel has whole chunks."""
    chunks: dict[int, list[Moment]] = {}
    others: dict[int, list[Moment]] = {}
    for moment in script.moments:
        place = int((moment.start + CHUNK_S / 100) / CHUNK_S)
        by = -place * CHUNK_S
        moved = replace(moment, at=round(moment.at + by, 6), start=round(moment.start + by, 6))
        (chunks if moment.topic == "audio" else others).setdefault(place, []).append(moved)
    channels = len({m.channel for m in script.moments if m.topic == "audio"})
    whole = [
        place
        for place, found in sorted(chunks.items())
        if len(found) == channels and all(abs(each.at - CHUNK_S) < 1e-6 for each in found)
    ]
    return [
        Step((*others.get(place, ()), *chunks[place]), loud=any(map(_loud, chunks[place])))
        for place in whole
    ]


def _loud(chunk: Moment) -> bool:
    samples = decode_audio(chunk.content_type, chunk.data, Limits()).astype(np.float64)
    return bool(np.sqrt(np.mean(np.square(samples))) >= LOUD)


@dataclass(frozen=True, slots=True)
class Load:
    """So many calls at a time, of so many seconds each; the same seed makes the same calls."""

    name: str
    sessions: int
    seconds: float
    seed: int = 1

    @property
    def steps(self) -> int:
        """Of each call."""
        return round(self.seconds / CHUNK_S)

    @property
    def length_ms(self) -> int:
        """Of each call."""
        return round(self.steps * CHUNK_S * 1000)

    @property
    def spread_ms(self) -> int:
        """In which all calls begin."""
        return round(min(SPREAD_S, self.seconds / 4) * 1000)

    @property
    def names(self) -> Sequence[str]:
        """The ids of the sessions."""
        return [f"{self.name}-{number:05d}" for number in range(self.sessions)]

    def begins_ms(self, number: int) -> int:
        """How much later than the load that call begins."""
        return Random(f"{self.seed}/{number}/begin").randrange(self.spread_ms + 1)

    def call(self, number: int, conversation: Conversation) -> Iterator[Step]:
        """The steps of that call."""
        chance = Random(f"{self.seed}/{number}/call")
        return islice(conversation.play(chance), self.steps)

    def spans(self, start: int) -> dict[str, Span]:
        """From when to when (ms) each session lasts if the load begins at `start`."""
        begins = (start + self.begins_ms(number) for number in range(self.sessions))
        spans = ((begin, begin + self.length_ms) for begin in begins)
        return dict(zip(self.names, spans, strict=True))

    def steady(self, start: int) -> Span:
        """From when to when (ms) all calls go on."""
        return start + self.spread_ms, start + self.length_ms
