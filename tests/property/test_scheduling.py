"""Which decode is next and what gives way, for any queue and any course of load."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.base import Utterance
from streams.batching import Waiting
from streams.scheduling import DEFAULTS, Decode, Overload, pack_decodes

NO_AUDIO = np.zeros(0, np.float32)
RUNGS = len(DEFAULTS.stretches)


@st.composite
def queues(draw: st.DrawFn) -> list[Waiting[Decode]]:
    decodes = st.tuples(
        st.sampled_from("abc"), st.booleans(), st.integers(0, 9), st.sampled_from((12, 20))
    )
    return [
        Waiting(Decode(Utterance(NO_AUDIO), session, final, float(deadline)), bucket, float(since))
        for since, (session, final, deadline, bucket) in enumerate(draw(st.lists(decodes)))
    ]


def turns(queue: Sequence[Waiting[Decode]]) -> list[int]:
    """For each place, how many of its session and kind wait before it."""
    lanes = [(waiting.item.session, waiting.item.final) for waiting in queue]
    return [lanes[:place].count(lane) for place, lane in enumerate(lanes)]


@given(queues(), st.integers(1, 5))
def test_a_batch_is_as_large_as_it_may_and_of_one_kind(
    queue: list[Waiting[Decode]], largest: int
) -> None:
    places = pack_decodes(queue, largest)
    kinds = [(waiting.item.final, waiting.bucket) for waiting in queue]
    assert len(set(places)) == len(places)
    assert len({kinds[place] for place in places}) <= 1
    assert len(places) == (min(largest, kinds.count(kinds[places[0]])) if queue else 0)


@given(queues(), st.integers(1, 5))
def test_finals_go_first_then_heads_of_sessions_by_deadline(
    queue: list[Waiting[Decode]], largest: int
) -> None:
    places = pack_decodes(queue, largest)
    if not queue:
        return
    final = any(waiting.item.final for waiting in queue)
    heads = [
        waiting.item.deadline
        for waiting, turn in zip(queue, turns(queue), strict=True)
        if waiting.item.final == final and turn == 0
    ]
    first = queue[places[0]].item
    assert (first.final, first.deadline) == (final, min(heads))


@given(queues(), st.integers(1, 5), st.integers(1, 4), st.integers(0, 4))
def test_only_partials_wait_for_a_worker_that_is_kept_for_finals(
    queue: list[Waiting[Decode]], largest: int, workers: int, partials: int
) -> None:
    places = pack_decodes(queue, largest, partials=partials, workers=workers)
    kept = workers > 1 and workers - partials <= 1
    finals = any(waiting.item.final for waiting in queue)
    assert places == ([] if kept and not finals else pack_decodes(queue, largest))


@given(queues(), st.integers(1, 5))
def test_no_session_has_a_second_turn_in_a_batch_before_the_first_of_another(
    queue: list[Waiting[Decode]], largest: int
) -> None:
    places = pack_decodes(queue, largest)
    kinds = [(waiting.item.final, waiting.bucket) for waiting in queue]
    left = [i for i in range(len(queue)) if i not in places and kinds[i] == kinds[places[0]]]
    turn = turns(queue)
    assert all(turn[taken] <= turn[other] for taken in places for other in left)


Look = tuple[float, float | None, float | None]
"""Seconds since the last look, and for how long a final and a partial have waited by then."""

waits = st.none() | st.floats(0, 3)
looks = st.lists(st.tuples(st.floats(0, 8), waits, waits), max_size=60)


@dataclass
class Watched:
    """An overload and its clock."""

    overload: Overload = field(default_factory=Overload)
    now: float = 0.0

    def look(self, after: float, final: float | None, partial: float | None) -> None:
        self.now += after
        ages = ((True, final), (False, partial))
        decodes = [
            Waiting(Decode(Utterance(NO_AUDIO), "a", kind, 1e9), None, self.now - age)
            for kind, age in ages
            if age is not None
        ]
        self.overload.look(decodes, self.now)

    def every(self) -> float:
        """The time between partials in units of the normal; infinite if there are none."""
        every = self.overload.partials_every(1.0)
        return float("inf") if every is None else every


def watched(history: Iterable[Look]) -> Watched:
    made = Watched()
    for look in history:
        made.look(*look)
    return made


@given(looks)
def test_degradation_keeps_the_declared_order(history: list[Look]) -> None:
    """None, then partials ever rarer, then none; never two rungs at once."""
    ladder = [*DEFAULTS.stretches, float("inf")]
    made, rung = Watched(), 0
    for look in history:
        made.look(*look)
        now = ladder.index(made.every())
        assert abs(now - rung) <= 1
        assert made.overload.level == (0 if now == 0 else 2 if now == RUNGS else 1)
        rung = now


@given(looks, st.booleans())
def test_sustained_load_leads_to_finals_only_and_calm_back(
    history: list[Look], of_finals: bool
) -> None:
    made = watched(history)
    too_long = (DEFAULTS.final_s if of_finals else DEFAULTS.partial_s) + 0.01
    load = (too_long, None) if of_finals else (None, too_long)
    for _ in range(RUNGS + 1):
        made.look(DEFAULTS.rise_s + 0.01, *load)
    assert made.overload.level == 2
    for _ in range(RUNGS):
        made.look(DEFAULTS.calm_s + 0.01, None, None)
    assert made.overload.level == 0


@given(looks, st.lists(st.tuples(st.floats(0, 8), st.floats(0.51, 0.99)), max_size=30))
def test_between_calm_and_too_much_nothing_moves(
    history: list[Look], between: list[tuple[float, float]]
) -> None:
    made = watched(history)
    every = made.every()
    for after, share in between:
        made.look(after, share * DEFAULTS.final_s, share * DEFAULTS.partial_s)
        assert made.every() == every


def test_a_partial_beyond_its_deadline_is_too_much_however_short_its_wait() -> None:
    overload = Overload()
    overload.look([Waiting(Decode(Utterance(NO_AUDIO), "a", False, 1.0), None, 1.0)], 1.1)
    assert overload.level == 1
