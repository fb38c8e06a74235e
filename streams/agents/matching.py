"""The match agent: which texts and pictures of a session are about the same thing.

Of the log of features it takes what texts are about and what pictures show, and from voices which
words are still to come. How far event time is complete is known here as it is to the join
(`streams.windows`): of two pieces that are near each other and on time, the one that comes first is
held until the other has come, whatever the order. The record of a piece is acknowledged when it is
let go and a checkpoint covers that. So what is replayed after a restart, together with the last
checkpoint, is the state that was lost; matches that are made again have the same ids.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from models.base import Encoder
from streams import tracing
from streams.agents import signals
from streams.agents.base import Agent, Means, Session
from streams.agents.join import PATIENCE, source_of
from streams.batching import Batcher
from streams.checkpoints import State
from streams.delivery import Record
from streams.events import Event, EventType
from streams.features import Feature, Floats, Modality
from streams.matching import SIDES, Matcher, Pair, Piece
from streams.results import Match, result_event
from streams.settings import Settings
from streams.windows import Ended, Item, Outcome, Progress, Rules, SessionWindows, Tick

log = logging.getLogger(__name__)

SOURCE: Final = "tenor/match"
LONGEST: Final = 30_000
"""What is said at a time is not longer (ms): so much earlier than it comes may it have begun."""
HELD: Final = 1000
"""Texts, and pictures, of a session that are held at most; the oldest go first."""
UNHEARD: Final = (("ce_modality", Modality.TEXT.encode()), ("ce_modality", Modality.FACE.encode()))
"""Features that say nothing here: how a text is meant, what a face expresses."""


@dataclass(frozen=True, slots=True)
class Space:
    """The common space as the agent uses it.

    `place` takes a side of the space and a vector to a unit vector; `encoders` are those, by side,
    whose vectors it reads; `threshold` is the cosine of a match, and `probability` what one is
    worth, None: not known.
    """

    place: Batcher[tuple[str, Floats], Floats]
    encoders: Mapping[str, Encoder]
    threshold: float
    probability: Callable[[float], float | None]
    model: str


@dataclass(frozen=True, slots=True)
class Held:
    """A record that waits, and the text or picture that it brought, if it was one."""

    record: Record
    piece: Piece | None


class MatchSession(Session):
    """What is held of one session."""

    def __init__(self, agent: MatchAgent, partition: int, id_: str, state: State | None) -> None:
        self._agent = agent
        self._partition = partition
        self._id = id_
        self._matcher = agent.matcher()
        self._windows = SessionWindows(agent.rules)
        self._uncovered: list[Record] = []
        if state:
            self._windows = SessionWindows.restore(agent.rules, state["windows"])
        self.over = not self._windows.alive

    async def take(self, event: Event, record: Record) -> None:
        windows = self._windows
        step = await self._agent.read(event, record)
        outcome = windows.step(step)
        taken = isinstance(step, Item) and not (outcome.late or outcome.repeated)
        if isinstance(step, Item) and taken and (piece := step.payload.piece):
            await self._deliver(self._matcher.add(piece))
        if outcome.repeated and (record.offset <= windows.covered or not windows.alive):
            record.acknowledge()
        elif not taken:
            self._uncovered.append(record)
        if outcome.advanced:
            await self._let_go(outcome)
        self.over = not (windows.alive or self._uncovered)

    def tick(self, silent_s: Callable[[str], float]) -> Event | None:
        """For the expiry of the session, as the join has it: it need not run."""
        windows = self._windows
        if not windows.alive or silent_s("") < self._patience_s():
            return None
        time = max(windows.latest, windows.watermark) or self._agent.now()
        return signals.tick(self._id, time, agent="match", expire=True, seen=windows.heard)

    def remember(self) -> State:
        return self._state()

    def _patience_s(self) -> float:
        settings = self._agent.settings
        known = self._windows.sources.quiet
        return settings.expire_after_s if known else PATIENCE * settings.expire_after_s

    async def _deliver(self, pairs: list[Pair]) -> None:
        if events := [self._event(pair) for pair in pairs]:
            await self._agent.outbox.deliver([("recognition", event) for event in events])

    def _event(self, pair: Pair) -> Event:
        """A match continues the trace of the piece that came last, and links the other's."""
        with tracing.span("match", links=[pair.text.trace, pair.image.trace]) as span:
            match = self._agent.match(self._id, pair)
            return result_event(match, source=SOURCE, traceparent=span.traceparent)

    async def _let_go(self, outcome: Outcome) -> None:
        """Keeps how far the session is, and acknowledges what is not needed any more."""
        done: list[Held] = [item.payload for item in outcome.done]
        self._matcher.forget(held.piece for held in done if held.piece)
        await self._agent.checkpoint(self._partition, self._id, self._state())
        for record in [*(held.record for held in done), *self._uncovered]:
            record.acknowledge()
        self._uncovered.clear()

    def _state(self) -> State:
        return {"windows": self._windows.snapshot(), "over": not self._windows.alive}


