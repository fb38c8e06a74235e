"""The decode scheduler in simulated time: its promises under any load, and what load does to it.

The simulation is discrete: a loop whose clock jumps from timer to timer, and a recogniser that
takes as long as was measured. All between them is what runs in service.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import Transcript, Utterance
from streams.metrics import Metrics
from streams.scheduling import DEFAULTS, DecodeScheduler

WORKERS: Final = 2
LARGEST: Final = 4
NO_AUDIO: Final = np.zeros(0, np.float32)
HEARD: Final = Transcript("", (), "en", 0.0, 0.0, 0.0)


def seconds(size: int) -> float:
    """What a batch takes: 0.16 s for one utterance, 0.3 s for four, as Whisper tiny.en does."""
    return 0.16 + (size - 1) * 0.14 / 3


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Its clock stands while anything runs and jumps to the next timer when all wait."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.now


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "all wait for what nobody will do"
        self._loop.now += max(0.0, timeout)
        return super().select(0)


def simulate(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(main)


class Device(Executor):
    """Takes `seconds` of simulated time for a batch; knows since when there is room for another."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.crowded = False
        self.room_since: dict[bool, float] = {}
        self._running: Counter[bool] = Counter()

    def submit(self, run: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:  # noqa: ANN401
        final = args[0][0].final
        self.crowded |= not self._room(final)
        self._running[final] += 1
        done: Future[Any] = Future()
        loop = asyncio.get_running_loop()
        loop.call_later(seconds(len(args[0])), self._finish, done, final, run(*args))
        return done

    def _room(self, final: bool) -> bool:
        """For another batch of finals or of partials, which leave one of several workers."""
        partials = self.workers if final else max(1, self.workers - 1)
        return self._running.total() < self.workers and self._running[False] < partials

    def _finish(self, done: Future[Any], final: bool, result: object) -> None:
        full = [kind for kind in (True, False) if not self._room(kind)]
        self._running[final] -= 1
        self.room_since.update({kind: now() for kind in full if self._room(kind)})
        done.set_result(result)


def now() -> float:
    """Simulated time, without the noise of adding floats."""
    return round(asyncio.get_running_loop().time(), 6)


@dataclass(frozen=True)
class Ask:
    """A decode wanted at a time, and when it is given up if it still waits."""

    at: float
    session: str
    final: bool
    bucket: str
    gives_up: float


asks = st.builds(
    Ask,
    at=st.floats(0, 5),
    session=st.sampled_from("abcd"),
    final=st.booleans(),
    bucket=st.sampled_from(("12", "20")),
    gives_up=st.floats(5, 8) | st.just(1e6),
)


class Ledger:
    """Plays asks and knows who waits, so as to judge each batch that begins."""

    def __init__(self, workers: int) -> None:
        self.device = Device(workers)
        self.waiting: dict[str, tuple[Ask, float]] = {}
        self.broken: list[str] = []
        self.scheduler = DecodeScheduler(
            self._begin,
            lambda utterance: utterance.prompt.split()[1],
            self.device,
            workers=workers,
            largest=LARGEST,
            wait_s=0.0,
            metrics=Metrics(),
        )

    async def play(self, wanted: Sequence[Ask]) -> None:
        keys = (f"{number} {ask.bucket}" for number, ask in enumerate(wanted))
        await asyncio.gather(*map(self._ask, wanted, keys))
        await self.scheduler.close()

    async def _ask(self, ask: Ask, key: str) -> None:
        await asyncio.sleep(ask.at)
        decode = self.scheduler.final if ask.final else self.scheduler.partial
        self.waiting[key] = ask, now()
        task = asyncio.ensure_future(decode(ask.session, Utterance(NO_AUDIO, key), 1e6))
        asyncio.get_running_loop().call_at(ask.gives_up, self._give_up, task, key)
        await asyncio.wait([task])
        self.waiting.pop(key, None)
        if ask.final and not task.cancelled() and task.result() is not HEARD:
            self.broken.append("a final got no answer")

    def _give_up(self, task: asyncio.Task[Transcript | None], key: str) -> None:
        if self.waiting.pop(key, None):
            task.cancel()

    def _begin(self, utterances: list[Utterance]) -> list[Transcript]:
        keys = [utterance.prompt for utterance in utterances]
        if given_up := keys - self.waiting.keys():
            self.broken.append(f"{given_up} are run and nobody waits for them")
        else:
            self.broken += self._judge([self.waiting.pop(key) for key in keys])
        return [HEARD] * len(keys)

    def _judge(self, batch: list[tuple[Ask, float]]) -> list[str]:
        """What is wrong with taking these now, before all those that wait."""
        final = batch[0][0].final
        since = [came for _, came in batch]
        others = list(self.waiting.values())
        faults = {
            "of two kinds": any(ask.final != final for ask, _ in batch),
            "partials before a final": not final and any(ask.final for ask, _ in others),
            "the oldest is left": any(came < min(since) for a, came in others if a.final == final),
            "there was room before": any(
                now() not in (came, self.device.room_since.get(final)) for came in since
            ),
        }
        return [fault for fault, found in faults.items() if found]


@settings(max_examples=150)
@given(st.lists(asks, max_size=60), st.integers(1, 3))
def test_finals_pass_partials_and_nobody_starves(wanted: list[Ask], workers: int) -> None:
    """Partials leave a final one of several workers, and a final waits for none but those that run;
    what waits longest of its kind is always taken, so that others pass it only in the batch of an
    older one; and no worker idles that may take what waits."""
    ledger = Ledger(workers)
    simulate(ledger.play(wanted))
    assert ledger.broken == []
    assert not ledger.device.crowded


TALK_S: Final = 40.0


class Line:
    """Sessions that talk, and ask for partials as often as they may."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.waits: dict[bool, list[float]] = {True: [], False: []}
        self.levels: Counter[float | None] = Counter()
        self.utterances = 0
        self.spoken_s = 0.0
        self._scheduler = DecodeScheduler(
            self._begin,
            lambda _: None,
            Device(WORKERS),
            workers=WORKERS,
            largest=LARGEST,
            wait_s=0.0,
            metrics=self.metrics,
        )

    @property
    def degradation(self) -> float | None:
        return self.metrics.registry.get_sample_value("tenor_captions_degradation")

    @property
    def usual(self) -> float | None:
        """The level most often seen while all talk."""
        return self.levels.most_common(1)[0][0]

    @property
    def partials_per_second(self) -> float:
        """Of speech."""
        return len(self.waits[False]) / self.spoken_s

    async def carry(self, sessions: int, quiet_s: float = 0.0) -> None:
        luck = random.Random(sessions)
        talks = [self._talk(str(i), random.Random(luck.random())) for i in range(sessions)]
        await asyncio.gather(self._watch(), *talks)
        await asyncio.sleep(quiet_s)
        await self._scheduler.close()

    async def _watch(self) -> None:
        for _ in range(int(TALK_S)):
            await asyncio.sleep(1)
            self.levels[self.degradation] += 1

    async def _talk(self, session: str, luck: random.Random) -> None:
        await asyncio.sleep(luck.uniform(0, 5))
        async with asyncio.TaskGroup() as finals:
            while asyncio.get_running_loop().time() < TALK_S:
                await self._speak(session, luck.uniform(1.5, 6))
                finals.create_task(self._decode(session, final=True))
                await asyncio.sleep(luck.uniform(0.4, 1.5))

    async def _speak(self, session: str, length_s: float) -> None:
        self.utterances += 1
        self.spoken_s += length_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(length_s):
                while True:
                    every = self._scheduler.partials_every()
                    await asyncio.sleep(every or 0.5)
                    if every:
                        await self._decode(session, final=False)

    async def _decode(self, session: str, *, final: bool) -> None:
        now = asyncio.get_running_loop().time()
        decode = self._scheduler.final if final else self._scheduler.partial
        heard = await decode(session, Utterance(NO_AUDIO, f"{now} {final}"), now + 1.0)
        assert heard or not final

    def _begin(self, utterances: list[Utterance]) -> list[Transcript]:
        now = asyncio.get_running_loop().time()
        for asked, final in (utterance.prompt.split() for utterance in utterances):
            self.waits[final == "True"].append(now - float(asked))
        return [HEARD] * len(utterances)


def carried(sessions: int, quiet_s: float = 0.0) -> Line:
    line = Line()
    simulate(line.carry(sessions, quiet_s))
    return line


def test_with_more_sessions_partials_thin_out_then_stop_and_finals_do_not_wait() -> None:
    lines = [carried(sessions) for sessions in (8, 40, 56, 96)]
    assert [line.usual for line in lines] == [0, 1, 1, 2]
    assert set(lines[0].levels) == {0}
    rates = [line.partials_per_second for line in lines]
    assert all(more < 0.7 * fewer for fewer, more in itertools.pairwise(rates))
    assert rates[0] > 0.8
    assert rates[-1] < 0.1
    # 96 sessions ask for 20 finals a second; two workers can do 26 in batches of four
    assert max(max(line.waits[True]) for line in lines) < 3 * seconds(LARGEST)


def test_beyond_all_capacity_finals_are_late_and_none_is_refused() -> None:
    line = carried(200)
    assert line.usual == 2
    assert len(line.waits[True]) == line.utterances
    assert max(line.waits[True]) > 5


def test_when_all_fall_silent_the_degradation_shown_ends() -> None:
    line = carried(120, quiet_s=len(DEFAULTS.stretches) * (DEFAULTS.calm_s + 1))
    assert line.usual == 2
    assert line.degradation == 0
