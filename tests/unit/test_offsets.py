"""The cases of the offset tracker that have cost events before, by name."""

from __future__ import annotations

import random
import sys

import pytest

from streams.offsets import OffsetTracker, Partition

P: Partition = ("audio", 0)


@pytest.mark.parametrize("held", [{50}, {0}, {0, 200, 201, 300}, {399}])
def test_a_held_record_holds_the_position_and_the_end_is_reached(held: set[int]) -> None:
    tracker = OffsetTracker()
    tokens = {offset: tracker.begin(P, offset) for offset in range(400)}
    others = [offset for offset in tokens if offset not in held]
    random.Random(1).shuffle(others)
    for offset in others:
        tracker.done(P, offset, tokens[offset])
    for offset in sorted(held):
        assert tracker.position(P) == offset
        tracker.done(P, offset, tokens[offset])
    assert tracker.position(P) == 400


def test_nothing_is_known_of_a_partition_without_deliveries() -> None:
    tracker = OffsetTracker()
    assert tracker.position(P) is None
    assert list(tracker) == []


def test_compacted_offsets_do_not_hold_the_position() -> None:
    tracker = OffsetTracker()
    for offset in (3, 17, 90):
        tracker.done(P, offset, tracker.begin(P, offset))
    assert tracker.position(P) == 91


def test_a_late_done_of_an_earlier_assignment_does_not_complete_the_replay() -> None:
    tracker = OffsetTracker()
    before = tracker.begin(P, 7)
    tracker.drop([P])
    assert not tracker.done(P, 7, before)
    assert tracker.position(P) is None
    again = tracker.begin(P, 7)
    assert not tracker.done(P, 7, before)
    assert tracker.position(P) == 7
    assert tracker.done(P, 7, again)
    assert tracker.position(P) == 8


def test_memory_is_bounded_by_what_is_in_flight() -> None:
    tracker = OffsetTracker()
    tracker.begin(P, 0)
    for offset in range(1, 200_000):
        tracker.done(P, offset, tracker.begin(P, offset))
    assert tracker.position(P) == 0
    assert tracker.in_flight(P) == 1
    assert sys.getsizeof(tracker._partitions[P].heap) < 4096
