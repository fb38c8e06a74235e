"""Results as a worker writes them, of which a test says only what it is about."""

from __future__ import annotations

from typing import Any, Final

from streams.events import Event
from streams.loading.accounts import Accounts
from streams.results import (
    CaptionFinal,
    ChannelSentiment,
    Evidence,
    Result,
    SentimentSession,
    SentimentWindow,
    Silence,
    Word,
    result_event,
)

CALLS: Final = {"s": (1000, 11_000)}


def event(result: Result) -> Event:
    return result_event(result, source="tenor/test")


def final(start: int, end: int, *words: tuple[str, int], channel: str = "a") -> CaptionFinal:
    heard = tuple(Word(text=text, start=at - 100, end=at, probability=1) for text, at in words)
    return CaptionFinal(
        **{**caption(start, end, channel), "words": heard, "text": " ".join(w for w, _ in words)}
    )


def caption(start: int, end: int, channel: str = "a") -> dict[str, Any]:
    said = {"session": "s", "channel": channel, "start": start, "end": end, "language": "en"}
    return {**said, "text": "", "revision": 0, "model": "m", "no_speech_probability": 0}


def silence(start: int, end: int, lost_ms: int = 0) -> Silence:
    return Silence(session="s", channel="a", start=start, end=end, lost_ms=lost_ms)


def sentiment(start: int, end: int, score: float = 0.0, **more: Any) -> SentimentWindow:  # noqa: ANN401
    """A window's, final and of the customer of `call`, but for `more`."""
    return SentimentWindow.model_validate(
        {
            "session": "call",
            "channel": "customer",
            "start": start,
            "end": end,
            "revision": 0,
            "final": True,
            "score": score,
            "deviation": 0.1,
            "label": "negative" if score < -0.2 else "positive" if score > 0.2 else "neutral",
            "confidence": 0.7,
            "emotions": {},
            "contributions": {},
            "evidence": (),
            "model": "made",
            **more,
        }
    )


def window(start: int, end: int, *cites: str, score: float = 0, **more: Any) -> SentimentWindow:  # noqa: ANN401
    """One of the made call's channel, which cites captions of it."""
    evidence = tuple(
        Evidence(id=id_, modality="text", channel="a", start=start, end=end, weight=1)
        for id_ in cites
    )
    of_call = {"session": "s", "channel": "a", "evidence": evidence}
    return sentiment(start, end, score, **of_call | more)


def summed_up(windows: int, captions: int | None = None) -> SentimentSession:
    course = ChannelSentiment(score=0, label="neutral", windows=windows, first=0, last=0, trend=0)
    return SentimentSession(
        session="s", start=1000, end=11_000, channels={"a": course}, captions=captions
    )


def accounts(*results: Result) -> Accounts:
    made = Accounts(CALLS, ("a",))
    for each in results:
        made.add(event(each), each)
    return made


WHOLE: Final = (silence(1000, 4000), final(4000, 9000), silence(9000, 11_000))
