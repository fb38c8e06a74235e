"""What all agents share: decoding, one lane per session, dead letters, idleness, restart.

Records of a partition arrive in order and are put into the lane of their session, where they are
taken one after the other; lanes run side by side, so that a model sees batches over sessions. An
agent knows nothing of Faust: whoever calls `assign`, `handle` and `revoke` may be anything.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from aiokafka.errors import KafkaError

from models.base import ModelError
from streams import codec, tracing
from streams.checkpoints import Blank, Checkpoints, Ledger, State
from streams.clock import now_ms
from streams.delivery import Outbox, Record
from streams.events import TYPES_OF_TOPIC, CodecError, Event, EventType, Topics
from streams.media import MediaError
from streams.metrics import Metrics
from streams.settings import Settings

log = logging.getLogger(__name__)

REMEMBERED = 10_000
"""Sessions per partition that are over but might come again late."""

OVERHEAD: Final = 4096
"""Bytes of an event and its record beside the value."""


class Refused(Exception):  # noqa: N818  (an answer, not a fault)
    """The record cannot be used; it goes to the dead letters with this reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Session(ABC):
    """One session's state in one agent."""

    over = False
    """Set when the lane may be forgotten: everything is acknowledged, nothing is held."""

    @abstractmethod
    async def take(self, event: Event, record: Record) -> None:
        """Handles the next event and acknowledges what is complete, sooner or later this record."""

    def tick(self, silent_s: Callable[[str], float]) -> Event | None:
        """The event to write into the log if idleness has to be decided on, else None.

        `silent_s` says for how long a source has not been heard ('': the whole session).
        """
        return None

    def remember(self) -> State | None:
        """What to go on from if the session, once over, begins again in this process."""
        return None

    async def close(self) -> None:  # noqa: B027  (most hold nothing)
        """Ends what the session has under way; it acknowledges nothing more."""


class Room:
    """Bounds the bytes that wait in an agent: reading stops while there is no room."""

    def __init__(self, size: int) -> None:
        self._free = self._size = size
        self._freed = asyncio.Event()

    @property
    def empty(self) -> bool:
        return self._free == self._size

    async def take(self, size: int) -> None:
        """Waits until there is room; one record always fits an empty room."""
        while self._free < min(size, self._size):
            self._freed.clear()
            await self._freed.wait()
        self._free -= size

    def give_back(self, size: int) -> None:
        self._free += size
        self._freed.set()


class Lane:
    """The queue of one session and the task that empties it."""

    def __init__(
        self,
        session: Session,
        take: Callable[[Lane, Event, Record], Awaitable[None]],
        source: Callable[[Event], str],
        clock: Callable[[], float],
    ) -> None:
        self.session = session
        self.queue: asyncio.Queue[tuple[Event, Record]] = asyncio.Queue()
        self.ticked = False
        self.traceparent = ""
        """Of the last event."""
        self._heard: dict[str, float] = {}
        self._born = clock()
        self._pending = 0
        self._source = source
        self._clock = clock
        self._task = asyncio.create_task(self._run(take))

    def put(self, event: Event, record: Record) -> None:
        """Queues an event; a tick is not a sign of life."""
        if event.type is not EventType.TICK:
            self._heard[self._source(event)] = self._heard[""] = self._clock()
        self.ticked = False
        self.traceparent = event.traceparent
        self._pending += 1
        self.queue.put_nowait((event, record))

    @property
    def busy(self) -> bool:
        """Whether an event waits or is being taken."""
        return self._pending > 0

    def silent_s(self, source: str) -> float:
        """Seconds since an event of this source ('': any) came, or since the lane began."""
        return self._clock() - self._heard.get(source, self._born)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)  # its failure was told already
        await self.session.close()

    async def _run(self, take: Callable[[Lane, Event, Record], Awaitable[None]]) -> None:
        while True:
            event, record = await self.queue.get()
            await take(self, event, record)
            self._pending -= 1


