"""Photos and their captions as vectors, by the very encoders that serve."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from models import registry
from models.base import Floats, ImageRecognizer, ModelError, Pixels, TextEncoder
from models.train import corpora, features
from models.train.corpora import Photo
from models.train.metrics import Integers

LEARNED: Final = ("train", "train2017", "val2017")
"""The splits that are learned from. COCO's test pictures are elsewhere, so its val2017 is too."""
DIGITS: Final = 8
"""Of the SHA-256 of a photo's bytes, by which it is known again."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Photos [photos, dimension], captions [captions, dimension], whose photo each is [captions],
    and a hash of each photo's bytes."""

    photos: Floats
    captions: Floats
    owner: Integers
    hashes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.photos)

    def of(self, chosen: Integers) -> Pairs:
        """Only the photos with these numbers, in their order, and their captions."""
        place = np.full(len(self), -1)
        place[chosen] = np.arange(len(chosen))
        kept = place[self.owner] >= 0
        hashes = tuple(self.hashes[n] for n in chosen)
        return Pairs(self.photos[chosen], self.captions[kept], place[self.owner[kept]], hashes)

    def captions_of(self) -> list[Integers]:
        """The numbers of each photo's captions."""
        return [np.flatnonzero(self.owner == photo) for photo in range(len(self))]


def learned(folder: Path, splits: Sequence[str] = LEARNED) -> list[Photo]:
    """The photos of a folder that are learned from. Raises ModelError where there are none."""
    found = {photo.path: photo for split in splits for photo in _of(folder, split)}
    return list(found.values()) or corpora.photos(folder, splits[0])  # which says what is wrong


def _of(folder: Path, split: str) -> list[Photo]:
    try:
        return corpora.photos(folder, split)
    except ModelError:
        return []


def load(text: str, image: str) -> tuple[TextEncoder, ImageRecognizer]:
    """The encoders of texts and of pictures by their URIs; faces are not read here."""
    return registry.load_text(text), registry.load_image(image, expression="")


def encoded(
    photos: Sequence[Photo], text: TextEncoder, image: ImageRecognizer, cache: Path | None = None
) -> Pairs:
    """Photos that have captions, and these, as vectors, which are kept on disk in `cache`.

    Raises ModelError for a photo that cannot be read.
    """
    photos = [photo for photo in photos if photo.captions]
    digests = [hashlib.sha256(_bytes(photo.path)).digest() for photo in photos]
    captions = [caption for photo in photos for caption in photo.captions]
    if not captions:
        raise ModelError("none of the photos has a caption")

    def see(start: int, end: int) -> Floats:
        contents = image.recognize([picture(photo.path) for photo in photos[start:end]])
        return np.stack([content.embedding for content in contents])

    def read(start: int, end: int) -> Floats:
        return text.encode(captions[start:end])

    return Pairs(
        photos=features.cached(cache, image.encoder, digests, see, "photos"),
        captions=features.cached(
            cache, text.encoder, [c.encode() for c in captions], read, "captions"
        ),
        owner=np.repeat(np.arange(len(photos)), [len(photo.captions) for photo in photos]),
        hashes=tuple(digest.hex()[:DIGITS] for digest in digests),
    )


def picture(path: Path) -> Pixels:
    """A photo as uint8 RGB [height, width, 3], turned upright. Raises ModelError."""
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"), dtype=np.uint8)
    except (OSError, ValueError, UnidentifiedImageError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
