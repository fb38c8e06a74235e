"""The decode scheduler: who goes first, what gives way, and that everyone is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from models.base import Transcript, Utterance
from streams.batching import Waiting
from streams.metrics import Metrics
from streams.scheduling import DEFAULTS, Decode, DecodeScheduler, Limits, Overload, pack_decodes

NO_AUDIO = np.zeros(0, np.float32)
FINALS_ONLY_AT_ONCE = Limits(stretches=(1.0,))
AGO, IN_AN_HOUR = -1.0, 3600.0


def queue(decodes: str) -> list[Waiting[Decode]]:
    """Each a session, a kind (F, p) and a deadline, as in "aF3"; upper-case sessions hear long."""
    return [
        Waiting(Decode(Utterance(NO_AUDIO), a[0].lower(), a[1] == "F", float(a[2])), a[0] < "a", 0)
        for a in decodes.split()
    ]


@pytest.mark.parametrize(
    ("decodes", "largest", "batch"),
    [
        ("", 4, []),
        ("ap1 bp2", 4, [0, 1]),
        ("ap2 bp1", 4, [1, 0]),
        ("ap1 bF9", 4, [1]),
        ("ap1 bF9 ap2 cF8", 4, [3, 1]),
        ("aF1 aF2 aF3 bF9", 2, [0, 3]),
        ("aF1 BF2 cF3", 4, [0, 2]),
        ("aF3 BF2 cF1 BF9", 4, [2, 0]),
        ("aF9 Ap1 aF1", 1, [0]),
    ],
)
def test_pack(decodes: str, largest: int, batch: list[int]) -> None:
    assert pack_decodes(queue(decodes), largest) == batch


@pytest.mark.parametrize(
    ("decodes", "partials", "workers", "batch"),
    [
        ("ap1", 0, 1, [0]),
        ("ap1", 0, 2, [0]),
        ("ap1", 1, 2, []),
        ("ap1 bF9", 1, 2, [1]),
        ("ap1", 1, 3, [0]),
        ("ap1", 2, 3, []),
    ],
)
def test_pack_leaves_one_of_several_workers_to_finals(
    decodes: str, partials: int, workers: int, batch: list[int]
) -> None:
    assert pack_decodes(queue(decodes), 4, partials=partials, workers=workers) == batch


def test_partials_become_rarer_and_then_stop() -> None:
    overload = Overload()
    late = [Waiting(Decode(Utterance(NO_AUDIO), "a", False, 1e9), None, -10.0)]
    seen = []
    for look in range(len(DEFAULTS.stretches) + 2):
        seen.append((overload.level, overload.partials_every(0.5)))
        overload.look(late, look * DEFAULTS.rise_s)
    assert seen == [(0, 0.5), (1, 0.75), (1, 1.0), (1, 1.5), (1, 2.0), (2, None), (2, None)]


def test_a_rung_is_taken_no_sooner_than_the_last_one_can_have_helped() -> None:
    overload = Overload()
    late = [Waiting(Decode(Utterance(NO_AUDIO), "a", False, 1e9), None, -10.0)]
    for moment in (0.0, 0.5 * DEFAULTS.rise_s, 0.99 * DEFAULTS.rise_s):
        overload.look(late, moment)
        assert overload.partials_every(1.0) == DEFAULTS.stretches[1]


def transcript(text: str) -> Transcript:
    return Transcript(text, (), "en", 0.0, 0.0, 0.0)


@dataclass
class Recognizer:
    """Hears an utterance's prompt; while the gate is shut, it takes its time."""

    gate: threading.Event = field(default_factory=threading.Event)
    heard: list[list[str]] = field(default_factory=list)

    def __call__(self, utterances: list[Utterance]) -> Sequence[Transcript]:
        self.heard.append([utterance.prompt for utterance in utterances])
        self.gate.wait(10)
        if any(utterance.prompt == "poison" for utterance in utterances):
            raise ValueError("not to be heard")
        return [transcript(utterance.prompt) for utterance in utterances]


class Desk:
    """A scheduler, at which decodes are asked for by a word."""

    def __init__(
        self,
        executor: ThreadPoolExecutor,
        limits: Limits = DEFAULTS,
        partial_s: float = 0.7,
        workers: int = 1,
    ) -> None:
        self.recognizer = Recognizer()
        self.metrics = Metrics()
        self.scheduler = DecodeScheduler(
            self.recognizer,
            lambda _: None,
            executor,
            workers=workers,
            largest=4,
            wait_s=0.0,
            metrics=self.metrics,
            partial_s=partial_s,
            limits=limits,
        )

    async def ask(
        self, word: str, *, final: bool = False, within: float = IN_AN_HOUR
    ) -> asyncio.Task[Transcript | None]:
        """Asks, and lets what is free begin."""
        decode = self.scheduler.final if final else self.scheduler.partial
        deadline = asyncio.get_running_loop().time() + within
        task = asyncio.ensure_future(decode(word, Utterance(NO_AUDIO, word), deadline))
        for _ in range(5):
            await asyncio.sleep(0)
        return task

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


async def words(*tasks: asyncio.Task[Transcript | None]) -> list[str | None]:
    return [heard.text if heard else None for heard in await asyncio.gather(*tasks)]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
