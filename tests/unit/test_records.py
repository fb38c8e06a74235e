"""A header name that is not UTF-8, written by another client, does not stop a consumer."""

from __future__ import annotations

import pytest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords

from streams.records import LenientRecords


class Wrong(str):
    """A header name that no Python client would write."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe"


def batch(*headers: tuple[str, bytes]) -> bytes:
    builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 65536)
    builder.append(0, 1000, b"key", b"before", [])
    builder.append(1, 1001, b"key", b"middle", list(headers))
    builder.append(2, 1002, None, None, [])
    return bytes(builder.build())


def test_a_wrong_name_is_escaped_and_nothing_else_changes() -> None:
    data = batch(("good", b"1"), (Wrong("x"), b"2"))
    with pytest.raises(UnicodeDecodeError):
        list(MemoryRecords(data).next_batch())
    records = LenientRecords(data)
    assert records.has_next()
    read = list(records.next_batch())
    assert not records.has_next()
    assert [(r.offset, r.key, r.value) for r in read] == [
        (0, b"key", b"before"),
        (1, b"key", b"middle"),
        (2, None, None),
    ]
    assert read[1].headers == [("good", b"1"), (r"\xff\xfe", b"2")]


def test_good_batches_are_read_as_ever() -> None:
    data = batch(("name", b"1"))
    lenient, plain = LenientRecords(data), MemoryRecords(data)
    assert lenient.size_in_bytes() == plain.size_in_bytes()
    ours, theirs = lenient.next_batch(), plain.next_batch()
    assert ours.next_offset == theirs.next_offset
    assert [(r.offset, r.value, r.headers) for r in ours] == [
        (r.offset, r.value, r.headers) for r in theirs
    ]
