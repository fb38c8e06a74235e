"""Kafka lets in whom it should and nobody else; who is refused is told why, once, and ends."""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import trustme
from pydantic import SecretStr

from streams import rights
from streams.connection import Connection
from streams.events import EventType, Topics
from streams.processes import CLI, WorkerProcess
from streams.rights import Right
from streams.settings import AGENTS
from tests.harness import Installation, eventually
from tests.integration.test_commands import environment
from tests.secure_kafka import PASSWORD, SecureKafka, secure_kafka

PATIENCE_S = 120
LINES = 150
"""More in a log than this, and something is said over and over again."""


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with secure_kafka(tmp_path_factory.mktemp("secure")) as kafka:
        yield kafka


@pytest.fixture
def tenor(secure: SecureKafka, tmp_path: Path) -> Iterator[Installation]:
    """Topics of its own, which nobody has a right to yet."""
    prefix = f"t{uuid.uuid4().hex[:8]}."
    made = Installation(secure.open, Topics.of(prefix), prefix, tmp_path)
    yield made
    made.stop()


def of_worker(tenor: Installation, *agents: str) -> set[Right]:
    return rights.of_worker(agents, tenor.topics, tenor.settings["TENOR_GROUP"])


def settings(connection: Connection) -> dict[str, str]:
    """How a user says it, with the password in the environment."""
    names = {
        "servers": "BROKERS",
        "security": "KAFKA_SECURITY",
        "mechanism": "KAFKA_SASL_MECHANISM",
    }
    said = {
        names.get(each.name, f"KAFKA_{each.name.upper()}"): getattr(connection, each.name)
        for each in fields(connection)
    }
    said["KAFKA_PASSWORD"] = connection.password.get_secret_value()
    return {f"TENOR_{name}": text for name, text in said.items() if text}


