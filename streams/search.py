"""Finds texts and pictures by what they are about, among the features that Kafka holds up to now.

All of them are compared, in the memory of some thousand vectors.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.align import AlignModel
from models.base import Encoder
from streams import codec
from streams.archive import Archive, Features, Sessions
from streams.connection import Connection
from streams.delivery import producer
from streams.events import Event
from streams.features import Feature, Floats, Modality
from streams.matching import SIDES, similarity
from streams.ranking import Best
from streams.results import Match, result_event

SOURCE: Final = "tenor/match"
PICTURES: Final = 10_000
"""Pictures whose vectors are held while texts are read: if there are more, texts are read again."""
REMEMBERED: Final = 100_000
"""Ids by which repetitions are known. They come soon after, when a worker was restarted."""
NEARLY: Final = 1e-3
"""More than the last bits of a cosine make, which in a matrix may be others than alone."""

Deliver = Callable[[Sequence[Event]], Awaitable[None]]
"""Puts events where they are safe."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A feature, its id, and its place in the common space: a unit vector [width]."""

    id: str
    feature: Feature
    vector: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Couple:
    """A text and a picture that match, and their cosine."""

    text: Feature
    image: Feature
    similarity: float

    @property
    def sides(self) -> tuple[Feature, Feature]:
        return self.text, self.image

    @property
    def apart(self) -> bool:
        """Whether they are of different sessions."""
        return self.text.session != self.image.session

    def match(self, model: AlignModel) -> Match:
        """The result that says so, in the session of the text."""
        text, image = self.text, self.image
        return Match(
            session=text.session,
            time=max(text.end, image.end),
            left=text.evidence,
            right=image.evidence,
            left_modality=SIDES[text.modality],
            right_modality=SIDES[image.modality],
            left_channel=text.channel,
            right_channel=image.channel,
            right_session=image.session if self.apart else "",
            similarity=self.similarity,
            probability=model.probability(self.similarity),
            model=f"align@{model.revision}",
        )


class Space:
    """The common space, and how many features came that it does not know: by their encoders."""

    def __init__(self, model: AlignModel) -> None:
        self.model = model
        self.foreign = Counter[str]()

    def place(self, modality: Modality, found: Features) -> list[Placed]:
        """Where features of one modality lie, without those of encoders that it does not know."""
        known = [each for each in found if self._knows(each[1])]
        if not known:
            return []
        vectors = self.model.project(SIDES[modality], np.stack([each.vector for _, each in known]))
        return [Placed(*each, vector) for each, vector in zip(known, vectors, strict=True)]

    def _knows(self, feature: Feature) -> bool:
        made = Encoder(feature.encoder, feature.revision, len(feature.vector))
        if self.model.encoders.get(SIDES[feature.modality]) == made:
            return True
        self.foreign[f"{made.id}@{made.revision}"] += 1
        return False


class Recent:
    """The ids of features that came lately."""

    def __init__(self) -> None:
        self._ids = OrderedDict[str, None]()

    def new(self, found: Features) -> Features:
        """Those that did not come before."""
        return [each for each in found if self._add(each[0])]

    def _add(self, id_: str) -> bool:
        new = id_ not in self._ids
        self._ids[id_] = None
        if len(self._ids) > REMEMBERED:
            self._ids.popitem(last=False)
        return new


async def find(
    archive: Archive,
    space: Space,
    modality: Modality,
    vector: Floats,
    *,
    top: int,
    sessions: Sessions = None,
) -> list[tuple[float, Feature]]:
    """The features of a modality that lie nearest to a vector of the space, with their cosines."""
    best = Best[Feature](top)
    async for batch in archive.features(modality, sessions):
        for each in space.place(modality, batch):
            best.offer(similarity(vector, each.vector), each.id, each.feature)
    return best.ranked()


async def between(
    archive: Archive,
    space: Space,
    threshold: float,
    sessions: Sessions = None,
    *,
    top: int,
    deliver: Deliver | None = None,
) -> tuple[list[Couple], int]:
    """The texts and pictures of different sessions whose cosine is `threshold` or more: the best,
    and how many they are; all of them are delivered as results."""
    best, count = Best[Couple](top), 0
    async for found in _couples(archive, space, threshold, sessions):
        events = [result_event(each.match(space.model), source=SOURCE) for each in found]
        for event, each in zip(events, found, strict=True):
            best.offer(each.similarity, event.id, each)
        count += len(found)
        if deliver:
            await deliver(events)
    return [couple for _, couple in best.ranked()], count


async def _couples(
    archive: Archive, space: Space, threshold: float, sessions: Sessions
) -> AsyncIterator[list[Couple]]:
    """Each pair once, a list for every text."""
    async for pictures in _pictures(archive, space, sessions):
        vectors, recent = np.stack([each.vector for each in pictures]), Recent()
        async for batch in archive.features(Modality.MEANING, sessions):
            for text in space.place(Modality.MEANING, recent.new(batch)):
                near = np.flatnonzero(vectors @ text.vector >= threshold - NEARLY)
                found = [_couple(text, pictures[number]) for number in near]
                yield [each for each in found if each.similarity >= threshold and each.apart]


async def _pictures(
    archive: Archive, space: Space, sessions: Sessions
) -> AsyncIterator[list[Placed]]:
    """All pictures, each once, as many at a time as are held."""
    held, recent = list[Placed](), Recent()
    async for batch in archive.features(Modality.IMAGE, sessions):
        held += space.place(Modality.IMAGE, recent.new(batch))
        if len(held) >= PICTURES:
            yield held
            held = []
    if held:
        yield held


def _couple(text: Placed, image: Placed) -> Couple:
    return Couple(text.feature, image.feature, similarity(text.vector, image.vector))


@asynccontextmanager
async def publishing(brokers: Connection, topic: str) -> AsyncIterator[Deliver]:
    """A way to put events on a topic; it returns when Kafka has confirmed them."""
    sender = producer(brokers)

    async def deliver(events: Sequence[Event]) -> None:
        encoded = [codec.encode(event) for event in events]
        sent = [await sender.send(topic, value, key, headers=h) for key, value, h in encoded]
        await asyncio.gather(*sent)

    try:
        await sender.start()
        yield deliver
    finally:
        await sender.stop()
