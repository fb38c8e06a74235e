"""Micro-batches: who shares one, and that every submitter gets an answer."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from streams.batching import Batcher, Waiting, pack


def queue(buckets: str) -> list[Waiting[int]]:
    return [Waiting(place, bucket, 0.0) for place, bucket in enumerate(buckets)]


@pytest.mark.parametrize(
    ("buckets", "largest", "batch"),
    [
        ("", 4, []),
        ("a", 4, [0]),
        ("aaaaaa", 4, [0, 1, 2, 3]),
        ("abab", 4, [0, 2]),
        ("baaa", 4, [0]),
        ("abbabaa", 3, [0, 3, 5]),
    ],
)
def test_pack_takes_the_oldest_and_what_may_go_with_it(
    buckets: str, largest: int, batch: list[int]
) -> None:
    assert pack(queue(buckets), largest) == batch


@dataclass
class Doubler:
    """A model that doubles numbers, and remembers who asked for what."""

    batches: list[list[int]] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    poison: int | None = None
    broken: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    started: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def __call__(self, items: list[int]) -> Sequence[int]:
        self.started.set()
        self.gate.wait(10)
        self.batches.append(items)
        self.threads.add(threading.current_thread().name)
        if self.broken:
            raise OSError("the device is gone")
        if self.poison in items:
            raise ValueError(f"cannot double {self.poison}")
        return [2 * item for item in items]


Make = Callable[..., Batcher[int, int]]


@pytest.fixture
async def batcher() -> AsyncIterator[Make]:
    made: list[Batcher[int, int]] = []

    def make(
        model: Callable[[list[int]], Sequence[int]],
        largest: int = 16,
        bucket: Callable[[int], Hashable] = lambda _: None,
        **rest: object,
    ) -> Batcher[int, int]:
        made.append(
            Batcher("double", model, executor, largest=largest, bucket=bucket, **rest)  # type: ignore[arg-type]
        )
        return made[-1]

    with ThreadPoolExecutor(1, thread_name_prefix="device") as executor:
        yield make
        for each in made:
            await each.close()


async def submit_all(batcher: Batcher[int, int], items: Sequence[int]) -> list[object]:
    return list(await asyncio.gather(*(batcher.submit(i) for i in items), return_exceptions=True))


async def test_items_of_one_bucket_share_a_batch(batcher: Make) -> None:
    model = Doubler()
    assert await submit_all(batcher(model, bucket=lambda i: i % 2), range(6)) == [0, 2, 4, 6, 8, 10]
    assert model.batches == [[0, 2, 4], [1, 3, 5]]


async def test_no_batch_is_larger_than_the_largest(batcher: Make) -> None:
    model = Doubler()
    assert await submit_all(batcher(model, largest=4), range(10)) == [2 * i for i in range(10)]
    assert [len(batch) for batch in model.batches] == [4, 4, 2]


async def test_the_model_runs_in_the_executor(batcher: Make) -> None:
    model = Doubler()
    await submit_all(batcher(model), range(3))
    assert all(name.startswith("device") for name in model.threads)


async def test_a_poisonous_item_fails_alone(batcher: Make) -> None:
    model = Doubler(poison=2)
    answers = await submit_all(batcher(model), range(4))
    assert isinstance(answers.pop(2), ValueError)
    assert answers == [0, 2, 6]


async def test_a_model_that_answers_too_little_fails_and_the_next_batch_runs(
    batcher: Make,
) -> None:
    forgetful: Batcher[int, int] = batcher(lambda items: [2 * i for i in items if i != 1])
    answers = await submit_all(forgetful, range(3))
    assert isinstance(answers.pop(1), ValueError)
    assert answers == [0, 4]
    assert await forgetful.submit(5) == 10


async def test_what_was_cancelled_while_it_waited_is_not_run(batcher: Make) -> None:
    model = Doubler()
    doubler = batcher(model)
    tasks = [asyncio.create_task(doubler.submit(i)) for i in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    assert [await tasks[0], await tasks[2]] == [0, 4]
    assert model.batches == [[0, 2]]


async def test_close_leaves_nobody_waiting(batcher: Make) -> None:
    """Neither those in the queue nor those whose batch is being run."""
    model = Doubler()
    model.gate.clear()
    doubler = batcher(model, largest=2)
    tasks = [asyncio.create_task(doubler.submit(i)) for i in range(5)]
    await asyncio.to_thread(model.started.wait, 10)
    assert doubler.depth == 3
    await doubler.close()
    model.gate.set()
    answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)
    assert doubler.depth == 0


async def test_each_batch_is_reported(batcher: Make) -> None:
    seen: list[tuple[str, Sequence[int], int]] = []

    def observe(model: str, batch: Sequence[int], waits: Sequence[float], seconds: float) -> None:
        assert min(waits) >= 0
        assert seconds >= 0
        seen.append((model, batch, len(waits)))

    await submit_all(batcher(Doubler(), largest=2, observe=observe), range(3))
    assert seen == [("double", [0, 1], 2), ("double", [2], 1)]


async def test_what_is_given_up_leaves_the_queue_at_once(batcher: Make) -> None:
    model = Doubler()
    model.gate.clear()
    doubler = batcher(model, largest=1)
    tasks = [asyncio.create_task(doubler.submit(i)) for i in range(3)]
    await asyncio.to_thread(model.started.wait, 10)
    tasks[1].cancel()
    assert doubler.depth == 1
    model.gate.set()
    assert [await tasks[0], await tasks[2]] == [0, 4]
    assert model.batches == [[0], [2]]


async def test_what_is_given_up_while_its_batch_fails_is_not_run_again(batcher: Make) -> None:
    model = Doubler(poison=0)
    model.gate.clear()
    doubler = batcher(model)
    tasks = [asyncio.create_task(doubler.submit(i)) for i in range(3)]
    await asyncio.to_thread(model.started.wait, 10)
    tasks[1].cancel()
    model.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert model.batches == [[0, 1, 2], [0], [2]]


async def test_what_is_withdrawn_is_told_why(batcher: Make) -> None:
    model = Doubler()
    doubler = batcher(model)
    tasks = [asyncio.create_task(doubler.submit(i)) for i in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    doubler.withdraw(lambda item: item % 2 == 1, KeyError)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [answers[0], answers[2]] == [0, 4]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert isinstance(answers[3], KeyError)
    assert model.batches == [[0, 2]]


async def test_another_order_may_be_asked_for(batcher: Make) -> None:
    def latest(queue: Sequence[Waiting[int]], largest: int) -> list[int]:
        return list(range(len(queue)))[-largest:]

    model = Doubler()
    assert await submit_all(batcher(model, pack=latest, largest=2), range(4)) == [0, 2, 4, 6]
    assert model.batches == [[2, 3], [0, 1]]


async def test_what_all_have_to_wait_with_waits_for_the_end_of_a_batch() -> None:
    asked: list[int] = []
    model = Doubler()
    model.gate.clear()

    def one_at_a_time(queue: Sequence[Waiting[int]], largest: int) -> list[int]:
        asked.append(len(queue))
        return [0] if queue and not doubler.running else []

    with ThreadPoolExecutor(2) as executor:
        doubler = Batcher[int, int]("double", model, executor, workers=2, pack=one_at_a_time)
        tasks = [asyncio.create_task(doubler.submit(i)) for i in range(3)]
        await asyncio.to_thread(model.started.wait, 10)
        looked = len(asked)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(asked) == looked  # nobody looks again and again
        assert doubler.running == [[0]]
        model.gate.set()
        assert await asyncio.wait_for(asyncio.gather(*tasks), 10) == [0, 2, 4]
        assert model.batches == [[0], [1], [2]]
        assert doubler.running == []
        await doubler.close()


async def test_what_all_have_to_wait_with_waits_for_another_item(batcher: Make) -> None:
    def pairs(queue: Sequence[Waiting[int]], largest: int) -> list[int]:
        return [0, 1] if len(queue) > 1 else []

    model = Doubler()
    doubler = batcher(model, pack=pairs, wait_s=0.0)
    tasks = [asyncio.create_task(doubler.submit(1))]
    for _ in range(5):
        await asyncio.sleep(0)
    assert doubler.depth == 1
    tasks.append(asyncio.create_task(doubler.submit(2)))
    assert await asyncio.wait_for(asyncio.gather(*tasks), 10) == [2, 4]
    assert model.batches == [[1, 2]]


async def test_as_many_batches_run_side_by_side_as_there_are_workers() -> None:
    side_by_side = threading.Barrier(2, timeout=10)

    def model(items: list[int]) -> list[int]:
        side_by_side.wait()
        return items

    with ThreadPoolExecutor(2) as executor:
        both: Batcher[int, int] = Batcher("both", model, executor, workers=2, largest=1)
        assert await submit_all(both, range(4)) == [0, 1, 2, 3]
        await both.close()


async def test_waits_and_durations_are_of_the_clock_of_the_loop(
    batcher: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def observe(model: str, batch: Sequence[int], waits: Sequence[float], seconds: float) -> None:
        seen.extend([*waits, seconds])

    loop = asyncio.get_running_loop()
    ticks = itertools.count(loop.time(), 100.0)
    doubler = batcher(Doubler(), wait_s=0.0, observe=observe)
    monkeypatch.setattr(loop, "time", lambda: next(ticks))
    assert await doubler.submit(1) == 2
    monkeypatch.undo()
    assert min(seen) >= 100


CONTROL = 1000


async def test_a_failure_that_the_control_does_not_share_is_the_items(batcher: Make) -> None:
    model, failed = Doubler(poison=2), list[str]()
    doubler = batcher(model, control=[CONTROL], failed=failed.append)
    answers = await submit_all(doubler, range(4))
    assert isinstance(answers.pop(2), ValueError)
    assert answers == [0, 2, 6]
    assert model.batches == [[0, 1, 2, 3], [0], [1], [2], [CONTROL], [3]]
    assert failed == ["double", "double"]
    assert not doubler.vitals.failing_s(1e9)


async def test_a_failure_that_the_control_shares_is_the_models_and_all_wait(
    batcher: Make,
) -> None:
    model = Doubler(poison=2, broken=True)
    doubler = batcher(model, control=[CONTROL], retry_s=0.001)
    asked = asyncio.create_task(submit_all(doubler, range(4)))
    while len(model.batches) < 10:  # noqa: ASYNC110  (a batch tells nobody)
        await asyncio.sleep(0.001)
    clock = asyncio.get_running_loop().time
    assert not asked.done()
    assert 0 < doubler.vitals.failing_s(clock()) < 60
    assert doubler.vitals.trouble(clock(), 60).endswith("OSError")
    model.broken = False
    answers = await asked
    assert isinstance(answers.pop(2), ValueError)
    assert answers == [0, 2, 6]
    assert not doubler.vitals.failing_s(clock())


async def test_what_is_given_up_while_the_model_fails_is_not_run_again(batcher: Make) -> None:
    model = Doubler(broken=True)
    doubler = batcher(model, control=[CONTROL], retry_s=0.001)
    given_up, awaited = (asyncio.create_task(doubler.submit(i)) for i in (1, 2))
    while len(model.batches) < 10:  # noqa: ASYNC110  (a batch tells nobody)
        await asyncio.sleep(0.001)
    given_up.cancel()
    model.broken = False
    assert await awaited == 4
    assert model.batches[-1] == [2]


async def test_a_call_counts_from_when_its_thread_begins(batcher: Make) -> None:
    """Two models share a thread: the one that hangs is named, not the one behind it."""
    hangs, behind = Doubler(), Doubler()
    hangs.gate.clear()
    first, second = batcher(hangs), batcher(behind)
    tasks = [asyncio.create_task(first.submit(1))]
    await asyncio.to_thread(hangs.started.wait, 10)
    tasks.append(asyncio.create_task(second.submit(1)))
    await asyncio.sleep(0.05)
    later = asyncio.get_running_loop().time() + 60
    assert first.vitals.stalled_s(later) >= 60
    assert second.vitals.stalled_s(later) == 0
    hangs.gate.set()
    assert await asyncio.gather(*tasks) == [2, 2]
    assert first.vitals.stalled_s(later) == 0
