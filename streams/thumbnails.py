"""Pictures of a session, small enough to be shown together: which of them, and their thumbnails."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams import media
from streams.events import Event
from streams.results import ImageRecognized, Match, Result, SentimentWindow

SHOWN: Final = 40
"""Pictures of a session that are shown."""
SIDE: Final = 640
"""Pixels of a thumbnail's longer side."""
QUALITY: Final = 80
MATCHED: Final = 10.0
"""What a match counts for beside the weights (0 to 1) with which windows cite a picture."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture, upright and small: the id of its event, when (ms, event time) and whose it is, the
    bytes of a JPEG, and its size in pixels."""

    id: str
    time: int
    channel: str
    jpeg: bytes = field(repr=False)
    width: int
    height: int


def thumbnail(event: Event, limits: media.Limits | None = None) -> Thumbnail:
    """The thumbnail of a picture's event, without its metadata. Raises MediaError."""
    from PIL import Image  # noqa: PLC0415  (only who shows pictures)

    pixels = media.decode_image(event.content_type, event.data, limits or media.Limits())
    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY, optimize=True, progressive=True)
    return Thumbnail(event.id, event.time, event.channel, out.getvalue(), *picture.size)


def chosen(results: Iterable[Result], most: int = SHOWN) -> list[str]:
    """The ids of the pictures to show, in order of time: first those that count, by matches and as
    evidence, then others, as far from those that are shown as can be."""
    results = list(results)
    images = {each.image: each for each in results if isinstance(each, ImageRecognized)}
    worth = _worth(results)
    ranked = sorted(images.values(), key=lambda each: (-worth[each.image], each.time, each.image))
    cited = [each for each in ranked if worth[each.image] > 0][:most]
    rest = [each for each in ranked if worth[each.image] <= 0]
    taken = [*cited, *_spread(rest, most - len(cited))]
    return [each.image for each in sorted(taken, key=lambda each: (each.time, each.image))]


def _worth(results: Iterable[Result]) -> defaultdict[str, float]:
    worth: defaultdict[str, float] = defaultdict(float)
    for each in results:
        if isinstance(each, Match):
            worth[each.right] += MATCHED
        elif isinstance(each, SentimentWindow):
            for evidence in each.evidence:
                worth[evidence.id] += evidence.weight
    return worth


def _spread(images: Sequence[ImageRecognized], most: int) -> list[ImageRecognized]:
    """So many of them, which are in order of time, evenly."""
    if len(images) <= most or most <= 0:
        return list(images[: max(0, most)])
    return [images[round((i + 0.5) * len(images) / most - 0.5)] for i in range(most)]
