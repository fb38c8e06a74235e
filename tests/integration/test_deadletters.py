"""`tenor deadletters` on a real Kafka: what is shown of them, and that each goes back once."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from streams import codec
from streams.clock import now_ms
from streams.codec import Headers
from streams.deadletters import DeadLetterError, dead_letter
from streams.delivery import producer
from streams.events import Event, EventType
from tests.harness import Installation, eventually

COMMAND = [sys.executable, "-m", "streams.cli", "deadletters"]
PATIENCE_S = 60
Make = Callable[[], Installation]
Placed = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]
"""Partition, key, value and headers of a dead letter."""


def start(
    installation: Installation, *arguments: str, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env={**os.environ, **installation.settings},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(installation: Installation, *arguments: str) -> tuple[int, str, str]:
    """Exit status, output and errors; never a traceback."""
    process = start(installation, *arguments)
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in errors
    return process.returncode, output, errors


def listed(installation: Installation, *arguments: str) -> list[dict[str, object]]:
    status, output, _ = run(installation, "list", "--json", *arguments)
    assert status == 0
    return [json.loads(each) for each in output.splitlines()]


def message(number: int) -> Event:
    return Event(
        EventType.TEXT_MESSAGE,
        f"id-{number}",
        "test/letters",
        f"call-{number % 7}",
        now_ms(),
        content_type="text/plain",
        data=b"\x00\xff said %d" % number,
    )


def letter(
    number: int, reason: str = "bad-json", *, most: int = 1000, partition: int = 2
) -> Placed:
    """A text message that was put aside; its dead letter lies on another partition than it did."""
    error = DeadLetterError(reason, "a \x1b[31mmessage", "", partition, number)
    return (partition + 1) % 6, *dead_letter(*codec.encode(message(number)), error, most=most)


async def put(installation: Installation, letters: Sequence[Placed]) -> None:
    """Puts dead letters of the text topic aside."""
    await installation.make_topics()
    text = ("tenor-error-topic", installation.topics.text.encode())
    sender = producer(installation.brokers)
    await sender.start()
    try:
        for partition, key, value, headers in letters:
            named = [text if each[0] == text[0] else each for each in headers]
            topic = installation.topics.deadletters
            await sender.send(topic, value, key, partition=partition, headers=named)
    finally:
        await sender.stop()


def reader(installation: Installation, topic: str, isolation: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        asdict(installation.topics)[topic],
        **installation.brokers.options(),
        group_id=None,
        auto_offset_reset="earliest",
        isolation_level=isolation,
    )


async def committed(installation: Installation, topic: str = "text") -> list[ConsumerRecord]:
    """What is on a topic for who reads only what is committed."""
    consumer = reader(installation, topic, "read_committed")
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        found: list[ConsumerRecord] = []
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                found += batch
        return found
    finally:
        await consumer.stop()


def ids(records: Sequence[ConsumerRecord]) -> Counter[str]:
    return Counter(dict(record.headers)["ce_id"].decode() for record in records)


async def test_a_topic_that_is_not_there_or_empty_is_told(installation: Make) -> None:
    place = installation()
    status, _, errors = run(place, "list")
    assert status == 1
    assert f"no topic {place.topics.deadletters}" in errors
    await place.make_topics()
    for command in (["list"], ["replay", "--yes"]):
        status, output, errors = run(place, *command)
        assert status == 0
        assert "holds no such dead letter" in errors or output == "0 sent back\n"


async def test_they_are_listed_and_counted(installation: Make) -> None:
    place = installation()
    first = now_ms()
    await put(place, [letter(1), letter(2, "late"), letter(8, partition=5)])
    status, output, _ = run(place, "list")
    assert status == 0
    line = next(each for each in output.splitlines() if each.startswith("3:0 "))
    for part in ("bad-json", "call-1", "tenor.text.message.v1", f"{place.topics.text}/2/1"):
        assert part in line
    assert "a \\x1b[31mmessage" in line
    assert "\x1b" not in output
    assert "said" not in output
    counts = [each.split() for each in output.splitlines() if "│" in each]
    assert ["│", "bad-json", "│", "2", "│"] in counts
    assert ["│", "late", "│", "1", "│"] in counts
    assert [each["id"] for each in listed(place)] == ["0:0", "3:0", "3:1"]
    assert [each["id"] for each in listed(place, "--reason", "late")] == ["3:1"]
    assert [each["id"] for each in listed(place, "--session", "call-1")] == ["0:0", "3:0"]
    assert len(listed(place, "--since", "10m")) == 3
    assert not listed(place, "--since", codec.format_time(now_ms() + 60_000))
    assert len(listed(place, "--since", codec.format_time(first - 60_000))) == 3


async def test_all_of_one_is_shown(installation: Make, tmp_path: Path) -> None:
    place = installation()
    await put(place, [letter(1)])
    status, output, _ = run(place, "show", "3:0")
    assert status == 0
    assert "\x1b" not in output
    for part in ("bad-json", "call-1", "ce_id: id-1", "partition 2, offset 1", "00 ff 20 73 61 69"):
        assert part in output
    status, output, _ = run(place, "show", "3:0", "--value", str(tmp_path / "value"))
    assert status == 0
    assert "00 ff" not in output
    assert (tmp_path / "value").read_bytes() == message(1).data
    for missing in ("3:1", "5:0", "9:0"):
        status, _, errors = run(place, "show", missing)
        assert status == 1
        assert f"no dead letter {missing}" in errors


async def test_each_goes_back_as_it_was_and_once(installation: Make) -> None:
    place = installation()
    sent = [letter(n, ["bad-json", "model-refused"][n % 2], partition=n % 6) for n in range(20)]
    await put(place, sent)
    assert run(place, "replay", "--reason", "bad-json", "--dry-run")[:2] == (
        0,
        "10 would be sent back: bad-json 10\n",
    )
    assert not await committed(place)
    status, output, _ = run(place, "replay", "--reason", "bad-json")
    assert (status, output) == (0, "10 sent back: bad-json 10\n")
    for _ in range(2):  # the second time it finds nothing left to send
        status, output, errors = run(place, "replay", "--yes")
        assert status == 0
    assert output == "0 sent back\n"
    assert "20 were sent back before" in errors
    returned = {dict(each.headers)["ce_id"].decode(): each for each in await committed(place)}
    assert len(returned) == 20
    for number in range(20):
        key, value, headers = codec.encode(message(number))
        record = returned[f"id-{number}"]
        assert (record.partition, record.key, record.value) == (number % 6, key, value)
        untimed = [each for each in record.headers if each[0] != "ce_time"]
        assert untimed == [
            *(each for each in headers if each[0] != "ce_time"),
            ("tenor-replayed", b"1"),
        ]
    assert not listed(place)
    assert all(each["replayed"] for each in listed(place, "--all"))


async def test_what_cannot_or_should_not_go_back_is_told(installation: Make) -> None:
    place = installation()
    cut, elsewhere = letter(1, most=3), letter(2, partition=5)
    elsewhere = (0, *elsewhere[1:3], [*elsewhere[3], ("tenor-error-partition", b"77")])
    foreign: Headers = [("x", b"1")]
    await put(place, [cut, elsewhere, letter(3, "late"), (1, b"k", b"v", [*foreign]), letter(4)])
    status, output, errors = run(place, "replay", "--yes")
    assert (status, output) == (1, "1 sent back: bad-json 1\n")
    assert "3:0 cannot be sent back: it is not whole" in errors
    assert "0:0 cannot be sent back" in errors
    assert "1:0 cannot be sent back" in errors
    assert "1 stay: late" in errors
    assert ids(await committed(place)) == {"id-4": 1}
    status, output, errors = run(place, "replay", "--id", "3:1", "--id", "3:2", "--id", "4:9")
    assert (status, output) == (1, "1 sent back: late 1\n")
    assert "1 were sent back before" in errors
    assert "4:9 is no dead letter" in errors
    assert run(place, "replay", "--reason", "late")[:2] == (0, "0 sent back\n")
    assert ids(await committed(place)) == {"id-3": 1, "id-4": 1}


async def test_all_of_them_go_back_only_if_that_is_confirmed(installation: Make) -> None:
    place = installation()
    await put(place, [letter(1)])
    status, _, errors = run(place, "replay")
    assert status == 2
    assert "--yes" in errors
    ours, theirs = pty.openpty()
    for answer, count in ((b"n\n", 0), (b"y\n", 1)):
        os.write(ours, answer)
        process = start(place, "replay", stdin=theirs)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1 - count
        assert "Send them all back?" in errors
        assert len(await committed(place)) == count
    os.close(ours)
    os.close(theirs)


async def interrupted(
    place: Installation, how: signal.Signals, after: int
) -> subprocess.Popen[str]:
    """A replay that gets a signal when so many records of it have been seen, committed or not."""
    consumer = reader(place, "text", "read_uncommitted")
    await consumer.start()
    try:
        process = start(place, "replay", "--yes")
        seen = 0
        while seen < after:
            assert process.poll() is None, process.communicate()
            seen += sum(map(len, (await consumer.getmany(timeout_ms=5)).values()))
        process.send_signal(how)
        return process
    finally:
        await consumer.stop()


@pytest.mark.parametrize("after", [1, 101, 230])
async def test_a_replay_that_is_killed_can_be_repeated(installation: Make, after: int) -> None:
    place, count = installation(), 400
    await put(place, [letter(number, partition=number % 6) for number in range(count)])
    killed = await interrupted(place, signal.SIGKILL, after)
    assert killed.wait() == -signal.SIGKILL
    assert run(place, "replay", "--yes")[0] == 0
    assert ids(await committed(place)) == {f"id-{number}": 1 for number in range(count)}


@pytest.mark.parametrize("after", [1, 101])
async def test_a_second_operator_ends_the_replay_of_the_first(
    installation: Make, after: int
) -> None:
    place, count = installation(), 400
    await put(place, [letter(number, partition=number % 6) for number in range(count)])
    first = await interrupted(place, signal.SIGSTOP, after)
    assert run(place, "replay", "--yes")[0] == 0
    first.send_signal(signal.SIGCONT)
    _, errors = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 1
    assert "another replay" in errors
    assert "Traceback" not in errors
    assert ids(await committed(place)) == {f"id-{number}": 1 for number in range(count)}


async def test_the_workers_read_on_and_what_fails_again_comes_back(
    installation: Make, demo_call: Path
) -> None:
    place = installation()
    await place.make_topics()
    worker = place.start_worker(["images"])
    picture = (demo_call / "cat.jpg").read_bytes()
    good = Event(
        EventType.IMAGE_FRAME,
        "good",
        "test/letters",
        "call",
        now_ms(),
        channel="customer",
        content_type="image/jpeg",
        data=picture,
    )
    await place.send("images", replace(good, id="bad", data=b"no picture"))
    worker.ready()
    await eventually(lambda: len(listed(place)) == 1)
    for tries in range(3):
        assert [each["tries"] for each in listed(place)] == [tries]
        assert run(place, "replay", "--yes")[:2] == (0, "1 sent back: undecodable-image 1\n")
        await eventually(lambda: len(listed(place)) == 1)
    await place.send("images", good)
    (seen,) = await place.read(["recognition"], count=1, s=PATIENCE_S)
    assert seen.key == b"call"
    assert len(listed(place, "--all")) == 4
    await asyncio.to_thread(worker.stop)
