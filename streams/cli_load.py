"""`tenor load`: how many calls an installation holds at a time, and what that takes."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
from rich.console import Console

from streams.cli_common import folder_of_call, patience_of_results, settings_or_exit, told_errors

if TYPE_CHECKING:
    from streams.settings import Settings

# ruff: noqa: PLC0415 - imported when needed, so that `tenor --help` answers at once


@click.command()
@click.option(
    "--sessions",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Calls at a time; with --find, those that it begins with.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.2),
    default=3.0,
    show_default=True,
    help="Of every call.",
)
@click.option("--find", is_flag=True, help="Search the most calls that hold the objective.")
@click.option(
    "--final-s",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="The objective: 95th percentile from the end of speech to its final caption.",
)
@click.option(
    "--sentiment-s",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="The same from the end of a window to its sentiment.",
)
@click.option(
    "--private",
    is_flag=True,
    help="A Kafka and workers of its own, even if TENOR_BROKERS names another.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Of its own; with a Kafka that is configured, those that run there work.  [default: 1]",
)
@patience_of_results(60.0, least=0)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the calls.")
@folder_of_call("The call to make calls of.")
@click.option("--keep", is_flag=True, help="Keep Kafka's data and all logs, under .run/.")
@click.option(
    "--plan",
    "planned",
    type=click.IntRange(min=1),
    multiple=True,
    help="Play nothing, but say what so many calls need, from earlier figures; may be repeated.",
)
@click.option(
    "--from",
    "earlier",
    type=click.File(encoding="utf-8"),
    help="Of --plan: what --json has printed.",
)
@click.option("--json", "as_json", is_flag=True, help="All figures, as JSON.")
def load(
    *,
    sessions: int,
    minutes: float,
    find: bool,
    final_s: float,
    sentiment_s: float,
    private: bool,
    workers: int | None,
    patience: float,
    seed: int,
    folder: Path,
    keep: bool,
    planned: tuple[int, ...],
    earlier: IO[str] | None,
    as_json: bool,
) -> None:
    """Play calls in real time, and measure: latency, lag, losses, CPU and memory.

    Exits with 0 only if the objective was held and nothing was lost.
    """
    if planned or earlier:
        _plan(planned, earlier, as_json=as_json)
        return
    from streams import replay
    from streams.loading.playing import Order
    from streams.loading.report import Objective, print_load
    from streams.loading.run import measure, place

    settings = settings_or_exit()
    private = private or not settings.brokers
    own = _workers(settings, workers, private=private)
    objective = Objective(final_s, sentiment_s)
    order = Order(sessions, minutes * 60, own, objective, patience, seed)
    # A SIGTERM shall clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with told_errors():
            script = replay.load([folder])
            with place(settings, private=private, keep=keep, tell=_tell) as at:
                results = measure(order, at, script, _tell, find=find)
    except KeyboardInterrupt:
        _tell("stopped; everything that was started has been ended")
        sys.exit(130)
    if as_json:
        click.echo(json.dumps(results))
    else:
        print_load(results, Console(highlight=False))
    sys.exit(not results["run"]["held"])


def _workers(settings: Settings, chosen: int | None, *, private: bool) -> int:
    """How many to start."""
    if not private:
        if chosen:
            raise click.UsageError(
                "--workers are of a private Kafka: say --private, or start them with `tenor worker`"
            )
        return 0
    if (chosen or 1) > settings.partitions:
        raise click.UsageError(
            f"{chosen} workers on {settings.partitions} partitions: some would have none; "
            "set TENOR_PARTITIONS to some times as many"
        )
    return chosen or 1


def _plan(planned: tuple[int, ...], earlier: IO[str] | None, *, as_json: bool) -> None:
    from streams.loading.planning import figures, print_plans

    if not planned or earlier is None:
        raise click.UsageError("--plan and --from belong together: --plan 1000 --from FILE")
    try:
        results = json.load(earlier)
    except ValueError as error:
        raise click.ClickException(f"{earlier.name} is not JSON: {error}") from None
    with told_errors():
        found = figures(results, planned)
    if as_json:
        click.echo(json.dumps(found))
    else:
        print_plans(found, Console(highlight=False))


def _tell(line: str) -> None:
    click.echo(line, err=True)
