"""Checkpoints in a compacted topic: what a restart must know of each session, safe from zombies.

A worker that was frozen, and has lost its partition meanwhile, may still have a checkpoint on its
way when it wakes. Group generations do not fence a topic, and they begin anew when a group is
deleted. So each owner of a partition first writes a claim that names the claim before it, a compare
and swap in the log itself: a claim that names another one than the last valid one has no effect,
and neither has a checkpoint of any owner but the last one that stands before it in the log. Keys
name the owner, so that compaction never lets a zombie's checkpoint replace a good one.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams import codec, tracing
from streams.connection import Connection
from streams.events import JSON_TYPE, Event, EventType, Topics
from streams.records import read_to, reader

log = logging.getLogger(__name__)

State = dict[str, Any]
"""What is kept of a session, as JSON values."""
LARGEST: Final = 4 * 2**20
"""Bytes of a state; a larger one is none of ours."""


class Ledger(Protocol):
    """The checkpoints of one agent for one partition, in the hands of its owner."""

    @property
    def states(self) -> dict[str, State]:
        """The last state of each session when the partition came."""
        ...

    async def keep(self, session: str, state: State) -> None:
        """Keeps what a restart must know of the session; returns when it is safe."""
        ...


class Checkpoints(Protocol):
    """Where ledgers are."""

    async def claim(self, agent: str, partition: int) -> Ledger:
        """The ledger of an agent for a partition; whoever had it before writes in vain from now
        on."""
        ...


@dataclass(frozen=True, slots=True)
class Blank:
    """`Ledger` of who keeps nothing."""

    states: dict[str, State] = field(default_factory=dict)

    async def keep(self, session: str, state: State) -> None:
        """Keeps nothing."""


@dataclass(slots=True)
class Succession:
    """Who owns a ledger, and what it says, by the order of the log. Pure.

    The first claim that the log still holds is valid whatever it names.
    """

    owner: str = ""
    states: dict[str, State] = field(default_factory=dict)

    def claim(self, owner: str, after: str) -> None:
        """Takes a claim; without effect if its writer did not know of the present owner."""
        if after == self.owner or not self.owner:
            self.owner = owner

    def keep(self, owner: str, session: str, state: State) -> None:
        """Takes a checkpoint; without effect if its writer is not the owner any more."""
        if owner == self.owner or not self.owner:
            self.states.pop(session, None)  # the last one written shall stand last
            self.states[session] = state


@dataclass(frozen=True, slots=True)
class KafkaLedger:
    """`Ledger` of the owner `owner`."""

    agent: str
    partition: int
    owner: str
    states: dict[str, State]
    _write: Callable[[int, Event], Awaitable[None]]
    _now: Callable[[], int]

    async def keep(self, session: str, state: State) -> None:
        key = f"{self.agent}/{self.owner}/{session}"
        await self._write(self.partition, _event(key, self._now(), state))


class KafkaCheckpoints:
    """`Checkpoints` on their topic."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        brokers: Connection,
        topics: Topics,
        now: Callable[[], int],
    ) -> None:
        self._producer = producer
        self._brokers = brokers
        self._topic: str = asdict(topics)["checkpoints"]
        self._now = now

    async def claim(self, agent: str, partition: int) -> KafkaLedger:
        place = TopicPartition(self._topic, partition)
        succession, owner = Succession(), uuid.uuid4().hex
        async with reader(self._brokers) as consumer:
            consumer.assign([place])
            await self._read(consumer, place, agent, succession)
            while succession.owner != owner:  # another one may claim between reading and writing
                claim = _event(f"{agent}/{owner}", self._now(), {"after": succession.owner})
                await self._write(partition, claim)
                await self._read(consumer, place, agent, succession)
        return KafkaLedger(agent, partition, owner, succession.states, self._write, self._now)

    async def _read(
        self, consumer: AIOKafkaConsumer, place: TopicPartition, agent: str, into: Succession
    ) -> None:
        end = (await consumer.end_offsets([place]))[place]
        async for batch in read_to(consumer, place, end):
            for record in batch:
                read(record.key, record.value, agent, into)

    async def _write(self, partition: int, event: Event) -> None:
        key, value, headers = codec.encode(event)
        await self._producer.send_and_wait(
            self._topic, value, key, partition=partition, headers=headers
        )


def read(key: bytes | None, value: bytes | None, agent: str, into: Succession) -> None:
    """Takes a record of the topic, if it is one of this agent's; others' and broken ones have no
    effect."""
    name, _, rest = (key or b"").decode(errors="replace").partition("/")
    owner, _, session = rest.partition("/")
    if name != agent or not owner:
        return
    state = _state(value)
    if state is None:
        log.warning("a checkpoint of the agent %s cannot be read and is left out", agent)
    elif session:
        into.keep(owner, session, state)
    else:
        into.claim(owner, str(state.get("after", "")))


def _state(value: bytes | None) -> State | None:
    if not value or len(value) > LARGEST:
        return None
    try:
        state = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return state if isinstance(state, dict) else None


def _event(key: str, time: int, state: State) -> Event:
    return Event(
        type=EventType.CHECKPOINT,
        id=key,
        source=f"tenor/{key.partition('/')[0]}",
        session=key,
        time=time,
        content_type=JSON_TYPE,
        data=json.dumps(state, separators=(",", ":")).encode(),
        traceparent=tracing.here(),
    )
