"""What is read has limits: those that no other test of its decoder speaks of."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from streams.agents import signals
from streams.codec import SIZES, check, decode, encode
from streams.events import CodecError, Event, EventType
from streams.features import Feature, Modality
from streams.media import Limits, decode_image
from streams.recordings import Recording, RecordingError

NOW = 1_800_000_000_000


def feature() -> Event:
    vector = np.ones(4, np.float32)
    span = (NOW - 1000, NOW)
    made = Feature("call", "agent", Modality.TEXT, *span, "pkg:encoder", "1", vector, "caption-1")
    return made.to_event(source="test")


def test_the_end_of_a_feature_is_the_time_of_its_event() -> None:
    """Windows are dated by the end, and only the time has been checked."""
    event = feature()
    assert Feature.from_event(event).end == NOW
    with pytest.raises(CodecError) as refusal:
        Feature.from_event(replace(event, time=NOW - 1))
    assert refusal.value.reason == "bad-span"


@pytest.mark.parametrize("type_", [EventType.PROGRESS, EventType.SESSION_ENDED, EventType.FEATURE])
def test_what_is_held_until_a_window_closes_is_small(type_: EventType) -> None:
    event = signals.progress("call", NOW, input_="text")
    if type_ is EventType.FEATURE:
        event = feature()
    event = replace(event, type=type_, data=bytes(SIZES[type_]))
    check(event, now=NOW)
    with pytest.raises(CodecError) as refusal:
        check(replace(event, data=event.data + b"1"), now=NOW)
    assert refusal.value.reason == "too-large"


def test_names_of_attributes_have_a_longest() -> None:
    key, value, headers = encode(feature())
    assert decode(key, value, [*headers, ("ce_" + 64 * "a", b"1")], now=NOW).extensions[64 * "a"]
    with pytest.raises(CodecError) as refusal:
        decode(key, value, [*headers, ("ce_" + 65 * "a", b"1")], now=NOW)
    assert refusal.value.reason == "bad-attribute-name"
    assert len(str(refusal.value)) < 200


def test_a_picture_with_a_broken_exif_is_seen() -> None:
    file = io.BytesIO()
    Image.new("RGB", (6, 4)).save(file, "JPEG", exif=b"Exif\0\0" + bytes(64))
    assert decode_image("image/jpeg", file.getvalue(), Limits()).shape == (4, 6, 3)


@pytest.mark.parametrize(("rate", "tracks"), [(999, 1), (192_001, 1), (2**31 - 1, 1), (8000, 65)])
def test_recordings_that_would_take_more_than_they_hold(
    tmp_path: Path, rate: int, tracks: int
) -> None:
    path = tmp_path / "odd.wav"
    soundfile.write(path, np.zeros((8, tracks)), rate if rate < 2**30 else 8000)
    if rate > 2**30:
        data = bytearray(path.read_bytes())
        data[24:28] = rate.to_bytes(4, "little")
        path.write_bytes(data)
    with pytest.raises(RecordingError, match=rf"{tracks} tracks at {rate} Hz"):
        Recording.of(path)