@dataclass(frozen=True, slots=True)
class Means:
    """What every agent works with. `fail` ends the process: Kafka cannot be written to; `clock`
    is monotonic, in seconds; `now` is the time of day in ms."""

    settings: Settings
    outbox: Outbox
    checkpoints: Checkpoints
    metrics: Metrics
    fail: Callable[[BaseException], None]
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], int] = now_ms


class Agent(ABC):
    """Reads `inputs` (fields of `Topics`) and delivers results."""

    name: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    keeps_state: ClassVar[bool] = False

    def __init__(self, means: Means) -> None:
        self.settings = means.settings
        self.outbox = means.outbox
        self.metrics = means.metrics
        self.clock = means.clock
        self.now = means.now
        self._means = means
        self._names: dict[str, str] = asdict(Topics.of(means.settings.topic_prefix))
        self._room = Room(means.settings.queue_bytes)
        self._lanes: dict[tuple[int, str], Lane] = {}
        self._claims: dict[int, asyncio.Task[Ledger]] = {}

    @abstractmethod
    def open(self, partition: int, session: str, state: State | None) -> Session:
        """A session that begins, or goes on from its last checkpoint."""

    async def assign(self, partitions: Collection[int]) -> None:
        """Takes partitions over: their sessions go on where their checkpoints say."""
        for partition in partitions:
            self._claim(partition)

    async def handle(self, record: Record) -> None:
        """Takes the next record of its partition; returns when there is room for more."""
        try:
            event = self._decode(record)
        except CodecError as error:
            await self._refuse(record, error.reason, str(error))
            return
        if event is None:
            record.acknowledge()
            return
        await self._settled(record)
        await self._room.take(size_of(event))
        if record.current():
            self._lane(record.partition, event.session).put(event, record)
        else:  # the partition was revoked while we waited; it will come again
            self._room.give_back(size_of(event))

    async def revoke(self, partitions: Collection[int]) -> None:
        """Forgets partitions that went to another worker; nothing of them is acknowledged."""
        claims = [self._claims[each] for each in partitions if each in self._claims]
        for claim in claims:
            claim.cancel()
            await asyncio.wait([claim])
        keys = [key for key in self._lanes if key[0] in partitions]
        lanes = [self._lanes.pop(key) for key in keys]
        for lane in lanes:
            await lane.close()
            while not lane.queue.empty():
                event, _ = lane.queue.get_nowait()
                self._room.give_back(size_of(event))
        for partition in partitions:
            self._claims.pop(partition, None)

    async def assigned(self, partition: int) -> None:  # noqa: B027  (most need nothing)
        """Gets ready for a partition before its first event is taken."""

    def unfinished(self, state: State) -> bool:
        """Whether a session with this checkpoint may have something to do although no event of it
        comes any more."""
        return False

    async def checkpoint(self, partition: int, session: str, state: State) -> None:
        """Keeps what a restart must know of the session."""
        await self._claims[partition].result().keep(session, state)

    async def watch_idleness(self, every_s: float = 0.5) -> None:
        """Writes ticks for sessions in which something waits for what does not come."""
        while True:
            await asyncio.sleep(every_s)
            self.observe([lane.session for lane in self._lanes.values()])
            ticks = []
            for key, lane in list(self._lanes.items()):
                if lane.busy or lane.ticked or self._lanes.get(key) is not lane:
                    continue
                if tick := lane.session.tick(lane.silent_s):
                    lane.ticked = True
                    traced = replace(tick, traceparent=lane.traceparent)
                    ticks.append((self.inputs[0], traced))
                elif lane.session.over:
                    await self._forget(key)
            await self.outbox.deliver(ticks)

    def observe(self, sessions: Collection[Session]) -> None:
        """Exports what is in memory."""
        self.metrics.sessions.labels(self.name).set(len(sessions))

    def source(self, event: Event) -> str:
        """Whose sign of life an event is."""
        return event.channel

    def sorted_out(self, record: Record) -> bool:
        """Whether a record is none of this agent's business, before it is decoded."""
        return False

    def _decode(self, record: Record) -> Event | None:
        if self.sorted_out(record):
            return None
        accept = TYPES_OF_TOPIC[record.topic]
        with self.metrics.timed("decode"):
            return codec.decode(
                record.key, record.value, record.headers, now=self._means.now(), accept=accept
            )

    async def _settled(self, record: Record) -> None:
        """Returns when the record's partition is ours, or went away."""
        if record.current() and not (claim := self._claim(record.partition)).done():
            await asyncio.wait([claim])

    def _claim(self, partition: int) -> asyncio.Task[Ledger]:
        claim = self._claims.get(partition)
        if claim is None:
            claim = self._claims[partition] = asyncio.create_task(self._take_over(partition))
        return claim

    async def _take_over(self, partition: int) -> Ledger:
        if not self.keeps_state:
            return Blank()
        try:
            ledger = await self._means.checkpoints.claim(self.name, partition)
            await self.assigned(partition)
        except Exception as error:
            self._means.fail(error)
            raise
        for session in [name for name, state in ledger.states.items() if self._live(state)]:
            self._open(partition, session, ledger)
        self._trim(ledger)
        return ledger

    def _live(self, state: State) -> bool:
        try:
            return self.unfinished(state)
        except (LookupError, TypeError, AttributeError):  # `_begin` will tell
            return True

    def _lane(self, partition: int, session: str) -> Lane:
        lane = self._lanes.get((partition, session))
        return lane or self._open(partition, session, self._claim(partition).result())

    def _open(self, partition: int, session: str, ledger: Ledger) -> Lane:
        state = ledger.states.pop(session, None)
        lane = self._lanes[partition, session] = Lane(
            self._begin(partition, session, state), self._take, self.source, self._means.clock
        )
        return lane

    def _begin(self, partition: int, session: str, state: State | None) -> Session:
        try:
            return self.open(partition, session, state)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            if state is None:
                raise
            # Of another version, or not ours at all: to stop at it would be to stop for ever.
            log.error("%s agent: a checkpoint is left out: %s", self.name, place(error))
            return self.open(partition, session, None)

    async def _take(self, lane: Lane, event: Event, record: Record) -> None:
        where = self._names[record.topic], record.partition, record.offset
        with tracing.processing(event, *where, f"{self.settings.group}-{self.name}"):
            await self._answer(lane, event, record)

    async def _answer(self, lane: Lane, event: Event, record: Record) -> None:
        try:
            await lane.session.take(event, record)
            self.metrics.events.labels(record.topic, "taken").inc()
        except (Refused, MediaError, CodecError) as error:
            await self._refuse(record, error.reason, str(error))
        except ModelError as error:
            await self._refuse(record, "model-refused", str(error))
        except KafkaError as error:
            self._means.fail(error)
            raise
        except Exception as error:
            # Not the error's own text: it may quote what was said.
            what = f"{type(error).__name__} in {place(error)}"
            log.error("%s agent, topic %s: %s", self.name, record.topic, what)
            await self._refuse(record, "internal-error", what)
        finally:
            self._room.give_back(size_of(event))

    async def _refuse(self, record: Record, reason: str, message: str) -> None:
        try:
            await self.outbox.dead_letter(record, reason, message)
        except KafkaError as error:
            self._means.fail(error)
            raise
        record.acknowledge()

    async def _forget(self, key: tuple[int, str]) -> None:
        lane = self._lanes.pop(key)
        if (state := lane.session.remember()) is not None:
            ledger = self._claim(key[0]).result()
            ledger.states[key[1]] = state
            self._trim(ledger)
        await lane.close()

    @staticmethod
    def _trim(ledger: Ledger) -> None:
        """Forgets the sessions that have been over for longest."""
        while len(ledger.states) > REMEMBERED:
            ledger.states.pop(next(iter(ledger.states)))

    async def close(self) -> None:
        """Ends all lanes."""
        await self.revoke({*self._claims, *(partition for partition, _ in self._lanes)})


def size_of(event: Event) -> int:
    """Bytes of memory of an event that waits."""
    return len(event.data) + OVERHEAD


def place(error: BaseException) -> str:
    """Where an error was raised, as file:line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
