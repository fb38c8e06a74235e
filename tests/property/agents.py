"""The world around one agent, for tests of crash and replay: a partition's log, what outlives a
process, and the moment at which it dies.

Kafka and the models are stood in for: both are tested elsewhere, and here thousands of lives of an
agent have to be short and the same each time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar, cast

from hypothesis import strategies as st

from streams import codec
from streams.agents.audio import AudioAgent
from streams.agents.base import Agent, Means
from streams.checkpoints import Checkpoints, Ledger, State, Succession
from streams.delivery import Outbox, Record
from streams.events import Event, EventType
from streams.metrics import Metrics
from streams.offsets import OffsetTracker
from streams.results import PROVISIONAL
from streams.settings import Settings
from tests.property.standins import T0, TEXT, VOICE, Models, joining, listening

__all__ = [
    "T0",
    "TEXT",
    "VOICE",
    "Assignment",
    "Blow",
    "Desk",
    "Models",
    "Process",
    "World",
    "a_revocation_changes_nothing",
    "crashes_change_nothing",
    "interleaved",
    "joining",
    "listening",
    "live",
    "undisturbed",
]

T = TypeVar("T")

PLACE: Final = ("topic", 0)
PATIENCE_S: Final = 60


@dataclass(frozen=True, slots=True)
class Blow:
    """The end of a life: at this call of the outbox, `part` of which still takes effect."""

    call: int
    part: float


@dataclass
class World:
    """What outlives a process: the log, the offsets, what was delivered, and the checkpoints."""

    topic: str
    log: Sequence[Event]
    delivered: list[tuple[str, Event]] = field(default_factory=list)
    dead_letters: set[tuple[int, str]] = field(default_factory=set)
    checkpoints: list[tuple[str, str, str]] = field(default_factory=list)
    """Owner, session or '' for a claim, and what was kept, or after whom was claimed."""
    position: int = 0
    handed: int = -1
    """The last record of the log that was given to an agent in any life."""
    broken_promises: list[str] = field(default_factory=list)

    def results(self) -> dict[str, Any]:
        """Everything final that was said, by id: what may never differ between two runs."""
        found: dict[str, Any] = {}
        for topic, event in self.delivered:
            if event.type in (EventType.PROGRESS, EventType.CAPTION_PARTIAL):
                continue
            if PROVISIONAL in event.extensions:
                continue
            content = (topic, event.type, event.channel, event.time, event.extensions, event.data)
            assert found.setdefault(event.id, content) == content, "an id with two contents"
        return found | {f"dead letter {each}": each for each in self._refused()}

    def _refused(self) -> set[tuple[int, str]]:
        """The dead letters; of an event that was late and its copies, the first. Whether a copy is
        told late, too, depends on what had left by then."""
        first: dict[tuple[str, object], int] = {}
        for offset, reason in sorted(self.dead_letters):
            event = self.log[offset]
            about = (event.session, event.id) if reason == "late" else offset
            first.setdefault((reason, about), offset)
        return {(offset, reason) for (reason, _), offset in first.items()}

    def said(self, *types: EventType) -> list[dict[str, Any]]:
        """The JSON results of these types, each once, in the order of their spans."""
        final = [event for _, event in self.delivered if PROVISIONAL not in event.extensions]
        events = {event.id: event for event in final if event.type in types}
        values: list[dict[str, Any]] = [json.loads(event.data) for event in events.values()]
        return sorted(values, key=lambda value: (value["start"], value["end"]))


class Desk:
    """Outbox and checkpoints of one process. A deadly blow stops every call for good."""

    def __init__(self, world: World, blow: Blow | None = None, *, deadly: bool = True) -> None:
        self.world = world
        self._blow = blow
        self._deadly = deadly
        self._down = False
        self.calls = 0
        self.struck = asyncio.Event()

    async def deliver(self, events: Iterable[tuple[str, Event]]) -> None:
        await self._call([partial(self.world.delivered.append, each) for each in events])

    async def dead_letter(self, record: Record, reason: str, message: str) -> None:
        await self._call([lambda: self.world.dead_letters.add((record.offset, reason))])

    async def claim(self, agent: str, partition: int) -> Ledger:
        owner = str(len(self.world.checkpoints))
        after = self._read().owner
        await self._call([lambda: self.world.checkpoints.append((owner, "", after))])
        return Page(self, owner, self._read().states)

    def keep(self, owner: str, session: str, state: State) -> Awaitable[None]:
        text = json.dumps(state)
        return self._call([lambda: self.world.checkpoints.append((owner, session, text))])

    def _read(self) -> Succession:
        succession = Succession()
        for owner, session, text in self.world.checkpoints:
            if session:
                succession.keep(owner, session, json.loads(text))
            else:
                succession.claim(owner, text)
        return succession

    async def _call(self, effects: Sequence[Callable[[], object]]) -> None:
        await asyncio.sleep(0)
        call, self.calls = self.calls, self.calls + 1
        if self._down:
            await asyncio.Future()
        hit = self._blow is not None and self._blow.call == call
        before = round(self._blow.part * len(effects)) if self._blow and hit else len(effects)
        for effect in effects[:before]:
            effect()
        if hit:
            self.struck.set()
            self._down = self._deadly
            await (asyncio.Future() if self._deadly else asyncio.sleep(0))
        for effect in effects[before:]:
            effect()
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Page:
    """`Ledger` of a desk."""

    desk: Desk
    owner: str
    states: dict[str, State]

    async def keep(self, session: str, state: State) -> None:
        await self.desk.keep(self.owner, session, state)


class Assignment:
    """The partition in an agent's hands, from the committed position on."""

    def __init__(self, world: World, agent: Agent) -> None:
        self._world = world
        self._agent = agent
        self._tracker = OffsetTracker()
        self._moved = asyncio.Event()
        self._dropped = False
        self._over = False

    async def work(self, *, paced: bool) -> None:
        """Hands the log over and waits until all of it is acknowledged. Paced: one by one."""
        await self.hand_over(paced=paced)
        while self._tracker.in_flight(PLACE):
            self._moved.clear()
            await self._moved.wait()

    async def hand_over(self, *, paced: bool) -> None:
        await self._agent.assign({0})
        for offset in range(self._world.position, len(self._world.log)):
            await self._agent.handle(self._record(offset))
            while paced and self._busy():  # noqa: ASYNC110  (a lane tells nobody)
                await asyncio.sleep(0.0005)

    def _busy(self) -> bool:
        return any(lane.busy for lane in self._agent._lanes.values())

    def drop(self) -> None:
        """The position is committed; what is acknowledged from now on has no effect."""
        if not self._dropped:
            position = self._tracker.position(PLACE)
            self._world.position = self._world.position if position is None else position
        self._dropped = True

    def end(self) -> None:
        """What is acknowledged from now on breaks a promise."""
        self.drop()
        self._over = True

    def _record(self, offset: int) -> Record:
        token = self._tracker.begin(PLACE, offset)
        self._world.handed = max(self._world.handed, offset)

        def acknowledge() -> None:
            if self._over:
                self._world.broken_promises.append(f"{offset} acknowledged after revocation")
            elif self._dropped:
                return
            elif not self._tracker.done(PLACE, offset, token):
                self._world.broken_promises.append(f"{offset} acknowledged twice")
            self._moved.set()

        key, value, headers = codec.encode(self._world.log[offset])
        topic = self._world.topic
        return Record(
            topic,
            0,
            offset,
            key,
            value,
            tuple(headers),
            acknowledge,
            lambda: not self._dropped,
            timestamp=offset,
        )


