"""The page on a gateway in a process of its own and a real Kafka; the test writes the results."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import expect

from streams.clock import now_ms
from streams.connection import Connection
from streams.events import Event, EventType
from tests.browser.conftest import Opened
from tests.browser.made import Call
from tests.browser.stage import PICTURES
from tests.browser.system import System, system
from tests.browser.test_connection import network
from tests.browser.test_session import said, texts_of
from tests.harness import Installation


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(kafka: Connection, tmp_path: Path) -> AsyncIterator[System]:
    async with system(kafka, tmp_path) as made:
        yield made


async def write(tenor: Installation, events: list[Event]) -> None:
    """As a worker would, and the pictures as a client."""
    sentiment = [each for each in events if each.type.startswith("tenor.sentiment")]
    await tenor.send("recognition", *(each for each in events if each not in sentiment))
    await tenor.send("sentiment", *sentiment)
    await tenor.send(
        "images", *(picture(each) for each in events if each.type is EventType.IMAGE_RECOGNIZED)
    )


def picture(recognized: Event) -> Event:
    """What it was recognised in."""
    id_ = recognized.data.decode().split('"image":"')[1].split('"')[0]
    data = (PICTURES / f"{id_.partition('-')[0]}.jpg").read_bytes()
    return Event(
        EventType.IMAGE_FRAME,
        id_,
        "made",
        recognized.session,
        recognized.time,
        channel="customer",
        content_type="image/jpeg",
        data=data,
    )


async def test_a_call_by_way_of_kafka(
    gateway: System, opened: Opened, complaints: list[str], tmp_path: Path
) -> None:
    """Half of it, a reload, the gateway is killed, the other half, another gateway: the page has
    all words, each once; picture, captions as a file and report are what Kafka has."""
    call = Call("made/call", now_ms() - 130_000, 120, seed=17)
    events = [each.event for each in call.results()]
    middle = len(events) // 2
    await write(gateway.tenor, events[:middle])
    page = await opened(f"{gateway.url}/#/s/made%2Fcall")
    await expect(page.locator(".item[data-final]").first).to_be_attached()
    await page.reload()
    await expect(page.locator(".item[data-final]").first).to_be_attached()
    await gateway.kill()
    await expect(page.locator("#link-state")).to_have_text("connection lost")
    await write(gateway.tenor, events[middle:])
    await gateway.start()
    await expect(page.locator(".over")).to_be_visible()
    assert await said(page) == texts_of(events)

    shown = page.locator(".item[data-kind=picture]").first
    await shown.scroll_into_view_if_needed()
    image = shown.get_by_role("img")
    await expect(image).to_be_visible()
    assert await image.evaluate("image => image.naturalWidth") > 0

    await page.locator(".menu summary").click()
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name="WebVTT captions").click()
    download = await downloading.value
    assert download.suggested_filename == "made-call.vtt"
    await download.save_as(tmp_path / "call.vtt")
    captions = (tmp_path / "call.vtt").read_text()
    assert captions.startswith("WEBVTT")
    assert "annoyed" in captions

    await page.locator(".menu summary").click()
    async with page.expect_popup() as opening:
        await page.get_by_role("button", name="Report").click()
    report = await opening.value
    await expect(report.get_by_text("annoyed").first).to_be_attached()
    await report.close()
    network(complaints)
