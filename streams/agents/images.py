"""The image agent: pictures to what they show, and to image features."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Final

from models.base import Encoder, ImageContent
from streams import media
from streams.agents.base import Agent, Means, Session
from streams.agents.sparse import Outgoing, SparseSession
from streams.batching import Batcher
from streams.checkpoints import State
from streams.events import Event, EventType
from streams.features import Feature, Modality
from streams.results import Face, ImageRecognized, Label, result_event

SOURCE: Final = "tenor/images"


class ImageSession(SparseSession):
    """Pictures."""

    def __init__(self, agent: ImageAgent, id_: str) -> None:
        super().__init__(agent, "images", id_)
        self._images = agent

    async def answer(self, event: Event) -> Outgoing:
        if event.type is not EventType.IMAGE_FRAME:
            return []
        agent = self._images
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
        return ImageSession(self, session)

    def source(self, event: Event) -> str:
        return "images"


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
