"""Native threads can be told apart by their names."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from streams.threads import executor, name_of, named

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names are read from /proc")


def own_name() -> str:
    return name_of(os.getpid(), threading.get_native_id())


def test_threads_of_an_executor_have_its_name() -> None:
    with executor(2, "decoder") as threads:
        assert threads.submit(own_name).result() == "decoder"


def test_a_thread_that_is_made_within_inherits_the_name_and_the_maker_has_its_own_back() -> None:
    seen: list[str] = []
    before = own_name()
    with named("speech"):
        made = threading.Thread(target=lambda: seen.append(own_name()))
        made.start()
        made.join()
    assert (seen, own_name()) == (["speech"], before)


def test_a_long_name_is_cut() -> None:
    with named("a name of many letters"):
        assert own_name() == "a name of many "
