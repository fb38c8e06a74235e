"""Events to Kafka records and back: the CloudEvents 1.0 Kafka binding in binary content mode.

Pure: no I/O, no clock, no Kafka client. Whatever bytes a record holds, `decode` gives an `Event` or
raises `CodecError` with a stable reason, and `dead_letter` makes the record that says so.
Required are the key (the session), `ce_specversion`, `ce_id`, `ce_source`, `ce_type`, and, beyond
the specification, `ce_time`, because the join lives on event time, and `content-type` where a value
has one. Media stay opaque: a content type's parameters are for who decodes it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from streams.events import JSON_TYPE, VECTOR_TYPE, CodecError, Event, EventType

Headers = list[tuple[str, bytes]]

MIB: Final = 1024 * 1024
DAY: Final = 24 * 60 * 60 * 1000
SIZES: Final[Mapping[EventType, int]] = {
    EventType.AUDIO_CHUNK: MIB,
    EventType.TEXT_MESSAGE: 64 * 1024,
    EventType.IMAGE_FRAME: 16 * MIB,
    EventType.AUDIO_CUT: 1024,
    EventType.FEATURE: 64 * 1024,
    EventType.PROGRESS: 1024,
    EventType.TICK: 1024,
    EventType.SESSION_ENDED: 1024,
}
"""The largest values in bytes. Records of the last four are held until a window closes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused. Sizes in bytes; `earliest` in ms since the epoch, `ahead` ms after now.

    `sizes` limits values by type, `size` those of all other types; `headers` is a count.
    """

    sizes: Mapping[EventType, int] = field(default_factory=lambda: SIZES)
    size: int = MIB
    session: int = 200
    attribute: int = 1024
    headers: int = 64
    earliest: int = 946_684_800_000  # 2000-01-01
    ahead: int = DAY


DEFAULT_LIMITS: Final = Limits()

AUDIO_TYPES: Final = (
    "audio/l16",
    "audio/pcmu",
    "audio/pcma",
    "audio/wav",
    "audio/flac",
    "audio/ogg",
)
CONTENT_TYPES: Final[Mapping[EventType, tuple[str, ...]]] = {
    EventType.AUDIO_CHUNK: AUDIO_TYPES,
    EventType.TEXT_MESSAGE: ("text/plain", JSON_TYPE),
    EventType.IMAGE_FRAME: ("image/jpeg", "image/png", "image/webp"),
    EventType.FEATURE: (VECTOR_TYPE,),
    EventType.AUDIO_CUT: (),
    EventType.SESSION_ENDED: (),
    EventType.PROGRESS: (),
    EventType.TICK: (),
}
"""Media types per event type, without parameters, in lower case; types not named here are JSON."""
EMPTY: Final = frozenset(
    {
        EventType.AUDIO_CUT,
        EventType.SESSION_ENDED,
        EventType.PROGRESS,
        EventType.TICK,
        EventType.CHECKPOINT,
    }
)
"""Types whose value may be empty; an empty checkpoint deletes the one before (compaction)."""

_CORE: Final = ("specversion", "id", "source", "type", "time")
_RESERVED: Final = frozenset(
    {*_CORE, "subject", "partitionkey", "channel", "sequence", "traceparent"}
)
_MISPLACED: Final = frozenset({"data", "datacontenttype"})
_NAME: Final = re.compile(r"[a-z0-9]{1,64}")
_NONCHARACTERS: Final = "".join(
    chr(plane << 16 | low) for plane in range(17) for low in (65534, 65535)
)
_FORBIDDEN: Final = re.compile(f"[\0-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}]")
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def encode(event: Event) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers of the record. Does not check: what a client sent, `check` first."""
    key = event.session.encode()
    attributes = {
        **event.extensions,
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type.value,
        "time": format_time(event.time),
        "subject": event.session,
        "partitionkey": event.session,
    }
    if event.channel:
        attributes["channel"] = event.channel
    if event.sequence is not None:
        attributes["sequence"] = f"{event.sequence:020d}"  # so that it sorts as text
    headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
    if event.content_type:
        headers.append(("content-type", event.content_type.encode()))
    if event.traceparent:
        headers.append(("traceparent", event.traceparent.encode()))
    return key, event.data, headers


