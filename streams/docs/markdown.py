"""The little Markdown that made pages need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

MADE: Final = "<!-- Made by `make docs` from the code: change that, not this page. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar within a cell stays a bar."""
    lines = [head, ["---"] * len(head), *([each.replace("|", r"\|") for each in r] for r in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def code(text: str) -> str:
    """As code; nothing where there is nothing."""
    return f"`{text}`" if text else ""


def block(text: str, language: str = "") -> str:
    """Lines as they are."""
    return f"```{language}\n{text}\n```"


def anchor(title: str) -> str:
    """What a heading is linked by, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def joined(parts: Iterable[str]) -> str:
    """A page of parts with a line between them."""
    return "\n\n".join(filter(None, parts)) + "\n"
