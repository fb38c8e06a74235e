"""The clock that skips idle time: waiting costs nothing, work costs what it costs.

Real time is bounded from above only where the skipped time is far beyond any load of a machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streams.clock import SkippingLoop

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def run() -> Iterator[Run]:
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        yield runner.run


def now() -> float:
    return asyncio.get_running_loop().time()


async def _taken(work: Coroutine[Any, Any, Any]) -> float:
    begun = now()
    await work
    return now() - begun


def test_sleep_takes_no_real_time(run: Run) -> None:
    begun = time.monotonic()
    assert run(_taken(asyncio.sleep(10_000))) >= 10_000
    assert time.monotonic() - begun < 1_000


def test_a_job_takes_its_real_time(run: Run) -> None:
    assert run(_taken(asyncio.to_thread(time.sleep, 0.2))) >= 0.2


def test_nothing_is_skipped_while_a_job_is_under_way(run: Run) -> None:
    async def both() -> tuple[float, float]:
        begun, real = now(), time.monotonic()
        job = asyncio.create_task(asyncio.to_thread(time.sleep, 0.2))
        await asyncio.sleep(0.1)
        await asyncio.sleep(0.05)
        await job
        return now() - begun, time.monotonic() - real

    virtual, real = run(both())
    assert virtual == pytest.approx(real, abs=0.01)


def test_what_a_job_delays_comes_late_and_what_follows_does_not(run: Run) -> None:
    """A device that is busy for 0.2 s, while a timer falls due each 0.05 s."""

    async def work() -> list[float]:
        begun, times = now(), []
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as device:
            job = loop.run_in_executor(device, time.sleep, 0.2)
            for tick in range(1, 100):
                await asyncio.sleep(begun + tick * 0.05 - now())
                times.append(now() - begun)
            await job
        return times

    times = run(work())
    assert all(at >= tick * 0.05 for tick, at in enumerate(times, start=1))
    assert times[-1] == pytest.approx(99 * 0.05, abs=0.04)


def test_a_job_that_fails_or_is_cancelled_is_under_way_no_more(run: Run) -> None:
    async def work() -> None:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        job = asyncio.create_task(asyncio.to_thread(time.sleep, 0.05))
        await asyncio.sleep(0)
        job.cancel()
        await asyncio.sleep(10_000)

    begun = time.monotonic()
    run(work())
    assert time.monotonic() - begun < 1_000


def test_timers_come_in_their_order(run: Run) -> None:
    async def work() -> list[int]:
        order: list[int] = []

        async def wait(seconds: int) -> None:
            await asyncio.sleep(seconds)
            order.append(seconds)

        await asyncio.gather(*(wait(seconds) for seconds in (500, 100, 300, 200, 400)))
        return order

    assert run(work()) == [100, 200, 300, 400, 500]
