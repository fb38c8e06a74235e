"""Micro-batching over sessions: one owner thread per device runs a model on what has queued up.

`pack` decides, and is pure; `Batcher` is the thin shell that waits, runs and answers. The wait for
more starts when the first item arrives, and an idle model runs a lone item at once after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Waiting(Generic[T]):
    """An item in the queue; only items of one `bucket` may share a batch."""

    item: T
    bucket: Hashable
    since: float


def pack(queue: Sequence[Waiting[T]], largest: int) -> list[int]:
    """Which places of the queue make the next batch: the oldest item and, in order of arrival, the
    next ones of its bucket, `largest` at most. Empty for an empty queue."""
    if not queue:
        return []
    same = (i for i, waiting in enumerate(queue) if waiting.bucket == queue[0].bucket)
    return [i for i, _ in zip(same, range(largest), strict=False)]


class Observer(Protocol):
    """Is told of each batch that was run: its size, the waits of its items and its duration (s)."""

    def __call__(self, model: str, size: int, waits: Sequence[float], seconds: float) -> None: ...


class Batcher(Generic[T, R]):
    """Collects items of all sessions into batches for `run`, which is called in `executor`.

    A batch that fails is run again item by item, so that one poisonous item fails alone.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[list[T]], Sequence[R]],
        executor: Executor,
        *,
        largest: int = 16,
        wait_s: float = 0.01,
        bucket: Callable[[T], Hashable] = lambda _: None,
        observe: Observer = lambda model, size, waits, seconds: None,
    ) -> None:
        self.name = name
        self._run = run
        self._executor = executor
        self._largest = largest
        self._wait_s = wait_s
        self._bucket = bucket
        self._observe = observe
        self._queue: list[tuple[Waiting[T], asyncio.Future[R]]] = []
        self._filled = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        """How many items wait."""
        return len(self._queue)

    async def submit(self, item: T) -> R:
        """The model's answer to this item; raises what the model raises for it alone."""
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name=f"batcher-{self.name}")
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._queue.append((Waiting(item, self._bucket(item), time.monotonic()), answer))
        self._filled.set()
        return await answer

    async def close(self) -> None:
        """Ends the worker; items that wait or are being run are cancelled."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker
        for _, answer in self._queue:
            answer.cancel()
        self._queue.clear()

    async def _work(self) -> None:
        while True:
            await self._filled.wait()
            await asyncio.sleep(self._patience())
            places = pack([waiting for waiting, _ in self._queue], self._largest)
            batch = [self._queue[i] for i in places]
            taken = set(places)
            self._queue = [entry for i, entry in enumerate(self._queue) if i not in taken]
            if not self._queue:
                self._filled.clear()
            try:
                await self._answer([(w, answer) for w, answer in batch if not answer.done()])
            finally:  # closed in the midst of it: nobody shall wait for ever
                for _, answer in batch:
                    answer.cancel()

    def _patience(self) -> float:
        """How long to wait for more (s)."""
        if not self._queue or len(self._queue) >= self._largest:
            return 0
        return max(0.0, self._queue[0][0].since + self._wait_s - time.monotonic())

    async def _answer(self, batch: list[tuple[Waiting[T], asyncio.Future[R]]]) -> None:
        if not batch:
            return
        loop, started = asyncio.get_running_loop(), time.monotonic()
        items = [waiting.item for waiting, _ in batch]
        try:
            results = await loop.run_in_executor(self._executor, self._run, items)
            answers = list(zip(batch, results, strict=True))
        except Exception as error:  # whatever a model raises is its item's answer
            await self._answer_one_by_one(batch, error)
            return
        self._observe(
            self.name,
            len(batch),
            [started - waiting.since for waiting, _ in batch],
            time.monotonic() - started,
        )
        for (_, answer), result in answers:
            if not answer.done():
                answer.set_result(result)

    async def _answer_one_by_one(
        self, batch: list[tuple[Waiting[T], asyncio.Future[R]]], error: Exception
    ) -> None:
        if len(batch) > 1:
            for entry in batch:
                await self._answer([entry])
        elif not batch[0][1].done():
            batch[0][1].set_exception(error)
