"""What Tenor exports to Prometheus, and the small web server that shows it.

Names follow the Prometheus conventions (base units, `_total`); no label ever names a session.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Final

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.parser import text_string_to_metric_families

from models.gpu import Gpu
from streams.health import Vitals
from streams.results import RESULTS, CaptionFinal, Gap, Result, Silence

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_LONG = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64)
INPUTS: Final = ("audio", "text", "images", "features")
"""Topics whose events agents take."""
NEVER_CAME: Final = "no-audio"
"""The reason of a gap that no audio came for."""
GAPS: Final = (NEVER_CAME, "no-speech", "repetition", "recognition-failed", "detection-failed")
_COVERS: Final = {CaptionFinal: "caption", Silence: "silence"}


class ProcessMetrics:
    """What every process shows, in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series for nothing
        self.registry = CollectorRegistry()
        self.loop_lag = Histogram(
            "tenor_event_loop_lag_seconds",
            "How late the event loop runs",
            buckets=_SHORT,
            registry=self.registry,
        )
        self.ready = Gauge(
            "tenor_ready", "1 while work can be done, as /readyz says", registry=self.registry
        )
        build = Info("tenor_build", "Which version this is", registry=self.registry)
        build.info({"version": version("tenor")})
        ProcessCollector(registry=self.registry)

    async def watch_event_loop(
        self, every_s: float = 0.1, woke: Callable[[float, float], None] = lambda now, late_s: None
    ) -> None:
        """Measures, until cancelled, how much later than asked the event loop wakes us; `woke` is
        told the time (s, monotonic) and that."""
        while True:
            asked = time.monotonic() + every_s
            await asyncio.sleep(every_s)
            late_s = max(0.0, time.monotonic() - asked)
            self.loop_lag.observe(late_s)
            woke(asked + late_s, late_s)


