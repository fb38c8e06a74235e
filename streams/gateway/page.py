"""The live page: static files, read once, with the headers that keep a browser to them.

The page is plain HTML, CSS and JavaScript of the folder `page`; nothing is built. It may load only
its own files, and talk only to its own gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from streams.gateway.etags import IfNoneMatch, etag, has
from streams.gateway.problems import Kind, Problem

TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",  # pictures of a session are fetched with the key
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""`no-cache` means: asked for again by its ETag, so that all files are of one version."""


@dataclass(frozen=True, slots=True)
class File:
    """What is served under one name."""

    type: str
    data: bytes
    etag: str


def _read() -> Mapping[str, File]:
    found: dict[str, File] = {}
    for each in files(__package__).joinpath("page").iterdir():
        type_ = TYPES.get(each.name.rpartition(".")[2])
        if type_ and each.is_file():
            data = each.read_bytes()
            found[each.name] = File(type_, data, etag(data))
    return found


FILES: Final = _read()
"""By name. A name that is not among them is not looked for anywhere else."""

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
def index(if_none_match: IfNoneMatch = "") -> Response:
    """The page."""
    return _answer(FILES["index.html"], if_none_match)


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
def file(name: str, if_none_match: IfNoneMatch = "") -> Response:
    """What it is made of. Raises Problem 404."""
    if name not in FILES:
        raise Problem(Kind.NOT_FOUND, "the page has no such file")
    return _answer(FILES[name], if_none_match)


def _answer(of: File, known: str) -> Response:
    headers = {**HEADERS, "ETag": of.etag}
    if has(known, of.etag):
        return Response(status_code=304, headers=headers)
    return Response(of.data, headers=headers, media_type=of.type)
