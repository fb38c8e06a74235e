"""A Kafka producer that goes on after it was refused something.

Kafka counts what an idempotent producer writes to a partition. One record that it refuses, because
it is larger than the topic takes, leaves a gap in that count, and aiokafka's producer then has
everything that follows refused, too. So it is replaced by a new one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams import codec

log = logging.getLogger("tenor.gateway")

Future = asyncio.Future[Any]


class RenewingProducer:
    """What `make` makes, anew after every refusal."""

    def __init__(self, make: Callable[[], AIOKafkaProducer]) -> None:
        self._make = make
        self._current = make()
        self._renewal: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._current.start()

    async def stop(self) -> None:
        if self._renewal:
            await asyncio.wait([self._renewal])
        await self._current.stop()

    async def send(self, topic: str, value: bytes, key: bytes, *, headers: codec.Headers) -> Future:
        """As the producer's."""
        current = self._current
        future: Future = await current.send(topic, value, key, headers=headers)
        future.add_done_callback(lambda done: self._look(current, done))
        return future

    def _look(self, sender: AIOKafkaProducer, done: Future) -> None:
        if done.cancelled() or done.exception() is None or sender is not self._current:
            return
        if self._renewal is None or self._renewal.done():
            log.error("a record was refused: %s", type(done.exception()).__name__)
            self._renewal = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        before, made = self._current, self._make()
        try:
            await made.start()
        except KafkaError as error:  # the next refusal tries again
            log.error("no new producer: %s", type(error).__name__)
            await made.stop()
            return
        self._current = made
        await before.stop()
