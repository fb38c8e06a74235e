"""Takes what comes of a load, while it comes.

A result arrives when Kafka stamps it (the topics are stamped by the broker), so that how quick this
reader is does not matter; the clocks of the brokers and of this machine must agree.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from streams import codec, records
from streams.clock import now_ms
from streams.connection import Connection
from streams.deadletters import error_of
from streams.events import CodecError, Topics
from streams.loading.accounts import Accounts
from streams.loading.latencies import Latencies
from streams.results import result_of


@asynccontextmanager
async def listening(brokers: Connection, topics: Topics) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that misses nothing from now on."""
    names = (topics.recognition, topics.sentiment, topics.deadletters)
    async with records.reader(brokers, *names, auto_offset_reset="latest") as consumer:
        for place in consumer.assignment():
            await consumer.position(place)
        yield consumer


async def read(
    consumer: AIOKafkaConsumer,
    topics: Topics,
    accounts: Accounts,
    latencies: Latencies,
    complete: asyncio.Event,
) -> None:
    """Reads without end; it is complete when every session is summed up."""
    while True:
        if not accounts.unfinished:
            complete.set()
        for batch in (await consumer.getmany(timeout_ms=500)).values():
            for record in batch:
                if (record.key or b"").decode(errors="replace") in accounts.calls:
                    _take(record, topics, accounts, latencies)


def _take(record: ConsumerRecord, topics: Topics, accounts: Accounts, latencies: Latencies) -> None:
    try:
        if record.topic == topics.deadletters:
            accounts.letters[error_of(record.headers).reason] += 1
            return
        event = codec.decode(record.key, record.value, record.headers, now=now_ms())
        result = result_of(event)
    except CodecError as error:
        accounts.letters[f"unreadable: {error.reason}"] += 1
        return
    accounts.add(event, result)
    latencies.add(event, result, record.timestamp)
