"""What came of the calls of a load: is everything there, and once? Pure.

Of results only their places are kept, never what they say. A result that comes again with the same
content is a repetition, which is allowed ("at least once"), and only counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import Any, Final

from streams.events import Event
from streams.loading.calls import Span
from streams.results import CaptionFinal, Gap, Result, SentimentSession, SentimentWindow, Silence

DISTRUST: Final = ("no-speech", "repetition")
"""Reasons of gaps that depend on the audio alone, and not on load."""


def coverage(spans: Iterable[Span], whole: Span) -> tuple[int, int]:
    """How many ms of the whole are in none of the spans, and how many are there too often: in
    another span as well, or outside of the whole."""
    place, end = whole
    missing = covered = total = 0
    for first, last in sorted(spans):
        total += last - first
        begin, until = max(first, place), min(last, end)
        if until > begin:
            missing += begin - place
            covered += until - begin
            place = until
    return missing + end - place, total - covered


@dataclass(slots=True)
class _Session:
    """The places of a session's results, and what its summary counts."""

    spans: defaultdict[str, set[tuple[int, int, str]]] = field(
        default_factory=lambda: defaultdict(set)
    )
    windows: dict[tuple[str, int], int] = field(default_factory=dict)
    told_windows: dict[str, int] | None = None
    told_captions: int | None = None
    captions: int = 0

    @property
    def missing_windows(self) -> int:
        """Of those that the summary counts."""
        came = Counter(channel for channel, _ in self.windows)
        told = self.told_windows or {}
        return sum(max(0, count - came[channel]) for channel, count in told.items())

    @property
    def missing_captions(self) -> int:
        """Of those that the summary counts."""
        return max(0, (self.told_captions or 0) - self.captions)


@dataclass(slots=True)
class Accounts:
    """Takes results of the calls, and says what is missing or too much.

    `calls` are the sessions with their spans (ms); each has audio on all `channels`. `letters`
    counts their dead letters by reason.
    """

    calls: Mapping[str, Span]
    channels: Sequence[str]
    letters: Counter[str] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    doubled_windows: int = 0
    lost_ms: int = 0
    _gaps: Counter[str] = field(default_factory=Counter)
    _sessions: dict[str, _Session] = field(init=False)

    def __post_init__(self) -> None:
        self._sessions = {session: _Session() for session in self.calls}

    @property
    def unfinished(self) -> int:
        """How many sessions are not summed up."""
        return sum(each.told_windows is None for each in self._sessions.values())

    def add(self, event: Event, result: Result) -> None:
        """Takes a result of one of the calls."""
        session = self._sessions[result.session]
        self.results[event.type.value] += 1
        match result:
            case CaptionFinal() | Silence() | Gap():
                self._span(session, result)
            case SentimentWindow() if result.final and not result.revision:
                self._window(session, result, hash(event.data))
            case SentimentSession():
                self.repeated += session.told_windows is not None
                session.told_windows = {n: each.windows for n, each in result.channels.items()}
                session.told_captions = result.captions

    def _span(self, session: _Session, result: CaptionFinal | Silence | Gap) -> None:
        spans = session.spans[intern(result.channel)]
        span = (result.start, result.end, result.event_type.value)
        if span in spans:
            self.repeated += 1
            return
        spans.add(span)
        if isinstance(result, Gap):
            self._gaps[result.reason] += result.end - result.start
        else:
            self.lost_ms += result.lost_ms
            session.captions += isinstance(result, CaptionFinal)

    def _window(self, session: _Session, result: SentimentWindow, said: int) -> None:
        place = (intern(result.channel), result.start)
        if place not in session.windows:
            session.windows[place] = said
        elif session.windows[place] == said:
            self.repeated += 1
        else:
            self.doubled_windows += 1

    def figures(self) -> dict[str, Any]:
        """All of it as JSON values."""
        sessions = self._sessions.values()
        audio = [coverage(spans, whole) for spans, whole in self._audio()]
        return {
            "audio": {
                "sent_ms": sum(end - start for _, (start, end) in self._audio()),
                "missing_ms": sum(missing for missing, _ in audio),
                "doubled_ms": sum(doubled for _, doubled in audio),
                "lost_ms": self.lost_ms,
                "gap_ms": dict(self._gaps),
            },
            "windows": {
                "received": sum(len(each.windows) for each in sessions),
                "missing": sum(each.missing_windows for each in sessions),
                "doubled": self.doubled_windows,
            },
            "captions_missing": sum(each.missing_captions for each in sessions),
            "summaries_missing": self.unfinished,
            "dead_letters": dict(self.letters),
            "repeated": self.repeated,
        }

    def _audio(self) -> Iterator[tuple[list[Span], Span]]:
        """Every channel's accounted spans, and all of it."""
        for session, whole in self.calls.items():
            for channel in self.channels:
                spans = self._sessions[session].spans[channel]
                yield [(start, end) for start, end, _ in spans], whole


def lost(figures: Mapping[str, Any]) -> list[str]:
    """What `Accounts.figures` hold against the installation; nothing, if nothing was lost."""
    audio, windows = figures["audio"], figures["windows"]
    gaps = {reason: ms for reason, ms in audio["gap_ms"].items() if reason not in DISTRUST}
    counts = {
        "ms of audio missing": audio["missing_ms"],
        "ms of audio accounted for more than once": audio["doubled_ms"],
        "ms of audio that did not come": audio["lost_ms"],
        **{f"ms of audio in gaps ({reason})": ms for reason, ms in gaps.items()},
        "windows missing": windows["missing"],
        "windows told twice, differently": windows["doubled"],
        "captions missing": figures["captions_missing"],
        "sessions without a summary": figures["summaries_missing"],
        **{f"dead letters ({why})": count for why, count in figures["dead_letters"].items()},
    }
    return [f"{count} {what}" for what, count in counts.items() if count]
