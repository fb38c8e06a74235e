"""Makes the first seeds, examples of what each target decodes: `python -m tests.fuzz.examples`.

Everything is made here, by the code that also makes it in earnest; nothing is copied from data.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from PIL import Image

from streams import codec
from streams.agents import signals
from streams.deadletters import DeadLetterError, dead_letter
from streams.events import JSON_TYPE, Event, EventType
from streams.features import Feature, Modality
from streams.results import (
    RESULTS,
    CaptionFinal,
    Face,
    Gap,
    ImageRecognized,
    Label,
    Match,
    Result,
    Silence,
    Word,
    result_event,
)
from tests.fuzz.targets import BATCH, NOW, SESSION, joined

SEEDS: Final = Path(__file__).parent / "seeds"
ORIENTATION: Final = 0x0112
WRONG_NAME: Final = b"\x14\0\0\0\1\1\2\4\xff\xfe\1"
"""A Kafka record whose one header has a name that is not UTF-8."""
WRONG_LENGTH: Final = b"\x20\0\0\2\x80\x80\x80\x80\x80\x40\1\0"
"""The next one, whose key is said to have a TB."""


def examples() -> Iterator[tuple[str, str, bytes]]:
    """Target, name and bytes of each."""
    yield from _events()
    yield from _kafka()
    yield from _sounds()
    yield from _pictures()
    yield "script", "call", _script()


def _events() -> Iterator[tuple[str, str, bytes]]:
    feature = Feature(
        session=SESSION,
        channel="customer",
        modality=Modality.TEXT,
        start=NOW - 1000,
        end=NOW,
        encoder="pkg:encoder",
        revision="1",
        vector=np.array([0.5, -1, 3e38], np.float32),
        evidence="caption-1",
        kind="caption",
    ).to_event(source="test", traceparent=f"00-{1:032x}-{1:016x}-01")
    tick = signals.tick(SESSION, NOW, agent="join", idle=["audio/customer"], until=NOW, seen=7)
    value = {"text": "Zoë calls", "speaker": "agent", "kind": "note", "vocabulary": ["QX-40"]}
    text = json.dumps(value).encode()
    typed = Event(EventType.TEXT_MESSAGE, "1", "test", SESSION, NOW, "agent", 3, JSON_TYPE, text)
    sound = Event(
        EventType.AUDIO_CHUNK, "2", "test", SESSION, NOW, "a,b", 0, "audio/PCMU;rate=8000", b"\xff"
    )
    for event in (feature, tick, typed, sound, signals.ended(SESSION, NOW, input_="text")):
        yield "record", event.type.split(".")[1] + f"-{event.id[:4]}", _record(event)
    yield "feature", "vector", joined([feature.data, *_flat(feature.extensions)])
    yield "signal", "tick", joined(_flat(tick.extensions))
    yield "text", "json", b"\1" + text
    yield "text", "plain", "\0Grüße".encode()
    for result in _results():
        number = list(RESULTS).index(result.event_type)
        yield (
            "result",
            type(result).__name__.lower(),
            bytes([number]) + result_event(result, source="test").data,
        )


def _results() -> Iterator[Result]:
    word = Word(text="hello", start=NOW, end=NOW + 400, probability=0.9)
    common = {"session": SESSION, "channel": "customer", "start": NOW, "end": NOW + 900}
    yield CaptionFinal(
        **common,
        text="hello there",
        language="en",
        revision=0,
        model="tiny",
        no_speech_probability=0.01,
        words=(word, word.model_copy(update={"text": "there"})),
    )
    yield Silence(**common)
    yield Gap(**common, reason="no-audio")
    yield ImageRecognized(
        session=SESSION,
        channel="agent",
        time=NOW,
        image="i",
        labels=(Label(name="cat", probability=0.5),),
        faces=(Face(x=0.1, y=0.1, width=0.2, height=0.2, confidence=1),),
        model="m",
    )
    yield Match(
        session=SESSION,
        time=NOW,
        left="a",
        right="b",
        left_modality="text",
        right_modality="image",
        similarity=0.3,
        model="m",
    )


def batch_builder(compression: int, size: int) -> DefaultRecordBatchBuilder:
    """A batch of records of no producer, of `size` bytes at most."""
    return DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=size,
    )


def _kafka() -> Iterator[tuple[str, str, bytes]]:
    error = DeadLetterError("bad-json", "not JSON", "tenor.text", 3, 42)
    _, _, headers = dead_letter(b"k", b"v", [("a", b"b")], error)
    yield "letter", "whole", joined([x for name, raw in headers for x in (name.encode(), raw)])
    for compression, name in enumerate(("none", "gzip", "snappy", "lz4", "zstd")):
        builder = batch_builder(compression, 65536)
        for offset in range(3):
            headers_ = [("ce_id", b"1"), ("null", None)]
            builder.append(offset, NOW, b"key", bytes(40 * offset), headers_)
        payload = bytes(builder.build())[BATCH.size :]
        yield "batch", name, bytes([compression, 0, 3]) + payload
    yield "batch", "length-beyond-batch", bytes([0, 0, 2]) + WRONG_NAME + WRONG_LENGTH


def _sounds() -> Iterator[tuple[str, str, bytes]]:
    tone = 0.5 * np.sin(np.arange(160) / 5)
    for kind, subtype in (
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("WAV", "ULAW"),
        ("WAV", "IMA_ADPCM"),
        ("WAVEX", "PCM_24"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
    ):
        data = _sound(tone, kind, subtype)
        target = {"WAVEX": "wav"}.get(kind, kind.lower())
        yield target, f"{kind}-{subtype}".lower(), data
        if target != "ogg":
            yield "recording", f"{kind}-{subtype}".lower(), data
    yield "wav", "stereo", _sound(np.stack([tone, -tone], axis=1), "WAV", "PCM_16")
    for content_type in ("audio/L16;rate=8000;channels=2", "audio/PCMU", "audio/PCMA;rate=44100"):
        name = content_type[6:10].lower().strip(";")
        yield "raw-audio", name, joined([content_type.encode(), bytes(range(64))])


def _sound(samples: npt.NDArray[np.float64], kind: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format=kind, subtype=subtype)
    return file.getvalue()


def _pictures() -> Iterator[tuple[str, str, bytes]]:
    image = Image.new("RGB", (9, 6), "blue")
    image.paste("red", (0, 0, 4, 6))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    frames = [image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)]
    yield "jpeg", "plain", _picture(image, "JPEG")
    yield "jpeg", "progressive", _picture(image, "JPEG", progressive=True, exif=exif)
    yield "jpeg", "cmyk", _picture(image.convert("CMYK"), "JPEG")
    yield "png", "plain", _picture(image, "PNG", exif=exif)
    yield "png", "palette", _picture(image.convert("P"), "PNG", transparency=0)
    yield "png", "animated", _picture(image, "PNG", save_all=True, append_images=frames)
    yield "png", "grey16", _picture(Image.new("I;16", (3, 3), 40_000), "PNG")
    yield "webp", "plain", _picture(image, "WEBP")
    yield "webp", "lossless", _picture(image.convert("RGBA"), "WEBP", lossless=True, exif=exif)
    yield "webp", "animated", _picture(image, "WEBP", save_all=True, append_images=frames)


def _picture(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _script() -> bytes:
    script = {
        "channels": {},
        "messages": [{"at": 1.5, "text": "hi", "speaker": "agent", "kind": "message"}],
        "images": [],
        "utterances": [{"channel": "agent", "start": 0, "end": 1, "text": "hello"}],
    }
    return json.dumps(script).encode()


def _record(event: Event) -> bytes:
    key, value, headers = codec.encode(event)
    return joined([key, value, *(x for name, raw in headers for x in (name.encode(), raw))])


def _flat(texts: object) -> Iterator[bytes]:
    assert isinstance(texts, dict)
    for name, text in texts.items():
        yield from (name.encode(), text.encode())


if __name__ == "__main__":
    for target, name, data in examples():
        (SEEDS / target).mkdir(parents=True, exist_ok=True)
        (SEEDS / target / f"example-{name}").write_bytes(data)
