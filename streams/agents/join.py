"""The join agent: features of a session to windows, windows to sentiment per speaker.

The fusion model remembers what was before, of every speaker and of everybody together: windows are
judged in the order of time, and what it remembers is part of the checkpoint.

An event is acknowledged when a checkpoint covers it: a feature when the results of all its windows
are delivered and can be corrected no more, everything else with the next checkpoint. So what is
replayed after a restart, together with the last checkpoint, is exactly the state that was lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, ClassVar, Final, Protocol, cast

from models.base import Encoder
from streams import tracing
from streams.agents import signals
from streams.agents.base import Agent, Means, Refused, Session, place
from streams.batching import Batcher
from streams.checkpoints import State
from streams.courses import Courses, Scores
from streams.delivery import Record
from streams.events import Event, EventType
from streams.features import Feature, Modality
from streams.results import (
    Evidence,
    Result,
    Sentiment,
    SentimentSession,
    SentimentWindow,
    result_event,
)
from streams.settings import Settings
from streams.tracks import Memories, Memory, Tracks
from streams.windows import Ended, Item, Outcome, Progress, Rules, SessionWindows, Tick, Window

log = logging.getLogger(__name__)

SOURCE: Final = "tenor/join"
EVERYBODY: Final = ""
"""The channel of what is said of the whole conversation."""
PATIENCE: Final = 12
"""A session whose sources are not all known to be silent expires after so many times as long."""


class Track(Protocol):
    """What the fusion model remembers of a channel."""

    def state(self) -> dict[str, Any]: ...


class Opinion(Protocol):
    """What the fusion model says of a window."""

    @property
    def score(self) -> float: ...
    @property
    def deviation(self) -> float: ...
    @property
    def label(self) -> str: ...
    @property
    def confidence(self) -> float: ...
    @property
    def emotions(self) -> dict[str, float]: ...
    @property
    def contributions(self) -> dict[str, float]: ...
    @property
    def evidence(self) -> tuple[tuple[str, float], ...]: ...
    @property
    def track(self) -> Track: ...


@dataclass(frozen=True, slots=True)
class Question:
    """A window of a channel for the fusion model: its features, its end (ms), and what is
    remembered of this channel and of everybody; None: nothing."""

    features: Sequence[Feature]
    end: int
    own: Memory | None
    session: Memory | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The fusion model as the agent uses it.

    `judge` answers questions (the evidence of an opinion names the features by their place),
    `label` a mean score; `encoders` are those, by modality, whose features it was trained on.
    """

    judge: Batcher[Question, Opinion | None]
    label: Callable[[float], str]
    encoders: dict[str, Encoder]
    model: str


@dataclass(slots=True)
class Held:
    """A feature in a window, its record that waits, its trace; `refused`: as a dead letter too."""

    feature: Feature
    record: Record
    trace: str = ""
    refused: bool = False


