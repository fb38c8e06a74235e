"""Traces: which record led to which, through all topics, as spans of OpenTelemetry.

What is being worked on is known by its W3C `traceparent`, a text (`here`), and that is all that
passes through the code and the topics. Where no collector is configured (`streams.otlp`), or the
trace was not sampled where it began, that text is passed on and nothing else is done, nor is
OpenTelemetry imported. No span says what was said, by whom, or in which session.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Literal

from streams.events import Event

if TYPE_CHECKING:
    from opentelemetry import trace as otel

LINKS: Final = 16
"""Other traces that a span names, at most."""
MINUTE_MS: Final = 60_000
ODD: Final = frozenset("13579bdf")

Attributes = Mapping[str, str | int | float | bool]
Kind = Literal["INTERNAL", "PRODUCER", "CONSUMER"]

_here: ContextVar[str] = ContextVar("traceparent", default="")
_tracer: Tracer | None = None


def here() -> str:
    """The `traceparent` of what is being worked on, '' if there is none."""
    return _here.get()


@contextmanager
def within(traceparent: str) -> Iterator[None]:
    """Everything in the block, and tasks that it starts, is part of this trace."""
    token = _here.set(traceparent)
    try:
        yield
    finally:
        _here.reset(token)


class Span:
    """Something that is being done. Where it is not recorded, only its parent is passed on."""

    __slots__ = ("_recorded", "traceparent")

    def __init__(self, traceparent: str, recorded: otel.Span | None = None) -> None:
        self.traceparent = traceparent
        self._recorded = recorded

    def note(self, attributes: Attributes) -> None:
        """Adds attributes that were not known at its beginning."""
        if self._recorded:
            self._recorded.set_attributes(attributes)

    def fail(self, what: str) -> None:
        """It went wrong: a reason or the name of an error, never its text, which may quote."""
        if self._recorded and _tracer:
            _tracer.fail(self._recorded, what)

    def end(self, at: int | None = None) -> None:
        """It is over, now or at `at` (ns since the epoch)."""
        if self._recorded:
            self._recorded.end(at)

    def landed(self, sent: asyncio.Future[Any]) -> None:
        """Ends the span of a record that was sent: Kafka says where it is, or did not take it."""
        if sent.cancelled():
            self.fail("cancelled")
        elif error := sent.exception():
            self.fail(type(error).__name__)
        elif self._recorded:
            self.note(_place(sent.result().partition, sent.result().offset))
        self.end()


def begin(
    name: str,
    kind: Kind = "INTERNAL",
    *,
    parent: str | None = None,
    links: Iterable[str] = (),
    attributes: Attributes | None = None,
    start: int | None = None,
) -> Span:
    """A span that somebody will `end`; its parent is what is being worked on, or is given: ''
    begins a trace. `links` are other traces that led to it; repetitions and its own are left out.
    """
    parent = here() if parent is None else parent
    if _tracer is None or not _recorded(parent):
        return Span(parent)
    recorded = _tracer.start(
        name,
        kind,
        parent,
        links=_others(parent, links),
        attributes=attributes,
        start=start,
    )
    return Span(_traceparent(recorded.get_span_context()), recorded)


@contextmanager
def span(
    name: str,
    kind: Kind = "INTERNAL",
    *,
    parent: str | None = None,
    links: Iterable[str] = (),
    attributes: Attributes | None = None,
) -> Iterator[Span]:
    """`begin`, for the block; what is done in it is part of it."""
    opened = begin(name, kind, parent=parent, links=links, attributes=attributes)
    token = _here.set(opened.traceparent)
    try:
        yield opened
    except BaseException as error:
        opened.fail(type(error).__name__)
        raise
    finally:
        _here.reset(token)
        opened.end()


def processing(
    event: Event, topic: str, partition: int, offset: int, group: str
) -> AbstractContextManager[Span]:
    """The span in which a consumer group takes an event, which was read at this place."""
    parent, about = event.traceparent, None
    if _recorded(parent):
        about = _messaging("process", topic) | _place(partition, offset)
        about["messaging.consumer.group.name"] = group
    return span(f"process {topic}", "CONSUMER", parent=parent, attributes=about)


def sending(topic: str, parent: str | None = None) -> Span:
    """The span of a record that is sent to a topic, by its full name."""
    parent = here() if parent is None else parent
    about = _messaging("send", topic) if _recorded(parent) else None
    return begin(f"send {topic}", "PRODUCER", parent=parent, attributes=about)


def publish(topic: str, event: Event) -> tuple[Event, Span]:
    """An event as it goes on a topic, by its full name, and the span that ends when the record has
    `landed`. The trace is the event's own, or of what is being worked on."""
    record = sending(topic, event.traceparent or here())
    if record.traceparent == event.traceparent:
        return event, record
    return replace(event, traceparent=record.traceparent), record


