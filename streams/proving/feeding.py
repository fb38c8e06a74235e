"""Feeds calls into the topics in real time, and remembers what was sent when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from typing import Any

from aiokafka import AIOKafkaProducer

from streams.clock import now_ms
from streams.events import EventType, Topics
from streams.proving.calls import Call, Input
from streams.proving.comparison import Place


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Does all of it at once; when one fails, it ends the others and raises that failure."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Feeder:
    """Sends records.

    `events` counts them, `over` the calls that are through; `fed` holds from when to when (ms) the
    audio of each session was sent, `malformed` the values of malformed records by their place.
    """

    def __init__(self, sender: AIOKafkaProducer, topics: Topics) -> None:
        self.events = 0
        self.over = 0
        self.fed: dict[str, tuple[int, int]] = {}
        self.malformed: dict[Place, bytes | None] = {}
        self._sender = sender
        self._names: dict[str, str] = asdict(topics)

    async def feed(self, calls: Sequence[Call]) -> None:
        """Sends all calls, each at its time from now on. Raises KafkaError."""
        begun = time.monotonic()
        await together(*(self._call(call, begun + call.begins) for call in calls))

    async def _call(self, call: Call, begins: float) -> None:
        pending: list[asyncio.Future[Any]] = []
        for each in call.inputs:
            await asyncio.sleep(max(0.0, begins + each.at - time.monotonic()))
            if each.type is EventType.AUDIO_CHUNK:
                pending.append(await self._send(each))
                self._note(call.session)
            else:
                await self._confirmed(each)
            self.events += 1
        await asyncio.gather(*pending)
        self.over += 1

    async def _confirmed(self, input_: Input) -> None:
        """Sends it and waits for Kafka: what biases a caption depends on the order of the logs."""
        place = await (await self._send(input_))
        if input_.type is None:
            self.malformed[place.topic, place.partition, place.offset] = input_.value

    async def _send(self, input_: Input) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = await self._sender.send(
            self._names[input_.topic], input_.value, input_.key, headers=input_.headers
        )
        return future

    def _note(self, session: str) -> None:
        now = now_ms()
        begin, _ = self.fed.get(session, (now, now))
        self.fed[session] = (begin, now)
