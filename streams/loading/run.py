"""`tenor load` from Kafka to the figures: one load, or the search for the largest that holds."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from streams.broker import Broker
from streams.connection import Connection
from streams.loading.machine import cpu_model
from streams.loading.playing import Order, Place, Tell, play
from streams.loading.search import confirmed, most_held
from streams.proving.report import machine
from streams.replay import Script
from streams.settings import Settings

RUN: Final = Path(".run")
SETTINGS: Final = (
    *("speech_model", "device", "threads", "decoders", "decoder_batch", "partial_ms"),
    *("window", "window_ms", "lateness_ms", "partitions"),
)
"""Those that decide how many calls hold."""


@contextmanager
def place(settings: Settings, *, private: bool, keep: bool, tell: Tell) -> Iterator[Place]:
    """Where loads are played: the Kafka of the settings, or a private one, of which only the logs
    are left, and these only if something failed, unless all of it shall be kept."""
    folder = (RUN / f"load-{os.getpid()}").absolute()
    if not private:
        yield Place(Connection.of(settings), settings, {}, folder)
        return
    tell("starting a private Apache Kafka ..")
    try:
        with Broker(folder / "kafka") as kafka:
            yield Place(Connection(kafka.bootstrap), settings, kafka.environment, folder, kafka)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        if not keep:
            shutil.rmtree(folder / "kafka", ignore_errors=True)
        if folder.exists():
            tell(f"logs are in {folder}")


def measure(order: Order, at: Place, script: Script, tell: Tell, *, find: bool) -> dict[str, Any]:
    """The figures of a load, or of the largest one that holds the objective.

    Raises:
        LoadError, BrokerError, ProcessError, KafkaError: nothing could be measured.
    """
    runs: list[dict[str, Any]] = []

    def holds(sessions: int) -> bool:
        tell(f"{sessions} calls for {order.seconds / 60:g} min ..")
        runs.append(asyncio.run(play(order, sessions, at, script, tell)))
        held, why = runs[-1]["held"], "; ".join(runs[-1]["why_not"])
        tell(f"{sessions} calls: {'held' if held else f'not held: {why}'}")
        return bool(held)

    most = None
    if find:
        most = confirmed(holds, most_held(holds, order.sessions))
    else:
        holds(order.sessions)
    *probes, last = runs
    return {
        "machine": machine(),
        "cpu": cpu_model(),
        "settings": at.settings.model_dump(include=set(SETTINGS)),
        "workers": order.workers,
        "private_kafka": at.kafka is not None,
        "seed": order.seed,
        "objective_p95_s": {
            "final": order.objective.final_s,
            "sentiment": order.objective.sentiment_s,
        },
        "arrival": "Kafka's stamp of the result",
        "most": most,
        "probes": [
            {name: run[name] for name in ("sessions", "held", "void", "why_not")} for run in probes
        ],
        "run": last,
    }
