"""Whether a worker can work, and if not, why: said in one place, for /readyz and for the log.

A model hangs if a call of it does not come back, and fails if it refuses even its control, which a
sound model always answers. Neither is the fault of an event: events wait until the model answers
again, and if that takes too long the worker ends, with nothing of them acknowledged.

Pure: all times are seconds of one monotonic clock, which the caller reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

YOUNG_S: Final = 1.0
"""A model call of this age is not worth showing."""
BLOCKED_S: Final = 2.0
"""An event loop that wakes so late was blocked."""
TOLD_S: Final = 10.0
"""For so long after that it is told: while it lasted nobody could ask."""


@dataclass(slots=True)
class Vitals:
    """How one model does: its calls under way, and since when and how it fails.

    Calls begin and end on the model's threads; everything else is the event loop's.
    """

    model: str
    _begun: dict[object, float] = field(default_factory=dict)
    _failing: tuple[float, str] | None = None

    @contextmanager
    def call(self, clock: Callable[[], float]) -> Iterator[None]:
        """The block is a call of the model."""
        call = object()
        self._begun[call] = clock()
        try:
            yield
        finally:
            del self._begun[call]

    def answered(self) -> None:
        """A call came back with answers."""
        self._failing = None

    def refused(self, now: float, why: str) -> None:
        """The model refused its control."""
        self._failing = self._failing or (now, why)

    def stalled_s(self, now: float) -> float:
        """The age of the oldest call under way; 0 if there is none or all are young."""
        begun = list(self._begun.values())  # at once: a thread may add one
        age = now - min(begun, default=now)
        return age if age >= YOUNG_S else 0.0

    def failing_s(self, now: float) -> float:
        """For how long the model has answered nothing at all; 0 if it is sound."""
        return now - self._failing[0] if self._failing else 0.0

    def trouble(self, now: float, stall_s: float) -> str:
        """What is wrong, if anything; a call younger than `stall_s` is not."""
        if (stalled_s := self.stalled_s(now)) >= stall_s:
            return f"model {self.model} has not answered for {stalled_s:.0f} s"
        if self._failing:
            since, why = self._failing
            return f"model {self.model} has failed for {now - since:.0f} s: {why}"
        return ""


@dataclass(frozen=True, slots=True)
class Patience:
    """A call of a model may take `stall_s` before the worker is not ready, and `timeout_s` before
    it ends; so it does when a model has failed for `failure_s`. 0: it never does."""

    stall_s: float = 15.0
    timeout_s: float = 300.0
    failure_s: float = 60.0


@dataclass(slots=True)
class Health:
    """How a worker does. `stage` is why it is not at work, empty if it is."""

    patience: Patience
    stage: str = "starting"
    models: Sequence[Vitals] = ()
    _blocked: tuple[float, float] | None = None

    def woke(self, now: float, late_s: float) -> None:
        """The event loop woke so much later than asked."""
        if late_s >= BLOCKED_S:
            self._blocked = (now, late_s)

    def not_ready(self, now: float) -> str:
        """Why no work can be done now, empty if it can."""
        reasons = [self.stage, self._loop(now), *self.troubles(now).values()]
        return "; ".join(reason for reason in reasons if reason)

    def troubles(self, now: float) -> dict[str, str]:
        """What is wrong with each model that something is wrong with."""
        troubles = {each.model: each.trouble(now, self.patience.stall_s) for each in self.models}
        return {model: trouble for model, trouble in troubles.items() if trouble}

    def hopeless(self, now: float) -> str:
        """Why waiting does not help any more, empty if it may."""
        for each in self.models:
            timeout_s, failure_s = self.patience.timeout_s, self.patience.failure_s
            stalled = timeout_s and each.stalled_s(now) >= timeout_s
            failed = failure_s and each.failing_s(now) >= failure_s
            if stalled or failed:
                return each.trouble(now, timeout_s if stalled else self.patience.stall_s)
        return ""

    def under_way(self, now: float) -> bool:
        """Whether a model is stuck in a call: the process cannot end by itself then."""
        return any(each.stalled_s(now) for each in self.models)

    def _loop(self, now: float) -> str:
        if self._blocked is None or now - self._blocked[0] >= TOLD_S:
            return ""
        return f"the event loop was blocked for {self._blocked[1]:.1f} s"
