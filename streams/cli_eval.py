"""`tenor eval`: how good what is served is, on data whose contents are known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from streams.cli_common import settings_or_exit, told_errors
from streams.figures import print_figures

# ruff: noqa: PLC0415 - each command imports what it needs, so that `tenor --help` answers at once

folder_argument = click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
split_option = click.option("--split", required=True, help="Which part; all: every one.")
json_option = click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
model_option = click.option(
    "--model",
    "model_folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder that `tenor train` wrote.  [default: what a worker would use]",
)


@click.command()
@folder_argument
@split_option
@json_option
@model_option
def matching(folder: Path, split: str, model_folder: Path | None, *, as_json: bool) -> None:
    """Measure how texts find pictures, and pictures texts, among 100 photos of DIR.

    DIR holds photos and a captions.json that says what each shows.
    """
    from models import registry
    from models.train import align

    settings = settings_or_exit()
    with told_errors():
        if model_folder is None and settings.align_model:
            model_folder = registry.resolve(settings.align_model)
        figures = align.evaluate(
            folder,
            split,
            model_folder,
            text_model=settings.text_model,
            image_model=settings.image_model,
        )
    tell(figures, as_json=as_json)


def tell(figures: Mapping[str, Any], *, as_json: bool) -> None:
    """The figures on standard output, for machines or for people."""
    if as_json:
        click.echo(json.dumps(figures))
    else:
        print_figures(figures, Console(highlight=False))
