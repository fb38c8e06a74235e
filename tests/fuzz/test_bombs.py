"""Small inputs that claim to be, or become, huge: refused before they take memory or time.

Each is given to its decoder in a process of its own that may use ten seconds of CPU, and says by
how much its memory grew.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from streams.records import UNREADABLE, LenientRecords
from tests.fuzz.examples import WRONG_LENGTH, WRONG_NAME, batch_builder
from tests.fuzz.targets import BATCH, NOW

ATTEMPT = """
import io, json, resource, sys
from pathlib import Path
import numpy, soundfile
from PIL import Image
from streams.media import Limits, MediaError, decode_audio, decode_image

content_type, path = sys.argv[1:]
decode = decode_audio if content_type.startswith("audio/") else decode_image
data = Path(path).read_bytes()
Image.init()
resource.setrlimit(resource.RLIMIT_CPU, (int(resource.getrusage(0).ru_utime) + 10,) * 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    answer = str(decode(content_type, data, Limits()).shape)
except MediaError as error:
    answer = error.reason
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([answer, (after - before) / 1024]))
"""


def png(width: int, height: int, colours: int = 0) -> bytes:
    """A black picture of 8 bits per sample: grey, or (6) with colours and transparency."""
    header = struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0)
    row = bytes(1 + width * (4 if colours else 1))
    squeezed = zlib.compressobj(1)
    rows = b"".join(squeezed.compress(row) for _ in range(height)) + squeezed.flush()
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def png_claim() -> bytes:
    """60,000 x 60,000 pixels of which the first row alone is there."""
    small = bytearray(png(60_000, 1))
    small[20:24] = struct.pack(">I", 60_000)
    small[29:33] = struct.pack(">I", zlib.crc32(small[12:29]))
    return bytes(small)


def webp_canvas() -> bytes:
    """An animation of 8 x 8 pixels on a canvas of 16,383 x 16,383."""
    frame = io.BytesIO()
    Image.new("RGB", (8, 8)).save(frame, "WEBP")
    size = (16_382).to_bytes(3, "little") * 2
    image = bytes(6) + (7).to_bytes(3, "little") * 2 + bytes(4) + frame.getvalue()[12:]
    chunks = [(b"VP8X", b"\2\0\0\0" + size), (b"ANIM", bytes(6)), (b"ANMF", image)]
    body = b"".join(name + struct.pack("<I", len(data)) + data for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def jpeg_scans() -> bytes:
    """A progressive JPEG in which one scan that changes nothing is repeated to 2 MiB."""
    file = io.BytesIO()
    Image.new("L", (6000, 6000)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    first = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    ends = [data.find(marker, first + 2) for marker in (b"\xff\xc4", b"\xff\xda", b"\xff\xd9")]
    end = min(place for place in ends if place > 0)
    return data[:end] + data[first:end] * (2**21 // (end - first)) + data[end:]


def jpeg_segments() -> bytes:
    """16 MB of empty segments."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG")
    data = file.getvalue()
    return data[:2] + b"\xff\xee\0\2" * 4_000_000 + data[2:]


def sound(seconds: int, kind: str) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 16_000, 1, format=kind) as written:
        for _ in range(seconds):
            written.write(np.zeros(16_000, np.int16))
    return file.getvalue()


def flac_claim(samples: int) -> bytes:
    """A second of silence that says it is so many samples."""
    data = bytearray(sound(1, "FLAC"))
    described = int.from_bytes(data[18:26])
    data[18:26] = (described >> 36 << 36 | samples).to_bytes(8)
    return bytes(data)


def wav_claim(at: int, value: bytes) -> bytes:
    """A second of silence with another header."""
    data = sound(1, "WAV")
    return data[:at] + value + data[at + len(value) :]


