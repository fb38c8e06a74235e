"""Who is decoded next, and what gives way under load: the recogniser shared by all sessions.

Finals are what must be right and complete, partials only what is nice to see early. So finals go
first, partials leave one of several decoders to them, sessions take turns, and when decodes wait
too long, partials are asked for less often and then not at all (`Overload`); finals are never
refused. `pack_decodes`, `outdated` and `Overload` are pure; `DecodeScheduler` is the shell that
asks them and owns the queue.

All times are seconds of the event loop's clock.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from models.base import Transcript, Utterance
from streams import tracing
from streams.batching import Batcher, Waiting
from streams.health import Vitals
from streams.metrics import Metrics

Queue = Sequence[Waiting["Decode"]]


@dataclass(frozen=True, slots=True, eq=False)
class Decode:
    """One utterance of a session to be recognised; `deadline` is when its text is wanted."""

    utterance: Utterance
    session: str
    final: bool
    deadline: float


def pack_decodes(queue: Queue, largest: int, *, partials: int = 0, workers: int = 1) -> list[int]:
    """Which places of the queue make the next batch of at most `largest`, while `partials` batches
    of partials are run by as many of the `workers`.

    One of several workers is kept for finals: none of them waits because all decode partials.
    Finals come before partials; among these the n-th of a session after the (n-1)-th of all others;
    among these the earliest deadline. A batch is of one kind and one bucket: room beside finals is
    not filled with partials, because a batch takes the longer the more there are in it.
    """
    if workers > 1 and partials >= workers - 1 and not _has_final(queue):
        return []
    turns: Counter[tuple[str, bool]] = Counter()
    order: list[tuple[bool, int, float, int]] = []
    for place, decode in enumerate(waiting.item for waiting in queue):
        lane = (decode.session, decode.final)
        order.append((not decode.final, turns[lane], decode.deadline, place))
        turns[lane] += 1
    places = [place for *_, place in sorted(order)]
    return [place for place in places if _alike(queue[place], queue[places[0]])][:largest]


def _has_final(queue: Queue) -> bool:
    return any(waiting.item.final for waiting in queue)


def _alike(one: Waiting[Decode], other: Waiting[Decode]) -> bool:
    return one.item.final == other.item.final and one.bucket == other.bucket


def outdated(queue: Queue, now: float) -> list[Decode]:
    """The partials that are too late already and would still have to let a final go first."""
    if not _has_final(queue):
        return []
    return [w.item for w in queue if not w.item.final and w.item.deadline < now]


@dataclass(frozen=True, slots=True)
class Limits:
    """When load is too much, and how captions give way to it. All but `stretches` in seconds.

    A final that waits for `final_s` or a partial that waits for `partial_s` or beyond its deadline
    is too much; when nothing waits for even half as long, it is calm. A rung is taken at most every
    `rise_s`, and given back after `calm_s` of calm. `stretches` are the rungs: the factors by which
    partials become rarer; after the last one there are none.
    """

    final_s: float = 0.5
    partial_s: float = 1.5
    rise_s: float = 1.0
    calm_s: float = 5.0
    stretches: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 4.0)


DEFAULTS: Final = Limits()
LOOK_AGAIN_S: Final = 1.0
"""Under overload the queue is looked at as often as this at least."""


@dataclass(slots=True)
class Overload:
    """How far captions are degraded, in the declared order: a ladder that is climbed under load.

    It is shown the queue whenever something comes or goes. Up quickly and down slowly
    (hysteresis), so that captions do not flicker between two ways of working.
    """

    limits: Limits = DEFAULTS
    _rung: int = 0
    _moved: float = float("-inf")
    _stirred: float = float("-inf")

    @property
    def level(self) -> int:
        """0: all is done; 1: fewer partials; 2: finals only."""
        if self._rung == 0:
            return 0
        return 1 if self._rung < len(self.limits.stretches) else 2

    def partials_every(self, normal_s: float) -> float | None:
        """The time between partials of an utterance that may be asked for now; None: no partials"""
        if self.level == 2:
            return None
        return normal_s * self.limits.stretches[self._rung]

    def look(self, queue: Queue, now: float) -> None:
        """Takes note of what waits; `now` must not go back."""
        strain = max((self._strain(waiting, now) for waiting in queue), default=0.0)
        if strain >= 0.5:
            self._stirred = now
        if strain >= 1:
            self._climb(now)
        else:
            self._descend(now)

    def _strain(self, waiting: Waiting[Decode], now: float) -> float:
        """How long it has waited, as a share of what is too much."""
        if waiting.item.final:
            return (now - waiting.since) / self.limits.final_s
        late = 1.0 if now > waiting.item.deadline else 0.0
        return max(late, (now - waiting.since) / self.limits.partial_s)

    def _climb(self, now: float) -> None:
        if now - self._moved >= self.limits.rise_s:
            self._rung = min(self._rung + 1, len(self.limits.stretches))
            self._moved = now

    def _descend(self, now: float) -> None:
        if self._rung and now - max(self._moved, self._stirred) >= self.limits.calm_s:
            self._rung -= 1
            self._moved = now


class DecodeScheduler:
    """Decodes for all sessions with `run`, which is called in `executor`, `workers` at a time.

    `bucket` says which utterances can go through together, `largest` how many, `partial_s` is the
    time between partials of an utterance while there is no overload; 0: there are never any.
    `control` are utterances that a sound recogniser always answers (`Batcher`).
    """

    def __init__(
        self,
        run: Callable[[list[Utterance]], Sequence[Transcript]],
        bucket: Callable[[Utterance], Hashable],
        executor: Executor,
        *,
        workers: int,
        largest: int,
        wait_s: float,
        metrics: Metrics,
        partial_s: float = 0.7,
        limits: Limits = DEFAULTS,
        control: Sequence[Utterance] = (),
    ) -> None:
        self._metrics = metrics
        self._partial_s = partial_s
        self._workers = workers
        self._overload = Overload(limits)
        self._again: asyncio.TimerHandle | None = None
        self._batcher: Batcher[Decode, Transcript] = Batcher(
            "speech",
            lambda decodes: run([decode.utterance for decode in decodes]),
            executor,
            workers=workers,
            largest=largest,
            wait_s=wait_s,
            bucket=lambda decode: bucket(decode.utterance),
            pack=self._pack,
            observe=self._observe,
            control=[Decode(utterance, "", True, 0.0) for utterance in control],
            failed=metrics.observe_failure,
        )

    @property
    def vitals(self) -> Vitals:
        """How the recogniser does."""
        return self._batcher.vitals

    async def final(self, session: str, utterance: Utterance, deadline: float) -> Transcript:
        """What was said in a whole utterance; raises what the recogniser raises for it alone."""
        with tracing.span("decode final"):
            return await self._batcher.submit(Decode(utterance, session, True, deadline))

    async def partial(
        self, session: str, utterance: Utterance, deadline: float
    ) -> Transcript | None:
        """What was said so far; None if overload leaves no time for it."""
        reason = "finals-only"
        if self.partials_every() is not None:
            try:
                with tracing.span("decode partial"):
                    return await self._batcher.submit(Decode(utterance, session, False, deadline))
            except _OutdatedError:
                reason = "outdated"
        self._metrics.partials_skipped.labels(reason).inc()
        return None

    def partials_every(self) -> float | None:
        """Seconds between partials of an utterance that may be asked for now; None: no partials."""
        self._look(self._batcher.waiting)
        if not self._partial_s:
            return None
        return self._overload.partials_every(self._partial_s)

    @property
    def unhurried(self) -> bool:
        """Whether there is time for what may turn out not to be needed: partials are decoded, and
        no final waits that it would delay."""
        return self.partials_every() is not None and not _has_final(self._batcher.waiting)

    async def close(self) -> None:
        """Ends it; decodes that wait or are being run are cancelled."""
        if self._again is not None:
            self._again.cancel()
        await self._batcher.close()

    def _pack(self, queue: Queue, largest: int) -> list[int]:
        now = self._look(queue)
        late = set(outdated(queue, now))
        self._batcher.withdraw(lambda decode: decode in late, _OutdatedError)
        partials = sum(not batch[0].final for batch in self._batcher.running)
        return pack_decodes(queue, largest, partials=partials, workers=self._workers)

    def _look(self, queue: Queue) -> float:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._overload.look(queue, now)
        self._metrics.degradation.set(self._overload.level)
        if self._overload.level and self._again is None:  # it must end even if all fall silent
            self._again = loop.call_later(LOOK_AGAIN_S, self._look_again)
        return now

    def _look_again(self) -> None:
        self._again = None
        self._look(self._batcher.waiting)

    def _observe(
        self, model: str, batch: Sequence[Decode], waits: Sequence[float], seconds: float
    ) -> None:
        kind = "final" if batch[0].final else "partial"
        self._metrics.observe_batch(f"{model}-{kind}", batch, waits, seconds)


class _OutdatedError(Exception):
    """A partial left the queue because its time was over."""
