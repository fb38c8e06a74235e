"""Untrusted media to arrays, with limits: audio to 16 kHz PCM per channel, pictures to RGB.

Nothing is decoded before its declared size is known to be acceptable, and no more than that is
decoded; only the decoder of the declared type ever sees the bytes. Every refusal is a `MediaError`
whose reason is stable and whose message helps.
"""

from __future__ import annotations

import io
import re
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from math import gcd
from typing import TYPE_CHECKING, Final
from zlib import crc32

import numpy as np
import numpy.typing as npt

from streams.g711 import from_a_law, from_mu_law

if TYPE_CHECKING:
    from PIL import Image

Pcm = npt.NDArray[np.int16]
Samples = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

SAMPLE_RATE: Final = 16_000
PICTURE_FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
CONTAINERS: Final = {"audio/wav": ("WAV", "WAVEX"), "audio/flac": ("FLAC",), "audio/ogg": ("OGG",)}
MAGIC: Final = {"audio/wav": b"RIFF", "audio/flac": b"fLaC", "audio/ogg": b"OggS"}
"""The first bytes: libsndfile knows two dozen more formats, and needs no chance to try them."""
RAW: Final = {"audio/l16": (2, SAMPLE_RATE), "audio/pcmu": (1, 8_000), "audio/pcma": (1, 8_000)}
"""Bytes per sample, and the rate where none is named."""
LARGE: Final = 4_000_000
"""Pixels; larger pictures are decoded one at a time, as one needs up to 20 bytes per pixel."""

UNKNOWN: Final = 2**63 - 1
"""The length, to libsndfile, of a FLAC whose producer did not know it; its end cannot be found."""

_OGG_BEGINS: Final = re.compile(rb"OggS\0[\2\3\6\7]")
"""The first page of a stream."""
_LARGE_ONES = threading.Lock()
_START_OF_SCAN: Final = b"\xff\xda"
_MARKER: Final = re.compile(rb"\xff[\xc0-\xcf\xda-\xfe]")
"""Of a JPEG; in what is compressed, 0xFF is followed by 0 or by the number of a restart."""