class Metrics(ProcessMetrics):
    """All metrics of a worker."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
        self.events = Counter(
            "tenor_events",
            "Events taken from a topic, by what came of them",
            ["topic", "outcome"],
            registry=registry,
        )
        for topic in INPUTS:  # from 0 on: Prometheus sees no increase to a series' first value
            for outcome in ("taken", "deadletter"):
                self.events.labels(topic, outcome)
        self.results = Counter(
            "tenor_results",
            "Results delivered, without provisional ones of windows",
            ["type"],
            registry=registry,
        )
        self.stage = Histogram(
            "tenor_stage_seconds", "Time in one stage", ["stage"], buckets=_SHORT, registry=registry
        )
        self.batch_size = Histogram(
            "tenor_batch_size",
            "Items in a model call",
            ["model"],
            buckets=_SIZES,
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "tenor_batch_seconds",
            "Duration of a model call",
            ["model"],
            buckets=_SHORT,
            registry=registry,
        )
        self.queue_wait = Histogram(
            "tenor_queue_wait_seconds",
            "Wait for a model",
            ["model"],
            buckets=_SHORT,
            registry=registry,
        )
        self.degradation = Gauge(
            "tenor_captions_degradation",
            "What overload has done to captions: 0 nothing, 1 fewer partials, 2 finals only",
            registry=registry,
        )
        self.partials_skipped = Counter(
            "tenor_partials_skipped",
            "Partial captions that were asked for and not decoded",
            ["reason"],
            registry=registry,
        )
        self.end_to_end = Histogram(
            "tenor_end_to_end_seconds",
            "From the end of what a result is about, in event time, to its delivery",
            ["type"],
            buckets=_LONG,
            registry=registry,
        )
        for type_ in RESULTS:
            self.results.labels(type_)
            self.end_to_end.labels(type_)
        self.audio_taken = Counter(
            "tenor_audio_taken_seconds", "Audio of channels that was heard", registry=registry
        )
        self.audio_lost = Counter(
            "tenor_audio_lost_seconds", "Audio of channels that never came", registry=registry
        )
        self.audio_done = Counter(
            "tenor_audio_done_seconds",
            "Audio, heard or lost, by what covers it: caption, silence, or why there is a gap",
            ["outcome"],
            registry=registry,
        )
        for outcome in ("caption", "silence", *GAPS):
            self.audio_done.labels(outcome)
        self.late = Counter(
            "tenor_late_events", "Features that missed their window", registry=registry
        )
        self.dead_letters = Counter(
            "tenor_dead_letters", "Dead letters", ["reason"], registry=registry
        )
        self.unmatched = Counter(
            "tenor_unmatched_features",
            "Features that were not compared with others",
            ["reason"],
            registry=registry,
        )
        self.sessions = Gauge(
            "tenor_open_sessions", "Sessions in memory", ["agent"], registry=registry
        )
        self.windows = Gauge(
            "tenor_open_windows", "Windows that wait to be closed", registry=registry
        )
        self.lag = Gauge(
            "tenor_consumer_lag_events",
            "Events of a topic that an agent has not yet done",
            ["topic", "agent"],
            registry=registry,
        )
        self.lag_seconds = Gauge(
            "tenor_consumer_lag_seconds",
            "Age of the oldest event of a topic that an agent has read and not yet done",
            ["topic", "agent"],
            registry=registry,
        )
        self.model_load = Gauge(
            "tenor_model_load_seconds", "Load time", ["model"], registry=registry
        )
        self.gpu_memory_used = Gauge(
            "tenor_gpu_memory_used_bytes",
            "Memory of a GPU that is taken, by whomever",
            ["gpu"],
            registry=registry,
        )
        self.gpu_memory = Gauge(
            "tenor_gpu_memory_bytes", "Memory of a GPU", ["gpu"], registry=registry
        )
        self.gpu_busy = Gauge(
            "tenor_gpu_busy_ratio",
            "Share of the last moments in which a GPU worked, for whomever",
            ["gpu"],
            registry=registry,
        )
        self.model_errors = Counter(
            "tenor_model_errors", "Model calls that raised", ["model"], registry=registry
        )
        self.model_stalled = Gauge(
            "tenor_model_stalled_seconds",
            "Age of the oldest model call under way, 0 if none is older than a second",
            ["model"],
            registry=registry,
        )

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Observes how long the block takes."""
        started = time.perf_counter()
        yield
        self.stage.labels(stage).observe(time.perf_counter() - started)

    def observe_batch(
        self, model: str, batch: Sequence[object], waits: Sequence[float], seconds: float
    ) -> None:
        """The `Observer` of the batchers."""
        self.batch_size.labels(model).observe(len(batch))
        self.batch_seconds.labels(model).observe(seconds)
        for wait in waits:
            self.queue_wait.labels(model).observe(wait)

    def observe_audio(self, said: Result, lost_ms: int) -> None:
        """A stretch of a channel is covered by `said`; of a speech or silence, so much was lost."""
        assert isinstance(said, CaptionFinal | Silence | Gap)  # noqa: S101  (nothing else covers)
        seconds = (said.end - said.start) / 1000
        outcome = said.reason if isinstance(said, Gap) else _COVERS[type(said)]
        self.audio_done.labels(outcome).inc(seconds)
        self.audio_lost.inc(seconds if outcome == NEVER_CAME else lost_ms / 1000)

    def observe_failure(self, model: str) -> None:
        """A model call raised."""
        self.model_errors.labels(model).inc()

    def watch_model(self, vitals: Vitals) -> None:
        """From now on, whoever looks sees how this model does."""
        shown = self.model_stalled.labels(vitals.model)
        shown.set_function(lambda: vitals.stalled_s(time.monotonic()))
        self.model_errors.labels(vitals.model)

    def watch_gpu(self, gpu: Gpu) -> None:
        """From now on, whoever looks sees how full and how busy it is."""
        self.gpu_memory_used.labels(gpu.name).set_function(gpu.used_bytes)
        self.gpu_memory.labels(gpu.name).set(gpu.bytes)
        self.gpu_busy.labels(gpu.name).set_function(gpu.busy)


def read_metrics(exported: str) -> dict[str, float]:
    """The values of Prometheus' text format, by `name/label value/..`, labels by their names."""
    return {
        "/".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(exported)
        for sample in family.samples
    }


async def serve(
    metrics: ProcessMetrics, host: str, port: int, not_ready: Callable[[], str]
) -> tuple[web.AppRunner, int]:
    """Serves /metrics, /livez and /readyz; returns the runner, to be cleaned up, and the port.

    `not_ready` says why no work can be done now, or nothing.
    """
    metrics.ready.set_function(lambda: float(not not_ready()))

    async def show_metrics(_: web.Request) -> web.Response:
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        why = not_ready()
        return web.Response(text=f"{why or 'ok'}\n", status=503 if why else 200)

    app = web.Application()
    app.router.add_get("/metrics", show_metrics)
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    return runner, runner.addresses[0][1]