def decode(
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
    *,
    now: int,
    limits: Limits = DEFAULT_LIMITS,
    accept: Collection[EventType] = tuple(EventType),
) -> Event:
    """The event of a record, checked; `now` in ms, `accept` the types that its topic carries.

    Raises CodecError, whatever the bytes are.
    """
    headers = list(headers)
    attributes, content_type = _attributes(headers, limits)
    event = Event(
        type=_type(attributes["type"], accept),
        id=attributes["id"],
        source=attributes["source"],
        session=_session(key, attributes, limits),
        time=parse_time(attributes["time"]),
        channel=attributes.get("channel", ""),
        sequence=_sequence(attributes.get("sequence", "")),
        content_type=content_type,
        data=value or b"",
        traceparent=_traceparent(headers),
        extensions={name: text for name, text in attributes.items() if name not in _RESERVED},
    )
    check(event, now=now, limits=limits)
    return event


def check(event: Event, *, now: int, limits: Limits = DEFAULT_LIMITS) -> None:
    """Raises CodecError where `decode` would refuse this event: for events that a client made."""
    check_session(event.session, limits)
    _check_time(event.time, now, limits)
    for name, text in (("id", event.id), ("source", event.source)):
        if not text:
            raise CodecError("missing-header", f"ce_{name} must not be empty")
    for name, text in (
        ("id", event.id),
        ("source", event.source),
        ("channel", event.channel),
        ("content type", event.content_type),
        *event.extensions.items(),
    ):
        _check_text(name, text, limits)
    _check_extensions(event.extensions, limits)
    if event.sequence is not None and not 0 <= event.sequence < 10**20:
        raise CodecError("bad-sequence", "a sequence has 1 to 20 digits")
    _check_value(event, limits)


def format_time(time: int) -> str:
    """Milliseconds since the epoch as RFC 3339 in UTC."""
    moment = _EPOCH + timedelta(milliseconds=time)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check_session(session: str, limits: Limits = DEFAULT_LIMITS) -> None:
    """Raises CodecError where a session cannot be called so."""
    if not session:
        raise CodecError("missing-key", "the session id must not be empty")
    if _FORBIDDEN.search(session):
        raise CodecError("bad-session", "the session id holds a control character or half a pair")
    _check_session_size(len(session.encode()), limits)


def parse_time(text: str) -> int:
    """RFC 3339 to milliseconds since the epoch; what is finer is cut off. Raises CodecError."""
    if (match := _TIME.fullmatch(text)) is None:
        raise _bad_time()
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, hours, minutes = match.groups()[6:]
    if second > 60 or int(hours or 0) > 23 or int(minutes or 0) > 59:
        raise _bad_time()
    try:
        moment = datetime(year, month, day, hour, minute, tzinfo=UTC)
    except ValueError:
        raise _bad_time() from None
    offset = int(hours or 0) * 3600 + int(minutes or 0) * 60
    seconds = second - (-offset if sign == "-" else offset)  # second 60 is a leap second
    since = (moment - _EPOCH) // timedelta(seconds=1) + seconds
    return since * 1000 + int(f"{fraction or ''}000"[:3])


def valid_traceparent(text: str) -> str:
    """The W3C `traceparent` if it is one, else ''."""
    return text if _TRACEPARENT.fullmatch(text) else ""


