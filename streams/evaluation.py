"""How good live captions are: pure measures of what was shown, and when.

A timeline is what was delivered about one channel, in order, each with its time (ms, in event time:
a word that ends at 1000 and is shown at 1400 came 0.4 s after it was said). A reader of captions
sees all final captions so far and after them the latest partial of each utterance, until a final
caption, silence or gap that reaches into its span replaces it. Words are compared by a key; `plain`
leaves out case and punctuation, since a word that gets its full stop is no word taken back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from streams.errors import UserError
from streams.results import CaptionFinal, CaptionPartial, Gap, Result, Silence, Word
from streams.segmenter import FRAME, SAMPLE_RATE, Rules

Timeline = Sequence[tuple[float, Result]]
Key = Callable[[str], str]

TAIL_MS: Final = Rules().tail * FRAME * 1000 // SAMPLE_RATE
"""The silence that is kept at the end of an utterance."""

ERASURES: Final = tuple(
    words + way for way in ("", "_exact", "_prefix") for words in ("stable", "shown")
)
"""What may be taken back: words called stable, or shown at all; compared as `plain`, or as `exact`
keys, or `plain` with all words that stand behind a change counted as taken back too."""


class EvaluationError(UserError):
    """What is to be measured is not there, or not whole; the message says why."""


def plain(word: str) -> str:
    """A word without case and punctuation; nothing, if it is nothing else."""
    return re.sub(r"[\W_]", "", word.casefold())


def exact(word: str) -> str:
    return word


@dataclass(frozen=True, slots=True)
class Display:
    """The words on the screen from `at` (ms) on, as keys: those called stable, and all."""

    at: float
    stable: tuple[str, ...]
    shown: tuple[str, ...]


def displays(timeline: Timeline, key: Key = plain) -> Iterator[Display]:
    """What the screen shows after each delivery. Final captions are stable."""
    final: tuple[str, ...] = ()
    partials: dict[int, CaptionPartial] = {}
    done = 0
    for at, result in timeline:
        if isinstance(result, CaptionPartial):
            partials[result.start] = result
        elif isinstance(result, CaptionFinal | Silence | Gap):
            done = max(done, result.end)
            final += _keys(result.words, key) if isinstance(result, CaptionFinal) else ()
        partials = {start: partial for start, partial in partials.items() if start >= done}
        words = [word for start in sorted(partials) for word in partials[start].words]
        stable = _keys((word for word in words if word.stable), key)
        yield Display(at, final + stable, final + _keys(words, key))


def common(left: Sequence[str], right: Sequence[str]) -> int:
    """The length of the longest common prefix."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))


def kept(before: Sequence[str], after: Sequence[str]) -> set[int]:
    """The places in `after` of the words that are in both, in one order: the longest common
    subsequence."""
    start = common(before, after)
    rest, later = before[start:], after[start:]
    longest = [[0] * (len(later) + 1) for _ in range(len(rest) + 1)]
    for i, word in reversed(list(enumerate(rest))):
        for j, other in reversed(list(enumerate(later))):
            skipped = max(longest[i + 1][j], longest[i][j + 1])
            longest[i][j] = 1 + longest[i + 1][j + 1] if word == other else skipped
    found, i, j = set(range(start)), 0, 0
    while i < len(rest) and j < len(later):
        if rest[i] == later[j]:
            found.add(start + j)
            i, j = i + 1, j + 1
        elif longest[i + 1][j] >= longest[i][j + 1]:
            i += 1
        else:
            j += 1
    return found


def taken_back(texts: Iterable[Sequence[str]]) -> int:
    """How many words were taken back from one text to the next: those that are not kept."""
    return sum(len(before) - len(kept(before, after)) for before, after in pairwise(texts))


def erased(texts: Iterable[Sequence[str]]) -> int:
    """How many words stood behind the first change from one text to the next.

    Divided by the words of the final text it is the normalised erasure of Arivazhagan et al. 2020,
    "Re-translation versus Streaming for Simultaneous Translation", section 3.
    """
    return sum(len(before) - common(before, after) for before, after in pairwise(texts))


def stable_delays(timeline: Timeline) -> list[float]:
    """For each word of the final captions: seconds from its end, as its final caption times it, to
    when it was first shown as stable, never to be taken back after that."""
    ends = [word.end for word in _final_words(timeline) if plain(word.text)]
    shown = list(displays(timeline))
    text = shown[-1].stable if shown else ()
    settled: list[float] = [0.0] * len(ends)
    sure = set(range(len(ends)))
    for display in reversed(shown):
        sure &= kept(display.stable, text)
        for place in sure:
            settled[place] = display.at
    return [(at - end) / 1000 for at, end in zip(settled, ends, strict=True)]


def final_delays(timeline: Timeline) -> list[float]:
    """For each final caption: seconds from the end of its speech, which is TAIL_MS before the end
    of its span, to its delivery."""
    captions = ((at, each) for at, each in timeline if isinstance(each, CaptionFinal))
    return [(at - (caption.end - TAIL_MS)) / 1000 for at, caption in captions]


def text_of(timeline: Timeline) -> str:
    """All final captions as one text."""
    captions = [each for _, each in timeline if isinstance(each, CaptionFinal)]
    return " ".join(each.text for each in sorted(captions, key=lambda each: each.start))


def coverage(timeline: Timeline) -> tuple[int, int]:
    """Milliseconds that are recognised (final captions, silence), and that are gaps.

    Raises EvaluationError where these spans overlap or time between them is missing.
    """
    kinds = (CaptionFinal, Silence, Gap)
    spans = sorted(
        (each.start, each.end, isinstance(each, Gap))
        for _, each in timeline
        if isinstance(each, kinds)
    )
    for (_, end, _), (start, _, _) in pairwise(spans):
        if end != start:
            raise EvaluationError(f"after {end} ms, the next result begins at {start} ms")
    gaps = sum(end - start for start, end, gap in spans if gap)
    return sum(end - start for start, end, _ in spans) - gaps, gaps


@dataclass(slots=True)
class Tally:
    """The measures of many channels together."""

    words: int = 0
    covered_ms: int = 0
    gap_ms: int = 0
    stable_s: list[float] = field(default_factory=list)
    final_s: list[float] = field(default_factory=list)
    taken_back: Counter[str] = field(default_factory=Counter)

    def add(self, timeline: Timeline) -> None:
        """Takes the timeline of one channel. Raises EvaluationError as `coverage` does."""
        covered, gaps = coverage(timeline)
        self.covered_ms += covered
        self.gap_ms += gaps
        self.words += len(_final_words(timeline))
        self.stable_s += stable_delays(timeline)
        self.final_s += final_delays(timeline)
        ways = ((plain, taken_back), (exact, taken_back), (plain, erased))
        for way, (key, measure) in zip(("", "_exact", "_prefix"), ways, strict=True):
            seen = list(displays(timeline, key))
            self.taken_back["stable" + way] += measure(each.stable for each in seen)
            self.taken_back["shown" + way] += measure(each.shown for each in seen)

    def erasure(self, kind: str) -> float:
        """Words of a kind (one of ERASURES) taken back, per word of the final captions."""
        return self.taken_back[kind] / max(1, self.words)


def _final_words(timeline: Timeline) -> list[Word]:
    return [word for _, each in timeline if isinstance(each, CaptionFinal) for word in each.words]


def _keys(words: Iterable[Word], key: Key) -> tuple[str, ...]:
    return tuple(found for word in words if (found := key(word.text)))
