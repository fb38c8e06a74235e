"""Figures of merit on standard output: a line of JSON, or a table of the same for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich.console import Console
from rich.table import Table


def tell(figures: Mapping[str, Any], *, as_json: bool) -> None:
    """The figures on standard output, for machines or for people."""
    if as_json:
        click.echo(json.dumps(figures))
    else:
        print_figures(figures, Console(highlight=False))


def print_figures(figures: Mapping[str, Any], console: Console) -> None:
    """A row for every group of figures, and a line for what is no number."""
    rows = [(name, row) for name, row in groups(figures) if row]
    columns = list(dict.fromkeys(column for _, row in rows for column in row))
    table = Table("", *columns)
    for name, row in rows:
        table.add_row(name, *(f"{row[c]:g}" if c in row else "" for c in columns))
    console.print(table)
    for name, words in remarks(figures):
        console.print(f"{name}: {words}", markup=False)


def groups(
    figures: Mapping[str, Any], name: str = ""
) -> Iterator[tuple[str, dict[str, float | int]]]:
    """The numbers of every group by the names that lead to it, outermost first."""
    yield name, {key: each for key, each in figures.items() if isinstance(each, int | float)}
    for key, each in figures.items():
        if isinstance(each, Mapping):
            yield from groups(each, f"{name} {key}".strip())


def remarks(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is said in words, of all groups."""
    for key, each in figures.items():
        if isinstance(each, Mapping):
            yield from remarks(each)
        elif isinstance(each, str):
            yield key, each
        elif isinstance(each, list | tuple):
            yield key, ", ".join(map(str, each))
