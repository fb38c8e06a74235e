"""The audio agent without Kafka: audio in, results out as they are delivered, in one process.

Agent, models and codec are those of a worker; only the place that records come from and results go
to is another. Every session is a partition of its own, whose records are numbered from 0.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final, NamedTuple

from streams import codec
from streams.agents import signals
from streams.agents.base import Agent, Means
from streams.checkpoints import Blank, Ledger
from streams.composition import Workshop
from streams.delivery import Record
from streams.errors import UserError
from streams.events import Event
from streams.metrics import Metrics
from streams.replay import Moment
from streams.results import RESULTS, Result, result_of
from streams.settings import Settings
from streams.texts import FixedTexts

log = logging.getLogger(__name__)

BEGINNING: Final = 1_700_000_000_000
"""Event time (ms) at which every run begins, so that no result depends on the date."""


class LocalError(UserError):
    """A record was refused; the message says why."""


class Delivery(NamedTuple):
    """A result and when it was delivered: ms in event time, by the clock of the event loop."""

    at: float
    result: Result


class LocalOutbox:
    """`Outbox` and `Checkpoints` in memory. Results go to whoever listens to their session;
    checkpoints go nowhere, because no session outlives the process."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._zero = self._clock()
        self._listeners: dict[str, Callable[[Delivery | LocalError], object]] = {}

    def now(self) -> float:
        """The time of day of this run, in ms."""
        return BEGINNING + (self._clock() - self._zero) * 1000

    def listen(self, session: str, tell: Callable[[Delivery | LocalError], object]) -> None:
        """Tells of the results of a session, and of refused records, until `forget`."""
        self._listeners[session] = tell

    def forget(self, session: str) -> None:
        self._listeners.pop(session, None)

    async def deliver(self, events: Iterable[tuple[str, Event]]) -> None:
        now = self.now()
        for _, event in events:
            if event.type in RESULTS and (tell := self._listeners.get(event.session)):
                tell(Delivery(now, result_of(event)))

    async def dead_letter(self, record: Record, reason: str, message: str) -> None:
        if record.key and (tell := self._listeners.get(record.key.decode())):
            tell(LocalError(f"{reason}: {message}"))

    async def claim(self, agent: str, partition: int) -> Ledger:
        return Blank()


class Captioner:
    """Puts sessions through an audio agent, any number at a time."""

    def __init__(self, agent: Agent, outbox: LocalOutbox) -> None:
        self._agent = agent
        self._outbox = outbox
        self._partitions = itertools.count()

    def now(self) -> float:
        """The time of day of this run, in ms."""
        return self._outbox.now()

    async def caption(
        self, session: str, moments: AsyncIterable[Moment], *, start: int = BEGINNING
    ) -> AsyncGenerator[Delivery, None]:
        """Hands each moment over as it comes, ends the session after the last, and yields what is
        delivered until all is acknowledged. `start` is the event time (ms) of second 0.

        Raises LocalError if a record is refused, and what `moments` raises.
        """
        partition = next(self._partitions)
        heard: asyncio.Queue[Delivery | LocalError | None] = asyncio.Queue()
        self._outbox.listen(session, heard.put_nowait)
        feeding = asyncio.create_task(self._feed(_events(session, moments, start), partition))
        feeding.add_done_callback(lambda _: heard.put_nowait(None))
        try:
            while (said := await heard.get()) is not None:
                if isinstance(said, LocalError):
                    raise said
                yield said
            await feeding
        finally:
            feeding.cancel()
            self._outbox.forget(session)
            await self._agent.revoke({partition})

    async def _feed(self, events: AsyncIterable[tuple[str, Event]], partition: int) -> None:
        """Returns when every record is acknowledged."""
        acknowledged: list[asyncio.Future[None]] = []
        async for topic, event in events:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            key, value, headers = codec.encode(event)
            await self._agent.handle(
                Record(
                    topic=topic,
                    partition=partition,
                    offset=len(acknowledged),
                    key=key,
                    value=value,
                    headers=tuple(headers),
                    acknowledge=partial(done.set_result, None),
                    timestamp=round(self.now()),
                )
            )
            acknowledged.append(done)
        await asyncio.gather(*acknowledged)


@asynccontextmanager
async def captioner(settings: Settings, vocabulary: Sequence[str] = ()) -> AsyncIterator[Captioner]:
    """A captioner with the models that the settings name, which expects the words of `vocabulary`
    to be said; loads the models first. Raises ModelError."""
    async with listener(settings, Metrics(), vocabulary) as (agent, outbox):
        yield Captioner(agent, outbox)


@asynccontextmanager
async def listener(
    settings: Settings, metrics: Metrics, vocabulary: Sequence[str] = ()
) -> AsyncIterator[tuple[Agent, LocalOutbox]]:
    """The audio agent of a captioner, and what it delivers to. Raises ModelError."""
    async with AsyncExitStack() as stack:
        outbox = LocalOutbox()
        clock = asyncio.get_running_loop().time
        means = Means(settings, outbox, outbox, metrics, _fail, clock, lambda: round(outbox.now()))
        workshop = Workshop(settings, metrics, log.info, FixedTexts(vocabulary))
        stack.callback(workshop.close)
        [agent] = await asyncio.to_thread(workshop.agents, ["audio"], means)
        for batcher in workshop.batchers:
            stack.push_async_callback(batcher.close)
        stack.push_async_callback(agent.close)
        yield agent, outbox


async def _events(
    session: str, moments: AsyncIterable[Moment], start: int
) -> AsyncIterator[tuple[str, Event]]:
    """The topic and the event of each moment, and of the session's end."""
    end = 0.0
    chunks: Counter[str] = Counter()
    async for moment in moments:
        number, end = chunks[moment.channel], max(end, moment.at)
        chunks[moment.channel] += 1
        yield (
            moment.topic,
            Event(
                type=moment.type,
                id=f"{session}/{moment.channel}/{number}",
                source="tenor/local",
                session=session,
                time=start + round(moment.start * 1000),
                channel=moment.channel,
                sequence=number,
                content_type=moment.content_type,
                data=moment.data,
            ),
        )
    yield "audio", signals.ended(session, start + round(end * 1000), input_="audio")


def _fail(error: BaseException) -> None:
    raise error
