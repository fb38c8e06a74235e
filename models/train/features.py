"""Samples to vectors, by the very encoders that serve, and kept on disk.

Vectors are kept in blocks that are named by a digest of the encoder and of the content, so that a
run that was cut off goes on where it was, and a new encoder is never served old vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.console import Console
from rich.progress import track

from models import registry
from models.base import Encoder, Floats, ModelError, TextEncoder, VoiceEncoder
from models.train import media
from models.train.corpora import Place, Sample

if TYPE_CHECKING:
    from models.expression import ExpressionRecognizer

BLOCK: Final = 256
TELEPHONE: Final = b"#telephone"
"""Marks the content of a clip that is heard as by telephone."""


def texts(encoder: TextEncoder, samples: Sequence[Sample], cache: Path | None = None) -> Floats:
    """The vectors [n, dimension] of what is said in each sample, in their order."""
    said = [sample.text for sample in samples]

    def encode(start: int, end: int) -> Floats:
        return encoder.encode(said[start:end])

    return cached(cache, encoder.encoder, [text.encode() for text in said], encode, "texts")


def voices(
    encoder: VoiceEncoder,
    samples: Sequence[Sample],
    cache: Path | None = None,
    *,
    telephone: bool = False,
) -> Floats:
    """The vectors [n, dimension] of each sample's clip, in their order, as recorded or as by
    telephone.

    Raises ModelError for a sample without a clip, or with one that cannot be read.
    """
    places = [_place(sample, sample.audio, "audio") for sample in samples]
    mark, hear = (TELEPHONE, _by_telephone) if telephone else (b"", media.clip)

    def encode(start: int, end: int) -> Floats:
        return encoder.encode([hear(place) for place in places[start:end]])

    contents = [_content(place) + mark for place in places]
    name = "voices by telephone" if telephone else "voices"
    return cached(cache, encoder.encoder, contents, encode, name)


def faces(
    recognizer: ExpressionRecognizer, samples: Sequence[Sample], cache: Path | None = None
) -> Floats:
    """The vectors [n, dimension] of each sample's picture, which is a cropped face, in their order.

    Raises ModelError for a sample without a picture, or with one that cannot be read.
    """
    places = [_place(sample, sample.image, "image") for sample in samples]

    def encode(start: int, end: int) -> Floats:
        return recognizer.look([media.face(place) for place in places[start:end]])[0]

    contents = [_pixels(place) for place in places]
    return cached(cache, recognizer.encoder, contents, encode, "faces")


def cached(
    cache: Path | None,
    encoder: Encoder,
    contents: Sequence[bytes],
    encode: Callable[[int, int], Floats],
    name: str,
) -> Floats:
    """The vectors [n, dimension] of `contents`, of which those not yet in the folder `cache` are
    made: `encode(start, end)` gives the vectors of contents[start:end].

    A content is whatever tells one from another. Without a folder it is one in Tenor's own cache.
    `name` is shown beside the progress.
    """
    folder = cache or registry.cache_folder() / "features"
    folder.mkdir(parents=True, exist_ok=True)
    blocks = [np.zeros((0, encoder.dimension), np.float32)]
    starts = range(0, len(contents), BLOCK)
    for start in track(starts, description=f"{name:24}", console=Console(stderr=True)):
        end = min(start + BLOCK, len(contents))
        path = folder / f"{_digest(encoder, contents[start:end])}.npy"
        if not path.is_file():
            whole = path.with_suffix(".part.npy")
            np.save(whole, encode(start, end))
            whole.rename(path)
        blocks.append(np.load(path, allow_pickle=False))
    return np.concatenate(blocks)


def _digest(encoder: Encoder, contents: Sequence[bytes]) -> str:
    digest = hashlib.sha256(f"{encoder.id}\n{encoder.revision}\n".encode())
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:32]


def _place(sample: Sample, place: Place | None, what: str) -> Place:
    if place is None:
        raise ModelError(f"the sample {sample.id} has no {what}")
    return place


def _content(place: Place) -> bytes:
    """A digest of a file's bytes."""
    try:
        with place.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise ModelError(f"cannot read {place.path}: {error.strerror}") from error


def _pixels(place: Place) -> bytes:
    """The shape and the pixels of a face of an array, a digest of the file of another one."""
    if not place.name:
        return _content(place)
    pixels = media.face(place)
    return f"{pixels.shape}".encode() + pixels.tobytes()


def _by_telephone(place: Place) -> Floats:
    return media.telephone(media.clip(place))
