"""The words of a growing utterance as they are shown: which are stable, and which may yet change.

LocalAgreement-2 (Liu et al., "Low-Latency Sequence-to-Sequence Speech Recognition and Translation
by Partial Hypothesis Selection", 2020): what two successive hypotheses agree on is stable. Here
they need not agree from the first word on: hypotheses are aligned, and each word is stable or not
by itself, so that one unsure name does not hold up all that is said after it. And a word must have
been probable in the hypotheses that agree on it. A stable word is not taken back while the
utterance grows; any other only when a second hypothesis says otherwise. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from itertools import groupby
from typing import Final

from streams.results import PartialWord, Word

PATIENCE: Final = 2
"""In how many hypotheses in a row a word must be missing to be taken back."""
FAR_MS: Final = 60_000
"""Beyond the end of every utterance."""
_MARKS: Final = re.compile(r"[^\w']+")


@dataclass(frozen=True, slots=True)
class Caution:
    """What is held back: words that end less than `unheard_ms` before the audio does are not shown,
    and those less than `fresh_ms` before it are not stable. Nor are words of too little evidence:
    of each hypothesis that agrees on a word, by how much it is more probable than `doubtful`
    counts, and the sum must come to `sure`, that of the words beside it to `beside`; and the last
    hypothesis must give it a probability of `floor`. But readers do not wait for ever: a word that
    ended `old_ms` ago is stable as soon as two hypotheses agree on it."""

    unheard_ms: int = 200
    fresh_ms: int = 200
    doubtful: float = 0.3
    sure: float = 1.0
    beside: float = 0.5
    floor: float = 0.4
    old_ms: int = 1200


@dataclass(frozen=True, slots=True)
class Held:
    """A word that was `seen` by readers, or will be, or `waits` in the place of others: how much
    speaks for it, in how many hypotheses it was in a row, and how many have come without it."""

    word: Word
    evidence: float
    agreed: int = 1
    missed: int = 0
    stable: bool = False
    seen: bool = False
    waits: bool = False


@dataclass(slots=True)
class LiveCaption:
    """One utterance. Words are those of `streams.results`, with times in ms; `shown` is what a
    reader sees, `revision` counts its changes."""

    caution: Caution = field(default_factory=Caution)
    shown: tuple[PartialWord, ...] = ()
    revision: int = -1
    _held: list[Held] = field(default_factory=list)

    def hear(self, words: Sequence[Word], until: int, *, paused: bool = False) -> bool:
        """Takes the next hypothesis, of the audio up to `until` (ms); says whether what is shown
        has changed. Paused: the speaker has, so that no word is heard in part."""
        held = self._judged(list(_settled(self._aligned(words))), until, paused)
        end = until + paused * FAR_MS - self.caution.unheard_ms
        self._held = [replace(each, seen=each.seen or _heard_out(each, end)) for each in held]
        now = tuple(
            PartialWord(**held.word.model_dump(), stable=held.stable)
            for held in self._held
            if held.seen and not held.waits
        )
        changed = [(w.text, w.stable) for w in now] != [(w.text, w.stable) for w in self.shown]
        self.shown, self.revision = now, self.revision + changed
        return changed

    def cut(self, end: int) -> LiveCaption | None:
        """The utterance ends at `end` (ms): the words after it are those of another one, which is
        returned if there are any."""
        rest = [each for each in self._held if each.word.start >= end]
        shown = tuple(word for word in self.shown if word.start >= end)
        if not shown:
            return None
        self.shown = tuple(word for word in self.shown if word.start < end)
        self.revision += 1
        return LiveCaption(self.caution, shown, 0, rest)

    def _aligned(self, words: Sequence[Word]) -> Iterator[Held]:
        """The words held so far with what this hypothesis says of each, and its other words."""
        before = [_key(held.word) for held in self._held]
        matcher = SequenceMatcher(None, before, [_key(w) for w in words], autojunk=False)
        for _, start, end, begin, stop in matcher.get_opcodes():
            if before[start:end] == [_key(word) for word in words[begin:stop]]:
                for held, word in zip(self._held[start:end], words[begin:stop], strict=True):
                    agreed = 1 if held.missed else held.agreed + 1
                    evidence = held.evidence + self._counts(word)
                    yield replace(held, word=word, evidence=evidence, agreed=agreed, missed=0)
            else:
                for held in self._held[start:end]:
                    yield replace(held, evidence=0.0, missed=held.missed + 1)
                for word in words[begin:stop]:
                    yield Held(word, self._counts(word), waits=end > start)

    def _judged(self, words: Sequence[Held], until: int, paused: bool) -> list[Held]:
        """The same words, stable where there is enough evidence: for the word, and some for the
        words beside it. Before the first word nothing may yet come, nor after the last in a pause.
        """
        end = until + paused * FAR_MS - self.caution.fresh_ms
        some = [True, *(self._agreed(each, self.caution.beside) for each in words), paused]
        sure = [self._agreed(each, self.caution.sure) and each.word.end <= end for each in words]
        return [
            replace(
                each, stable=each.stable or (is_sure and before and after) or self._old(each, until)
            )
            for each, is_sure, before, after in zip(words, sure, some, some[2:], strict=False)
        ]

    def _old(self, held: Held, until: int) -> bool:
        """Whether much has been said since without another word in this one's place."""
        here = not held.missed and not held.waits
        return here and held.agreed > 1 and held.word.end <= until - self.caution.old_ms

    def _agreed(self, held: Held, evidence: float) -> bool:
        now = (
            held.agreed > 1
            and held.evidence >= evidence
            and held.word.probability >= self.caution.floor
        )
        return held.stable or (now and not held.missed and not held.waits)

    def _counts(self, word: Word) -> float:
        return max(0.0, word.probability - self.caution.doubtful)


def _settled(aligned: Iterable[Held]) -> Iterator[Held]:
    """Drops what was missed too often; what waited in its place is shown."""
    kept = (held for held in aligned if held.stable or held.missed < PATIENCE)
    for solid, run in groupby(kept, lambda held: not (held.missed or held.waits)):
        place = list(run)
        taken = not solid and any(held.missed for held in place)
        for held in place:
            yield replace(held, waits=held.waits and taken)


def _heard_out(held: Held, end: int) -> bool:
    """Whether a word is to be shown from now on: it stands in no other's place and is over."""
    return not held.waits and not held.missed and (held.stable or held.word.end <= end)


def _key(word: Word) -> str:
    """What of a word is compared: not its case, nor the marks around it."""
    return _MARKS.sub("", word.text.casefold())
