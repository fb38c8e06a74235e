"""What a client of OpenAI's realtime protocol may set in a transcription session. Pure.

An update names what it changes; what it does not name stays. Unknown fields, and known ones with
values that are not done here, are refused, and then nothing of the update counts. The session that
is told back has what is in effect: the detector of speech has its own constants.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from streams.events import CodecError
from streams.messages import TextMessage, values_of, vocabulary_of
from streams.segmenter import FRAME, SAMPLE_RATE, Rules

Object = Mapping[str, Any]

FORMATS: Final[Mapping[str, tuple[str, int]]] = {
    "audio/pcm": ("linear16", 24_000),
    "audio/pcmu": ("mulaw", 8000),
    "audio/pcma": ("alaw", 8000),
}
"""Encoding and rate (Hz)."""
SHORT_FORMATS: Final = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
"""Names that older clients use."""
MODELS: Final = re.compile(
    r"tenor|whisper-1|gpt(-[a-z0-9]+)*-(transcribe|whisper)(-\d{4}-\d\d-\d\d)?"
)
"""Names of models that are answered by ours."""
LOGPROBS: Final = "item.input_audio_transcription.logprobs"
SHORT_PART: Final = 4
"""A prompt of parts of so few words is a list of terms, not a text."""
_PARTED: Final = re.compile("[,;\n]")
_RULES: Final = Rules()
DETECTION: Final = {
    "type": "server_vad",
    "threshold": _RULES.onset,
    "prefix_padding_ms": _RULES.lead * FRAME * 1000 // SAMPLE_RATE,
    "silence_duration_ms": _RULES.pause * FRAME * 1000 // SAMPLE_RATE,
}
"""How speech is detected, whatever a client asks for."""
DETECTION_FIELDS: Final = frozenset(
    {*DETECTION, "create_response", "interrupt_response", "idle_timeout_ms"}
)


class BadEvent(Exception):  # noqa: N818  (an answer, not a fault)
    """Why an event of the client is refused: a message for people, a code, and the field."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True)
class Hint:
    """What helps the recogniser: a list of words, or a text of which it takes names and codes."""

    kind: Literal["vocabulary", "note"]
    words: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """A session as it is set. `detects`: utterances are items by themselves, else the client
    commits them; `model` is the name by which the client called ours."""

    language: str
    format: str = "audio/pcm"
    detects: bool = True
    model: str = "tenor"
    prompt: str = ""
    keywords: tuple[str, ...] = ()
    logprobs: bool = False

    @property
    def hints(self) -> tuple[Hint, ...]:
        """What the prompt and the keywords say."""
        words = (Hint("vocabulary", self.keywords),) if self.keywords else ()
        return (*words, *_hints(self.prompt))

    def session(self, id_: str) -> dict[str, Any]:
        """As a client is told."""
        transcription: dict[str, Any] = {"model": self.model}
        if self.language != "auto":
            transcription["language"] = self.language
        if self.prompt:
            transcription["prompt"] = self.prompt
        if self.keywords:
            transcription["keywords"] = list(self.keywords)
        rate = {"rate": FORMATS[self.format][1]} if self.format == "audio/pcm" else {}
        return {
            "type": "transcription",
            "object": "realtime.transcription_session",
            "id": id_,
            "audio": {
                "input": {
                    "format": {"type": self.format, **rate},
                    "transcription": transcription,
                    "noise_reduction": None,
                    "turn_detection": dict(DETECTION) if self.detects else None,
                }
            },
            "include": [LOGPROBS] if self.logprobs else None,
        }


