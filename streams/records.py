"""Reads Kafka records: up to an end, and such whose header names are not UTF-8, at which aiokafka
stops for good.

Any client can write such a record, and a consumer that cannot get past it stops its partition. A
batch is parsed by the fast reader of aiokafka (0.14); one that it cannot read is parsed once more
by its Python reader, with names in which each wrong byte is written as an escape.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy


async def read_to(
    consumer: AIOKafkaConsumer, place: TopicPartition, end: int, most: int | None = None
) -> AsyncIterator[Sequence[ConsumerRecord]]:
    """What lies between the consumer's position and `end`, in batches of `most` at most; the last
    one may go beyond."""
    while await consumer.position(place) < end:
        found = await consumer.getmany(place, timeout_ms=500, max_records=most)
        if batch := found.get(place):
            yield batch


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
    """A batch of the fast reader, and its bytes for the other one."""

    def __init__(self, batch: Any, raw: bytes) -> None:  # noqa: ANN401  (one of four classes)
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except UnicodeDecodeError:
            lenient = _DefaultRecordBatchPy(self._raw)
            lenient._maybe_uncompress()
            lenient._buffer = _Escaping(lenient._buffer)
            return iter(list(lenient))


class _Escaping(bytearray):
    """Bytes that any text can be decoded from."""

    def __getitem__(self, place: Any) -> Any:  # noqa: ANN401  (an index or a slice)
        part = super().__getitem__(place)
        return _Escaping(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")
