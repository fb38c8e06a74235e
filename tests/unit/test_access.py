"""Which errors of connecting are refusals, after which a worker ends, and which will pass."""

from __future__ import annotations

import ssl

import pytest
from aiokafka.errors import IllegalSaslStateError, KafkaConnectionError, SaslAuthenticationFailed

from streams.access import refusal
from streams.connection import Connection

BROKERS = Connection("kafka:9092", "SASL_SSL", username="me")


def tls(reason: str, kind: type[ssl.SSLError] = ssl.SSLError) -> ssl.SSLError:
    error = kind(1, f"[SSL: {reason}] and so on")
    error.reason = reason
    return error


def untrusted(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "some words."
    return error


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (untrusted(10), "some words; the broker needs a new certificate"),
        (untrusted(18), "TENOR_KAFKA_CA_FILE"),
        (untrusted(19), "TENOR_KAFKA_CA_FILE"),
        (untrusted(62), "TENOR_BROKERS must name"),
        (untrusted(64), "TENOR_BROKERS must name"),
        (tls("SSLV3_ALERT_BAD_CERTIFICATE"), "TENOR_KAFKA_CERTIFICATE_FILE"),
        (tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "TENOR_KAFKA_CERTIFICATE_FILE"),
        (tls("TLSV1_ALERT_UNKNOWN_CA"), "TENOR_KAFKA_CERTIFICATE_FILE"),
        (tls("WRONG_VERSION_NUMBER"), "TENOR_KAFKA_SECURITY"),
        (SaslAuthenticationFailed("no"), "user me"),
        (IllegalSaslStateError(), "TENOR_KAFKA_SECURITY"),
    ],
)
def test_a_refusal_comes_with_advice(error: Exception, advice: str) -> None:
    said = refusal(BROKERS, "kafka:9092", error)
    assert said
    assert said.startswith("kafka:9092 ")
    assert advice in said


def test_the_cause_counts_if_there_is_one() -> None:
    error = KafkaConnectionError("Connection at kafka:9092 closed")
    error.__cause__ = tls("TLSV13_ALERT_CERTIFICATE_REQUIRED")
    assert "certificate" in (refusal(BROKERS, "kafka:9092", error) or "")


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "Connection refused"),
        TimeoutError(),
        KafkaConnectionError("closed"),
        tls("UNEXPECTED_EOF_WHILE_READING", ssl.SSLEOFError),
        tls("TLSV1_ALERT_INTERNAL_ERROR"),
        ssl.SSLZeroReturnError(6, "closed"),
    ],
)
def test_what_may_pass_is_no_refusal(error: Exception) -> None:
    assert refusal(BROKERS, "kafka:9092", error) is None
