"""Connections that drop, pages that are reloaded, keys that do not fit."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, Request, expect

from streams.clock import now_ms
from streams.gateway import keys
from streams.gateway.keys import Caller, Scope
from tests.browser.conftest import Opened, forget
from tests.browser.stage import Stage, staged
from tests.browser.test_session import address, final, said


def write(stage: Stage, session: str, start: int, numbers: range) -> None:
    for number in numbers:
        stage.write(final(session, start + number * 2000, f"Sentence {number}."))


def sentences(numbers: range) -> list[str]:
    return [f"Sentence {number}." for number in numbers]


def network(complaints: list[str]) -> None:
    """Forgets what a browser says of connections that drop, and of a gateway that stops."""
    forget(complaints, "net::ERR", "a status of 503")


async def test_a_reload_in_the_middle_misses_nothing(stage: Stage, opened: Opened) -> None:
    start = now_ms()
    write(stage, "reload", start, range(5))
    page = await opened(address(stage, "reload"))
    await expect(page.locator(".item")).to_have_count(5)
    write(stage, "reload", start, range(5, 8))
    await expect(page.locator(".item")).to_have_count(8)
    reloading = page.reload()
    write(stage, "reload", start, range(8, 12))
    await reloading
    write(stage, "reload", start, range(12, 14))
    await expect(page.locator(".item")).to_have_count(14)
    assert await said(page) == sentences(range(14))


async def test_it_goes_on_where_it_was_when_the_gateway_is_back(
    stage: Stage, opened: Opened, complaints: list[str]
) -> None:
    start = now_ms()
    write(stage, "drop", start, range(4))
    page = await opened(address(stage, "drop"))
    await expect(page.locator(".item")).to_have_count(4)
    await expect(page.locator("#link")).to_have_attribute("data-state", "open")
    asked: list[str | None] = []

    def asks(request: Request) -> None:
        if request.url.endswith("/results"):
            asked.append(request.headers.get("last-event-id"))

    page.on("request", asks)
    await stage.leave()
    await expect(page.locator("#link")).to_have_attribute("data-state", "waiting")
    await expect(page.locator("#link-state")).to_have_text("connection lost")
    write(stage, "drop", start, range(4, 9))
    await stage.open()
    await expect(page.locator("#link")).to_have_attribute("data-state", "open")
    write(stage, "drop", start, range(9, 11))
    await expect(page.locator(".item")).to_have_count(11)
    assert await said(page) == sentences(range(11))
    assert asked
    assert all(asked), "it asks for what follows the last that it has"
    network(complaints)


STATES = """
window.states = new Set();
const look = () => window.states.add(document.getElementById('link-state')?.textContent);
new MutationObserver(look).observe(document, { childList: true, subtree: true });
"""


@pytest.mark.parametrize("rest", ["", "/captions"])
async def test_nothing_is_lost_where_all_is_well(stage: Stage, opened: Opened, rest: str) -> None:
    write(stage, "well", now_ms(), range(2))
    page = await opened(
        address(stage, "well", rest), before=lambda page: page.add_init_script(STATES)
    )
    await expect(page.get_by_text("Sentence 1.").first).to_be_attached()
    states = await page.evaluate("[...window.states]")
    assert "connected" in states
    assert "connection lost" not in states


async def test_it_says_how_far_behind_it_is(stage: Stage, opened: Opened) -> None:
    page = await opened(address(stage, "lag"))
    await expect(page.locator("#link")).to_have_attribute("data-state", "open")
    stage.write(final("lag", now_ms() - 3000, "Just now."))
    await expect(page.locator("#link-lag")).to_have_text(re.compile(r"delay \d.* newest \d.* old"))


@pytest_asyncio.fixture(loop_scope="session")
async def locked(tmp_path: Path) -> AsyncIterator[tuple[Stage, str, Path]]:
    """A gateway with a key, which reads only what begins with acme/."""
    file = tmp_path / "keys.json"
    secret = keys.add(file, Caller("page", frozenset({Scope.READ}), "acme/"), "")
    async with staged(file) as stage:
        yield stage, secret, file


def watched(page: Page) -> list[str]:
    """The addresses that it asks for."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    return asked


def refused(complaints: list[str]) -> None:
    """Forgets what a browser says of refusals, which are wanted here."""
    forget(complaints, "the server responded with a status of 40")


async def test_it_asks_for_a_key_and_keeps_it_to_itself(
    locked: tuple[Stage, str, Path], opened: Opened, complaints: list[str]
) -> None:
    stage, secret, _ = locked
    write(stage, "acme/1", now_ms(), range(3))
    page = await opened(stage.url)
    asked = watched(page)
    dialog = page.get_by_role("dialog", name="This gateway asks for a key")
    await expect(dialog).to_be_visible()
    await dialog.get_by_label("API key").fill("wrong")
    await dialog.get_by_role("button", name="Use this key").click()
    await expect(dialog).to_contain_text("this key does not count")
    await dialog.get_by_label("API key").fill(secret)
    await page.keyboard.press("Enter")
    await expect(page.locator(".row .name")).to_have_text("acme/1")
    await expect(dialog).to_be_hidden()
    await page.get_by_role("link", name="acme/1", exact=True).click()
    await expect(page.locator(".item")).to_have_count(3)
    await page.reload()
    await expect(page.locator(".item")).to_have_count(3)

    assert not [url for url in asked if secret in url or "wrong" in url]
    assert secret not in await page.evaluate("JSON.stringify({...localStorage}) + document.cookie")
    other = await page.context.new_page()
    await other.goto(stage.url)
    await expect(other.get_by_role("dialog")).to_be_visible()
    refused(complaints)


async def test_what_a_key_may_not_is_said(
    locked: tuple[Stage, str, Path], opened: Opened, complaints: list[str]
) -> None:
    stage, secret, file = locked
    page = await opened(address(stage, "umbra"))
    await page.get_by_label("API key").fill(secret)
    await page.keyboard.press("Enter")
    await expect(page.locator(".notice").first).to_contain_text("sessions of key page begin with")
    await expect(page.locator("#link")).to_have_attribute("data-state", "refused")
    await page.goto(f"{stage.url}/#/s/acme%2F1")
    await expect(page.locator("#link")).to_have_attribute("data-state", "open")
    keys.revoke(file, "page")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#link")).to_have_attribute("data-state", "refused")
    refused(complaints)
