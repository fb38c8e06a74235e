"""Settings of the gateway: defaults, and what is refused."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trustme
from click import ClickException
from pydantic import ValidationError

from streams.cli_gateway import gateway_settings
from streams.codec import SIZES
from streams.errors import UserError
from streams.events import EventType
from streams.gateway import keys, server
from streams.gateway.settings import GatewaySettings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GatewaySettings.model_fields:
        monkeypatch.delenv(f"TENOR_GATEWAY_{name.upper()}", raising=False)


def test_the_defaults_satisfy_their_own_limits() -> None:
    defaults = GatewaySettings()
    assert GatewaySettings.model_validate(defaults.model_dump()) == defaults
    assert server.is_loopback(defaults.host)


def test_nothing_is_let_in_that_the_codec_would_refuse() -> None:
    """At most, whatever the settings say."""
    sizes = {"text_bytes": EventType.TEXT_MESSAGE, "image_bytes": EventType.IMAGE_FRAME}
    for name, type_ in sizes.items():
        GatewaySettings.model_validate({name: SIZES[type_]})
        with pytest.raises(ValidationError):
            GatewaySettings.model_validate({name: SIZES[type_] + 1})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("HOST", ""),
        ("PORT", "65536"),
        ("ORIGINS", "page.example"),
        ("ORIGINS", "*"),
        ("ORIGINS", "https://page.example/path"),
        ("ORIGINS", "https://a.example, https://b.example"),
        ("EVENTS_PER_SECOND", "0"),
        ("BYTES_PER_SECOND", "nan"),
        ("SESSIONS_PER_KEY", "0"),
        ("MESSAGE_BYTES", "1e12"),
        ("DRAIN_S", "-1"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(f"TENOR_GATEWAY_{name}", text)
    with pytest.raises(ClickException, match=rf"^TENOR_GATEWAY_{name}: "):
        gateway_settings()


def test_origins_are_listed_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GatewaySettings().allowed_origins == []
    monkeypatch.setenv("TENOR_GATEWAY_ORIGINS", "https://A.example,http://localhost:3000")
    assert GatewaySettings().allowed_origins == ["https://a.example", "http://localhost:3000"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_a_gateway_without_keys_is_for_this_machine(host: str) -> None:
    assert server.keys_of(GatewaySettings(host=host)) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "tenor.example"])  # noqa: S104
def test_it_listens_nowhere_else_without(tmp_path: Path, host: str) -> None:
    with pytest.raises(UserError, match="tenor keys add"):
        server.keys_of(GatewaySettings(host=host))
    file = tmp_path / "keys.json"
    keys.add(file, keys.ANYBODY, "")
    assert server.keys_of(GatewaySettings(host=host, keys_file=str(file)))


def test_a_file_of_keys_that_is_missing_does_not_open_the_gate(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the keys"):
        server.keys_of(GatewaySettings(keys_file=str(tmp_path / "keys.json")))


@pytest.fixture
def pem(tmp_path: Path) -> dict[str, str]:
    """Files by what they hold."""
    files: dict[str, str] = {}
    for name in ("one", "other"):
        made = trustme.CA().issue_cert("localhost")
        made.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        for pem in made.cert_chain_pems:
            pem.write_to_path(tmp_path / f"{name}.pem", append=True)
        made.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}-both.pem")
        files |= {f"{name}.{end}": str(tmp_path / f"{name}.{end}") for end in ("key", "pem")}
        files[f"{name}-both.pem"] = str(tmp_path / f"{name}-both.pem")
    return files | {"missing": str(tmp_path / "missing")}


def test_tls_by_two_files_or_one(pem: dict[str, str]) -> None:
    assert server.tls_of(GatewaySettings()) is None
    two = GatewaySettings(tls_certificate=pem["one.pem"], tls_key=pem["one.key"])
    assert server.tls_of(two)
    assert server.tls_of(GatewaySettings(tls_certificate=pem["one-both.pem"]))


@pytest.mark.parametrize(
    ("certificate", "key", "told"),
    [
        ("", "one.key", "of no use without"),
        ("one.pem", "", "and the key that belongs to it"),
        ("one.pem", "other.key", "and the key that belongs to it"),
        ("one.key", "one.key", "and the key that belongs to it"),
        ("missing", "one.key", "No such file"),
        ("one.pem", "missing", "No such file"),
    ],
)
def test_tls_by_something_else_is_refused(
    pem: dict[str, str], certificate: str, key: str, told: str
) -> None:
    files = {"tls_certificate": pem.get(certificate, ""), "tls_key": pem.get(key, "")}
    with pytest.raises(UserError, match=rf"TENOR_GATEWAY_TLS.*{told}"):
        server.tls_of(GatewaySettings.model_validate(files))


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UserError, match=rf"TENOR_GATEWAY_PORT {port}: "),
            server.listening(GatewaySettings(port=port)),
        ):
            pass
