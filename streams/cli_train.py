"""`tenor train`: makes the weights of the trained parts, from corpora or from one's own recordings.

What a part learns from, and in which order they are trained, is in docs/training.md.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from streams.cli_common import told_errors
from streams.figures import tell

# ruff: noqa: PLC0415 - each command imports what it needs, so that `tenor --help` answers at once

Command = TypeVar("Command", bound=Callable[..., Any])
Made = TypeVar("Made")
Given = int | str | bool | Path | tuple[str, ...] | None
"""An option of a command; None where it is not given."""

PHOTOS: Final = ("flickr8k", "coco")
"""Folders of photos in a folder of corpora."""


@click.group()
def train() -> None:
    """Train the models on labelled texts, recordings, faces and photos."""


def trainer(*, data_help: str) -> Callable[[Command], Command]:
    """The options that every part has."""
    options = (
        click.option(
            "--data",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            required=True,
            help=data_help,
        ),
        click.option(
            "--out",
            type=click.Path(file_okay=False, path_type=Path),
            required=True,
            help="The folder for the weights, their card and pictures.",
        ),
        click.option("--seed", type=click.IntRange(min=0), help="Of all that is random."),
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Where it trains.",
        ),
        click.option("--threads", type=click.IntRange(1, 64), help="To compute with on a CPU."),
        click.option("--json", "as_json", is_flag=True, help="The figures as one line of JSON."),
    )
    return lambda command: _decorated(command, options)


def _decorated(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


free_option = click.option(
    "--free", is_flag=True, default=None, help="Learn only from data that anybody may use."
)
seeds_option = click.option(
    "--seeds", type=click.IntRange(1, 100), help="Runs, for the mean and spread of the figures."
)
cache_option = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder for the encoders' vectors.  [default: the user's cache]",
)


@train.command()
@trainer(data_help="Folder with meld and text, or with a manifest.jsonl.")
@click.option(
    "--start",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Weights trained with --free, to go on from instead of learning that anew; for one's own"
    " recordings any that it wrote.  [default there: the shipped ones]",
)
@free_option
def text(data: Path, out: Path, *, device: str, as_json: bool, **given: Given) -> None:
    """The encoder of what is said."""
    with trained(out):
        from models.train import text as part

        tell(part.train(data, out, options(part.Options, device, given)), as_json=as_json)


@train.command()
@trainer(data_help="Folder with ravdess and emodb, or with a manifest.jsonl.")
@seeds_option
@free_option
@cache_option
def voice(
    data: Path, out: Path, *, device: str, as_json: bool, seeds: int | None, **given: Given
) -> None:
    """The encoder of how it is said."""
    with trained(out):
        from models.train import voice as part

        chosen = options(part.Options, device, {**given, "runs": seeds})
        tell(part.train(data, out, chosen), as_json=as_json)


@train.command()
@trainer(data_help="Folder with fer2013, or with a manifest.jsonl of cropped faces.")
def face(data: Path, out: Path, *, device: str, as_json: bool, **given: Given) -> None:
    """The reader of faces."""
    with trained(out):
        from models.train import face as part
        from models.train.face_training import Options

        tell(part.train(data, out, options(Options, device, given)), as_json=as_json)


@train.command()
@trainer(data_help="Folder with flickr8k and coco, or with photos and their captions.json.")
@cache_option
def align(
    data: Path, out: Path, *, device: str, as_json: bool, cache: Path | None, **given: Given
) -> None:
    """The common space of texts and pictures."""
    with trained(out, resumes=False):
        from models.train import align as part

        folders = [data / name for name in PHOTOS if (data / name / "captions.json").is_file()]
        chosen = options(part.Options, device, given)
        tell(part.train(folders or [data], out, chosen, cache), as_json=as_json)


def encoder_option(name: str) -> Callable[[Command], Command]:
    """Names a trained encoder."""
    return click.option(
        f"--{name}",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help=f"What `tenor train {name}` wrote.  [default: the shipped one]",
    )


@train.command()
@trainer(data_help="Folder with corpora, or with a manifest.jsonl.")
@seeds_option
@click.option("--datasets", help="Names of corpora, with commas.  [default: all but mosi]")
@encoder_option("text")
@encoder_option("voice")
@encoder_option("face")
@free_option
@cache_option
def fusion(
    data: Path,
    out: Path,
    *,
    device: str,
    as_json: bool,
    cache: Path | None,
    datasets: str | None,
    text: Path | None,
    voice: Path | None,
    face: Path | None,
    **given: Given,
) -> None:
    """The model that fuses text, voice and faces, after their encoders."""
    names = tuple(name.strip() for name in (datasets or "").split(",") if name.strip())
    folders = {"text": text, "voice": voice, "face": face}
    uris = {name: f"file:{folder}" for name, folder in folders.items() if folder}
    with trained(out):
        from models.train import fusion as part

        chosen = options(part.Options, device, {**given, **uris, "datasets": names})
        tell(part.train(data, out, chosen, cache), as_json=as_json)


def options(kind: Callable[..., Made], device: str, given: Mapping[str, Given]) -> Made:
    """A trainer's options: what was `given` (None: not), and its own defaults."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    if "device" in known:
        given = {**given, "device": device}
    elif device == "cuda":
        click.echo("this part trains on the CPU: --device cuda changes nothing", err=True)
    return kind(**{name: value for name, value in given.items() if value is not None})


@contextlib.contextmanager
def trained(out: Path, *, resumes: bool = True) -> Iterator[None]:
    """While a training runs, an error ends the program with one line, and so does Ctrl-C, which
    costs no more than the epoch that it cuts off where a training `resumes`."""
    try:
        with told_errors():
            yield
        click.echo(f"written to {out}", err=True)
    except KeyboardInterrupt:
        again = "goes on where it was" if resumes else "begins anew"
        click.echo(f"stopped; the same command {again}", err=True)
        sys.exit(130)
    except OSError as error:
        raise click.ClickException(f"{error.filename or out}: {error.strerror or error}") from error
