"""What is decoded, and everything that is refused and why."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from streams.media import (
    CONTAINERS,
    PICTURE_FORMATS,
    Limits,
    MediaError,
    Pcm,
    decode_audio,
    decode_image,
    is_raw,
)

LIMITS = Limits()
Samples = npt.NDArray[np.float64]


def tone(
    rate: int = 16_000, seconds: float = 1.0, hertz: float = 440, level: float = 0.5
) -> Samples:
    return level * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def sound(
    samples: Samples | Pcm, rate: int = 16_000, kind: str = "WAV", subtype: str = ""
) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype or None)
    return file.getvalue()


def picture(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def huge_png(width: int, height: int) -> bytes:
    """A well-formed picture of one black bit per pixel, of which only the first row is there."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    row = zlib.compress(bytes(1 + width // 8))
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", row) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


# ---------------------------------------------------------------- audio


def test_l16_is_little_endian_unless_it_says_otherwise() -> None:
    data = struct.pack("<3h", 1, -2, 300)
    assert decode_audio("audio/L16", data, LIMITS).tolist() == [[1, -2, 300]]
    big = struct.pack(">3h", 1, -2, 300)
    assert decode_audio("audio/L16; endianness=big-endian", big, LIMITS).tolist() == [[1, -2, 300]]


@pytest.mark.parametrize(
    ("content_type", "kind", "subtype"),
    [
        ("audio/wav", "WAV", "PCM_16"),
        ("audio/wav", "WAV", "PCM_24"),
        ("audio/wav", "WAV", "FLOAT"),
        ("audio/wav", "WAV", "DOUBLE"),
        ("audio/wav", "WAV", "ULAW"),
        ("audio/wav", "WAVEX", "PCM_16"),
        ("audio/flac", "FLAC", "PCM_16"),
        ("Audio/FLAC; rate=1", "FLAC", "PCM_24"),
        ("audio/ogg", "OGG", "VORBIS"),
        ("audio/ogg", "OGG", "OPUS"),
    ],
)
def test_self_contained_files_of_every_sample_format(
    content_type: str, kind: str, subtype: str
) -> None:
    heard = decode_audio(content_type, sound(tone(), kind=kind, subtype=subtype), LIMITS)
    assert heard.dtype == np.int16
    assert heard.shape == (1, 16_000)
    error = heard[0, 500:-500] - tone()[500:-500] * 32767
    assert np.sqrt(np.mean(error**2)) < 0.05 * 0.5 * 32767


def test_pcm_of_16_bits_is_kept_bit_by_bit() -> None:
    samples = np.array([-32768, -32767, -1, 0, 1, 12345, 32767], np.int16)
    assert np.array_equal(decode_audio("audio/wav", sound(samples), LIMITS), samples[None])


def test_overshoot_is_clipped_and_does_not_change_its_sign() -> None:
    loud = sound(tone(level=1.5), kind="WAV", subtype="FLOAT")
    heard = decode_audio("audio/wav", loud, LIMITS)
    assert (heard.min(), heard.max()) == (-32768, 32767)
    square = sound(np.sign(tone() + 1e-9), kind="OGG", subtype="VORBIS")
    wanted, _ = soundfile.read(io.BytesIO(square), dtype="float32")
    error = decode_audio("audio/ogg", square, LIMITS) - np.clip(wanted, -1, 1) * 32767
    assert np.abs(error).max() < 10


def test_a_wav_of_a_producer_that_did_not_know_its_length() -> None:
    wav = bytearray(sound(tone()))
    wav[4:8] = wav[40:44] = b"\xff\xff\xff\xff"
    assert decode_audio("audio/wav", bytes(wav), LIMITS).shape == (1, 16_000)


