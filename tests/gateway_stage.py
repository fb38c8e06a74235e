"""A gateway in the test's own process, on a real Kafka, where the test is the recogniser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from deepgram import AsyncDeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from openai import AsyncOpenAI

from streams import codec
from streams.delivery import producer
from streams.events import Event, EventType
from streams.gateway.gate import Gate
from streams.gateway.keys import KeyRing
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.server import Server, config_of, listening, opened
from streams.gateway.settings import GatewaySettings
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    PartialWord,
    Result,
    Silence,
    Word,
    result_event,
)
from streams.settings import Settings
from tests.harness import Installation, events, eventually

PATIENCE_S = 120


@dataclass
class Recogniser:
    """Sees what the gateway sends, and says what it is told to say."""

    tenor: Installation
    sender: AIOKafkaProducer
    sent: list[Event] = field(default_factory=list)

    def of(self, type_: EventType, channel: str | None = None) -> list[Event]:
        return [e for e in self.sent if e.type is type_ and channel in (None, e.channel)]

    async def chunks(self, count: int, channel: str = "1") -> list[Event]:
        """The chunks of a channel, when there are so many."""
        await eventually(lambda: len(self.of(EventType.AUDIO_CHUNK, channel)) >= count, PATIENCE_S)
        return self.of(EventType.AUDIO_CHUNK, channel)

    async def cut(self, channel: str = "1", *, at: Event) -> int:
        """How many ms after that chunk the first cut of its channel lies, when it is there."""
        await eventually(lambda: self.of(EventType.AUDIO_CUT, channel), PATIENCE_S)
        return self.of(EventType.AUDIO_CUT, channel)[0].time - at.time

    async def end(self) -> Event:
        """The end of the session."""
        await eventually(lambda: self.of(EventType.SESSION_ENDED), PATIENCE_S)
        return self.of(EventType.SESSION_ENDED)[0]

    async def say(self, *results: Result) -> None:
        for each in results:
            key, value, headers = codec.encode(result_event(each, source="tenor/test"))
            name = self.tenor.topics.recognition
            await self.sender.send_and_wait(name, value, key, headers=headers)

    async def read(self) -> None:
        names = [asdict(self.tenor.topics)[name] for name in ("audio", "text")]
        options = {"group_id": None, "auto_offset_reset": "earliest"}
        consumer = AIOKafkaConsumer(*names, **self.tenor.brokers.options(), **options)
        await consumer.start()
        try:
            async for record in consumer:
                self.sent += events([record])
        finally:
            await consumer.stop()


@dataclass
class Stage:
    """A gateway on loopback, its recogniser, and clients for it."""

    port: int
    recogniser: Recogniser
    key: str = "any"

    def deepgram(self, key: str = "") -> AsyncDeepgramClient:
        http, ws = f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}"
        places = {"base": http, "production": ws, "agent": ws, "agent_rest": http}
        environment = DeepgramClientEnvironment(**places)
        return AsyncDeepgramClient(api_key=key or self.key, environment=environment)

    def openai(self, key: str = "") -> AsyncOpenAI:
        return AsyncOpenAI(api_key=key or self.key, base_url=f"http://127.0.0.1:{self.port}/v1")

    def url(self, query: str) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/listen?{query}"


@asynccontextmanager
async def staged(
    tenor: Installation, keys: KeyRing | None = None, *, longest_session_s: float = 3600
) -> AsyncIterator[Stage]:
    """A gateway in this process, on topics of its own."""
    await tenor.make_topics()
    settings = GatewaySettings(port=0, longest_session_s=longest_session_s)
    sender = producer(tenor.brokers)
    kafka, gate = Settings(topic_prefix=tenor.prefix), Gate(settings, keys)
    recogniser = Recogniser(tenor, sender)
    await sender.start()
    reading = asyncio.create_task(recogniser.read())
    try:
        async with opened(kafka, settings, tenor.brokers, gate, GatewayMetrics()) as parts:
            await eventually(lambda: not parts.results.not_ready(), PATIENCE_S)
            server = Server(config_of(parts, None))
            with listening(settings) as listener:
                serving = asyncio.create_task(server.serve([listener]))
                await eventually(lambda: server.started, PATIENCE_S)
                yield Stage(listener.getsockname()[1], recogniser)
                server.should_exit = True
                await serving
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await sender.stop()


def spoken(time: int, text: str, *, each_ms: int = 300) -> tuple[Word, ...]:
    return tuple(
        Word(text=word, start=time + n * each_ms, end=time + (n + 1) * each_ms, probability=0.9)
        for n, word in enumerate(text.split())
    )


def final(chunk: Event, start: int, end: int, text: str) -> CaptionFinal:
    """A caption of the channel of a chunk; times count from its begin."""
    span = {"start": chunk.time + start, "end": chunk.time + end}
    whose = {"session": chunk.session, "channel": chunk.channel, "language": "en"}
    words = spoken(chunk.time + start + 100, text)
    heard = {"model": "test", "no_speech_probability": 0.0, "revision": 0}
    return CaptionFinal(**span, **whose, **heard, text=text, words=words)


def partial(chunk: Event, start: int, end: int, text: str, stable: int = 0) -> CaptionPartial:
    whole = final(chunk, start, end, text).model_dump()
    words = [PartialWord(**w, stable=n < stable) for n, w in enumerate(whole.pop("words"))]
    return CaptionPartial(**whole, words=tuple(words))


def silence(chunk: Event, start: int, end: int) -> Silence:
    span = {"start": chunk.time + start, "end": chunk.time + end}
    return Silence(session=chunk.session, channel=chunk.channel, **span)
