"""The event loops of a worker: uvloop's, which take less for every wake-up than those of asyncio.

A worker has many: its own, and one in the thread of each of Faust's consumers.
"""

from __future__ import annotations

import asyncio
import time

import uvloop


class FastLoop(uvloop.Loop):
    """uvloop's event loop, whose clock does not stand still while it is at a turn, and tells more
    than whole milliseconds: models are measured by it."""

    def time(self) -> float:
        """Seconds, monotonic."""
        return time.monotonic()


class FastLoops(asyncio.DefaultEventLoopPolicy):
    """Makes such loops; use: `asyncio.set_event_loop_policy(FastLoops())`."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return FastLoop()
