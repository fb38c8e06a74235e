"""Settings of the connection to Kafka: what is refused, by which name, and what stays secret."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from pydantic import SecretStr

from streams.app import _credentials
from streams.connection import Connection, ConnectionSettingsError
from streams.settings import Settings

SECRET = "hunter2"  # noqa: S105
ENCRYPTED = {"kafka_security": "SASL_SSL", "kafka_username": "me", "kafka_password": SECRET}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """ca.pem, mine.pem with its key, its parts apart as mine.crt and mine.key, and other.key."""
    authority = trustme.CA()
    mine, other = (authority.issue_cert(f"{name}.test") for name in ("mine", "other"))
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "mine.pem")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "mine.crt")
    mine.private_key_pem.write_to_path(tmp_path / "mine.key")
    other.private_key_pem.write_to_path(tmp_path / "other.key")
    (tmp_path / "password").write_text(f"{SECRET}\n")
    (tmp_path / "empty").touch()
    return tmp_path


def of(**chosen: str) -> Connection:
    return Connection.of(Settings(brokers="kafka:9092", **chosen))  # type: ignore[arg-type]


def test_by_default_nothing_is_encrypted_and_nobody_named() -> None:
    assert of() == Connection("kafka:9092")
    assert of().options() == {"bootstrap_servers": "kafka:9092", "security_protocol": "PLAINTEXT"}
    assert of().principal == "User:ANONYMOUS"


def test_certificates_and_host_names_are_checked() -> None:
    context = of(**ENCRYPTED).options()["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_password_may_come_from_a_file(files: Path) -> None:
    chosen = ENCRYPTED | {"kafka_password": "", "kafka_password_file": str(files / "password")}
    assert of(**chosen).options()["sasl_plain_password"] == SECRET


@pytest.mark.parametrize(
    "pair", [{"certificate": "mine.pem"}, {"certificate": "mine.crt", "key": "mine.key"}]
)
def test_our_certificate_may_have_its_key_in_it_or_beside_it(
    files: Path, pair: dict[str, str]
) -> None:
    chosen = {f"kafka_{name}_file": str(files / file) for name, file in pair.items()}
    made = of(kafka_security="SSL", kafka_ca_file=str(files / "ca.pem"), **chosen)
    assert made.options()["ssl_context"]
    assert made.principal == "the user of our certificate"


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"kafka_security": "SASL_SSL"}, "TENOR_KAFKA_USERNAME"),
        ({"kafka_security": "SASL_SSL", "kafka_username": "me"}, "TENOR_KAFKA_PASSWORD"),
        ({"kafka_username": "me"}, "TENOR_KAFKA_USERNAME"),
        ({"kafka_security": "SSL", "kafka_password": SECRET}, "TENOR_KAFKA_PASSWORD"),
        ({"kafka_ca_file": "ca.pem"}, "TENOR_KAFKA_CA_FILE"),
        ({"kafka_security": "SSL", "kafka_key_file": "mine.key"}, "TENOR_KAFKA_KEY_FILE"),
        ({"kafka_security": "SSL", "kafka_ca_file": "gone"}, "TENOR_KAFKA_CA_FILE: .*No such file"),
        ({"kafka_security": "SSL", "kafka_ca_file": "."}, "TENOR_KAFKA_CA_FILE: .*directory"),
        ({"kafka_security": "SSL", "kafka_ca_file": "empty"}, "TENOR_KAFKA_CA_FILE: .*PEM"),
        ({"kafka_security": "SSL", "kafka_ca_file": "mine.key"}, "TENOR_KAFKA_CA_FILE: .*PEM"),
        ({"kafka_security": "SSL", "kafka_certificate_file": "mine.crt"}, "TENOR_KAFKA_KEY_FILE"),
        (
            {
                "kafka_security": "SSL",
                "kafka_certificate_file": "mine.crt",
                "kafka_key_file": "other.key",
            },
            "TENOR_KAFKA_KEY_FILE",
        ),
        (ENCRYPTED | {"kafka_password_file": "password"}, "TENOR_KAFKA_PASSWORD"),
        (
            ENCRYPTED | {"kafka_password": "", "kafka_password_file": "gone"},
            "TENOR_KAFKA_PASSWORD_FILE: .*No such file",
        ),
        (
            ENCRYPTED | {"kafka_password": "", "kafka_password_file": "empty"},
            "TENOR_KAFKA_PASSWORD",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    files: Path, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], named: str
) -> None:
    monkeypatch.chdir(files)
    with pytest.raises(ConnectionSettingsError, match=named) as refused:
        of(**chosen)
    assert SECRET not in str(refused.value)


def test_addresses_that_are_none_are_refused() -> None:
    with pytest.raises(ConnectionSettingsError, match="TENOR_BROKERS"):
        Connection.of(Settings(brokers="kafka:port"))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(files: Path) -> None:
    from cryptography.hazmat.primitives import serialization as forms

    key = forms.load_pem_private_key((files / "mine.key").read_bytes(), None)
    locked = key.private_bytes(
        forms.Encoding.PEM,
        forms.PrivateFormat.PKCS8,
        forms.BestAvailableEncryption(SECRET.encode()),
    )
    (files / "locked.key").write_bytes(locked)
    pair = {"certificate": "mine.crt", "key": "locked.key"}
    with pytest.raises(ConnectionSettingsError, match=r"TENOR_KAFKA_KEY_FILE.*password"):
        of(kafka_security="SSL", **{f"kafka_{n}_file": str(files / f) for n, f in pair.items()})


def test_the_password_is_not_shown() -> None:
    connection, settings = of(**ENCRYPTED), Settings(**ENCRYPTED)  # type: ignore[arg-type]
    shown = [repr(connection), str(connection), repr(settings), str(settings.model_dump())]
    assert not [text for text in shown if SECRET in text]
    assert SECRET not in settings.model_dump_json()


@pytest.mark.parametrize(
    "connection",
    [
        Connection("kafka:1"),
        Connection("kafka:1", "SSL"),
        Connection("kafka:1", "SASL_SSL", "SCRAM-SHA-256", "me", SecretStr(SECRET)),
        Connection("kafka:1", "SASL_PLAINTEXT", "PLAIN", "me", SecretStr(SECRET)),
    ],
)
def test_faust_connects_as_we_do(connection: Connection) -> None:
    def comparable(options: Any) -> dict[str, Any]:  # noqa: ANN401  (what aiokafka takes)
        given = {name: each for name, each in options.items() if each is not None}
        return given | {"ssl_context": type(given.get("ssl_context"))}

    passed_on = credentials_to_aiokafka_auth(_credentials(connection))
    assert comparable(passed_on) == comparable(connection.credentials())