def run(
    command: list[str], tenor: Installation, connection: Connection
) -> subprocess.CompletedProcess[str]:
    """Runs a command of `tenor` to its end."""
    given = environment(**tenor.settings | settings(connection), TENOR_METRICS_PORT="0")
    return subprocess.run(
        [*CLI, *command], env=given, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def told(done: subprocess.CompletedProcess[str]) -> str:
    """The one line in which a command that was refused says why."""
    lines = done.stderr.splitlines()
    errors = [line for line in lines if line.startswith("Error: ")]
    assert (done.returncode, len(errors), lines[-1:]) == (1, 1, errors), done.stderr
    assert len(lines) < 5
    assert PASSWORD not in done.stderr + done.stdout
    return errors[0]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A message and a second of silence."""
    folder = tmp_path / "recording"
    folder.mkdir()
    soundfile.write(folder / "customer.wav", np.zeros(16_000, np.int16), 16_000)
    message = {"at": 0.5, "channel": "customer", "text": "This is terrible."}
    script = {"channels": {"customer": "customer.wav"}, "messages": [message]}
    (folder / "script.json").write_text(json.dumps(script))
    return folder


async def test_everybody_works_with_the_rights_of_the_table_and_no_others(
    secure: SecureKafka, tenor: Installation, recording: Path
) -> None:
    await tenor.make_topics()
    await secure.allow(of_worker(tenor, *AGENTS))
    await secure.allow(rights.of_producer(tenor.topics), "producer")
    await secure.allow(rights.of_reader(tenor.topics), "reader")
    await secure.allow(rights.of_keeper(tenor.topics), "keeper")
    worker = tenor.start_worker(**settings(secure.connection()), TENOR_LOG_LEVEL="DEBUG")
    await asyncio.to_thread(worker.ready)
    await tenor.send_raw("text", (b"call", b"no event", []))
    play = ["replay", str(recording), "--speed", "0", "--session", "call"]
    played = await asyncio.to_thread(run, play, tenor, secure.connection(user="producer"))
    assert played.returncode == 0, played.stderr
    assert await tenor.read(["deadletters"], count=1, s=PATIENCE_S)
    await tenor.read(["sentiment"], until=EventType.SENTIMENT_SESSION, s=PATIENCE_S)
    assert worker.stop() == 0
    log = worker.log.read_text()
    assert "ERROR" not in log
    assert PASSWORD not in log
    keep = ["deadletters", "replay", "--yes"]
    kept = await asyncio.to_thread(run, keep, tenor, secure.connection(user="keeper"))
    assert "1 sent back" in kept.stdout, kept.stderr
    seen = await asyncio.to_thread(watch, tenor, secure.connection(user="reader"))
    assert EventType.SENTIMENT_WINDOW in seen


def watch(tenor: Installation, connection: Connection) -> list[str]:
    """The types that `tenor watch` shows, to the summary of the session."""
    command = [*CLI, "watch", "--json", "--from-start"]
    given = environment(**tenor.settings | settings(connection))
    with subprocess.Popen(command, env=given, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        seen = list[str]()
        for line in process.stdout:
            seen.append(json.loads(line)["type"])
            if seen[-1] == EventType.SENTIMENT_SESSION:
                break
        process.kill()
    return seen


async def test_a_worker_is_known_by_its_certificate(
    secure: SecureKafka, tenor: Installation
) -> None:
    await tenor.make_topics()
    await secure.allow(of_worker(tenor, "join"), "certified")
    worker = tenor.start_worker(["join"], **settings(secure.certified("certified")))
    await asyncio.to_thread(worker.ready)
    await tenor.send_raw("features", (b"call", b"no event", []))
    assert await tenor.read(["deadletters"], count=1, s=PATIENCE_S)
    assert worker.stop() == 0


def strange(secure: SecureKafka) -> Connection:
    """With the authority of somebody else."""
    trustme.CA().cert_pem.write_to_path(secure.folder / "strange.pem")
    return replace(secure.connection(), ca_file=str(secure.folder / "strange.pem"))


REFUSED: dict[str, tuple[Callable[[SecureKafka], Connection], list[str]]] = {
    "password": (
        lambda secure: replace(secure.connection(), password=SecretStr("wrong")),
        ["does not accept user worker", "TENOR_KAFKA_PASSWORD"],
    ),
    "mechanism": (
        lambda secure: replace(secure.connection(), mechanism="SCRAM-SHA-256"),
        ["does not take SCRAM-SHA-256", "TENOR_KAFKA_SASL_MECHANISM"],
    ),
    "authority": (strange, ["is not trusted", "TENOR_KAFKA_CA_FILE"]),
    "expired": (lambda secure: secure.connection("EXPIRED"), ["certificate has expired"]),
    "host": (
        lambda secure: secure.connection(host="127.0.0.1"),
        ["mismatch", "TENOR_BROKERS must name"],
    ),
    "certificate": (
        lambda secure: secure.connection("MUTUAL"),
        ["does not accept our certificate", "TENOR_KAFKA_CERTIFICATE_FILE"],
    ),
    "protocol": (
        lambda secure: Connection(secure.connection().servers),
        ["no broker", "TENOR_KAFKA_SECURITY PLAINTEXT"],
    ),
    "no TLS": (
        lambda secure: replace(secure.connection(), servers=secure.open.servers),
        ["TENOR_KAFKA_SECURITY"],
    ),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_worker_that_is_not_let_in_says_why(
    secure: SecureKafka, tenor: Installation, wrong: str
) -> None:
    connection, expected = REFUSED[wrong]
    error = told(run(["worker"], tenor, connection(secure)))
    assert [each for each in expected if each not in error] == []


@pytest.mark.parametrize("wrong", ["password", "authority"])
@pytest.mark.parametrize("command", ["watch", "replay", "export"])
def test_other_commands_say_the_same(
    secure: SecureKafka, tenor: Installation, recording: Path, command: str, wrong: str
) -> None:
    arguments = {"watch": [], "replay": [str(recording)], "export": ["--session", "call"]}
    connection, expected = REFUSED[wrong]
    error = told(run([command, *arguments[command]], tenor, connection(secure)))
    assert [each for each in expected if each not in error] == []


LACKING = {
    "a topic to read": lambda tenor: Right("Topic", tenor.topics.features, "Read"),
    "a topic to write": lambda tenor: Right("Topic", tenor.topics.sentiment, "Write"),
    "a consumer group": lambda tenor: Right(
        "Group", f"{tenor.settings['TENOR_GROUP']}-join", "Read"
    ),
}


@pytest.mark.parametrize("what", LACKING)
async def test_a_right_that_a_worker_lacks_is_named(
    secure: SecureKafka, tenor: Installation, what: str
) -> None:
    await tenor.make_topics()
    lacking = LACKING[what](tenor)
    await secure.allow(of_worker(tenor, "join") - {lacking})
    done = await asyncio.to_thread(run, ["worker", "--agents", "join"], tenor, secure.connection())
    assert f"Kafka does not allow User:worker: {lacking};" in told(done)


async def test_a_worker_that_may_not_make_topics_says_so(
    secure: SecureKafka, tenor: Installation
) -> None:
    await secure.allow(of_worker(tenor, "join"))
    done = await asyncio.to_thread(run, ["worker", "--agents", "join"], tenor, secure.connection())
    assert "Kafka does not allow User:worker: Create on Topic:" in told(done)


async def test_other_commands_name_the_right_that_they_lack(
    secure: SecureKafka, tenor: Installation, recording: Path
) -> None:
    await tenor.make_topics()
    connection = secure.connection(user="other")
    done = await asyncio.to_thread(run, ["watch"], tenor, connection)
    assert f"User:other: Read on Topic:{tenor.topics.recognition}, Read on" in told(done)
    done = await asyncio.to_thread(run, ["replay", str(recording)], tenor, connection)
    assert f"User:other: Write on Topic:{tenor.topics.audio}, Write on" in told(done)


async def ended(worker: WorkerProcess) -> str:
    """The last line of a worker that ends by itself, and does not write much before."""
    await eventually(lambda: worker.ended, PATIENCE_S)
    log = worker.log.read_text()
    assert worker.process.returncode == 1, log
    assert len(log.splitlines()) < LINES, log
    assert PASSWORD not in log
    return log.splitlines()[-1]


@pytest.mark.parametrize("what", LACKING)
async def test_a_right_that_is_taken_away_ends_a_worker(
    secure: SecureKafka, tenor: Installation, what: str
) -> None:
    await tenor.make_topics()
    await secure.allow(of_worker(tenor, "join"))
    worker = tenor.start_worker(["join"], **settings(secure.connection()))
    await asyncio.to_thread(worker.ready)
    lacking = LACKING[what](tenor)
    await secure.forbid([lacking])
    assert f"Kafka does not allow User:worker: {lacking};" in await ended(worker)


async def test_a_password_that_has_changed_ends_a_worker_that_connects_anew(
    secure: SecureKafka, tenor: Installation
) -> None:
    await tenor.make_topics()
    await secure.allow(of_worker(tenor, "join"), "other")
    worker = tenor.start_worker(["join"], **settings(secure.connection(user="other")))
    await asyncio.to_thread(worker.ready)
    await asyncio.to_thread(secure.change_password, "other", "another")
    node = secure.broker.nodes[0]
    secure.broker.kill(node)
    secure.broker.start_node(node)
    assert "does not accept user other" in await ended(worker)