class MediaError(Exception):
    """Media that cannot be used; `reason` is one stable word, the message says what was found."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Limits:
    """The longest audio chunk (s), its most channels, its sampling rates (Hz), the most pixels of a
    picture, with the longest side (pixels) at which a picture is handed on, and the most scans and
    segments of a JPEG (usual are 1 to 10, and some dozens), each of which costs time whatever its
    size: 2 MiB of empty scans take 100 s."""

    audio_s: float = 2.0
    channels: int = 8
    lowest_rate: int = 8_000
    highest_rate: int = 48_000
    pixels: int = 40_000_000
    side: int = 1024
    scans: int = 100
    segments: int = 10_000


def decode_audio(content_type: str, data: bytes, limits: Limits) -> Pcm:
    """One chunk as int16 at 16 kHz, [channels, samples].

    Each chunk is resampled on its own, so that the result depends on nothing before it.

    Raises:
        MediaError: not decodable, cut off, too long, of too many channels, or of an unusable rate.
    """
    kind, parameters = _content_type(content_type)
    if kind in CONTAINERS:
        frames, rate = _container(kind, data, limits)
    else:
        frames, rate = _raw(kind, parameters, data, limits)
    _check_length(len(frames), rate, limits)
    return resample(np.ascontiguousarray(frames.T), rate)


def is_raw(content_type: str) -> bool:
    """Whether a chunk is samples without a header, that no library has to take apart."""
    return _content_type(content_type)[0] in RAW


def resample(samples: Pcm, rate: int) -> Pcm:
    """int16 [channels, n] at `rate` Hz to int16 at 16 kHz; edges go on as a line.

    Where n / `rate` seconds are no whole number of samples at 16 kHz, the count is rounded up or
    down by a checksum of the samples: with the chance at which the counts of many chunks add up to
    their duration. Always rounding to the nearest would let a call of equal chunks drift.
    """
    if rate == SAMPLE_RATE:
        return samples
    length, given = samples.shape[-1], samples.astype(np.float32)
    count = max(1, (length * SAMPLE_RATE + crc32(samples.tobytes()) % rate) // rate)
    double = 2 * rate == SAMPLE_RATE and length > 1
    out = (_doubled(given) if double else _by_ratio(given, rate))[..., :count]
    whole: Pcm = np.clip(np.rint(out), -32768, 32767).astype(np.int16)
    return whole


def _doubled(samples: Samples) -> Samples:
    """[channels, n] to [channels, 2 * n]: what `_by_ratio` says, of the rate that telephones have.

    Every other tap of the filter is 0 but for the middle, so that only the samples in between
    have to be made.
    """
    taps = 2 * _low_pass(2)
    reach, between = len(taps) // 4, taps[1::2]
    out = np.empty((len(samples), 2 * samples.shape[-1]), np.float32)
    for row, doubled in zip(samples, out, strict=True):
        ramp = (row[-1] - row[0]) / (len(row) - 1) * np.arange(1, reach + 1, dtype=np.float32)
        along = np.concatenate([(row[0] - ramp)[::-1], row, row[-1] + ramp])
        doubled[::2] = row * taps[len(taps) // 2]
        doubled[1::2] = np.convolve(along, between, "valid")[1:]
    return out


def _by_ratio(samples: Samples, rate: int) -> Samples:
    """[channels, n] at `rate` Hz to 16 kHz; edges go on as a line."""
    from scipy.signal import resample_poly  # noqa: PLC0415  (a second of import, workers only)

    step = gcd(rate, SAMPLE_RATE)
    up, down = SAMPLE_RATE // step, rate // step
    filter_ = _low_pass(max(up, down))
    edges = "line" if samples.shape[-1] > 1 else "mean"  # no line goes through one point
    out: Samples = resample_poly(samples, up, down, axis=-1, window=filter_, padtype=edges)
    return out


@lru_cache(maxsize=16)
def _low_pass(factor: int) -> Samples:
    """The filter that `resample_poly` makes itself, kept: it takes longer to make than to use."""
    from scipy.signal import firwin  # noqa: PLC0415  (workers only)

    taps: Samples = firwin(20 * factor + 1, 1 / factor, window=("kaiser", 5.0))
    return taps.astype(np.float32)


def decode_image(content_type: str, data: bytes, limits: Limits) -> Pixels:
    """One picture as uint8 RGB, [height, width, 3], turned upright, its longer side limited.

    Raises:
        MediaError: not a picture of the declared type, broken, or of too many pixels.
    """
    from PIL import Image  # noqa: PLC0415  (workers only)

    kind, _ = _content_type(content_type)
    if (format_ := PICTURE_FORMATS.get(kind)) is None:
        raise MediaError("unsupported-image", f"no decoder for {kind!r}")
    if format_ == "JPEG":
        _check_segments(data, limits)
    try:
        with Image.open(io.BytesIO(data), formats=[format_]) as picture:
            width, height = picture.size
            if width * height > limits.pixels:
                raise MediaError(
                    "image-too-large",
                    f"{width} x {height} pixels; at most {limits.pixels:,} are decoded",
                )
            with _LARGE_ONES if width * height > LARGE else nullcontext():
                return _pixels(picture, limits)
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise MediaError("image-too-large", str(error)) from error
    except Exception as error:  # Pillow's plugins raise nearly anything on broken data
        raise MediaError(
            "undecodable-image", f"{len(data)} bytes are no readable {format_}: {_kind(error)}"
        ) from error


def _check_segments(jpeg: bytes, limits: Limits) -> None:
    scans = jpeg.count(_START_OF_SCAN)
    segments = sum(1 for _ in islice(_MARKER.finditer(jpeg), limits.segments + 1))
    if scans > limits.scans or segments > limits.segments:
        most = f"{limits.scans} scans and {limits.segments} segments"
        raise MediaError("image-too-complex", f"a JPEG of more than {most}")


def _pixels(picture: Image.Image, limits: Limits) -> Pixels:
    picture.draft("RGB", (limits.side, limits.side))
    small = _rgb(picture)
    small.thumbnail((limits.side, limits.side))
    return np.asarray(_upright(small), dtype=np.uint8)


def _upright(picture: Image.Image) -> Image.Image:
    from PIL import ImageOps  # noqa: PLC0415  (workers only)

    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # of nearly any kind: its EXIF is broken, and the picture is not
        return picture


def _rgb(picture: Image.Image) -> Image.Image:
    from PIL import Image  # noqa: PLC0415  (workers only)

    if picture.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return picture.convert("RGB")


def _content_type(content_type: str) -> tuple[str, dict[str, str]]:
    kind, *rest = (part.strip() for part in content_type.lower().split(";"))
    pairs = (part.partition("=") for part in rest)
    return kind, {name.strip(): value.strip(' "') for name, _, value in pairs}


def _raw(kind: str, parameters: dict[str, str], data: bytes, limits: Limits) -> tuple[Pcm, int]:
    """Interleaved samples without a header: [samples, channels] and their rate."""
    if (known := RAW.get(kind)) is None:
        raise MediaError("unsupported-audio", f"no decoder for {kind!r}")
    width, default = known
    channels = _channels(parameters.get("channels", "1"), limits)
    if len(data) % (width * channels):
        what = f"whole samples of {8 * width} bits on {channels} channels"
        raise MediaError("truncated-audio", f"{len(data)} bytes are no {what}")
    return _linear(kind, parameters, data).reshape(-1, channels), _rate(parameters, default)


def _linear(kind: str, parameters: dict[str, str], data: bytes) -> Pcm:
    """L16 is little-endian, as producers of today send it, unless RFC 2586's order is named."""
    if kind == "audio/pcmu":
        return from_mu_law(data)
    if kind == "audio/pcma":
        return from_a_law(data)
    order = ">i2" if parameters.get("endianness") == "big-endian" else "<i2"
    return np.frombuffer(data, order).astype(np.int16)


