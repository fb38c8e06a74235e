"""kcat, a client that knows nothing of Tenor, writes what we read and reads what we write."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.consumer import fetcher
from aiokafka.structs import ConsumerRecord

from streams.clock import now_ms
from streams.codec import decode, encode, format_time
from streams.connection import Connection
from streams.events import CodecError, Event, EventType
from streams.messages import TextMessage, text_message
from streams.records import LenientRecords

KCAT = shutil.which("kcat") or ""
pytestmark = pytest.mark.skipif(not KCAT, reason="kcat is not on the PATH (apt install kcat)")

HEADERS = {
    "ce_specversion": "1.0",
    "ce_id": "m-1",
    "ce_source": "/kcat",
    "ce_type": "tenor.text.message.v1",
    "ce_time": "2026-01-31T14:00:00.25+02:00",
    "content-type": "text/plain",
}


def kcat(*arguments: str) -> str:
    command = [KCAT, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


async def new_topic(brokers: Connection) -> str:
    name = f"kcat-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(**brokers.options())
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()
    return name


async def written(
    brokers: Connection, topic: str, value: Path, headers: dict[str, str]
) -> ConsumerRecord:
    """The record that kcat makes of a file and headers, with key call-1."""
    options = [option for name, text in headers.items() for option in ("-H", f"{name}={text}")]
    arguments = ("-P", "-b", str(brokers), "-t", topic, "-k", "call-1", *options, str(value))
    await asyncio.to_thread(kcat, *arguments)
    return await first(brokers, topic)


async def first(brokers: Connection, topic: str) -> ConsumerRecord:
    consumer = AIOKafkaConsumer(topic, **brokers.options(), auto_offset_reset="earliest")
    await consumer.start()
    try:
        return await asyncio.wait_for(consumer.getone(), 60)
    finally:
        await consumer.stop()


async def test_six_headers_make_an_event(kafka: Connection, tmp_path: Path) -> None:
    file = tmp_path / "message.txt"
    file.write_text("grüß dich", encoding="utf-8")
    record = await written(kafka, await new_topic(kafka), file, HEADERS)
    event = decode(record.key, record.value, record.headers, now=now_ms())
    assert (event.session, event.id, event.source) == ("call-1", "m-1", "/kcat")
    assert format_time(event.time) == "2026-01-31T12:00:00.250Z"
    assert text_message(event) == TextMessage("grüß dich")


async def test_media_arrive_byte_for_byte(kafka: Connection, tmp_path: Path) -> None:
    file = tmp_path / "chunk.raw"
    file.write_bytes(bytes(range(256)) * 250)
    headers = HEADERS | {
        "ce_type": "tenor.audio.chunk.v1",
        "content-type": "audio/L16;rate=16000",
        "ce_channel": "customer",
        "ce_sequence": "3",
    }
    record = await written(kafka, await new_topic(kafka), file, headers)
    event = decode(record.key, record.value, record.headers, now=now_ms())
    assert (event.channel, event.sequence) == ("customer", 3)
    assert event.data == file.read_bytes()


async def test_a_forgotten_header_is_named(kafka: Connection, tmp_path: Path) -> None:
    file = tmp_path / "message.txt"
    file.write_text("hello")
    headers = {name: text for name, text in HEADERS.items() if name != "ce_time"}
    record = await written(kafka, await new_topic(kafka), file, headers)
    with pytest.raises(CodecError, match="ce_time") as caught:
        decode(record.key, record.value, record.headers, now=now_ms())
    assert caught.value.reason == "missing-header"


async def test_kcat_reads_what_we_write(kafka: Connection) -> None:
    topic = await new_topic(kafka)
    event = Event(
        type=EventType.TEXT_MESSAGE,
        id="m-2",
        source="/tenor",
        session="call-ö",
        time=1_769_860_800_250,
        sequence=12,
        content_type="text/plain",
        data="schönen Tag".encode(),
    )
    key, value, headers = encode(event)
    async with AIOKafkaProducer(**kafka.options()) as producer:
        await producer.send_and_wait(topic, value, key=key, headers=headers)
    shown = await asyncio.to_thread(
        kcat, "-C", "-b", str(kafka), "-t", topic, "-e", "-q", "-o", "beginning", "-f", "%k|%s|%h"
    )
    shown_key, shown_value, shown_headers = shown.split("|")
    assert (shown_key, shown_value) == ("call-ö", "schönen Tag")
    assert dict(pair.split("=", 1) for pair in shown_headers.split(",")) == {
        "ce_specversion": "1.0",
        "ce_id": "m-2",
        "ce_source": "/tenor",
        "ce_type": "tenor.text.message.v1",
        "ce_time": "2026-01-31T12:00:00.250Z",
        "ce_subject": "call-ö",
        "ce_partitionkey": "call-ö",
        "ce_sequence": "00000000000000000012",
        "content-type": "text/plain",
    }


async def test_a_header_name_that_is_not_utf8_stops_no_consumer(
    kafka: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await new_topic(kafka)
    wrong = [os.fsencode(part) for part in (KCAT, "-P", "-b", str(kafka), "-t", topic, "-H")]
    command = [*wrong, b"\xff\xfe=1"]
    await asyncio.to_thread(subprocess.run, command, input=b"poison\n", check=True, timeout=60)
    monkeypatch.setattr(fetcher, "MemoryRecords", LenientRecords)
    record = await first(kafka, topic)
    assert record.value == b"poison"
    assert record.headers == ((r"\xff\xfe", b"1"),)
