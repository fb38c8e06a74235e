"""Logs of results in memory, for tests of the gateway that need no Kafka but what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from aiokafka import ConsumerRecord

from streams import codec
from streams.connection import Connection
from streams.events import Event, Topics
from streams.gateway.results import Results
from streams.gateway.seam import Place, Span
from streams.gateway.shelf import Shelf, Step
from streams.results import Result, SentimentWindow, Silence, result_event
from streams.topics import partition_of
from tests.made_results import sentiment

TOPICS = Topics.of("t.")
START = 1_760_000_000_000
TEXT = {"language": "en", "model": "m", "no_speech_probability": 0.0, "words": ()}
"""What every caption has, besides its text."""


def silence(number: int, session: str = "call") -> Silence:
    """The one of a second; `number` counts them."""
    start = START + number * 1000
    return Silence(session=session, channel="customer", start=start, end=start + 1000)


def window(
    number: int, session: str = "call", *, score: float = 0.0, length_ms: int = 1000
) -> SentimentWindow:
    start = START + number * length_ms
    return sentiment(start, start + length_ms, score, session=session)


class Logs(Shelf):
    """Logs as Kafka has them. `calm` may be cleared to hold up who reads; a step brings `most`
    records of each log."""

    def __init__(self, partitions: int = 3, most: int = 2) -> None:
        super().__init__(Connection("nowhere:1"))
        self.logs: dict[Place, list[ConsumerRecord]] = {}
        self.begins: dict[Place, int] = {}
        self.calm = asyncio.Event()
        self.calm.set()
        self.steps = 0
        self._most = most
        self._clock = START
        self.grow(partitions)

    def grow(self, partitions: int) -> None:
        for topic in (TOPICS.recognition, TOPICS.sentiment, TOPICS.text):
            for number in range(partitions):
                self.logs.setdefault((topic, number), [])
        self.count = partitions

    # --- as a worker

    def write(self, *results: Result | Event, partition: int | None = None) -> None:
        for each in results:
            event = each if isinstance(each, Event) else result_event(each, source="test")
            sentiment = event.type.startswith("tenor.sentiment")
            topic = TOPICS.sentiment if sentiment else TOPICS.recognition
            number = partition_of(event.session, self.count) if partition is None else partition
            self.write_raw((topic, number), *codec.encode(event))

    def write_raw(
        self, place: Place, key: bytes | None, value: bytes | None, headers: codec.Headers
    ) -> None:
        self._clock += 1
        topic, number = place
        log = self.logs[place]
        log.append(
            ConsumerRecord(
                topic, number, len(log), self._clock, 1, key, value, None, 0, 0, tuple(headers)
            )
        )

    # --- as Kafka

    async def partitions(self) -> dict[str, int]:
        return {topic: self.count for topic, _ in self.logs}

    async def bounds(self, places: Iterable[Place]) -> dict[Place, Span]:
        await asyncio.sleep(0)
        return {place: (self.begins.get(place, 0), len(self.logs[place])) for place in places}

    async def since(self, places: Iterable[Place], time: int) -> dict[Place, int]:
        found: dict[Place, int] = {}
        for place in places:
            later = [each.offset for each in self.logs[place] if each.timestamp >= time]
            found |= {place: later[0]} if later else {}
        return found

    async def step(self, spans: Mapping[Place, Span]) -> Step:
        await self.calm.wait()
        self.steps += 1
        await asyncio.sleep(0)
        read: Step = {}
        for place, (start, end) in spans.items():
            upto = min(end, start + self._most)
            read[place] = (self.logs[place][start:upto], upto)
        return read


def results_of(logs: Logs) -> Results:
    """Those of a gateway that has just started: its tail is at the end."""
    results = Results(Connection("nowhere:1"), TOPICS)
    results.shelf = logs
    results.texts._shelf = logs
    names = TOPICS.recognition, TOPICS.sentiment
    results.tail.positions = {p: len(log) for p, log in logs.logs.items() if p[0] in names}
    return results


def bring(results: Results, logs: Logs) -> None:
    """The tail reads on to the end."""
    new = [
        record
        for place, log in logs.logs.items()
        for record in log[results.tail.positions.get(place, 0) :]
        if place[0] != TOPICS.text
    ]
    for record in sorted(new, key=lambda each: each.timestamp):
        results.tail.take(record)
