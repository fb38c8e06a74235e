"""What the routes of the gateway work with, and how they come by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Path
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import HTTPConnection

if TYPE_CHECKING:
    from streams.connection import Connection
    from streams.events import Topics
    from streams.gateway.gate import Gate
    from streams.gateway.ingest import Ingest
    from streams.gateway.metrics import GatewayMetrics
    from streams.gateway.results import Results
    from streams.gateway.sessions import Sessions
    from streams.gateway.settings import GatewaySettings

SessionId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]+$",
        description="Of the session: up to 200 bytes of printable UTF-8, percent-encoded.",
        examples=["call-17"],
    ),
]
"""The path parameter of routes; written `{session:id}` there, so that it may hold slashes."""


class IdConvertor(PathConvertor):
    """Of a path, any characters: what is wrong with them is for the checks of the id to say."""

    regex = "(?s:.*)"


register_url_convertor("id", IdConvertor())


@dataclass(frozen=True, slots=True)
class Parts:
    """All of them; made once by `streams.gateway.server`, or by a test."""

    settings: GatewaySettings
    gate: Gate
    ingest: Ingest
    results: Results
    sessions: Sessions
    metrics: GatewayMetrics
    brokers: Connection
    topics: Topics


def parts_of(connection: HTTPConnection) -> Parts:
    """Those of the app that a request or a WebSocket came to."""
    parts: Parts = connection.app.state.parts
    return parts
