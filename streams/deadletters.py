"""Dead letters: records that could not be used, as they were received, with the reason in headers.

A dead letter must always fit, or the pipe would stop at it. So what is too large is cut: the key
after `KEY` bytes, the value after `VALUE` bytes; of the headers, those that would exceed `HEADERS`
bytes together are left out. The header `tenor-error-cut` then gives the sizes that were received.

A dead letter that was sent back to where it came from stays on its topic, which is a log; a marker
on the same partition, a record of its own, says so. The record that was sent back counts how often
that happened in the header `tenor-replayed`, which it keeps should it become a dead letter again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from streams.codec import DEFAULT_LIMITS
from streams.events import CodecError

KEY: Final = 4096
HEADERS: Final = 64 * 1024
VALUE: Final = 16 * 1024 * 1024
MESSAGE: Final = 1024
PREFIX: Final = "tenor-error-"
LATE: Final = "late"
"""The reason of what came after its part of the session had been told."""
REPLAYED: Final = "tenor-replayed"
"""Header of a record that was sent back: how often."""
MARKER: Final = "tenor-replayed-offset"
"""Header of a marker: the offset, on its own partition, of the dead letter that was sent back."""

RawHeaders = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class DeadLetterError:
    """Why a record became a dead letter, and where it was read. `cut` is empty if it is whole."""

    reason: str
    message: str
    topic: str
    partition: int
    offset: int
    cut: str = ""


def dead_letter(
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
    error: DeadLetterError,
    *,
    most: int = VALUE,
) -> tuple[bytes | None, bytes | None, RawHeaders]:
    """Key, value and headers of the dead letter; `most` bytes of the value are kept.

    Headers of an earlier failure give way to those of this one. A record that has neither key nor
    value gets an empty value, because aiokafka refuses to send it.
    """
    headers = list(headers)
    own = _own(headers)
    kept = _fitting(own)
    cut = ["value=null"] if key is None and value is None else []
    cut += [
        f"{name}={size}"
        for name, size, whole in (
            ("key", len(key or b""), len(key or b"") <= KEY),
            ("value", len(value or b""), len(value or b"") <= most),
            ("headers", sum(map(_size, own)), len(kept) == len(own)),
        )
        if not whole
    ]
    described: RawHeaders = [
        (f"{PREFIX}reason", _short(error.reason)),
        (f"{PREFIX}message", _short(error.message)),
        (f"{PREFIX}topic", _short(error.topic)),
        (f"{PREFIX}partition", str(error.partition).encode()),
        (f"{PREFIX}offset", str(error.offset).encode()),
    ]
    if cut:
        described.append((f"{PREFIX}cut", " ".join(cut).encode()))
    if tries := tries_of(headers):
        described.append((REPLAYED, str(tries).encode()))
    if key is None and value is None:
        value = b""
    return key and key[:KEY], value and value[:most], kept + described


def error_of(headers: Iterable[tuple[str, bytes | None]]) -> DeadLetterError:
    """Reads the reason back. Raises CodecError not-a-dead-letter."""
    found = {
        name.removeprefix(PREFIX): (raw or b"").decode(errors="replace")
        for name, raw in headers
        if name.startswith(PREFIX)
    }
    try:
        return DeadLetterError(
            found["reason"],
            found["message"],
            found["topic"],
            int(found["partition"]),
            int(found["offset"]),
            found.get("cut", ""),
        )
    except (KeyError, ValueError):
        message = f"the record has not all of the {PREFIX} headers"
        raise CodecError("not-a-dead-letter", message) from None


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it lies on its topic; `timestamp` (ms) is Kafka's own, of the writing."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def id(self) -> str:
        """What people name it by; the same for as long as it is kept."""
        return f"{self.partition}:{self.offset}"

    @property
    def error(self) -> DeadLetterError:
        """Why it is here; of a record that somebody else put here, that it is no dead letter."""
        try:
            return error_of(self.headers)
        except CodecError as error:
            return DeadLetterError(error.reason, error.message, "", -1, -1)

    @property
    def session(self) -> str:
        """'' if the key is not readable."""
        try:
            return (self.key or b"").decode()
        except UnicodeDecodeError:
            return ""

    @property
    def type(self) -> str:
        """The `ce_type` as it was received; '' if there is none."""
        found = (raw for name, raw in self.headers if name.lower() == "ce_type" and raw)
        return next(found, b"").decode(errors="replace")

    @property
    def tries(self) -> int:
        """How often it had been sent back before it came here."""
        return tries_of(self.headers)

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        return len(self.key or b"") + len(self.value or b"") + sum(map(_size, self.headers))

    def returned_headers(self) -> RawHeaders:
        """The headers with which it is sent back: its own, and how often that has happened.

        The count is left out where it would be one header more than are accepted.
        """
        own = _own(self.headers)
        count = (REPLAYED, str(self.tries + 1).encode())
        return own if len(own) == DEFAULT_LIMITS.headers else [*own, count]

    def marker(self) -> tuple[bytes | None, bytes, RawHeaders]:
        """Key, value and headers of the record that says that it was sent back."""
        return self.key, b"", [(MARKER, str(self.offset).encode())]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant: all that every given condition holds for. `since` is in ms,
    `ids` are pairs of partition and offset; empty: any."""

    reason: str | None = None
    since: int = 0
    session: str | None = None
    ids: frozenset[tuple[int, int]] = frozenset()

    def holds(self, letter: Letter) -> bool:
        return (
            (self.reason is None or letter.error.reason == self.reason)
            and letter.timestamp >= self.since
            and (self.session is None or letter.key == self.session.encode())
            and (not self.ids or (letter.partition, letter.offset) in self.ids)
        )

    def names_late(self) -> bool:
        """Whether also those are meant that came late, and would be late again."""
        return self.reason == LATE or bool(self.ids)


