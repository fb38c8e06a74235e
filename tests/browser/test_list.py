"""All sessions at a glance."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable
from typing import Final

import pytest_asyncio
from playwright.async_api import Page, Route, expect

from streams.clock import now_ms
from streams.results import ChannelSentiment, SentimentSession, SentimentWindow
from tests.browser.conftest import Opened, shoot
from tests.browser.stage import Stage, staged
from tests.made_results import sentiment

WINDOW_MS = 5000
SUMMARY: Final[dict[str, object]] = {"last": 9, "ended": None, "alert": None, "channels": {}}


@pytest_asyncio.fixture(loop_scope="session")
async def stage() -> AsyncIterator[Stage]:
    """One for each test: what others wrote would be in the list."""
    async with staged() as stage:
        yield stage


def scored(
    session: str, scores: Iterable[float], *, channel: str = "customer"
) -> list[SentimentWindow]:
    """Windows of a speaker with these scores, of which the last ends about now."""
    scores = list(scores)
    begin = now_ms() // WINDOW_MS * WINDOW_MS - len(scores) * WINDOW_MS
    return [
        window(session, begin + i * WINDOW_MS, score, channel) for i, score in enumerate(scores)
    ]


def window(session: str, start: int, score: float, channel: str = "customer") -> SentimentWindow:
    return sentiment(start, start + WINDOW_MS, score, session=session, channel=channel)


def ended(session: str) -> SentimentSession:
    whole = ChannelSentiment(score=0.1, label="neutral", windows=3, first=0, last=0.2, trend=0.1)
    now = now_ms()
    return SentimentSession(session=session, start=now - 9000, end=now, channels={"": whole})


def row(page: Page, session: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
    return page.locator(".row").filter(has=page.get_by_role("link", name=session, exact=True))


async def test_sessions_are_told_with_sign_word_and_alert(stage: Stage, opened: Opened) -> None:
    stage.write(*scored("calm", [0.3, 0.4, 0.5]), *scored("calm", [0.1] * 3, channel="agent"))
    stage.write(*scored("falling", [0.6, 0.5, 0.3, -0.3, -0.7, -0.8, -0.8]))
    stage.write(*scored("over", [-0.3, -0.2]), ended("over"))
    page = await opened(stage.url)
    await expect(page.locator(".row")).to_have_count(3)

    calm, falling, over = row(page, "calm"), row(page, "falling"), row(page, "over")
    await expect(calm.locator(".score").first).to_have_text("+0.50")
    await expect(calm.locator(".score").first).to_have_attribute("data-mood", "positive")
    await expect(calm.locator(".mood").nth(1)).to_contain_text("agent")
    await expect(calm.locator(".alert")).to_have_count(0)
    await expect(falling.locator(".score")).to_have_text("\u22120.80")
    await expect(falling.locator(".alert")).to_have_text(re.compile("customer: mood fell"))
    await expect(over.locator(".state")).to_have_text("ended")
    await expect(page.locator(".counts")).to_have_text("2 live, 1 ended, 1 alert")
    await expect(page.locator(".row .name").last).to_have_text("over")
    assert await page.title() == "(1) Sessions · Tenor"
    await shoot(page, "test-list")


async def test_a_fall_is_told_to_who_cannot_see_it(stage: Stage, opened: Opened) -> None:
    stage.write(*scored("call", [0.6, 0.6, 0.6]))
    page = await opened(stage.url)
    await expect(page.locator(".row")).to_have_count(1)
    await expect(page.locator(".alert")).to_have_count(0)
    start = now_ms() // WINDOW_MS * WINDOW_MS
    stage.write(*(window("call", start + i * WINDOW_MS, -0.9) for i in range(3)))
    await expect(page.locator(".alert")).to_have_count(1)
    news = page.locator(".page [role=status]")
    await expect(news).to_have_text(re.compile(r"call: customer's mood fell from \+0\.6"))


async def test_what_is_sought_is_shown(stage: Stage, opened: Opened) -> None:
    for session in ("acme/1", "umbra/1"):
        stage.write(*scored(session, [0.1]))
    stage.write(ended("umbra/1"), *scored("acme/2", [-0.7] * 4))
    page = await opened(stage.url)
    await expect(page.locator(".row")).to_have_count(3)
    await page.get_by_role("searchbox").fill("ACME")
    await expect(page.locator(".row")).to_have_count(2)
    await page.get_by_role("button", name="Alerts").click()
    await expect(page.locator(".row .name")).to_have_text(["acme/2"])
    await page.get_by_role("searchbox").fill("nobody")
    await expect(page.get_by_text("No session matches.")).to_be_visible()
    await page.get_by_role("searchbox").fill("")
    await page.get_by_role("button", name="Live").click()
    await expect(page.locator(".row")).to_have_count(2)
    await page.get_by_role("button", name="All").click()
    await page.get_by_role("combobox").select_option("mood")
    await expect(page.locator(".row .name").first).to_have_text("acme/2")
    await page.get_by_role("link", name="acme/2", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("acme/2")


async def test_two_hundred_sessions_change_in_place(stage: Stage, opened: Opened) -> None:
    sessions = [f"call-{number:03}" for number in range(200)]
    for session in sessions:
        stage.write(*scored(session, [0.1, 0.2]), *scored(session, [0.1, 0.0], channel="agent"))
    page = await opened(stage.url)
    await expect(page.locator(".row")).to_have_count(200)
    await expect(page.locator(".score").last).to_have_text("0.00")
    await page.get_by_role("combobox").select_option("name")
    await expect(page.locator(".row .name").first).to_have_text("call-000")
    await page.evaluate(
        """() => {
            window.moved = 0;
            const watch = new MutationObserver((all) => all.forEach((each) => {
                window.moved += each.addedNodes.length + each.removedNodes.length;
            }));
            watch.observe(document.querySelector('.rows'), {childList: true});
            window.elements = document.querySelectorAll('.rows *').length;
        }"""
    )
    start = now_ms() // WINDOW_MS * WINDOW_MS
    for turn in range(3):
        for session in sessions:
            stage.write(window(session, start + turn * WINDOW_MS, -0.1 - turn / 10))
        last = page.locator(".row").last.locator(".score").first
        await expect(last).to_have_text(f"\u22120.{turn + 1}0")
    assert await page.evaluate("window.moved") == 0, "no row was made anew or moved"
    after = await page.evaluate("document.querySelectorAll('.rows *').length")
    assert after == await page.evaluate("window.elements"), "it does not grow"


async def test_what_was_forgotten_meanwhile_is_gone(stage: Stage, opened: Opened) -> None:
    """The list as it is told first, and as it is told to the next connection."""
    told = [{"gone": 3, "stays": 1, "other": 2}, {"stays": 4, "other": 2}]
    again = asyncio.Event()

    def events(starts: dict[str, int]) -> str:
        all_ = ({**SUMMARY, "session": name, "start": start} for name, start in starts.items())
        return "".join(f"data: {json.dumps(each)}\n\n" for each in all_)

    async def answer(route: Route) -> None:
        if len(told) < 2:
            await again.wait()
        if told:  # what else is asked stays open
            await route.fulfill(content_type="text/event-stream", body=events(told.pop(0)))

    page = await opened(stage.url, before=lambda page: page.route("**/v1/sessions/events", answer))
    await expect(page.locator(".row .name")).to_have_text(["gone", "other", "stays"])
    await page.get_by_role("link", name="stays", exact=True).focus()
    again.set()
    await expect(page.locator(".row .name")).to_have_text(["stays", "other"])
    assert await page.evaluate("document.activeElement.textContent") == "stays"


async def test_there_may_be_none(stage: Stage, opened: Opened) -> None:
    page = await opened(stage.url)
    await expect(page.get_by_text("No session yet.")).to_be_visible()
    await page.get_by_role("link", name="try it here").click()
    await expect(page.get_by_label("Name of the session")).to_have_value(re.compile(r"^try-20"))
