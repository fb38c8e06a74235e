"""What a client of Deepgram's streaming protocol asks for in its query: read, or refused. Pure.

Nothing is ignored: a parameter is done, accepted because it asks for what is done anyway, or
refused with a reason. `docs/gateway.md` has the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from streams.messages import vocabulary_of
from streams.segmenter import FRAME, SAMPLE_RATE, Rules

PAUSE_MS: Final = Rules().pause * FRAME * 1000 // SAMPLE_RATE
"""The pause that ends an utterance; a shorter one does in a long utterance."""
RATES: Final = (8000, 48_000)
CHANNELS: Final = 8
UTTERANCE_END_MS: Final = (100, 60_000)
LONGEST_NAME: Final = 100
ENCODINGS: Final = ("linear16", "mulaw", "alaw")
CONTAINERS: Final = ("opus", "ogg-opus")
"""Encodings that clients may name although the stream is a container, which says it itself."""
MODELS: Final = ("nova", "tenor")
OFF: Final = (
    "detect_entities",
    "diarize",
    "dictation",
    "filler_words",
    "measurements",
    "no_delay",
    "numerals",
    "paragraphs",
    "profanity_filter",
    "redact",
    "utterances",
)
"""What may be turned off, as it is, but not on."""
AS_IT_IS: Final = ("punctuate", "smart_format", "mip_opt_out")
"""Accepted with any value: captions always have punctuation, and nothing is kept for training."""


class BadParameter(Exception):  # noqa: N818  (an answer, not a fault)
    """The message is what the client is told."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a stream shall be. `encoding` is empty for a container, which tells its own.

    `names` are the channels of the session, one for each of the audio's, or one into which they are
    mixed; `session` is empty where the client names none; `extra` and `tags` it gets back.
    """

    encoding: str = ""
    sample_rate: int = SAMPLE_RATE
    channels: int = 1
    multichannel: bool = False
    interim_results: bool = False
    utterance_end_ms: int = 0
    vad_events: bool = False
    endpointing: bool = True
    model: str = "tenor"
    language: str = ""
    keyterms: tuple[str, ...] = ()
    session: str = ""
    names: tuple[str, ...] = ("1",)
    extra: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


def options_of(query: Iterable[tuple[str, str]], language: str) -> Options:
    """Reads a query; `language` is what the recogniser is set to.

    Raises:
        BadParameter: something is unknown, impossible, or not done here.
    """
    given: dict[str, list[str]] = {}
    for name, value in query:
        given.setdefault(name, []).append(value)
    asked = _Query(given)
    extra = dict(_pair(value) for value in asked.all("extra"))
    channels = asked.number("channels", 1, (1, CHANNELS))
    multichannel = asked.flag("multichannel")
    encoding = _encoding(asked)
    if multichannel and "channels" not in given:
        raise BadParameter("multichannel needs channels, the number of them in the audio")
    if encoding and channels > 1 and not multichannel:
        raise BadParameter("more than one channel needs multichannel=true: none are mixed here")
    options = Options(
        encoding=encoding,
        sample_rate=_rate(asked, encoding),
        channels=channels,
        multichannel=multichannel,
        interim_results=asked.flag("interim_results"),
        utterance_end_ms=_utterance_end(asked),
        vad_events=asked.flag("vad_events"),
        endpointing=_endpointing(asked.one("endpointing", "true")),
        model=_model(asked.one("model", "tenor"), asked.one("version", "latest")),
        language=_language(asked.one("language", language), language),
        keyterms=_keyterms([*asked.all("keyterm"), *map(_unweighted, asked.all("keywords"))]),
        session=extra.get("session", ""),
        names=_names(extra.get("channels", ""), channels if multichannel else 1),
        extra=extra,
        tags=tuple(asked.all("tag")),
    )
    asked.check()
    return options


class _Query:
    """A query's parameters by name; `check` refuses those that nobody asked for."""

    def __init__(self, given: dict[str, list[str]]) -> None:
        self._given = given
        self._known = {*OFF, *AS_IT_IS}

    def all(self, name: str) -> list[str]:
        self._known.add(name)
        return self._given.get(name, [])

    def one(self, name: str, default: str) -> str:
        values = self.all(name)
        if len(values) > 1:
            raise BadParameter(f"{name} is given more than once")
        return values[0].strip() if values else default

    def flag(self, name: str) -> bool:
        return _flag(name, self.one(name, "false"))

    def number(self, name: str, default: int, within: tuple[int, int]) -> int:
        text = self.one(name, str(default))
        if not (text.isascii() and text.isdigit() and within[0] <= int(text[:9]) <= within[1]):
            raise BadParameter(f"{name} must be a whole number from {within[0]} to {within[1]}")
        return int(text)

    def check(self) -> None:
        if unknown := sorted(self._given.keys() - self._known):
            raise BadParameter(f"not done here, or unknown: {', '.join(unknown)[:200]}; leave it")
        for name in OFF:
            if any(value.strip().lower() != "false" for value in self._given.get(name, [])):
                raise BadParameter(f"{name} is not done here: leave it, or say false")
        for name in AS_IT_IS:
            for value in self._given.get(name, []):
                _flag(name, value)


