"""Which offset of each partition may be committed while its records finish in any order.

Pure: no I/O, no clock, no Kafka. One thread (the event loop's) owns a tracker.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import NewType, TypeAlias

Partition: TypeAlias = tuple[str, int]
"""(topic, partition number)"""

Token = NewType("Token", int)
"""One delivery of one record; never given twice."""

# A heap is rebuilt when more than half of it, and more than this, are records that are done.
_SLACK = 64


@dataclass(slots=True)
class _Deliveries:
    """The records of one partition that are being worked on."""

    in_flight: dict[int, Token] = field(default_factory=dict)
    # Every offset of `in_flight`, and some that are done: those leave when they reach the top.
    heap: list[int] = field(default_factory=list)
    end: int = 0

    def begin(self, offset: int, token: Token) -> None:
        if offset not in self.in_flight:
            heapq.heappush(self.heap, offset)
        self.in_flight[offset] = token
        self.end = max(self.end, offset + 1)

    def done(self, offset: int, token: Token) -> bool:
        if self.in_flight.get(offset) != token:
            return False
        del self.in_flight[offset]
        if len(self.heap) > 2 * len(self.in_flight) + _SLACK:
            self.heap = list(self.in_flight)
            heapq.heapify(self.heap)
        return True

    def position(self) -> int:
        while self.heap and self.heap[0] not in self.in_flight:
            heapq.heappop(self.heap)
        return self.heap[0] if self.heap else self.end


class OffsetTracker:
    """The records in flight, per partition, and the position that is safe to commit.

    Every operation takes O(log n) amortised, n being the records in flight of the partition;
    memory is O(n), however many records finish behind one that does not.
    """

    def __init__(self) -> None:
        self._partitions: dict[Partition, _Deliveries] = {}
        self._tokens = count()

    def begin(self, partition: Partition, offset: int) -> Token:
        """A record was delivered. A repeated delivery supersedes the one before it."""
        token = Token(next(self._tokens))
        self._partitions.setdefault(partition, _Deliveries()).begin(offset, token)
        return token

    def done(self, partition: Partition, offset: int, token: Token) -> bool:
        """All that this delivery leads to is safe.

        False, and without effect, if it was done already, was superseded, or is from before the
        partition was dropped: then whoever has the partition now answers for the record.
        """
        deliveries = self._partitions.get(partition)
        return deliveries is not None and deliveries.done(offset, token)

    def current(self, partition: Partition, offset: int, token: Token) -> bool:
        """Whether this delivery still counts: not done, superseded or dropped."""
        deliveries = self._partitions.get(partition)
        return deliveries is not None and deliveries.in_flight.get(offset) == token

    def position(self, partition: Partition) -> int | None:
        """The next offset to read after a restart: the lowest in flight, else one past the highest
        seen; None if nothing was delivered since the partition came."""
        deliveries = self._partitions.get(partition)
        return None if deliveries is None else deliveries.position()

    def drop(self, partitions: Iterable[Partition]) -> None:
        """The partitions went to another worker, or begin anew from what was committed."""
        for partition in partitions:
            self._partitions.pop(partition, None)

    def in_flight(self, partition: Partition) -> int:
        """How many records of the partition are being worked on."""
        deliveries = self._partitions.get(partition)
        return 0 if deliveries is None else len(deliveries.in_flight)

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._partitions)
