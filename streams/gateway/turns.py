"""Turns at what only few may do at once, with a bound on who waits for theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from streams.gateway.problems import Kind, Problem

if TYPE_CHECKING:
    from streams.gateway.gate import Lease


class Turns:
    """A place for so many at once; so many others may wait. `full` is told to who may not."""

    def __init__(self, places: int, waiting: int, full: str, retry_after_s: float = 5) -> None:
        self._places = asyncio.Semaphore(places)
        self._waiting = waiting
        self._full = full
        self._retry_after_s = retry_after_s

    @asynccontextmanager
    async def turn(self, lease: Lease | None = None) -> AsyncIterator[None]:
        """Raises Problem 503 where too many wait, or what ended the lease while it waited."""
        if not self._waiting:
            raise Problem(Kind.UNAVAILABLE, self._full, retry_after_s=self._retry_after_s)
        self._waiting -= 1
        try:
            acquiring = self._places.acquire()
            await (lease.wait(acquiring) if lease else acquiring)
        finally:
            self._waiting += 1
        try:
            yield
        finally:
            self._places.release()
