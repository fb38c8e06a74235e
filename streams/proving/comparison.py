"""What two runs said in the end, compared; and for how long one was silent. Pure."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.events import Event, EventType
from streams.loading.accounts import coverage

Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""


@dataclass(frozen=True, slots=True)
class Said:
    """A final result: where it belongs, and everything that it says."""

    type: str
    session: str
    channel: str
    content: bytes


@dataclass(slots=True)
class Finals:
    """The final results of a run by id, from records in the order of their log.

    Of two revisions of the same span the higher one counts. `repeated` counts ids that came again
    with the same content; `conflicting` are those that came with another.
    """

    results: dict[str, Said] = field(default_factory=dict)
    repeated: int = 0
    conflicting: set[str] = field(default_factory=set)
    _newest: dict[tuple[Any, ...], tuple[int, str]] = field(default_factory=dict)
    _superseded: dict[str, Said] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Takes a record of an output topic; partial captions and interim windows do not count."""
        if event.type is EventType.CAPTION_PARTIAL:
            return
        result = json.loads(event.data)
        if not result.get("final", True):
            return
        said = Said(event.type.value, event.session, event.channel, event.data)
        if before := self.results.get(event.id) or self._superseded.get(event.id):
            self.repeated += before == said
            if before != said:
                self.conflicting.add(event.id)
        else:
            self.results[event.id] = said
            self._supersede(event.id, said, result)

    def _supersede(self, id_: str, said: Said, result: Mapping[str, Any]) -> None:
        if "revision" not in result:
            return
        span = (said.type, said.session, said.channel, result["start"], result["end"])
        this = (result["revision"], id_)
        newest = max(this, self._newest.get(span, this))
        for _, old in {this, self._newest.get(span, this)} - {newest}:
            self._superseded[old] = self.results.pop(old)
        self._newest[span] = newest


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ids by what is wrong with them, in order; `found` counts expected ids that are there."""

    expected: int
    found: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: tuple[str, ...]
    repeated: int

    @property
    def same(self) -> bool:
        return not (self.missing or self.extra or self.different)


def compare(expected: Finals, found: Finals) -> Comparison:
    """What a run says against what the undisturbed run said."""
    known, told = expected.results, found.results
    different = {id_ for id_ in known.keys() & told.keys() if known[id_] != told[id_]}
    return Comparison(
        expected=len(known),
        found=len(known.keys() & told.keys()),
        missing=tuple(sorted(known.keys() - told.keys())),
        extra=tuple(sorted(told.keys() - known.keys())),
        different=tuple(sorted(different | found.conflicting)),
        repeated=found.repeated,
    )


def describe(ids: Iterable[str], finals: Finals) -> str:
    """Types and sessions of results, without what they say."""
    known = [finals.results[id_] for id_ in ids if id_ in finals.results]
    counted = Counter((said.session, said.type) for said in known)
    return "; ".join(
        f"{session}: {count} {type_}" for (session, type_), count in sorted(counted.items())
    )


@dataclass(frozen=True, slots=True)
class Letters:
    """Dead letters against the malformed records that were sent, by the place of the record.

    `extra` are letters of good records, `altered` those that do not hold what was received.
    """

    expected: int
    missing: tuple[Place, ...]
    extra: tuple[Place, ...]
    altered: tuple[Place, ...]
    repeated: int

    @property
    def right(self) -> bool:
        return not (self.missing or self.extra or self.altered)


def match_letters(
    malformed: Mapping[Place, bytes | None], letters: Sequence[tuple[Place, bytes | None]]
) -> Letters:
    """`letters` are the places that dead letters name, and their values."""
    places = {place for place, _ in letters}
    altered = {p for p, value in letters if p in malformed and value != malformed[p]}
    return Letters(
        expected=len(malformed),
        missing=tuple(sorted(malformed.keys() - places)),
        extra=tuple(sorted(places - malformed.keys())),
        altered=tuple(sorted(altered)),
        repeated=len(letters) - len(places),
    )


def uncovered(finals: Finals, session: str, channel: str, start: int, end: int) -> int:
    """How many ms of [start, end) of a channel are in no, or in more than one, final caption,
    silence or gap; 1 ms at the end is allowed for rounding."""
    spans = [
        (result["start"], result["end"])
        for said in finals.results.values()
        if (said.session, said.channel) == (session, channel)
        and said.type in (EventType.CAPTION_FINAL, EventType.CAPTION_SILENCE, EventType.CAPTION_GAP)
        for result in [json.loads(said.content)]
    ]
    wrong = sum(coverage(spans, (start, end)))
    last = max((last for _, last in spans), default=start)
    return wrong - 1 if abs(end - last) == 1 else wrong


@dataclass(frozen=True, slots=True)
class Fault:
    """What happened to what, and when (ms)."""

    at: int
    what: str


def interruption_s(
    signs: Mapping[str, Sequence[int]],
    fed: Mapping[str, tuple[int, int]],
    fault: int,
    window_ms: int = 15_000,
) -> float | None:
    """The longest silence after a fault, over the sessions that were live and fed for at least
    `window_ms` more; None if there are none.

    `signs` are the times (ms, in order) at which a session was heard of, `fed` the times from and
    to which its audio was sent. A silence counts from the fault on, if it begins within the window.
    """
    silences = [
        silence
        for session, (begin, end) in fed.items()
        if begin <= fault and fault + window_ms <= end
        if (silence := _longest(signs.get(session, ()), fault, fault + window_ms)) is not None
    ]
    return max(silences) / 1000 if silences else None


def _longest(signs: Sequence[int], fault: int, until: int) -> int | None:
    later = [sign for sign in signs if sign > fault]
    if not later:
        return None
    begins = [fault, *later]
    return max(end - begin for begin, end in zip(begins, later, strict=False) if begin <= until)


def median_and_most(values: Iterable[float | None]) -> dict[str, float | int | None]:
    """p50 (nearest rank) and max in s, and of how many faults it could be measured."""
    ranked = sorted(value for value in values if value is not None)
    if not ranked:
        return {"p50": None, "max": None, "measured": 0}
    middle = ranked[math.ceil(len(ranked) / 2) - 1]
    return {"p50": round(middle, 2), "max": round(ranked[-1], 2), "measured": len(ranked)}
