"""The clock of a worker's event loops."""

from __future__ import annotations

import asyncio
import time

from streams.fastloop import FastLoop, FastLoops


def test_its_policy_makes_it() -> None:
    loop = FastLoops().new_event_loop()
    assert isinstance(loop, FastLoop)
    loop.close()


def test_its_clock_goes_on_within_a_turn_and_tells_less_than_a_millisecond() -> None:
    async def seen() -> list[float]:
        clock = asyncio.get_running_loop().time
        times = [clock()]
        while times[-1] - times[0] < 0.002:
            times.append(clock())
        return times

    with asyncio.Runner(loop_factory=FastLoop) as runner:
        before, times, after = time.monotonic(), runner.run(seen()), time.monotonic()
    assert before <= times[0] < times[-1] <= after
    assert len({round(each, 5) for each in times}) > 10


def test_timers_go_by_that_clock() -> None:
    async def woken() -> tuple[float, float]:
        loop, fired = asyncio.get_running_loop(), asyncio.Event()
        due = loop.time() + 0.02
        loop.call_at(due, fired.set)
        await fired.wait()
        return due, loop.time()

    with asyncio.Runner(loop_factory=FastLoop) as runner:
        due, now = runner.run(woken())
    assert now >= due - 0.002  # libuv counts in whole milliseconds
