"""`tenor deadletters`: what could not be used, looked at and sent back once the cause is mended."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Final, TypeVar

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from streams import codec
from streams.cli_common import brokers_of, settings_or_exit, told_errors
from streams.clock import now_ms
from streams.deadletters import Letter, Selection
from streams.events import CodecError, Topics
from streams.inspection import header_text, printable, value_lines

if TYPE_CHECKING:
    from streams.connection import Connection
    from streams.letters import Found, LetterBox, Tally

# ruff: noqa: PLC0415 - each command imports what it needs, so that `tenor --help` answers at once

Command = TypeVar("Command", bound=Callable[..., object])

UNITS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class SinceType(click.ParamType):
    """A time in RFC 3339, or a span before now; as ms since the epoch."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):  # the default
            return value
        try:
            return since(str(value), now_ms())
        except CodecError:
            self.fail(f"{value!r} is neither a span such as 10m, 2h, 3d nor RFC 3339", param, ctx)


class IdType(click.ParamType):
    """PARTITION:OFFSET, as a pair."""

    name = "id"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if (match := re.fullmatch(r"([0-9]{1,9}):([0-9]{1,18})", str(value))) is None:
            self.fail(f"{value!r} is not PARTITION:OFFSET, as `list` shows it", param, ctx)
        return int(match[1]), int(match[2])


def since(text: str, now: int) -> int:
    """A span before now, or a time in RFC 3339, in ms. Raises CodecError."""
    if span := re.fullmatch(r"([0-9]{1,9})([smhd])", text):
        return max(0, now - int(span[1]) * UNITS[span[2]])
    return codec.parse_time(text)


def selecting(command: Command) -> Command:
    """Adds the options that choose among dead letters."""
    for option in (
        click.option("--session", help="Only of this one."),
        click.option(
            "--since", "after", type=SinceType(), default=0, help="Such as 2h, or a time."
        ),
        click.option("--reason", help="Only with this one."),
    ):
        command = option(command)
    return command


@click.group()
def deadletters() -> None:
    """What could not be used: look at it, and send it back once the cause is mended."""


@deadletters.command(name="list")
@selecting
@click.option("--all", "every", is_flag=True, help="Also those that were sent back.")
@click.option("--json", "as_lines", is_flag=True, help="A line of JSON for each.")
def list_(reason: str | None, after: int, session: str | None, every: bool, as_lines: bool) -> None:
    """Show the dead letters that wait, a line for each, and how many there are of each reason."""
    selection = Selection(reason, after, session)

    async def run(box: LetterBox, _: Connection) -> None:
        counts = Counter[str]()
        async for found in box.letters(selection):
            if every or not found.replayed:
                click.echo(json.dumps(as_json(found)) if as_lines else line(found))
                counts[found.letter.error.reason] += 1
        if not counts:
            click.echo(f"{box.topic} holds no such dead letter", err=True)
        elif not as_lines:
            show_counts(counts, Console(highlight=False))

    with_letters(run)


@deadletters.command()
@click.argument("letter_id", metavar="ID", type=IdType())
@click.option(
    "--value", "file", type=click.File("wb", lazy=True), help="A file for the value, as received."
)
def show(letter_id: tuple[int, int], file: IO[bytes] | None) -> None:
    """Show all of one dead letter. Its value may hold what was said or written."""

    async def run(box: LetterBox, _: Connection) -> None:
        found = await box.letter(*letter_id)
        if found is None:
            raise click.ClickException(f"{box.topic} holds no dead letter {named(letter_id)}")
        if file is not None:
            file.write(found.letter.value or b"")
        for each in details(found, with_value=file is None):
            click.echo(each)

    with_letters(run)


@deadletters.command()
@selecting
@click.option("--id", "ids", type=IdType(), multiple=True, help="Only this one; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def replay(
    *,
    reason: str | None,
    after: int,
    session: str | None,
    ids: tuple[tuple[int, int], ...],
    dry_run: bool,
    yes: bool,
) -> None:
    """Send dead letters back to where they came from, each once, however often this is run."""
    from streams import letters

    selection = Selection(reason, after, session, frozenset(ids))

    async def run(box: LetterBox, brokers: Connection) -> None:
        tally = await letters.plan(box, selection, tell_obstacle)
        if tally.sent and not dry_run:
            if selection == Selection() and not yes:
                confirm(box.topic, tally.sent)
            progress = Progress(tally.sent.total())
            tally = await letters.replay(box, brokers, selection, progress.show)
        report(tally, "would be sent back" if dry_run else "sent back")
        if tally.obstructed or tally.missing:
            sys.exit(1)

    with_letters(run, settle=not dry_run)


