"""Asks Kafka whether it lets us in, and what it lets us do, so that a refusal has a clear name.

aiokafka takes a refusal for a broker that is away: it logs, and tries again ten times a second for
as long as it lives. What Kafka would say to a new connection is asked here instead, before a
command begins and from time to time while a worker runs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    NoError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from streams.connection import Connection
from streams.errors import UserError
from streams.rights import Right, missing

TIMEOUT_S: Final = 10.0
"""How long a broker may take to answer."""
EVERY_S: Final = 15.0
"""How often a worker asks; a refusal ends it not later than this."""

Granted = dict[tuple[str, str], frozenset[str] | None]

_OPERATIONS: Final = {3: "Read", 4: "Write", 5: "Create", 8: "Describe"}
"""The bits of Kafka's `authorized_operations` (`AclOperation`)."""
_NOT_SAID: Final = -(2**31)
_EXPIRED: Final = 10
_OTHER_NAME: Final = {62, 64}  # host, address: X509_V_ERR_* of OpenSSL


class AccessError(UserError):
    """Kafka refuses us; the message says what to change."""


async def check(brokers: Connection, rights: Collection[Right] = ()) -> None:
    """Returns if a broker lets us in and Kafka grants these rights to the topics that there are.

    Raises:
        AccessError: it does not.
        KafkaConnectionError: no broker answers.
    """
    granted = await _granted(brokers, rights)
    if lacking := missing(rights, granted):
        raise AccessError(
            f"Kafka does not allow {brokers.principal}: {', '.join(map(str, lacking))};"
            " add these access rules (docs/security.md)"
        )


async def watch(brokers: Connection, rights: Collection[Right]) -> None:
    """Asks again and again. Raises AccessError; that no broker answers, aiokafka deals with."""
    while True:
        with suppress(KafkaError):
            await check(brokers, rights)
        await asyncio.sleep(EVERY_S)


def refusal(brokers: Connection, host: str, error: BaseException) -> str | None:
    """What to tell a person about an error of connecting to a host, if it is a refusal."""
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLError) and (why := _tls_refusal(cause)):
        return f"{host} {why}"
    if isinstance(error, SaslAuthenticationFailed):
        return (
            f"{host} does not accept user {brokers.username} with this password by"
            f" {brokers.mechanism}: see TENOR_KAFKA_USERNAME, TENOR_KAFKA_PASSWORD"
        )
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"{host} does not take {brokers.mechanism}: see TENOR_KAFKA_SASL_MECHANISM"
    if isinstance(error, IllegalSaslStateError):
        return f"{host} takes no user and password there: see TENOR_BROKERS, TENOR_KAFKA_SECURITY"
    return None


def _tls_refusal(error: ssl.SSLError) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"is not trusted: {error.verify_message.rstrip('.')}; {_remedy(error.verify_code)}"
    reason = getattr(error, "reason", None) or ""  # one made in Python has none
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return (
            f"does not accept our certificate ({reason}):"
            " see TENOR_KAFKA_CERTIFICATE_FILE, TENOR_KAFKA_KEY_FILE"
        )
    if reason == "WRONG_VERSION_NUMBER":
        return "does not speak TLS there: see TENOR_BROKERS, TENOR_KAFKA_SECURITY"
    return None  # such as a handshake that a broker's end cut short


def _remedy(code: int) -> str:
    if code == _EXPIRED:
        return "the broker needs a new certificate"
    if code in _OTHER_NAME:
        return "TENOR_BROKERS must name brokers as their certificates do"
    return "TENOR_KAFKA_CA_FILE must hold the authority that signed its certificate"


async def _granted(brokers: Connection, rights: Iterable[Right]) -> Granted:
    """What the first broker that lets us in says about the rights' resources."""
    refused, failed = None, ""
    for host, port, _ in collect_hosts(brokers.servers):
        try:
            return await _asked(brokers, host, port, rights)
        except (OSError, KafkaError) as error:
            refused = refused or refusal(brokers, f"{host}:{port}", error)
            failed = _reason(error)
    if refused:
        raise AccessError(refused)
    raise KafkaConnectionError(
        f"no broker of {brokers} answers ({failed}), with TENOR_KAFKA_SECURITY {brokers.security}"
    )


