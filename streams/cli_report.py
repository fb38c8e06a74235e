"""`tenor report`: a session for afterwards, as one file that can be read, printed and kept."""

from __future__ import annotations

import asyncio
from typing import IO, TYPE_CHECKING

import click

from streams.cli_common import brokers_of, settings_or_exit, told_errors

if TYPE_CHECKING:
    from streams.history import SessionLog

# ruff: noqa: PLC0415 - imported when needed, so that `tenor --help` answers at once


@click.command()
@click.option("--session", required=True, help="Its id.")
@click.option(
    "--out",
    type=click.File("w", encoding="utf-8", lazy=True),
    default="-",
    help="A file.  [default: standard output]",
)
def report(session: str, out: IO[str]) -> None:
    """Write a session as a page: transcript, figures, pictures, and what each score rests on."""
    from streams import access, rights
    from streams.events import Topics
    from streams.history import read_session
    from streams.session_report import html

    settings = settings_or_exit()
    topics = Topics.of(settings.topic_prefix)

    async def read() -> SessionLog:
        brokers = brokers_of(settings)
        await access.check(brokers, rights.of_reporter(topics))
        return await read_session(brokers, topics, session)

    with told_errors():
        log = asyncio.run(read())
    if not log.results:
        raise click.ClickException(
            f"{topics.recognition} and {topics.sentiment} hold nothing of session {session!r}"
        )
    if not log.ended:
        click.echo(f"session {session} has not ended: more may follow", err=True)
    out.write(html(log.results, log.texts, log.pictures, left_out=log.left_out))
