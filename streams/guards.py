"""Whether a transcript is to be believed: Whisper writes text for noise, and loops. Pure.

The limits are those that Whisper's authors use in their own decoding (Radford et al. 2022, section
4.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from models.base import LOOP_RATIO, Transcript

NO_SPEECH: Final = 0.6
LOG_PROBABILITY: Final = -1.0
REPEATED: Final = 4
"""How often in a row the same words may be said."""
LONGEST_PHRASE: Final = 6


def distrust(transcript: Transcript) -> str | None:
    """Why a transcript is not to be believed, else None."""
    unlikely = transcript.average_log_probability < LOG_PROBABILITY
    if unlikely and transcript.no_speech_probability > NO_SPEECH:
        return "no-speech"
    words = transcript.text.casefold().split()
    if transcript.compression_ratio > LOOP_RATIO or repeats(words) > REPEATED:
        return "repetition"
    return None


def repeats(words: Sequence[str]) -> int:
    """How often in a row the phrase comes that comes most often in a row, of up to six words."""
    most = min(1, len(words))
    for length in range(1, LONGEST_PHRASE + 1):
        alike = 0
        for word, before in zip(words[length:], words, strict=False):
            alike = alike + 1 if word == before else 0
            most = max(most, 1 + alike // length)
    return most
