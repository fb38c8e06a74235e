"""Every place where bytes from outside are decoded, as a function of bytes that must not fail.

A target returns None for whatever it is given: it takes the errors that its decoder documents, and
anything else that is raised is a finding, as are a crash, ten seconds, or two gigabytes. Where more
than one value is decoded, `parts` cuts the input. What a decoder accepts must also be as good as
its documentation says: the targets assert that.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from streams import codec
from streams.agents import signals
from streams.deadletters import DeadLetterError, dead_letter, error_of
from streams.events import JSON_TYPE, CodecError, Event, EventType, channel_names
from streams.export import FORMATS, render
from streams.features import Feature
from streams.media import Limits, MediaError, decode_audio, decode_image
from streams.messages import text_message
from streams.recordings import Recording, RecordingError
from streams.records import LenientRecords
from streams.replay import ReplayError, load
from streams.results import RESULTS, result_event, result_of

Target = Callable[[bytes], None]

NOW: Final = 1_800_000_000_000
SESSION: Final = "call"
LIMITS: Final = Limits()
BATCH: Final = struct.Struct(">qiibIhiqqqhii")
"""The head of a Kafka record batch, version 2."""
READERS: Final[Sequence[Callable[[Event], object]]] = (
    text_message,
    Feature.from_event,
    result_of,
    signals.idle_sources,
)
_NULL: Final = 0xFFFF


def parts(data: bytes) -> list[bytes | None]:
    """Fields, each after its length in two bytes; 0xFFFF is null; the last one may break off."""
    found: list[bytes | None] = []
    while data:
        size, data = int.from_bytes(data[:2]), data[2:]
        found.append(None if size == _NULL else data[:size])
        data = data if size == _NULL else data[size:]
    return found


def joined(fields: Iterable[bytes | None]) -> bytes:
    """Of which `parts` makes the fields."""
    return b"".join(
        b"\xff\xff" if each is None else len(each).to_bytes(2) + each for each in fields
    )


def record(data: bytes) -> None:
    """Key, value, and names and values of headers: an event that can be sent on, or CodecError."""
    key, value, *rest = (*parts(data), None, None)
    names = [(name or b"").decode(errors="backslashreplace") for name in rest[0:-2:2]]
    headers = list(zip(names, rest[1:-1:2], strict=False))
    _letter(key, value, headers)
    with contextlib.suppress(CodecError):
        event = codec.decode(key, value, headers, now=NOW)
        assert codec.decode(*codec.encode(event), now=NOW) == event
        _read(event)


def text(data: bytes) -> None:
    """A typed text, JSON if the first byte is odd."""
    kind = JSON_TYPE if data[:1] and data[0] % 2 else "text/plain"
    with contextlib.suppress(CodecError):
        message = text_message(_event(EventType.TEXT_MESSAGE, data[1:], kind))
        message.text.encode()


def feature(data: bytes) -> None:
    """The value of a feature, and its extensions."""
    value, *rest = (*parts(data), b"")
    with contextlib.suppress(CodecError):
        event = _event(EventType.FEATURE, value or b"", extensions=_texts(rest))
        read = Feature.from_event(event)
        again = Feature.from_event(read.to_event(source="test"))
        assert (again.start, again.end, again.evidence) == (read.start, read.end, read.evidence)
        assert again.vector.tobytes() == read.vector.tobytes()


def result(data: bytes) -> None:
    """A JSON result, whose type is the first byte; captions in every format of a file."""
    type_ = list(RESULTS)[data[0] % len(RESULTS)] if data else EventType.CAPTION_GAP
    with contextlib.suppress(CodecError):
        read = result_of(_event(type_, data[1:], JSON_TYPE))
        assert result_of(result_event(read, source="test")) == read
        for format_ in FORMATS:
            render([read], format_)


def signal(data: bytes) -> None:
    """The extensions of a tick, progress or end."""
    event = _event(EventType.TICK, b"", extensions=_texts(parts(data)))
    for reader in (signals.idle_sources, signals.idle_until, signals.seen_of, signals.origin_of):
        with contextlib.suppress(CodecError):
            reader(event)
    signals.inputs_of(event)


def letter(data: bytes) -> None:
    """The headers of a dead letter."""
    fields = parts(data)
    names = [(name or b"").decode(errors="backslashreplace") for name in fields[::2]]
    with contextlib.suppress(CodecError):
        error_of(list(zip(names, fields[1::2], strict=False)))


def batch(data: bytes) -> None:
    """Compression, count and bytes of a Kafka record batch whose checksum is right."""
    codec_, count, payload = data[:1], int.from_bytes(data[1:3]), data[3:]
    head = BATCH.pack(
        0,
        len(payload) + BATCH.size - 12,
        -1,
        2,
        0,
        int.from_bytes(codec_) % 8,
        max(0, count - 1),
        NOW,
        NOW,
        -1,
        -1,
        -1,
        count,
    )
    records = LenientRecords(head + payload)
    while records.has_next():
        for each in islice(records.next_batch(), count + 1):
            for name, _ in each.headers:
                name.encode()


def raw_audio(data: bytes) -> None:
    """A content type and samples."""
    content_type, samples = (*parts(data), b"", b"")[:2]
    _audio((content_type or b"").decode(errors="replace"), samples or b"")


def script(data: bytes) -> None:
    """The script.json of a folder to replay."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "script.json").write_bytes(data)
        with contextlib.suppress(ReplayError):
            load([Path(folder)])


