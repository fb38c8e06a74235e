"""Reads Kafka records: up to an end, and such that aiokafka could not get past.

Any client can write a record whose header names are not UTF-8, and a few kB that decompress to
many GB. A consumer that stops at them, or dies of them, does so again after every restart. So a
batch is decompressed here, up to a limit, and parsed by the fast reader of aiokafka (0.14); names
that are not UTF-8 are parsed once more by its Python reader, each wrong byte written as an escape.
What still cannot be read is one record of nothing, whose header says so: it becomes a dead letter.
"""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final

import cramjam
import numpy as np
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import (
    DefaultRecordBase,
    DefaultRecordBatch,
    _DefaultRecordBatchPy,
    _DefaultRecordPy,
)
from aiokafka.record.memory_records import _MemoryRecordsPy
from aiokafka.record.util import decode_varint_py

from streams.connection import Connection

LARGEST: Final = 64 * 2**20
"""Bytes of a batch once it is decompressed: three times the largest record that is accepted."""
UNREADABLE: Final = "tenor-unreadable-batch"
"""The header of the record that stands for a batch, or the rest of one, that cannot be read."""

_HEAD: Final = DefaultRecordBase.HEADER_STRUCT.size
_CODEC: Final = DefaultRecordBase.ATTRIBUTES_OFFSET + 1
"""The byte whose lowest three bits name the compression."""
_XERIAL: Final = b"\x82SNAPPY\0"
_XERIAL_HEAD: Final = 16


async def read_to(
    consumer: AIOKafkaConsumer, place: TopicPartition, end: int, most: int | None = None
) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """What lies between the consumer's position and `end`, in batches of `most` at most; the last
    one may go beyond."""
    while await consumer.position(place) < end:
        found = await consumer.getmany(place, timeout_ms=500, max_records=most)
        if batch := found.get(place):
            yield batch


@asynccontextmanager
async def reader(
    brokers: Connection,
    *topics: str,
    **options: Any,  # noqa: ANN401  (those of aiokafka)
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of no group, from the start of its topics unless the options say otherwise. Not by
    seeking there: aiokafka's own first reset may come later and win."""
    install()
    own = {"group_id": None, "enable_auto_commit": False, "auto_offset_reset": "earliest"}
    consumer = AIOKafkaConsumer(*topics, **{**brokers.options(), **own, **options})
    try:
        await consumer.start()  # who is cancelled here has connections to close, too
        yield consumer
    finally:
        await asyncio.shield(consumer.stop())


def install() -> None:
    """Makes every aiokafka consumer of this process read that way."""
    fetcher.MemoryRecords = LenientRecords


class LenientRecords:
    """Stands in for aiokafka's `MemoryRecords` in its fetcher."""

    def __init__(self, data: bytes) -> None:
        self._records: Any = _MemoryRecordsPy(data)

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def next_batch(self) -> _Batch:
        raw = bytes(self._records._next_slice or b"")
        return _Batch(self._records.next_batch(), raw)


class _Batch:
    """A batch of the fast reader, and its bytes."""

    def __init__(self, batch: Any, raw: bytes) -> None:  # noqa: ANN401  (one of four classes)
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._batch, name)

    def __next__(self) -> Any:  # noqa: ANN401  (so aiokafka reads the end of a transaction)
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        if self._batch.magic < 2:  # Kafka 4 neither takes nor gives these
            yield from self._batch
            return
        following = self._batch.base_offset
        try:
            for record in _records(_uncompressed(self._raw, self._batch.compression_type)):
                following = record.offset + 1
                yield record
        except Exception as error:  # four decompressors, two parsers, and any bytes
            yield self._unreadable(min(following, self._batch.next_offset - 1), error)

    def _unreadable(self, offset: int, error: Exception) -> _DefaultRecordPy:
        size, count = len(self._raw), _count(self._raw)
        what = f"{size} bytes said to hold {count} records: {type(error).__name__}"
        headers: list[tuple[str, bytes | None]] = [(UNREADABLE, what.encode())]
        batch = self._batch
        return _DefaultRecordPy(
            offset, batch.max_timestamp, batch.timestamp_type, None, None, headers
        )


def _records(plain: bytes) -> Iterator[Any]:
    """The records of a batch without compression."""
    done = 0
    try:
        for record in DefaultRecordBatch(plain):
            done += 1
            yield record
    except UnicodeDecodeError:
        yield from islice(_lenient(plain), done, None)


def _lenient(plain: bytes) -> Iterator[_DefaultRecordPy]:
    """The same by the Python reader. Its own way to read numbers is in C, and trusts lengths: one
    that points beyond the batch ends the process."""
    reader = _DefaultRecordBatchPy(plain)
    reader._buffer = _Escaping(reader._buffer)
    for _ in range(_count(plain)):
        yield reader._read_msg(decode_varint_py)


def _count(batch: bytes) -> int:
    """How many records a batch says that it holds."""
    return int.from_bytes(batch[_HEAD - 4 : _HEAD])


def _uncompressed(raw: bytes, codec: int) -> bytes:
    """The batch as it would be without compression, but for its checksum, which was checked."""
    if codec == DefaultRecordBase.CODEC_NONE:
        return raw
    head = bytearray(raw[:_HEAD])
    head[_CODEC] &= ~DefaultRecordBase.CODEC_MASK
    return bytes(head) + _payload(raw[_HEAD:], codec)


def _payload(data: bytes, codec: int) -> bytes:
    """Decompresses `LARGEST` bytes at most, and raises one of many errors if there are more."""
    match codec:
        case DefaultRecordBase.CODEC_GZIP:
            payload = gzip.GzipFile(fileobj=io.BytesIO(data)).read(LARGEST + 1)
            if len(payload) > LARGEST:
                raise ValueError("too large")
            return payload
        case DefaultRecordBase.CODEC_SNAPPY:
            return _snappy(data)
        case DefaultRecordBase.CODEC_LZ4:
            return _into(cramjam.lz4.decompress_into, data)
        case DefaultRecordBase.CODEC_ZSTD:
            return _into(cramjam.zstd.decompress_into, data)
    raise ValueError("no known compression")


def _into(decompress: Any, data: bytes) -> bytes:  # noqa: ANN401  (of an untyped module)
    room = np.empty(LARGEST, np.uint8)  # of which memory is only what is written to
    return room[: decompress(data, room)].tobytes()


def _snappy(data: bytes) -> bytes:
    blocks = list(_blocks(data))
    if sum(map(cramjam.snappy.decompress_raw_len, blocks)) > LARGEST:
        raise ValueError("too large")
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _blocks(data: bytes) -> Iterator[bytes]:
    """The blocks of the framing of snappy-java, which Kafka's own clients use, or the only one."""
    if not data.startswith(_XERIAL):
        yield data
        return
    place = _XERIAL_HEAD
    while place < len(data):
        size = int.from_bytes(data[place : place + 4])
        yield data[place + 4 : place + 4 + size]
        place += 4 + size


class _Escaping(bytearray):
    """Bytes that any text can be decoded from."""

    def __getitem__(self, place: Any) -> Any:  # noqa: ANN401  (an index or a slice)
        part = super().__getitem__(place)
        return _Escaping(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")
