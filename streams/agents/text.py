"""The text agent: chat messages, notes and final captions of a session to text features."""

from __future__ import annotations

from typing import ClassVar, Final

from models.base import Encoder, Floats
from streams.agents.base import Agent, Means, Session
from streams.agents.sparse import Outgoing, SparseSession
from streams.batching import Batcher
from streams.checkpoints import State
from streams.delivery import Record
from streams.events import Event, EventType
from streams.features import Feature, Modality
from streams.messages import text_message
from streams.results import CaptionFinal, result_of

SOURCE: Final = "tenor/text"


class TextSession(SparseSession):
    """Messages and notes, and beside them captions, which wait for nothing."""

    def __init__(self, agent: TextAgent, id_: str) -> None:
        super().__init__(agent, "text", id_)
        self._text = agent

    async def answer(self, event: Event) -> Outgoing:
        match event.type:
            case EventType.TEXT_MESSAGE:
                return await self._message(event)
            case EventType.CAPTION_FINAL:
                return await self._caption(event)
        return []

    async def _message(self, event: Event) -> Outgoing:
        message = text_message(event)
        if not message.text.strip():
            return []
        speaker = message.speaker or event.channel
        return await self._feature(event, message.text, speaker, event.time, message.kind)

    async def _caption(self, event: Event) -> Outgoing:
        caption = result_of(event)
        assert isinstance(caption, CaptionFinal)  # noqa: S101  (the type says so)
        return await self._feature(event, caption.text, caption.channel, caption.start, "caption")

    async def _feature(
        self, event: Event, text: str, channel: str, start: int, kind: str
    ) -> Outgoing:
        vector = await self._text.embed.submit(text)
        encoder = self._text.encoder
        feature = Feature(
            session=event.session,
            channel=channel,
            modality=Modality.TEXT,
            start=start,
            end=event.time,
            encoder=encoder.id,
            revision=encoder.revision,
            vector=vector,
            evidence=event.id,
            kind=kind,
        ).to_event(source=SOURCE, traceparent=event.traceparent)
        return [("features", feature)]


class TextAgent(Agent):
    """Reads."""

    name: ClassVar[str] = "text"
    inputs: ClassVar[tuple[str, ...]] = ("text", "recognition")

    def __init__(self, means: Means, embed: Batcher[str, Floats], encoder: Encoder) -> None:
        super().__init__(means)
        self.embed = embed
        self.encoder = encoder

    def open(self, partition: int, session: str, state: State | None) -> Session:
        return TextSession(self, session)

    def source(self, event: Event) -> str:
        return "recognition" if event.type is EventType.CAPTION_FINAL else "text"

    def sorted_out(self, record: Record) -> bool:
        """Of the recognition results only final captions are text."""
        final = ("ce_type", EventType.CAPTION_FINAL.value.encode())
        return record.topic == "recognition" and final not in record.headers