def _reason(error: OSError | KafkaError) -> str:
    if isinstance(error, OSError):  # a timeout too
        return error.strerror or type(error).__name__
    return str(error.args[0] if error.args else type(error).__name__)


@asynccontextmanager
async def _connected(
    brokers: Connection, host: str, port: int
) -> AsyncIterator[AIOKafkaConnection]:
    timeout = round(TIMEOUT_S * 1000)
    connection = await create_conn(host, port, request_timeout_ms=timeout, **brokers.credentials())
    try:
        yield connection
    finally:
        connection.close()


async def _asked(brokers: Connection, host: str, port: int, rights: Iterable[Right]) -> Granted:
    names = {kind: {r.name for r in rights if r.resource == kind} for kind in ("Topic", "Group")}
    async with _connected(brokers, host, port) as connection:
        # Even without topics: a broker tells at this request whether it takes us as nobody.
        try:
            granted = await _of_topics(connection, names["Topic"])
            for group in sorted(names["Group"]):
                granted["Group", group] = await _of_group(brokers, connection, group)
        except NotImplementedError:  # by aiokafka: the broker is too old for these requests
            return {}
    return granted


async def _of_topics(connection: AIOKafkaConnection, names: Collection[str]) -> Granted:
    answer = await connection.send(_DescribeTopics(names))
    return {
        ("Topic", name): _operations(code, TopicAuthorizationFailedError, bits)
        for code, name, _, _, bits in answer.topics
    }


async def _of_group(
    brokers: Connection, connection: AIOKafkaConnection, group: str
) -> frozenset[str] | None:
    found = await connection.send(FindCoordinatorRequest(group, 0))
    if found.error_code:
        return _operations(found.error_code, GroupAuthorizationFailedError, _NOT_SAID)
    async with _connected(brokers, found.host, found.port) as coordinator:
        answer = await coordinator.send(_DescribeGroup(group))
    code, *_, bits = answer.groups[0]
    return _operations(code, GroupAuthorizationFailedError, bits)


def _operations(code: int, forbidden: type[KafkaError], bits: int) -> frozenset[str] | None:
    """What an answer grants; None: it does not say, for example because nothing is there yet."""
    error = for_code(code)
    if error is forbidden:
        return frozenset()
    if error is not NoError or bits == _NOT_SAID:
        return None
    return frozenset(name for bit, name in _OPERATIONS.items() if bits >> bit & 1)


# --- two requests of Kafka's protocol that aiokafka (0.14) does not know, or not in this version


class _DescribeTopicsResponse(Response):  # type: ignore[misc]  # untyped there
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(
                ("node_id", Int32),
                ("host", String("utf-8")),
                ("port", Int32),
                ("rack", String("utf-8")),
            ),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("name", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("authorized_operations", Int32),
    )


class _DescribeTopicsRequest(RequestStruct):  # type: ignore[misc]  # untyped there
    """`Metadata`, with what we may do to each topic."""

    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _DescribeTopicsResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _DescribeTopics(Request[_DescribeTopicsRequest]):  # type: ignore[misc]  # untyped there
    API_KEY = 3

    def __init__(self, names: Collection[str]) -> None:
        self._names = sorted(names)

    def build(self, request_struct_class: type[_DescribeTopicsRequest]) -> _DescribeTopicsRequest:
        return request_struct_class(self._names, False, False, True)


class _DescribeGroupRequest(RequestStruct):  # type: ignore[misc]  # untyped there
    """`DescribeGroups`, with what we may do to the group."""

    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = Schema(("groups", Array(String("utf-8"))), ("include_authorized_operations", Boolean))


class _DescribeGroup(Request[_DescribeGroupRequest]):  # type: ignore[misc]  # untyped there
    API_KEY = 15

    def __init__(self, name: str) -> None:
        self._name = name

    def build(self, request_struct_class: type[_DescribeGroupRequest]) -> _DescribeGroupRequest:
        return request_struct_class([self._name], True)
