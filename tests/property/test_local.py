"""The audio agent in one process: every session gets what is said of it, whole, and nothing else.

The agent is the real one; its models are functions of the audio, as in the tests of crashes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agents.base import Means
from streams.clock import SkippingLoop
from streams.evaluation import coverage
from streams.events import EventType
from streams.local import BEGINNING, Captioner, LocalError, LocalOutbox
from streams.metrics import Metrics
from streams.replay import Moment
from streams.results import Result
from streams.settings import Settings
from tests.property.agents import Models, listening

MOMENTS_MS = st.lists(st.integers(20, 900), max_size=12)
"""Lengths of chunks; every second one is loud."""


@asynccontextmanager
async def captioner() -> AsyncIterator[Captioner]:
    outbox, metrics = LocalOutbox(), Metrics()
    models = Models(metrics)
    clock = asyncio.get_running_loop().time
    means = Means(Settings(), outbox, outbox, metrics, _fail, clock, lambda: BEGINNING)
    agent = listening(means, models)
    yield Captioner(agent, outbox)
    await agent.close()
    await models.close()
    for _ in range(5):
        await asyncio.sleep(0)  # generators that nobody holds any more are closed in turns to come
    assert asyncio.all_tasks() == {asyncio.current_task()}


def _fail(error: BaseException) -> None:
    raise error


def moments(lengths: Sequence[int], channel: str, seed: int = 0) -> list[Moment]:
    noise, made, start = np.random.default_rng(seed), [], 0
    for place, length in enumerate(lengths):
        loud = 8000 if place % 2 else 50
        audio = noise.integers(-loud, loud, 16 * length).astype("<i2").tobytes()
        end = start + length
        made.append(
            Moment(
                end / 1000,
                "audio",
                EventType.AUDIO_CHUNK,
                start / 1000,
                channel,
                "audio/L16;rate=16000",
                audio,
            )
        )
        start = end
    return made


async def one_by_one(chunks: Sequence[Moment], *, paced: bool = False) -> AsyncIterator[Moment]:
    clock = asyncio.get_running_loop().time
    begun = clock()
    for chunk in chunks:
        if paced:
            await asyncio.sleep(max(0.0, begun + chunk.at - clock()))
        yield chunk


async def heard(
    captions: Captioner, session: str, chunks: Sequence[Moment], *, paced: bool = False
) -> list[tuple[float, Result]]:
    return [each async for each in captions.caption(session, one_by_one(chunks, paced=paced))]


@settings(max_examples=25)
@given(st.lists(MOMENTS_MS, min_size=1, max_size=4), st.booleans())
def test_sessions_side_by_side_are_each_accounted_for(calls: list[list[int]], paced: bool) -> None:
    async def all_at_once() -> list[list[tuple[float, Result]]]:
        async with captioner() as captions:
            return await asyncio.gather(
                *(
                    heard(captions, f"call-{n}", moments(lengths, "c", n), paced=paced)
                    for n, lengths in enumerate(calls)
                )
            )

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        timelines = runner.run(all_at_once())
    for number, (lengths, timeline) in enumerate(zip(calls, timelines, strict=True)):
        assert {result.session for _, result in timeline} <= {f"call-{number}"}
        assert sum(coverage(timeline)) == sum(lengths)
        assert all(result.span()[0] >= BEGINNING for _, result in timeline)
        assert [at for at, _ in timeline] == sorted(at for at, _ in timeline)


@settings(max_examples=25)
@given(MOMENTS_MS)
def test_paced_by_the_clock_nothing_is_said_before_it_was_heard(lengths: list[int]) -> None:
    async def paced() -> tuple[int, list[tuple[float, Result]]]:
        async with captioner() as captions:
            start = round(captions.now())
            chunks = one_by_one(moments(lengths, "c"), paced=True)
            deliveries = captions.caption("call", chunks, start=start)
            return start, [each async for each in deliveries]

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        start, timeline = runner.run(paced())
    assert all(at >= result.span()[1] - 1 for at, result in timeline)
    assert all(result.span()[0] >= start for _, result in timeline)


async def test_a_refused_chunk_is_an_error_and_stops_no_other_session() -> None:
    chunks = moments([500] * 4, "c")
    broken = [*chunks[:2], replace(chunks[2], content_type="audio/L16;rate=7"), chunks[3]]
    async with captioner() as captions:
        good = asyncio.create_task(heard(captions, "good", chunks))
        with pytest.raises(LocalError, match="unsupported-rate"):
            await heard(captions, "broken", broken)
        assert sum(coverage(await good)) == 2000


async def test_an_error_of_who_reads_the_audio_is_passed_on() -> None:
    async def unreadable() -> AsyncIterator[Moment]:
        yield moments([500], "c")[0]
        raise OSError("the disk is gone")

    async with captioner() as captions:
        with pytest.raises(OSError, match="the disk is gone"):
            async for _ in captions.caption("call", unreadable()):
                pass
        assert sum(coverage(await heard(captions, "next", moments([500], "c")))) == 500


async def test_a_session_that_is_given_up_leaves_nothing_behind() -> None:
    async with captioner() as captions:
        deliveries = captions.caption("call", one_by_one(moments([900] * 20, "c")))
        await anext(deliveries)
        await deliveries.aclose()
