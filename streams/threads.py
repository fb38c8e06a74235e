"""Names of threads as the system shows them (`top -H`, /proc), to tell what computes.

A native thread inherits the name of the one that made it: a library that starts threads of its own
when it loads a model is loaded under that model's name. Linux only; elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

SET_NAME: Final = 15
"""PR_SET_NAME of Linux's prctl."""
LONGEST: Final = 15
"""Bytes of a name."""


def name_thread(name: str) -> None:
    """Gives the calling thread a name."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(SET_NAME, name.encode()[:LONGEST], 0, 0, 0)


def name_of(process: int, thread: int) -> str:
    """The name of a thread by its ids. Raises OSError: it is not there, or this is not Linux."""
    return Path(f"/proc/{process}/task/{thread}/comm").read_text(encoding="utf-8").rstrip("\n")


@contextmanager
def named(name: str) -> Iterator[None]:
    """What the block makes of native threads has this name."""
    before = _own_name()
    name_thread(name)
    try:
        yield
    finally:
        name_thread(before)


def _own_name() -> str:
    try:
        return Path("/proc/thread-self/comm").read_text(encoding="utf-8").rstrip("\n")
    except OSError:
        return threading.current_thread().name


def executor(count: int, name: str) -> ThreadPoolExecutor:
    """So many threads of that name."""
    return ThreadPoolExecutor(count, name, initializer=name_thread, initargs=(name,))