def _flag(name: str, text: str) -> bool:
    if text.strip().lower() not in ("true", "false"):
        raise BadParameter(f"{name} must be true or false")
    return text.strip().lower() == "true"


def _encoding(asked: _Query) -> str:
    encoding = asked.one("encoding", "").lower()
    if encoding and encoding not in (*ENCODINGS, *CONTAINERS):
        raise BadParameter(
            f"encoding must be one of {', '.join(ENCODINGS)};"
            " leave it for Opus in WebM or Ogg, which are recognised"
        )
    return encoding if encoding in ENCODINGS else ""


def _rate(asked: _Query, encoding: str) -> int:
    if encoding and not asked.all("sample_rate"):
        raise BadParameter(f"encoding={encoding} needs sample_rate")
    rate = asked.number("sample_rate", SAMPLE_RATE, RATES)
    if rate % 10:
        raise BadParameter("sample_rate must be a multiple of 10")
    return rate


def _utterance_end(asked: _Query) -> int:
    if not asked.all("utterance_end_ms"):
        return 0
    if not asked.flag("interim_results"):
        raise BadParameter("utterance_end_ms needs interim_results=true")
    return asked.number("utterance_end_ms", 1000, UTTERANCE_END_MS)


def _endpointing(text: str) -> bool:
    """Whether the end of an utterance is to be told; the pause that ends it is fixed."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= PAUSE_MS):
        raise BadParameter(
            f"endpointing must be true, false or at most {PAUSE_MS} (ms), which is the pause that"
            " ends an utterance here; use utterance_end_ms for longer ones"
        )
    return int(text) > 0


def _model(model: str, version: str) -> str:
    if not any(model == known or model.startswith(f"{known}-") for known in MODELS):
        raise BadParameter("model must be tenor or one of nova-..; both are answered by Tenor's")
    if version != "latest":
        raise BadParameter("version must be latest")
    return model


def _language(language: str, spoken: str) -> str:
    if spoken != "auto" and language.partition("-")[0].lower() != spoken:
        raise BadParameter(f"language must be {spoken}, which the recogniser is set to")
    return language


def _keyterms(terms: Iterable[str]) -> tuple[str, ...]:
    """As a vocabulary takes them."""
    try:
        return vocabulary_of(terms)
    except ValueError as error:
        raise BadParameter(f"keyterms: {error}") from None


def _unweighted(keyword: str) -> str:
    """A keyword without its weight, which is not done; one that is to be suppressed is refused."""
    term, _, weight = keyword.rpartition(":")
    if not term:
        return keyword
    if weight.strip().startswith("-"):
        raise BadParameter("keywords cannot be suppressed here: leave those with negative weights")
    return term


def _pair(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not (colon and name.strip()):
        raise BadParameter("extra must be a name and a value with a colon between")
    return name.strip(), value.strip()


def _names(text: str, count: int) -> tuple[str, ...]:
    """The names of the session's channels: those given, or numbers."""
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    if not names:
        return tuple(str(number) for number in range(1, count + 1))
    if len(names) != count or len({*names} - {""}) != count:
        raise BadParameter(f"extra=channels: must name {count} different channels, with commas")
    if not all(len(name) <= LONGEST_NAME and name.isprintable() for name in names):
        raise BadParameter(f"a channel's name has at most {LONGEST_NAME} printable characters")
    return names
