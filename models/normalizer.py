"""How two English texts are compared: Whisper's normaliser, as its authors report error rates."""

from __future__ import annotations

from functools import cache
from typing import Any


def normalize_english(text: str) -> str:
    """Lower case, without punctuation and fillers, numbers and spellings in one form."""
    return str(_normalizer()(text))


@cache
def _normalizer() -> Any:  # noqa: ANN401  (whisper is untyped)
    from whisper.normalizers import EnglishTextNormalizer  # noqa: PLC0415  (imports torch)

    return EnglishTextNormalizer()
