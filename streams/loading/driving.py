"""Sends the calls of a load from a process of its own, in real time, and tells how late it was.

What it takes is not what is measured, so it has its own cores in the figures; and if it does not
keep pace, the run is void: then it was not that load.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from streams import codec
from streams.broker import die_with_parent
from streams.clock import now_ms
from streams.connection import Connection
from streams.delivery import producer
from streams.events import Topics
from streams.loading import LoadError
from streams.loading.calls import Conversation, Load, Step
from streams.proving.feeding import together
from streams.replay import MEDIA, Author, Moment, Script, Sending

READY_S: Final = 60.0
LATE_S: Final = 0.1
"""Half a chunk: who is later than that more than once in a hundred times does not keep pace."""


@dataclass(slots=True)
class Sent:
    """What was sent, and how much later than it was due (s); `loud` of the `steps` hold speech."""

    events: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    steps: int = 0
    loud: int = 0
    late_s: array[float] = field(default_factory=lambda: array("d"))


@dataclass(frozen=True, slots=True)
class Task:
    """What a driver has to do, and where."""

    load: Load
    script: Script
    brokers: Connection
    topics: Topics


class Driver:
    """A process that waits to send a load. Use `driver`."""

    def __init__(self, pid: int, pipe: Pipe) -> None:
        self.pid = pid
        self._pipe = pipe

    def begin(self, start: int) -> None:
        """Lets it begin at this time (ms)."""
        self._pipe.send(start)

    async def done(self) -> Sent:
        """When Kafka has confirmed everything. Raises LoadError."""
        return await asyncio.to_thread(_received, self._pipe)


@contextmanager
def driver(task: Task) -> Iterator[Driver]:
    """A driver that is ready. Raises LoadError."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_drive, args=(theirs,), daemon=True)
    try:
        process.start()
        theirs.close()
        ours.send(task)  # not as an argument: half of one, if we are interrupted, is told as error
        if not ours.poll(READY_S):
            raise LoadError(f"the producer was not ready after {READY_S:g} s")
        _received(ours)
        assert process.pid  # noqa: S101  (it has been started)
        yield Driver(process.pid, ours)
    finally:
        if process.pid:
            process.kill()
            process.join()


def _received(pipe: Pipe) -> Any:  # noqa: ANN401  (what was sent)
    try:
        received = pipe.recv()
    except EOFError:
        raise LoadError("the producer ended by itself") from None
    if isinstance(received, Exception):
        raise LoadError(f"the producer failed: {received!r}") from received
    return received


def _drive(parent: Pipe) -> None:
    """In the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    die_with_parent()()
    try:
        task = parent.recv()
    except EOFError:
        return
    try:
        parent.send(asyncio.run(_send_all(task, parent)))
    except Exception as error:  # whatever it is, the parent has to say it
        parent.send(LoadError(repr(error)))


async def _send_all(task: Task, parent: Pipe) -> Sent:
    conversation = Conversation(task.script)
    async with producer(task.brokers) as kafka:
        parent.send(None)
        start = await asyncio.to_thread(parent.recv)
        sender = _Sender(kafka, task.topics)
        begun = time.monotonic() + (start - now_ms()) / 1000
        calls = (
            _Call(task.load, number, conversation, start, begun)
            for number in range(task.load.sessions)
        )
        await together(*(call.send(sender) for call in calls))
        await sender.confirmed()
        return sender.sent


class _Call:
    """One call of the load, which begins at `start` (ms), or `begun` on the monotonic clock."""

    def __init__(
        self, load: Load, number: int, conversation: Conversation, start: int, begun: float
    ) -> None:
        session, begins = load.names[number], load.begins_ms(number)
        self._author = Author(session, start + begins, conversation.inputs)
        self._steps = load.call(number, conversation)
        self._seconds = load.length_ms / 1000
        self._begun = begun + begins / 1000

    async def send(self, sender: _Sender) -> None:
        """Sends all of it in its time."""
        for sending in self._sendings(sender.sent):
            due = self._begun + sending.at
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            await sender.send(sending, due)

    def _sendings(self, sent: Sent) -> Iterator[Sending]:
        yield from self._author.play(_moments(self._steps, sent))
        yield from self._author.end(self._seconds)


def _moments(steps: Iterator[Step], sent: Sent) -> Iterator[Moment]:
    for number, step in enumerate(steps):
        sent.steps += 1
        sent.loud += step.loud
        yield from step.moved(number)


class _Sender:
    """Sends, counts, and remembers only what is not confirmed."""

    def __init__(self, kafka: AIOKafkaProducer, topics: Topics) -> None:
        self.sent = Sent()
        self._kafka = kafka
        self._names: dict[str, str] = asdict(topics)
        self._pending: set[asyncio.Future[Any]] = set()
        self._failed: BaseException | None = None

    async def send(self, sending: Sending, due: float) -> None:
        """Raises what Kafka said of something before."""
        if self._failed:
            raise self._failed
        key, value, headers = codec.encode(sending.event)
        self.sent.late_s.append(max(0.0, time.monotonic() - due))
        future = await self._kafka.send(self._names[sending.topic], value, key, headers=headers)
        self._pending.add(future)
        future.add_done_callback(self._confirm)
        self.sent.bytes += len(value or b"")
        self.sent.events[sending.topic if sending.event.type in MEDIA else "signals"] += 1

    def _confirm(self, future: asyncio.Future[Any]) -> None:
        self._pending.discard(future)
        self._failed = self._failed or future.exception()

    async def confirmed(self) -> None:
        """When nothing is pending. Raises what Kafka said."""
        await asyncio.gather(*self._pending)
        if self._failed:
            raise self._failed
