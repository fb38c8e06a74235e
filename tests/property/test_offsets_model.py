"""The offset tracker against a naive model: a list of every delivery, searched anew each time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streams.offsets import OffsetTracker, Partition, Token

P: Partition = ("audio", 0)
Q: Partition = ("audio", 1)


class Tracking(RuleBasedStateMachine):
    """Two partitions; records begin, finish in any order, are repeated, and partitions leave."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = OffsetTracker()
        self.deliveries: list[tuple[Partition, int, Token]] = []  # all ever made
        self.current: dict[tuple[Partition, int], Token] = {}  # the latest, until it is done
        self.end: dict[Partition, int] = {}

    @rule(partition=st.sampled_from([P, Q]), gap=st.integers(0, 3))
    def deliver_next(self, partition: Partition, gap: int) -> None:
        self.deliver(partition, self.end.get(partition, 0) + gap)

    @rule(partition=st.sampled_from([P, Q]), offset=st.integers(0, 40))
    def deliver(self, partition: Partition, offset: int) -> None:
        token = self.tracker.begin(partition, offset)
        self.deliveries.append((partition, offset, token))
        self.current[partition, offset] = token
        self.end[partition] = max(self.end.get(partition, 0), offset + 1)

    @rule(data=st.data())
    def finish_any(self, data: st.DataObject) -> None:
        if not self.deliveries:
            return
        partition, offset, token = data.draw(st.sampled_from(self.deliveries))
        counts = self.current.get((partition, offset)) == token
        assert self.tracker.done(partition, offset, token) == counts
        if counts:
            del self.current[partition, offset]

    @rule(partition=st.sampled_from([P, Q]))
    def revoke(self, partition: Partition) -> None:
        self.tracker.drop([partition])
        self.end.pop(partition, None)
        self.current = {key: token for key, token in self.current.items() if key[0] != partition}

    @invariant()
    def position_is_the_lowest_unfinished_else_the_end(self) -> None:
        for partition in (P, Q):
            unfinished = [offset for where, offset in self.current if where == partition]
            expected = min(unfinished) if unfinished else self.end.get(partition)
            assert self.tracker.position(partition) == expected
            assert self.tracker.in_flight(partition) == len(unfinished)


Tracking.TestCase.settings = settings(max_examples=200, stateful_step_count=60)
TestTracking = Tracking.TestCase
