"""Clips and faces of a corpus as the models take them, whatever file they come in."""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from PIL import Image, UnidentifiedImageError
from scipy.signal import butter, resample_poly, sosfilt

from models.base import SAMPLE_RATE, Floats, ModelError, Pixels
from models.train.corpora import Place

LONGEST_S: Final = 30.0
"""Seconds of a clip: what a voice encoder hears at once."""
RATES: Final = (4_000, 192_000)
MOST_CHANNELS: Final = 16
MOST_PIXELS: Final = 1 << 26
BAND: Final = (300, 3400)
"""Hz that a telephone lets through."""
MU: Final = 255
"""Of G.711's mu-law."""


def clip(place: Place) -> Floats:
    """A recording as mono float32 at 16 kHz: the mean of its channels.

    Raises ModelError for a file that cannot be read, that is longer than 30 s, or whose rate or
    number of channels nobody records with.
    """
    try:
        with soundfile.SoundFile(place.path) as file:
            _check(place.path, file)
            samples = file.read(round(LONGEST_S * file.samplerate), "float32", always_2d=True)
            rate: int = file.samplerate
    except (OSError, soundfile.LibsndfileError) as error:
        raise ModelError(f"cannot read {place.path}: {error}") from error
    common = gcd(rate, SAMPLE_RATE)
    mono = np.nan_to_num(samples.mean(axis=1), posinf=1.0, neginf=-1.0)
    return np.asarray(resample_poly(mono, SAMPLE_RATE // common, rate // common), np.float32)


def _check(path: Path, file: soundfile.SoundFile) -> None:
    low, high = RATES
    if not low <= file.samplerate <= high or file.channels > MOST_CHANNELS:
        raise ModelError(
            f"{path} has {file.samplerate} Hz and {file.channels} channels: bring it to"
            f" {low} to {high} Hz and at most {MOST_CHANNELS} channels"
        )
    seconds = file.frames / file.samplerate
    if not 0 < seconds <= LONGEST_S:
        raise ModelError(
            f"{path} has {seconds:.1f} s: cut recordings into utterances of at most {LONGEST_S:g} s"
        )


def telephone(audio: Floats) -> Floats:
    """The audio (16 kHz) as a telephone gives it: 300-3400 Hz, 8 kHz, 8 bits of mu-law (G.711)."""
    band = butter(4, BAND, "bandpass", fs=SAMPLE_RATE, output="sos")
    narrow = np.clip(resample_poly(sosfilt(band, audio), 1, 2), -1, 1)
    companded = np.sign(narrow) * np.log1p(MU * np.abs(narrow)) / np.log1p(MU)
    coded = np.round(companded * 127.5) / 127.5
    expanded = np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(MU)) / MU
    return np.asarray(resample_poly(expanded, 2, 1), dtype=np.float32)


def face(place: Place) -> Pixels:
    """A cropped face, uint8, grey [height, width] or RGB [height, width, 3]. Raises ModelError."""
    try:
        if place.name:
            pixels: Pixels = _array(place.path, place.name)[place.index]
            return pixels
        with Image.open(place.path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ModelError(f"{place.path} is larger than {MOST_PIXELS} pixels: crop the face")
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (OSError, ValueError, KeyError, IndexError, UnidentifiedImageError) as error:
        raise ModelError(f"cannot read a face of {place.path}: {error}") from error


@lru_cache(maxsize=2)
def _array(path: Path, name: str) -> Pixels:
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays[name], dtype=np.uint8)
