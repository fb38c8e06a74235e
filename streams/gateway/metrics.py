"""What a gateway exports to Prometheus; served as `streams.metrics` serves a worker's.

No label ever names a session, a key or a client.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from streams.gateway.problems import Kind
from streams.metrics import ProcessMetrics

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class GatewayMetrics(ProcessMetrics):
    """All metrics of one gateway."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
        self.requests = Counter(
            "tenor_gateway_requests",
            "Requests answered, and WebSockets ended (status 101)",
            ["route", "method", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "tenor_gateway_request_seconds",
            "From a request to the begin of its answer",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.refused = Counter(
            "tenor_gateway_refused", "Problems that clients were told", ["kind"], registry=registry
        )
        for kind in Kind:  # from 0 on: Prometheus sees no increase to a series' first value
            self.refused.labels(kind.name.lower())
        self.live = Gauge(
            "tenor_gateway_live",
            "Sockets that send (ingest), and streams of results (read)",
            ["scope"],
            registry=registry,
        )
        self.events_in = Counter(
            "tenor_gateway_events_in", "Events confirmed by Kafka", ["topic"], registry=registry
        )
        self.bytes_in = Counter(
            "tenor_gateway_bytes_in", "Media in them", ["topic"], registry=registry
        )
        self.confirm_seconds = Histogram(
            "tenor_gateway_confirm_seconds",
            "From the sending of an event to its confirmation by Kafka",
            ["topic"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.results_out = Counter(
            "tenor_gateway_results_out", "Results given to clients", registry=registry
        )
        self.cut_off = Counter(
            "tenor_gateway_cut_off",
            "Streams ended because their client was too slow",
            registry=registry,
        )
        self.decode_seconds = Histogram(
            "tenor_gateway_decode_seconds",
            "Time in decoding a piece of media",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )
