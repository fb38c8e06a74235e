"""Everybody can use it: screen readers, keyboards, narrow screens, dark rooms."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any, Final

import pytest
from playwright.async_api import Page, expect

from streams.clock import now_ms
from tests.browser.conftest import Opened, shoot
from tests.browser.made import Call
from tests.browser.stage import Stage
from tests.browser.test_session import address

SERIOUS: Final = ("serious", "critical")
AXE: Final = files("axe_playwright_python").joinpath("axe.min.js").read_text()


@pytest.fixture(scope="module")
def call(stage: Stage) -> str:
    """A session with everything: captions, a gap, pictures, matches, scores."""
    coming = Call("everything", now_ms() - 200_000, 180, seed=4, ended=False).results()
    stage.write(*(each.event for each in coming))
    return "everything"


async def violations(page: Page) -> list[str]:
    """What axe finds that is serious, and where."""
    await page.evaluate(AXE)
    found: dict[str, Any] = await page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_axe_finds_nothing_serious(
    stage: Stage, opened: Opened, call: str, dark: bool
) -> None:
    page = await opened(stage.url, dark=dark)
    await expect(page.locator(".row")).to_have_count(1)
    assert await violations(page) == []

    await page.goto(address(stage, call))
    await expect(page.locator(".now")).to_have_count(3)
    await page.get_by_label("Doubtful words").check()
    await page.locator(".now").first.click()
    await page.get_by_role("button", name="Take part").click()
    await page.get_by_text("Values as a table").click()
    await expect(page.locator(".values tr").first).to_be_visible()
    assert await violations(page) == []
    await shoot(page, f"test-axe-{'dark' if dark else 'light'}")

    await page.goto(address(stage, call, "/captions"))
    await expect(page.locator(".display li").first).to_be_attached()
    assert await violations(page) == []

    await page.goto(f"{stage.url}/#/try")
    await expect(page.get_by_label("Name of the session")).to_be_visible()
    assert await violations(page) == []


@pytest.mark.parametrize("width", [320, 360, 768, 1024])
async def test_it_fits_on_narrow_screens(
    stage: Stage, opened: Opened, call: str, width: int
) -> None:
    page = await opened(stage.url, width=width, height=740)
    await expect(page.locator(".row")).to_have_count(1)
    await fits(page)
    await page.goto(address(stage, call))
    await expect(page.locator(".item").last).to_be_visible()
    await page.get_by_role("button", name="Take part").click()
    await expect(page.get_by_role("button", name="Start microphone")).to_be_in_viewport()
    await fits(page)
    await shoot(page, f"test-talk-{width}")
    if await page.get_by_role("button", name="Mood", exact=True).is_visible():
        await page.get_by_role("button", name="Mood", exact=True).click()
    await expect(page.locator(".now").first).to_be_visible()
    await fits(page)
    await shoot(page, f"test-mood-{width}")
    await page.goto(address(stage, call, "/captions"))
    await expect(page.locator(".display li").last).to_be_in_viewport()
    await fits(page)
    await page.goto(f"{stage.url}/#/try")
    await expect(page.get_by_role("button", name="Begin")).to_be_in_viewport()
    await fits(page)


async def fits(page: Page) -> None:
    """Nothing is cut off or has to be scrolled sideways."""
    too_wide = await page.evaluate(
        """() => [...document.querySelectorAll('body *')]
            .filter((each) => !each.closest('.unseen, .word, .values, svg'))
            .filter((each) => each.checkVisibility())
            .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
            .map((each) => `${each.tagName} ${each.className}`)"""
    )
    assert too_wide == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_everything_is_reached_by_keys(stage: Stage, opened: Opened, call: str) -> None:
    page = await opened(address(stage, call))
    await expect(page.locator(".now")).to_have_count(3)
    reached: list[str] = []
    for _ in range(60):
        await page.keyboard.press("Tab")
        name = await page.evaluate(
            """() => {
                const {activeElement: on} = document;
                const {outlineStyle, outlineWidth} = getComputedStyle(on);
                const seen = outlineStyle !== 'none' && parseFloat(outlineWidth) > 0;
                const text = on.getAttribute('aria-label') || on.innerText || on.tagName;
                return on === document.body ? '' : `${seen ? '' : 'UNSEEN '}${text.trim()}`;
            }"""
        )
        if not name:
            break
        reached.append(name)
    assert not [name for name in reached if name.startswith("UNSEEN")]
    for name in (
        "Skip to the content",
        "Sessions",
        "Take part",
        "Captions",
        "Export",
        "Conversation",
        "Time, to read the values",
        "10 min",
        "customer",
        "Values as a table",
    ):
        assert name in reached


@pytest.mark.parametrize("width", [1280, 340])
async def test_a_time_of_the_conversation_is_chosen_by_keys(
    stage: Stage, opened: Opened, call: str, width: int
) -> None:
    """Tab comes to one of them, on narrow screens too, where not all are shown."""
    page = await opened(address(stage, call), width=width)
    await expect(page.locator(".now")).to_have_count(3)
    await page.get_by_role("region", name="Conversation").focus()
    await page.keyboard.press("Tab")
    times = page.locator(".item time button:visible")
    await expect(times.first).to_be_focused()
    await page.keyboard.press("ArrowUp")
    await expect(times.first).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(times.nth(1)).to_be_focused()
    await page.keyboard.press("End")
    await expect(times.last).to_be_focused()
    await page.keyboard.press("ArrowUp")
    chosen = times.nth(await times.count() - 2)
    await expect(chosen).to_be_focused()
    minutes, _, seconds = (await chosen.inner_text()).partition(":")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Tab")
    await expect(chosen).to_be_focused()
    await page.keyboard.press("Home")
    await expect(times.first).to_be_focused()
    if await page.get_by_role("button", name="Mood", exact=True).is_visible():
        await page.get_by_role("button", name="Mood", exact=True).click()
    axis = page.locator(".axis[role=slider]")
    about = "|".join(str(60 * int(minutes) + int(seconds) + more) for more in (0, 1))  # rounded
    await expect(axis).to_have_attribute("aria-valuenow", re.compile(f"^({about})$"))


async def test_the_colours_can_be_chosen(stage: Stage, opened: Opened) -> None:
    page = await opened(stage.url)
    button = page.get_by_role("button", name="Colours")
    light = await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    await button.click()
    await expect(button).to_have_text("Colours: light")
    await button.click()
    await expect(button).to_have_text("Colours: dark")
    dark = await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert dark != light
    await page.reload()
    await expect(button).to_have_text("Colours: dark")


async def test_a_display_needs_no_pointer(stage: Stage, opened: Opened, call: str) -> None:
    page = await opened(address(stage, call, "/captions"))
    await expect(page.locator(".display li").last).to_be_in_viewport()
    size = "getComputedStyle(document.querySelector('.display ol')).fontSize"
    before = float((await page.evaluate(size)).removesuffix("px"))
    await page.keyboard.press("+")
    assert float((await page.evaluate(size)).removesuffix("px")) > before
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Smaller")).to_be_focused()
    await page.keyboard.press("Enter")
    assert float((await page.evaluate(size)).removesuffix("px")) == pytest.approx(before)
