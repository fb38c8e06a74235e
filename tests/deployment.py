"""What is under deploy/, as tests read it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
DEPLOY: Final = ROOT / "deploy"
_VARIABLE: Final = re.compile(r"\$\{(\w+):-([^}]*)\}")


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    """A Compose file with its anchors followed; variables as if none were set."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    read: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(r"\2", text))
    return read


def names(file: str) -> list[str]:
    """The packages that a list of deploy/ names."""
    lines = (DEPLOY / file).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins() -> dict[str, str]:
    """The version of each package."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    return dict(line.split("==") for line in lines)
