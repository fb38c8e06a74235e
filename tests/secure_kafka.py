"""A private Kafka that asks who is there, for tests: users, certificates, and access rules.

Beside the open listener, at which everybody may do everything (where tests set things up), it has
one for each way of getting in. Its certificates are made out to `localhost`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import trustme
from aiokafka.conn import create_conn
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import SecretStr

from streams.broker import Broker, Node, find_java, free_ports, kafka_jars
from streams.connection import Connection
from streams.rights import Right

USERS: Final = ("worker", "producer", "reader", "keeper", "other")
"""All with the same password."""
PASSWORD: Final = "correct-horse-battery"  # noqa: S105  (of this Kafka alone)
LISTENERS: Final = {
    "SCRAM": "SASL_SSL",
    "CLEAR": "SASL_PLAINTEXT",
    "MUTUAL": "SSL",
    "EXPIRED": "SSL",
}
"""Security protocols by listener."""
_RESOURCES: Final = {"Topic": 2, "Group": 3, "TransactionalId": 5}
_OPERATIONS: Final = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8}
_LITERAL, _ALLOW = 3, 3


@dataclass
class SecureKafka:
    """The running broker and its certificate authority."""

    broker: Broker
    ports: Mapping[str, int]
    folder: Path
    authority: trustme.CA = field(repr=False)

    @property
    def open(self) -> Connection:
        """Where everybody may do everything."""
        return Connection(self.broker.bootstrap)

    def connection(
        self, listener: str = "SCRAM", *, user: str = "worker", host: str = "localhost"
    ) -> Connection:
        """What is needed at a listener."""
        security = LISTENERS[listener]
        made = Connection(f"{host}:{self.ports[listener]}", security)
        if made.by_password:
            mechanism = "PLAIN" if listener == "CLEAR" else "SCRAM-SHA-512"
            secret = SecretStr(PASSWORD)
            made = replace(made, mechanism=mechanism, username=user, password=secret)
        return replace(made, ca_file=str(self.folder / "ca.pem")) if made.encrypted else made

    def certified(self, name: str) -> Connection:
        """Let in as this user, by a certificate."""
        made, file = (
            self.authority.issue_cert(f"{name}.client", common_name=name),
            self.folder / f"{name}-user.pem",
        )
        _write(made, file)
        return replace(self.connection("MUTUAL"), certificate_file=str(file))

    async def allow(self, rights: Iterable[Right], user: str = "worker") -> None:
        """Adds access rules for a user."""
        await self._ask(_CreateAcls([_rule(each, user) for each in rights]))

    async def forbid(self, rights: Iterable[Right], user: str = "worker") -> None:
        """Takes them away."""
        await self._ask(_DeleteAcls([_rule(each, user) for each in rights]))

    def change_password(self, user: str, password: str) -> None:
        command = [str(find_java()), "-cp", os.pathsep.join(map(str, kafka_jars()))]
        command += ["kafka.admin.ConfigCommand", "--bootstrap-server", self.broker.bootstrap]
        command += ["--alter", "--entity-type", "users", "--entity-name", user]
        command += ["--add-config", f"SCRAM-SHA-512=[password={password}]"]
        subprocess.run(command, check=True, capture_output=True)

    async def _ask(self, request: _CreateAcls | _DeleteAcls) -> None:
        connection = await create_conn("127.0.0.1", self.broker.nodes[0].port)
        try:
            answer = await connection.send(request)
        finally:
            connection.close()
        assert not any(each[0] for each in answer.results), answer


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """A Kafka with these listeners and users, and no access rule."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    _write(authority.issue_cert("localhost"), folder / "server.pem")
    past = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC)
    late = authority.issue_cert("localhost", not_before=past[0], not_after=past[1])
    _write(late, folder / "late.pem")
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
    users = [f"--add-scram=SCRAM-SHA-512=[name={n},password={PASSWORD}]" for n in USERS]
    with Broker(
        folder / "data",
        properties=lambda node: _properties(node, ports, folder),
        format_options=users,
    ) as broker:
        yield SecureKafka(broker, ports, folder, authority)


def _properties(node: Node, ports: Mapping[str, int], folder: Path) -> dict[str, object]:
    ours = {"PLAINTEXT": f"127.0.0.1:{node.port}"}
    ours |= {name: f"localhost:{port}" for name, port in ports.items()}
    outside = ",".join(f"{name}://{address}" for name, address in ours.items())
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **LISTENERS}
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    return {
        "listeners": f"{outside},CONTROLLER://127.0.0.1:{node.controller_port}",
        "advertised.listeners": outside,
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": ",".join(f"{n}:{p}" for n, p in protocols.items()),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": folder / "server.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": folder / "ca.pem",
        "listener.name.expired.ssl.keystore.type": "PEM",
        "listener.name.expired.ssl.keystore.location": folder / "late.pem",
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.scram.scram-sha-512.sasl.jaas.config": scram,
        "listener.name.clear.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.clear.plain.sasl.jaas.config": f'{plain} user_worker="{PASSWORD}";',
    }


def _write(certificate: trustme.LeafCert, file: Path) -> None:
    """The certificate and its key, in the one form of keys that Java reads."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    form = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(form + b"".join(each.bytes() for each in certificate.cert_chain_pems))


def _rule(right: Right, user: str) -> tuple[object, ...]:
    resource, operation = _RESOURCES[right.resource], _OPERATIONS[right.operation]
    return (resource, right.name, _LITERAL, f"User:{user}", "*", operation, _ALLOW)


# --- requests of Kafka's protocol that aiokafka (0.14) does not know

_RULE: Final = (
    ("resource_type", Int8),
    ("resource_name", String("utf-8")),
    ("pattern_type", Int8),
    ("principal", String("utf-8")),
    ("host", String("utf-8")),
    ("operation", Int8),
    ("permission", Int8),
)


class _CreateAclsResponse(Response):  # type: ignore[misc]  # untyped there
    API_KEY = 30
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", Array(("error_code", Int16), ("error_message", String("utf-8")))),
    )


class _CreateAclsRequest(RequestStruct):  # type: ignore[misc]  # untyped there
    API_KEY = 30
    API_VERSION = 1
    RESPONSE_TYPE = _CreateAclsResponse
    SCHEMA = Schema(("rules", Array(*_RULE)))


class _CreateAcls(Request[_CreateAclsRequest]):  # type: ignore[misc]  # untyped there
    API_KEY = 30

    def __init__(self, rules: list[tuple[object, ...]]) -> None:
        self._rules = rules

    def build(self, request_struct_class: type[_CreateAclsRequest]) -> _CreateAclsRequest:
        return request_struct_class(self._rules)


class _DeleteAclsResponse(Response):  # type: ignore[misc]  # untyped there
    API_KEY = 31
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                (
                    "matching",
                    Array(("error_code", Int16), ("error_message", String("utf-8")), *_RULE),
                ),
            ),
        ),
    )


class _DeleteAclsRequest(RequestStruct):  # type: ignore[misc]  # untyped there
    API_KEY = 31
    API_VERSION = 1
    RESPONSE_TYPE = _DeleteAclsResponse
    SCHEMA = Schema(("filters", Array(*_RULE)))


class _DeleteAcls(Request[_DeleteAclsRequest]):  # type: ignore[misc]  # untyped there
    API_KEY = 31

    def __init__(self, filters: list[tuple[object, ...]]) -> None:
        self._filters = filters

    def build(self, request_struct_class: type[_DeleteAclsRequest]) -> _DeleteAclsRequest:
        return request_struct_class(self._filters)
