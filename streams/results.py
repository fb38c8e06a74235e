"""What Tenor says on its output topics: the JSON results, as models that also make their schemas.

Fields may be added to a result later, so readers must ignore those that they do not know. Spans
are [start, end) in milliseconds since the Unix epoch, in event time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streams.events import JSON_TYPE, CodecError, Event, EventType, event_id

PROVISIONAL: Final = "provisional"
"""The attribute of an event whose result may yet change without anything having come late."""

Milliseconds = Annotated[int, Field(description="Unix epoch, event time, milliseconds")]
Share = Annotated[float, Field(ge=0, le=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Word(_Frozen):
    """One recognised word."""

    text: str
    start: Milliseconds
    end: Milliseconds
    probability: Share


class PartialWord(Word):
    """A word of a partial caption; a stable one was heard alike by two successive decodes."""

    stable: bool


class Label(_Frozen):
    """A class with its probability."""

    name: str
    probability: Share


class Face(_Frozen):
    """A face's box in fractions of the picture, from its top-left corner.

    `confidence` is that there is a face at all, `expression` what it then expresses, likeliest
    first: one that is sure of a false face means nothing. It is empty where nobody looked.
    """

    x: float
    y: float
    width: Share
    height: Share
    confidence: Share
    expression: tuple[Label, ...] = ()


class Result(_Frozen):
    """What every result says: the session it is about."""

    event_type: ClassVar[EventType]

    session: str

    def span(self) -> tuple[int, int]:
        """Start and end in ms, of an instant twice the same. Result types have one or the other."""
        start, end = (getattr(self, name, None) for name in ("start", "end"))
        instant = getattr(self, "time", 0)
        return (instant if start is None else start), (instant if end is None else end)

    def about(self) -> str:
        """What the id must name beside session, channel, span and revision."""
        return ""


class _OfChannel(Result):
    channel: str
    start: Milliseconds
    end: Milliseconds


class _Caption(_OfChannel):
    text: str
    language: str
    revision: Annotated[int, Field(ge=0)]
    model: str
    no_speech_probability: Share


class CaptionPartial(_Caption):
    """Speech as heard so far of the utterance that begins at `start`; a later revision replaces it,
    and any final, silence or gap record that reaches beyond `start`."""

    event_type = EventType.CAPTION_PARTIAL

    words: tuple[PartialWord, ...]


class CaptionFinal(_Caption):
    """Speech of one utterance, decoded as a whole: it does not change any more.

    `lost_ms` of the span never came and were silence to the recogniser; `biased_by` are the ids of
    the typed texts and earlier captions whose names and codes it was told to expect.
    """

    event_type = EventType.CAPTION_FINAL

    words: tuple[Word, ...]
    lost_ms: Annotated[int, Field(ge=0)] = 0
    biased_by: tuple[str, ...] = ()


class Silence(_OfChannel):
    """A stretch of audio without speech; `lost_ms` of it never came."""

    event_type = EventType.CAPTION_SILENCE

    lost_ms: Annotated[int, Field(ge=0)] = 0


class Gap(_OfChannel):
    """A stretch of audio that was not recognised, and why."""

    event_type = EventType.CAPTION_GAP

    reason: str


class ImageRecognized(Result):
    """What one picture shows; `image` is the id of its event."""

    event_type = EventType.IMAGE_RECOGNIZED

    channel: str
    time: Milliseconds
    image: str
    labels: tuple[Label, ...]
    faces: tuple[Face, ...]
    model: str

    def about(self) -> str:
        return self.image


class Match(Result):
    """Two events of different modalities that are about the same thing, by id: `left` is a message,
    a note or a caption, `right` a picture.

    `similarity` is their cosine in the common space of `model`, `probability` how likely it makes
    a match, where that is known. `right_session` is that of the right one where it is another.
    """

    event_type = EventType.MATCH

    time: Milliseconds
    left: str
    right: str
    left_modality: str
    right_modality: str
    similarity: Annotated[float, Field(ge=-1, le=1)]
    model: str
    left_channel: str = ""
    right_channel: str = ""
    right_session: str = ""
    probability: Share | None = None

    def about(self) -> str:
        return json.dumps([self.left, self.right, *filter(None, [self.right_session])])


Score = Annotated[float, Field(ge=-1, le=1, description="-1 negative to 1 positive")]
Sentiment = Literal["negative", "neutral", "positive"]


class Evidence(_Frozen):
    """An event that a sentiment rests on, with its share."""

    id: str
    modality: str
    channel: str
    start: Milliseconds
    end: Milliseconds
    weight: Share


class SentimentWindow(_OfChannel):
    """The mood of one window; channel '' is the whole conversation.

    `confidence` is the probability that `label` is right, `deviation` the standard deviation of
    `score`, `contributions` each modality's share. What is said of a window, known by its channel
    and `start`, may be said again: a final result replaces a provisional one (`final` is false),
    and of the same kind the higher `revision` counts. A window's first final result has revision
    0, corrections by what came late have 1, 2, ..; provisional results, of what is known so far,
    count steps of event time since the start, and may differ between two runs.
    """

    event_type = EventType.SENTIMENT_WINDOW

    revision: Annotated[int, Field(ge=0)]
    final: bool
    score: Score
    deviation: Annotated[float, Field(ge=0)]
    label: Sentiment
    confidence: Share
    emotions: dict[str, Share]
    contributions: dict[str, Share]
    evidence: tuple[Evidence, ...]
    model: str

    def about(self) -> str:
        return "" if self.final else "provisional"


class ChannelSentiment(_Frozen):
    """A channel over the whole session: mean, first and last score, and their trend per minute."""

    score: Score
    label: Sentiment
    windows: Annotated[int, Field(ge=0)]
    first: Score
    last: Score
    trend: float


class SentimentSession(Result):
    """The mood of a session that has ended, per channel; channel '' is the whole conversation."""

    event_type = EventType.SENTIMENT_SESSION

    start: Milliseconds
    end: Milliseconds
    channels: dict[str, ChannelSentiment]
    captions: int | None = None


RESULTS: Final[Mapping[EventType, type[Result]]] = {
    model.event_type: model
    for model in (
        CaptionPartial,
        CaptionFinal,
        Silence,
        Gap,
        ImageRecognized,
        Match,
        SentimentWindow,
        SentimentSession,
    )
}
"""The model of every type whose value is a JSON result."""


def result_event(result: Result, *, source: str, traceparent: str = "") -> Event:
    """The event that carries a result; its id depends on what the result is about alone."""
    start, end = result.span()
    channel = getattr(result, "channel", "")
    revision = getattr(result, "revision", 0)
    type_ = result.event_type
    return Event(
        type=type_,
        id=event_id(
            result.session, type_, channel, start, end, revision=revision, about=result.about()
        ),
        source=source,
        session=result.session,
        time=end,
        channel=channel,
        content_type=JSON_TYPE,
        data=result.model_dump_json().encode(),
        traceparent=traceparent,
        extensions={} if getattr(result, "final", True) else {PROVISIONAL: "true"},
    )


def result_of(event: Event) -> Result:
    """Reads a result back. Raises CodecError: not-a-result, bad-result."""
    if event.type not in RESULTS:
        raise CodecError("not-a-result", f"type {event.type} carries no JSON result")
    try:
        return RESULTS[event.type].model_validate_json(event.data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "value"
        raise CodecError("bad-result", f"{event.type}, {place}: {first['msg']}") from None
