"""Features: embeddings with their span, as they travel from the encoders to the join."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from streams.events import VECTOR_TYPE, CodecError, Event, EventType, event_id

Floats = npt.NDArray[np.float32]

REQUIRED: Final = (
    "modality",
    "start",
    "end",
    "encoder",
    "encoderrevision",
    "dimension",
    "evidence",
)
"""Extension attributes that every feature has."""


class Modality(StrEnum):
    """What a vector tells: of a text how it is meant and, apart, what it is about (`MEANING`: it is
    searched and compared, and not fused); how a voice sounds, what a picture shows, what a face
    expresses."""

    TEXT = "text"
    MEANING = "meaning"
    VOICE = "voice"
    IMAGE = "image"
    FACE = "face"


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """A vector, float32 [dimension], that stands for a span [start, end] ms of a session.

    `evidence` is the id of the caption, image or message that it was made from, `kind` what that
    is; `expects` the `evidence` of a companion feature that a window has to wait for.
    """

    session: str
    channel: str
    modality: Modality
    start: int
    end: int
    encoder: str
    revision: str
    vector: Floats
    evidence: str
    expects: str = ""
    kind: str = ""

    def to_event(self, *, source: str, traceparent: str = "") -> Event:
        """The event whose value is the vector. Empty `expects` and `kind` are left out."""
        return Event(
            type=EventType.FEATURE,
            id=self._id(),
            source=source,
            session=self.session,
            time=self.end,
            channel=self.channel,
            content_type=VECTOR_TYPE,
            data=np.asarray(self.vector, dtype="<f4").tobytes(),
            traceparent=traceparent,
            extensions={name: value for name, value in self._extensions().items() if value},
        )

    @classmethod
    def from_event(cls, event: Event) -> Self:
        """Reads a feature. Raises CodecError: not-a-feature, missing-attribute, bad-modality,
        bad-span, bad-dimension, bad-vector."""
        if event.type is not EventType.FEATURE:
            raise CodecError("not-a-feature", f"expected {EventType.FEATURE}, got {event.type}")
        start, end = _integer(event, "start"), _integer(event, "end")
        if start > end:
            raise CodecError("bad-span", f"the feature's start {start} is after its end {end}")
        if end != event.time:  # whose limits are those of event time
            raise CodecError("bad-span", f"the feature's end {end} is not its time {event.time}")
        return cls(
            session=event.session,
            channel=event.channel,
            modality=_modality(event),
            start=start,
            end=end,
            encoder=_required(event, "encoder"),
            revision=_required(event, "encoderrevision"),
            vector=_vector(event),
            evidence=_required(event, "evidence"),
            expects=event.extensions.get("expects", ""),
            kind=event.extensions.get("kind", ""),
        )

    def _id(self) -> str:
        about = json.dumps([self.modality, self.kind, self.evidence])
        return event_id(
            self.session, EventType.FEATURE, self.channel, self.start, self.end, about=about
        )

    def _extensions(self) -> dict[str, str]:
        return {
            "modality": self.modality.value,
            "start": str(self.start),
            "end": str(self.end),
            "encoder": self.encoder,
            "encoderrevision": self.revision,
            "dimension": str(len(self.vector)),
            "evidence": self.evidence,
            "expects": self.expects,
            "kind": self.kind,
        }


def _required(event: Event, name: str) -> str:
    if value := event.extensions.get(name):
        return value
    raise CodecError("missing-attribute", f"a feature needs the header ce_{name}")


def _integer(event: Event, name: str) -> int:
    text = _required(event, name)
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise CodecError("bad-span", f"ce_{name} must be milliseconds since the epoch, in digits")
    return int(text)


def _modality(event: Event) -> Modality:
    try:
        return Modality(_required(event, "modality"))
    except ValueError:
        known = ", ".join(Modality)
        raise CodecError("bad-modality", f"ce_modality is none of: {known}") from None


def _vector(event: Event) -> Floats:
    dimension = _required(event, "dimension")
    size = len(event.data)
    if size == 0 or size % 4 or dimension != str(size // 4):
        message = f"the value must be ce_dimension float32 numbers, it has {size} bytes"
        raise CodecError("bad-dimension", message)
    vector = np.frombuffer(event.data, dtype="<f4")
    if not np.isfinite(vector).all():
        raise CodecError("bad-vector", "the vector holds a number that is not finite")
    return vector
