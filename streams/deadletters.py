"""Dead letters: records that could not be used, as they were received, with the reason in headers.

A dead letter must always fit, or the pipe would stop at it. So what is too large is cut: the key
after `KEY` bytes, the value after `value` bytes; of the headers, those that would exceed `HEADERS`
bytes together are left out. The header `tenor-error-cut` then gives the sizes that were received.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from streams.events import CodecError

KEY: Final = 4096
HEADERS: Final = 64 * 1024
VALUE: Final = 16 * 1024 * 1024
MESSAGE: Final = 1024
PREFIX: Final = "tenor-error-"

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

    Headers of an earlier failure give way to those of this one.
    """
    own = [(name, raw) for name, raw in headers if not name.startswith(PREFIX)]
    kept = _fitting(own)
    cut = [
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