class JoinSession(Session):
    """The windows of one session, and what was said of the closed ones."""

    def __init__(self, agent: JoinAgent, partition: int, id_: str, state: State | None) -> None:
        self._agent = agent
        self._partition = partition
        self._id = id_
        self._windows = SessionWindows(agent.rules)
        self._courses = Courses()
        self._tracks = Tracks()
        self._captions = 0
        self._uncovered: list[Record] = []
        if state:
            self._windows = SessionWindows.restore(agent.rules, state["windows"])
            self._courses = Courses.restore(state["courses"])
            self._tracks = Tracks.restore(state.get("tracks", []))
            self._captions = state["captions"]
        self.over = not self._windows.alive

    async def take(self, event: Event, record: Record) -> None:
        windows = self._windows
        outcome = windows.step(self._agent.read(event, record))
        if outcome.late:  # told before a checkpoint covers it; it had its effect on the watermark
            self._agent.metrics.late.inc()
            await self._agent.outbox.dead_letter(
                record, "late", "the window of this feature has been closed and delivered"
            )
        if outcome.repeated and (record.offset <= windows.covered or not windows.alive):
            record.acknowledge()
        elif outcome.late or outcome.repeated or event.type is not EventType.FEATURE:
            self._uncovered.append(record)
        if outcome.advanced:
            await self._deliver(outcome)
        await self._show(outcome.provisional)
        self.over = not (windows.alive or self._uncovered)

    def tick(self, silent_s: Callable[[str], float]) -> Event | None:
        """Only for the expiry of the whole session: of a single source, silence can be told from an
        agent that is behind only where the source's log is read."""
        windows = self._windows
        if not windows.alive or silent_s("") < self._patience_s():
            return None
        time = max(windows.latest, windows.watermark) or self._agent.now()
        return signals.tick(self._id, time, agent="join", expire=True, seen=windows.heard)

    def _patience_s(self) -> float:
        """After how long a silence the session is over. Where an input has ended and all others
        that are known are idle, only one that was not declared may have something to say."""
        settings, windows = self._agent.settings, self._windows
        if not windows.sources.quiet:
            return PATIENCE * settings.expire_after_s
        ending = windows.sources.ended and not windows.awaited
        return settings.idle_after_s if ending else settings.expire_after_s

    @property
    def open_windows(self) -> int:
        """Windows that hold something and are not closed."""
        return self._windows.open

    def remember(self) -> State:
        return self._state()

    async def _deliver(self, outcome: Outcome) -> None:
        """Delivers what came of a step, keeps how far the session is, and acknowledges."""
        said: list[Event] = []
        for window in outcome.closed:
            try:
                with _tracing(window):
                    said += _events(await self._judge(window))
            except Exception as error:  # the rest of the session goes on
                await self._give_up(window, f"{type(error).__name__} in {place(error)}")
        self._courses.settle(self._windows.settled)
        self._tracks.settle(self._windows.settled)
        self._captions += sum(item.payload.feature.kind == "caption" for item in outcome.done)
        if outcome.ended and self._courses.settled:
            said += _events([self._summary()])
        await self._send(said)
        if outcome.ended:
            self._courses, self._tracks, self._captions = Courses(), Tracks(), 0
        await self._agent.checkpoint(self._partition, self._id, self._state())
        self._acknowledge(outcome.done)

    async def _show(self, windows: Iterable[Window]) -> None:
        """Delivers provisional results; what goes wrong with them is told by the final ones."""
        for window in windows:
            try:
                with _tracing(window):
                    results, _ = await self._opinions(window)
                    said = _events(results)
            except Exception as error:
                log.warning("no provisional result: %s in %s", type(error).__name__, place(error))
            else:
                await self._send(said)

    async def _send(self, events: Iterable[Event]) -> None:
        await self._agent.outbox.deliver([("sentiment", event) for event in events])

    async def _give_up(self, window: Window, why: str) -> None:
        log.error("fusion failed: %s", why)
        for held in [item.payload for item in window.items]:
            if not held.refused:
                await self._agent.outbox.dead_letter(held.record, "fusion-failed", why)
                held.refused = True

    def _acknowledge(self, done: Iterable[Item]) -> None:
        for item in done:
            item.payload.record.acknowledge()
        for record in self._uncovered:
            record.acknowledge()
        self._uncovered.clear()

    async def _judge(self, window: Window) -> list[SentimentWindow]:
        """What is said of a closed window, or said anew of a corrected one."""
        results, memories = await self._opinions(window)
        self._tracks.put(window.end, memories)
        by_channel = {result.channel: result.score for result in results}
        self._courses.put(Scores(window.start, window.end, by_channel))
        return results

    async def _opinions(self, window: Window) -> tuple[list[SentimentWindow], Memories]:
        """What is said of the window, per channel and of everybody, and then to be remembered."""
        features = [item.payload.feature for item in window.items]
        before = self._tracks.before(window.end)
        channels = sorted({feature.channel for feature in features} - {EVERYBODY})
        questions = {
            channel: Question(
                [f for f in features if channel in (EVERYBODY, f.channel)],
                window.end,
                before.get(channel),
                before.get(EVERYBODY),
            )
            for channel in [EVERYBODY, *channels]
        }
        judge = self._agent.judgement.judge
        opinions = await asyncio.gather(*(judge.submit(each) for each in questions.values()))
        said = {c: o for c, o in zip(questions, opinions, strict=True) if o is not None}
        results = [
            self._sentiment(window, channel, questions[channel].features, opinion)
            for channel, opinion in said.items()
        ]
        return results, {channel: opinion.track.state() for channel, opinion in said.items()}

    def _sentiment(
        self, window: Window, channel: str, features: Sequence[Feature], opinion: Opinion
    ) -> SentimentWindow:
        return SentimentWindow(
            session=self._id,
            channel=channel,
            start=window.start,
            end=window.end,
            revision=window.revision,
            final=window.final,
            score=opinion.score,
            deviation=opinion.deviation,
            label=cast(Sentiment, opinion.label),
            confidence=opinion.confidence,
            emotions=opinion.emotions,
            contributions=opinion.contributions,
            evidence=tuple(_evidence(features[int(i)], weight) for i, weight in opinion.evidence),
            model=self._agent.judgement.model,
        )

    def _summary(self) -> SentimentSession:
        start, end = self._courses.span()
        return SentimentSession(
            session=self._id,
            start=start,
            end=end,
            channels=self._courses.summary(self._agent.judgement.label),
            captions=self._captions,
        )

    def _state(self) -> State:
        return {
            "windows": self._windows.snapshot(),
            "courses": self._courses.snapshot(),
            "tracks": self._tracks.snapshot(),
            "captions": self._captions,
            "over": not self._windows.alive,
        }


