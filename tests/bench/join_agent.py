"""The hop of `join_hops.py` as it is in Tenor: a worker with the join agent, features of the real
codec, the fusion model, checkpoints. Its speed is read from Kafka's time stamps of its results.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from models import registry
from models.base import Encoder
from models.fusion import FusionModel
from streams import codec
from streams.agents import signals
from streams.connection import Connection
from streams.delivery import producer
from streams.events import Event, EventType, Topics
from streams.features import Feature, Modality
from streams.metrics import read_metrics
from streams.processes import WorkerProcess
from streams.records import read_to
from streams.settings import Settings
from streams.watermark import INPUTS
from streams.windows import Ended, Item, Progress, Rules, SessionWindows
from streams.windows import Event as Step
from tests.bench.join_load import BEGIN_MS, TURN, call_event, round_robin
from tests.harness import Installation

PATIENCE_S: Final = 60.0
Encoders = dict[str, Encoder]


class AgentError(Exception):
    """The worker did not do its work; the message names its log."""


def encoders() -> Encoders:
    """Those that the fusion model was trained on, by modality."""
    return dict(FusionModel.load(registry.resolve(Settings().fusion_model)).encoders)


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls side by side: so many turns and to the end of the last, then all inputs end."""

    sessions: int
    turns: int

    def steps(self) -> Iterator[tuple[int, Step]]:
        """What the windows see, with the session."""
        visits = self.turns * TURN
        yield from round_robin(self.sessions, 0, self.sessions * visits)
        for session in range(self.sessions):
            # To the end of the turn: words that are announced and never come hold a session open.
            for index in range(visits + session % TURN, visits + TURN):
                yield session, call_event(session, index)
            for number, input_ in enumerate(sorted(INPUTS)):
                yield session, Ended(visits + TURN + number, input_)

    def events(self, trained: Encoders) -> list[Event]:
        """What the topic holds."""
        random = np.random.default_rng(0)
        vectors = {
            name: random.standard_normal(each.dimension).astype(np.float32)
            for name, each in trained.items()
        }
        return [self._event(f"call-{n:04}", step, trained, vectors) for n, step in self.steps()]

    def truth(self) -> tuple[int, int, int]:
        """Windows that close, and the events and features that come after the first one has."""
        windows = [SessionWindows(Rules()) for _ in range(self.sessions)]
        closed = events = features = 0
        for session, step in self.steps():
            events += bool(closed)
            features += bool(closed) and isinstance(step, Item)
            closed += len(windows[session].step(step).closed)
        return closed, events, features

    def _event(self, session: str, step: Step, trained: Encoders, vectors: dict[str, Any]) -> Event:
        match step:
            case Item():
                return _feature(session, step, trained, vectors).to_event(source="bench")
            case Progress():
                input_, _, channel = step.source.partition("/")
                return signals.progress(session, step.time, input_=input_, channel=channel)
            case Ended():
                end = BEGIN_MS + (self.turns + 1) * 5000
                return signals.ended(session, end, input_=step.input)
        raise TypeError(step)


def _feature(session: str, item: Item, trained: Encoders, vectors: dict[str, Any]) -> Feature:
    modality = Modality.VOICE if item.expects else Modality.TEXT
    kind = "utterance" if item.expects else "caption" if item.evidence else "message"
    encoder = trained[modality]
    return Feature(
        session=session,
        channel=item.source.partition("/")[2],
        modality=modality,
        start=max(0, item.end - 1000),
        end=item.end,
        encoder=encoder.id,
        revision=encoder.revision,
        vector=vectors[modality],
        evidence=item.evidence or item.id,
        expects=item.expects,
        kind=kind,
    )


async def run(
    brokers: Connection, folder: Path, name: str, calls: Calls, *, early_ms: int, core: int | None
) -> dict[str, float]:
    """One run of a worker that finds all of the calls on the topic; `early_ms` is its setting.

    Raises:
        AgentError: it said next to nothing.
    """
    prefix = f"{name}."
    topics = Topics.of(prefix)
    await _make(brokers, topics)
    await _fill(brokers, topics.features, calls.events(encoders()))
    place = Installation(brokers, topics, prefix, folder)
    worker = place.start_worker(["join"], TENOR_EARLY_MS=str(early_ms))
    if core is not None:
        os.sched_setaffinity(worker.process.pid, {core})
    try:
        model_s = await _until_done(worker, calls.sessions)
    finally:
        worker.stop()
    stamps = await _stamps(brokers, topics.sentiment)
    if len(stamps) < 2:
        raise AgentError(f"the join agent said nothing; see {worker.log}")
    windows, events, features = calls.truth()
    wall = (max(stamps) - min(stamps)) / 1000
    return {
        "windows": len(stamps),
        "missing": windows - len(stamps),
        "events_per_s": events / wall,
        "features_per_s": features / wall,
        "fusion_share": model_s / wall,
    }


async def _make(brokers: Connection, topics: Topics) -> None:
    stamped = {"message.timestamp.type": "LogAppendTime"}
    admin = AIOKafkaAdminClient(**brokers.options())
    await admin.start()
    await admin.create_topics(
        [NewTopic(each, 1, 1, topic_configs=stamped) for each in asdict(topics).values()]
    )
    await admin.close()


async def _fill(brokers: Connection, topic: str, events: Sequence[Event]) -> None:
    sender = producer(brokers)
    await sender.start()
    for event in events:
        key, value, headers = codec.encode(event)
        sent = await sender.send(topic, value, key, headers=headers)
    await sent
    await sender.stop()


async def _until_done(worker: WorkerProcess, sessions: int) -> float:
    """Waits for the last session's result; the seconds that the fusion model took."""
    await asyncio.to_thread(worker.ready)
    deadline = time.monotonic() + PATIENCE_S
    ended, busy = f"tenor_results_total/{EventType.SENTIMENT_SESSION}", "fusion"
    metrics: dict[str, float] = {}
    while time.monotonic() < deadline and metrics.get(ended, 0) < sessions:
        await asyncio.sleep(0.5)
        with suppress(OSError):  # it has one core, and much to do
            metrics = read_metrics(await asyncio.to_thread(worker.get, "metrics"))
    return metrics.get(f"tenor_batch_seconds_sum/{busy}", 0.0)


async def _stamps(brokers: Connection, topic: str) -> list[int]:
    """When the results about whole windows were written (ms)."""
    place = TopicPartition(topic, 0)
    reader = AIOKafkaConsumer(**brokers.options(), group_id=None, auto_offset_reset="earliest")
    await reader.start()
    try:
        reader.assign([place])
        end = (await reader.end_offsets([place]))[place]
        return [
            record.timestamp
            async for batch in read_to(reader, place, end)
            for record in batch
            if _whole(record)
        ]
    finally:
        await reader.stop()


def _whole(record: ConsumerRecord) -> bool:
    """Whether it is the final result of a window, of all channels."""
    headers = dict(record.headers)
    of_window = headers["ce_type"].decode() == EventType.SENTIMENT_WINDOW
    return of_window and "ce_channel" not in headers and bool(json.loads(record.value)["final"])
