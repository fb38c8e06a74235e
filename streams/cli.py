"""The command `tenor`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import threading
import uuid
from pathlib import Path
from typing import IO

import click
from rich.console import Console

from streams.cli_common import (
    brokers_of,
    folder_of_call,
    patience_of_results,
    settings_or_exit,
    told_errors,
)
from streams.cli_deadletters import deadletters
from streams.cli_eval import matching, sentiment
from streams.cli_gateway import gateway, gateway_settings, keys
from streams.cli_load import load
from streams.cli_report import report
from streams.cli_search import match, search
from streams.cli_topics import topics
from streams.cli_train import train
from streams.logs import log_to_stderr
from streams.proving import SCENARIOS
from streams.settings import AGENTS

# ruff: noqa: PLC0415 - each command imports what it needs, so that `tenor --help` answers at once


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tenor")
def main() -> None:
    """Live captions and sentiment of conversations, over Kafka. Settings: docs/settings.md."""
    # A shell without job control starts what it puts into the background deaf to SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@main.command()
@click.option("--nodes", type=click.Choice(["1", "3"]), default="1", show_default=True)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    help="Of the first node; the others follow.  [default: free]",
)
@click.option(
    "--data", type=click.Path(path_type=Path), default=Path(".run/kafka"), show_default=True
)
def broker(nodes: str, port: int | None, data: Path) -> None:
    """Run a private Apache Kafka on loopback, until Ctrl-C."""
    from streams.broker import Broker

    with told_errors(), Broker(data.absolute(), nodes=int(nodes), port=port) as kafka:
        click.echo(f"Kafka is ready. In another terminal: export TENOR_BROKERS={kafka.bootstrap}")
        stop = threading.Event()
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: stop.set())
        while not stop.wait(1.0):
            if failed := kafka.failed():
                raise click.ClickException(failed)


@main.command()
@click.option("--agents", default=",".join(AGENTS), show_default=True, help="Which to run here.")
def worker(agents: str) -> None:
    """Run stream agents, until Ctrl-C."""
    names = [name.strip() for name in agents.split(",") if name.strip()]
    if not names or (unknown := set(names) - set(AGENTS)):
        wrong = f"no such agent: {', '.join(sorted(unknown))}" if names else "no agent is named"
        raise click.BadParameter(f"{wrong}; there are {', '.join(AGENTS)}", param_hint="--agents")
    settings = settings_or_exit()
    log_to_stderr(settings.log_level)
    brokers = brokers_of(settings)
    from streams.fastloop import FastLoops
    from streams.otlp import exported
    from streams.worker import Worker

    asyncio.set_event_loop_policy(FastLoops())
    with told_errors(), exported("tenor-worker"):
        asyncio.run(Worker(settings, brokers, names).run())


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="1: as recorded, 0: as fast as Kafka takes it.",
)
@click.option("--session", help="Its id.  [default: a new one]")
def replay(paths: tuple[Path, ...], speed: float, session: str | None) -> None:
    """Play a folder with a script.json, or plain audio files, into the topics."""
    from streams import access, rights
    from streams.events import Topics
    from streams.otlp import exported
    from streams.replay import load
    from streams.replay import replay as play
    from streams.topics import ensure_topics

    settings = settings_or_exit()
    session = session or f"replay-{uuid.uuid4().hex[:8]}"
    with told_errors(), exported("tenor-replay"):
        script = load(paths)
        brokers = brokers_of(settings)

        async def run() -> dict[str, int]:
            topics = Topics.of(settings.topic_prefix)
            await access.check(brokers, rights.of_producer(topics))
            await ensure_topics(brokers, settings, rights.INPUTS)
            return await play(script, brokers, topics, session, speed=speed, tell=tell)

        def tell(at: float, of: float) -> None:
            if sys.stderr.isatty():
                click.echo(f"\r{at:6.1f} s of {of:.1f} s", nl=False, err=True)

        click.echo(f"playing {script.seconds:.1f} s as session {session}", err=True)
        counts = asyncio.run(run())
        click.echo(json.dumps({"session": session, "events": counts}))


@main.command()
@click.option("--session", help="Only this one.  [default: all]")
@click.option("--json", "as_lines", is_flag=True, help="A line of JSON for each result.")
@click.option("--from-start", is_flag=True, help="Also what the topics hold already.")
def watch(session: str | None, as_lines: bool, from_start: bool) -> None:
    """Show captions, pictures and sentiment as they come, until Ctrl-C."""
    from streams import access, rights
    from streams import watch as watching
    from streams.events import Topics

    settings = settings_or_exit()
    screen = watching.Screen(Console(highlight=False), one_session=session is not None)

    async def run() -> None:
        topics = Topics.of(settings.topic_prefix)
        brokers = brokers_of(settings)
        await access.check(brokers, rights.of_reader(topics))
        async for received in watching.follow(brokers, topics, from_start=from_start):
            result = watching.shown(received, session)
            if result is None:
                continue
            if as_lines:
                click.echo(watching.as_json(received))
            else:
                screen.show(result)

    with told_errors(), contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())


@main.command()
@click.option("--session", required=True, help="Its id.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["vtt", "srt", "json", "txt"]),
    default="vtt",
    show_default=True,
)
@click.option(
    "--out",
    type=click.File("w", encoding="utf-8", lazy=True),
    default="-",
    help="A file.  [default: standard output]",
)
def export(session: str, format_: str, out: IO[str]) -> None:
    """Write the captions of a session as a file, from what the topics hold of it now."""
    from streams import access, rights
    from streams.events import Topics
    from streams.export import render
    from streams.history import History, read_history

    settings = settings_or_exit()
    topics = Topics.of(settings.topic_prefix)

    async def read() -> History:
        brokers = brokers_of(settings)
        await access.check(brokers, rights.of_reader(topics))
        return await read_history(brokers, topics, session)

    with told_errors():
        history = asyncio.run(read())
    if not history.results:
        raise click.ClickException(f"{topics.recognition} holds nothing of session {session!r}")
    if not history.ended:
        click.echo(f"session {session} has not ended: captions may follow", err=True)
    if history.left_out:
        click.echo(f"{history.left_out} results are left out: too many for one file", err=True)
    out.write(render(history.results, format_))


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["txt", "vtt", "srt", "json"]),
    default="txt",
    show_default=True,
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder for a file of each.  [default: standard output]",
)
@click.option(
    "--vocabulary",
    type=click.File(encoding="utf-8"),
    help="Names and codes that may be said, one a line; about the first 20 help.",
)
def transcribe(
    files: tuple[Path, ...], format_: str, out: Path | None, vocabulary: IO[str] | None
) -> None:
    """Write down what is said in audio files, without Kafka."""
    from streams.transcribe import file_of, write_transcripts

    settings = settings_or_exit()
    if out and len({file_of(file, format_, out) for file in files}) < len(files):
        raise click.BadParameter("two files of one name", param_hint="FILES")
    try:
        if out:
            out.mkdir(parents=True, exist_ok=True)
        with told_errors():
            words = [line.strip() for line in vocabulary or () if line.strip()]
            failed = asyncio.run(write_transcripts(settings, files, format_, out, words))
    except OSError as error:
        raise click.ClickException(f"cannot write {error.filename}: {error.strerror}") from error
    sys.exit(bool(failed))


@main.group(name="eval")
def evaluate() -> None:
    """Measure on recordings whose contents are known."""


@evaluate.command(name="captions")
@click.argument(
    "manifest", metavar="MANIFEST.tsv", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many clips.")
@click.option("--language", help="Of the clips; auto: all that the model knows.")
@click.option("--model", help="Whisper weights, as a URI.")
def eval_captions(
    manifest: Path, as_json: bool, limit: int | None, language: str | None, model: str | None
) -> None:
    """Play recorded clips live on a clock that skips idle time: errors, delays, corrections."""
    from streams import eval_captions as evaluation

    chosen = {"language": language, "speech_model": model}
    settings = settings_or_exit(**{name: value for name, value in chosen.items() if value})
    with told_errors():
        figures = evaluation.evaluate_manifest(settings, manifest, limit)
    if as_json:
        click.echo(json.dumps(figures))
    else:
        evaluation.print_figures(figures, Console(highlight=False))


@main.command()
@folder_of_call("The call to play.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo-results.json"), show_default=True
)
@click.option("--headless", is_flag=True, help="Without the page.")
def demo(folder: Path, out: Path, headless: bool) -> None:
    """Start Kafka, a worker and the page, play a call, show what comes, and measure it.

    In a terminal the page stays open afterwards, until Ctrl-C.
    """
    from streams.demo import run_demo

    with told_errors():
        console = Console(highlight=False)
        port = None if headless else gateway_settings().port
        sys.exit(run_demo(settings_or_exit(), folder, out, console, port))


evaluate.add_command(matching)
evaluate.add_command(sentiment)
main.add_command(train)
main.add_command(deadletters)
main.add_command(search)
main.add_command(match)
main.add_command(report)
main.add_command(gateway)
main.add_command(keys)
main.add_command(topics)
main.add_command(load)


@main.command()
@click.option(
    "--scenario",
    "names",
    type=click.Choice([*SCENARIOS, "all"]),
    multiple=True,
    default=["all"],
    show_default=True,
    help="What happens meanwhile; may be given more than once.",
)
@click.option("--sessions", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the calls and the faults.")
@click.option(
    "--seconds-per-session", type=click.FloatRange(5, 60), default=24.0, show_default=True
)
@patience_of_results(240.0, least=1)
@folder_of_call("The call to cut short calls from.")
@click.option("--keep", is_flag=True, help="Keep the logs, under .run/, of what passed too.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list, an entry for each scenario.")
def prove(
    *,
    names: tuple[str, ...],
    sessions: int,
    seed: int,
    seconds_per_session: float,
    patience: float,
    folder: Path,
    keep: bool,
    as_json: bool,
) -> None:
    """Kill, freeze and starve workers and brokers: are the final results still the same?"""
    from streams import replay as replaying
    from streams.proving import run as proving
    from streams.proving.report import print_rows

    chosen = [name for name in SCENARIOS if name in names or "all" in names]
    order = proving.Order(chosen, sessions, seconds_per_session, seed, patience, keep)
    with told_errors():
        rows = proving.prove(
            order, replaying.load([folder]), lambda line: click.echo(line, err=True)
        )
    if rows is None:
        click.echo("stopped; everything that was started has been ended", err=True)
        sys.exit(130)
    if as_json:
        click.echo(json.dumps([each.figures for each in rows]))
    else:
        print_rows(rows, Console(highlight=False))
    sys.exit(not all(each.passed for each in rows))


if __name__ == "__main__":
    main()
