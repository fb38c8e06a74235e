"""The settings of the gateway: environment variables `TENOR_GATEWAY_*`.

The way to Kafka, the topics and the level of the log are those of `streams.settings`.
"""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 2**20


class GatewaySettings(BaseSettings):
    """Read from the environment when it is made; refused if out of range."""

    model_config = SettingsConfigDict(env_prefix="TENOR_GATEWAY_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="0: any free port")
    keys_file: str = Field(
        "", description="API keys (`tenor keys`); empty: no key is asked for, on loopback only"
    )
    origins: str = Field(
        "",
        pattern=r"^(https?://[^/\s,]+(,https?://[^/\s,]+)*)?$",
        description="Of other pages that may use it, as https://host,..; its own always may",
    )
    tls_certificate: str = Field("", description="Certificate chain (PEM); empty: no TLS")
    tls_key: str = Field("", description="Its key (PEM), if not in the same file")
    metrics_host: str = Field("127.0.0.1", description="Where /metrics, /livez, /readyz listen")
    metrics_port: int = Field(9101, ge=0, le=65535, description="0: any free port")

    events_per_second: float = Field(
        2000.0, gt=0, description="Requests and messages of one key, over time"
    )
    bytes_per_second: float = Field(16.0 * MIB, gt=0, description="What one key sends, over time")
    burst_s: float = Field(5.0, gt=0, le=3600, description="So much of both may come at once")
    sessions_per_key: int = Field(200, ge=1, description="Sessions being sent at one time")
    streams_per_key: int = Field(1000, ge=1, description="Streams of results at one time")
    connections: int = Field(4096, ge=1, description="Of all clients; more are answered 503")
    longest_session_s: float = Field(
        14_400.0, gt=0, description="Audio of one session; then it is ended"
    )
    message_bytes: int = Field(
        MIB, ge=1024, le=64 * MIB, description="The largest message on a WebSocket"
    )
    text_bytes: int = Field(64 * 1024, ge=1024, le=64 * 1024, description="The largest text")
    image_bytes: int = Field(16 * MIB, ge=1024, le=16 * MIB, description="The largest picture")
    file_bytes: int = Field(64 * MIB, ge=1024, le=1024 * MIB, description="The largest audio file")
    bodies_bytes: int = Field(
        512 * MIB, ge=0, description="Of all of them that are held at one time, or of one file"
    )
    file_s: float = Field(7200.0, gt=0, description="The longest audio file")
    drain_s: float = Field(
        20.0, ge=0, le=600, description="How long clients may take to leave when it stops"
    )
    notice_s: float = Field(
        0.0, ge=0, le=600, description="Before that, how long it is not ready, yet takes all"
    )

    @property
    def allowed_origins(self) -> list[str]:
        """Those of other pages."""
        return [each for each in self.origins.lower().split(",") if each]