def updated(config: Config, session: object) -> Config:
    """The session after an update. Raises BadEvent."""
    fields = _object(session, "session", ("type", "audio", "include", "id", "object", "expires_at"))
    if fields.get("type", "transcription") != "transcription":
        raise BadEvent("invalid_value", "only transcription sessions are done here", "session.type")
    if "include" in fields:
        config = replace(config, logprobs=_include(fields["include"]))
    audio = _object(fields.get("audio") or {}, "session.audio", ("input",))
    place = "session.audio.input"
    names = ("format", "noise_reduction", "transcription", "turn_detection")
    given = _object(audio.get("input") or {}, place, names)
    if given.get("noise_reduction") is not None:
        where = f"{place}.noise_reduction"
        raise BadEvent("unsupported_value", "noise reduction is not done here: say null", where)
    if "turn_detection" in given:
        where = f"{place}.turn_detection"
        config = replace(config, detects=_detects(given["turn_detection"], where))
    if given.get("format") is not None:
        config = replace(config, format=_format(given["format"], f"{place}.format"))
    if given.get("transcription") is not None:
        config = _transcription(config, given["transcription"], f"{place}.transcription")
    return config


def _object(value: object, place: str, names: Iterable[str]) -> Object:
    if not isinstance(value, dict):
        raise BadEvent("invalid_type", f"{place} must be an object", place)
    if unknown := [name for name in value if name not in {*names}]:
        param = f"{place}.{str(unknown[0])[:100]}"
        raise BadEvent("unknown_parameter", "not known, or not done here: leave it", param)
    return value


def _include(value: object) -> bool:
    if value is not None and value not in ([], [LOGPROBS]):
        raise BadEvent("invalid_value", f"include may hold {LOGPROBS}", "session.include")
    return bool(value)


def _detects(value: object, place: str) -> bool:
    if value is None:
        return False
    fields = _object(value, place, DETECTION_FIELDS)
    if fields.get("type", "server_vad") != "server_vad":
        raise BadEvent("unsupported_value", "turn_detection must be server_vad or null", place)
    return True


def _format(value: object, place: str) -> str:
    given = {"type": value} if isinstance(value, str) else value
    fields = _object(given, place, ("type", "rate"))
    name = str(fields.get("type") or "audio/pcm")
    name = SHORT_FORMATS.get(name, name)
    if name not in FORMATS:
        raise BadEvent("invalid_value", f"format must be one of {', '.join(FORMATS)}", place)
    rate = FORMATS[name][1]
    if fields.get("rate") not in (None, rate):
        raise BadEvent("invalid_value", f"the rate of {name} is {rate}", f"{place}.rate")
    return name


def _transcription(config: Config, value: object, place: str) -> Config:
    fields = _object(value, place, ("model", "language", "languages", "prompt", "keywords"))
    if (model := fields.get("model")) is not None:
        if not isinstance(model, str) or not MODELS.fullmatch(model) or "diarize" in model:
            message = (
                "model must be tenor, or one of OpenAI's for transcription, answered by Tenor's"
            )
            raise BadEvent("invalid_value", message, f"{place}.model")
        config = replace(config, model=model)
    for name, default in (("language", config.language), ("languages", [config.language])):
        if fields.get(name) not in (None, default, []) and config.language != "auto":
            message = f"the recogniser is set to {config.language}"
            raise BadEvent("unsupported_value", message, f"{place}.{name}")
    if "prompt" in fields:
        config = replace(config, prompt=_prompt(fields["prompt"], f"{place}.prompt"))
    if "keywords" in fields:
        config = replace(config, keywords=_words(fields["keywords"], f"{place}.keywords"))
    return config


def _prompt(value: object, place: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadEvent("invalid_type", f"{place} must be a text", place)
    text = value.strip()
    try:
        if text:
            values_of(TextMessage(text, kind="note"))
    except CodecError as error:
        raise BadEvent("invalid_value", error.message, place) from None
    return text


def _words(value: object, place: str) -> tuple[str, ...]:
    words = [] if value is None else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadEvent("invalid_type", f"{place} must be a list of texts", place)
    try:
        return vocabulary_of(words)
    except ValueError as error:
        raise BadEvent("invalid_value", f"words: {error}", place) from None


def _hints(prompt: str) -> tuple[Hint, ...]:
    parts = [part for part in _PARTED.split(prompt) if part.strip()]
    if not parts:
        return ()
    listed = all(len(part.split()) <= SHORT_PART for part in parts)
    if listed and not re.search(r"[.!?](\s|$)", prompt):
        with suppress(ValueError):
            return (Hint("vocabulary", vocabulary_of(parts)),)
    return (Hint("note", text=prompt),)
