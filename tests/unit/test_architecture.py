"""The arrows of the architecture, read from the imports of every file; the tables are its drawing.

composition roots ->  streams.agents  ->  the pure core (windows, captions, codec, ...)
        |                   |
        v                   v
      models     ->    models.base (the contract: protocols over arrays)
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for top in ("streams", "models")
    for path in (ROOT / top).rglob("*.py")
)

PURE = {
    "streams/windows.py",
    "streams/windowing.py",
    "streams/watermark.py",
    "streams/courses.py",
    "streams/tracks.py",
    "streams/captions.py",
    "streams/segmenter.py",
    "streams/agreement.py",
    "streams/context.py",
    "streams/cues.py",
    "streams/export.py",
    "streams/matching.py",
    "streams/ranking.py",
    "streams/evaluation.py",
    "streams/g711.py",
    "streams/codec.py",
    "streams/events.py",
    "streams/offsets.py",
    "streams/deadletters.py",
    "streams/inspection.py",
    "streams/rights.py",
    "streams/health.py",
    "streams/proving/comparison.py",
    "streams/loading/accounts.py",
    "streams/loading/latencies.py",
    "streams/loading/planning.py",
    "streams/loading/search.py",
    "streams/markup.py",
    "streams/session_report/facts.py",
    "streams/session_report/contents.py",
    "streams/session_report/charts.py",
    "streams/session_report/figures.py",
    "streams/session_report/parts.py",
    "streams/session_report/sections.py",
    "streams/session_report/gallery.py",
    "streams/session_report/page.py",
    "streams/gateway/cursor.py",
    "streams/gateway/seam.py",
    "streams/gateway/summaries.py",
    "streams/gateway/problems.py",
    "streams/gateway/resuming.py",
    "streams/gateway/positions.py",
    "streams/gateway/deepgram_query.py",
    "streams/gateway/deepgram_messages.py",
    "streams/gateway/openai_session.py",
    "streams/gateway/openai_messages.py",
}
"""Functions of what they are given: no I/O and no clock."""

PURE_BUT_WAITING = {"streams/batching.py"}
"""`pack` is pure; the shell around it waits on asyncio and measures how long."""

SHELL = {"faust", "mode", "aiokafka", "aiohttp", "prometheus_client", "torch", "models"}
CLOCKS_AND_WAITS = {"time", "asyncio", "threading", "concurrent", "socket", "random"}
CLOCK_CALLS = {"now", "utcnow", "today"}

ONLY_IN = {
    # what may be imported   where
    "faust": {"streams/transport.py", "streams/app.py", "streams/worker.py"},
    "mode": {"streams/transport.py", "streams/app.py", "streams/worker.py"},
    "torch": {"models/"},
    "torchaudio": {"models/"},
    "ctranslate2": {"models/"},
    "whisper": {"models/"},
    "transformers": {"models/towers.py"},
    "cv2": {"models/"},
    "silero_vad": {"models/"},
    "fastapi": {"streams/gateway/"},
    "uvicorn": {"streams/gateway/"},
    "opentelemetry": {"streams/tracing.py", "streams/otlp.py"},
    "av": {"streams/gateway/decoding.py"},  # where FFmpeg's memory is bounded
}

ROOTS = {
    "streams/cli.py",
    "streams/app.py",
    "streams/worker.py",
    "streams/demo.py",
    "streams/composition.py",
}
"""Only they may know agents and models, and put the ones into the others."""

CONTRACT = {"models.base"}
"""What agents know of models."""


@functools.cache
def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), path)


def imports(module: ast.Module, package: str) -> Iterator[str]:
    """Full names of all that is imported, at whatever depth: `from a import b` gives a and a.b."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


@functools.cache
def imported(path: str) -> set[str]:
    return set(imports(tree(path), Path(path).parent.as_posix().replace("/", ".")))


def packages(path: str) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def within(path: str, places: set[str]) -> bool:
    return any(
        path == place or (place.endswith("/") and path.startswith(place)) for place in places
    )


def reaches(path: str, package: str) -> set[str]:
    return {name for name in imported(path) if name == package or name.startswith(f"{package}.")}


@pytest.mark.parametrize("path", sorted(PURE | PURE_BUT_WAITING))
def test_the_core_is_pure(path: str) -> None:
    forbidden = SHELL | (CLOCKS_AND_WAITS if path in PURE else set())
    assert not packages(path) & forbidden


@pytest.mark.parametrize("path", sorted(PURE))
def test_the_core_reads_no_clock_and_opens_no_file(path: str) -> None:
    calls = {node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)}
    methods = {call.attr for call in calls if isinstance(call, ast.Attribute)}
    functions = {call.id for call in calls if isinstance(call, ast.Name)}
    assert not methods & CLOCK_CALLS
    assert not functions & {"open", "print", "input"}


@pytest.mark.parametrize("path", [path for path in SOURCES if path.startswith("models/")])
def test_models_know_nothing_of_streams(path: str) -> None:
    assert not reaches(path, "streams")


@pytest.mark.parametrize("package", sorted(ONLY_IN))
def test_a_library_is_used_in_its_place_only(package: str) -> None:
    users = {path for path in SOURCES if package in packages(path)}
    assert {path for path in users if not within(path, ONLY_IN[package])} == set()


@pytest.mark.parametrize("path", [path for path in SOURCES if path not in ROOTS])
def test_only_roots_know_both_agents_and_models(path: str) -> None:
    in_agents = path.startswith("streams/agents/") or reaches(path, "streams.agents")
    models = {
        name
        for name in reaches(path, "models") - {"models"}
        if not any(name == base or name.startswith(f"{base}.") for base in CONTRACT)
    }
    assert not (in_agents and models)


def test_the_reader_of_imports_sees_what_is_there() -> None:
    module = ast.parse(
        "import a.b\ndef f():\n    from c import d\nfrom . import e\nfrom ..g import h"
    )
    assert set(imports(module, "x.y")) == {"a.b", "c", "c.d", "x.y", "x.y.e", "x.g", "x.g.h"}
    assert set(SOURCES) >= PURE | PURE_BUT_WAITING
