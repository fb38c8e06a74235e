"""Captions as cues: what a subtitle shows at once, broken into lines and timed by its words. Pure.

The measures are those of broadcast captioning (Netflix Timed Text Style Guide, General
Requirements): two lines of 42 characters, shown for 5/6 s to 7 s, divided after punctuation where
that can be. Times of results are ms since the epoch, those of cues since the session's first ms.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, takewhile
from typing import Final, NamedTuple

from streams.results import CaptionFinal, Gap, Result, Word

LINE: Final = 42
SHORTEST_MS: Final = 833
LONGEST_MS: Final = 7000
NO_AUDIO: Final = "no-audio"
UNHEARD: Final = "[inaudible]"
SENTENCE_ENDS: Final = tuple(".?!…。？！")  # noqa: RUF001
CLAUSE_ENDS: Final = tuple(",;:–—、，；：")  # noqa: RUF001
CLOSING: Final = " \"'”’»)]"  # noqa: RUF001


@dataclass(frozen=True, slots=True, order=True)
class Cue:
    """One or two lines of a speaker, shown in [start, end)."""

    start: int
    end: int
    speaker: str
    lines: tuple[str, ...]


class Piece(NamedTuple):
    """A part of a caption that stays together: a word with the space after it."""

    text: str
    start: int
    end: int


Pieces = Sequence[Piece]


def cues(results: Sequence[Result], zero: int) -> list[Cue]:
    """The cues of a session that begins at `zero`; both results and cues are in order of time.

    The cues of a speaker overlap as little as the captions do. Where there are several speakers,
    the first line leaves room for `label`. Speech that was not recognised is shown as `UNHEARD`; a
    gap without audio has nothing to show.
    """
    gaps = [each for each in results if isinstance(each, Gap) and each.reason != NO_AUDIO]
    spoken: defaultdict[str, list[CaptionFinal]] = defaultdict(list)
    for each in results:
        if isinstance(each, CaptionFinal):
            spoken[each.channel].append(each)
    several = len({*spoken, *(gap.channel for gap in gaps)}) > 1
    made = [_unheard(gap, zero) for gap in gaps]
    for speaker, captions in spoken.items():
        indent = min(len(label(speaker)), LINE // 2) if several else 0
        for caption, until in zip(captions, _untils(captions), strict=True):
            made += _cues_of(caption, until, indent, zero)
    return sorted(made)


def label(speaker: str) -> str:
    """How a line names its speaker where the format has no other way."""
    return f"{speaker}: " if speaker else ""


def _unheard(gap: Gap, zero: int) -> Cue:
    shown = min(max(1, gap.end - gap.start), LONGEST_MS)
    return Cue(gap.start - zero, gap.start - zero + shown, gap.channel, (UNHEARD,))


def _untils(captions: Sequence[CaptionFinal]) -> Iterator[int]:
    """Up to when each caption of a speaker may stay, should it be too short to be read."""
    for caption, after in pairwise(captions):
        yield max(caption.end, min(after.start, caption.end + SHORTEST_MS))
    yield captions[-1].end + SHORTEST_MS


def _cues_of(caption: CaptionFinal, until: int, indent: int, zero: int) -> Iterator[Cue]:
    pieces = list(_pieces(caption, LINE - indent))
    spans = _divide(len(pieces), lambda i, j: _cost(pieces[i:j], indent))
    parts = [pieces[i:j] for i, j in spans]
    for part, (start, end) in zip(parts, _times(parts, caption.start, until), strict=True):
        yield Cue(start - zero, end - zero, caption.channel, _lines(part, indent))


def _pieces(caption: CaptionFinal, width: int) -> Iterator[Piece]:
    """The caption's text, whole, in pieces of at most `width` characters before their space."""
    for text, start, end in _aligned(caption):
        at, pace = 0, (end - start) / len(text)
        for part in re.findall(rf"\S{{1,{width}}}\s*", text):
            after = at + len(part)
            yield Piece(part, start + round(at * pace), start + round(after * pace))
            at = after


def _aligned(caption: CaptionFinal) -> list[Piece]:
    """The text cut where its words begin; in one, if it has no words or others than they say."""
    text = " ".join(caption.text.split())
    words = [word for word in caption.words if word.text.strip()]
    begins = word_begins([word.text.strip() for word in words], text)
    if not begins:
        return [Piece(text, caption.start, caption.end)] if text else []
    cuts = pairwise([0, *begins[1:], len(text)])
    spans = zip(cuts, _ordered(words, caption.start, caption.end), strict=True)
    return [Piece(text[i:j], *times) for (i, j), times in spans]


