"""Micro-batching over sessions: the owner threads of a device run a model on what has queued up.

A `Pack` decides, and is pure; `Batcher` is the thin shell that waits, runs and answers. The wait
for more starts when the first item arrives, and an idle model runs a lone item at once after it.
All times are of the event loop's clock.

Whether a failure is the item's or the model's is decided here and nowhere else, as in any
experiment: by a control. If the model answers that, the item is at fault and its submitter is told;
if not, the model is, and the item waits until it is sound again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from streams import tracing
from streams.health import Vitals

T = TypeVar("T")
R = TypeVar("R")

RETRY_S: Final = 1.0
"""Between two tries whether a model that failed is sound again."""


@dataclass(frozen=True, slots=True)
class Waiting(Generic[T]):
    """An item in the queue; only items of one `bucket` may share a batch. `trace` is its own."""

    item: T
    bucket: Hashable
    since: float
    trace: str = ""


def pack(queue: Sequence[Waiting[T]], largest: int) -> list[int]:
    """Which places of the queue make the next batch: the oldest item and, in order of arrival, the
    next ones of its bucket, `largest` at most. Empty for an empty queue."""
    if not queue:
        return []
    same = (i for i, waiting in enumerate(queue) if waiting.bucket == queue[0].bucket)
    return [i for i, _ in zip(same, range(largest), strict=False)]


Pack = Callable[[Sequence[Waiting[T]], int], list[int]]
"""Which places of the queue, in order of arrival, make the next batch, at most so many, and all of
one bucket. None, though something waits: not before a batch has ended or an item has come."""

Observer = Callable[[str, Sequence[T], Sequence[float], float], None]
"""Is told of each batch that was run: model, items, how long each waited, and its duration (s)."""

Entry = tuple[Waiting[T], asyncio.Future[R]]


class Batcher(Generic[T, R]):
    """Collects items of all sessions into batches for `run`, which is called in `executor`.

    At most `workers` batches run at a time; the executor has that many threads, so that a batch
    starts when it is packed. A batch that fails is run again item by item, so that one poisonous
    item fails alone, if the model answers `control`: items that a sound model always answers. If
    not, nothing is answered until it does (with no control, every failure is the item's). What its
    submitter no longer awaits is not run. `vitals` tell how the model does, and `failed` hears of
    every call that raised, by the model's name.
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
        control: Sequence[T] = (),
        failed: Callable[[str], None] = lambda model: None,
        retry_s: float = RETRY_S,
    ) -> None:
        self.name = name
        self.vitals = Vitals(name)
        self._run = run
        self._executor = executor
        self._most = workers
        self._largest = largest
        self._wait_s = wait_s
        self._bucket = bucket
        self._pack = pack
        self._observe = observe
        self._control = list(control)
        self._failed = failed
        self._retry_s = retry_s
        self._queue: list[Entry[T, R]] = []
        self._running: dict[int, list[T]] = {}
        self._stirred = asyncio.Event()
        self._workers: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> list[Waiting[T]]:
        """What waits and is still awaited, in order of arrival."""
        return [waiting for waiting, answer in self._queue if not answer.done()]

    @property
    def running(self) -> list[list[T]]:
        """The batches that are being run."""
        return list(self._running.values())

    @property
    def depth(self) -> int:
        """How many items wait."""
        return len(self.waiting)

    async def submit(self, item: T) -> R:
        """The model's answer to this item; raises what the model raises for it alone."""
        loop = asyncio.get_running_loop()
        if not self._workers:
            self._workers = [
                asyncio.create_task(self._work(number), name=f"batcher-{self.name}-{number}")
                for number in range(self._most)
            ]
        answer: asyncio.Future[R] = loop.create_future()
        waiting = Waiting(item, self._bucket(item), loop.time(), tracing.here())
        self._queue.append((waiting, answer))
        self._stirred.set()
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

    async def _work(self, number: int) -> None:
        while True:
            await self._stirred.wait()
            await asyncio.sleep(self._patience())
            if batch := self._take():
                await self._see_through(number, batch)

    async def _see_through(self, number: int, batch: list[Entry[T, R]]) -> None:
        self._running[number] = [waiting.item for waiting, _ in batch]
        try:
            await self._answer(batch)
        finally:
            del self._running[number]
            if self._queue:  # what had to wait for the end of this
                self._stirred.set()
            for _, answer in batch:  # closed in the midst of it: nobody shall wait for ever
                answer.cancel()

    def _patience(self) -> float:
        """How long to wait for more (s)."""
        if not self._queue or len(self._queue) >= self._largest:
            return 0
        now = asyncio.get_running_loop().time()
        return max(0.0, self._queue[0][0].since + self._wait_s - now)

    def _take(self) -> list[Entry[T, R]]:
        """The next batch, out of the queue; empty if all that waits has to wait on."""
        awaited = [entry for entry in self._queue if not entry[1].done()]
        places = self._pack([waiting for waiting, _ in awaited], self._largest)
        taken = set(places)
        self._queue = [entry for i, entry in enumerate(awaited) if i not in taken]
        if not (self._queue and places):
            self._stirred.clear()
        return [awaited[i] for i in places]

    async def _answer(self, batch: list[Entry[T, R]]) -> None:
        """Runs a batch until whoever still awaits an item of it has an answer."""
        while batch := [entry for entry in batch if not entry[1].done()]:
            try:
                await self._run_together(batch)
            except Exception as error:  # whatever a model raises
                await self._find_fault(batch, error)

    async def _run_together(self, batch: list[Entry[T, R]]) -> None:
        clock = asyncio.get_running_loop().time
        started, items = clock(), [waiting.item for waiting, _ in batch]
        results = await self._call(items)
        waits, seconds = [started - waiting.since for waiting, _ in batch], clock() - started
        self._observe(self.name, items, waits, seconds)
        tracing.called(self.name, [waiting.trace for waiting, _ in batch], waits, seconds)
        for (_, answer), result in zip(batch, results, strict=True):
            if not answer.done():
                answer.set_result(result)

    async def _find_fault(self, batch: list[Entry[T, R]], error: Exception) -> None:
        """Of several, each is tried alone. One is told if it is at fault; if the model is, this
        returns after a while without an answer, and the item may be tried again."""
        if len(batch) > 1:
            for entry in batch:
                await self._answer([entry])
        elif await self._is_sound():
            if not batch[0][1].done():
                batch[0][1].set_exception(error)
        else:
            await asyncio.sleep(self._retry_s)

    async def _is_sound(self) -> bool:
        """Whether the model answers its control."""
        if not self._control:
            return True
        try:
            await self._call(self._control)
        except Exception as error:
            # Not the error's own text: that of a driver may be long, and change with every call.
            self.vitals.refused(asyncio.get_running_loop().time(), type(error).__name__)
            return False
        return True

    async def _call(self, items: list[T]) -> Sequence[R]:
        """An answer for each item. Raises what the model raises."""
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._executor, self._watched, items, loop.time)
            if len(results) != len(items):
                raise ValueError(f"{len(results)} answers to {len(items)} items")
        except Exception:
            self._failed(self.name)
            raise
        self.vitals.answered()
        return results

    def _watched(self, items: list[T], clock: Callable[[], float]) -> Sequence[R]:
        """On the model's thread, so that the wait for that does not count."""
        with self.vitals.call(clock):
            return self._run(items)
