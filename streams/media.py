"""Untrusted media to arrays, with limits: audio to 16 kHz mono PCM, pictures to RGB.

Nothing is decoded before its declared size is known to be acceptable, and no more than that is
decoded. Every refusal is a `MediaError` whose reason is stable and whose message helps.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from functools import cache
from math import gcd
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

Pcm = npt.NDArray[np.int16]
Pixels = npt.NDArray[np.uint8]

SAMPLE_RATE: Final = 16_000
PICTURE_FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
CONTAINERS: Final = {"audio/wav": ("WAV", "WAVEX"), "audio/flac": ("FLAC",), "audio/ogg": ("OGG",)}


class MediaError(Exception):
    """Media that cannot be used; `reason` is one stable word, the message says what was found."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Limits:
    """The longest audio chunk (s), its sampling rates (Hz), and the most pixels of a picture, with
    the longest side (pixels) at which a picture is handed on."""

    audio_s: float = 2.0
    lowest_rate: int = 8_000
    highest_rate: int = 48_000
    pixels: int = 40_000_000
    side: int = 1024


def decode_audio(content_type: str, data: bytes, limits: Limits) -> Pcm:
    """One chunk as int16 mono at 16 kHz, [samples].

    Each chunk is resampled on its own, so that the result depends on nothing before it.

    Raises:
        MediaError: not decodable, too long, of several channels, or of an unusable rate.
    """
    kind, parameters = _content_type(content_type)
    if kind == "audio/l16":
        samples, rate = _l16(data, parameters), _rate(parameters, SAMPLE_RATE)
    elif kind in ("audio/pcmu", "audio/pcma"):
        table = _mu_law_table() if kind == "audio/pcmu" else _a_law_table()
        samples, rate = table[np.frombuffer(data, np.uint8)], _rate(parameters, 8_000)
    elif kind in CONTAINERS:
        samples, rate = _container(kind, data, limits)
    else:
        raise MediaError("unsupported-audio", f"no decoder for {kind!r}")
    if parameters.get("channels", "1") != "1":
        raise MediaError("several-channels", "send one event per channel, with ce_channel")
    _check_length(len(samples), rate, limits)
    return resample(samples, rate)


def resample(samples: Pcm, rate: int) -> Pcm:
    """int16 [n] at `rate` Hz to int16 at 16 kHz (polyphase filter, edges continued as a line)."""
    if rate == SAMPLE_RATE:
        return samples
    from scipy.signal import resample_poly  # noqa: PLC0415  (a second of import, workers only)

    step = gcd(rate, SAMPLE_RATE)
    out = resample_poly(
        samples.astype(np.float32), SAMPLE_RATE // step, rate // step, padtype="line"
    )
    whole: Pcm = np.clip(np.rint(out), -32768, 32767).astype(np.int16)
    return whole


def mu_law(samples: Pcm) -> bytes:
    """int16 [n] as ITU-T G.711 mu-law: the code whose value is nearest."""
    table = _mu_law_table().astype(np.int32)
    order = np.argsort(table, kind="stable")
    edges = (table[order][1:] + table[order][:-1]) / 2
    return order[np.searchsorted(edges, samples)].astype(np.uint8).tobytes()


def decode_image(content_type: str, data: bytes, limits: Limits) -> Pixels:
    """One picture as uint8 RGB, [height, width, 3], turned upright, its longer side limited.

    Raises:
        MediaError: not a picture of the declared type, broken, or of too many pixels.
    """
    from PIL import Image, ImageOps  # noqa: PLC0415  (workers only)

    kind, _ = _content_type(content_type)
    if (format_ := PICTURE_FORMATS.get(kind)) is None:
        raise MediaError("unsupported-image", f"no decoder for {kind!r}")
    try:
        with Image.open(io.BytesIO(data), formats=[format_]) as picture:
            width, height = picture.size
            if width * height > limits.pixels:
                raise MediaError(
                    "image-too-large",
                    f"{width} x {height} pixels; at most {limits.pixels:,} are decoded",
                )
            picture.draft("RGB", (limits.side, limits.side))
            upright = _rgb(ImageOps.exif_transpose(picture))
            upright.thumbnail((limits.side, limits.side))
            return np.asarray(upright, dtype=np.uint8)
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise MediaError("image-too-large", str(error)) from error
    except Exception as error:  # Pillow's plugins raise nearly anything on broken data
        raise MediaError(
            "undecodable-image", f"{len(data)} bytes are no readable {format_}: {_kind(error)}"
        ) from error


def _rgb(picture: Image.Image) -> Image.Image:
    from PIL import Image  # noqa: PLC0415  (workers only)

    if picture.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return picture.convert("RGB")


def _content_type(content_type: str) -> tuple[str, dict[str, str]]:
    kind, *rest = (part.strip() for part in content_type.lower().split(";"))
    return kind, dict(part.split("=", 1) for part in rest if "=" in part)


def _rate(parameters: dict[str, str], default: int) -> int:
    text = parameters.get("rate", str(default))
    if not text.isdecimal() or len(text) > 6:
        raise MediaError("unsupported-rate", f"rate={text[:20]!r} is no sampling rate in Hz")
    return int(text)


def _l16(data: bytes, parameters: dict[str, str]) -> Pcm:
    """Little-endian, as producers of today send L16, unless RFC 2586's byte order is named."""
    if len(data) % 2:
        raise MediaError("truncated-audio", f"{len(data)} bytes are no whole 16-bit samples")
    order = ">i2" if parameters.get("endianness") == "big-endian" else "<i2"
    return np.frombuffer(data, order).astype(np.int16)


def _container(kind: str, data: bytes, limits: Limits) -> tuple[Pcm, int]:
    import soundfile  # noqa: PLC0415  (workers only)

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format not in CONTAINERS[kind]:
                raise MediaError("undecodable-audio", f"this is {file.format}, not {kind}")
            if file.channels != 1:
                raise MediaError(
                    "several-channels", f"{file.channels} channels: send one event per channel"
                )
            _check_length(file.frames, file.samplerate, limits)
            # The declared length may lie: read one sample more than is allowed, and no further.
            most = int(limits.audio_s * file.samplerate) + 1
            samples = file.read(frames=most, dtype="float32")
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
    """Whether a RIFF file is shorter than it says (libsndfile makes do with what is there). A
    gigabyte and more is what producers write that do not know the length beforehand."""
    declared = int.from_bytes(wav[4:8], "little") + 8
    return len(wav) < declared < 2**30


def _pcm(samples: npt.NDArray[np.float32]) -> Pcm:
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


@cache
def _mu_law_table() -> Pcm:
    """All 256 values of ITU-T G.711 mu-law as linear PCM."""
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = (((code & 0x0F).astype(np.int32) << 3) + 0x84) << ((code & 0x70) >> 4)
    linear = magnitude - 0x84
    return np.where(code & 0x80, -linear, linear).astype(np.int16)


@cache
def _a_law_table() -> Pcm:
    """All 256 values of ITU-T G.711 A-law as linear PCM."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    segment = ((code & 0x70) >> 4).astype(np.int32)
    base = ((code & 0x0F).astype(np.int32) << 4) + 8
    magnitude = np.where(segment > 0, (base + 0x100) << np.maximum(segment - 1, 0), base)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)
