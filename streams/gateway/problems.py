"""What the gateway refuses, and how it says so: RFC 9457 problems, over HTTP and over WebSockets.

Each kind of refusal is one line of `Kind`; `docs/gateway.md` shows them as a table. Whatever raises
a `Problem` need not know how it will be told: the app answers requests with a JSON document, and
closes WebSockets with the kind's code and a reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

MEDIA_TYPE: Final = "application/problem+json"
REASON_BYTES: Final = 123
"""The longest reason that a WebSocket's closing may give."""


class Kind(Enum):
    """Status, close code of a WebSocket, title. The name in lower case is the end of the `type`."""

    UNAUTHENTICATED = 401, 1008, "No valid key"
    FORBIDDEN = 403, 1008, "Not allowed"
    FOREIGN_ORIGIN = 403, 1008, "Foreign origin"
    NOT_FOUND = 404, 1008, "Not found"
    METHOD_NOT_ALLOWED = 405, 1008, "Method not allowed"
    NOT_ACCEPTABLE = 406, 1008, "Not acceptable"
    TIMEOUT = 408, 1008, "Timed out"
    CONFLICT = 409, 1008, "Conflict"
    GONE = 410, 1008, "Gone"
    TOO_LARGE = 413, 1009, "Too large"
    UNSUPPORTED = 415, 1003, "Unsupported media"
    WRONG_HOST = 421, 1008, "Wrong host"
    INVALID = 422, 1007, "Invalid"
    RATE = 429, 1013, "Too fast"
    TOO_MANY = 429, 1013, "Too many at once"
    TOO_SLOW = 429, 1013, "Too slow"
    TOO_LONG = 413, 1008, "Too long"
    INTERNAL = 500, 1011, "Internal error"
    UNAVAILABLE = 503, 1013, "Not available"
    STOPPING = 503, 1001, "Stopping"

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def close_code(self) -> int:
        return self.value[1]

    @property
    def title(self) -> str:
        return self.value[2]

    @property
    def type(self) -> str:
        """A URI that is the same in every version."""
        return f"urn:tenor:problem:{self.name.lower().replace('_', '-')}"


class Problem(Exception):  # noqa: N818  (it is no fault of ours)
    """Something that a client is told. `detail` says what is wrong with this request and what to do
    about it; it never quotes media, text or keys."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retry_after_s = retry_after_s
        self._headers = headers or {}

    @property
    def status(self) -> int:
        return self.kind.status

    @property
    def title(self) -> str:
        return self.kind.title

    @property
    def close_code(self) -> int:
        """Of a WebSocket that ends by this."""
        return self.kind.close_code

    @property
    def reason(self) -> str:
        """Of that closing, cut to what a closing may hold."""
        cut = f"{self.title}: {self.detail}".encode()[:REASON_BYTES]
        return cut.decode(errors="ignore")

    @property
    def headers(self) -> dict[str, str]:
        """Of the response."""
        headers = dict(self._headers)
        if self.kind is Kind.UNAUTHENTICATED:
            headers["WWW-Authenticate"] = 'Bearer realm="tenor"'
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self._retry_after)
        return headers

    def document(self) -> dict[str, Any]:
        """The JSON of the response's body; also what a WebSocket's `error` message may hold."""
        told: dict[str, Any] = {
            "type": self.kind.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.retry_after_s is not None:
            told["retry_after_s"] = self._retry_after
        return told

    @property
    def _retry_after(self) -> int:
        return max(1, math.ceil(self.retry_after_s or 0))


SCHEMA: Final[Mapping[str, Any]] = {
    "title": "Problem",
    "description": "Why a request was refused (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "enum": [kind.type for kind in Kind]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, and what to do about it."},
        "retry_after_s": {"type": "integer", "minimum": 1},
    },
}
"""Of `Problem.document()`, for the OpenAPI document."""


def responses(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these, for FastAPI."""
    told: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        titles = [each.title for each in kinds if each.status == kind.status]
        told[kind.status] = {
            "description": "; ".join(titles),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return told