MakeAgent = Callable[[Means, Models], Agent]


class Process:
    """An agent with its batchers, and what it works with."""

    def __init__(self, world: World, make: MakeAgent, desk: Desk) -> None:
        self.world = world
        self.desk = desk
        self.clock = 0.0
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        means = Means(
            Settings(),
            cast(Outbox, desk),
            cast(Checkpoints, desk),
            Metrics(),
            fail=self._failed.set_exception,
            clock=lambda: self.clock,
            now=lambda: T0,
        )
        self._models = Models(means.metrics, lambda: world.handed)
        self.agent = make(means, self._models)

    async def assigned(self, *, paced: bool, revoked: bool = False) -> None:
        """Works until everything is acknowledged or the blow falls, and commits the position."""
        assignment = Assignment(self.world, self.agent)
        work = asyncio.create_task(assignment.work(paced=paced))
        struck = asyncio.create_task(self.desk.struck.wait())
        both: set[asyncio.Future[Any]] = {work, struck}
        done, _ = await asyncio.wait(
            {*both, self._failed}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
        )
        if revoked:
            assignment.drop()
            await self.agent.revoke({0})
        assignment.end()
        work.cancel()
        struck.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        assert done, "not everything was acknowledged"
        for each in done - {struck}:
            each.result()

    async def close(self) -> None:
        await self.agent.close()
        await self._models.close()
        assert self.agent._room.empty
        assert not isinstance(self.agent, AudioAgent) or self.agent.backlog.empty
        assert asyncio.all_tasks() == {asyncio.current_task()}