async def desk(executor: ThreadPoolExecutor) -> AsyncIterator[Desk]:
    made = Desk(executor)
    yield made
    made.recognizer.gate.set()
    await made.scheduler.close()


async def test_a_final_passes_the_partials_that_wait(desk: Desk) -> None:
    tasks = [await desk.ask("running"), await desk.ask("waiting")]
    tasks.append(await desk.ask("final", final=True))
    desk.recognizer.gate.set()
    assert await words(*tasks) == ["running", "waiting", "final"]
    assert desk.recognizer.heard == [["running"], ["final"], ["waiting"]]


async def test_a_final_begins_beside_partials_and_these_leave_it_the_worker() -> None:
    with ThreadPoolExecutor(2) as executor:
        desk = Desk(executor, workers=2)
        tasks = [await desk.ask("running"), await desk.ask("waiting")]
        tasks.append(await desk.ask("final", final=True))
        while len(desk.recognizer.heard) < 2:  # noqa: ASYNC110  (a batch tells nobody)
            await asyncio.sleep(0.001)
        begun = sorted(desk.recognizer.heard)
        desk.recognizer.gate.set()
        assert await words(*tasks) == ["running", "waiting", "final"]
        assert begun == [["final"], ["running"]]
        assert desk.recognizer.heard[2:] == [["waiting"]]
        await desk.scheduler.close()


async def test_a_partial_whose_time_is_over_gives_way_to_a_final(desk: Desk) -> None:
    running = await desk.ask("running")
    late, good = await desk.ask("late", within=AGO), await desk.ask("good")
    final = await desk.ask("final", final=True, within=AGO)
    desk.recognizer.gate.set()
    assert await words(running, late, good, final) == ["running", None, "good", "final"]
    assert desk.recognizer.heard == [["running"], ["final"], ["good"]]
    assert desk.sample("tenor_partials_skipped_total", reason="outdated") == 1


async def test_a_late_partial_is_better_than_none_where_no_final_waits(desk: Desk) -> None:
    running, late = await desk.ask("running"), await desk.ask("late", within=AGO)
    desk.recognizer.gate.set()
    assert await words(running, late) == ["running", "late"]


async def test_under_overload_partials_are_refused_and_finals_are_not(
    executor: ThreadPoolExecutor,
) -> None:
    desk = Desk(executor, FINALS_ONLY_AT_ONCE)
    running = await desk.ask("running")
    before = desk.scheduler.unhurried
    late = await desk.ask("late", within=AGO)
    assert desk.scheduler.partials_every() is None
    assert (before, desk.scheduler.unhurried) == (True, False)
    assert desk.sample("tenor_captions_degradation") == 2
    refused = await desk.ask("refused")
    assert refused.done()
    final = await desk.ask("final", final=True)
    desk.recognizer.gate.set()
    assert await words(running, late, refused, final) == ["running", None, None, "final"]
    assert desk.sample("tenor_partials_skipped_total", reason="finals-only") == 1
    await desk.scheduler.close()


async def test_it_is_unhurried_while_no_final_waits_even_if_partials_are_rarer(desk: Desk) -> None:
    tasks = [await desk.ask("running"), await desk.ask("late", within=AGO)]
    seen = [desk.scheduler.unhurried]
    assert desk.sample("tenor_captions_degradation") == 1
    tasks.append(await desk.ask("final", final=True))
    seen.append(desk.scheduler.unhurried)
    desk.recognizer.gate.set()
    await words(*tasks)
    assert [*seen, desk.scheduler.unhurried] == [True, False, True]


async def test_where_partials_are_turned_off_there_are_only_finals(
    executor: ThreadPoolExecutor,
) -> None:
    desk = Desk(executor, partial_s=0.0)
    desk.recognizer.gate.set()
    partial, final = await desk.ask("partial"), await desk.ask("final", final=True)
    assert await words(partial, final) == [None, "final"]
    assert not desk.scheduler.unhurried
    assert desk.sample("tenor_captions_degradation") == 0
    await desk.scheduler.close()


async def test_a_partial_given_up_while_it_waits_is_not_heard(desk: Desk) -> None:
    running, given_up = await desk.ask("running"), await desk.ask("given up")
    given_up.cancel()
    desk.recognizer.gate.set()
    assert await words(running, await desk.ask("next")) == ["running", "next"]
    assert desk.recognizer.heard == [["running"], ["next"]]


async def test_a_poisonous_utterance_fails_alone(desk: Desk) -> None:
    running = await desk.ask("running")
    poison, sound = await desk.ask("poison", final=True), await desk.ask("sound", final=True)
    desk.recognizer.gate.set()
    assert await words(running, sound) == ["running", "sound"]
    with pytest.raises(ValueError, match="not to be heard"):
        await poison


async def test_waits_are_shown_by_kind(desk: Desk) -> None:
    desk.recognizer.gate.set()
    await words(await desk.ask("one"), await desk.ask("all", final=True))
    for kind in ("partial", "final"):
        assert desk.sample("tenor_queue_wait_seconds_count", model=f"speech-{kind}") == 1
    assert desk.sample("tenor_captions_degradation") == 0