def called(model: str, traceparents: Sequence[str], waits: Sequence[float], seconds: float) -> None:
    """A model has just answered a batch of these traces' items, each of which waited (s) before."""
    if _tracer is None:
        return
    end = time.time_ns()
    for traceparent, wait in zip(traceparents, waits, strict=True):
        if traceparent:
            about = {"tenor.batch.size": len(waits), "tenor.queue.wait_ms": round(1000 * wait, 3)}
            start = end - round(seconds * 1e9)
            begin(f"model {model}", parent=traceparent, attributes=about, start=start).end(end)


class Course:
    """The traces of a stream: the one that it came with, or some of its own: each minute begins a
    new one, linked to the one before, since who looks at a trace looks at all of it."""

    def __init__(self, given: str) -> None:
        self._given = given
        self._own = ""
        self._minute = -1

    def at(self, ms: int) -> str:
        """The trace for what lies so far into the stream, '' where none is begun."""
        if self._given or _tracer is None:
            return self._given
        if ms // MINUTE_MS != self._minute:
            self._minute = ms // MINUTE_MS
            opened = begin("stream", parent="", links=[self._own])
            opened.end()
            self._own = opened.traceparent
        return self._own


def _recorded(parent: str) -> bool:
    """Whether a span with this parent may be recorded."""
    return _tracer is not None and (not parent or sampled(parent))


def sampled(traceparent: str) -> bool:
    """Whether its spans are recorded, as was decided where the trace began."""
    return traceparent[-1:] in ODD


@contextmanager
def installed(provider: otel.TracerProvider) -> Iterator[None]:
    """For the block, spans are made with this provider."""
    global _tracer  # noqa: PLW0603  (one for the process, as loggers are)
    before, _tracer = _tracer, Tracer(provider)
    try:
        yield
    finally:
        _tracer = before


class Tracer:
    """OpenTelemetry's, with parents and links as texts."""

    def __init__(self, provider: otel.TracerProvider) -> None:
        from opentelemetry import context, trace  # noqa: PLC0415

        self._otel = trace
        self._nothing = context.Context()
        self._tracer = provider.get_tracer("tenor", version("tenor"))

    def start(
        self,
        name: str,
        kind: Kind,
        parent: str,
        *,
        links: Iterable[str],
        attributes: Attributes | None,
        start: int | None,
    ) -> otel.Span:
        trace, context = self._otel, self._nothing
        if parent:
            remote = trace.NonRecordingSpan(self._context(parent))
            context = trace.set_span_in_context(remote, context)
        return self._tracer.start_span(
            name,
            context,
            trace.SpanKind[kind],
            attributes,
            [trace.Link(self._context(each)) for each in links],
            start,
        )

    def fail(self, recorded: otel.Span, what: str) -> None:
        recorded.set_attribute("error.type", what)
        recorded.set_status(self._otel.StatusCode.ERROR)

    def _context(self, traceparent: str) -> otel.SpanContext:
        _, trace_id, span_id, flags = traceparent.split("-")
        return self._otel.SpanContext(
            int(trace_id, 16),
            int(span_id, 16),
            is_remote=True,
            trace_flags=self._otel.TraceFlags(int(flags, 16)),
        )


def _others(parent: str, links: Iterable[str]) -> list[str]:
    """One link for each other trace, the first `LINKS` of them."""
    found: dict[str, str] = {}
    for each in filter(None, links):
        found.setdefault(_trace_id(each), each)
    found.pop(_trace_id(parent), None)
    return [*found.values()][:LINKS]


def _trace_id(traceparent: str) -> str:
    return traceparent[3:35]


def _traceparent(context: otel.SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _messaging(operation: str, topic: str) -> dict[str, str | int]:
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


def _place(partition: int, offset: int) -> dict[str, str | int]:
    return {
        "messaging.destination.partition.id": str(partition),
        "messaging.kafka.offset": offset,
    }
