"""Freed memory goes back to the system."""

from __future__ import annotations

import platform

import psutil
import pytest

from streams.memory import trim

BLOCKS, SIZE = 100_000, 1000  # larger than what Python keeps for itself


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked")
def test_what_lies_between_blocks_in_use_is_given_back() -> None:
    process = psutil.Process()
    blocks = [bytes(SIZE) for _ in range(BLOCKS)]
    last = blocks.pop()  # holds the heap at its size
    del blocks
    before = process.memory_info().rss
    assert trim()
    assert before - process.memory_info().rss > BLOCKS * SIZE / 2
    assert len(last) == SIZE