def lying_wav() -> bytes:
    wav = sound(tone())
    return wav[: len(wav) // 2]


SECOND = bytes(32_000)
AUDIO_REFUSED: list[tuple[str, str, Callable[[], bytes], str]] = [
    ("half a sample", "audio/L16", lambda: b"123", "truncated-audio"),
    ("nothing, L16", "audio/L16", bytes, "empty-audio"),
    ("nothing, mu-law", "audio/PCMU", bytes, "empty-audio"),
    ("nothing, wav", "audio/wav", bytes, "undecodable-audio"),
    ("a wav of no samples", "audio/wav", lambda: sound(tone(seconds=0)), "empty-audio"),
    ("too long", "audio/L16", lambda: 3 * SECOND, "audio-too-long"),
    ("too long, mu-law", "audio/PCMU", lambda: bytes(8_000 * 3), "audio-too-long"),
    ("4 kHz", "audio/L16;rate=4000", lambda: SECOND, "unsupported-rate"),
    ("4 kHz, wav", "audio/wav", lambda: sound(tone(4_000), 4_000), "unsupported-rate"),
    ("96 kHz, wav", "audio/wav", lambda: sound(tone(96_000), 96_000), "unsupported-rate"),
    ("no rate at all", "audio/L16;rate=fast", lambda: SECOND, "unsupported-rate"),
    ("zero rate", "audio/L16;rate=0", lambda: SECOND, "unsupported-rate"),
    ("a negative rate", "audio/L16;rate=-16000", lambda: SECOND, "unsupported-rate"),
    ("an endless rate", f"audio/L16;rate={'9' * 5000}", lambda: SECOND, "unsupported-rate"),
    ("a wav that breaks off", "audio/wav", lying_wav, "truncated-audio"),
    ("a wav header that breaks off", "audio/wav", lambda: sound(tone())[:30], "undecodable-audio"),
    (
        "a flac that breaks off",
        "audio/flac",
        lambda: sound(tone(), kind="FLAC")[:5000],
        "undecodable-audio",
    ),
    (
        "numbers that are none",
        "audio/wav",
        lambda: sound(np.full(100, np.nan), subtype="FLOAT"),
        "undecodable-audio",
    ),
    ("an ogg that is wav", "audio/ogg", lambda: sound(tone()), "undecodable-audio"),
    ("a flac that is wav", "audio/flac", lambda: sound(tone(), kind="WAVEX"), "undecodable-audio"),
    ("text", "audio/wav", lambda: b"good morning", "undecodable-audio"),
    ("a codec that we do not know", "audio/mpeg", lambda: b"ID3", "unsupported-audio"),
    ("a picture", "image/png", lambda: huge_png(8, 8), "unsupported-audio"),
    ("no type", "", lambda: SECOND, "unsupported-audio"),
]


@pytest.mark.parametrize(
    ("content_type", "make", "reason"),
    [pytest.param(*row[1:], id=row[0]) for row in AUDIO_REFUSED],
)
def test_audio_that_is_refused(content_type: str, make: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(MediaError) as refusal:
        decode_audio(content_type, make(), LIMITS)
    assert refusal.value.reason == reason
    assert str(refusal.value)


def test_a_bomb_is_refused_by_its_header() -> None:
    """100 MB of silence in 160 kB: refused as well when all that could be decoded is cut off."""
    bomb = sound(np.zeros(50_000_000, np.int16), kind="FLAC")
    assert len(bomb) < 500_000
    for data in (bomb, bomb[:200]):
        with pytest.raises(MediaError, match=r"3125.0 s") as refusal:
            decode_audio("audio/flac", data, LIMITS)
        assert refusal.value.reason == "audio-too-long"


# ---------------------------------------------------------------- pictures

RED_LEFT = Image.new("RGB", (40, 20), "blue")
RED_LEFT.paste("red", (0, 0, 20, 20))


@pytest.mark.parametrize("content_type", sorted(PICTURE_FORMATS))
def test_pictures_of_every_format(content_type: str) -> None:
    data = picture(RED_LEFT, PICTURE_FORMATS[content_type])
    pixels = decode_image(content_type, data, LIMITS)
    assert pixels.shape == (20, 40, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[10, 5].astype(int) - [255, 0, 0]).max() < 10
    assert np.abs(pixels[10, 35].astype(int) - [0, 0, 255]).max() < 10


@pytest.mark.parametrize(
    ("mode", "kind", "content_type"),
    [
        ("CMYK", "JPEG", "image/jpeg"),
        ("L", "JPEG", "image/jpeg"),
        ("P", "PNG", "image/png"),
        ("1", "PNG", "image/png"),
        ("LA", "PNG", "image/png"),
        ("RGBA", "PNG", "image/png"),
        ("RGBA", "WEBP", "image/webp"),
    ],
)
def test_every_mode_becomes_rgb(mode: str, kind: str, content_type: str) -> None:
    image = Image.new("RGB", (8, 8), "white").convert(mode)
    pixels = decode_image(content_type, picture(image, kind), LIMITS)
    assert pixels.shape == (8, 8, 3)
    assert pixels.min() > 245


def test_grey_of_16_bits_keeps_its_shades() -> None:
    shades = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    pixels = decode_image("image/png", picture(Image.fromarray(shades)), LIMITS)
    assert np.array_equal(pixels[..., 0].ravel(), np.arange(256))


def test_a_picture_is_turned_upright_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the first row is the right side
    pixels = decode_image("image/jpeg", picture(RED_LEFT, "JPEG", exif=exif, quality=95), LIMITS)
    assert pixels.shape == (40, 20, 3)
    assert pixels[5, 10, 0] > 200  # red is on top
    assert pixels[35, 10, 2] > 200


def test_a_large_picture_is_made_smaller_in_proportion() -> None:
    pixels = decode_image("image/jpeg", picture(Image.new("RGB", (3000, 1500)), "JPEG"), LIMITS)
    assert pixels.shape == (512, 1024, 3)


def animation() -> bytes:
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 255)]
    return picture(frames[0], "GIF", save_all=True, append_images=frames[1:])


