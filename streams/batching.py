"""Micro-batching over sessions: the owner threads of a device run a model on what has queued up.

A `Pack` decides, and is pure; `Batcher` is the thin shell that waits, runs and answers. The wait
for more starts when the first item arrives, and an idle model runs a lone item at once after it.
All times are of the event loop's clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

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


Pack = Callable[[Sequence[Waiting[T]], int], list[int]]
"""Which places of the queue, in order of arrival, make the next batch, at most so many: one at
least if anything waits, and all of one bucket."""

Observer = Callable[[str, Sequence[T], Sequence[float], float], None]
"""Is told of each batch that was run: model, items, how long each waited, and its duration (s)."""

Entry = tuple[Waiting[T], asyncio.Future[R]]


class Batcher(Generic[T, R]):
    """Collects items of all sessions into batches for `run`, which is called in `executor`.

    At most `workers` batches run at a time; the executor has that many threads, so that a batch
    starts when it is packed. A batch that fails is run again item by item, so that one poisonous
    item fails alone. What its submitter no longer awaits is not run.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[list[T]], Sequence[R]],
        executor: Executor,
        *,
        workers: int = 1,
        largest: int = 16,
        wait_s: float = 0.01,
        bucket: Callable[[T], Hashable] = lambda _: None,
        pack: Pack[T] = pack,
        observe: Observer[T] = lambda model, batch, waits, seconds: None,
    ) -> None:
        self.name = name
        self._run = run
        self._executor = executor
        self._most = workers
        self._largest = largest
        self._wait_s = wait_s
        self._bucket = bucket
        self._pack = pack
        self._observe = observe
        self._queue: list[Entry[T, R]] = []
        self._filled = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> list[Waiting[T]]:
        """What waits and is still awaited, in order of arrival."""
        return [waiting for waiting, answer in self._queue if not answer.done()]

    @property
    def depth(self) -> int:
        """How many items wait."""
        return len(self.waiting)

    async def submit(self, item: T) -> R:
        """The model's answer to this item; raises what the model raises for it alone."""
        loop = asyncio.get_running_loop()
        if not self._workers:
            names = (f"batcher-{self.name}-{i}" for i in range(self._most))
            self._workers = [asyncio.create_task(self._work(), name=name) for name in names]
        answer: asyncio.Future[R] = loop.create_future()
        self._queue.append((Waiting(item, self._bucket(item), loop.time()), answer))
        self._filled.set()
        return await answer

    def withdraw(self, unwanted: Callable[[T], bool], why: Callable[[], Exception]) -> None:
        """Takes the unwanted items out of those that wait; their `submit` raises `why()`."""
        for waiting, answer in self._queue:
            if unwanted(waiting.item) and not answer.done():
                answer.set_exception(why())

    async def close(self) -> None:
        """Ends the workers; items that wait or are being run are cancelled."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for _, answer in self._queue:
            answer.cancel()
        self._queue.clear()

    async def _work(self) -> None:
        while True:
            await self._filled.wait()
            await asyncio.sleep(self._patience())
            batch = self._take()
            try:
                await self._answer(batch)
            finally:  # closed in the midst of it: nobody shall wait for ever
                for _, answer in batch:
                    answer.cancel()

    def _patience(self) -> float:
        """How long to wait for more (s)."""
        if not self._queue or len(self._queue) >= self._largest:
            return 0
        now = asyncio.get_running_loop().time()
        return max(0.0, self._queue[0][0].since + self._wait_s - now)

    def _take(self) -> list[Entry[T, R]]:
        """The next batch, out of the queue; empty if another worker was quicker."""
        awaited = [entry for entry in self._queue if not entry[1].done()]
        places = self._pack([waiting for waiting, _ in awaited], self._largest)
        taken = set(places)
        self._queue = [entry for i, entry in enumerate(awaited) if i not in taken]
        if not self._queue:
            self._filled.clear()
        return [awaited[i] for i in places]

    async def _answer(self, batch: list[Entry[T, R]]) -> None:
        if not batch:
            return
        loop = asyncio.get_running_loop()
        started = loop.time()
        items = [waiting.item for waiting, _ in batch]
        try:
            results = await loop.run_in_executor(self._executor, self._run, items)
            answers = list(zip(batch, results, strict=True))
        except Exception as error:  # whatever a model raises is its item's answer
            await self._answer_one_by_one(batch, error)
            return
        self._observe(
            self.name,
            items,
            [started - waiting.since for waiting, _ in batch],
            loop.time() - started,
        )
        for (_, answer), result in answers:
            if not answer.done():
                answer.set_result(result)

    async def _answer_one_by_one(self, batch: list[Entry[T, R]], error: Exception) -> None:
        if len(batch) > 1:
            for entry in batch:
                await self._answer([entry] if not entry[1].done() else [])
        elif not batch[0][1].done():
            batch[0][1].set_exception(error)
