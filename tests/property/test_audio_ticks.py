"""What a tick in the log of audio means when it is read again, after a life that ended anywhere."""

from __future__ import annotations

from tests.property.agents import T0, Blow, World, live, undisturbed
from tests.property.calls import chunk, end, sound, tick
from tests.property.standins import listening


def test_a_tick_means_no_channel_that_came_after_it() -> None:
    """Whatever its writer says that it had seen; nothing was committed before the worker died, and
    what the next one reads again it knows more of than the first one did."""
    second = sound(False, 16_000)
    log = [
        chunk("one", "customer", T0, second),
        tick("one", T0 + 1000, "agent"),
        chunk("one", "agent", T0, second),
        chunk("one", "agent", T0 + 1500, second, "after a gap"),
        end("one"),
    ]
    calm, calls = undisturbed("audio", log, listening)
    for call in range(calls):
        world = World("audio", log)
        live(world, listening, Blow(call, 1.0), paced=True)
        world.position = 0
        live(world, listening)
        assert world.results() == calm.results()
