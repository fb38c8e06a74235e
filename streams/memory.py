"""Gives the system back what was freed.

glibc keeps freed memory that lies between blocks still in use. Decoding speech leaves so much of it
that a worker would be shown 130 to 220 MB larger than what it needs, for good.
"""

from __future__ import annotations

import asyncio
import ctypes
from typing import Final

EVERY_S: Final = 10.0


def trim() -> bool:
    """Returns freed memory to the system; False if this C library cannot (only glibc can)."""
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return False
    malloc_trim(ctypes.c_size_t(0))
    return True


async def keep_trimmed() -> None:
    """Trims every `EVERY_S`, in a thread; returns at once where it cannot be done."""
    while True:
        if not await asyncio.to_thread(trim):
            return
        await asyncio.sleep(EVERY_S)
