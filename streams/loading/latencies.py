"""How long results took, by kind: from the end of what each is about to its arrival. Pure.

Only the delays are kept. Of words, sentiment and sessions it is told where their time begins:

- `partial`: the end of what it has heard; `word_stable`: the end of a word, as its final caption
  times it, to the first partial or final caption that says it as stable, never to take it back;
- `final`: the end of the speech (`streams.evaluation`), so with the silence that it takes to know;
- `sentiment`: the end of the window, or of the call if that is sooner;
- `sentiment_after_words`: the end of the window, or the arrival of the last final caption that it
  cites if that is later: what the text agent and the join themselves take;
- `image`, `match`: the picture's time, the time of the later one of the two;
- `session`: the end of the call.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from streams.evaluation import final_delays, stable_delays
from streams.events import Event
from streams.loading.calls import Span
from streams.report import percentiles
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    Gap,
    ImageRecognized,
    Match,
    Result,
    SentimentSession,
    SentimentWindow,
    Silence,
)

KINDS: Final = (
    "partial",
    "word_stable",
    "final",
    "sentiment",
    "sentiment_after_words",
    "image",
    "match",
    "session",
)
REMEMBERED: Final = 64
"""Captions of a session that a window may cite: those of some minutes."""
MOST_PARTIALS: Final = 100
"""Of one utterance, of which there are some 30."""


def summary(delays: Sequence[float]) -> dict[str, float | int | None]:
    """Count, percentiles by the nearest rank, and the most, in s."""
    most = round(max(delays), 3) if delays else None
    return {"count": len(delays), **percentiles(delays, (50, 95, 99)), "max": most}


@dataclass(slots=True)
class _Session:
    """What is still needed of a session: when its last captions came, the window that waits for
    its captions to be known, and by channel the results of the utterance under way."""

    captions: dict[str, int] = field(default_factory=dict)
    waiting: list[tuple[int, SentimentWindow]] = field(default_factory=list)
    utterances: defaultdict[str, list[tuple[float, Result]]] = field(
        default_factory=lambda: defaultdict(list)
    )


@dataclass(slots=True)
class Latencies:
    """Takes results of the calls as they arrive; `calls` are the sessions with their spans (ms)."""

    calls: Mapping[str, Span]
    _delays: dict[str, array[float]] = field(
        default_factory=lambda: {kind: array("d") for kind in KINDS}
    )
    _sessions: defaultdict[str, _Session] = field(default_factory=lambda: defaultdict(_Session))

    def add(self, event: Event, result: Result, at: int) -> None:
        """Takes a result that arrived at `at` (ms)."""
        session = self._sessions[result.session]
        match result:
            case CaptionPartial():
                self._note("partial", result.end, at)
                utterance = session.utterances[result.channel]
                if len(utterance) < MOST_PARTIALS:
                    utterance.append((at, result))
            case CaptionFinal():
                self._final(session, event.id, result, at)
            case Silence() | Gap():
                later = session.utterances[result.channel]
                later[:] = [each for each in later if each[1].span()[0] >= result.end]
            case ImageRecognized():
                self._note("image", result.time, at)
            case Match():
                self._note("match", result.time, at)
            case SentimentWindow() if result.final and not result.revision:
                self._note("sentiment", self._end(result), at)
                self._cite(session, result, at)
            case SentimentSession():
                self._note("session", self.calls[result.session][1], at)

    def _end(self, window: SentimentWindow) -> int:
        return min(window.end, self.calls[window.session][1])

    def _note(self, kind: str, since: int, at: int) -> None:
        self._delays[kind].append((at - since) / 1000)

    def _final(self, session: _Session, id_: str, caption: CaptionFinal, at: int) -> None:
        self._delays["final"].extend(final_delays([(at, caption)]))
        utterance = session.utterances.pop(caption.channel, [])
        self._delays["word_stable"].extend(stable_delays([*utterance, (at, caption)]))
        session.captions[id_] = at
        if len(session.captions) > REMEMBERED:
            del session.captions[next(iter(session.captions))]

    def _cite(self, session: _Session, window: SentimentWindow, at: int) -> None:
        """Topics are not read in the order in which they were written: so a window waits for the
        next span of time, when the captions that it cites have been read."""
        if session.waiting and session.waiting[0][1].start != window.start:
            self._resolve(session)
        session.waiting.append((at, window))

    def _resolve(self, session: _Session) -> None:
        for at, window in session.waiting:
            cited = [session.captions.get(each.id) for each in window.evidence]
            if words := [came for came in cited if came is not None]:
                self._note("sentiment_after_words", max(self._end(window), *words), at)
        session.waiting.clear()

    def figures(self) -> dict[str, Any]:
        """By kind, in s. To be asked for when everything has come."""
        for session in self._sessions.values():
            self._resolve(session)
        return {kind: summary(delays) for kind, delays in self._delays.items()}
