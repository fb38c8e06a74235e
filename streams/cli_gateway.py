"""The commands `tenor gateway` and `tenor keys`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import ValidationError

from streams.cli_common import brokers_of, settings_or_exit, told_errors
from streams.logs import log_to_stderr

if TYPE_CHECKING:
    from streams.gateway.settings import GatewaySettings

# ruff: noqa: PLC0415 - each command imports what it needs, so that `tenor --help` answers at once

SCOPES = ("ingest", "read", "admin")


@click.command()
@click.option("--host", help="Address to listen on.  [default: TENOR_GATEWAY_HOST, or 127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="0: any free one.  [default: TENOR_GATEWAY_PORT, or 8080]",
)
def gateway(host: str | None, port: int | None) -> None:
    """Serve the page, and HTTP and WebSockets for events and results, until Ctrl-C."""
    chosen = {"host": host, "port": port}
    own = gateway_settings(**{name: each for name, each in chosen.items() if each is not None})
    settings = settings_or_exit()
    log_to_stderr(settings.log_level)
    brokers = brokers_of(settings)
    from streams.gateway.server import GatewayServer
    from streams.otlp import exported

    with told_errors(), exported("tenor-gateway"):
        asyncio.run(GatewayServer(settings, own, brokers).run())


@click.group()
def keys() -> None:
    """Who may use the gateway: API keys, in the file TENOR_GATEWAY_KEYS_FILE."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    default=["ingest", "read"],
    show_default=True,
    help="What it may do; may be given more than once.",
)
@click.option("--namespace", default="", help="What its sessions begin with.  [default: anything]")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Instead of the setting.")
def add(name: str, scopes: tuple[str, ...], namespace: str, path: Path | None) -> None:
    """Make a key for NAME and show it, this once."""
    from streams.gateway import keys as ring

    caller = ring.Caller(name, frozenset(ring.Scope(each) for each in scopes), namespace)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    with told_errors():
        key = ring.add(_file(path), caller, created)
    click.echo(key)
    click.echo(
        f"key {name}: keep it; it is not shown again, only its hash is in the file", err=True
    )


@keys.command(name="list")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Instead of the setting.")
def list_(path: Path | None) -> None:
    """Show who has a key, a line each: name, scopes, namespace, when it was made."""
    from streams.gateway import keys as ring

    with told_errors():
        held = ring.load(_file(path))
    for key in sorted(held.values(), key=lambda each: each.caller.name):
        scopes = ",".join(sorted(key.caller.scopes))
        click.echo("\t".join([key.caller.name, scopes, key.caller.namespace or "*", key.created]))


@keys.command()
@click.argument("name")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Instead of the setting.")
def revoke(name: str, path: Path | None) -> None:
    """Take the key of NAME away; gateways refuse it a second later."""
    from streams.gateway import keys as ring

    with told_errors():
        ring.revoke(_file(path), name)
    click.echo(f"key {name} does not count any more", err=True)


def gateway_settings(**chosen: str | int) -> GatewaySettings:
    """The settings, of which some are `chosen`; a wrong one ends the program with its name."""
    from streams.gateway.settings import GatewaySettings

    try:
        return GatewaySettings(**chosen)  # type: ignore[arg-type]  # pydantic checks
    except ValidationError as error:
        wrong = "; ".join(
            f"TENOR_GATEWAY_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()
        )
        raise click.ClickException(wrong) from None


def _file(path: Path | None) -> Path:
    if path is None:
        named = gateway_settings().keys_file
        if not named:
            raise click.ClickException(
                "no file of keys is named: set TENOR_GATEWAY_KEYS_FILE, or give --file"
            )
        path = Path(named)
    return path
