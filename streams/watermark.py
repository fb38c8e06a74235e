"""How far a session's event time is complete: what its sources report, and which of them are idle.

A source is an input ("text") or a channel of one ("audio/customer"). Those that report progress
hold event time back to what they reported, the sparse others have `lateness` to arrive. Pure:
idleness is never measured here, it is read from the log like everything else.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

INPUTS: Final = frozenset({"audio", "text", "images"})
"""Where a session's events come from; it is over when all of them have ended."""

SPARSE: Final = -1
"""The mark of a source that does not report progress."""

Names = frozenset[str]

NOTHING: Final[Mapping[str, int]] = MappingProxyType({})
"""Shared: there are many sessions, and most have nothing to note there."""


@dataclass(slots=True)
class Sources:
    """Who takes part in a session, and how far each of them is.

    `marks` has the event time (ms) that each source reported, `untils` that of inputs without
    reports, told by their ticks; `origins` per input the place in its own log of the last tick or
    end that had an effect. `declared` inputs are waited for until they are among the `seen`;
    `reporting` are those of which a source reports. `hushed`: a tick has left all sources idle, and
    none was heard since.
    """

    marks: dict[str, int] = field(default_factory=dict)
    untils: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    origins: dict[str, int] = field(default_factory=dict)
    idle: Names = frozenset()
    ended: Names = frozenset()
    declared: Names = frozenset()
    seen: Names = frozenset()
    reporting: Names = frozenset()
    hushed: bool = False

    @property
    def alive(self) -> bool:
        """Whether anything is under way."""
        return bool(self.marks or self.ended or self.declared)

    @property
    def quiet(self) -> bool:
        """Whether no source is live and no declared input is still to come."""
        return len(self.idle) == len(self.marks) and self.declared <= self.seen

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be expected. Where the inputs were not declared, only a tick
        can tell an input that the session does not have from one whose agent is behind."""
        return self.quiet and (self.hushed or bool(self.declared) or self.ended >= INPUTS)

    @property
    def reported(self) -> int:
        """The latest time (ms) that any source reported."""
        return max(self.marks.values(), default=0)

    def time(self, lateness: int) -> int:
        """Event time (ms) up to which no live source has anything more to say."""
        if not self.declared <= self.seen:
            return 0
        live = {name: mark for name, mark in self.marks.items() if name not in self.idle}
        reports = [mark for mark in live.values() if mark != SPARSE]
        if not reports:
            reports = [self.untils.get(input_of(name), 0) for name in live]
        dated = self.reporting | self.ended >= (self.declared or INPUTS)
        return min(reports, default=0) - (0 if dated else lateness)

    def repeats(self, input_: str, origin: int) -> bool:
        """Whether a signal with this origin is the repetition of an agent that was restarted."""
        return 0 <= origin <= self.origins.get(input_, -1)

    def hear(self, source: str) -> None:
        """A sign of life; of an input that has ended none is one."""
        if source in self.marks and source not in self.idle:
            return
        self.marks.setdefault(sys.intern(source), SPARSE)
        self._see(input_of(source))
        if input_of(source) in self.ended:
            self.idle = _shared(self.idle | {source})
        else:
            self.idle = _shared(self.idle - {source})
            self.hushed = False

    def report(self, source: str, time: int, declared: Names = frozenset()) -> None:
        """Everything of the source that ends at or before `time` (ms) has come."""
        self.hear(source)
        mark = self.marks[source]
        if mark == SPARSE:
            self.reporting = _shared(self.reporting | {input_of(source)})
        self.marks[source] = max(mark, time)
        if not declared <= self.declared:
            self.declared = _shared(self.declared | (declared & INPUTS))

    def fall_silent(self, input_: str, idle: Names, until: int, origin: int) -> None:
        """These sources shall hold nothing back; of this input, all until `until` (ms) has come."""
        self._signed(input_, origin)
        if until:
            self.untils = {**self.untils, input_: max(self.untils.get(input_, 0), until)}
        self.idle = _shared(self.idle | (idle & self.marks.keys()))
        self.hushed = self.quiet and bool(self.marks)
        if self.hushed:
            self.untils = NOTHING  # nobody is left whom they would hold back

    def end(self, input_: str, origin: int) -> None:
        """Nothing more will come from this input."""
        self._signed(input_, origin)
        self.ended = _shared(self.ended | {input_})
        over = {source for source in self.marks if input_of(source) == input_}
        self.idle = _shared(self.idle | over)

    def snapshot(self) -> dict[str, Any]:
        """What `restore` needs, as JSON values."""
        return {
            "marks": dict(self.marks),
            "untils": dict(self.untils),
            "origins": dict(self.origins),
            "idle": sorted(self.idle),
            "ended": sorted(self.ended),
            "declared": sorted(self.declared),
            "seen": sorted(self.seen),
            "hushed": self.hushed,
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Sources:
        """As they were at a snapshot."""
        return cls(
            marks={sys.intern(source): mark for source, mark in state["marks"].items()},
            untils=dict(state["untils"]) or NOTHING,
            origins=dict(state["origins"]),
            idle=_shared(frozenset(state["idle"])),
            ended=_shared(frozenset(state["ended"])),
            declared=_shared(frozenset(state["declared"])),
            seen=_shared(frozenset(state["seen"])),
            reporting=_shared(
                frozenset(input_of(name) for name, mark in state["marks"].items() if mark != SPARSE)
            ),
            hushed=state["hushed"],
        )

    def _see(self, input_: str) -> None:
        if input_ not in self.seen:
            self.seen = _shared(self.seen | {input_})

    def _signed(self, input_: str, origin: int) -> None:
        self._see(input_)
        if origin >= 0:
            self.origins[input_] = origin


def input_of(source: str) -> str:
    """The input that a source is, or is a channel of."""
    return source.partition("/")[0]


@lru_cache(maxsize=1024)
def _shared(names: Names) -> Names:
    """One object for the same names in all sessions: there are many sessions, and few names."""
    return frozenset(map(sys.intern, names))
