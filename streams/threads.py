"""Threads that compute: their names as the system shows them (`top -H`, /proc), and who goes first.

A native thread inherits the name and the priority of the one that made it: a library that starts
threads of its own when it loads a model is loaded in a thread of that model's name. What computes
for long gives way to the event loop. Linux only; elsewhere nothing happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

SET_NAME: Final = 15
"""PR_SET_NAME of Linux's prctl."""
LONGEST: Final = 15
"""Bytes of a name."""
NICER: Final = 10
"""Than the process: by Linux's weights, a tenth of a core that both want."""


def name_thread(name: str) -> None:
    """Gives the calling thread a name."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(SET_NAME, name.encode()[:LONGEST], 0, 0, 0)


def name_of(process: int, thread: int) -> str:
    """The name of a thread by its ids. Raises OSError: it is not there, or this is not Linux."""
    return Path(f"/proc/{process}/task/{thread}/comm").read_text(encoding="utf-8").rstrip("\n")


def give_way() -> None:
    """Lets the calling thread compute where others of this process need not; for good, because
    the system lets nobody take it back."""
    if sys.platform != "linux":  # elsewhere a thread has no priority of its own
        return
    with contextlib.suppress(OSError):
        nice = os.getpriority(os.PRIO_PROCESS, os.getpid()) + NICER
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


def executor(count: int, name: str, *, gives_way: bool = False) -> ThreadPoolExecutor:
    """So many threads of that name."""
    return ThreadPoolExecutor(count, name, initializer=_begin, initargs=(name, gives_way))


def in_thread(name: str, call: Callable[[], T], *, gives_way: bool = False) -> T:
    """What `call` returns in a new thread of that name, after which its native threads are like it.
    Raises what `call` raises."""
    with executor(1, name, gives_way=gives_way) as thread:
        return thread.submit(call).result()


def _begin(name: str, gives_way: bool) -> None:
    name_thread(name)
    if gives_way:
        give_way()