class JoinAgent(Agent):
    """Brings together."""

    name: ClassVar[str] = "join"
    inputs: ClassVar[tuple[str, ...]] = ("features",)
    keeps_state: ClassVar[bool] = True

    def __init__(self, means: Means, judgement: Judgement) -> None:
        super().__init__(means)
        self.judgement = judgement
        self.rules = rules_of(means.settings)

    def open(self, partition: int, session: str, state: State | None) -> Session:
        return JoinSession(self, partition, session, state)

    def unfinished(self, state: State) -> bool:
        """Whether a session has to be ended if nothing more of it comes."""
        return not state["over"]

    def sorted_out(self, record: Record) -> bool:
        """What texts are about is not fused."""
        return ("ce_modality", Modality.MEANING.value.encode()) in record.headers

    def observe(self, sessions: Collection[Session]) -> None:
        super().observe(sessions)
        open_windows = (each.open_windows for each in sessions if isinstance(each, JoinSession))
        self.metrics.windows.set(sum(open_windows))

    def read(self, event: Event, record: Record) -> Item | Progress | Tick | Ended:
        """An event as the windows know it. Raises Refused, CodecError."""
        if event.type is EventType.FEATURE:
            return self._feature(event, record)
        return signals.step(event, record.offset)

    def _feature(self, event: Event, record: Record) -> Item:
        feature = Feature.from_event(event)
        self.check(feature)
        words = feature.kind == "caption"
        return Item(
            id=event.id,
            offset=record.offset,
            source=source_of(feature),
            end=feature.end,
            evidence=feature.evidence if words else "",
            expects=feature.expects,
            payload=Held(feature, record, tracing.here()),
        )

    def check(self, feature: Feature) -> None:
        """Raises Refused for a vector that the fusion model cannot read."""
        trained = self.judgement.encoders.get(feature.modality)
        if trained is None:
            return
        made = Encoder(feature.encoder, feature.revision, len(feature.vector))
        if made != trained:
            raise Refused(
                "unknown-encoder", f"made by {made}; the fusion model was trained on {trained}"
            )


def rules_of(settings: Settings) -> Rules:
    """How the settings want windows to be cut."""
    return Rules(
        length=settings.window_ms,
        lateness=settings.lateness_ms,
        kind=settings.window,
        hop=settings.hop_ms,
        gap=settings.gap_ms,
        early=settings.early_ms,
        correction=settings.correction_ms,
    )


def source_of(feature: Feature) -> str:
    """Whose sign of life a feature is: what was heard on a channel, chat, or pictures. The words of
    a caption are nobody's: the agent that made them of it may be far behind the one that hears."""
    if feature.kind == "caption":
        return ""
    if feature.modality in (Modality.IMAGE, Modality.FACE):
        return "images"
    return f"audio/{feature.channel}" if feature.kind == "utterance" else "text"


def _tracing(window: Window) -> AbstractContextManager[tracing.Span]:
    """What is said of a window continues the trace of the feature that came last, and links those
    of the others."""
    *others, last = [item.payload.trace for item in sorted(window.items, key=attrgetter("offset"))]
    about = {"tenor.window.features": len(window.items), "tenor.window.final": window.final}
    return tracing.span("window", parent=last, links=others, attributes=about)


def _events(results: Iterable[Result]) -> list[Event]:
    """Results on their way, as part of what is being worked on."""
    return [result_event(each, source=SOURCE, traceparent=tracing.here()) for each in results]


def _evidence(feature: Feature, weight: float) -> Evidence:
    return Evidence(
        id=feature.evidence,
        modality=feature.modality,
        channel=feature.channel,
        start=feature.start,
        end=feature.end,
        weight=min(1.0, max(0.0, weight)),
    )
