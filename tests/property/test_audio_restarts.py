"""From which checkpoint the audio agent goes on, and how: with what waited in a channel when it was
written, and what was on its way to the dead letters.

These moments are rare among those that Hypothesis chooses, so they are made here.
"""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from streams.delivery import Record
from streams.events import Event
from tests.property.agents import T0, Assignment, Blow, Desk, Process, World, live, undisturbed
from tests.property.calls import chunk, cut, end, sound
from tests.property.standins import listening


def part(begin: int, until: int, number: int | None = None) -> Event:
    """A chunk [begin, until) of silence, in ms from T0 on."""
    return chunk("one", "agent", T0 + begin, sound(False, 16 * (until - begin)), number=number)


@pytest.mark.parametrize("effect", [0.0, 1.0])
@pytest.mark.parametrize("paced", [False, True])
def test_whatever_it_was_about_to_write_it_goes_on_from_there(effect: float, paced: bool) -> None:
    """And whether that was written or not: what is acknowledged must be in a checkpoint already."""
    audio = np.concatenate([sound(piece % 2 == 1, 12_000, piece) for piece in range(8)])
    parts = np.split(audio, 30)
    log: list[Event] = [chunk("one", "agent", T0 + 200 * n, each) for n, each in enumerate(parts)]
    log.append(end("one"))
    calm, calls = undisturbed("audio", log, listening)
    for call in range(calls):
        world = World("audio", log)
        live(world, listening, Blow(call, effect), paced=paced)
        live(world, listening)
        assert world.results() == calm.results()


HELD = [part(0, 100, 1), part(500, 1000, 5), cut("one", "agent", T0 + 1000)]
"""What comes after a gap, and is waited before; the last of it ends a piece."""
FORGOTTEN = part(700, 1550, 4)
"""It ends so late that nothing is waited for any more, and begins before what then was heard."""


@pytest.mark.parametrize(
    ("before", "last"),
    [
        ([part(0, 500, 4), HELD[-1]], part(500, 1000, 5)),  # was heard
        (HELD, FORGOTTEN),  # was late
    ],
)
def test_a_channel_goes_on_with_the_last_record_that_it_knew_though_that_is_done(
    before: list[Event], last: Event
) -> None:
    """Of two chunks that were put in order then, the next record came after both."""
    log = [*before, part(1000, 1300, 6), part(1300, 1490, 7), last, part(1100, 1400), end("one")]
    calm, calls = undisturbed("audio", log, listening)
    assert (len(before) + 3, "late") in calm.dead_letters
    for call in range(calls):
        world = World("audio", log)
        live(world, listening, Blow(call, 1.0), paced=True)
        live(world, listening)
        assert world.results() == calm.results()


class Stuck(Desk):
    """Writes no dead letter, and dies when there is a checkpoint for each of three pieces."""

    async def dead_letter(self, record: Record, reason: str, message: str) -> None:
        while len(self.world.checkpoints) < 1 + 3:  # noqa: ASYNC110  (a world tells nobody)
            await asyncio.sleep(0)
        self.struck.set()
        await asyncio.Future()


async def test_a_checkpoint_leads_back_to_what_is_not_yet_among_the_dead_letters() -> None:
    """All else is done when it is written."""
    log = [*HELD, FORGOTTEN, end("one")]
    calm, world = World("audio", log), World("audio", log)
    for desk in (Desk(calm), Stuck(world), Desk(world)):
        process = Process(desk.world, listening, desk)
        await process.assigned(paced=False)
        await process.close()
    assert calm.dead_letters == {(len(HELD), "late")}
    assert world.results() == calm.results()


async def test_what_a_revoked_partition_loads_late_is_not_kept() -> None:
    """The partition goes while its checkpoints are read: those are outdated when it comes back."""
    second = sound(False, 16_000)
    log = [chunk("one", "agent", T0, second), end("one")]
    world = World("audio", log)
    process = Process(world, listening, Desk(world))
    assignment = Assignment(world, process.agent)
    handing = asyncio.create_task(assignment.work(paced=False))
    await asyncio.sleep(0)  # it is reading
    assignment.drop()
    await process.agent.revoke({0})
    assignment.end()
    done = json.dumps({"done": 1, "channels": {}, "heard": [], "latest": {}})
    world.checkpoints += [("other", "", ""), ("other", "one", done)]  # by who had it meanwhile
    await asyncio.sleep(0.01)
    handing.cancel()
    await process.assigned(paced=False)
    await process.close()
    assert not world.delivered
