"""What the topics hold of a session that is or was: read once, up to now, in bounded memory.

Results lie where their key leads. What was sent in may lie on any partition, as any client sends
it, so it is looked for on all of them, but only in the part of the log that was written while the
session went on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from streams import codec, records
from streams.clock import now_ms
from streams.codec import DEFAULT_LIMITS, MIB
from streams.connection import Connection
from streams.events import CodecError, Event, EventType, Topics
from streams.media import MediaError
from streams.messages import Typed, TypedTexts
from streams.results import (
    PROVISIONAL,
    CaptionFinal,
    Gap,
    ImageRecognized,
    Match,
    Result,
    SentimentSession,
    SentimentWindow,
    Silence,
    result_of,
)
from streams.thumbnails import Thumbnail, chosen, thumbnail
from streams.topics import partition_of, partitions_of

Kinds = tuple[type[Result], ...]

CAPTIONS: Final[Kinds] = (CaptionFinal, Silence, Gap)
"""What accounts for the audio of a session."""
BYTES: Final[Mapping[type[Result], int]] = {
    CaptionFinal: 16 * MIB,
    SentimentWindow: 16 * MIB,
    Silence: 4 * MIB,
    Gap: 4 * MIB,
    ImageRecognized: 4 * MIB,
    Match: 4 * MIB,
    SentimentSession: MIB,
}
"""How much JSON of each result is held; a call of eight hours has about as much of the first two.
In memory it is some eight times as large."""
TEXTS: Final = 8 * MIB
"""Bytes of typed texts that are held."""
THUMBNAILS: Final = 3 * MIB
"""Bytes of all thumbnails together."""
AHEAD_MS: Final = 3_600_000
"""By how much the clock of who sends events may be ahead of Kafka's; and Kafka's own may differ."""
BATCH: Final = 500
_PASSING: Final = (
    ("ce_type", EventType.CAPTION_PARTIAL.value.encode()),
    (f"ce_{PROVISIONAL}", b"true"),
)
"""The headers of what may yet change."""


@dataclass(frozen=True, slots=True)
class History:
    """Final results of a session, each once, as they were written, of each window the last that was
    said of it; whether the session has ended; how many results were more than is held; and Kafka's
    time (ms) of the latest."""

    results: tuple[Result, ...]
    ended: bool
    left_out: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class SessionLog:
    """Everything that is to be told of a session. `left_out` counts what was more than is held, by
    what it is."""

    results: tuple[Result, ...]
    texts: tuple[Typed, ...] = ()
    pictures: tuple[Thumbnail, ...] = ()
    ended: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a log: what Kafka took in between two times (ms)."""

    since: int
    until: int


async def read_history(
    brokers: Connection, topics: Topics, session: str, kinds: Kinds = CAPTIONS
) -> History:
    """What there is now of these kinds of result; where the session or the topics are not known,
    nothing."""
    partitions = await partitions_of(brokers)
    if not {topics.sentiment, topics.recognition} <= partitions.keys():
        return History((), ended=False)
    # In this order: what a session that has ended said was written before its end.
    ended, written, held = False, 0, _Held(kinds)
    async with records.reader(brokers) as consumer:
        for topic in (topics.sentiment, topics.recognition):
            async for record, event, result in _results(consumer, partitions, topic, session):
                ended = ended or isinstance(result, SentimentSession)
                written = max(written, record.timestamp)
                held.add(event.id, result, len(event.data))
    return History(tuple(held.results), ended, held.left_out, written)


async def read_session(brokers: Connection, topics: Topics, session: str) -> SessionLog:
    """All that there is now of a session; no results where it is not known."""
    history = await read_history(brokers, topics, session, tuple(BYTES))
    if not history.results:
        return SessionLog(())
    begun = min(each.span()[0] for each in history.results)
    until = history.written if history.ended else now_ms()
    span = Span(max(0, begun - AHEAD_MS), until + AHEAD_MS)
    texts, texts_left = await read_texts(brokers, topics, session, span)
    wanted = chosen(history.results)
    pictures, pictures_left = await _thumbnails(brokers, topics, session, span, wanted)
    left_out = {"results": history.left_out, "typed texts": texts_left, "pictures": pictures_left}
    counts = {what: count for what, count in left_out.items() if count}
    return SessionLog(history.results, tuple(texts), tuple(pictures), history.ended, counts)


async def read_texts(
    brokers: Connection, topics: Topics, session: str, span: Span
) -> tuple[list[Typed], int]:
    """What was typed in a session, in order of time, and how many texts were more than is held."""
    texts = TypedTexts(TEXTS)
    async for event in _sent(brokers, topics.text, session, span, EventType.TEXT_MESSAGE):
        with contextlib.suppress(CodecError):
            texts.add(event)
    return texts.in_order(), texts.left_out