def _channels(text: str, limits: Limits) -> int:
    if text.isdecimal() and len(text) < 6 and 0 < int(text) <= limits.channels:
        return int(text)
    found = f"channels={text[:20]!r}; 1 to {limits.channels} are understood"
    raise MediaError("unsupported-channels", found)


def _rate(parameters: dict[str, str], default: int) -> int:
    text = parameters.get("rate", str(default))
    if not text.isdecimal() or len(text) > 6:
        raise MediaError("unsupported-rate", f"rate={text[:20]!r} is no sampling rate in Hz")
    return int(text)


def _container(kind: str, data: bytes, limits: Limits) -> tuple[Pcm, int]:
    """A file that says itself what it is: [samples, channels] and their rate."""
    import soundfile  # noqa: PLC0415  (workers only)

    if not data.startswith(MAGIC[kind]):
        raise MediaError("undecodable-audio", f"{len(data)} bytes are no {kind}")
    if kind == "audio/ogg" and len(_OGG_BEGINS.findall(data)) > 1:
        raise MediaError("chained-audio", "several streams, of which only one would be heard")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format not in CONTAINERS[kind]:
                raise MediaError("undecodable-audio", f"this is {file.format}, not {kind}")
            _channels(str(file.channels), limits)
            if file.frames == UNKNOWN:
                raise MediaError("unknown-length", f"{kind} must say how many samples it holds")
            _check_length(file.frames, file.samplerate, limits)
            # The declared length may lie: read one sample more than is allowed, and no further.
            most = int(limits.audio_s * file.samplerate) + 1
            samples = file.read(frames=most, dtype="float32", always_2d=True)
            if len(samples) < file.frames or (kind == "audio/wav" and _cut_off(data)):
                raise MediaError(
                    "truncated-audio", f"{len(samples)} of {file.frames} samples are there"
                )
            return _pcm(samples), file.samplerate
    except (soundfile.SoundFileError, ValueError, OSError) as error:
        raise MediaError(
            "undecodable-audio", f"{len(data)} bytes are no readable {kind}: {_kind(error)}"
        ) from error


def _cut_off(wav: bytes) -> bool:
    """Whether a RIFF file is shorter than it says, or its samples end within a frame (libsndfile
    makes do with what is there). A gigabyte and more is what producers write that do not know the
    length beforehand."""
    declared = int.from_bytes(wav[4:8], "little") + 8
    if len(wav) < declared < 2**30:
        return True
    frame, place = 1, 12
    while place + 8 <= len(wav):
        name, size = wav[place : place + 4], int.from_bytes(wav[place + 4 : place + 8], "little")
        if name == b"fmt ":
            frame = int.from_bytes(wav[place + 20 : place + 22], "little") or 1
        if name == b"data":
            return bool(min(size, len(wav) - place - 8) % frame)
        place += 8 + size + size % 2
    return False


def _pcm(samples: Samples) -> Pcm:
    """Samples in [-1, 1] as int16, clipped. libsndfile's own conversion makes silence of files
    that hold floats, and turns overshoot of lossy codecs into the opposite sign."""
    if not np.isfinite(samples).all():
        raise MediaError("undecodable-audio", "samples that are no numbers")
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)


def _check_length(samples: int, rate: int, limits: Limits) -> None:
    if not limits.lowest_rate <= rate <= limits.highest_rate:
        raise MediaError(
            "unsupported-rate",
            f"{rate} Hz; {limits.lowest_rate} to {limits.highest_rate} Hz are understood",
        )
    if not samples:
        raise MediaError("empty-audio", "no samples")
    if samples > limits.audio_s * rate + 1:
        raise MediaError(
            "audio-too-long", f"{samples / rate:.1f} s; at most {limits.audio_s:g} s per event"
        )


def _kind(error: Exception) -> str:
    text = re.sub(r"<[^<>]* object at 0x\w+>", "the value", str(error))
    return f"{type(error).__name__}: {text}"[:200]
