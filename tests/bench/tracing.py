"""What tracing costs a record: CPU of its way through an agent and out, in µs, as JSON.

    python -m tests.bench.tracing

A chat message is decoded, taken, and leaves as one record; Kafka and the models are left out.
`off`: no collector is named; `unsampled`, `sampled`: one is, by the flag of the record's trace.
Spans are batched by the SDK as in a worker, and their export is thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any, Final, cast

from aiokafka.structs import RecordMetadata, TopicPartition
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from streams import codec, tracing
from streams.agents.base import Agent, Means, Session
from streams.agents.sparse import Outgoing, SparseSession
from streams.checkpoints import State
from streams.clock import now_ms
from streams.delivery import KafkaOutbox, Record
from streams.events import Event, EventType, Topics
from streams.metrics import Metrics
from streams.settings import Settings

RECORDS: Final = 5000
ROUNDS: Final = 5
TRACE: Final = f"00-{1:032x}-{1:016x}-0"
MODES: Final = {"off": "1", "unsampled": "0", "sampled": "1"}


class Echo(SparseSession):
    """Answers with one record."""

    async def answer(self, event: Event) -> Outgoing:
        return [("features", Event(event.type, event.id, "/bench", event.session, event.time))]


class EchoAgent(Agent):
    """Of such sessions."""

    name = "text"
    inputs = ("text",)

    def open(self, partition: int, session: str, state: State | None) -> Session:
        return Echo(self, "text", session)


class Confirming:
    """A producer that confirms at once."""

    async def send(self, topic: str, *_: object, **__: object) -> asyncio.Future[Any]:
        sent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        sent.set_result(RecordMetadata(topic, 0, TopicPartition(topic, 0), 0, 0, 0, 0))
        return sent


class Discarding(SpanExporter):
    """Where spans end."""

    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


async def _cpu_us(flag: str) -> float:
    """Of one record."""
    metrics, topics = Metrics(), Topics.of()
    outbox = KafkaOutbox(cast(Any, Confirming()), topics, metrics, now_ms)
    agent = EchoAgent(Means(Settings(), outbox, cast(Any, None), metrics, print))
    event = Event(EventType.TEXT_MESSAGE, "id", "/bench", "s", now_ms(), data=b"Hello.")
    traced = {"content_type": "text/plain", "traceparent": TRACE + flag}
    key, value, headers = codec.encode(Event(**_fields(event) | traced))
    done, all_done = 0, asyncio.Event()

    def acknowledge() -> None:
        nonlocal done
        done += 1
        if done == RECORDS - 1:  # the last one waits for the next
            all_done.set()

    began = time.process_time()
    for offset in range(RECORDS):
        record = Record("text", 0, offset, key, value, tuple(headers), acknowledge)
        await agent.handle(record)
    await all_done.wait()
    seconds = time.process_time() - began
    await agent.close()
    return seconds / RECORDS * 1e6


def _fields(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__dataclass_fields__}


@contextlib.contextmanager
def _mode(name: str) -> Iterator[None]:
    if name == "off":
        yield
        return
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Discarding(), max_queue_size=4 * RECORDS))
    with tracing.installed(provider):
        yield
    provider.shutdown()


def main() -> None:
    """Takes the modes in turns, so that what else the machine does meets them all."""
    found: dict[str, list[float]] = {name: [] for name in MODES}
    for _ in range(ROUNDS):
        for name, flag in MODES.items():
            with _mode(name):
                found[name].append(asyncio.run(_cpu_us(flag)))
    print(json.dumps({name: round(statistics.median(each), 1) for name, each in found.items()}))


if __name__ == "__main__":
    main()
