"""What clients send, on its way to Kafka; whatever is *accepted* has been confirmed by Kafka.

Everything that becomes an event is checked here by the very code that will read it, so that what
the gateway accepts does not end as a dead letter. Nothing is said of the progress of chat and
pictures, and no inputs are declared: another gateway may get a message of the same session at any
moment. So windows wait the usual `TENOR_LATENESS_MS` for them, and no longer.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Final, Protocol
from weakref import WeakValueDictionary

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from streams import codec, media, tracing
from streams.agents import signals
from streams.clock import now_ms
from streams.connection import Connection
from streams.delivery import producer
from streams.events import CodecError, Event, EventType, Topics, event_id
from streams.gateway.gate import BUSY_S
from streams.gateway.lines import CONFIRM_S, SOURCE, Future, Line, unconfirmed
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.problems import Kind, Problem
from streams.gateway.renewing import RenewingProducer
from streams.gateway.resuming import PCM, Chunk, Format
from streams.gateway.turns import Turns
from streams.media import MediaError
from streams.messages import text_message

INPUTS: Final = ("audio", "text", "images")
REMEMBERED: Final = 4096
"""Events whose client gave a key of idempotence, and that are known if they come again."""
CHANNELS: Final = 16_384
"""Those of which it is known how far their audio reaches."""
DECODERS: Final = 2
"""Pictures that are decoded at a time."""
FILES: Final = 2
"""Whole recordings that are decoded and sent at a time."""
WAITING: Final = 32
"""Those that may wait for it."""
KINDS: Final = {
    "too-large": Kind.TOO_LARGE,
    "text-too-long": Kind.TOO_LARGE,
    "image-too-large": Kind.TOO_LARGE,
    "audio-too-long": Kind.TOO_LONG,
    "missing-header": Kind.UNSUPPORTED,
    "unsupported-content-type": Kind.UNSUPPORTED,
    "unsupported-audio": Kind.UNSUPPORTED,
    "bad-charset": Kind.UNSUPPORTED,
}
"""What each reason is to a client; the others are INVALID."""


class Sender(Protocol):
    """Kafka's producer, as far as it is used here."""

    async def send(
        self, topic: str, value: bytes, key: bytes, *, headers: codec.Headers
    ) -> Future: ...


