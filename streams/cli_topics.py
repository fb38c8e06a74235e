"""The command `tenor topics`."""

from __future__ import annotations

import asyncio

import click

from streams.cli_common import brokers_of, settings_or_exit, told_errors

# ruff: noqa: PLC0415 - imported when needed, so that `tenor --help` answers at once


@click.command()
def topics() -> None:
    """Make the topics that are missing, and show all with their numbers of partitions.

    Workers and gateways do it too, if they may. See TENOR_PARTITIONS and TENOR_REPLICATION.
    """
    from streams.topics import ensure_topics

    settings = settings_or_exit()
    brokers = brokers_of(settings)
    with told_errors():
        counts = asyncio.run(ensure_topics(brokers, settings))
    for name in sorted(counts):
        click.echo(f"{name}\t{counts[name]}")
