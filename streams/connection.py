"""How Kafka is reached: its addresses, and who we are to it; what every client is made with."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka.conn import collect_hosts
from aiokafka.helpers import create_ssl_context
from pydantic import SecretStr

from streams.errors import UserError
from streams.settings import Settings


class ConnectionSettingsError(UserError):
    """The settings of the connection do not fit together; the message names the one to change."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Brokers as `host:port,..` and the means to be let in; by default in plain text, as nobody.

    With TLS a broker's certificate must be signed by an authority in `ca_file` (empty: by one of
    the system's) and name the host that was asked for. `certificate_file` and `key_file` are our
    own, for brokers that want one.
    """

    servers: str
    security: str = "PLAINTEXT"
    mechanism: str = "SCRAM-SHA-512"
    username: str = ""
    password: SecretStr = field(default=SecretStr(""), repr=False)
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Connection:
        """The one that the settings describe; all its files have been read.

        Raises:
            ConnectionSettingsError: they contradict each other, or a file is not what it should be.
        """
        made = cls(
            settings.brokers,
            settings.kafka_security,
            settings.kafka_sasl_mechanism,
            settings.kafka_username,
            _password(settings),
            settings.kafka_ca_file,
            settings.kafka_certificate_file,
            settings.kafka_key_file,
        )
        made._check()
        return made

    @property
    def encrypted(self) -> bool:
        return self.security.endswith("SSL")

    @property
    def by_password(self) -> bool:
        """Whether a user's name and password are asked for."""
        return self.security.startswith("SASL")

    @property
    def principal(self) -> str:
        """Whom Kafka takes us for, as access rules name it, unless it maps names to others."""
        if self.by_password:
            return f"User:{self.username}"
        return "the user of our certificate" if self.certificate_file else "User:ANONYMOUS"

    def options(self) -> dict[str, Any]:
        """Keyword arguments for every client of aiokafka."""
        return {"bootstrap_servers": self.servers, **self.credentials()}

    def credentials(self) -> dict[str, Any]:
        """The same without the addresses."""
        options: dict[str, Any] = {"security_protocol": self.security}
        if self.by_password:
            options["sasl_mechanism"] = self.mechanism
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password.get_secret_value()
        if self.encrypted:
            options["ssl_context"] = self._ssl_context()
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        # It checks the broker's certificate and host name.
        context: ssl.SSLContext = create_ssl_context(
            cafile=self.ca_file or None,
            certfile=self.certificate_file or None,
            keyfile=self.key_file or None,
            password="",  # else OpenSSL asks for that of the key, on the terminal
        )
        return context

    def _check(self) -> None:
        try:
            collect_hosts(self.servers)
        except ValueError:
            raise ConnectionSettingsError("TENOR_BROKERS: not host:port,..") from None
        if wrong := self._contradiction():
            raise ConnectionSettingsError(wrong)
        if self.encrypted:
            self._check_files()

    def _contradiction(self) -> str | None:
        protocol = f"TENOR_KAFKA_SECURITY is {self.security}"
        if self.by_password and not self.username:
            return f"TENOR_KAFKA_USERNAME: none, but {protocol}"
        if self.by_password and not self.password:
            return f"TENOR_KAFKA_PASSWORD: none, nor TENOR_KAFKA_PASSWORD_FILE, but {protocol}"
        if not self.by_password and (self.username or self.password):
            name = "USERNAME" if self.username else "PASSWORD"
            return f"TENOR_KAFKA_{name}: of no use, {protocol}; SASL_SSL?"
        if not self.encrypted and (self.ca_file or self.certificate_file or self.key_file):
            return f"TENOR_KAFKA_CA_FILE, .._CERTIFICATE_FILE, .._KEY_FILE: of no use, {protocol}"
        if self.key_file and not self.certificate_file:
            return "TENOR_KAFKA_KEY_FILE: of no use without TENOR_KAFKA_CERTIFICATE_FILE"
        return None

    def _check_files(self) -> None:
        try:
            if self.ca_file:
                _readable("TENOR_KAFKA_CA_FILE", self.ca_file)
                create_ssl_context(cafile=self.ca_file)
        except ssl.SSLError:
            raise ConnectionSettingsError(
                f"TENOR_KAFKA_CA_FILE: {self.ca_file} holds no certificate in PEM form"
            ) from None
        for name in ("certificate_file", "key_file"):
            if file := getattr(self, name):
                _readable(f"TENOR_KAFKA_{name.upper()}", file)
        try:
            self._ssl_context()
        except ssl.SSLError:
            raise ConnectionSettingsError(
                "TENOR_KAFKA_CERTIFICATE_FILE, TENOR_KAFKA_KEY_FILE: not a certificate in PEM form"
                " and the key that belongs to it, without a password"
            ) from None

    def __str__(self) -> str:
        return self.servers


def _password(settings: Settings) -> SecretStr:
    if not settings.kafka_password_file:
        return settings.kafka_password
    if settings.kafka_password:
        raise ConnectionSettingsError("TENOR_KAFKA_PASSWORD: there is a .._PASSWORD_FILE too")
    data = _readable("TENOR_KAFKA_PASSWORD_FILE", settings.kafka_password_file)
    try:
        return SecretStr(data.decode().rstrip("\r\n"))
    except UnicodeDecodeError:
        raise ConnectionSettingsError("TENOR_KAFKA_PASSWORD_FILE: not UTF-8") from None


def _readable(name: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConnectionSettingsError(f"{name}: {file}: {error.strerror}") from None
