"""The audio agent's own reader of typed texts, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from streams.clock import now_ms
from streams.context import Context
from streams.events import Event, EventType
from streams.settings import Settings
from streams.texts import AGENT, POSITION, FixedTexts, TextReader, Unassigned
from streams.topics import ensure_topics
from tests.harness import Installation, checkpoints

SESSIONS = ("call-1", "call-2", "call-3")


@pytest.fixture
async def tenor(installation: Callable[[], Installation]) -> Installation:
    """An installation with one partition, which the sessions of a test share."""
    made = installation()
    await ensure_topics(made.brokers, settings(made))
    return made


def settings(tenor: Installation) -> Settings:
    return Settings(topic_prefix=tenor.prefix, group=tenor.prefix.rstrip("."), partitions=1)


def unexpected(error: BaseException) -> None:
    raise AssertionError("Kafka failed") from error


@asynccontextmanager
async def reading(tenor: Installation) -> AsyncIterator[TextReader]:
    """A reader as a worker has one, on the only partition."""
    async with checkpoints(tenor) as kept:
        reader = TextReader(tenor.brokers, settings(tenor), kept, unexpected)
        try:
            await reader.assign(0)
            yield reader
        finally:
            await reader.close()


def typed(session: str, number: int, *terms: str) -> Event:
    return Event(
        type=EventType.TEXT_MESSAGE,
        id=f"{session}-{number}",
        source="test",
        session=session,
        time=now_ms(),
        content_type="application/json",
        data=json.dumps({"kind": "vocabulary", "vocabulary": terms}).encode(),
    )


def terms(context: Context) -> list[str]:
    return [term for text in context.texts for term in text.terms]


async def position(tenor: Installation) -> int:
    """What a reader would go on from."""
    async with checkpoints(tenor) as kept:
        return int((await kept.claim(AGENT, 0)).states[POSITION]["next"])


async def test_what_was_written_before_the_question_is_known(tenor: Installation) -> None:
    async with reading(tenor) as reader:
        assert terms(await reader.context(0, "call-1")) == []
        for number in range(20):
            await tenor.send("text", typed("call-1", number, f"Term{number}"))
            assert terms(await reader.context(0, "call-1"))[-1] == f"Term{number}"
        assert terms(await reader.context(0, "call-2")) == []


async def test_many_questions_at_once_are_all_answered_in_full(tenor: Installation) -> None:
    async with reading(tenor) as reader:
        asked = []
        for number in range(30):
            session = SESSIONS[number % 3]
            await tenor.send("text", typed(session, number, f"Term{number}"))
            for _ in range(10):
                asked.append((number, asyncio.create_task(reader.context(0, session))))
                await asyncio.sleep(0)
        for number, task in asked:
            assert f"Term{number}" in terms(await task)


async def test_a_restart_in_the_middle_changes_nothing(tenor: Installation) -> None:
    events = [typed(SESSIONS[number % 3], number, f"Term{number}") for number in range(30)]
    await tenor.send("text", *events[:12])
    async with reading(tenor) as reader:
        await reader.context(0, "call-1")
        await tenor.send("text", *events[12:20])  # nobody asks: not read
    assert await position(tenor) == 12
    await tenor.send("text", *events[20:])
    async with reading(tenor) as reader:
        again = [(await reader.context(0, session)).texts for session in SESSIONS]
    whole = [[f"Term{n}" for n in range(30) if n % 3 == place] for place in range(3)]
    assert [[term for text in texts for term in text.terms] for texts in again] == whole


async def test_what_was_kept_before_the_position_is_read_twice_and_known_once(
    tenor: Installation,
) -> None:
    await tenor.send("text", *(typed("call-1", number, f"Term{number}") for number in range(5)))
    async with reading(tenor) as reader:
        before = await reader.context(0, "call-1")
    async with checkpoints(tenor) as kept:
        await (await kept.claim(AGENT, 0)).keep(POSITION, {"next": 2})
    async with reading(tenor) as reader:
        assert (await reader.context(0, "call-1")).texts == before.texts


async def test_what_is_forgotten_stays_forgotten(tenor: Installation) -> None:
    await tenor.send("text", typed("call-1", 1, "One"), typed("call-2", 2, "Two"))
    async with reading(tenor) as reader:
        assert terms(await reader.context(0, "call-1")) == ["One"]
        await reader.forget(0, "call-1")
        assert terms(await reader.context(0, "call-1")) == []
    async with reading(tenor) as reader:
        assert terms(await reader.context(0, "call-1")) == []
        assert terms(await reader.context(0, "call-2")) == ["Two"]


async def test_what_is_no_text_is_passed_over(tenor: Installation) -> None:
    await tenor.send("text", typed("call-1", 1, "One"))
    await tenor.send_raw("text", (b"call-1", b"nonsense", []), (None, b"more", []))
    end = Event(EventType.SESSION_ENDED, "end", "test", "call-1", now_ms())
    await tenor.send("text", end, typed("call-1", 2, "Two"))
    async with reading(tenor) as reader:
        assert terms(await reader.context(0, "call-1")) == ["One", "Two"]
    assert await position(tenor) == 5


async def test_a_partition_that_went_away_is_not_asked(tenor: Installation) -> None:
    async with reading(tenor) as reader:
        await tenor.send("text", *(typed("call-1", number, "One") for number in range(50)))
        waiting = asyncio.create_task(reader.context(0, "call-1"))
        await asyncio.sleep(0)
        await reader.revoke({0, 7})
        with pytest.raises(Unassigned):
            await waiting
        with pytest.raises(Unassigned):
            await reader.context(0, "call-1")
        await reader.assign(0)
        assert terms(await reader.context(0, "call-1"))[:1] == ["One"]


async def test_without_kafka_there_is_a_fixed_vocabulary() -> None:
    texts = FixedTexts(["Zephyrine", "QX-42"])
    await texts.assign(3)
    assert terms(await texts.context(3, "any")) == ["Zephyrine", "QX-42"]
    assert (await FixedTexts().context(3, "any")).texts == ()
