"""Why a worker is not ready, and when waiting does not help any more."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from streams.health import BLOCKED_S, TOLD_S, YOUNG_S, Health, Patience, Vitals

PATIENCE = Patience(stall_s=10, timeout_s=100, failure_s=30)


def health(*models: Vitals, patience: Patience = PATIENCE) -> Health:
    return Health(patience, stage="", models=models)


def in_call(since: float, model: str = "speech") -> tuple[ExitStack, Vitals]:
    """A model with a call under way; the stack ends it."""
    vitals, calls = Vitals(model), ExitStack()
    calls.enter_context(vitals.call(lambda: since))
    return calls, vitals


def test_a_worker_is_ready_when_nothing_speaks_against_it() -> None:
    assert Health(PATIENCE).not_ready(0.0) == "starting"
    assert not health(Vitals("speech")).not_ready(0.0)


def test_a_call_that_does_not_come_back_is_told_until_it_does() -> None:
    calls, vitals = in_call(since=5.0)
    ill = health(vitals)
    assert not ill.not_ready(14.9)
    assert ill.not_ready(39.0) == "model speech has not answered for 34 s"
    calls.close()
    assert not ill.not_ready(39.0)
    assert vitals.stalled_s(39.0) == 0


def test_the_oldest_call_counts_and_young_ones_do_not() -> None:
    calls, vitals = in_call(since=1.0)
    calls.enter_context(vitals.call(lambda: 7.0))
    assert vitals.stalled_s(8.0) == 7.0
    calls.close()
    with vitals.call(lambda: 8.0):
        assert vitals.stalled_s(8.0 + 0.9 * YOUNG_S) == 0
    with pytest.raises(ZeroDivisionError), vitals.call(lambda: 0.0):
        raise ZeroDivisionError
    assert vitals.stalled_s(1000.0) == 0


def test_calls_may_begin_on_threads_while_one_looks() -> None:
    vitals, over = Vitals("speech"), threading.Event()

    def work() -> None:
        while not over.is_set():
            with vitals.call(lambda: 0.0):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    try:
        assert {vitals.stalled_s(5.0) for _ in range(20_000)} <= {0.0, 5.0}
    finally:
        over.set()
        for each in threads:
            each.join()


def test_a_model_that_fails_is_told_since_its_first_failure_until_its_first_answer() -> None:
    vitals = Vitals("text")
    vitals.refused(5.0, "RuntimeError")
    vitals.refused(7.0, "OSError")
    assert health(vitals).not_ready(8.0) == "model text has failed for 3 s: RuntimeError"
    vitals.answered()
    assert not health(vitals).not_ready(8.0)
    vitals.refused(9.0, "OSError")
    assert health(vitals).not_ready(9.0) == "model text has failed for 0 s: OSError"


def test_all_that_is_wrong_is_told() -> None:
    calls, hanging = in_call(since=0.0)
    failing = Vitals("text")
    failing.refused(0.0, "OSError")
    ill = health(hanging, failing, Vitals("vad"))
    ill.stage = "stopping"
    assert ill.not_ready(20.0).split("; ") == [
        "stopping",
        "model speech has not answered for 20 s",
        "model text has failed for 20 s: OSError",
    ]
    assert ill.troubles(20.0).keys() == {"speech", "text"}
    calls.close()


@pytest.mark.parametrize(
    ("patience", "at", "hopeless"),
    [
        (PATIENCE, 99.0, False),
        (PATIENCE, 100.0, True),
        (Patience(10, 0, 30), 1e9, False),
    ],
)
def test_a_call_may_take_so_long(patience: Patience, at: float, hopeless: bool) -> None:
    calls, vitals = in_call(since=0.0)
    assert bool(health(Vitals("vad"), vitals, patience=patience).hopeless(at)) is hopeless
    assert health(vitals).under_way(at)
    calls.close()
    assert not health(vitals, patience=patience).hopeless(at)
    assert not health(vitals).under_way(at)


@pytest.mark.parametrize(
    ("patience", "at", "hopeless"),
    [
        (PATIENCE, 29.0, False),
        (PATIENCE, 30.0, True),
        (Patience(10, 100, 0), 1e9, False),
    ],
)
def test_a_model_may_fail_for_so_long(patience: Patience, at: float, hopeless: bool) -> None:
    vitals = Vitals("speech")
    vitals.refused(0.0, "RuntimeError")
    why = health(vitals, patience=patience).hopeless(at)
    assert why == (f"model speech has failed for {at:.0f} s: RuntimeError" if hopeless else "")


def test_that_the_event_loop_was_blocked_is_told_for_a_while() -> None:
    ill = health()
    ill.woke(5.0, 0.9 * BLOCKED_S)
    assert not ill.not_ready(5.0)
    ill.woke(6.0, 3.25)
    ill.woke(6.1, 0.0)
    assert ill.not_ready(6.0 + 0.9 * TOLD_S) == "the event loop was blocked for 3.2 s"
    assert not ill.not_ready(6.0 + TOLD_S)
