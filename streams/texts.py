"""Reads the typed texts of the sessions whose speech this worker recognises, and keeps them.

The text agent may run elsewhere, so the audio agent has a reader of its own. It reads only when it
is asked, up to the end that the log has then: what was written before an utterance is known before
the utterance is decoded. Contexts are kept as checkpoints, and after them the reader's position is,
so that a restart goes on with what was known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from streams import codec, records
from streams.checkpoints import Checkpoints, Ledger, State
from streams.clock import now_ms
from streams.connection import Connection
from streams.context import Context, Text, text_of
from streams.events import TYPES_OF_TOPIC, CodecError, Topics
from streams.settings import Settings

log = logging.getLogger(__name__)

AGENT: Final = "context"
"""Whose checkpoints these are."""
POSITION: Final = "\tposition"
"""Under which name the reader's position is kept; no session has such a name."""
SESSIONS: Final = 2000
"""Contexts of one partition in memory; beyond it, those without news for longest are forgotten."""
BATCH: Final = 500
"""Records that are read before what they say is kept."""
POLL_MS: Final = 10
"""How long Kafka may hold back the answer that there is no more. It answers a connection's requests
one by one, so the question for the log's end would wait as long; and hence nothing is fetched, the
partition is paused, while nobody asks."""

T = TypeVar("T")


class Unassigned(Exception):  # noqa: N818  (an answer, not a fault)
    """The partition is, or went, elsewhere."""


class Texts(Protocol):
    """Where the texts of a session are known."""

    async def assign(self, partition: int) -> None: ...

    async def revoke(self, partitions: Collection[int]) -> None: ...

    async def context(self, partition: int, session: str) -> Context: ...

    async def forget(self, partition: int, session: str) -> None: ...


class FixedTexts:
    """The same vocabulary for every session; without Kafka."""

    def __init__(self, vocabulary: Iterable[str] = ()) -> None:
        self._context = Context()
        if terms := tuple(vocabulary):
            self._context.add(Text(0, 0, "vocabulary", "vocabulary", terms))

    async def assign(self, partition: int) -> None:
        """Nothing to read."""

    async def revoke(self, partitions: Collection[int]) -> None:
        """Nothing was read."""

    async def context(self, partition: int, session: str) -> Context:
        return self._context

    async def forget(self, partition: int, session: str) -> None:
        """Nothing is kept."""


class TextReader:
    """Follows the partitions of the text topic that it is told to. `fail` hears of Kafka errors
    that aiokafka does not mend; `now` is the time of day in ms."""

    def __init__(
        self,
        brokers: Connection,
        settings: Settings,
        checkpoints: Checkpoints,
        fail: Callable[[BaseException], None],
        *,
        now: Callable[[], int] = now_ms,
    ) -> None:
        self._brokers = brokers
        self._topic = Topics.of(settings.topic_prefix).text
        self._checkpoints = checkpoints
        self._fail = fail
        self._now = now
        self._followers: dict[int, asyncio.Task[_Follower]] = {}

    async def assign(self, partition: int) -> None:
        """Goes on where the partition was left; returns when its contexts are known."""
        if partition not in self._followers:
            self._followers[partition] = asyncio.create_task(self._follow(partition))
        await self._follower(partition)

    async def revoke(self, partitions: Collection[int]) -> None:
        """Forgets partitions that went to another worker; who waits for them gets Unassigned."""
        for task in [self._followers.pop(each) for each in partitions if each in self._followers]:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and not task.exception():
                await task.result().close()

    async def close(self) -> None:
        """Leaves all partitions."""
        await self.revoke(list(self._followers))

    async def context(self, partition: int, session: str) -> Context:
        """What is known of the session once all that the text partition holds now has been read.

        Raises Unassigned.
        """
        follower = await self._follower(partition)
        with self._telling():
            await follower.catch_up()
        known = follower.contexts.get(session)
        return Context(known.texts if known else ())

    async def forget(self, partition: int, session: str) -> None:
        """The session is over. Raises Unassigned."""
        follower = await self._follower(partition)
        with self._telling():
            await follower.forget([session])

    async def _follower(self, partition: int) -> _Follower:
        if (task := self._followers.get(partition)) is None:
            raise Unassigned
        with self._telling():
            return await _outcome(task)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except KafkaError as error:
            self._fail(error)
            raise

    async def _follow(self, partition: int) -> _Follower:
        records.install()
        ledger = await self._checkpoints.claim(AGENT, partition)
        position = _position(ledger.states.pop(POSITION, {}))
        contexts = dict(_contexts(ledger.states))
        consumer = AIOKafkaConsumer(
            **self._brokers.options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=POLL_MS,
            isolation_level="read_committed",  # as the agents read
        )
        place = TopicPartition(self._topic, partition)
        try:
            await consumer.start()
            consumer.assign([place])
            await consumer.position(place)  # else aiokafka's own first reset may come later and win
            consumer.pause(place)
            consumer.seek(place, position)
        except BaseException:
            await consumer.stop()
            raise
        return _Follower(place, consumer, contexts, ledger, self._now)


