"""Spans on their way to a collector, over OTLP, as OpenTelemetry's own variables `OTEL_*` say.

They leave in batches from a thread of their own. A collector that is away costs nothing but spans,
and is told of once. OpenTelemetry is imported only where a collector is named (docs/tracing.md).
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from streams import tracing
from streams.errors import UserError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = logging.getLogger("tenor.otlp")

FLUSH_S: Final = 5.0
"""How long the last spans may take when a process ends."""
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN: Final = "http/protobuf"
REPEATING: Final = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal")
"""Loggers that tell of every batch that fails, where `Watched` tells once."""


@contextmanager
def exported(service: str) -> Iterator[None]:
    """For the block, spans go to the collector that the environment names, if it names one; at the
    end the last ones have `FLUSH_S` to leave. Raises UserError where it names one wrongly."""
    if not configured(os.environ):
        yield
        return
    try:
        provider = _provider(service)
    except ValueError as error:
        raise UserError(f"a variable OTEL_.. cannot be used: {error}") from None
    try:
        with tracing.installed(provider):
            yield
    finally:  # a thread that Python does not wait for, whatever the collector does
        flushing = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
        flushing.start()
        flushing.join(FLUSH_S)


def configured(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's variables ask for traces that can be sent."""
    off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if off or environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return False
    if not any(environment.get(each) for each in ENDPOINTS):
        return False
    protocol = next(filter(None, map(environment.get, PROTOCOLS)), SPOKEN)
    if protocol != SPOKEN:
        log.warning("no traces: OTEL_EXPORTER_OTLP_PROTOCOL must be %s, or not be set", SPOKEN)
    return protocol == SPOKEN


class Watched:
    """An exporter that tells when the collector goes away, and when it is back: once each."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._works = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        works = result.name == "SUCCESS"
        if works is not self._works:
            now = "takes traces again" if works else "takes no traces: they are lost until it does"
            log.warning("the collector %s", now)
        self._works = works
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _provider(service: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    for name in REPEATING:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    own = {
        "service.name": service,
        "service.version": version("tenor"),
        "service.instance.id": str(uuid.uuid4()),
    }
    given = OTELResourceDetector().detect()
    provider = TracerProvider(resource=Resource.create(own).merge(given), shutdown_on_exit=False)
    watched: Any = Watched(OTLPSpanExporter())  # has what is called of an exporter
    provider.add_span_processor(BatchSpanProcessor(watched))
    return provider
