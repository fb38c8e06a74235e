"""One's own recordings: a `manifest.jsonl`, a JSON object per line (docs/training.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.base import ModelError

LINE: Final = 1 << 20
"""Bytes of a line."""


class Row(BaseModel):
    """A line of a manifest; audio and image are files beside it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1, max_length=256)]
    session: Annotated[str, Field(max_length=256)] = ""
    speaker: Annotated[str, Field(max_length=256)] = ""
    start: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    end: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    text: str = ""
    audio: str = ""
    image: str = ""
    sentiment: Annotated[float, Field(ge=-1, le=1)] | None = None
    emotion: str | list[str] = []
    split: str = "train"


def read(path: Path) -> list[Row]:
    """All lines of a manifest. Raises ModelError, which names the first line that is wrong."""
    found, ids = [], set[str]()
    for number, line in enumerate(_lines(path), 1):
        try:
            row = Row.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise ModelError(f"{path}, line {number}: {where}: {first['msg']}") from error
        if row.id in ids:
            raise ModelError(f"{path}, line {number}: id: {row.id!r} is there twice")
        ids.add(row.id)
        found.append(row)
    return found


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            while line := file.readline(LINE):
                if line.strip():
                    yield line
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
