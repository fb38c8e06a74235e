"""The text agent: chat messages, notes and final captions of a session to text features."""

from __future__ import annotations

from typing import ClassVar, Final

from models.base import Encoder, Floats
from streams.agents import signals
from streams.agents.base import Agent, Means, Session
from streams.batching import Batcher
from streams.delivery import Record, State
from streams.events import Event, EventType
from streams.features import Feature, Modality
from streams.messages import text_message
from streams.results import CaptionFinal, result_of

SOURCE: Final = "tenor/text"


class TextSession(Session):
    """Holds nothing: each event stands for itself."""

    over = True

    def __init__(self, agent: TextAgent) -> None:
        self._agent = agent

    async def take(self, event: Event, record: Record) -> None:
        outgoing = await self._answer(event)
        await self._agent.outbox.deliver([("features", each) for each in outgoing])
        record.acknowledge()

    async def _answer(self, event: Event) -> list[Event]:
        match event.type:
            case EventType.TEXT_MESSAGE:
                return await self._message(event)
            case EventType.CAPTION_FINAL:
                return await self._caption(event)
            case EventType.PROGRESS:
                return [signals.progress(event.session, event.time, input_="text")]
            case EventType.SESSION_ENDED:
                return [signals.ended(event.session, event.time, input_="text")]
        return []

    async def _message(self, event: Event) -> list[Event]:
        message = text_message(event)
        if not message.text.strip():
            return []
        speaker = message.speaker or event.channel
        return [await self._feature(event, message.text, speaker, event.time, message.kind)]

    async def _caption(self, event: Event) -> list[Event]:
        caption = result_of(event)
        assert isinstance(caption, CaptionFinal)  # noqa: S101  (the type says so)
        return [await self._feature(event, caption.text, caption.channel, caption.start, "caption")]

    async def _feature(self, event: Event, text: str, channel: str, start: int, kind: str) -> Event:
        vector = await self._agent.embed.submit(text)
        encoder = self._agent.encoder
        return Feature(
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


class TextAgent(Agent):
    """Reads."""

    name: ClassVar[str] = "text"
    inputs: ClassVar[tuple[str, ...]] = ("text", "recognition")

    def __init__(self, means: Means, embed: Batcher[str, Floats], encoder: Encoder) -> None:
        super().__init__(means)
        self.embed = embed
        self.encoder = encoder

    def open(self, partition: int, session: str, state: State | None) -> Session:
        return TextSession(self)

    def sorted_out(self, record: Record) -> bool:
        """Of the recognition results only final captions are text."""
        final = ("ce_type", EventType.CAPTION_FINAL.value.encode())
        return record.topic == "recognition" and final not in record.headers
