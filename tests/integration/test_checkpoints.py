"""Checkpoints on a real Kafka: they come back whole, every time, and a zombie cannot spoil them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.harness import Installation, checkpoints

PARTITION = 2
Make = Callable[[], Installation]


@pytest.fixture
async def tenor(installation: Make) -> Installation:
    made = installation()
    await made.make_topics()
    return made


async def test_the_last_state_of_each_session_is_there(tenor: Installation) -> None:
    async with checkpoints(tenor) as kept:
        audio, join = await kept.claim("audio", PARTITION), await kept.claim("join", PARTITION)
        assert audio.states == join.states == {}
        await join.keep("call/1", {"done": -1})
        for step in range(300):
            await audio.keep(f"call/{step % 7}", {"done": step})
        for _ in range(5):
            found = await kept.claim("audio", PARTITION)
            assert found.states == {f"call/{step % 7}": {"done": step} for step in range(293, 300)}
        assert (await kept.claim("audio", PARTITION + 1)).states == {}
        assert (await kept.claim("join", PARTITION)).states == {"call/1": {"done": -1}}


async def test_what_a_former_owner_still_writes_has_no_effect(tenor: Installation) -> None:
    async with checkpoints(tenor) as kept:
        former = await kept.claim("join", PARTITION)
        await former.keep("call", {"done": 1})
        owner = await kept.claim("join", PARTITION)
        await owner.keep("call", {"done": 2})
        await former.keep("call", {"done": 1})
        await former.keep("other", {"done": 1})
        assert (await kept.claim("join", PARTITION)).states == {"call": {"done": 2}}


async def test_of_many_that_claim_at_once_each_gets_its_turn(tenor: Installation) -> None:
    async with checkpoints(tenor) as kept:
        claims = [kept.claim("join", PARTITION) for _ in range(5)]
        ledgers = await asyncio.gather(*claims)
        for place, ledger in enumerate(ledgers):
            await ledger.keep("call", {"by": place})
        (last,) = (await kept.claim("join", PARTITION)).states.values()
        assert last["by"] in range(5)


async def test_records_that_are_no_checkpoints_are_left_out(tenor: Installation) -> None:
    async with checkpoints(tenor) as kept:
        owner = await kept.claim("join", 0)
        await owner.keep("call", {"done": 1})
        key = f"join/{owner.owner}/call".encode()
        for broken in (b"nonsense", b"[1]", b"null", b"[" * 100_000, None):
            await tenor.send_raw("checkpoints", (key, broken, []))
        await tenor.send_raw("checkpoints", (b"\xff/\xff", b"{}", []), (b"/", b"{}", []))
        for partition in range(6):
            found = await kept.claim("join", partition)
            assert found.states in ({}, {"call": {"done": 1}})
