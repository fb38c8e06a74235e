"""What the fusion model remembers of a session, per channel, window after window. Pure.

A window is judged by what was remembered before it, and that again when it is corrected: so a
correction changes neither what comes later nor what was said meanwhile. Of the past only so much is
kept as may still be asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

Memory = Mapping[str, Any]
"""What the model remembers of one channel, as JSON values."""
Memories = Mapping[str, Memory]
"""By channel."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What is remembered after a window that ends at `end` (ms)."""

    end: int
    memories: Memories


@dataclass(slots=True)
class Tracks:
    """The moments of a session, in the order of time."""

    moments: list[Moment] = field(default_factory=list[Moment])

    def before(self, end: int) -> Memories:
        """What is remembered when a window that ends at `end` (ms) is judged."""
        earlier = [moment for moment in self.moments if moment.end < end]
        return earlier[-1].memories if earlier else {}

    def put(self, end: int, memories: Memories) -> None:
        """What is to be remembered of some channels after a window; those of one that was judged
        before, or is older than what was, have no effect."""
        if self.moments and self.moments[-1].end >= end:
            return
        last = self.moments[-1].memories if self.moments else {}
        self.moments.append(Moment(end, {**last, **memories}))

    def settle(self, until: int) -> None:
        """Windows that end at or before this time (ms) are judged no more."""
        settled = sum(moment.end <= until for moment in self.moments)
        del self.moments[: max(0, settled - 1)]

    def snapshot(self) -> list[Any]:
        """What `restore` needs, as JSON values."""
        return [[moment.end, dict(moment.memories)] for moment in self.moments]

    @classmethod
    def restore(cls, state: list[Any]) -> Self:
        """As they were at a snapshot."""
        return cls([Moment(end, memories) for end, memories in state])
