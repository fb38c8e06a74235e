"""What typed text and earlier captions tell the recogniser of an utterance's words: its prompt.

Pure. An utterance is biased only by what lay in the logs, some time, before it began. So a worker
that replays it finds the same prompt, though by then it has read more. A context is bounded, and
its newest texts win; `bias` looks at far fewer than are kept, so that only very many later texts
could hide from a replay what was seen before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final, Literal, Self

from streams.events import Event, EventType
from streams.messages import Kind, TextMessage, text_message

EARLIER_MS: Final = 2000
"""How long before an utterance begins, in event time, a text or caption must have been."""
KEPT: Final = 18
"""Texts of a sort (vocabulary, or messages and notes) that a context keeps."""
SEEN: Final = 6
"""Texts of a sort, and captions, that a prompt is made from: KEPT - SEEN may come after."""
PROMPT: Final = 200
"""Characters of a prompt; about 60 tokens of Whisper's."""
TERMS: Final = {"vocabulary": 160, "message": 60, "note": 60}
"""Characters of the terms that are taken from one text."""
LONGEST_ID: Final = 100
"""Characters; a text with a longer id biases nothing, so that a context stays small."""
LONGEST_RUN: Final = 4
"""Words of a name; more capitals in a row are emphasis."""

_PARTED: Final = re.compile("[,;\n]")
_EDGES: Final = " .,;:!?\"'()[]{}<>*…“”‘’«»–—-"  # noqa: RUF001
_LEADING: Final = frozenset(
    """
    a an and as at but by for from hello hi i if in is it my no of on or our so that
    the their these this those to we well with yes you your
    """.split()  # noqa: SIM905  (a list of 39 strings is no clearer)
)


@dataclass(frozen=True, slots=True, order=True)
class Text:
    """Terms of a typed text. `time` is its event time, `stamp` Kafka's of its record, both in ms.

    Texts are ordered by the log: what was written later is greater.
    """

    stamp: int
    time: int
    id: str
    kind: Kind
    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """An earlier final caption: when it ended (event time, ms), the offset in the audio log at
    which it was cut, and whose it is."""

    id: str
    end: int
    offset: int
    text: str
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Bias:
    """The prompt for a recogniser, and the ids of the texts and captions that it was made from."""

    prompt: str = ""
    evidence: tuple[str, ...] = ()


Sort = Literal["vocabulary", "messages"]


class Context:
    """The newest texts of a session: the same whatever their order of arrival, and repeats."""

    def __init__(self, texts: Iterable[Text] = ()) -> None:
        self._texts: dict[Sort, list[Text]] = {"vocabulary": [], "messages": []}
        for text in texts:
            self.add(text)

    @property
    def texts(self) -> tuple[Text, ...]:
        """In the order of the log."""
        return tuple(sorted(text for sort in self._texts.values() for text in sort))

    def add(self, text: Text) -> bool:
        """Takes a text; says whether that changed anything."""
        sort = self._texts["vocabulary" if text.kind == "vocabulary" else "messages"]
        if text in sort:
            return False
        before = list(sort)
        sort[:] = sorted([*sort, text])[-KEPT:]
        return sort != before

    def state(self) -> dict[str, Any]:
        """For JSON."""
        return {"texts": [astuple(text) for text in self.texts]}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Self:
        """The context that `state` was taken from; an empty state is an empty context."""
        return cls(
            Text(stamp, time, id_, kind, tuple(terms))
            for stamp, time, id_, kind, terms in state.get("texts", ())
        )


def text_of(event: Event, stamp: int) -> Text | None:
    """What a text event, whose record Kafka stamped `stamp`, adds to a context; None: nothing.

    Raises CodecError as `messages.text_message` does.
    """
    if event.type is not EventType.TEXT_MESSAGE or len(event.id) > LONGEST_ID:
        return None
    message = text_message(event)
    terms = tuple(_fitting(_terms(message), TERMS[message.kind]))
    return Text(stamp, event.time, event.id, message.kind, terms) if terms else None


def _terms(message: TextMessage) -> Iterator[str]:
    yield from (" ".join(phrase.split()) for phrase in message.vocabulary)
    if message.kind != "vocabulary":
        yield from names(message.text)
    elif not message.vocabulary:
        yield from (" ".join(phrase.split()) for phrase in _PARTED.split(message.text))


def bias(
    texts: Iterable[Text], heard: Iterable[Heard], *, start: int, stamp: int, offset: int
) -> Bias:
    """The bias of an utterance that begins at event time `start` (ms), in the audio chunk whose
    record Kafka stamped `stamp` at `offset`."""
    latest = start - EARLIER_MS
    known = sorted(text for text in texts if text.time <= latest and text.stamp <= stamp)
    said = [each for each in heard if each.end <= latest and each.offset <= offset]
    said.sort(key=lambda each: (each.end, each.id))
    return _bias(
        [
            *_newest((t.id, t.terms) for t in known if t.kind == "vocabulary"),
            *_newest((t.id, t.terms) for t in known if t.kind != "vocabulary"),
            *_newest((each.id, names(each.text)) for each in said),
        ]
    )


def names(text: str) -> tuple[str, ...]:
    """The words of a text that a recogniser may not know: names and codes, in their order.

    These are words with capitals, and with both letters and digits; words side by side are one
    term. A capital at the start of a sentence says nothing.
    """
    return tuple(dict.fromkeys(" ".join(run) for run in _runs(text) if len(run) <= LONGEST_RUN))


def _runs(text: str) -> Iterator[list[str]]:
    run: list[str] = []
    begins = True
    for token in text.split():
        word = token.strip(_EDGES)
        if _rare(word, begins=begins and not run):
            run.append(word)
        elif run:
            yield run
            run = []
        begins = not token.strip(_EDGES) or token[-1] in ".!?:"
        if run and (begins or token[-1] in ",;"):
            yield run
            run = []
    if run:
        yield run


def _rare(word: str, *, begins: bool) -> bool:
    if not any(map(str.isalpha, word)) or any(mark in word for mark in "@/\\"):
        return False
    if any(map(str.isdigit, word)) or any(map(str.isupper, word[1:])):
        return True
    return word[0].isupper() and not begins and word.partition("'")[0].lower() not in _LEADING


def _newest(sources: Iterable[tuple[str, Sequence[str]]]) -> list[tuple[str, Sequence[str]]]:
    return [source for source in sources if source[1]][: -SEEN - 1 : -1]


def _bias(sources: Iterable[tuple[str, Sequence[str]]]) -> Bias:
    """Of sources (id, terms), the best first, as many terms as the prompt has room for."""
    terms: dict[str, None] = {}
    evidence: dict[str, None] = {}
    for id_, offered in sources:
        news = [term for term in offered if term.casefold() not in map(str.casefold, terms)]
        if fitting := list(_fitting(news, PROMPT - len(_prompt(terms)))):
            terms |= dict.fromkeys(fitting)
            evidence[id_] = None
    return Bias(_prompt(terms) if terms else "", tuple(evidence))


def _prompt(terms: Iterable[str]) -> str:
    """A bare list and a full stop. Of eleven forms tried on tiny.en none found more terms, and the
    sentence that found as many ("We talk about ..") put in more that nobody had said. Without the
    full stop, fewer are found. Figures: `tests/bench/biasing.py`."""
    return f"{', '.join(terms)}."


def _fitting(terms: Iterable[str], room: int) -> Iterator[str]:
    """The first terms that fit into `room` characters, with what parts them."""
    for term in terms:
        room -= len(term) + len(", ")
        if room < 0:
            return
        if term:
            yield term
