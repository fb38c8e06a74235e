"""Where the gateway finds a client's key, and that it does not say it again."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from starlette.requests import HTTPConnection

from streams.gateway.credentials import key_of, protocol_of


def connection(headers: Mapping[str, str], subprotocols: tuple[str, ...]) -> HTTPConnection:
    raw = [(name.encode(), text.encode()) for name, text in headers.items()]
    return HTTPConnection(
        {"type": "websocket", "headers": raw, "subprotocols": list(subprotocols), "path": "/"}
    )


@pytest.mark.parametrize(
    ("headers", "subprotocols", "key"),
    [
        ({"authorization": "Bearer abc"}, (), "abc"),
        ({"authorization": "bearer  abc "}, (), "abc"),
        ({"authorization": "Token abc"}, (), "abc"),
        ({"authorization": "Basic abc"}, (), ""),
        ({"authorization": "Bearer"}, (), ""),
        ({"authorization": "abc"}, (), ""),
        ({"x-api-key": "abc"}, (), "abc"),
        ({"authorization": "Basic x", "x-api-key": "abc"}, (), "abc"),
        ({}, ("tenor", "abc"), "abc"),
        ({}, ("token", "abc"), "abc"),
        ({}, ("bearer", "abc"), "abc"),
        ({}, ("tenor",), ""),
        ({}, ("other", "abc"), ""),
        ({}, ("realtime", "openai-insecure-api-key.abc", "openai-beta.realtime-v1"), "abc"),
        ({}, (), ""),
    ],
)
def test_a_key_may_be_given_in_these_ways(
    headers: dict[str, str], subprotocols: tuple[str, ...], key: str
) -> None:
    assert key_of(connection(headers, subprotocols)) == key


@pytest.mark.parametrize(
    ("subprotocols", "accepted"),
    [
        ((), None),
        (("tenor", "abc"), "tenor"),
        (("token", "abc"), "token"),
        (("realtime", "openai-insecure-api-key.abc"), "realtime"),
        (("openai-insecure-api-key.abc", "realtime"), "realtime"),
        (("openai-insecure-api-key.abc",), None),
        (("abc",), None),
    ],
)
def test_a_key_is_never_the_subprotocol_that_is_accepted(
    subprotocols: tuple[str, ...], accepted: str | None
) -> None:
    assert protocol_of(connection({}, subprotocols)) == accepted