IMAGES_REFUSED: list[tuple[str, str, Callable[[], bytes], str]] = [
    ("60,000 x 60,000", "image/png", lambda: huge_png(60_000, 60_000), "image-too-large"),
    ("just above the limit", "image/png", lambda: huge_png(8_000, 5_001), "image-too-large"),
    ("png breaks off", "image/png", lambda: picture(RED_LEFT)[:60], "undecodable-image"),
    ("text", "image/png", lambda: b"good morning", "undecodable-image"),
    ("nothing", "image/jpeg", bytes, "undecodable-image"),
    ("png as jpeg", "image/jpeg", lambda: picture(RED_LEFT), "undecodable-image"),
    ("breaks off", "image/jpeg", lambda: picture(RED_LEFT, "JPEG")[:-80], "undecodable-image"),
    ("gif as png", "image/png", animation, "undecodable-image"),
    ("an animation", "image/gif", animation, "unsupported-image"),
    ("sound", "audio/wav", lambda: sound(tone()), "unsupported-image"),
    ("no type", "", lambda: picture(RED_LEFT), "unsupported-image"),
]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("content_type", "make", "reason"),
    [pytest.param(*row[1:], id=row[0]) for row in IMAGES_REFUSED],
)
def test_pictures_that_are_refused(
    content_type: str, make: Callable[[], bytes], reason: str
) -> None:
    with pytest.raises(MediaError) as refusal:
        decode_image(content_type, make(), LIMITS)
    assert refusal.value.reason == reason
    assert str(refusal.value)


# ---------------------------------------------------------------- anything at all

SEEDS = {
    "audio/wav": sound(tone(seconds=0.02)),
    "audio/flac": sound(tone(seconds=0.02), kind="FLAC"),
    "audio/ogg": sound(tone(seconds=0.02), kind="OGG"),
    "image/png": picture(RED_LEFT),
    "image/jpeg": picture(RED_LEFT, "JPEG"),
    "image/webp": picture(RED_LEFT, "WEBP"),
}
RAW = ["audio/L16", "audio/PCMU", "audio/PCMA", "audio/L16;rate=44100", "audio/L16;channels=2"]


@st.composite
def nearly_media(draw: st.DrawFn) -> tuple[str, bytes]:
    """Real files with bytes changed, cut off or added, some under another's name."""
    names = sorted(SEEDS)
    data = bytearray(SEEDS[draw(st.sampled_from(names))])
    for place, value in draw(
        st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=8)
    ):
        data[place] = value
    cut = draw(st.integers(0, len(data)))
    return draw(st.sampled_from(names)), bytes(data[cut:] if draw(st.booleans()) else data[:cut])


anything = st.tuples(st.one_of(st.sampled_from([*SEEDS, *RAW]), st.text()), st.binary())


@pytest.mark.filterwarnings("ignore")  # Pillow and libsndfile have much to say about such files
@settings(max_examples=400)
@given(st.one_of(anything, nearly_media()))
@example(("audio/L16;;=;rate", b"12"))
def test_whatever_comes_is_decoded_or_refused(media: tuple[str, bytes]) -> None:
    content_type, data = media
    try:
        if content_type in PICTURE_FORMATS:
            assert decode_image(content_type, data, LIMITS).shape[2] == 3
        else:
            heard = decode_audio(content_type, data, LIMITS)
            assert 1 <= len(heard) <= LIMITS.channels
            assert 0 < heard.shape[1] <= LIMITS.audio_s * 16_000 + 4
    except MediaError as refusal:
        assert refusal.reason


def test_the_fuzz_seeds_are_good() -> None:
    for content_type, data in SEEDS.items():
        if content_type in CONTAINERS:
            assert decode_audio(content_type, data, LIMITS).shape == (1, 320)
        else:
            assert decode_image(content_type, data, LIMITS).shape == (20, 40, 3)


@pytest.mark.parametrize(
    ("content_type", "raw"),
    [
        ("audio/L16;rate=16000", True),
        ("Audio/PCMU; rate=8000", True),
        ("audio/pcma", True),
        ("audio/wav", False),
        ("audio/flac", False),
        ("audio/ogg", False),
        ("audio/l16x", False),
    ],
)
def test_what_is_raw(content_type: str, raw: bool) -> None:
    assert is_raw(content_type) is raw
