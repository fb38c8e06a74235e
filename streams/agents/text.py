"""The text agent: chat messages, notes and final captions of a session to two features each.

One says how a text is meant, for fusion, the other what it is about, to be compared with pictures.
A vocabulary is only a list of words: it is about nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Reader:
    """Texts to vectors, and who makes them."""

    read: Batcher[str, Floats]
    encoder: Encoder


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
        return await self._features(event, message.text, speaker, event.time, message.kind)

    async def _caption(self, event: Event) -> Outgoing:
        caption = result_of(event)
        assert isinstance(caption, CaptionFinal)  # noqa: S101  (the type says so)
        return await self._features(event, caption.text, caption.channel, caption.start, "caption")

    async def _features(
        self, event: Event, text: str, channel: str, start: int, kind: str
    ) -> Outgoing:
        readers = self._text.readers_of(kind)
        vectors = await asyncio.gather(
            *(reader.read.submit(text) for reader in readers.values()), return_exceptions=True
        )
        outgoing: Outgoing = []
        for (modality, reader), vector in zip(readers.items(), vectors, strict=True):
            if isinstance(vector, BaseException):
                raise vector  # only now: none of the others is under way any more
            made = Feature(
                session=event.session,
                channel=channel,
                modality=modality,
                start=start,
                end=event.time,
                encoder=reader.encoder.id,
                revision=reader.encoder.revision,
                vector=vector,
                evidence=event.id,
                kind=kind,
            )
            outgoing.append(("features", made.to_event(source=SOURCE)))
        return outgoing


class TextAgent(Agent):
    """Reads."""

    name: ClassVar[str] = "text"
    inputs: ClassVar[tuple[str, ...]] = ("text", "recognition")

    def __init__(self, means: Means, affect: Reader, meaning: Reader) -> None:
        super().__init__(means)
        self._affect = affect
        self._meaning = meaning

    def readers_of(self, kind: str) -> dict[Modality, Reader]:
        """Who reads a text of this kind, by what they make of it."""
        readers = {Modality.TEXT: self._affect}
        return readers if kind == "vocabulary" else readers | {Modality.MEANING: self._meaning}

    def open(self, partition: int, session: str, state: State | None) -> Session:
        return TextSession(self, session)

    def source(self, event: Event) -> str:
        return "recognition" if event.type is EventType.CAPTION_FINAL else "text"

    def sorted_out(self, record: Record) -> bool:
        """Of the recognition results only final captions are text."""
        final = ("ce_type", EventType.CAPTION_FINAL.value.encode())
        return record.topic == "recognition" and final not in record.headers
