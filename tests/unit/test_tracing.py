"""Traces are texts that are passed on; spans are made only of those that were sampled."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest
from aiokafka.structs import RecordMetadata, TopicPartition
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from streams import otlp, tracing
from streams.batching import Batcher
from streams.errors import UserError
from streams.events import Event, EventType

PARENT = f"00-{1:032x}-{1:016x}-01"
UNSAMPLED = f"00-{2:032x}-{1:016x}-00"
EVENT = Event(EventType.TEXT_MESSAGE, "id-1", "/test", "my-call", 1, traceparent=PARENT)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What is exported."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with tracing.installed(provider):
        yield exporter


def test_without_a_collector_a_trace_is_passed_on_and_none_begins() -> None:
    with tracing.span("work", parent=PARENT) as span:
        assert span.traceparent == tracing.here() == PARENT
        assert tracing.publish("tenor.text", EVENT)[0] is EVENT
    assert tracing.here() == ""
    assert tracing.Course("").at(0) == ""


def test_without_a_collector_opentelemetry_is_not_imported() -> None:
    code = """if True:
        import sys
        from streams import otlp, tracing
        with otlp.exported("test"), tracing.span("work"):
            print([name for name in sys.modules if name.startswith("opentelemetry")])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_child_is_of_the_trace_of_its_parent(spans: InMemorySpanExporter) -> None:
    with tracing.within(PARENT), tracing.span("work") as span:
        assert tracing.here() == span.traceparent
        assert span.traceparent[:36] == PARENT[:36]
        assert span.traceparent != PARENT
    (made,) = spans.get_finished_spans()
    assert made.parent is not None
    assert made.parent.span_id == 1


def test_no_span_is_made_of_what_was_not_sampled(spans: InMemorySpanExporter) -> None:
    with tracing.span("work", parent=UNSAMPLED, links=[PARENT]) as span:
        assert span.traceparent == UNSAMPLED
    assert not spans.get_finished_spans()


def test_a_trace_that_begins_unsampled_says_so_to_all_that_follows() -> None:
    with tracing.installed(TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)):
        begun = tracing.begin("work").traceparent
    assert len(begun) == len(PARENT)
    assert not tracing.sampled(begun)


def test_other_traces_are_linked_once_and_not_too_many(spans: InMemorySpanExporter) -> None:
    others = [f"00-{n:032x}-{n:016x}-01" for n in range(1, 2 + 2 * tracing.LINKS)]
    with tracing.span("work", parent=PARENT, links=["", *others, *others]):
        pass
    linked = [each.context.trace_id for each in spans.get_finished_spans()[0].links]
    assert linked == list(range(2, 2 + tracing.LINKS))


async def test_a_record_carries_the_span_of_its_sending(spans: InMemorySpanExporter) -> None:
    event, sending = tracing.publish("tenor.text", EVENT)
    assert event.traceparent == sending.traceparent != PARENT
    sent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    sent.set_result(RecordMetadata("tenor.text", 3, TopicPartition("tenor.text", 3), 7, 0, 0, 0))
    sending.landed(sent)
    (made,) = spans.get_finished_spans()
    assert made.attributes is not None
    assert made.attributes["messaging.destination.partition.id"] == "3"
    assert made.attributes["messaging.kafka.offset"] == 7
    assert "my-call" not in made.to_json()


def test_of_an_error_only_its_name_is_told(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="what was said"), tracing.span("work"):
        raise ValueError("what was said")
    (made,) = spans.get_finished_spans()
    assert not made.status.is_ok
    assert "ValueError" in made.to_json()
    assert "what was said" not in made.to_json()


async def test_a_model_call_is_a_child_of_each_of_its_items(spans: InMemorySpanExporter) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        batcher: Batcher[int, int] = Batcher("sum", list, executor, wait_s=0.01)
        with tracing.within(PARENT):
            await asyncio.gather(batcher.submit(1), batcher.submit(2))
        await batcher.submit(3)
        await batcher.close()
    made = spans.get_finished_spans()
    sizes = [each.attributes and each.attributes["tenor.batch.size"] for each in made]
    assert [each.name for each in made] == ["model sum", "model sum"]
    assert sizes == [2, 2]


def test_a_stream_is_a_trace_a_minute_each_linked_to_the_one_before(
    spans: InMemorySpanExporter,
) -> None:
    course = tracing.Course("")
    first, same, second = course.at(0), course.at(59_999), course.at(60_000)
    assert first == same
    assert first[3:35] != second[3:35]
    linked = [link.context.trace_id for link in spans.get_finished_spans()[1].links]
    assert linked == [int(first[3:35], 16)]


def test_a_stream_stays_in_the_trace_that_it_came_with(spans: InMemorySpanExporter) -> None:
    course = tracing.Course(PARENT)
    assert {course.at(0), course.at(10**7)} == {PARENT}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://there:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://there:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
    ],
)
def test_the_variables_of_opentelemetry_switch_it_on(
    environment: Mapping[str, str], wanted: bool
) -> None:
    assert otlp.configured(environment) is wanted


def test_a_wrong_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1")
    with pytest.raises(UserError, match="OTEL_"), otlp.exported("test"):
        pass


def test_a_collector_that_goes_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    class Flaky:
        works = False

        def export(self, spans: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS if self.works else SpanExportResult.FAILURE

    flaky = Flaky()
    watched = otlp.Watched(cast(SpanExporter, flaky))
    with caplog.at_level(logging.WARNING):
        watched.export([])
        watched.export([])
        flaky.works = True
        watched.export([])
        watched.export([])
    assert [record.getMessage().split()[2:4] for record in caplog.records] == [
        ["takes", "no"],
        ["takes", "traces"],
    ]
