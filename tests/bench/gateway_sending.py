"""What a gateway adds to the way of audio into Kafka.

    python -m tests.bench.gateway_sending --sessions 50

A private Kafka and `tenor gateway` as a process. Two ways in turn, `--rounds` times each: chunks of
100 ms of so many sessions, in real time, by a WebSocket each, and the same by a producer as workers
have it. Each chunk begins with the time at which it was sent; a consumer sees when it has come. The
added time is the difference of the percentiles of the two ways. Prints JSON; times in ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from streams import codec, records
from streams.broker import Broker
from streams.clock import now_ms
from streams.connection import Connection
from streams.delivery import producer
from streams.events import Event, EventType, Topics
from streams.processes import GatewayProcess
from tests.harness import eventually

TOPICS: Final = Topics.of("bench.")
CHUNK_S: Final = 0.1
CHUNK_BYTES: Final = 3200
STAMP: Final = struct.Struct("<d")
SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
Send = Callable[[int, bytes], Awaitable[Any]]


@dataclass
class Arrivals:
    """How long each chunk took, in ms."""

    brokers: Connection
    took: list[float] = field(default_factory=list)

    async def consume(self) -> None:
        async with records.reader(self.brokers, TOPICS.audio) as consumer:
            async for record in consumer:
                now = time.perf_counter()
                if record.value:
                    (sent,) = STAMP.unpack_from(record.value)
                    self.took.append((now - sent) * 1000)


async def play(sessions: int, seconds: float, send: Send) -> None:
    """Chunks of all sessions in real time, which are spread over the 100 ms."""
    begun = time.perf_counter()

    async def one(session: int) -> None:
        for number in range(round(seconds / CHUNK_S)):
            at = begun + (number + session / sessions) * CHUNK_S
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            await send(session, STAMP.pack(time.perf_counter()) + bytes(CHUNK_BYTES - STAMP.size))

    await asyncio.gather(*(one(each) for each in range(sessions)))


async def through_gateway(port: int, sessions: int, seconds: float) -> None:
    name, sockets = now_ms(), []

    async def listen(socket: ClientConnection) -> None:
        async for _ in socket:
            pass

    for each in range(sessions):
        path = f"/v1/sessions/{name}-{each}/audio?channel=customer"
        sockets.append(await connect(f"ws://127.0.0.1:{port}{path}", compression=None))
    listening = [asyncio.create_task(listen(each)) for each in sockets]
    await play(sessions, seconds, lambda session, data: sockets[session].send(data))
    for socket in sockets:
        await socket.close()
    await asyncio.gather(*listening)


async def straight(brokers: Connection, sessions: int, seconds: float) -> None:
    sender, name, counts = producer(brokers), now_ms(), [0] * sessions
    await sender.start()

    async def send(session: int, data: bytes) -> None:
        number, counts[session] = counts[session], counts[session] + 1
        event = Event(
            EventType.AUDIO_CHUNK,
            f"{name}-{session}-{number}",
            "bench",
            f"{name}-{session}",
            now_ms(),
            channel="customer",
            sequence=number,
            content_type="audio/L16;rate=16000",
            data=data,
        )
        key, value, headers = codec.encode(event)
        await sender.send(TOPICS.audio, value, key, headers=headers)

    try:
        await play(sessions, seconds, send)
    finally:
        await sender.stop()


async def measure(
    brokers: Connection, port: int, sessions: int, seconds: float, rounds: int
) -> dict[str, Any]:
    arrivals = Arrivals(brokers)
    consuming = asyncio.create_task(arrivals.consume())
    took: dict[str, list[float]] = {"straight": [], "gateway": []}
    count = sessions * round(seconds / CHUNK_S)

    async def timed(way: str, playing: Awaitable[None]) -> None:
        arrivals.took.clear()
        await playing
        await eventually(lambda: len(arrivals.took) >= count)
        took[way] += arrivals.took

    await straight(brokers, sessions, 1.0)  # connections and caches are warm afterwards
    await through_gateway(port, sessions, 1.0)
    await eventually(lambda: len(arrivals.took) >= 2 * sessions * round(1.0 / CHUNK_S))
    for _ in range(rounds):
        await timed("straight", straight(brokers, sessions, seconds))
        await timed("gateway", through_gateway(port, sessions, seconds))
    consuming.cancel()
    figures = {way: percentiles(times) for way, times in took.items()}
    added = {n: round(figures["gateway"][n] - figures["straight"][n], 2) for n in SHARES}
    return {"chunks": len(took["gateway"]), **figures, "added": added}


def percentiles(times: list[float]) -> dict[str, float]:
    ranked = sorted(times)
    return {name: round(ranked[int(share * len(ranked))], 2) for name, share in SHARES.items()}


@contextmanager
def running(brokers: str, folder: Path) -> Iterator[GatewayProcess]:
    """A gateway on the topics of benches."""
    settings = {"TENOR_BROKERS": brokers, "TENOR_TOPIC_PREFIX": "bench."}
    with GatewayProcess.start(folder / "gateway.log", settings).running() as process:
        yield process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Broker(Path(folder) / "kafka") as broker,
        running(broker.bootstrap, Path(folder)) as gateway,
    ):
        brokers = Connection(broker.bootstrap)
        made = measure(brokers, gateway.serving, asked.sessions, asked.seconds, asked.rounds)
        sys.stdout.write(json.dumps(asyncio.run(made)) + "\n")


if __name__ == "__main__":
    main()
