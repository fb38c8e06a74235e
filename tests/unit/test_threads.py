"""Native threads can be told apart by their names, and give way where they shall."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from streams.threads import NICER, executor, in_thread, name_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have neither")


def own_name() -> str:
    return name_of(os.getpid(), threading.get_native_id())


def nice(thread: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread)


def own_nice() -> int:
    return nice(threading.get_native_id())


def test_threads_of_an_executor_have_its_name() -> None:
    with executor(2, "decoder") as threads:
        assert threads.submit(own_name).result() == "decoder"


def test_what_gives_way_is_nicer_and_the_rest_of_the_process_is_not() -> None:
    before = nice(os.getpid())
    with executor(1, "decoder", gives_way=True) as heavy, executor(1, "light") as light:
        assert heavy.submit(own_nice).result() == min(before + NICER, 19)
        assert light.submit(own_nice).result() == before
    assert nice(os.getpid()) == before


def test_a_thread_that_is_made_in_a_thread_is_like_it() -> None:
    seen: list[tuple[str, int]] = []

    def load() -> str:
        made = threading.Thread(target=lambda: seen.append((own_name(), own_nice())))
        made.start()
        made.join()
        return "model"

    assert in_thread("speech", load, gives_way=True) == "model"
    assert seen == [("speech", min(nice(os.getpid()) + NICER, 19))]


def test_what_is_raised_in_a_thread_is_told() -> None:
    with pytest.raises(ZeroDivisionError):
        in_thread("speech", lambda: 1 / 0)


def test_a_long_name_is_cut() -> None:
    assert in_thread("a name of many letters", own_name) == "a name of many "
