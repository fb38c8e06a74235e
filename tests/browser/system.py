"""A gateway of its own on a real Kafka, for the page's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.clock import now_ms
from streams.connection import Connection
from streams.events import Topics
from streams.processes import GatewayProcess
from tests.harness import Installation


@dataclass
class System:
    """An installation and its gateway, which may be ended and started again at the same address."""

    tenor: Installation
    gateway: GatewayProcess

    @property
    def url(self) -> str:
        return self.gateway.url

    async def start(self) -> None:
        """Starts it anew."""
        old = self.gateway
        self.gateway = GatewayProcess.start(old.log, self.tenor.settings, port=old.serving)
        await asyncio.to_thread(self.gateway.ready)

    async def kill(self) -> None:
        """As a crash would."""
        await asyncio.to_thread(self.gateway.kill)


@asynccontextmanager
async def system(kafka: Connection, folder: Path) -> AsyncIterator[System]:
    """Topics of their own, and a gateway that is ready."""
    prefix = f"page{now_ms()}."
    tenor = Installation(kafka, Topics.of(prefix), prefix, folder)
    await tenor.make_topics()
    made = System(tenor, GatewayProcess.start(folder / "gateway.log", tenor.settings))
    try:
        await asyncio.to_thread(made.gateway.ready)
        yield made
    finally:
        tenor.stop()
        await made.kill()
