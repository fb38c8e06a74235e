"""The Kafka of deploy/compose.yaml: its settings, as its image turns them into a configuration.

That is done by a class of Kafka itself, which is run here; only addresses and folders are others.
Our own commands have no packages but those of their images.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from PIL import Image

from streams.broker import Broker, Node
from streams.processes import GatewayProcess
from streams.settings import Settings
from tests.deployment import compose

FILES: Final = ("server.properties", "log4j2.yaml", "tools-log4j2.yaml")
"""What the image has of its own, and its settings replace."""
LOGGING: Final = """\
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %p %c: %m%n
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""
IN_IMAGE: Final = (sys.executable, "-m", "tests.image_packages")


def settings_of(number: int) -> dict[str, str]:
    """The environment of a node."""
    environment = compose()["services"][f"kafka-{number}"]["environment"]
    return {name: str(value) for name, value in environment.items()}


class ComposeKafka(Broker):
    """Three nodes that have been told what the three containers are told."""

    def _configure(self, node: Node, cluster: str) -> None:
        for folder in ("image", "mounted"):
            (node.folder / folder).mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (node.folder / "image" / name).touch()
        (node.folder / "log4j2.properties").write_text(LOGGING)
        folders = ("--default-configs-dir", node.folder / "image", "--mounted-configs-dir")
        subprocess.run(
            [*self._jvm(node, "128m"), "kafka.docker.KafkaDockerWrapper", "setup", *folders,
             node.folder / "mounted", "--final-configs-dir", node.folder],
            env=self._at_home(settings_of(node.id), node),
            check=True,
            capture_output=True,
        )  # fmt: skip

    def _at_home(self, settings: Mapping[str, str], node: Node) -> dict[str, str]:
        """The same on loopback, and in our folders."""
        moved = {"0.0.0.0:9092": f"127.0.0.1:{node.port}"}
        moved["0.0.0.0:9093"] = f"127.0.0.1:{node.controller_port}"
        for each in self.nodes:
            moved[f"kafka-{each.id}:9092"] = f"127.0.0.1:{each.port}"
            moved[f"kafka-{each.id}:9093"] = f"127.0.0.1:{each.controller_port}"
        moved["/var/lib/kafka/data"] = str(node.folder / "data")
        return {name: _replaced(value, moved) for name, value in settings.items()}


def _replaced(text: str, by: Mapping[str, str]) -> str:
    for old, new in by.items():
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def compose_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeKafka]:
    kafka = ComposeKafka(tmp_path_factory.mktemp("kafka"), nodes=3)
    with kafka:
        yield kafka


def settings_for(service: str, kafka: Broker) -> dict[str, str]:
    """The environment of one of our services, with this Kafka."""
    environment = compose()["services"][service]["environment"]
    return {**{name: str(value) for name, value in environment.items()}, **kafka.environment}


def said(*command: str, **settings: str) -> str:
    """What a command of the gateway's image says."""
    done = subprocess.run(
        [*IN_IMAGE, "gateway", *command],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout


async def replicas(kafka: Broker) -> dict[str, list[tuple[int, int]]]:
    """Of each topic, per partition: how many there are to be, and how many are up to date."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        return {
            topic["topic"]: [(len(p["replicas"]), len(p["isr"])) for p in topic["partitions"]]
            for topic in await admin.describe_topics()
        }
    finally:
        await admin.close()


def test_the_settings_arrive_as_they_are_meant(compose_kafka: ComposeKafka) -> None:
    for node in compose_kafka.nodes:
        lines = (node.folder / "server.properties").read_text().splitlines()
        configured = dict(line.split("=", 1) for line in lines if line)
        told = {
            name.removeprefix("KAFKA_").lower().replace("_", ".")
            for name in settings_of(node.id)
            if name not in {"CLUSTER_ID", "KAFKA_HEAP_OPTS"}
        }
        assert set(configured) == told
        assert configured["node.id"] == str(node.id)
        assert "unknown" not in (node.folder / "kafka.log").read_text().lower()


async def test_topics_are_on_every_node(compose_kafka: ComposeKafka) -> None:
    settings = settings_for("topics", compose_kafka)
    shown = dict(line.split("\t") for line in said("topics", **settings).splitlines())
    assert set(shown.values()) == {str(Settings().partitions)}
    copies = await replicas(compose_kafka)
    assert {name: copies[name] for name in shown} == {
        name: [(3, 3)] * Settings().partitions for name in shown
    }


def test_what_a_client_sends_is_taken_though_a_node_dies(
    compose_kafka: ComposeKafka, tmp_path: Path, demo_call: Path
) -> None:
    file = str(tmp_path / "keys.json")
    key = said("keys", "add", "somebody", TENOR_GATEWAY_KEYS_FILE=file).strip()
    settings = settings_for("gateway", compose_kafka) | {"TENOR_GATEWAY_KEYS_FILE": file}
    gateway = GatewayProcess.start(
        tmp_path / "gateway.log", settings, command=(*IN_IMAGE, "gateway")
    )
    picture = io.BytesIO()
    Image.new("RGB", (64, 64)).save(picture, "PNG")
    recording = (demo_call / "agent.wav").read_bytes()
    with gateway.running(), httpx.Client(base_url=f"{gateway.url}/v1/sessions/s/") as http:
        http.headers["Authorization"] = f"Bearer {key}"
        http.timeout = httpx.Timeout(60)
        assert posted(http, "audio?channel=agent", "audio/wav", recording) == 201
        assert posted(http, "images", "image/png", picture.getvalue()) == 201
        assert posted(http, "text", "text/plain", b"Hello.") == 201
        compose_kafka.kill(compose_kafka.nodes[0])
        assert [posted(http, "text", "text/plain", b"Still here?") for _ in range(6)] == [201] * 6
        texts = http.get("texts").json()["texts"]
        assert [each["text"] for each in texts] == ["Hello."] + ["Still here?"] * 6


def posted(http: httpx.Client, path: str, content_type: str, data: bytes) -> int:
    """What the gateway answers."""
    return http.post(path, headers={"Content-Type": content_type}, content=data).status_code
