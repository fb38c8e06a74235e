"""The time of day; and a clock that skips idle time.

That one is to measure live behaviour as fast as the machine computes it: the time of its event loop
is real time plus all the waiting that was skipped. When nothing is ready, no job of an executor is
under way and only timers are pending, it jumps to the next timer; while models compute, time flows
as it really does. So the delays that a task sees are those of a live run on the same machine, and a
minute of audio paced by this clock takes only the seconds of its computation. It is for work inside
the process: it does not wait for the outside world.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def now_ms() -> int:
    """The time of day as events carry it: ms since 1970, UTC."""
    return time.time_ns() // 1_000_000


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop on that clock; use: `asyncio.Runner(loop_factory=SkippingLoop)`."""

    def __init__(self) -> None:
        self._skipped = 0.0
        self._jobs = 0
        super().__init__(_SkippingSelector(self._skip))

    def time(self) -> float:
        """Seconds, monotonic: real time and what was skipped."""
        return super().time() + self._skipped

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Until the job is done, or its future cancelled, nothing is skipped."""
        future = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _: asyncio.Future[T]) -> None:
        self._jobs -= 1

    def _skip(self, seconds: float) -> bool:
        if not self._jobs:
            self._skipped += seconds
        return not self._jobs


class _SkippingSelector(selectors.DefaultSelector):
    """Offers every wait for a timer to `skip`, and waits only if that declines."""

    def __init__(self, skip: Callable[[float], bool]) -> None:
        super().__init__()
        self._skip = skip

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As the base class, but a wait that was skipped is over at once."""
        return super().select(0 if timeout and self._skip(timeout) else timeout)
