"""The app of the gateway: its routes, its errors, its OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final, NoReturn

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import (
    RequestValidationError,
    ValidationException,
    WebSocketRequestValidationError,
)
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from streams.gateway import deepgram, openai_realtime, page, reading, writing
from streams.gateway.edge import Edge
from streams.gateway.keys import Scope
from streams.gateway.parts import Parts, parts_of
from streams.gateway.problems import SCHEMA, Kind, Problem, responses

COMMON: Final = responses(
    Kind.UNAUTHENTICATED,
    Kind.FORBIDDEN,
    Kind.FOREIGN_ORIGIN,
    Kind.WRONG_HOST,
    Kind.RATE,
    Kind.INTERNAL,
    Kind.STOPPING,
)
"""What every route may answer with."""
KINDS: Final[Mapping[int, Kind]] = {
    404: Kind.NOT_FOUND,
    405: Kind.METHOD_NOT_ALLOWED,
    406: Kind.NOT_ACCEPTABLE,
    413: Kind.TOO_LARGE,
    415: Kind.UNSUPPORTED,
}
"""Of what the framework raises."""
SAID: Final = 5
"""So many of the things that are wrong are told at once."""
DESCRIPTION: Final = """Live captions and sentiment of conversations.

WebSockets are not part of this document: docs/gateway.md describes them."""

about = APIRouter(tags=["gateway"])


class Live(BaseModel):
    """What a key does now."""

    key: str
    sending: int
    reading: int


class State(BaseModel):
    """How this gateway does."""

    version: str
    stopping: bool
    live: list[Live]


@about.get("/v1/gateway", summary="What is live at this gateway (scope admin)")
async def state(request: Request) -> State:
    """Sockets that send and streams of results, by key; a key with a namespace sees those of keys
    that have no more."""
    gate = parts_of(request).gate
    caller = gate.admit(request, Scope.ADMIN)
    live: dict[str, Live] = {}
    for lease in gate.leases:
        if not caller.owns(lease.caller.namespace):
            continue
        name = lease.caller.name
        of_key = live.setdefault(name, Live(key=name, sending=0, reading=0))
        if lease.scope is Scope.READ:
            of_key.reading += 1
        else:
            of_key.sending += 1
    by_name = sorted(live.values(), key=lambda each: each.key)
    return State(version=version("tenor"), stopping=gate.stopping, live=by_name)


def make_app(parts: Parts) -> FastAPI:
    """The app; starting and stopping its parts is up to the caller."""
    app = FastAPI(
        title="Tenor",
        version=version("tenor"),
        description=DESCRIPTION,
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        middleware=_middleware(parts),
    )
    app.state.parts = parts
    app.add_exception_handler(HTTPException, _refused)
    for error in (RequestValidationError, WebSocketRequestValidationError):
        app.add_exception_handler(error, _invalid)
    for router in (about, writing.router, reading.router, deepgram.router, openai_realtime.router):
        app.include_router(router, responses=COMMON)
    app.include_router(page.router)
    app.openapi = lambda: _openapi(app, parts)  # type: ignore[method-assign]
    return app


def _middleware(parts: Parts) -> list[Middleware]:
    origins = parts.settings.allowed_origins
    cors = Middleware(
        Cors,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=[
            "Authorization",
            "X-API-Key",
            "Idempotency-Key",
            "Last-Event-ID",
            "traceparent",
            "If-None-Match",
        ],
        expose_headers=["Retry-After", "ETag"],
    )
    edge = Middleware(Edge, gate=parts.gate, metrics=parts.metrics)
    return [cors, edge] if origins else [edge]  # refusals, too, are for pages of these origins


class Cors(CORSMiddleware):
    """For pages of the allowed origins; all others are left to the edge, which refuses them."""

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        http = scope["type"] == "http"
        if http and self.is_allowed_origin(Headers(scope=scope).get("origin", "")):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


async def _refused(_: HTTPConnection, error: Exception) -> NoReturn:
    """What the framework says by a status."""
    if isinstance(error, HTTPException) and (kind := KINDS.get(error.status_code)):
        raise Problem(kind, error.detail, headers=error.headers) from None
    raise error


async def _invalid(_: HTTPConnection, error: Exception) -> NoReturn:
    """What is not as the route's signature has it, without quoting it."""
    found = error.errors() if isinstance(error, ValidationException) else ()
    wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found]
    raise Problem(Kind.INVALID, "; ".join(wrong[:SAID])) from None


def _openapi(app: FastAPI, parts: Parts) -> dict[str, Any]:
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = dict(SCHEMA)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    keys: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}]
    document["security"] = [{}, *keys] if parts.gate.open else keys
    invalid = responses(Kind.INVALID)[422]
    for operations in document["paths"].values():
        for operation in operations.values():
            content = operation["responses"].get("422", {}).get("content", {})
            if "application/json" in content:  # as the framework has it
                operation["responses"]["422"] = invalid
    app.openapi_schema = document
    return document
