"""Results as a worker writes them, of which a test says only what it is about."""

from __future__ import annotations

from typing import Any

from streams.results import SentimentWindow


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
