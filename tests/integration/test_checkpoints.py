"""What is kept of a session comes back whole, every time."""

from __future__ import annotations

from collections.abc import Callable

from streams.delivery import KafkaCheckpoints, KafkaOutbox, State, producer
from streams.metrics import Metrics
from tests.harness import Installation, now

PARTITION = 2


async def test_the_last_state_of_each_session_is_loaded(
    installation: Callable[[], Installation],
) -> None:
    tenor = installation()
    await tenor.make_topics()
    checkpoints = KafkaCheckpoints(tenor.brokers, tenor.topics)
    assert await checkpoints.load("audio", PARTITION) == {}
    last = await _write(tenor)
    for _ in range(5):
        assert await checkpoints.load("audio", PARTITION) == last
    assert await checkpoints.load("audio", PARTITION + 1) == {}
    assert await checkpoints.load("join", PARTITION) == {"call/1": {"done": -1}}


async def _write(tenor: Installation) -> dict[str, State]:
    sender = producer(tenor.brokers)
    await sender.start()
    outbox = KafkaOutbox(sender, tenor.topics, Metrics(), now)
    try:
        await outbox.checkpoint("join", PARTITION, "call/1", {"done": -1})
        for step in range(300):
            await outbox.checkpoint("audio", PARTITION, f"call/{step % 7}", {"done": step})
    finally:
        await sender.stop()
    return {f"call/{step % 7}": {"done": step} for step in range(293, 300)}
