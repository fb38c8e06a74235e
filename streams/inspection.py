"""Bytes and text of unknown origin, so that a terminal can show them: nothing in it is obeyed.

A control character may clear a screen, an invisible one turn the order of a line around.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

TEXT: Final = 2000
"""The longest value, in bytes, that is shown as text."""
HEADER: Final = 200
"""Characters of a header that are shown."""
DUMP: Final = 256
"""Bytes of a value that are shown in hexadecimal."""


def printable(text: str, keep: str = "") -> str:
    """The text with an escape for each character that is not for printing, save those to keep."""
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode()
        for each in text
    )


def header_text(raw: bytes | None) -> str:
    """A header's value on one line."""
    if raw is None:
        return "(null)"
    text = printable(raw.decode(errors="backslashreplace"))
    return text if len(text) <= HEADER else f"{text[:HEADER]}… ({len(raw)} bytes)"


def value_lines(value: bytes | None) -> Iterator[str]:
    """A value as its text if it is short and nothing but text, else the beginning of its bytes."""
    if value is None:
        yield "(null)"
    elif (text := _text(value)) is not None:
        yield from text.split("\n")
    else:
        yield from hexdump(value[:DUMP])
        if len(value) > DUMP:
            yield f"… {len(value) - DUMP} bytes more"


def hexdump(data: bytes) -> Iterator[str]:
    """Lines of 16 bytes: the offset, the bytes in hexadecimal, and as ASCII."""
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        letters = "".join(chr(each) if 32 <= each < 127 else "." for each in row)
        yield f"{start:08x}  {row.hex(' '):<47}  {letters}"


def _text(value: bytes) -> str | None:
    if len(value) > TEXT:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if printable(text, keep="\n\t") == text else None