def _position(state: State) -> int:
    position = state.get("next")
    return position if isinstance(position, int) and position > 0 else 0


def _contexts(states: Mapping[str, State]) -> Iterator[tuple[str, Context]]:
    for session, state in states.items():
        try:
            context = Context.of(state)
        except (TypeError, ValueError):
            log.error("a checkpoint of typed texts is left out: it is not as we write it")
        else:
            if context.texts:
                yield session, context


class _Follower:
    """One partition of the text topic: the contexts of its sessions, and how far it was read.

    Partitions come and go one by one, and assigning a consumer anew would make it forget its other
    positions; hence a consumer each.
    """

    def __init__(
        self,
        place: TopicPartition,
        consumer: AIOKafkaConsumer,
        contexts: dict[str, Context],
        ledger: Ledger,
        now: Callable[[], int],
    ) -> None:
        self.contexts = contexts
        self._place = place
        self._consumer = consumer
        self._ledger = ledger
        self._now = now
        self._reading: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def catch_up(self) -> None:
        """Returns when all that was in the log at the call has been read."""
        if self._next is None:
            self._next = asyncio.create_task(self._read_after(self._reading))
        await _outcome(self._next)

    async def forget(self, sessions: Iterable[str]) -> None:
        """Keeps of these sessions that nothing is known."""
        known = [each for each in sessions if self.contexts.pop(each, None)]
        await self._keep(known)

    async def close(self) -> None:
        """Stops reading; who waits gets Unassigned."""
        tasks = [task for task in (self._reading, self._next) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # its failure was told already
        await self._consumer.stop()

    async def _read_after(self, before: asyncio.Task[None] | None) -> None:
        if before:
            await asyncio.wait([before])
        # Who asks from here on may know of more than the end that is found now.
        self._reading, self._next = self._next, None
        end = (await self._consumer.end_offsets([self._place]))[self._place]
        if await self._consumer.position(self._place) < end:
            self._consumer.resume(self._place)
            async for batch in records.read_to(self._consumer, self._place, end, BATCH):
                await self._take(batch)
            self._consumer.pause(self._place)

    async def _take(self, batch: Sequence[ConsumerRecord]) -> None:
        await self._keep({session for record in batch if (session := self._add(record))})
        await self.forget(list(self.contexts)[: max(0, len(self.contexts) - SESSIONS)])
        await self._ledger.keep(POSITION, {"next": batch[-1].offset + 1})

    def _add(self, record: ConsumerRecord) -> str | None:
        """Takes one record; the session of which more is known by it."""
        try:
            event = codec.decode(
                record.key,
                record.value,
                record.headers,
                now=self._now(),
                accept=TYPES_OF_TOPIC["text"],
            )
            text = text_of(event, record.timestamp)
        except CodecError:  # the text agent answers for it
            return None
        if text is None:
            return None
        context = self.contexts.pop(event.session, None) or Context()
        self.contexts[event.session] = context  # the last one now
        return event.session if context.add(text) else None

    async def _keep(self, sessions: Iterable[str]) -> None:
        await asyncio.gather(
            *(
                self._ledger.keep(session, self.contexts.get(session, Context()).state())
                for session in sessions
            )
        )


async def _outcome(task: asyncio.Task[T]) -> T:
    """What the task gives to all who wait for it; they do not cancel it. Raises Unassigned."""
    await asyncio.wait([task])
    if task.cancelled():
        raise Unassigned
    return task.result()
