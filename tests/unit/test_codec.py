"""The codec against the CloudEvents SDK, and what it says about records that it refuses."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from streams.codec import Headers, check, decode, encode, format_time, parse_time
from streams.events import CodecError, Event, EventType

NOW = 1_800_000_000_000
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
EVENT = Event(
    type=EventType.AUDIO_CHUNK,
    id="chunk-1",
    source="/gateway",
    session="call-ä",
    time=NOW - 1234,
    channel="customer",
    sequence=7,
    content_type="audio/L16;rate=16000",
    data=b"\x00\x01\xff\xfe" * 8,
    traceparent=TRACE,
    extensions={"tenant": "a"},
)


def refused(key: bytes | None, value: bytes | None, headers: Headers, now: int = NOW) -> str:
    with pytest.raises(CodecError) as caught:
        decode(key, value, headers, now=now)
    assert len(caught.value.message) > 10
    return caught.value.reason


def with_header(name: str, value: bytes | None) -> Headers:
    """The headers of EVENT with one of them set, or left out."""
    headers = [header for header in encode(EVENT)[2] if header[0] != name]
    return headers if value is None else [*headers, (name, value)]


def test_an_event_survives_the_way() -> None:
    assert decode(*encode(EVENT), now=NOW) == EVENT


def test_a_sequence_sorts_as_text() -> None:
    assert ("ce_sequence", b"00000000000000000007") in encode(EVENT)[2]


def test_the_sdk_reads_what_we_write() -> None:
    key, value, headers = encode(EVENT)
    read = from_binary(KafkaMessage(dict(headers), key, value), JSONFormat(), CloudEvent)
    assert read.get_id() == EVENT.id
    assert read.get_source() == EVENT.source
    assert read.get_type() == EVENT.type
    assert read.get_subject() == EVENT.session
    assert read.get_time() == datetime.fromtimestamp(EVENT.time / 1000, UTC)
    assert read.get_datacontenttype() == EVENT.content_type
    assert read.get_extension("partitionkey") == EVENT.session
    assert read.get_extension("channel") == "customer"
    assert read.get_extension("tenant") == "a"
    assert read.get_data() == EVENT.data


def test_we_read_what_the_sdk_writes() -> None:
    written = to_binary(
        CloudEvent(
            {
                "id": "m-1",
                "source": "/chat",
                "type": "tenor.text.message.v1",
                "specversion": "1.0",
                "time": datetime(2026, 11, 20, 10, 0, 0, 5000, UTC),
                "datacontenttype": "application/json",
                "partitionkey": "call-1",
            },
            {"text": "hello"},
        ),
        JSONFormat(),
    )
    assert isinstance(written.key, str)
    event = decode(written.key.encode(), written.value, written.headers.items(), now=NOW)
    assert event == Event(
        type=EventType.TEXT_MESSAGE,
        id="m-1",
        source="/chat",
        session="call-1",
        time=parse_time("2026-11-20T10:00:00.005Z"),
        content_type="application/json",
        data=b'{"text": "hello"}',
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-31T12:00:00.000Z", 1_769_860_800_000),
        ("2026-01-31T14:00:00+02:00", 1_769_860_800_000),
        ("2026-01-31T06:30:00.5-05:30", 1_769_860_800_500),
        ("2026-01-31t12:00:00.123456789z", 1_769_860_800_123),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
    ],
)
def test_times_of_rfc_3339(text: str, expected: int) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1769860800000",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-02-30T12:00:00Z",
        "2026-01-31T25:00:00Z",
        "2026-01-31T12:00:61Z",
        "2026-01-31T12:00:00+24:00",
        "0000-01-01T00:00:00Z",
        "٢٠٢٦-01-31T12:00:00Z",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(CodecError) as caught:
        parse_time(text)
    assert caught.value.reason == "bad-time"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ce_specversion", None, "missing-header"),
        ("ce_specversion", b"0.3", "bad-specversion"),
        ("ce_id", None, "missing-header"),
        ("ce_id", b"", "missing-header"),
        ("ce_id", b"a\0b", "bad-characters"),
        ("ce_source", None, "missing-header"),
        ("ce_type", None, "missing-header"),
        ("ce_type", b"com.example.other", "unknown-type"),
        ("ce_time", None, "missing-header"),
        ("ce_time", b"yesterday", "bad-time"),
        ("ce_time", b"1970-01-01T00:00:00Z", "time-out-of-range"),
        ("ce_time", b"2100-01-01T00:00:00Z", "time-out-of-range"),
        ("ce_subject", b"other", "key-mismatch"),
        ("ce_partitionkey", b"other", "key-mismatch"),
        ("ce_channel", b"\xff", "bad-utf8"),
        ("ce_channel", b"a" * 1025, "header-too-long"),
        ("ce_sequence", b"-1", "bad-sequence"),
        ("ce_sequence", "²".encode(), "bad-sequence"),
        ("ce_sequence", b"1" * 21, "bad-sequence"),
        ("ce_my-field", b"a", "bad-attribute-name"),
        ("ce_datacontenttype", b"audio/wav", "bad-attribute-name"),
        ("CE_ID", b"again", "duplicate-header"),
        ("content-type", None, "missing-header"),
        ("content-type", b"video/mp4", "unsupported-content-type"),
    ],
)
def test_headers_that_are_refused(name: str, value: bytes | None, reason: str) -> None:
    key, data, _ = encode(EVENT)
    assert refused(key, data, with_header(name, value)) == reason


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, "missing-key"),
        (b"", "missing-key"),
        (b"\xff\xfe", "bad-utf8"),
        (b"a" * 201, "session-too-long"),
        (b"a" * 10_000, "session-too-long"),
        (b"a\nb", "bad-session"),
    ],
)
def test_keys_that_are_refused(key: bytes | None, reason: str) -> None:
    names = ("ce_subject", "ce_partitionkey")
    headers = [header for header in encode(EVENT)[2] if header[0] not in names]
    assert refused(key, EVENT.data, headers) == reason


@pytest.mark.parametrize(
    ("type_", "content_type", "size", "reason"),
    [
        (b"tenor.audio.chunk.v1", b"audio/wav", 0, "empty-value"),
        (b"tenor.audio.chunk.v1", b"audio/wav", 2**20 + 1, "too-large"),
        (b"tenor.text.message.v1", b"text/plain", 2**16 + 1, "too-large"),
        (b"tenor.image.frame.v1", b"image/png", 2**24 + 1, "too-large"),
        (b"tenor.image.frame.v1", b"image/gif", 10, "unsupported-content-type"),
        (b"tenor.feature.v1", b"application/json", 8, "unsupported-content-type"),
    ],
)
def test_values_that_are_refused(type_: bytes, content_type: bytes, size: int, reason: str) -> None:
    key, _, headers = encode(EVENT)
    changed = dict(headers) | {"ce_type": type_, "content-type": content_type}
    assert refused(key, b"a" * size, list(changed.items())) == reason


def test_the_largest_values_are_accepted() -> None:
    key, _, headers = encode(EVENT)
    assert len(decode(key, b"a" * 2**20, headers, now=NOW).data) == 2**20
    picture = dict(headers) | {"ce_type": b"tenor.image.frame.v1", "content-type": b"image/png"}
    assert len(decode(key, b"a" * 2**24, picture.items(), now=NOW).data) == 2**24


def test_the_end_of_a_session_needs_no_value() -> None:
    headers = [header for header in encode(EVENT)[2] if header[0] != "content-type"]
    ended = dict(headers) | {"ce_type": b"tenor.session.ended.v1"}
    event = decode(b"call-\xc3\xa4", None, ended.items(), now=NOW)
    assert (event.type, event.data) == (EventType.SESSION_ENDED, b"")


def test_structured_mode_is_named() -> None:
    headers = [("content-type", b"application/cloudevents+json")]
    assert refused(b"call-1", b"{}", headers) == "structured-mode"


def test_too_many_headers() -> None:
    key, value, headers = encode(EVENT)
    assert refused(key, value, headers + [("x", b"")] * 64) == "too-many-headers"


def test_a_type_on_the_wrong_topic() -> None:
    with pytest.raises(CodecError) as caught:
        decode(*encode(EVENT), now=NOW, accept=[EventType.TEXT_MESSAGE])
    assert caught.value.reason == "unexpected-type"


@pytest.mark.parametrize(
    "trace",
    [
        b"nonsense",
        b"\xff",
        TRACE.upper().encode(),
        b"ff" + TRACE[2:].encode(),
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        TRACE.encode() + b"\n",
    ],
)
def test_a_malformed_trace_is_dropped(trace: bytes) -> None:
    key, value, _ = encode(EVENT)
    event = decode(key, value, with_header("traceparent", trace), now=NOW)
    assert event.traceparent == ""
    assert event.id == EVENT.id


def test_headers_of_others_do_no_harm() -> None:
    key, value, headers = encode(EVENT)
    foreign = [("b3", b"\xff"), ("b3", b"\xff"), ("ce_nothing", None)]
    assert decode(key, value, [*headers, *foreign], now=NOW) == EVENT


def test_a_message_never_quotes_what_was_sent() -> None:
    key, value, _ = encode(EVENT)
    for name in ("ce_type", "ce_time", "ce_sequence", "ce_subject", "content-type", "ce_secret-x"):
        with pytest.raises(CodecError) as caught:
            decode(key, value, with_header(name, b"card 4929"), now=NOW)
        assert "4929" not in caught.value.message


@pytest.mark.parametrize("name", ["id", "time", "Upper", "", "data", "traceparent"])
def test_an_extension_cannot_take_the_name_of_an_attribute(name: str) -> None:
    event = Event(
        EventType.TICK, id="1", source="/a", session="s", time=NOW, extensions={name: "x"}
    )
    with pytest.raises(CodecError) as caught:
        check(event, now=NOW)
    assert caught.value.reason == "bad-attribute-name"


def test_time_is_written_in_utc_with_milliseconds() -> None:
    assert format_time(1_769_860_800_120) == "2026-01-31T12:00:00.120Z"


def test_importing_the_codec_is_cheap() -> None:
    heavy = "import sys, streams.codec; print({'numpy', 'pydantic', 'aiokafka'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", heavy], capture_output=True, check=True)
    assert shown.stdout.strip() == b"set()"