def live(world: World, make: MakeAgent, blow: Blow | None = None, *, paced: bool = False) -> int:
    """One process's life, to the end of the log or to the blow; how often it wrote."""

    async def whole() -> int:
        process = Process(world, make, Desk(world, blow))
        await process.assigned(paced=paced)
        await process.close()
        return process.desk.calls

    return asyncio.run(whole())


def live_on(world: World, make: MakeAgent, blow: Blow) -> None:
    """A process that loses its partition at the blow, and gets it back."""

    async def whole() -> None:
        process = Process(world, make, Desk(world, blow, deadly=False))
        await process.assigned(paced=False, revoked=True)
        process.desk.struck.clear()
        await process.assigned(paced=False)
        await process.close()

    asyncio.run(whole())


def undisturbed(topic: str, log: Sequence[Event], make: MakeAgent) -> tuple[World, int]:
    """The world after an undisturbed life, and how many calls that took."""
    world = World(topic, log)
    calls = live(world, make)
    assert world.position == len(log)
    assert not world.broken_promises
    return world, calls


@dataclass(frozen=True, slots=True)
class Fate:
    """The end of a life, drawn without knowing how long a calm one is: that may vary a little."""

    share: float
    part: float
    paced: bool

    def blow(self, calls: int) -> Blow:
        return Blow(int(self.share * calls), self.part)


fates = st.builds(
    Fate, st.floats(0, 0.999), part=st.sampled_from([0.0, 0.5, 1.0]), paced=st.booleans()
)


@st.composite
def interleaved(draw: st.DrawFn, logs: Sequence[Sequence[T]]) -> list[T]:
    """One log of several whose own order is kept."""
    order = [place for place, log in enumerate(logs) for _ in log]
    rest = [iter(log) for log in logs]
    return [next(rest[place]) for place in draw(st.permutations(order))]


def crashes_change_nothing(
    topic: str, log: Sequence[Event], make: MakeAgent, data: st.DataObject
) -> None:
    """Whenever the process dies, and however often, the results are those of a calm run."""
    calm, calls = undisturbed(topic, log, make)
    world = World(topic, log)
    for fate in data.draw(st.lists(fates, min_size=1, max_size=3), label="crashes"):
        live(world, make, fate.blow(calls), paced=fate.paced)
        world.broken_promises.clear()  # a dead process acknowledges nothing any more
    live(world, make)
    _as_calm(world, calm)


def a_revocation_changes_nothing(
    topic: str, log: Sequence[Event], make: MakeAgent, data: st.DataObject
) -> None:
    """The same agent loses the partition at any moment and gets it back."""
    calm, calls = undisturbed(topic, log, make)
    world = World(topic, log)
    live_on(world, make, data.draw(fates, label="revocation").blow(calls))
    _as_calm(world, calm)


def _as_calm(world: World, calm: World) -> None:
    assert world.results() == calm.results()
    assert world.position == len(world.log)
    assert not world.broken_promises
