"""What Kafka's logs hold up to now, read for one client at a time, a bounded number at once.

A client may be slow, or gone without a word, so none keeps a consumer while it takes what was
read: a consumer is lent for one step, which reads about a megabyte of each log, and goes on to
who waits next. Consumers are made when they are needed, and are kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from streams import records
from streams.connection import Connection
from streams.gateway.problems import Kind, Problem
from streams.gateway.seam import Merge, Place, Span
from streams.gateway.turns import Turns
from streams.topics import partitions_of

log = logging.getLogger("tenor.gateway")

READERS: Final = 4
WAITING: Final = 500
"""The most who may wait for one of them."""
FULL: Final = "too many read what was before"
PATIENCE_S: Final = 15.0
"""How long Kafka may take for one step."""
STEP_BYTES: Final = 4 * 2**20
"""Of all logs together, in one step."""

Keep = Callable[[ConsumerRecord], bool]
Step = dict[Place, tuple[list[ConsumerRecord], int]]
"""What was read of each log, and the offset up to which there is nothing else."""


class Shelf:
    """The logs of an installation. Its methods raise Problem 503 if Kafka does not answer or too
    many wait, and 410 if what is asked for was deleted meanwhile."""

    def __init__(self, brokers: Connection, readers: int = READERS) -> None:
        self._brokers = brokers
        self._free: list[_Reader] = []
        self._turns = Turns(readers, WAITING, FULL)

    async def close(self) -> None:
        """Ends the consumers that nobody uses; those in use end with their step."""
        while self._free:
            await self._free.pop().close()

    async def partitions(self) -> dict[str, int]:
        """How many partitions each topic has."""
        with told():
            async with asyncio.timeout(PATIENCE_S):
                return await partitions_of(self._brokers)

    async def bounds(self, places: Iterable[Place]) -> dict[Place, Span]:
        """Where these logs begin and end now."""
        wanted = [TopicPartition(*place) for place in places]
        async with self._lent() as consumer:
            _assign(consumer, dict.fromkeys(wanted, 0))
            consumer.pause(*wanted)
            starts = await consumer.beginning_offsets(wanted)
            ends = await consumer.end_offsets(wanted)
        return {place: (starts[place], ends[place]) for place in wanted}

    async def since(self, places: Iterable[Place], time: int) -> dict[Place, int]:
        """The first offset of each log that was written at `time` (ms) or later, where there is
        one."""
        wanted = [TopicPartition(*place) for place in places]
        async with self._lent() as consumer:
            _assign(consumer, dict.fromkeys(wanted, 0))
            consumer.pause(*wanted)
            found = await consumer.offsets_for_times(dict.fromkeys(wanted, time))
        return {place: at.offset for place, at in found.items() if at is not None}

    async def step(self, spans: Mapping[Place, Span]) -> Step:
        """Reads on in these logs, of which at least one gets further."""
        starts = {TopicPartition(*place): start for place, (start, _) in spans.items()}
        async with self._lent() as consumer:
            _assign(consumer, starts)
            reached = starts
            while all(reached[place] <= start for place, start in starts.items()):
                found = await consumer.getmany(timeout_ms=500)
                reached = {place: await consumer.position(place) for place in starts}
            consumer.pause(*starts)  # else it would read on, for nobody
        inside = {
            place: [each for each in found.get(place, ()) if each.offset < spans[place][1]]
            for place in starts
        }
        return {place: (inside[place], reached[place]) for place in starts}

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer for a short while. One with which something went wrong is not used again."""
        async with self._turns.turn():
            reader = self._free.pop() if self._free else _Reader()
            whole = False
            try:
                with told():
                    async with asyncio.timeout(PATIENCE_S):
                        yield await reader.consumer(self._brokers)
                whole = True
            finally:
                if whole:
                    self._free.append(reader)
                else:
                    await reader.close()


class _Reader:
    """A consumer that is made when it is asked for."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._made: AIOKafkaConsumer | None = None

    async def consumer(self, brokers: Connection) -> AIOKafkaConsumer:
        if self._made is None:
            options = {
                "auto_offset_reset": "none",  # nothing is passed over without a word
                "fetch_max_bytes": STEP_BYTES,
            }
            made = records.reader(brokers, **options)
            self._made = await self._stack.enter_async_context(made)
        return self._made

    async def close(self) -> None:
        await asyncio.shield(self._stack.aclose())


class Replay:
    """What some logs hold, each in a span of offsets, in the order in which it was written."""

    def __init__(self, shelf: Shelf, spans: Mapping[Place, Span], keep: Keep) -> None:
        self._shelf = shelf
        self._spans = dict(spans)
        self._keep = keep
        self._merge = Merge[ConsumerRecord](spans)

    async def step(self) -> list[ConsumerRecord]:
        """The next records, of those that are kept; none: that was all. Who is cancelled here may
        ask again."""
        while behind := self._merge.behind:
            step = await self._shelf.step({place: self._spans[place] for place in behind})
            for place, (found, reached) in step.items():
                _, end = self._spans[place]
                self._spans[place] = reached, end
                self._merge.add(place, found, self._keep, done=reached >= end)
            if ready := self._merge.take():
                return ready
        return []


@contextmanager
def told() -> Iterator[None]:
    """What goes wrong with Kafka, as a Problem."""
    try:
        yield
    except OffsetOutOfRangeError:
        raise gone() from None
    except (KafkaError, TimeoutError) as error:
        log.warning("Kafka cannot be read: %s", type(error).__name__)
        raise Problem(Kind.UNAVAILABLE, "Kafka does not answer", retry_after_s=5) from None


def gone() -> Problem:
    """Of a place of the logs that is not there."""
    return Problem(
        Kind.GONE,
        "the logs hold nothing at this cursor: what followed it has been deleted, or it is of other"
        " logs; begin anew without it",
    )


def _assign(consumer: AIOKafkaConsumer, starts: Mapping[TopicPartition, int]) -> None:
    """Without a pause between the two, in which aiokafka would begin somewhere else."""
    consumer.assign(list(starts))
    for place, start in starts.items():
        consumer.seek(place, start)
