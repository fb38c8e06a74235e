"""What Kafka holds, up to now: features by modality and session, and what they were made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition

from streams import codec, records
from streams.clock import now_ms
from streams.connection import Connection
from streams.errors import UserError
from streams.events import CodecError, Event, EventType, Topics
from streams.features import Feature, Modality
from streams.messages import text_message
from streams.results import CaptionFinal, ImageRecognized, result_of
from streams.topics import partition_of, partitions_of

BATCH: Final = 500
"""Records that are looked at together."""
LABELS: Final = 3
"""Of a picture that are told."""
RECOGNISED: Final = ("caption", "utterance", "picture")
"""Kinds of features that are made of what is on the topic of recognition."""
TOLD: Final = tuple(
    ("ce_type", type_.value.encode())
    for type_ in (EventType.CAPTION_FINAL, EventType.IMAGE_RECOGNIZED, EventType.TEXT_MESSAGE)
)
"""The headers of what was said or seen."""

Sessions = Collection[str] | None
"""Only these; None: all."""
Features = list[tuple[str, Feature]]
"""Features with their ids."""
Contents = dict[tuple[str, str], str]
"""What was said or seen, by session and evidence."""
Tell = Callable[[str, int, int], None]
"""Hears of the progress: what is read, how much of it, of how much."""


class ArchiveError(UserError):
    """There is nothing to read; the message says why."""


class Archive:
    """The topics of an installation, each read from its beginning to its end of now, by a consumer
    of its own. `partitions` says how many each has."""

    def __init__(
        self, brokers: Connection, topics: Topics, partitions: Mapping[str, int], tell: Tell
    ) -> None:
        self._brokers = brokers
        self._topics = topics
        self._partitions = partitions
        self._tell = tell

    async def features(
        self, modality: Modality, sessions: Sessions = None
    ) -> AsyncIterator[Features]:
        """Features of a modality with their ids, in batches; what cannot be read is passed over."""
        mark = ("ce_modality", modality.value.encode())
        async for batch in self._records(self._topics.features, sessions, sessions):
            yield list(_features(record for record in batch if mark in record.headers))

    async def contents(self, found: Iterable[Feature]) -> Contents:
        """What was said or seen, as far as the topics still hold it."""
        made: dict[str, set[tuple[str, str]]] = {}
        for each in found:
            ours = each.kind in RECOGNISED
            topic = self._topics.recognition if ours else self._topics.text
            made.setdefault(topic, set()).add((each.session, each.evidence))
        contents: Contents = {}
        for topic, wanted in made.items():
            sessions = {session for session, _ in wanted}
            # Who writes texts may deal sessions out to partitions otherwise than we do.
            where = None if topic == self._topics.text else sessions
            async for batch in self._records(topic, sessions, where):
                contents |= {key: text for key, text in _told(batch) if key in wanted}
        return contents

    async def _records(
        self, topic: str, sessions: Sessions, where: Sessions
    ) -> AsyncIterator[list[ConsumerRecord]]:
        """Those of sessions, on the partitions on which they are looked for."""
        keys = None if sessions is None else {session.encode() for session in sessions}
        places = [TopicPartition(topic, number) for number in self._numbers(topic, where)]
        async with records.reader(self._brokers, fetch_max_wait_ms=20) as consumer:
            ends = await consumer.end_offsets(places)
            starts = await consumer.beginning_offsets(places)
            done, of = 0, sum(ends[place] - starts[place] for place in places)
            for place in places:
                consumer.assign([place])
                async for batch in records.read_to(consumer, place, ends[place], BATCH):
                    inside = [record for record in batch if record.offset < ends[place]]
                    done += len(inside)
                    self._tell(topic, done, of)
                    yield [record for record in inside if keys is None or record.key in keys]

    def _numbers(self, topic: str, sessions: Sessions) -> list[int]:
        every = list(range(self._partitions.get(topic, 0)))
        if sessions is None or not every:
            return every
        return sorted({partition_of(session, len(every)) for session in sessions})


async def open_archive(brokers: Connection, topics: Topics, tell: Tell) -> Archive:
    """The topics of an installation. Raises ArchiveError where there are no features."""
    partitions = await partitions_of(brokers)
    if topics.features not in partitions:
        raise ArchiveError(
            f"Kafka has no topic {topics.features}: either no worker has run here yet, "
            "or TENOR_TOPIC_PREFIX is another one"
        )
    return Archive(brokers, topics, partitions, tell)


def content(event: Event) -> tuple[str, str]:
    """What a feature of this names as its evidence, and what was said or seen. Raises CodecError
    for what cannot be read, or is nothing that features are made of."""
    if event.type is EventType.TEXT_MESSAGE:
        return event.id, text_message(event).text
    match result_of(event):
        case CaptionFinal(text=text):
            return event.id, text
        case ImageRecognized(image=image, labels=labels):
            shown = (f"{each.name} {each.probability:.0%}" for each in labels[:LABELS])
            return image, ", ".join(shown)
    raise CodecError("no-content", f"no features are made of {event.type}")


def _told(batch: Iterable[ConsumerRecord]) -> Iterator[tuple[tuple[str, str], str]]:
    """What can be read of the records that features are made of, by session and evidence."""
    for record in batch:
        if any(mark in record.headers for mark in TOLD):
            with suppress(CodecError):
                event = codec.decode(record.key, record.value, record.headers, now=now_ms())
                evidence, text = content(event)
                yield (event.session, evidence), text


def _features(batch: Iterable[ConsumerRecord]) -> Iterator[tuple[str, Feature]]:
    for record in batch:
        with suppress(CodecError):
            event = codec.decode(record.key, record.value, record.headers, now=now_ms())
            yield event.id, Feature.from_event(event)
