"""`tenor eval`: how good what is served is, on data whose contents are known."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from streams.cli_common import settings_or_exit, told_errors
from streams.figures import tell

# ruff: noqa: PLC0415 - each command imports what it needs, so that `tenor --help` answers at once

DATASETS: Final = (
    "meld",
    "mosi",
    "goemotions",
    "sst2",
    "ravdess",
    "emodb",
    "fer2013",
    "manifest",
)

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
    settings = settings_or_exit()
    with told_errors():
        from models import registry
        from models.train import align

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


@click.command()
@click.option(
    "--dataset", type=click.Choice(DATASETS), required=True, help="What kind of corpus DIR is."
)
@folder_argument
@split_option
@json_option
@model_option
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many samples.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder for the encoders' vectors.  [default: the user's cache]",
)
def sentiment(
    dataset: str,
    folder: Path,
    split: str,
    model_folder: Path | None,
    *,
    as_json: bool,
    limit: int | None,
    cache: Path | None,
) -> None:
    """Measure sentiment and emotion on a corpus, or on one's own recordings with a manifest.jsonl.

    DIR is the corpus's folder, or the one that holds it. MOSI's vectors are ready-made: a model
    that was trained on them judges those.
    """
    settings = settings_or_exit()
    with told_errors():
        from models import registry
        from models.train import evaluate

        served = evaluate.MOSI_MODEL if dataset == "mosi" else settings.fusion_model
        sources = evaluate.Sources(
            fusion=f"file:{model_folder}" if model_folder else served,
            text=settings.affect_model,
            voice=settings.voice_model,
            face=settings.expression_model,
            device=registry.device(settings.device),
        )
        figures = evaluate.evaluate(dataset, folder, split, sources, limit=limit, cache=cache)
    tell(figures, as_json=as_json)
