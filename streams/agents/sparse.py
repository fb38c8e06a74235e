"""Sessions of chat and of pictures: each event stands for itself, but when nothing more comes has
to be said here, where the log is read. Who only sees what we make of it cannot tell silence from an
agent that is behind.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from streams.agents import signals
from streams.agents.base import Agent, Session
from streams.delivery import Record
from streams.events import Event, EventType

UNDATED: Final = 1000
"""Events without a producer's progress whose age is known at a time."""

Outgoing = list[tuple[str, Event]]


class SparseSession(Session):
    """What came on one input, `input_`, of one session.

    The last record is acknowledged only when the next one comes, or when silence is settled: so who
    takes the partition over has something to watch. Where the producer says nothing of its
    progress, time is complete up to an event when it is `idle_after_s` old.
    """

    over = True

    def __init__(self, agent: Agent, input_: str, id_: str) -> None:
        self._agent = agent
        self._input = input_
        self._id = id_
        self._last: Record | None = None
        self._latest = 0
        self._dated = False
        self._undated: deque[tuple[float, int]] = deque(maxlen=UNDATED)

    @abstractmethod
    async def answer(self, event: Event) -> Outgoing:
        """What is said of a message or a picture."""

    async def take(self, event: Event, record: Record) -> None:
        if record.topic != self._input:
            await self._agent.outbox.deliver(await self.answer(event))
            record.acknowledge()
        elif event.type is EventType.TICK:
            await self._tick(event, record)
        else:
            outgoing = self._signal(event, record)
            if outgoing is None:
                self._undated.append((self._agent.clock(), event.time))
                outgoing = await self.answer(event)
            await self._agent.outbox.deliver(outgoing)
            self._hold(event, record)

    def tick(self, silent_s: Callable[[str], float]) -> Event | None:
        if self._last is None:
            return None
        settings = self._agent.settings
        if silent_s(self._input) >= settings.idle_after_s:
            until = self._latest + settings.lateness_ms
            return self._write(until, idle=[self._input], seen=self._last.offset)
        until = 0
        while self._undated and self._undated[0][0] <= self._agent.clock() - settings.idle_after_s:
            until = self._undated.popleft()[1] + settings.lateness_ms
        return self._write(until) if until and not self._dated else None

    def _write(self, until: int, idle: Collection[str] = (), seen: int = signals.NONE) -> Event:
        return signals.tick(
            self._id, self._latest, agent=self._input, idle=idle, until=until, seen=seen
        )

    async def _tick(self, event: Event, record: Record) -> None:
        """Passes a tick on, unless it says that we were silent when we were not."""
        idle = signals.idle_sources(event)
        last = self._last
        settled = bool(idle) and last is not None and last.offset <= signals.seen_of(event)
        if settled or not idle:
            tick = signals.tick(
                event.session,
                event.time,
                agent=self._input,
                idle=idle,
                until=signals.idle_until(event),
                origin=record.offset,
            )
            await self._agent.outbox.deliver([("features", tick)])
        if settled and last:
            last.acknowledge()
            self._last, self.over = None, True
            self._undated.clear()
        record.acknowledge()

    def _hold(self, event: Event, record: Record) -> None:
        if self._last:
            self._last.acknowledge()
        self._last, self.over = record, False
        self._latest = max(self._latest, event.time)

    def _signal(self, event: Event, record: Record) -> Outgoing | None:
        """What the join must know of a producer's signal; None: it is none."""
        id_, input_, origin = event.session, self._input, record.offset
        match event.type:
            case EventType.PROGRESS:
                self._dated, inputs = True, signals.inputs_of(event)
                signal = signals.progress(
                    id_, event.time, input_=input_, origin=origin, inputs=inputs
                )
            case EventType.SESSION_ENDED:
                signal = signals.ended(id_, event.time, input_=input_, origin=origin)
            case _:
                return None
        return [("features", signal)]
