"""Sick models: a worker whose model hangs, fails or never comes back loses nothing, and says so."""

from __future__ import annotations

import asyncio
import sys
import urllib.error
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.connection import Connection
from streams.events import EventType, Topics
from streams.metrics import read_metrics
from streams.processes import WorkerProcess
from streams.replay import Script, load, replay
from tests.harness import Installation, events, eventually

Admit = Callable[[], "Ward"]
Finals = dict[str, tuple[str, str, bytes]]

ROOT = Path(__file__).parents[2]
START = 1_700_000_000_000
FINAL = {
    EventType.CAPTION_FINAL,
    EventType.CAPTION_SILENCE,
    EventType.CAPTION_GAP,
    EventType.FEATURE,
}
CALL_S = 20
"""Of the demo call."""
HANG_S = 10
"""Longer than Kafka waits for a sign of life."""
SHORT = {
    "TENOR_SESSION_TIMEOUT_S": "6",
    "TENOR_MODEL_STALL_S": "2",
    "TENOR_QUEUE_BYTES": str(2**20),  # the call is longer
}


class Ward:
    """An installation whose models fall sick by switches, which are files."""

    def __init__(self, kafka: Connection, folder: Path, script: Script) -> None:
        prefix = f"t{uuid.uuid4().hex[:8]}."
        self.installation = Installation(kafka, Topics.of(prefix), prefix, folder)
        self._folder = folder
        self._script = script

    def switch(self, name: str) -> Path:
        return self._folder / name

    def start(self, **more: str) -> WorkerProcess:
        settings = {"PYTHONPATH": str(ROOT), "TENOR_TEST_FAULTS": str(self._folder), **more}
        installed, number = self.installation, len(self.installation.workers)
        worker = WorkerProcess.start(
            self._folder / f"worker-{number}.log",
            {**installed.settings, **SHORT, **settings},
            agents=["audio"],
            command=(sys.executable, "-m", "tests.faults"),
        )
        installed.workers.append(worker)
        worker.ready()
        return worker

    async def play(self) -> None:
        topics, brokers = self.installation.topics, self.installation.brokers
        await replay(self._script, brokers, topics, "call-1", speed=0, start=START)

    async def finals(self) -> Finals:
        """Each final result of the call, once."""
        topics = ("recognition", "features")
        records = await self.installation.read(topics, until=EventType.SESSION_ENDED, s=120)
        found: Finals = {}
        for event in events(records):
            if event.type in FINAL:
                content = (event.type.value, event.channel, event.data)
                assert found.setdefault(event.id, content) == content
        return found


@pytest.fixture(scope="module")
def admit(
    kafka: Connection, demo_call: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Admit]:
    moments = tuple(each for each in load([demo_call]).moments if each.at <= CALL_S)
    made: list[Ward] = []

    def one() -> Ward:
        made.append(Ward(kafka, tmp_path_factory.mktemp("ward"), Script(moments)))
        return made[-1]

    yield one
    for ward in made:
        ward.installation.stop()


@pytest.fixture(scope="module")
def sound(admit: Admit) -> Finals:
    """What comes of the call when all models are sound."""

    async def undisturbed(ward: Ward) -> Finals:
        worker = ward.start()
        await ward.play()
        finals = await ward.finals()
        assert {type_ for type_, *_ in finals.values()} == FINAL - {EventType.CAPTION_GAP}
        assert worker.get("readyz") == "ok\n"
        assert worker.stop() == 0
        return finals

    return asyncio.run(undisturbed(admit()))


@pytest.fixture
def ward(admit: Admit) -> Ward:
    return admit()


async def told(worker: WorkerProcess, reason: str) -> None:
    """Waits until the worker says that it is not ready for this reason, and only that."""

    def says_so() -> bool:
        try:
            worker.get("readyz")
        except urllib.error.HTTPError as answer:
            said = answer.read().decode()
            assert answer.code == 503
            return reason in said and ";" not in said
        return False

    await eventually(says_so)


def figures(worker: WorkerProcess) -> dict[str, float]:
    return read_metrics(worker.get("metrics"))


def lines(worker: WorkerProcess, words: str) -> int:
    return sum(words in line for line in worker.log.read_text().splitlines())


async def test_a_model_that_hangs_and_one_that_fails_are_told_and_waited_for(
    ward: Ward, sound: Finals
) -> None:
    worker = await asyncio.to_thread(ward.start)
    hang, fail = ward.switch("vad.hang"), ward.switch("speech.raise")
    hang.touch()
    fail.touch()
    await ward.play()
    await told(worker, "model vad has not answered for")
    await asyncio.sleep(HANG_S)
    seen = figures(worker)
    assert seen["tenor_model_stalled_seconds/vad"] >= HANG_S
    assert seen["tenor_consumer_lag_events/audio/audio"] > 0
    assert seen["tenor_consumer_lag_seconds/audio/audio"] >= HANG_S
    assert worker.get("livez") == "ok\n"

    hang.unlink()
    await told(worker, "model speech has failed for")
    seen = figures(worker)
    assert seen["tenor_model_errors_total/speech"] > 0
    assert seen["tenor_model_stalled_seconds/vad"] < HANG_S
    await eventually(lambda: lines(worker, "model speech") == 2)  # one loads it

    fail.unlink()
    assert await ward.finals() == sound
    assert worker.get("readyz") == "ok\n"
    assert not await ward.installation.read(["deadletters"], s=1)
    await eventually(lambda: (lines(worker, "model vad"), lines(worker, "model speech")) == (3, 3))
    assert not lines(worker, "eartbeat")
    assert worker.stop() == 0


async def test_a_call_that_never_comes_back_ends_the_worker_and_the_next_one_goes_on(
    ward: Ward, sound: Finals
) -> None:
    worker = await asyncio.to_thread(lambda: ward.start(TENOR_MODEL_TIMEOUT_S="3"))
    hang = ward.switch("speech.hang")
    hang.touch()
    await ward.play()
    assert await asyncio.to_thread(worker.process.wait, 60) == 1
    assert lines(worker, "ERROR") == 1
    assert lines(worker, "model speech has not answered for") == 2
    hang.unlink()
    await asyncio.to_thread(ward.start)
    assert await ward.finals() == sound
    assert not await ward.installation.read(["deadletters"], s=1)


async def test_a_model_that_fails_for_long_ends_the_worker_with_nothing_given_up(
    ward: Ward,
) -> None:
    worker = await asyncio.to_thread(lambda: ward.start(TENOR_MODEL_FAILURE_S="2"))
    ward.switch("vad.raise").touch()
    await ward.play()
    assert await asyncio.to_thread(worker.process.wait, 60) == 1
    assert "model vad has failed for" in worker.log.read_text().splitlines()[-1]
    assert not await ward.installation.read(["recognition", "deadletters"], s=1)
