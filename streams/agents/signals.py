"""What agents tell each other beside features: progress, the end of a session, and idleness."""

from __future__ import annotations

import json
from collections.abc import Iterable

from streams.events import CodecError, Event, EventType, event_id


def progress(session: str, time: int, *, input_: str, channel: str = "") -> Event:
    """Everything of this input and channel that ends at or before `time` (ms) was delivered.

    Producers of chat and pictures may send it too: then windows wait for them, and for no longer.
    """
    return Event(
        type=EventType.PROGRESS,
        id=event_id(session, EventType.PROGRESS, channel, time, time, about=input_),
        source=f"tenor/{input_}",
        session=session,
        time=time,
        channel=channel,
        extensions={"input": input_},
    )


def ended(session: str, time: int, *, input_: str) -> Event:
    """No more events of the session will come from this input."""
    return Event(
        type=EventType.SESSION_ENDED,
        id=event_id(session, EventType.SESSION_ENDED, "", time, time, about=input_),
        source=f"tenor/{input_}",
        session=session,
        time=time,
        extensions={"input": input_},
    )


def tick(
    session: str,
    time: int,
    *,
    agent: str,
    idle: Iterable[str],
    until: int = 0,
    expire: bool = False,
) -> Event:
    """These sources have been silent for so long that nothing shall wait for them."""
    extensions = {"idle": json.dumps(sorted(idle)), "until": str(until)}
    if expire:
        extensions["expire"] = "true"
    about = json.dumps([agent, extensions], sort_keys=True)
    return Event(
        type=EventType.TICK,
        id=event_id(session, EventType.TICK, "", time, time, about=about),
        source=f"tenor/{agent}",
        session=session,
        time=time,
        extensions=extensions,
    )


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
    text = event.extensions.get("until", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise CodecError("bad-tick", "ce_until must be milliseconds since the epoch, in digits")
    return int(text)