def obstacle(letter: Letter, partitions: Mapping[str, int]) -> str:
    """Why it cannot be sent back; '' if it can. `partitions` counts those of every topic that
    records may go back to."""
    error = letter.error
    if not error.topic:
        return error.message
    if error.topic not in partitions:
        return f"{error.topic} is no topic to send it back to"
    if not 0 <= error.partition < partitions[error.topic]:
        return f"{error.topic} has no partition {error.partition}"
    if error.cut:
        return f"it is not whole, it was cut when it was put aside (received: {error.cut})"
    return ""


def marked_offset(headers: Iterable[tuple[str, bytes | None]]) -> int | None:
    """The offset of the dead letter that a marker is about; None if the record is no marker.

    A dead letter is never one, whatever headers it was received with.
    """
    found = dict(headers)
    if any(name.startswith(PREFIX) for name in found):
        return None
    return _number(found.get(MARKER))


def tries_of(headers: Iterable[tuple[str, bytes | None]]) -> int:
    """How often a record was sent back; 0 if its header is not a number."""
    return _number(dict(headers).get(REPLAYED)) or 0


class Offsets:
    """Some of the offsets in [start, end); takes one bit for each of that range."""

    def __init__(self, start: int, end: int) -> None:
        self._start = start
        self._bits = bytearray((max(0, end - start) + 7) // 8)

    def add(self, offset: int) -> None:
        """Remembers it; one outside the range is of no interest."""
        byte, bit = divmod(offset - self._start, 8)
        if 0 <= byte < len(self._bits):
            self._bits[byte] |= 1 << bit

    def __contains__(self, offset: int) -> bool:
        byte, bit = divmod(offset - self._start, 8)
        return 0 <= byte < len(self._bits) and bool(self._bits[byte] >> bit & 1)


def _own(headers: Iterable[tuple[str, bytes | None]]) -> RawHeaders:
    """What its sender gave the record."""
    return [h for h in headers if not h[0].startswith(PREFIX) and h[0] != REPLAYED]


def _number(raw: bytes | None) -> int | None:
    return int(raw) if raw and raw.isdigit() and len(raw) < 20 else None


def _fitting(headers: RawHeaders) -> RawHeaders:
    kept: RawHeaders = []
    room = HEADERS
    for header in headers:
        if _size(header) <= room:
            kept.append(header)
            room -= _size(header)
    return kept


def _size(header: tuple[str, bytes | None]) -> int:
    name, raw = header
    return len(name.encode(errors="surrogatepass")) + len(raw or b"")


def _short(text: str) -> bytes:
    return text.encode(errors="replace")[:MESSAGE].decode(errors="ignore").encode()