@dataclass(frozen=True, slots=True)
class Post:
    """A text or a picture that a client sends. `channel` names who said or showed it, `time` is
    the event time (ms), None: now. With the same `key` it is one event, however often it comes."""

    session: str
    content_type: str
    data: bytes
    channel: str = ""
    time: int | None = None
    key: str = ""

    @property
    def digest(self) -> bytes:
        """What a repetition has in common with it."""
        return sha256(f"{self.content_type}\0{self.channel}\0".encode() + self.data).digest()


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that is in the log, and where."""

    id: str
    session: str
    time: int
    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Known:
    """A post that had a key: what it was, when, and what was answered, if it was."""

    digest: bytes
    time: int
    answer: Accepted | None = None


class Ingest:
    """Puts what clients send on the topics. `now` is the time of day in ms. Raises Problem where
    something cannot be used, or Kafka does not confirm it."""

    def __init__(
        self,
        sender: Sender,
        topics: Topics,
        metrics: GatewayMetrics | None = None,
        *,
        now: Callable[[], int] = now_ms,
    ) -> None:
        self.now = now
        self.metrics = metrics or GatewayMetrics()
        self._sender = sender
        self._names: dict[str, str] = asdict(topics)
        self._lines: WeakValueDictionary[tuple[str, str], Line] = WeakValueDictionary()
        self._ends: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._decoders = asyncio.Semaphore(DECODERS)
        full = f"{WAITING} recordings wait for their turn: send it again"
        self.files = Turns(FILES, WAITING, full, BUSY_S)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, brokers: Connection, topics: Topics, metrics: GatewayMetrics | None = None
    ) -> AsyncIterator[Ingest]:
        """With a producer of its own; it is closed when all that was sent is confirmed."""
        sender = RenewingProducer(lambda: producer(brokers))
        await sender.start()
        try:
            yield cls(sender, topics, metrics)
        finally:
            await sender.stop()

    def line(
        self,
        session: str,
        channel: str,
        start: int | None = None,
        sequence: int = 0,
        *,
        known: int = 0,
        format: Format = PCM,  # noqa: A002  (it is called so)
        changed: Callable[[], None] = lambda: None,
    ) -> Line:
        """A line of this channel (`streams.gateway.lines`); it takes the place of one that is open
        here."""
        try:
            line = Line(
                self.send,
                session,
                channel,
                start,
                sequence,
                known=known,
                format=format,
                now=self.now,
                changed=changed,
                reached=partial(self._reached, (session, channel)),
            )
        except ValueError as error:
            raise Problem(Kind.INVALID, str(error)) from None
        first = Chunk(sequence, line.position_ms, line.position_ms, b"\0")
        self._check(line.event(first, self.now() if start is None else start))
        if before := self._lines.get((session, channel)):
            before.end(Problem(Kind.CONFLICT, "another connection sends this channel now"))
        self._lines[session, channel] = line
        return line

    def begin(self, session: str, channels: Iterable[str]) -> int:
        """Event time (ms) at which audio lies that comes now: not before the end of what this
        gateway has sent of these channels, which may be ahead, or it would be late."""
        return max(self.now(), *(self._ends.get((session, each), 0) for each in channels))

    def _reached(self, channel: tuple[str, str], end: int) -> None:
        self._ends[channel] = max(end, self._ends.get(channel, 0))
        self._ends.move_to_end(channel)
        if len(self._ends) > CHANNELS:
            self._ends.popitem(last=False)

    async def text(self, post: Post) -> Accepted:
        """A message, note or vocabulary (`streams.messages`)."""
        event = self._event(EventType.TEXT_MESSAGE, post)
        try:
            message = text_message(event)
        except CodecError as error:
            raise problem_of(error) from None
        return await self._once(
            "text", replace(event, channel=post.channel or message.speaker), post
        )

    async def image(self, post: Post) -> Accepted:
        """A picture; it is decoded to see whether it can be."""
        event = self._event(EventType.IMAGE_FRAME, post)
        try:
            async with self._decoders:
                with self.metrics.decode_seconds.labels("image").time():
                    await asyncio.to_thread(
                        media.decode_image, post.content_type, post.data, media.Limits()
                    )
        except MediaError as error:
            raise problem_of(error) from None
        return await self._once("images", event, post)

    async def end(self, session: str, at: int | None = None) -> tuple[Accepted, ...]:
        """Ends the session: its lines here, then each of its topics."""
        at = self.now() if at is None else at
        ends = {each: signals.ended(session, at, input_=each) for each in INPUTS}
        self._check(ends["audio"])
        for line in [each for each in self._lines.values() if each.session == session]:
            with suppress(Problem):  # its own client is told
                await line.close()
            line.end(Problem(Kind.CONFLICT, "the session was ended"))
        with tracing.span("end session"):
            accepted = await asyncio.gather(*(self._accept(topic, ends[topic]) for topic in INPUTS))
        return tuple(accepted)

    async def send(self, topic: str, event: Event) -> Future:
        """On its way; the future is done when Kafka has confirmed it."""
        self._check(event)
        traced, sending = tracing.publish(self._names[topic], event)
        key, value, headers = codec.encode(traced)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(CONFIRM_S):
                future = await self._sender.send(self._names[topic], value, key, headers=headers)
        except (KafkaError, TimeoutError) as error:
            sending.fail(type(error).__name__)
            sending.end()
            raise unconfirmed() from None
        future.add_done_callback(sending.landed)
        future.add_done_callback(lambda done: self._count(done, topic, len(value), began))
        return future

    def _count(self, done: Future, topic: str, size: int, began: float) -> None:
        if not done.cancelled() and done.exception() is None:
            self.metrics.events_in.labels(topic).inc()
            self.metrics.bytes_in.labels(topic).inc(size)
            self.metrics.confirm_seconds.labels(topic).observe(time.perf_counter() - began)

    def _event(self, type_: EventType, post: Post) -> Event:
        named = event_id(post.session, type_, "", 0, 0, about=post.key) if post.key else ""
        event = Event(
            type=type_,
            id=named or str(uuid.uuid4()),
            source=SOURCE,
            session=post.session,
            time=self.now() if post.time is None else post.time,
            channel=post.channel,
            content_type=post.content_type,
            data=post.data,
        )
        self._check(event)
        return event

    def _check(self, event: Event) -> None:
        try:
            codec.check(event, now=self.now())
        except CodecError as error:
            raise problem_of(error) from None

    async def _once(self, topic: str, event: Event, post: Post) -> Accepted:
        """What came before with the same key is answered as it was then, or is sent as it was."""
        if not post.key:
            return await self._accept(topic, event)
        known = self._known.setdefault(event.id, Known(post.digest, event.time))
        self._known.move_to_end(event.id)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        if known.digest != post.digest or post.time not in (None, known.time):
            raise Problem(Kind.INVALID, "this Idempotency-Key came with something else before")
        known.answer = known.answer or await self._accept(topic, replace(event, time=known.time))
        return known.answer

    async def _accept(self, topic: str, event: Event) -> Accepted:
        future = await self.send(topic, event)
        try:
            async with asyncio.timeout(CONFIRM_S):
                written = await future
        except MessageSizeTooLargeError:
            limit = f"topic {self._names[topic]} takes no record of this size (max.message.bytes)"
            raise Problem(Kind.TOO_LARGE, limit) from None
        except (KafkaError, TimeoutError):
            raise unconfirmed() from None
        where = (written.topic, written.partition, written.offset)
        return Accepted(event.id, event.session, event.time, *where)


def problem_of(error: CodecError | MediaError) -> Problem:
    """What a client is told of something that cannot be used."""
    return Problem(KINDS.get(error.reason, Kind.INVALID), str(error))