def media_type(content_type: str) -> str:
    """A content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def _attributes(
    headers: Collection[tuple[str, bytes | None]], limits: Limits
) -> tuple[dict[str, str], str]:
    """CloudEvents attributes by name, and the content type ('' if there is none)."""
    if len(headers) > limits.headers:
        message = f"{len(headers)} headers, at most {limits.headers} are accepted"
        raise CodecError("too-many-headers", message)
    found = _texts(headers, limits)
    content_type = found.pop("content-type", "")
    if not found and media_type(content_type).startswith("application/cloudevents"):
        raise CodecError(
            "structured-mode",
            "the event is in structured mode; send it in binary mode (ce_ headers)",
        )
    for name in _CORE:
        if not found.get(f"ce_{name}"):
            raise CodecError("missing-header", _missing(name))
    if found["ce_specversion"] != "1.0":
        raise CodecError("bad-specversion", "ce_specversion must be 1.0")
    return {name.removeprefix("ce_"): text for name, text in found.items()}, content_type


def _texts(headers: Iterable[tuple[str, bytes | None]], limits: Limits) -> dict[str, str]:
    """The headers that are ours, by lower-case name. A null header counts as absent."""
    found: dict[str, str] = {}
    for raw_name, raw in headers:
        name = raw_name.lower()
        if raw is None or name == "ce_traceparent":
            continue
        if name.startswith("ce_"):
            _check_name(name.removeprefix("ce_"))
        elif name != "content-type":
            continue
        if name in found:
            raise CodecError("duplicate-header", f"{name} is given more than once")
        found[name] = _utf8(name, raw, limits)
    return found


def _utf8(name: str, raw: bytes, limits: Limits) -> str:
    if len(raw) > limits.attribute:
        message = f"{name} has {len(raw)} bytes, at most {limits.attribute} are accepted"
        raise CodecError("header-too-long", message)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise CodecError("bad-utf8", f"{name} is not UTF-8 at byte {error.start}") from None


def _missing(name: str) -> str:
    why = {"time": " (event time, RFC 3339, such as 2026-01-31T12:00:00.000Z)"}.get(name, "")
    return f"the header ce_{name} is missing or empty{why}"


def _type(text: str, accept: Collection[EventType]) -> EventType:
    try:
        type_ = EventType(text)
    except ValueError:
        raise CodecError("unknown-type", "ce_type is not a type of this version") from None
    if type_ not in accept:
        expected = ", ".join(accept)
        raise CodecError("unexpected-type", f"{type_} on a topic for {expected}")
    return type_


def _session(key: bytes | None, attributes: Mapping[str, str], limits: Limits) -> str:
    """The record's key, which has to agree with the attributes that repeat it."""
    if not key:
        raise CodecError("missing-key", "the record has no key: it must be the session id")
    _check_session_size(len(key), limits)
    try:
        session = key.decode()
    except UnicodeDecodeError as error:
        raise CodecError("bad-utf8", f"the key is not UTF-8 at byte {error.start}") from None
    for name in ("partitionkey", "subject"):
        if attributes.get(name, session) != session:
            raise CodecError("key-mismatch", f"ce_{name} is not the record's key, the session id")
    return session


def _sequence(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise CodecError("bad-sequence", "ce_sequence must be 1 to 20 decimal digits")
    return int(text)


def _traceparent(headers: Iterable[tuple[str, bytes | None]]) -> str:
    """The one valid trace parent, else ''. A bad trace is no reason to refuse an event."""
    names = ("traceparent", "ce_traceparent")
    found = {raw.decode("latin-1") for name, raw in headers if raw and name.lower() in names}
    return valid_traceparent(found.pop()) if len(found) == 1 else ""


def _bad_time() -> CodecError:
    return CodecError("bad-time", "ce_time must be RFC 3339, such as 2026-01-31T12:00:00.000Z")


def _check_session_size(size: int, limits: Limits) -> None:
    if size > limits.session:
        message = f"the session id has {size} bytes, at most {limits.session} are accepted"
        raise CodecError("session-too-long", message)


def _check_time(time: int, now: int, limits: Limits) -> None:
    if not limits.earliest <= time <= now + limits.ahead:
        earliest, latest = format_time(limits.earliest), format_time(now + limits.ahead)
        message = f"the time must lie between {earliest} and {latest}"
        raise CodecError("time-out-of-range", message)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name in _MISPLACED:
        raise CodecError(
            "bad-attribute-name",
            "ce_ is followed by 1 to 64 of a-z and 0-9; the media type is in content-type",
        )


def _check_extensions(extensions: Mapping[str, str], limits: Limits) -> None:
    if len(extensions) + len(_RESERVED) > limits.headers:
        most = limits.headers - len(_RESERVED)
        raise CodecError("too-many-headers", f"more than {most} extension attributes")
    for name in extensions:
        _check_name(name)
        if name in _RESERVED:
            raise CodecError("bad-attribute-name", f"{name} is an attribute of its own")


def _check_text(name: str, text: str, limits: Limits) -> None:
    if _FORBIDDEN.search(text):
        raise CodecError("bad-characters", f"{name} holds a control character or half a pair")
    if len(text.encode()) > limits.attribute:
        message = f"{name} is longer than {limits.attribute} bytes"
        raise CodecError("header-too-long", message)


def _check_value(event: Event, limits: Limits) -> None:
    size, largest = len(event.data), limits.sizes.get(event.type, limits.size)
    if size > largest:
        message = f"the value has {size} bytes, {event.type} has at most {largest}"
        raise CodecError("too-large", message)
    if not size and event.type not in EMPTY:
        raise CodecError("empty-value", f"{event.type} needs a value")
    accepted = CONTENT_TYPES.get(event.type, (JSON_TYPE,))
    if size and accepted and media_type(event.content_type) not in accepted:
        expected = ", ".join(accepted)
        if not event.content_type:
            raise CodecError("missing-header", f"content-type is missing: one of {expected}")
        message = f"content-type of {event.type} must be one of: {expected}"
        raise CodecError("unsupported-content-type", message)
