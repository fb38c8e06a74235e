"""What the commands share: settings, options, the way to Kafka, and errors told in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click
from pydantic import ValidationError

from models.base import ModelError
from streams.errors import UserError
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.connection import Connection

# ruff: noqa: PLC0415 - imported when needed, so that `tenor --help` answers at once

TRAINING: Final = ("sklearn", "matplotlib")
"""Packages that only the extra `train` brings."""

Option: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def folder_of_call(what: str) -> Option:
    """`--folder`: a recorded call; `what` is done with it."""
    kind = click.Path(exists=True, path_type=Path)
    default = Path("demo/call")
    return click.option("--folder", type=kind, default=default, show_default=True, help=what)


def patience_of_results(default: float, *, least: float) -> Option:
    """`--patience`: for how long results are waited for when all has been sent."""
    kind, what = click.FloatRange(min=least), "Seconds that the last result may take."
    return click.option("--patience", type=kind, default=default, show_default=True, help=what)


def settings_or_exit(**chosen: str) -> Settings:
    """The settings, of which some are `chosen`; a wrong one ends the program with its name."""
    try:
        return Settings(**chosen)  # type: ignore[arg-type]  # pydantic checks
    except ValidationError as error:
        wrong = "; ".join(
            f"TENOR_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()
        )
        raise click.ClickException(wrong) from None


def brokers_of(settings: Settings) -> Connection:
    """The brokers that are named, or an error that says how to name some."""
    if settings.brokers:
        from streams.connection import Connection

        with told_errors():
            return Connection.of(settings)
    raise click.ClickException(
        "no Kafka is named: run `tenor broker` in another terminal and set TENOR_BROKERS as it says"
    )


@contextlib.contextmanager
def told_errors() -> Iterator[None]:
    """Errors that the user can do something about end the program with one line."""
    from aiokafka.errors import KafkaError

    try:
        yield
    except (UserError, ModelError) as error:
        raise click.ClickException(str(error)) from error
    except KafkaError as error:
        raise click.ClickException(f"Kafka: {error!r}; is TENOR_BROKERS right?") from error
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAINING:
            raise
        raise click.ClickException(
            f"this needs {error.name}, which is not installed: pip install -e '.[train]'"
            " in the folder of Tenor"
        ) from error
