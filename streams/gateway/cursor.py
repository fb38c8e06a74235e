"""Where in the logs of results a client is: a short string that it gives back to go on. Pure.

It holds places of Kafka's logs and nothing of the gateway that gave it, so that it works at any
other. To clients it is opaque: a letter that says what it is of, then numbers in base64url.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from streams.gateway.problems import Kind, Problem

LONGEST: Final = 32_768
"""Characters; a thousand partitions take half of them."""
MOVES: Final = 8
"""Partitions that one session may have been on, as more were added."""
_ONE: Final = "s"
_ALL: Final = "a"
_DIGITS: Final = 10
"""Bytes of seven bits that the largest offset takes."""

Offsets = tuple[int, int]
"""The next offset to be read of recognition, and of sentiment."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Offsets by partition: for one session those that it has been on, which is one unless
    partitions were added meanwhile; for all sessions (`whole`) every partition that there was."""

    offsets: Mapping[int, Offsets]
    whole: bool = False

    def __str__(self) -> str:
        numbers = list[int]()
        for partition, offsets in sorted(self.offsets.items()):
            numbers += offsets if self.whole else (partition, *offsets)
        data = b"".join(map(_bytes, numbers))
        return (_ALL if self.whole else _ONE) + base64.urlsafe_b64encode(data).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """What a client gave back. Raises Problem 422."""
        numbers = list(_numbers(_data(text)))
        if text[0] == _ALL:
            pairs = _rows(numbers, 2)
            return cls({number: (pair[0], pair[1]) for number, pair in enumerate(pairs)}, True)
        rows = _rows(numbers, 3)
        offsets = {row[0]: (row[1], row[2]) for row in rows}
        if not 0 < len(offsets) == len(rows) <= MOVES:
            raise _unreadable()
        return cls(offsets)


def _data(text: str) -> bytes:
    if len(text) > LONGEST or text[:1] not in (_ONE, _ALL) or not text.isascii():
        raise _unreadable()
    digits = text[1:]
    try:
        padded = digits + "=" * (-len(digits) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True)
    except binascii.Error:
        raise _unreadable() from None


def _rows(numbers: list[int], width: int) -> list[list[int]]:
    if len(numbers) % width:
        raise _unreadable()
    return [numbers[i : i + width] for i in range(0, len(numbers), width)]


def _bytes(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow (LEB128)."""
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def _numbers(data: bytes) -> Iterator[int]:
    number = digits = 0
    for byte in data:
        number |= (byte & 0x7F) << 7 * digits
        digits += 1
        if digits > _DIGITS or number >= 1 << 63:
            raise _unreadable()
        if byte < 0x80:
            yield number
            number = digits = 0
    if digits:
        raise _unreadable()


def _unreadable() -> Problem:
    return Problem(
        Kind.INVALID, "this is no cursor of a gateway: give one back as it was, or begin without"
    )
