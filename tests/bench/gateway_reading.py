"""What a gateway costs who reads through it: memory of idle streams, time over Kafka itself.

    python -m tests.bench.gateway_reading --streams 50 --rate 300
    python -m tests.bench.gateway_reading --streams 500 --rate 0

A private Kafka, `tenor gateway` as a process, and in this process a producer of final captions, a
client with an event stream for each session, and a plain consumer of the same topic. The added time
is from when that consumer has a result to when the client has it; what this process takes is in it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from streams import codec, records
from streams.broker import Broker
from streams.connection import Connection
from streams.delivery import producer
from streams.events import Topics
from streams.results import CaptionFinal, Word, result_event
from tests.bench.gateway_sending import percentiles, running
from tests.harness import eventually

SETTLE_S = 20
START = 1_760_000_000_000
TOPICS = Topics.of("bench.")
REQUEST = "GET /v1/sessions/{}/results HTTP/1.1\r\nHost: localhost\r\n\r\n"
SAID = "Hello, I have been waiting for the red cup for three weeks."


@dataclass
class Readers:
    """When each result came, by its id (s): through the gateway, and from Kafka."""

    port: int
    brokers: Connection
    through: dict[str, float] = field(default_factory=dict)
    plain: dict[str, float] = field(default_factory=dict)
    begun: int = 0

    async def stream(self, session: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(REQUEST.format(session).encode())
        while line := await reader.readline():
            self.begun += line.startswith(b"retry:")
            if line.startswith(b"data: "):
                now = time.perf_counter()
                self.through[json.loads(line[6:])["id"]] = now

    async def consume(self) -> None:
        async with records.reader(self.brokers, TOPICS.recognition) as consumer:
            async for record in consumer:
                now = time.perf_counter()
                self.plain[dict(record.headers)["ce_id"].decode()] = now


def caption(session: str, number: int) -> CaptionFinal:
    start = START + number * 1000
    words = tuple(
        Word(text=text, start=start, end=start + 999, probability=0.9) for text in SAID.split()
    )
    of = {"session": session, "channel": "customer", "start": start, "end": start + 1000}
    model = {"language": "en", "model": "m", "no_speech_probability": 0.0}
    return CaptionFinal(**of, **model, text=SAID, words=words, revision=0)


async def write(brokers: Connection, sessions: int, rate: float, seconds: float) -> int:
    sender = producer(brokers)
    await sender.start()
    begun, count = time.perf_counter(), round(rate * seconds)
    try:
        for number in range(count):
            said = caption(f"s{number % sessions}", number // sessions)
            key, value, headers = codec.encode(result_event(said, source="bench"))
            await sender.send(TOPICS.recognition, value, key, headers=headers)
            await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
    finally:
        await sender.stop()
    return count


async def measure(
    gateway: psutil.Process, readers: Readers, streams: int, rate: float, seconds: float
) -> dict[str, float]:
    figures = {"memory_before_mb": gateway.memory_info().rss / 1e6}
    tasks = [asyncio.create_task(readers.stream(f"s{n}")) for n in range(streams)]
    tasks.append(asyncio.create_task(readers.consume()))
    await eventually(lambda: readers.begun == streams, 120)
    await asyncio.sleep(SETTLE_S)
    figures["memory_mb"] = gateway.memory_info().rss / 1e6
    before = sum(gateway.cpu_times()[:2])
    if not rate:
        await asyncio.sleep(seconds)
        figures["idle_cores"] = (sum(gateway.cpu_times()[:2]) - before) / seconds
    else:
        count = await write(readers.brokers, streams, rate, seconds)
        await eventually(lambda: min(len(readers.through), len(readers.plain)) == count, 120)
        figures["cores"] = (sum(gateway.cpu_times()[:2]) - before) / seconds
        added = [(at - readers.plain[id_]) * 1000 for id_, at in readers.through.items()]
        figures |= {f"added_{name}_ms": value for name, value in percentiles(added).items()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--rate", type=float, default=300.0, help="results a second; 0: idle")
    parser.add_argument("--seconds", type=float, default=25.0)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Broker(Path(folder)) as broker,
        running(broker.bootstrap, Path(folder)) as gateway,
    ):
        readers = Readers(gateway.serving, Connection(broker.bootstrap))
        figures = measure(
            psutil.Process(gateway.process.pid), readers, asked.streams, asked.rate, asked.seconds
        )
        sys.stdout.write(json.dumps(asyncio.run(figures)) + "\n")


if __name__ == "__main__":
    main()
