"""Whole recordings: decoded once to see that they can be, and once more to be sent.

What is wrong with a file may be at its end, and half of it in the log would be of no use. A file is
sent as fast as Kafka takes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Final

from streams.gateway.decoding import Limits, decode_file
from streams.gateway.gate import Lease
from streams.gateway.ingest import Ingest, problem_of
from streams.gateway.lines import Line
from streams.gateway.problems import Problem
from streams.gateway.resuming import PCM
from streams.media import MediaError

BATCH: Final = 64 * 1024
"""Bytes of a channel that are decoded at a time."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of one of `decoding.DEMUXERS`, and the names of its channels."""

    file: IO[bytes]
    kind: str
    channels: Sequence[str]
    limits: Limits

    def pieces(self, lease: Lease) -> Iterator[list[bytes]]:
        """Its samples of each channel, some seconds at a time. Raises MediaError, and Problem as
        soon as the lease is over: it is a thread that decodes, which nobody else could stop."""
        self.file.seek(0)
        held: list[list[bytes]] = []
        size = 0
        for samples in decode_file(self.file, self.kind, len(self.channels), self.limits):
            if lease.why:
                raise lease.why
            held.append(samples)
            size += len(samples[0])
            if size >= BATCH:
                yield _joined(held)
                held, size = [], 0
        if held:
            yield _joined(held)

    def measure(self, lease: Lease) -> int:
        """How long it is (ms), all of it being decodable. Raises as `pieces`."""
        size = sum(len(samples[0]) for samples in self.pieces(lease))
        return size * 1000 // (PCM.rate * PCM.width)


async def send(
    recording: Recording, ingest: Ingest, lease: Lease, start: int | None = None
) -> tuple[int, list[Line]]:
    """How long it is (ms), and its lines, from event time `start` (ms) on; all is confirmed.

    Raises:
        Problem: it cannot be decoded, and nothing was sent; or Kafka does not confirm, or the lease
            is over, and the rest was not sent.
    """
    async with ingest.files.turn(lease):
        length = await _measured(recording, ingest, lease)
        return length, await _send(recording, ingest, lease, start)


async def _measured(recording: Recording, ingest: Ingest, lease: Lease) -> int:
    try:
        with ingest.metrics.decode_seconds.labels("file").time():
            return await asyncio.to_thread(recording.measure, lease)
    except MediaError as error:
        raise problem_of(error) from None


async def _send(
    recording: Recording, ingest: Ingest, lease: Lease, start: int | None
) -> list[Line]:
    start = ingest.begin(lease.session, recording.channels) if start is None else start
    lines = [ingest.line(lease.session, name, start) for name in recording.channels]
    try:
        pieces = recording.pieces(lease)
        while samples := await asyncio.to_thread(next, pieces, None):
            for line, part in zip(lines, samples, strict=True):
                await line.write(part)
        for line in lines:
            await line.close()
    except Problem as problem:
        detail = f"{problem.detail}; give start={start}, so that it is the same audio"
        raise Problem(problem.kind, detail, retry_after_s=problem.retry_after_s) from None
    return lines


def _joined(held: Sequence[Sequence[bytes]]) -> list[bytes]:
    return [b"".join(parts) for parts in zip(*held, strict=True)]
