"""The page on all of Tenor: Kafka, gateway, workers with their models, and speech."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import soundfile
from playwright.async_api import expect

from streams.connection import Connection
from streams.events import Topics
from streams.history import read_history
from streams.replay import load, replay
from streams.report import word_error_rate
from streams.results import CaptionFinal
from tests.browser.conftest import PATIENCE_MS, Opened, browsing, listen, shoot
from tests.browser.system import System, system
from tests.browser.test_sending import begin
from tests.browser.test_session import said

MIC_S = 18.5
"""How much of the demo call is spoken into the microphone."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tenor(
    kafka: Connection, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[System]:
    async with system(kafka, tmp_path_factory.mktemp("speech")) as made:
        await asyncio.to_thread(made.tenor.start_worker().ready)
        yield made


async def captions(tenor: System, session: str) -> list[dict[str, Any]]:
    """The final captions that Kafka has of a session, in order of time."""
    topics = Topics.of(tenor.tenor.prefix)
    history = await read_history(tenor.tenor.brokers, topics, session)
    finals = [each.model_dump() for each in history.results if isinstance(each, CaptionFinal)]
    return sorted(finals, key=lambda each: (each["start"], each["channel"]))


async def test_the_demo_call_word_for_word_though_its_worker_dies(
    tenor: System, opened: Opened, demo_call: Path
) -> None:
    """The page is reloaded in the middle, the worker is killed and another one takes over: what
    the log has is on the page, each word once, and it is what was said."""
    script, topics = load([demo_call]), Topics.of(tenor.tenor.prefix)
    page = await opened(f"{tenor.url}/#/s/demo")
    playing = asyncio.create_task(replay(script, tenor.tenor.brokers, topics, "demo"))
    await expect(page.locator(".item[data-final]")).not_to_have_count(0)
    await shoot(page, "speech-live")
    await page.reload()
    await expect(page.locator(".item[data-final]")).not_to_have_count(0)
    await asyncio.to_thread(tenor.tenor.workers[-1].kill)
    await asyncio.to_thread(tenor.tenor.start_worker().ready)
    await playing
    await expect(page.locator(".over")).to_be_visible()
    finals = await captions(tenor, "demo")
    assert await said(page) == [each["text"] for each in finals]
    wrong = word_error_rate(script.utterances, finals)
    assert wrong is not None
    assert wrong < 0.2
    await expect(page.locator(".item[data-kind=picture]")).to_have_count(3)
    await shoot(page, "speech-ended")
    await page.set_viewport_size({"width": 360, "height": 740})
    await shoot(page, "speech-narrow")


async def test_what_a_microphone_hears_is_on_the_page(
    tenor: System, complaints: list[str], demo_call: Path, tmp_path: Path
) -> None:
    file = tmp_path / "voice.wav"
    tracks = [soundfile.read(demo_call / f"{name}.wav") for name in ("customer", "agent")]
    (customer, rate), (agent, _) = tracks
    soundfile.write(file, (customer + agent)[: round(MIC_S * rate)], rate, "PCM_16")
    there = [
        {**each, "channel": "customer"}
        for each in load([demo_call]).utterances
        if each["end"] < MIC_S
    ]
    async with browsing(f"--use-file-for-fake-audio-capture={file}%noloop") as browser:
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        listen(page, complaints)
        await page.goto(f"{tenor.url}/#/try", timeout=PATIENCE_MS)
        await begin(page, "spoken")
        await page.get_by_role("button", name="Start microphone").click()
        await expect(page.locator(".item").first).to_be_attached()
        await shoot(page, "microphone")
        await asyncio.sleep(MIC_S)
        await page.get_by_role("button", name="Stop microphone").click()
        await expect(page.locator(".report")).to_have_text("Everything was sent.")
        await page.get_by_role("button", name="End session").click()
        await expect(page.locator(".over")).to_be_visible()
        finals = await captions(tenor, "spoken")
        assert await said(page) == [each["text"] for each in finals]
        wrong = word_error_rate(there, finals)
        assert wrong is not None
        assert wrong < 0.3
        await shoot(page, "microphone-ended")
