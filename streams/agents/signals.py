"""What agents tell each other beside features: progress, the end of a session, and idleness.

Each signal names the record that it stems from (`origin`), so that a repetition by an agent that
was restarted, or was frozen and wakes up, is known as such.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from streams.events import CodecError, Event, EventType, event_id
from streams.windows import Ended, Progress, Tick

NONE: Final = -1
"""Of an offset that is not given."""
DIGITS: Final = 13
"""Enough for offsets, and for ms up to the year 2286."""


def progress(
    session: str,
    time: int,
    *,
    input_: str,
    channel: str = "",
    origin: int = NONE,
    inputs: Collection[str] = (),
) -> Event:
    """Everything of this input and channel that ends before `time` (ms) was delivered.

    Producers of chat and pictures may send it too: then windows wait for them, and for no longer.
    `inputs` declares which inputs the session has, so that windows also wait for one of which
    nothing has come through yet.
    """
    extensions = {"input": input_} | _origin(origin)
    if inputs:
        extensions["inputs"] = ",".join(sorted(inputs))
    return _signal(EventType.PROGRESS, session, time, input_, extensions, channel=channel)


def ended(session: str, time: int, *, input_: str, origin: int = NONE) -> Event:
    """No more events of the session will come from this input."""
    extensions = {"input": input_} | _origin(origin)
    return _signal(EventType.SESSION_ENDED, session, time, input_, extensions)


def tick(
    session: str,
    time: int,
    *,
    agent: str,
    idle: Iterable[str] = (),
    until: int = 0,
    expire: bool = False,
    seen: int = NONE,
    origin: int = NONE,
) -> Event:
    """These sources have been silent for so long that nothing shall wait for them.

    An agent writes it into the log that it reads, where it is void if a source was heard of after
    the record at `seen`, the last one that the writer knew: it may have been frozen, or behind. To
    `features` it goes on with the `origin` that it had there.
    """
    extensions = {"idle": json.dumps(sorted(idle)), "until": str(until)} | _origin(origin)
    if seen != NONE:
        extensions["seen"] = str(seen)
    if expire:
        extensions["expire"] = "true"
    if origin != NONE:
        extensions["input"] = agent
    return _signal(EventType.TICK, session, time, agent, extensions)


def idle_sources(event: Event) -> frozenset[str]:
    """The sources that a tick names. Raises CodecError bad-tick."""
    try:
        names = json.loads(event.extensions.get("idle", "[]"))
    except (ValueError, RecursionError):
        raise CodecError("bad-tick", "ce_idle is not JSON") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CodecError("bad-tick", "ce_idle must be a JSON list of strings")
    return frozenset(names)


def idle_until(event: Event) -> int:
    """The event time (ms) up to which nothing more is awaited, 0 if a tick names none. Raises
    CodecError bad-tick."""
    return _number(event, "until", 0, "bad-tick")


def seen_of(event: Event) -> int:
    """The offset of the last record that the writer of a tick knew. Raises CodecError bad-tick."""
    return _number(event, "seen", NONE, "bad-tick")


def origin_of(event: Event) -> int:
    """The offset, in its input's log, of the record that a signal stems from. Raises CodecError
    bad-origin."""
    return _number(event, "origin", NONE, "bad-origin")


def inputs_of(event: Event) -> frozenset[str]:
    """The inputs that a producer's progress declares."""
    return frozenset(filter(None, event.extensions.get("inputs", "").split(",")))


def step(event: Event, offset: int) -> Progress | Tick | Ended:
    """A signal at this place of the log as `streams.windows` knows it. Raises CodecError."""
    input_, origin = event.extensions.get("input", ""), origin_of(event)
    match event.type:
        case EventType.PROGRESS:
            source = f"{input_}/{event.channel}" if event.channel else input_
            return Progress(offset, source, event.time, origin, inputs_of(event))
        case EventType.SESSION_ENDED:
            return Ended(offset, input_, origin)
    return Tick(
        offset,
        idle_sources(event),
        idle_until(event),
        expire="expire" in event.extensions,
        input=input_,
        origin=origin,
        seen=seen_of(event),
    )


def _number(event: Event, name: str, default: int, reason: str) -> int:
    text = event.extensions.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise CodecError(reason, f"ce_{name} must be a whole number of at most {DIGITS} digits")
    return int(text)


def _origin(offset: int) -> dict[str, str]:
    return {} if offset == NONE else {"origin": str(offset)}


def _signal(
    type_: EventType,
    session: str,
    time: int,
    by: str,
    extensions: Mapping[str, str],
    *,
    channel: str = "",
) -> Event:
    about = json.dumps([by, extensions], sort_keys=True)
    return Event(
        type=type_,
        id=event_id(session, type_, channel, time, time, about=about),
        source=f"tenor/{by}",
        session=session,
        time=time,
        channel=channel,
        extensions=dict(extensions),
    )
