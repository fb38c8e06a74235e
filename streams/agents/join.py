"""The join agent: features of a session to windows, windows to sentiment per speaker.

An event is acknowledged when a checkpoint covers it: a feature when its window's results are
delivered, everything else with the next checkpoint. So what is replayed after a restart, together
with the last checkpoint, is exactly the state that was lost.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final, Protocol, cast

from models.base import Encoder
from streams.agents import signals
from streams.agents.base import Agent, Means, Refused, Session, place
from streams.batching import Batcher
from streams.delivery import Record, State
from streams.events import Event, EventType
from streams.features import Feature, Modality
from streams.results import (
    ChannelSentiment,
    Evidence,
    Result,
    Sentiment,
    SentimentSession,
    SentimentWindow,
    result_event,
)
from streams.windows import Ended, Item, Outcome, Progress, Rules, SessionWindows, Tick, Window

log = logging.getLogger(__name__)

SOURCE: Final = "tenor/join"
EVERYBODY: Final = ""
"""The channel of what is said of the whole conversation."""


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


@dataclass(frozen=True, slots=True)
class Judgement:
    """The fusion model as the agent uses it.

    `judge` takes a window's features (the evidence of its opinion names them by their place),
    `label` a mean score; `encoders` are those, by modality, whose features it was trained on.
    """

    judge: Batcher[Sequence[Feature], Opinion | None]
    label: Callable[[float], str]
    encoders: dict[str, Encoder]
    model: str


@dataclass(slots=True)
class Course:
    """How a channel's sentiment went so far, in a size that does not grow."""

    windows: int = 0
    total: float = 0.0
    first: float = 0.0
    last: float = 0.0
    start: int = 0
    end: int = 0

    def add(self, window: Window, score: float) -> None:
        if not self.windows:
            self.first, self.start = score, window.start
        self.last, self.end = score, window.end
        self.windows += 1
        self.total += score

    def summary(self, label: Callable[[float], str]) -> ChannelSentiment:
        mean = self.total / self.windows
        minutes = max(self.end - self.start, 1) / 60_000
        return ChannelSentiment(
            score=mean,
            label=cast(Sentiment, label(mean)),
            windows=self.windows,
            first=self.first,
            last=self.last,
            trend=(self.last - self.first) / minutes,
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A feature in an open window, and its record that waits for it."""

    feature: Feature
    record: Record


class JoinSession(Session):
    """The windows of one session, and what was said of the closed ones."""

    def __init__(self, agent: JoinAgent, partition: int, id_: str, state: State | None) -> None:
        self._agent = agent
        self._partition = partition
        self._id = id_
        self._rules = Rules(agent.settings.window_ms, agent.settings.lateness_ms)
        self._windows = SessionWindows(self._rules)
        self._courses: dict[str, Course] = {}
        self._captions = 0
        self._uncovered: list[Record] = []
        self._undated: deque[tuple[float, int]] = deque(maxlen=1000)
        if state:
            self._windows = SessionWindows.restore(self._rules, state["windows"])
            self._courses = {name: Course(**each) for name, each in state["courses"].items()}
            self._captions = state["captions"]

    async def take(self, event: Event, record: Record) -> None:
        self.over = False
        outcome = self._step(event, record)
        if outcome.late:  # told before a checkpoint covers it; it had its effect on the watermark
            self._agent.metrics.late.inc()
            await self._agent.outbox.dead_letter(
                record, "late", "the window of this feature has been closed and delivered"
            )
        if outcome.repeated:
            record.acknowledge()
        elif outcome.late or event.type is not EventType.FEATURE:
            self._uncovered.append(record)
        if outcome.advanced:
            await self._deliver(outcome)

    def tick(self, silent_s: Callable[[str], float]) -> Event | None:
        """Idle sources hold windows back no longer; a session without live audio goes by ticks."""
        settings, windows = self._agent.settings, self._windows
        if silent_s("") >= settings.expire_after_s:
            return self._tick(windows.sources, windows.latest, expire=True)
        idle = {
            source
            for source in windows.sources - windows.idle
            if silent_s(source) >= settings.idle_after_s
        }
        until = 0
        while self._undated and self._undated[0][0] <= self._agent.clock() - settings.idle_after_s:
            until = self._undated.popleft()[1] + settings.lateness_ms
        undated = not windows.dated and until > windows.watermark
        nobody = windows.idle >= windows.sources and silent_s("") >= settings.idle_after_s
        if idle or undated or (windows.ended and nobody):
            return self._tick(idle, until)
        return None

    @property
    def open_windows(self) -> int:
        """Windows that hold something and are not closed."""
        return self._windows.open

    def remember(self) -> State:
        return self._state()

    def _tick(self, idle: Iterable[str], until: int, *, expire: bool = False) -> Event:
        time = max(self._windows.latest, self._windows.watermark) or self._agent.now()
        return signals.tick(self._id, time, agent="join", idle=idle, until=until, expire=expire)

    def _step(self, event: Event, record: Record) -> Outcome:
        if event.type is EventType.FEATURE:
            return self._feature(event, record)
        match event.type:
            case EventType.PROGRESS:
                source = self._agent.source(event)
                return self._windows.step(Progress(record.offset, source, event.time))
            case EventType.SESSION_ENDED:
                return self._windows.step(Ended(record.offset, self._agent.source(event)))
        return self._windows.step(
            Tick(
                record.offset,
                signals.idle_sources(event),
                signals.idle_until(event),
                expire="expire" in event.extensions,
            )
        )

    def _feature(self, event: Event, record: Record) -> Outcome:
        feature = Feature.from_event(event)
        self._agent.check(feature)
        self._undated.append((self._agent.clock(), feature.end))
        return self._windows.step(
            Item(
                id=event.id,
                offset=record.offset,
                source=self._agent.source(event),
                end=feature.end,
                evidence=feature.evidence if feature.modality is Modality.TEXT else "",
                expects=feature.expects,
                payload=Held(feature, record),
            )
        )

    async def _deliver(self, outcome: Outcome) -> None:
        results: list[Result] = []
        for window in outcome.closed:
            try:
                results += await self._judge(window)
            except Exception as error:  # the rest of the session goes on
                await self._give_up(window, f"{type(error).__name__} in {place(error)}")
        if outcome.ended and self._courses:
            results.append(self._summary())
        events = [("sentiment", result_event(result, source=SOURCE)) for result in results]
        await self._agent.outbox.deliver(events)
        if outcome.ended:
            self._courses, self._captions, self.over = {}, 0, True
        await self._agent.outbox.checkpoint("join", self._partition, self._id, self._state())
        self._acknowledge(outcome.closed)

    async def _give_up(self, window: Window, why: str) -> None:
        log.error("fusion failed: %s", why)
        for item in window.items:
            await self._agent.outbox.dead_letter(item.payload.record, "fusion-failed", why)

    def _acknowledge(self, closed: Iterable[Window]) -> None:
        for window in closed:
            for item in window.items:
                item.payload.record.acknowledge()
        for record in self._uncovered:
            record.acknowledge()
        self._uncovered.clear()

    async def _judge(self, window: Window) -> list[SentimentWindow]:
        features = [item.payload.feature for item in window.items]
        channels = sorted({feature.channel for feature in features} - {EVERYBODY})
        owns = {
            channel: [f for f in features if channel in (EVERYBODY, f.channel)]
            for channel in [EVERYBODY, *channels]
        }
        opinions = [await self._agent.judgement.judge.submit(own) for own in owns.values()]
        self._captions += sum(feature.kind == "caption" for feature in features)
        results = []
        for (channel, own), opinion in zip(owns.items(), opinions, strict=True):
            if opinion is not None:
                self._courses.setdefault(channel, Course()).add(window, opinion.score)
                results.append(self._sentiment(window, channel, own, opinion))
        return results

    def _sentiment(
        self, window: Window, channel: str, features: Sequence[Feature], opinion: Opinion
    ) -> SentimentWindow:
        return SentimentWindow(
            session=self._id,
            channel=channel,
            start=window.start,
            end=window.end,
            revision=0,
            final=True,
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
        return SentimentSession(
            session=self._id,
            start=min(course.start for course in self._courses.values()),
            end=max(course.end for course in self._courses.values()),
            channels={
                channel: course.summary(self._agent.judgement.label)
                for channel, course in sorted(self._courses.items())
            },
            captions=self._captions,
        )

    def _state(self) -> State:
        courses: dict[str, Any] = {name: asdict(each) for name, each in self._courses.items()}
        windows = self._windows.snapshot()
        return {"windows": windows, "courses": courses, "captions": self._captions}


class JoinAgent(Agent):
    """Brings together."""

    name: ClassVar[str] = "join"
    inputs: ClassVar[tuple[str, ...]] = ("features",)
    keeps_state: ClassVar[bool] = True

    def __init__(self, means: Means, judgement: Judgement) -> None:
        super().__init__(means)
        self.judgement = judgement
        self.clock = means.clock
        self.now = means.now

    def open(self, partition: int, session: str, state: State | None) -> Session:
        return JoinSession(self, partition, session, state)

    def observe(self, sessions: Collection[Session]) -> None:
        super().observe(sessions)
        open_windows = (each.open_windows for each in sessions if isinstance(each, JoinSession))
        self.metrics.windows.set(sum(open_windows))

    def source(self, event: Event) -> str:
        """The source by the attributes of a feature, a progress or an end."""
        extensions = event.extensions
        if event.type is EventType.FEATURE:
            modality, kind = extensions.get("modality", ""), extensions.get("kind", "")
            return source_of(modality, kind, event.channel)
        input_ = extensions.get("input", "")
        return f"{input_}/{event.channel}" if event.channel else input_

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


def source_of(modality: str, kind: str, channel: str) -> str:
    """Which source a feature counts for: what was heard on a channel, chat, or pictures."""
    if modality == Modality.IMAGE:
        return "images"
    return f"audio/{channel}" if kind in ("caption", "utterance") else "text"


def _evidence(feature: Feature, weight: float) -> Evidence:
    return Evidence(
        id=feature.evidence,
        modality=feature.modality,
        channel=feature.channel,
        start=feature.start,
        end=feature.end,
        weight=min(1.0, max(0.0, weight)),
    )
