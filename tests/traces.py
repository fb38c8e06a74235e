"""A trace that a client began, and what of it a collector has when it is whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tests.collector import Collected

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT: Final = f"00-{TRACE}-00f067aa0ba902b7-01"
"""The `traceparent` that the client sends."""
AGENTS: Final = ("audio", "text", "join")
"""They take a chunk further, one after the other."""


def ways(spans: Sequence[Collected]) -> set[tuple[str, ...]]:
    """To each span, from the first of its ancestors that is known."""
    by_id = {each.id: each for each in spans}
    return {tuple(f"{each.service}: {each.span.name}" for each in way(s, by_id)) for s in spans}


def way(span: Collected, by_id: Mapping[str, Collected]) -> list[Collected]:
    """From the first ancestor that is known to a span."""
    found = [span]
    while parent := by_id.get(found[0].parent):
        found.insert(0, parent)
    return found


def whole(prefix: str) -> set[tuple[str, ...]]:
    """The ways of a chunk: into a window, by what was said and by how it sounded."""
    heard = ("speech",)
    read = (f"send {prefix}recognition", f"process {prefix}recognition")
    features = (f"send {prefix}features", f"process {prefix}features")
    judged = ("window", f"send {prefix}sentiment")
    worker = [
        f"tenor-worker: {name}"
        for name in (f"process {prefix}audio", *heard, *read, *features, *judged)
    ]
    voice = [f"tenor-worker: {name}" for name in (f"process {prefix}audio", *heard, *features)]
    sent = f"tenor-gateway: send {prefix}audio"
    return {(sent, *worker), (sent, *voice)}
