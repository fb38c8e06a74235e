"""Where a scenario's faults happen: the workers, the brokers and the clock of one run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from streams.broker import Broker
from streams.clock import now_ms
from streams.connection import Connection
from streams.events import Topics
from streams.proving.calls import Call
from streams.proving.comparison import Fault
from streams.proving.fleet import Fleet
from streams.proving.stepped_clock import step

T = TypeVar("T")

FED_S = 15.0
"""A session's interruption is measured if it is fed for so long after the fault."""
FIRST_S = 2.0
IN_SYNC_S = 60
ASK_S = 30.0
TOPIC_CONFIGURED = 1
"""Of what Kafka says of a topic's configuration: set for this topic."""


@dataclass(slots=True, eq=False)
class Stage:
    """One run, from its first call on; `faults` are those that have happened."""

    kafka: Broker
    topics: Topics
    fleet: Fleet
    clock: Path
    calls: Sequence[Call]
    chance: Random
    begun: float = field(default_factory=time.monotonic)
    faults: list[Fault] = field(default_factory=list)

    @property
    def brokers(self) -> Connection:
        return Connection(self.kafka.bootstrap)

    def moments(self, count: int) -> list[float]:
        """Random moments (s), one in each of `count` equal parts of the time in which a fault's
        interruption can be measured."""
        last = self.calls[-1]
        until = max(last.begins + last.seconds - FED_S, 2 * FIRST_S)
        part = (until - FIRST_S) / count
        return [FIRST_S + (number + self.chance.random()) * part for number in range(count)]

    async def at(self, seconds: float) -> None:
        """Waits until so many seconds after the first call began."""
        await asyncio.sleep(max(0.0, self.begun + seconds - time.monotonic()))

    def happened(self, what: str) -> None:
        """Notes that a fault happens now."""
        self.faults.append(Fault(now_ms(), what))

    def step(self, seconds: float) -> None:
        """Sets the workers' clocks to so many seconds after the real time of day."""
        step(self.clock, seconds)

    async def in_sync(self) -> None:
        """Waits, for a while, until every partition has all its replicas again."""
        await self._until_in_sync(wanted=True)

    async def out_of_sync(self) -> None:
        """Waits, for a while, until it is noticed that a node is gone."""
        await self._until_in_sync(wanted=False)

    async def _until_in_sync(self, *, wanted: bool) -> None:
        for _ in range(IN_SYNC_S):
            if await _administer(self.brokers, _in_sync) is wanted:
                return
            await asyncio.sleep(1)

    async def configure(self, topics: Iterable[str], **values: str | None) -> None:
        """Changes settings of topics (`_` for `.`) and keeps the others; None takes one back.

        Raises KafkaError.
        """
        wanted = {name.replace("_", "."): value for name, value in values.items()}

        async def change(admin: AIOKafkaAdminClient) -> None:
            for topic in topics:
                changed = {**await _configured(admin, topic), **wanted}
                kept = {name: value for name, value in changed.items() if value is not None}
                resource = ConfigResource(ConfigResourceType.TOPIC, topic, kept)
                for response in await admin.alter_configs([resource]):
                    for code, message, *_ in response.resources:
                        if code:
                            raise for_code(code)(message)

        await _administer(self.brokers, change)


async def _administer(
    brokers: Connection, work: Callable[[AIOKafkaAdminClient], Awaitable[T]]
) -> T:
    """Asks again, for a while, if the node that happens to be asked is away."""
    deadline = time.monotonic() + ASK_S
    while True:
        admin = AIOKafkaAdminClient(**brokers.options())
        try:
            await admin.start()
            return await work(admin)
        except KafkaError:
            if time.monotonic() > deadline:
                raise
        finally:
            await admin.close()
        await asyncio.sleep(1)


async def _in_sync(admin: AIOKafkaAdminClient) -> bool:
    return all(
        len(each["isr"]) == len(each["replicas"])
        for topic in await admin.describe_topics()
        for each in topic["partitions"]
    )


async def _configured(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    """What is set for this topic: to alter its configuration is to give all of it."""
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {
        name: value
        for *_, entries in response.resources
        for name, value, _, source, *_ in entries
        if source == TOPIC_CONFIGURED
    }
