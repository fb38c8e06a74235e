"""The end of the logs of results, read once for all clients of a gateway.

It always knows where it is, in every log, so that it goes on there whatever happens to Kafka or
to its consumer meanwhile, and so that a client can be told from where on it hears of everything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import chain
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from streams import codec, records
from streams.clock import now_ms
from streams.connection import Connection
from streams.events import TYPES_OF_TOPIC, CodecError, Topics
from streams.gateway.seam import Entry, Place
from streams.results import result_of
from streams.topics import partitions_of

log = logging.getLogger("tenor.gateway")

AGAIN_S: Final = 1.0
"""Before Kafka is tried once more."""
LOOK_S: Final = 1.0
"""Between two looks at whether Kafka answers, and whether there are more logs."""
GROWTH_MS: Final = 30_000
"""How old may be what is known of the number of partitions."""
SILENT_S: Final = 10.0
"""For how long Kafka may say nothing, not even that there is nothing."""
LATEST: Final = 2**53
"""Times (ms) that every client can hold."""
AT_ONCE: Final = 20
"""Records that are decoded before others get their turn: some milliseconds."""


class Tail:
    """Use: `run` it in a task; `deliver` hears of every readable result, in the order of each log,
    `lost` when the logs were cut or made anew under the tail, which then is at their end."""

    def __init__(
        self,
        brokers: Connection,
        topics: Topics,
        deliver: Callable[[Entry], None],
        lost: Callable[[], None],
    ) -> None:
        self.positions: dict[Place, int] = {}
        self._why_not = "the logs of results have not been found yet"
        self._heard = 0
        self._brokers = brokers
        self._topics = topics
        self._names = (topics.recognition, topics.sentiment)
        self._deliver = deliver
        self._lost = lost

    @property
    def partitions(self) -> int:
        """How many each of the two topics has."""
        return len(self.positions) // 2

    def not_ready(self) -> str:
        """Why what is written now may not come; empty: it does."""
        if self._why_not:
            return self._why_not
        silent_s = (now_ms() - self._heard) / 1000
        return f"Kafka has not answered for {silent_s:.0f} s" if silent_s > SILENT_S else ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._follow()
            except OffsetOutOfRangeError:
                log.error("the logs of results were cut off or made anew; going on at their end")
                self.positions.clear()
                self._lost()
            except (KafkaError, OSError, TimeoutError) as error:
                self._why_not = f"Kafka cannot be read: {type(error).__name__}"
                log.warning("%s", self._why_not)
                await asyncio.sleep(AGAIN_S)
            except Exception as error:  # of one record; all others are still to be read
                log.error("a result was passed over: %s", type(error).__name__)
                await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        """Returns when there are more logs than are followed, or none yet."""
        counts = await partitions_of(self._brokers)
        count = min(counts.get(topic, 0) for topic in self._names)
        if not count:
            await asyncio.sleep(AGAIN_S)
            return
        options = {"auto_offset_reset": "none", "metadata_max_age_ms": GROWTH_MS}
        async with records.reader(self._brokers, **options) as consumer:
            await self._place(consumer, count)
            self._why_not, self._heard = "", now_ms()
            clock = asyncio.get_running_loop().time
            while not self._grown(consumer):
                until = clock() + LOOK_S
                while clock() < until:
                    found = await consumer.getmany(timeout_ms=1000)
                    for number, record in enumerate(chain(*found.values()), 1):
                        self.take(record)
                        if number % AT_ONCE == 0:
                            await asyncio.sleep(0)
                self._listen(consumer)

    async def _place(self, consumer: AIOKafkaConsumer, count: int) -> None:
        """Where it was; at first at the end; and in logs that are new, at their beginning."""
        places = [TopicPartition(topic, n) for topic in self._names for n in range(count)]
        consumer.assign(places)
        for place in places:
            consumer.seek(place, self.positions.get(place, 0))
        if not self.positions:
            consumer.pause(*places)
            ends = await consumer.end_offsets(places)
            for place in places:
                consumer.seek(place, ends[place])
            consumer.resume(*places)
            self.positions = {tuple(place): ends[place] for place in places}
        self.positions = {tuple(p): self.positions.get(p, 0) for p in places}

    def _grown(self, consumer: AIOKafkaConsumer) -> bool:
        counts = (consumer.partitions_for_topic(topic) or () for topic in self._names)
        return min(map(len, counts)) > self.partitions

    def take(self, record: ConsumerRecord) -> None:
        """The next record of its log."""
        self.positions[record.topic, record.partition] = record.offset + 1
        if entry := entry_of(record, self._topics):
            self._deliver(entry)

    def _listen(self, consumer: AIOKafkaConsumer) -> None:
        for place in map(TopicPartition._make, self.positions):
            self._heard = max(self._heard, consumer.last_poll_timestamp(place) or 0)


def entry_of(record: ConsumerRecord, topics: Topics) -> Entry | None:
    """The result in a record; None if there is no readable one, or one that contradicts itself."""
    name = "recognition" if record.topic == topics.recognition else "sentiment"
    accept = TYPES_OF_TOPIC[name]
    try:
        event = codec.decode(record.key, record.value, record.headers, now=now_ms(), accept=accept)
        result = result_of(event)
    except CodecError:
        return None
    start, end = result.span()
    same = result.session == event.session and getattr(result, "channel", "") == event.channel
    if not (same and 0 <= start <= end <= LATEST):
        return None
    place = (record.topic, record.partition)
    return Entry(place, record.offset, record.timestamp, event, result)
