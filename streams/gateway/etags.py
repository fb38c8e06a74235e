"""Who asks again for what it has already is told so, and not sent it once more (RFC 9110, ETag)."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import Header

IfNoneMatch = Annotated[
    str, Header(description="ETags of what the client has; 304 if it is one of them.")
]


def etag(data: bytes) -> str:
    """Names these bytes."""
    return f'"{hashlib.sha256(data).hexdigest()[:24]}"'


def has(known: str, tag: str) -> bool:
    """Whether the tag is among those of an If-None-Match."""
    return tag in (each.strip().removeprefix("W/") for each in known.split(","))
