"""Calls as the audio agent's log gets them: chunks of any length, jitter, losses, repeats, late and
broken chunks, chunks out of order, two channels in one chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from streams.agents import signals
from streams.events import Event, EventType
from streams.media import Pcm
from tests.property.agents import T0, interleaved

FATES = ["good"] * 10 + ["lost", "broken", "repeated", "repeated later", "late", "overlapping"]


class Chunk(Event):
    """An event whose audio is not printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{self.session} {self.id} at {self.time - T0} ms, {len(self.data)} bytes>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ANN401  (Hypothesis asks)
        printer.text(repr(self))


def chunk(
    session: str, channel: str, time: int, audio: Pcm, id_: str = "", *, number: int | None = None
) -> Chunk:
    """Audio [n] of a channel, or [n, 2] of two whose names have a comma between them."""
    tracks = f";channels={audio.shape[1]}" if audio.ndim > 1 else ""
    return Chunk(
        type=EventType.AUDIO_CHUNK,
        id=id_ or f"{channel}-{time}-{len(audio)}",
        source="test",
        session=session,
        time=time,
        channel=channel,
        sequence=number,
        content_type=f"audio/L16;rate=16000{tracks}",
        data=audio.astype("<i2").tobytes(),
    )


def cut(session: str, channel: str, time: int) -> Event:
    return Event(EventType.AUDIO_CUT, f"{channel}-cut-{time}", "test", session, time, channel)


def end(session: str, time: int = T0) -> Event:
    return Event(EventType.SESSION_ENDED, f"end-{session}", "test", session, time)


def tick(session: str, time: int, *channels: str, seen: int = 1_000_000) -> Event:
    return signals.tick(session, time, agent="audio", idle=channels, seen=seen)


def sound(loud: bool, samples: int, seed: int = 0) -> Pcm:
    """Noise that is speech to the detector of these tests, or is not."""
    top = 9000 if loud else 60
    return np.random.default_rng(seed).integers(-top, top, samples).astype(np.int16)


@st.composite
def recordings(draw: st.DrawFn) -> Pcm:
    """Seconds of speech and silence."""
    pieces = draw(
        st.lists(st.tuples(st.booleans(), st.integers(300, 2500)), min_size=1, max_size=4)
    )
    return np.concatenate([sound(loud, ms * 16, seed) for seed, (loud, ms) in enumerate(pieces)])


@st.composite
def numbered(draw: st.DrawFn, session: str, channel: str) -> list[Event]:
    """The chunks of one channel with numbers and exact times: some are lost or broken, some are
    delayed, mostly within the lateness, some come twice."""
    audio = draw(recordings())
    audio = np.stack([audio, audio[::-1]], axis=1) if "," in channel else audio
    arrivals: list[tuple[int, Event]] = []
    start, number = 0, 0
    while start < len(audio):
        length = 16 * draw(st.sampled_from([20, 60, 200, 400, 700])) + draw(st.integers(0, 15))
        number, time = number + 1, T0 + start // 16
        part = audio[start : start + length]
        event = chunk(session, channel, time, part, f"{channel}{start}", number=number)
        fate = draw(st.sampled_from(["good"] * 12 + ["lost", "lost", "broken", "twice"]))
        delay = draw(st.sampled_from([0, 0, 0, 100, 250, 1500])) + length // 16
        arrivals += [(time + delay, each) for each in _arrivals(event, fate, [])]
        if fate == "twice":
            arrivals.append((time + 500, event))
        start += length
    return [event for _, event in sorted(arrivals, key=lambda arrival: arrival[0])]


@st.composite
def tracks(draw: st.DrawFn, session: str, channel: str, *, calm: bool = False) -> list[Event]:
    """The chunks of one channel, and cuts, as they arrive."""
    audio = draw(recordings())
    events: list[Event] = []
    start = 0
    while start < len(audio):
        length = 16 * draw(st.sampled_from([20, 100, 400, 1000, 1999])) + draw(st.integers(0, 15))
        time = T0 + start // 16 + draw(st.integers(0, 120))
        event = chunk(session, channel, time, audio[start : start + length], f"{channel}{start}")
        fate = "good" if calm else draw(st.sampled_from(FATES))
        events += _arrivals(event, fate, events)
        start += length
        if not calm and draw(st.integers(0, 7)) == 0:
            events.append(cut(session, channel, T0 + start // 16 + draw(st.integers(-120, 120))))
    return events


def _arrivals(event: Event, fate: str, before: Sequence[Event]) -> list[Event]:
    """What the log gets of a chunk."""
    early = replace(event, id=event.id + "early", time=event.time - 300)
    late = replace(event, id=event.id + "late", time=event.time - 3000)
    return {
        "lost": [],
        "broken": [replace(event, data=event.data[:-1])],
        "repeated": [event, event],
        "repeated later": [event, *before[-3:]],
        "late": [event, late],
        "overlapping": [early, event],
    }.get(fate, [event])


@st.composite
def sessions(draw: st.DrawFn, session: str) -> list[Event]:
    """One or two channels, maybe in one stream, maybe a tick, the end, maybe more after it."""
    names = ["customer", "agent"][: draw(st.integers(1, 2))]
    if draw(st.booleans()):
        streams = [draw(tracks(session, name)) for name in names]
    elif draw(st.booleans()):
        streams = [draw(numbered(session, name)) for name in names]
    else:
        names = ["customer", "agent"]
        streams = [draw(numbered(session, "customer,agent"))]
    log = draw(interleaved(streams))
    if draw(st.booleans()):
        idle = draw(st.sets(st.sampled_from(names), min_size=1))
        seen = st.sampled_from([0, 3, 8, 1_000_000])
        log.insert(draw(st.integers(0, len(log))), tick(session, T0, *idle, seen=draw(seen)))
    log.insert(draw(st.sampled_from([len(log), len(log), len(log) // 2])), end(session))
    return [*log, end(session, T0 + 60_000)]


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    names = ["one", "two"][: draw(st.integers(1, 2))]
    return draw(interleaved([draw(sessions(name)) for name in names]))
