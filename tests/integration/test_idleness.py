"""A conversation in chat alone: it goes on by idleness, and ends if only one topic says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from streams.agents import signals
from streams.clock import now_ms
from streams.events import Event, EventType
from tests.harness import Installation, events


def message(text: str, id_: str) -> Event:
    return Event(
        type=EventType.TEXT_MESSAGE,
        id=id_,
        source="/test",
        session="chat",
        time=now_ms(),
        channel="customer",
        content_type="text/plain",
        data=text.encode(),
    )


async def test_a_chat_is_scored_when_it_pauses_and_summed_up_at_its_end(
    installation: Callable[[], Installation],
) -> None:
    tenor = installation()
    await tenor.make_topics()
    tenor.start_worker(["text", "join"], TENOR_IDLE_AFTER_S="2").ready()
    await tenor.send("text", message("This is terrible.", "1"))
    paused = await tenor.read(["sentiment"], count=2, s=60)
    assert [event.type for event in events(paused)] == [EventType.SENTIMENT_WINDOW] * 2
    await asyncio.sleep(3)  # the session is idle by now, not only its last message
    await tenor.send("text", signals.ended("chat", now_ms(), input_="text"))
    ended = await tenor.read(["sentiment"], until=EventType.SENTIMENT_SESSION, s=60)
    (summary,) = [
        json.loads(e.data) for e in events(ended) if e.type == "tenor.sentiment.session.v1"
    ]
    assert summary["channels"]["customer"]["windows"] == 1
    assert summary["channels"]["customer"]["label"] == "negative"