class MatchAgent(Agent):
    """Compares."""

    name: ClassVar[str] = "match"
    inputs: ClassVar[tuple[str, ...]] = ("features",)
    keeps_state: ClassVar[bool] = True

    def __init__(self, means: Means, space: Space) -> None:
        super().__init__(means)
        self.rules = rules_of(means.settings)
        self._space = space
        self._foreign = set[Encoder]()

    def open(self, partition: int, session: str, state: State | None) -> Session:
        return MatchSession(self, partition, session, state)

    def unfinished(self, state: State) -> bool:
        """Whether a session has to be ended if nothing more of it comes."""
        return not state["over"]

    def sorted_out(self, record: Record) -> bool:
        return any(mark in record.headers for mark in UNHEARD)

    def matcher(self) -> Matcher:
        """For a session."""
        settings = self.settings
        threshold = settings.match_threshold or self._space.threshold
        return Matcher(threshold, settings.match_within_ms, HELD)

    def match(self, session: str, pair: Pair) -> Match:
        """The result that says so."""
        return pair.result(session, self._space.probability(pair.similarity), self._space.model)

    async def read(self, event: Event, record: Record) -> Item | Progress | Tick | Ended:
        """An event as the windows know it. Raises CodecError, ModelError."""
        if event.type is not EventType.FEATURE:
            return signals.step(event, record.offset)
        feature = Feature.from_event(event)
        return Item(
            id=event.id,
            offset=record.offset,
            source=source_of(feature),
            end=feature.end,
            evidence=feature.evidence if feature.kind == "caption" else "",
            expects=feature.expects,
            payload=Held(record, await self._piece(feature)),
        )

    async def _piece(self, feature: Feature) -> Piece | None:
        """What is compared with others; None: nothing that can be."""
        side = SIDES.get(feature.modality)
        if side is None or not self._knows(feature, side):
            return None
        return Piece(
            id=feature.evidence,
            modality=feature.modality,
            channel=feature.channel,
            start=feature.start,
            end=feature.end,
            vector=await self._space.place.submit((side, feature.vector)),
            trace=tracing.here(),
        )

    def _knows(self, feature: Feature, side: str) -> bool:
        """Whether the space was made for the feature's encoder; another one is told of once."""
        made = Encoder(feature.encoder, feature.revision, len(feature.vector))
        if made == (known := self._space.encoders.get(side)):
            return True
        self.metrics.unmatched.labels("unknown-encoder").inc()
        if made not in self._foreign:
            self._foreign.add(made)
            log.warning("no matches of %s: the align model was trained on %s", made, known)
        return False

    async def _refuse(self, record: Record, reason: str, message: str) -> None:
        """What cannot be read becomes a dead letter of the join, which reads the same log: one is
        enough. What only we could not use is counted."""
        self.metrics.unmatched.labels(reason).inc()
        record.acknowledge()


def rules_of(settings: Settings) -> Rules:
    """What is held until nothing near it can come any more: for that long, windows of the length of
    those of sentiment can still be corrected."""
    return Rules(
        length=settings.window_ms,
        lateness=settings.lateness_ms,
        correction=settings.match_within_ms + LONGEST,
    )