def word_begins(words: Sequence[str], text: str) -> list[int]:
    """Where each word begins in the text, one after the other; nothing if one is not there."""
    begins, at = [], 0
    for word in words:
        if (begin := text.find(word, at)) < 0:
            return []
        begins.append(begin)
        at = begin + len(word)
    return begins


def _ordered(words: Sequence[Word], start: int, end: int) -> Iterator[tuple[int, int]]:
    """The times of words, kept within [start, end] and from going backwards."""
    now = start
    for word in words:
        begin = min(max(now, word.start), end)
        now = min(max(begin, word.end), end)
        yield begin, now


def _divide(count: int, cost: Callable[[int, int], float]) -> list[tuple[int, int]]:
    """Divides `count` pieces into spans [i, j) of the least total cost, by dynamic programming.

    One piece has a finite cost; pieces that cost infinitely much do so with more before them.
    """
    best = [(0.0, 0)]
    for j in range(1, count + 1):
        costs = ((best[i][0] + cost(i, j), i) for i in reversed(range(j)))
        best.append(min(takewhile(lambda option: option[0] < math.inf, costs)))
    cuts = [count]
    while cuts[-1]:
        cuts.append(best[cuts[-1]][1])
    return list(pairwise(reversed(cuts)))


def _cost(part: Pieces, indent: int) -> float:
    """Of showing these together: 1 a cue, more the worse it ends, the emptier and the shorter."""
    length, ms = len(_joined(part)), part[-1].end - part[0].start
    if len(part) > 1 and (ms > LONGEST_MS or not _fits(part, indent)):
        return math.inf
    empty = 1 - length / (2 * LINE)
    return 1 + _tear(part[-1].text) + empty**2 + (2 if ms < SHORTEST_MS else 0)


def _tear(text: str) -> float:
    """How bad it is to break after this text: 0 ends a sentence, 3 tears a word apart."""
    said = text.rstrip(CLOSING)
    if said.endswith(SENTENCE_ENDS):
        return 0
    if said.endswith(CLAUSE_ENDS):
        return 0.5
    return 1 if text.endswith(" ") else 3


def _fits(part: Pieces, indent: int) -> bool:
    return len(_joined(part)) <= LINE - indent or bool(_breaks(part, indent))


def _breaks(part: Pieces, indent: int) -> list[int]:
    """Before which pieces the second line can begin."""
    starts = [0, *accumulate(len(piece.text) for piece in part)]
    length = len(_joined(part))
    return [
        k
        for k in range(1, len(part))
        if starts[k - 1] + len(part[k - 1].text.rstrip()) <= LINE - indent
        and length - starts[k] <= LINE
    ]


def _lines(part: Pieces, indent: int) -> tuple[str, ...]:
    """One line if it fits, else two, alike in length and divided at a good place."""
    if len(_joined(part)) <= LINE - indent:
        return (_joined(part),)

    def unlike(k: int) -> float:
        lengths = indent + len(_joined(part[:k])), len(_joined(part[k:]))
        return abs(lengths[0] - lengths[1]) / LINE + _tear(part[k - 1].text)

    k = min(_breaks(part, indent), key=unlike)
    return _joined(part[:k]), _joined(part[k:])


def _joined(part: Pieces) -> str:
    return "".join(piece.text for piece in part).strip()


def _times(parts: Sequence[Pieces], begin: int, until: int) -> Iterator[tuple[int, int]]:
    """When each part is shown, in [begin, until): from its first word to its last, but long enough
    to be read, for which the next one may come a little after its word."""
    until = max(until, begin + len(parts))
    shortest = min(SHORTEST_MS, (until - begin) // max(1, len(parts)))
    starts = []
    for left, part in zip(range(len(parts), 0, -1), parts, strict=True):
        starts.append(min(max(part[0].start, begin), until - left * shortest))
        begin = starts[-1] + shortest
    for part, (start, after) in zip(parts, pairwise([*starts, until]), strict=True):
        end = max(part[-1].end, start + shortest)
        yield start, min(end, after, start + LONGEST_MS)
