"""What the benches of the join have in common: made-up sessions, the right answers, and figures.

Pure: no clock, no Kafka, no randomness but from a seed.

A *call* is what the pure join is fed: two audio channels and chat. Every second brings a progress
of each channel and one feature; five features make a turn of `TURN` events: a voice segment that
announces its words, the words, the same of the other channel, and a chat message.

A *reading* is what the hops through Kafka are fed: a keyed, dated float of one of three sources.
"""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams.windows import Event, Item, Outcome, Progress, Rules, SessionWindows

CHANNELS: Final = ("customer", "agent")
TURN: Final = 15
"""Events of five seconds: ten of progress, five features."""
FEATURES_PER_EVENT: Final = 1 / 3

BEGIN_MS: Final = 1_767_225_600_000
"""When everything begins: 2026-01-01, a multiple of all lengths of windows."""
LENGTH_MS: Final = 5000
LATENESS_MS: Final = 1000
STEP_MS: Final = 500
"""Event time between two readings of a session: ten in a window."""
SOURCES: Final = ("voice", "words", "chat")
LATE_EVERY: Final = 997
"""One reading in so many comes after its window has closed."""


def call_event(session: int, index: int) -> Event:
    """The event `index` of a call; its ids are as long as real ones (36 characters)."""
    second, place = divmod(index, 3)
    now = BEGIN_MS + second * 1000
    if place:
        return Progress(index, f"audio/{CHANNELS[place - 1]}", now)
    turn, part = divmod(second, 5)
    id_, end = f"{session:016x}-{index:019x}", now + 500
    if part == 4:
        return Item(id_, index, "text", end)
    said, source = f"{session:016x}-{turn}-{part // 2}", f"audio/{CHANNELS[part // 2]}"
    if part % 2:
        return Item(id_, index, source, end, evidence=said)
    return Item(id_, index, source, end, expects=said)


def round_robin(sessions: int, begin: int, count: int) -> Iterator[tuple[int, Event]]:
    """`count` events of calls in turn, from the `begin`-th of all, with the session of each.

    The calls are at different places of their turn, so that any stretch has the same mixture.
    """
    for number in range(begin, begin + count):
        visit, session = divmod(number, sessions)
        yield session, call_event(session, visit + session % TURN)


@dataclass(frozen=True, slots=True)
class Reading:
    """One record of the comparison; `time` in ms."""

    session: str
    id: str
    time: int
    source: str
    value: float

    def body(self) -> dict[str, Any]:
        """Its JSON value; session and time are the record's key and time stamp."""
        return {"id": self.id, "source": self.source, "value": self.value}


def readings(sessions: int, count: int, seed: int = 0) -> list[Reading]:
    """Sessions in turn, out of order by less than the lateness, some of them really late.

    One more of each session at the end closes every window. Values are multiples of 1/1024: their
    sums are exact in whatever order.
    """
    draw = random.Random(seed)
    made = []
    for number in range(count):
        visit, session = divmod(number, sessions)
        time = BEGIN_MS + visit * STEP_MS + draw.randrange(LATENESS_MS - 100)
        if number % LATE_EVERY == LATE_EVERY - 1 and visit * STEP_MS > 2 * LENGTH_MS:
            time -= 2 * LENGTH_MS
        made.append(_reading(session, number, time, draw.choice(SOURCES), draw.randrange(1024)))
    end = BEGIN_MS + 4 * LENGTH_MS + (count // sessions + 1) * STEP_MS
    return made + [_reading(s, count + s, end, SOURCES[0], 0) for s in range(sessions)]


def _reading(session: int, number: int, time: int, source: str, thousandths: int) -> Reading:
    return Reading(f"session-{session:04}", f"{number:036x}", time, source, thousandths / 1024)


@dataclass(frozen=True, slots=True)
class Row:
    """What is said of a closed window."""

    session: str
    start: int
    count: int
    mean: float
    sources: tuple[str, ...]

    @classmethod
    def of(cls, session: str, start: int, values: Sequence[Reading]) -> Row:
        mean = sum(reading.value for reading in values) / len(values)
        return cls(session, start, len(values), mean, tuple(sorted({r.source for r in values})))

    def body(self) -> dict[str, Any]:
        """Its JSON value; the session is the record's key."""
        return {
            "start": self.start,
            "count": self.count,
            "mean": self.mean,
            "sources": list(self.sources),
        }

    @classmethod
    def from_body(cls, session: str, body: dict[str, Any]) -> Row:
        sources = tuple(sorted(body["sources"]))
        return cls(session, body["start"], body["count"], body["mean"], sources)


def expected(log: Sequence[Reading]) -> tuple[set[Row], int]:
    """The rows of all windows that close, and how many readings are late; the slow, plain way.

    A window closes when the session's latest time is `LATENESS_MS` past its end.
    """
    latest: dict[str, int] = defaultdict(int)
    windows: dict[tuple[str, int], list[Reading]] = defaultdict(list)
    late = 0
    for reading in log:
        now = latest[reading.session] = max(latest[reading.session], reading.time)
        start = reading.time - reading.time % LENGTH_MS
        if start + LENGTH_MS <= now - LATENESS_MS:
            late += 1
        else:
            windows[reading.session, start].append(reading)
    closed = (
        (session, start, values)
        for (session, start), values in windows.items()
        if start + LENGTH_MS <= latest[session] - LATENESS_MS
    )
    return {Row.of(*each) for each in closed}, late


@dataclass(slots=True)
class Tally:
    """Tenor's windows for the readings of one session, whose newest one says how late it is."""

    windows: SessionWindows
    seen: int = 0

    @classmethod
    def new(cls) -> Tally:
        return cls(SessionWindows(Rules(LENGTH_MS, LATENESS_MS)))

    def take(self, offset: int, reading: Reading, payload: object) -> tuple[Outcome, Outcome]:
        """What the reading did, and what the time that it brought did."""
        item = Item(reading.id, offset, "text", reading.time, payload=(reading, payload))
        taken = self.windows.step(item)
        return taken, self.windows.step(Progress(offset, "audio", reading.time))


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, extremes and number of some rounds."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": len(values),
    }


def ratios(values: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """The summary of each round's value as a multiple of the base in the same round."""
    return summary([value / of for value, of in zip(values, base, strict=True)])