def recording(data: bytes) -> None:
    """An audio file to transcribe; three seconds of it are read."""
    with TemporaryDirectory() as folder, contextlib.suppress(RecordingError):
        path = Path(folder) / "file"
        path.write_bytes(data)
        read = Recording.of(path)
        for moment in islice(read.moments(1.0), 3 * len(read.channels)):
            assert len(moment.data) <= 2 * codec.MIB


def _audio(content_type: str, data: bytes) -> None:
    with contextlib.suppress(MediaError):
        heard = decode_audio(content_type, data, LIMITS)
        assert 1 <= len(heard) <= LIMITS.channels
        assert 0 < heard.shape[1] <= LIMITS.audio_s * 16_000 + 4
        with contextlib.suppress(CodecError):
            channel_names("customer,agent", len(heard))


def _image(content_type: str, data: bytes) -> None:
    with contextlib.suppress(MediaError):
        height, width, colours = decode_image(content_type, data, LIMITS).shape
        assert 0 < height <= LIMITS.side
        assert 0 < width <= LIMITS.side
        assert colours == 3


def _letter(
    key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
) -> None:
    """Whatever a record is, it fits into a dead letter, and the reason can be read back."""
    error = DeadLetterError("bad-json", "not JSON", "tenor.text", 3, 42)
    assert error_of(dead_letter(key, value, headers, error)[2]).reason == "bad-json"


def _read(event: Event) -> None:
    for reader in READERS:
        with contextlib.suppress(CodecError):
            reader(event)
    with contextlib.suppress(CodecError):
        assert len({*channel_names(event.channel, 2)}) == 2


def _texts(fields: Sequence[bytes | None]) -> Mapping[str, str]:
    texts = [(each or b"").decode(errors="replace") for each in fields]
    return dict(zip(texts[::2], texts[1::2], strict=False))


def _event(
    type_: EventType,
    data: bytes,
    content_type: str = "",
    extensions: Mapping[str, str] | None = None,
) -> Event:
    return Event(
        type=type_,
        id="one",
        source="test",
        session=SESSION,
        time=NOW,
        channel="customer",
        content_type=content_type,
        data=data,
        extensions=extensions or {},
    )


TARGETS: Final[Mapping[str, Target]] = {
    "record": record,
    "text": text,
    "feature": feature,
    "result": result,
    "signal": signal,
    "letter": letter,
    "batch": batch,
    "script": script,
    "recording": recording,
    "raw-audio": raw_audio,
    "wav": partial(_audio, "audio/wav"),
    "flac": partial(_audio, "audio/flac"),
    "ogg": partial(_audio, "audio/ogg"),
    "jpeg": partial(_image, "image/jpeg"),
    "png": partial(_image, "image/png"),
    "webp": partial(_image, "image/webp"),
}