def with_letters(
    run: Callable[[LetterBox, Connection], Awaitable[None]], *, settle: bool = False
) -> None:
    """Opens the dead letters of the settings; what goes wrong ends the program with one line."""
    from streams import access, rights
    from streams.letters import opened

    settings = settings_or_exit()
    topics = Topics.of(settings.topic_prefix)

    async def work() -> None:
        brokers = brokers_of(settings)
        reading = rights.of_reader(topics, ("deadletters",))
        await access.check(brokers, rights.of_keeper(topics) if settle else reading)
        async with opened(brokers, topics, settle=settle) as box:
            await run(box, brokers)

    with told_errors():
        asyncio.run(work())


def confirm(topic: str, counts: Counter[str]) -> None:
    """Asks before all of them are sent back; where nobody can answer, it has to be said before."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"this is all of {topic}: choose some, or say --yes")
    show_counts(counts, Console(stderr=True, highlight=False))
    click.confirm("Send them all back?", abort=True, err=True)


def tell_obstacle(letter: Letter, why: str) -> None:
    click.echo(f"{letter.id} cannot be sent back: {printable(why)}", err=True)


def report(tally: Tally, what: str) -> None:
    """What was done on standard output, and what was left on the other."""
    reasons = ", ".join(f"{printable(name)} {count}" for name, count in tally.sent.most_common())
    click.echo(f"{tally.sent.total()} {what}" + (f": {reasons}" if reasons else ""))
    if tally.replayed:
        click.echo(f"{tally.replayed} were sent back before", err=True)
    if tally.late:
        message = f"{tally.late} stay: late, as they would be again (--reason late sends them)"
        click.echo(message, err=True)
    for each in sorted(tally.missing):
        click.echo(f"{named(each)} is no dead letter, or not one that is meant", err=True)


class Progress:
    """Tells a terminal how far a long replay is."""

    def __init__(self, count: int) -> None:
        self._count = count

    def show(self, done: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done >= self._count else ""
            click.echo(f"\r{done} of {self._count}{end}", nl=False, err=True)


def named(letter_id: tuple[int, int]) -> str:
    """PARTITION:OFFSET"""
    return f"{letter_id[0]}:{letter_id[1]}"


def line(found: Found) -> str:
    """A dead letter on one line."""
    letter, error = found.letter, found.letter.error
    marks = [f"sent back {letter.tries}x before"] if letter.tries else []
    marks += ["sent back"] if found.replayed else []
    columns = [
        f"{letter.id:<10}",
        codec.format_time(letter.timestamp),
        f"{error.reason:<20}",
        f"{letter.session or '-':<20}",
        letter.type or "-",
        f"{error.topic}/{error.partition}/{error.offset}",
        f"{letter.size} B",
        error.message,
        *(f"[{mark}]" for mark in marks),
    ]
    return printable("  ".join(columns))


def as_json(found: Found) -> dict[str, object]:
    """The same for machines."""
    letter = found.letter
    return {
        "id": letter.id,
        "time": codec.format_time(letter.timestamp),
        "session": letter.session,
        "type": letter.type,
        "size": letter.size,
        **asdict(letter.error),
        "tries": letter.tries,
        "replayed": found.replayed,
    }


def details(found: Found, *, with_value: bool) -> Iterator[str]:
    """All of a dead letter, a line each."""
    letter, error = found.letter, found.letter.error
    described = {
        "id": letter.id,
        "written": codec.format_time(letter.timestamp),
        "reason": error.reason,
        "message": error.message,
        "from": f"{error.topic}, partition {error.partition}, offset {error.offset}",
        "whole": f"no: {error.cut}" if error.cut else "yes",
        "sent back": f"{letter.tries} times before; {'again since' if found.replayed else 'waits'}",
        "key": header_text(letter.key),
    }
    yield from (f"{name:<10} {printable(text)}" for name, text in described.items())
    yield "headers"
    yield from (f"  {printable(name)}: {header_text(raw)}" for name, raw in letter.headers)
    yield f"value      {len(letter.value or b'')} bytes"
    if with_value:
        yield from (f"  {each}" for each in value_lines(letter.value))


def show_counts(counts: Counter[str], console: Console) -> None:
    """A table of reasons."""
    table = Table("reason", Column("letters", justify="right"), show_footer=True)
    for reason, count in counts.most_common():
        table.add_row(Text(printable(reason)), str(count))
    table.columns[0].footer, table.columns[1].footer = "all", str(counts.total())
    console.print(table)
