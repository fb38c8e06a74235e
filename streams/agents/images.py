"""The image agent: pictures to what they show, and to image features."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Final

from models.base import Encoder, ImageContent
from streams import media
from streams.agents import signals
from streams.agents.base import Agent, Means, Session
from streams.batching import Batcher
from streams.delivery import Record, State
from streams.events import Event, EventType
from streams.features import Feature, Modality
from streams.results import Face, ImageRecognized, Label, result_event

SOURCE: Final = "tenor/images"


class ImageSession(Session):
    """Holds nothing: each picture stands for itself."""

    over = True

    def __init__(self, agent: ImageAgent) -> None:
        self._agent = agent

    async def take(self, event: Event, record: Record) -> None:
        await self._agent.outbox.deliver(await self._answer(event))
        record.acknowledge()

    async def _answer(self, event: Event) -> list[tuple[str, Event]]:
        match event.type:
            case EventType.IMAGE_FRAME:
                return await self._recognize(event)
            case EventType.PROGRESS:
                progress = signals.progress(event.session, event.time, input_="images")
                return [("features", progress)]
            case EventType.SESSION_ENDED:
                ended = signals.ended(event.session, event.time, input_="images")
                return [("features", ended)]
        return []

    async def _recognize(self, event: Event) -> list[tuple[str, Event]]:
        agent = self._agent
        with agent.metrics.timed("decode-image"):
            pixels = await asyncio.to_thread(
                media.decode_image, event.content_type, event.data, media.Limits()
            )
        content = await agent.recognize.submit(pixels)
        result = _result(event, content, agent.encoder)
        feature = _feature(event, content, agent.encoder)
        return [
            ("recognition", result_event(result, source=SOURCE, traceparent=event.traceparent)),
            ("features", feature.to_event(source=SOURCE, traceparent=event.traceparent)),
        ]


class ImageAgent(Agent):
    """Sees."""

    name: ClassVar[str] = "images"
    inputs: ClassVar[tuple[str, ...]] = ("images",)

    def __init__(
        self, means: Means, recognize: Batcher[media.Pixels, ImageContent], encoder: Encoder
    ) -> None:
        super().__init__(means)
        self.recognize = recognize
        self.encoder = encoder

    def open(self, partition: int, session: str, state: State | None) -> Session:
        return ImageSession(self)


def _result(event: Event, content: ImageContent, encoder: Encoder) -> ImageRecognized:
    return ImageRecognized(
        session=event.session,
        channel=event.channel,
        time=event.time,
        image=event.id,
        labels=tuple(
            Label(name=label.name, probability=label.probability) for label in content.labels
        ),
        faces=tuple(
            Face(x=f.x, y=f.y, width=f.width, height=f.height, confidence=f.confidence)
            for f in content.faces
        ),
        model=f"{encoder.id}@{encoder.revision}",
    )


def _feature(event: Event, content: ImageContent, encoder: Encoder) -> Feature:
    return Feature(
        session=event.session,
        channel=event.channel,
        modality=Modality.IMAGE,
        start=event.time,
        end=event.time,
        encoder=encoder.id,
        revision=encoder.revision,
        vector=content.embedding,
        evidence=event.id,
        kind="picture",
    )
