"""The image agent: pictures to what they show, and to features of them and of their faces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import ClassVar, Final

from models import base
from models.base import Encoder, Floats, ImageContent
from streams import media
from streams.agents.base import Agent, Means, Session
from streams.agents.sparse import Outgoing, SparseSession
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
        content = await agent.recognize(pixels)
        result = _result(event, content, agent.encoder)
        features = _features(event, content, agent.encoder, agent.face_encoder)
        return [
            ("recognition", result_event(result, source=SOURCE)),
            *(("features", feature.to_event(source=SOURCE)) for feature in features),
        ]


class ImageAgent(Agent):
    """Sees."""

    name: ClassVar[str] = "images"
    inputs: ClassVar[tuple[str, ...]] = ("images",)

    def __init__(
        self,
        means: Means,
        recognize: Callable[[media.Pixels], Awaitable[ImageContent]],
        encoder: Encoder,
        face_encoder: Encoder | None = None,
    ) -> None:
        super().__init__(means)
        self.recognize = recognize
        self.encoder = encoder
        self.face_encoder = face_encoder

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
        labels=_labels(content.labels),
        faces=tuple(
            Face(
                x=face.x,
                y=face.y,
                width=face.width,
                height=face.height,
                confidence=face.confidence,
                expression=_labels(face.expression),
            )
            for face in content.faces
        ),
        model=f"{encoder.id}@{encoder.revision}",
    )


def _labels(labels: Iterable[base.Label]) -> tuple[Label, ...]:
    return tuple(Label(name=label.name, probability=label.probability) for label in labels)


def _features(
    event: Event, content: ImageContent, encoder: Encoder, face_encoder: Encoder | None
) -> list[Feature]:
    """The picture's own, and one of each face that was read. Their kinds number the faces, largest
    first, since a feature's id is made of its modality, kind and evidence."""
    picture = _feature(event, Modality.IMAGE, "picture", content.embedding, encoder)
    faces = [
        _feature(event, Modality.FACE, f"face{number}", face.embedding, face_encoder)
        for number, face in enumerate(content.faces)
        if face.embedding is not None and face_encoder is not None
    ]
    return [picture, *faces]


def _feature(
    event: Event, modality: Modality, kind: str, vector: Floats, encoder: Encoder
) -> Feature:
    return Feature(
        session=event.session,
        channel=event.channel,
        modality=modality,
        start=event.time,
        end=event.time,
        encoder=encoder.id,
        revision=encoder.revision,
        vector=vector,
        evidence=event.id,
        kind=kind,
    )
