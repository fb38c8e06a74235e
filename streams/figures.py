"""Figures of merit on standard output: a line of JSON, or a table of the same for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

WIDTH: Final = 300
"""Columns of a table that nobody has to fold."""
Row = dict[str, float | int]


def tell(figures: Mapping[str, Any], *, as_json: bool) -> None:
    """The figures on standard output, for machines or for people."""
    if as_json:
        click.echo(json.dumps(figures))
    else:
        print_figures(figures, Console(highlight=False))


def print_figures(figures: Mapping[str, Any], console: Console) -> None:
    """A line for all that is said in words, and a row for every group of figures."""
    for name, words in remarks(figures):
        console.print(f"{name}: {words}", markup=False, soft_wrap=True)
    rows = dict(groups(figures))
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table = Table(box=None, pad_edge=False)
    for header in ("", *columns):
        table.add_column(header, no_wrap=True)
    for name, row in rows.items():
        table.add_row(name, *(f"{row[c]:g}" if c in row else "" for c in columns))
    console.width = max(console.width, WIDTH)
    console.print(table)


def groups(figures: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Row]]:
    """The numbers of every group by the names that lead to it, outermost first; a group that only
    repeats those of the one it is in is passed over."""
    own = numbers(figures)
    if own:
        yield name, own
    for key, each in figures.items():
        if isinstance(each, Mapping) and not (flat(each) and each.items() <= own.items()):
            yield from groups(each, f"{name} {key}".strip())


def flat(figures: Mapping[str, Any]) -> bool:
    """Whether a group has numbers and nothing else."""
    return bool(figures) and len(numbers(figures)) == len(figures)


def numbers(figures: Mapping[str, Any]) -> Row:
    """Those right in a group."""
    return {key: each for key, each in figures.items() if isinstance(each, int | float)}


def remarks(figures: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, str]]:
    """What is said in words, of all groups."""
    for key, each in figures.items():
        path = f"{name} {key}".strip()
        if isinstance(each, Mapping):
            yield from remarks(each, path)
        elif isinstance(each, str):
            yield path, each
        elif isinstance(each, list | tuple):
            yield path, ", ".join(map(str, each))