BOMBS: list[tuple[str, str, Callable[[], bytes], str, int]] = [
    ("png 60,000 x 60,000", "image/png", png_claim, "image-too-large", 8),
    ("png as large as allowed", "image/png", lambda: png(6300, 6300, 6), "(1024, 1024, 3)", 400),
    ("webp with a huge canvas", "image/webp", webp_canvas, "image-too-large", 8),
    ("jpeg of 30,000 scans", "image/jpeg", jpeg_scans, "image-too-complex", 8),
    ("jpeg of 4,000,000 segments", "image/jpeg", jpeg_segments, "image-too-complex", 8),
    ("flac says 10 h", "audio/flac", lambda: flac_claim(576_000_000), "audio-too-long", 8),
    ("flac of 10 min", "audio/flac", lambda: sound(600, "FLAC"), "audio-too-long", 8),
    ("flac says nothing", "audio/flac", lambda: flac_claim(0), "unknown-length", 8),
    ("ogg of 10 min", "audio/ogg", lambda: sound(600, "OGG"), "audio-too-long", 8),
    ("200 ogg streams", "audio/ogg", lambda: 200 * sound(1, "OGG"), "chained-audio", 8),
    (
        "1 MB of ogg marks",
        "audio/ogg",
        lambda: sound(1, "OGG") + b"OggS" * 250_000,
        "(1, 16000)",
        8,
    ),
    (
        "wav 65,535 channels",
        "audio/wav",
        lambda: wav_claim(22, b"\xff\xff"),
        "undecodable-audio",
        8,
    ),
    ("wav 4 GHz", "audio/wav", lambda: wav_claim(24, b"\xff" * 4), "undecodable-audio", 8),
    ("wav other order", "audio/wav", lambda: wav_claim(0, b"RIFX"), "undecodable-audio", 8),
]


@pytest.mark.parametrize(
    ("content_type", "make", "answer", "most_mb"),
    [pytest.param(*row[1:], id=row[0]) for row in BOMBS],
)
def test_media_bombs(
    tmp_path: Path, content_type: str, make: Callable[[], bytes], answer: str, most_mb: int
) -> None:
    (tmp_path / "bomb").write_bytes(make())
    command = [sys.executable, "-W", "ignore", "-c", ATTEMPT, content_type, str(tmp_path / "bomb")]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert not done.returncode, done.stderr
    given, grown_mb = json.loads(done.stdout)
    assert given == answer
    assert grown_mb < most_mb


def batch(compression: int, megabytes: int) -> bytes:
    builder = batch_builder(compression, 2**30)
    for offset in range(megabytes):
        builder.append(offset, NOW, b"call", bytes(10**6), [("ce_id", b"1")])
    return bytes(builder.build())


COMPRESSIONS = pytest.mark.parametrize(
    "compression", [1, 2, 3, 4], ids=["gzip", "snappy", "lz4", "zstd"]
)


@COMPRESSIONS
def test_a_batch_that_decompresses_to_too_much_is_one_record_that_says_so(compression: int) -> None:
    records = LenientRecords(batch(compression, 80))
    taken = records.next_batch()
    (record,) = taken
    assert (record.offset, record.key, record.value) == (0, None, None)
    ((name, raw),) = record.headers
    assert name == UNREADABLE
    assert b"80 records" in raw
    assert taken.next_offset == 80


@COMPRESSIONS
def test_a_compressed_batch_of_usual_size_is_read(compression: int) -> None:
    read = list(LenientRecords(batch(compression, 20)).next_batch())
    assert [(each.offset, each.key, len(each.value)) for each in read] == [
        (offset, b"call", 10**6) for offset in range(20)
    ]


def test_a_batch_that_breaks_off_gives_what_is_there_and_says_so() -> None:
    data = bytearray(batch(0, 3))
    data[2_500_000:2_500_010] = b"\xff" * 10  # in the value of the third: harmless
    assert len(list(LenientRecords(bytes(data)).next_batch())) == 3
    place = data.rindex(b"ce_id") - 1
    data[place] = 0x7F  # the length of the last header's name
    *read, last = LenientRecords(bytes(data)).next_batch()
    assert [each.offset for each in read] == [0, 1]
    assert (last.offset, last.headers[0][0]) == (2, UNREADABLE)


def test_a_length_beyond_the_batch_after_a_wrong_name_ends_nothing() -> None:
    payload = WRONG_NAME + WRONG_LENGTH
    size = BATCH.size - 12 + len(payload)
    head = BATCH.pack(0, size, -1, 2, 0, 0, 1, NOW, NOW, -1, -1, -1, 2)
    first, last = LenientRecords(head + payload).next_batch()
    assert (first.offset, first.headers) == (0, [(r"\xff\xfe", None)])
    assert (last.offset, last.headers[0][0]) == (1, UNREADABLE)
