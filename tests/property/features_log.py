"""What the other agents write for the join, made up for its tests; and the agent that reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from hypothesis import strategies as st

from models.base import Encoder
from streams.agents import signals
from streams.agents.base import Agent, Means
from streams.delivery import Outbox
from streams.events import Event
from streams.features import Feature, Modality
from streams.settings import Settings
from tests.property import agents
from tests.property.agents import (
    T0,
    TEXT,
    VOICE,
    MakeAgent,
    Models,
)

CHANNELS = ("agent", "customer")
SOURCES = ("audio/agent", "audio/customer", "text", "images")
INPUTS = ("audio", "text", "images")
UNKNOWN = Encoder("unknown-of-tests", "1", 3)


@dataclass(frozen=True)
class Finals:
    """An outbox that lets pass what may never differ between two runs; the rest goes to `shown`."""

    outbox: Outbox
    shown: list[dict[str, Any]]

    async def deliver(self, events: Iterable[tuple[str, Event]]) -> None:
        values = [(topic, event, json.loads(event.data or "{}")) for topic, event in events]
        self.shown.extend(value for _, _, value in values if value.get("final") is False)
        rest = [(topic, event) for topic, event, value in values if value not in self.shown]
        await self.outbox.deliver(rest)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (whatever else an outbox does)
        return getattr(self.outbox, name)


def joining_with(shown: list[dict[str, Any]] | None = None, **values: Any) -> MakeAgent:  # noqa: ANN401
    """The join agent with these settings."""

    def make(means: Means, models: Models) -> Agent:
        outbox = cast(Outbox, Finals(means.outbox, [] if shown is None else shown))
        own = replace(means, settings=Settings(**values), outbox=outbox)
        return agents.joining(own, models)

    return make


joining = joining_with()
KINDS: list[dict[str, Any]] = [
    {},
    {"correction_ms": 10_000},
    {"window": "hopping", "hop_ms": 2500, "early_ms": 0},
    {"window": "hopping", "hop_ms": 1000, "correction_ms": 6000},
    {"window": "session", "gap_ms": 2000},
    {"window": "session", "gap_ms": 1000, "correction_ms": 10_000},
]
makers = st.sampled_from(KINDS).map(lambda values: joining_with(**values))


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


def progress(
    time: int, source: str, session: str = "one", origin: int = -1, inputs: Sequence[str] = ()
) -> Event:
    input_, _, channel = source.partition("/")
    return signals.progress(
        session, T0 + time, input_=input_, channel=channel, origin=origin, inputs=inputs
    )


def ended(input_: str, session: str = "one", origin: int = -1) -> Event:
    return signals.ended(session, T0, input_=input_, origin=origin)


def tick(
    input_: str, idle: Sequence[str], until: int = 0, session: str = "one", origin: int = 0
) -> Event:
    until = T0 + until if until else 0
    return signals.tick(session, T0, agent=input_, idle=idle, until=until, origin=origin)


def finish(session: str) -> list[Event]:
    return [*(ended(each, session) for each in INPUTS), expiry(session)]


def expiry(session: str = "one", seen: int = -1) -> Event:
    return signals.tick(session, T0, agent="join", expire=True, seen=seen)
