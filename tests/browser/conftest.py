"""A browser for the page's tests: the Chromium of the system, driven by Playwright.

All tests here share one event loop, and with it the browser and the gateway.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from tests.browser.stage import Stage, staged

CHROMIUM: Final = shutil.which("chromium")
FLAGS: Final = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)
PATIENCE_MS: Final = 240_000
"""How long anything may take: the machine may be busy with something else."""
SCREENSHOTS: Final = Path(__file__).parents[2] / ".run" / "screenshots"

Prepare = Callable[[Page], Awaitable[None]]
Opened = Callable[..., Awaitable[Page]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="there is no chromium on this machine"))


@asynccontextmanager
async def browsing(*more: str) -> AsyncIterator[Browser]:
    """A Chromium, with more flags."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*FLAGS, *more], timeout=PATIENCE_MS
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    async with browsing() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage() -> AsyncIterator[Stage]:
    """A gateway without keys, on logs in memory."""
    async with staged() as stage:
        yield stage


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the browser complains of; a test that expects something takes it out."""
    said: list[str] = []
    yield said
    assert not said, "the browser complained"


def forget(complaints: list[str], *expected: str) -> None:
    """Takes out what holds one of these."""
    complaints[:] = [each for each in complaints if not any(why in each for why in expected)]


@pytest_asyncio.fixture(loop_scope="session")
async def opened(browser: Browser, complaints: list[str]) -> AsyncIterator[Opened]:
    """Opens pages, each in a context of its own."""
    contexts = []

    async def open_(
        url: str,
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        before: Prepare | None = None,
    ) -> Page:
        context = await browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(PATIENCE_MS)
        context.set_default_navigation_timeout(PATIENCE_MS)
        contexts.append(context)
        page = await context.new_page()
        listen(page, complaints)
        if before:
            await before(page)
        await page.goto(url)
        return page

    yield open_
    for context in contexts:
        await context.close()


def listen(page: Page, complaints: list[str]) -> None:
    """Keeps what the browser complains of."""

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.text} ({message.location.get('url')})")

    page.on("console", said)
    page.on("pageerror", lambda error: complaints.append(str(error)))


async def shoot(page: Page, name: str) -> None:
    """A picture for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=SCREENSHOTS / f"{name}.png")
