"""What is in `deploy/k8s`: its files, and what `kubectl kustomize` makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parent.parent / "deploy" / "k8s"
BASE: Final = ROOT / "base"

Document = dict[str, Any]


def documents(path: Path) -> list[Document]:
    """What a file holds."""
    return list(yaml.safe_load_all(path.read_text()))


def pods(rendered: list[Document]) -> Iterator[tuple[str, Document]]:
    """The name of what makes pods, and the spec of those pods."""
    for each in rendered:
        if each["kind"] in ("Deployment", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def container(pod: Document) -> Document:
    """The only one of a pod."""
    (only,) = pod["containers"]
    return dict(only)


def agents_of(deployment: Document) -> tuple[str, ...]:
    """Which agents its workers run, as their command says."""
    command = container(deployment["spec"]["template"]["spec"])["command"]
    return tuple(command[command.index("--agents") + 1].split(","))