async def read_pictures(
    brokers: Connection, topics: Topics, session: str, span: Span, wanted: Collection[str]
) -> AsyncIterator[Event]:
    """The pictures with these ids, each once; the log is read no further than the last of them."""
    missing = set(wanted)
    if not missing:
        return
    found = _sent(brokers, topics.images, session, span, EventType.IMAGE_FRAME)
    async with contextlib.aclosing(found):
        async for event in found:
            if event.id in missing:
                missing.discard(event.id)
                yield event
            if not missing:
                return


async def _thumbnails(
    brokers: Connection, topics: Topics, session: str, span: Span, wanted: Collection[str]
) -> tuple[list[Thumbnail], int]:
    """Thumbnails in order of time, and how many are left out: gone from the log, or too many."""
    made, free = list[Thumbnail](), THUMBNAILS
    async for event in read_pictures(brokers, topics, session, span, wanted):
        with contextlib.suppress(MediaError):  # which the image agent was able to read
            small = await asyncio.to_thread(thumbnail, event)
            if len(small.jpeg) <= free:
                free -= len(small.jpeg)
                made.append(small)
    return sorted(made, key=lambda each: (each.time, each.id)), len(wanted) - len(made)


class _Held:
    """Results of some kinds, each once, as many as fit."""

    def __init__(self, kinds: Kinds) -> None:
        self.left_out = 0
        self._kinds = kinds
        self._free = Counter({kind.__name__: BYTES[kind] for kind in kinds})
        self._by_place: dict[tuple[str, ...], tuple[Result, int]] = {}

    @property
    def results(self) -> list[Result]:
        return [result for result, _ in self._by_place.values()]

    def add(self, id_: str, result: Result, size: int) -> None:
        """Takes a result of `size` bytes, unless it is known already or another window's last word
        is."""
        if not isinstance(result, self._kinds) or not _sane(result):
            return
        place, kind = _place(id_, result), type(result).__name__
        known, known_size = self._by_place.get(place, (None, 0))
        if known is not None and _revision(known) >= _revision(result):
            return
        if size > self._free[kind] + known_size:
            self.left_out += 1
            return
        self._free[kind] += known_size - size
        self._by_place[place] = (result, size)


def _place(id_: str, result: Result) -> tuple[str, ...]:
    """What there is one result of: a window may be said of again."""
    if isinstance(result, SentimentWindow):
        return (result.channel, str(result.start))
    return (id_,)


def _revision(result: Result) -> int:
    return result.revision if isinstance(result, SentimentWindow) else 0


def _sane(result: Result) -> bool:
    """Whether a result is final, and of a time that an event may have."""
    start, end = result.span()
    latest = now_ms() + DEFAULT_LIMITS.ahead
    passing = isinstance(result, SentimentWindow) and not result.final
    return DEFAULT_LIMITS.earliest <= start <= end <= latest and not passing


async def _results(
    consumer: AIOKafkaConsumer, partitions: Mapping[str, int], topic: str, session: str
) -> AsyncIterator[tuple[ConsumerRecord, Event, Result]]:
    """The session's readable results on a topic up to its end of this moment, with their records
    and events; those that may yet change are passed over."""
    key = session.encode()
    place = TopicPartition(topic, partition_of(session, partitions[topic]))
    consumer.assign([place])
    end = (await consumer.end_offsets([place]))[place]
    async for batch in records.read_to(consumer, place, end):
        for record in batch:
            if record.key == key and record.offset < end and not _passes(record):
                with contextlib.suppress(CodecError):
                    event = _decoded(record)
                    yield record, event, result_of(event)


def _passes(record: ConsumerRecord) -> bool:
    return any(header in record.headers for header in _PASSING)


async def _sent(
    brokers: Connection, topic: str, session: str, span: Span, type_: EventType
) -> AsyncGenerator[Event]:
    """The session's events of a type, those on its own partition first."""
    count = (await partitions_of(brokers)).get(topic, 0)
    if not count:
        return
    key = session.encode()
    own = TopicPartition(topic, partition_of(session, count))
    others = [each for n in range(count) if (each := TopicPartition(topic, n)) != own]
    async with records.reader(brokers, fetch_max_wait_ms=20) as consumer:
        for place in (own, *others):
            async for record in _written(consumer, place, span):
                if record.key == key:
                    with contextlib.suppress(CodecError):
                        event = _decoded(record)
                        if event.type is type_:
                            yield event


async def _written(
    consumer: AIOKafkaConsumer, place: TopicPartition, span: Span
) -> AsyncIterator[ConsumerRecord]:
    """What was written on a partition within a span, up to its end of this moment."""
    first = (await consumer.offsets_for_times({place: span.since}))[place]
    if first is None:
        return
    after = (await consumer.offsets_for_times({place: span.until}))[place]
    end = after.offset if after else (await consumer.end_offsets([place]))[place]
    consumer.assign([place])
    await consumer.position(place)  # else aiokafka's own first reset may come later and win
    consumer.seek(place, first.offset)
    async for batch in records.read_to(consumer, place, end, BATCH):
        for record in batch:
            if record.offset < end:
                yield record


def _decoded(record: ConsumerRecord) -> Event:
    return codec.decode(record.key, record.value, record.headers, now=now_ms())
