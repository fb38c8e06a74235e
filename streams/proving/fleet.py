"""Workers as a supervisor keeps them: what ends is started again at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Self

import psutil

from streams.processes import CLI, READY_S, WorkerProcess

WATCH_S: Final = 0.1
ENDING: Final = (signal.SIGKILL, signal.SIGTERM)


@dataclass(slots=True, eq=False)
class Slot:
    """One place for a worker; `told_to_end` tells what was done to it from what it did itself."""

    number: int
    worker: WorkerProcess
    starts: int = 1
    told_to_end: bool = False
    frozen: bool = False


class Fleet:
    """Use as `async with`: in the end no process is left."""

    def __init__(
        self, folder: Path, settings: Mapping[str, str], command: Sequence[str] = CLI
    ) -> None:
        self.restarts = 0
        self.ended_by_themselves = 0
        self.peak_rss = 0
        """Bytes; the most that all workers together had at a time."""
        self._folder = folder
        self._settings = settings
        self._command = command
        self._slots: list[Slot] = []
        self._numbers = 0
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop_watching()
        for slot in self._slots:
            slot.worker.kill()

    @property
    def workers(self) -> list[WorkerProcess]:
        """Those that run now."""
        return [slot.worker for slot in self._slots]

    async def start(self, count: int) -> None:
        """Starts so many workers and waits until they work. Raises ProcessError."""
        self.grow(count)
        await asyncio.gather(*(asyncio.to_thread(slot.worker.ready) for slot in self._slots))

    async def settled(self) -> None:
        """Waits until all workers work, those too that have just been started again; for a while:
        one that never does is not for this to find out."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if all(await asyncio.gather(*(asyncio.to_thread(_works, s) for s in self._slots))):
                return
            await asyncio.sleep(WATCH_S)

    def grow(self, count: int) -> None:
        """Starts so many more; they are not ready yet."""
        for _ in range(count):
            self._slots.append(Slot(self._numbers, self._started(self._numbers, 1)))
            self._numbers += 1

    async def shrink(self, count: int, chance: Random) -> None:
        """Asks so many to end for good, and waits until they have."""
        leaving = chance.sample(self._slots, count)
        self._slots = [slot for slot in self._slots if slot not in leaving]
        try:
            await asyncio.gather(*(asyncio.to_thread(slot.worker.stop) for slot in leaving))
        except asyncio.CancelledError:
            for slot in leaving:
                slot.worker.kill()
            raise

    async def retire(self) -> None:
        """Ends all workers politely."""
        await self._stop_watching()
        await self.shrink(len(self._slots), Random(0))  # noqa: S311  (all of them)

    async def signal(self, number: signal.Signals, chance: Random) -> Slot:
        """Sends a signal to one of the workers that run."""
        await asyncio.sleep(2 * WATCH_S)  # so that what has just ended runs again
        slot = chance.choice([s for s in self._slots if not s.worker.ended and not s.frozen])
        slot.told_to_end = slot.told_to_end or number in ENDING
        slot.worker.process.send_signal(number)
        return slot

    async def freeze(self, seconds: float, slot: Slot) -> None:
        """Lets a worker that was stopped go on after a while."""
        slot.frozen = True
        try:
            await asyncio.sleep(seconds)
        finally:
            slot.worker.process.send_signal(signal.SIGCONT)
            slot.frozen = False

    def _started(self, number: int, times: int) -> WorkerProcess:
        log = self._folder / f"worker-{number}-{times}.log"
        return WorkerProcess.start(log, self._settings, command=self._command)

    async def _watch(self) -> None:
        while True:
            for slot in self._slots:
                if slot.worker.ended:
                    self._restart(slot)
            self.peak_rss = max(self.peak_rss, sum(_rss(s.worker) for s in self._slots))
            await asyncio.sleep(WATCH_S)

    def _restart(self, slot: Slot) -> None:
        self.restarts += 1
        self.ended_by_themselves += not slot.told_to_end
        slot.starts += 1
        slot.told_to_end = False
        slot.worker = self._started(slot.number, slot.starts)

    async def _stop_watching(self) -> None:
        if self._watching:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
            self._watching = None


def _works(slot: Slot) -> bool:
    return not slot.worker.ended and slot.worker.works


def _rss(worker: WorkerProcess) -> int:
    try:
        return int(psutil.Process(worker.process.pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
