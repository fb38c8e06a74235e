"""`python -m streams.docs` writes every page that is made from the code into docs/."""

from __future__ import annotations

import sys
from pathlib import Path

from streams import asyncapi
from streams.docs import events_page, settings_page
from streams.events import Topics


def write(folder: Path) -> None:
    """Writes them into a folder."""
    asyncapi.write(folder)
    pages = {"events.md": events_page.page(Topics.of()), "settings.md": settings_page.page()}
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
