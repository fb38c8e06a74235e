"""The report of a session in a browser: from a file, without a gateway."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from streams.messages import Typed, text_message
from streams.session_report import html
from streams.thumbnails import thumbnail
from tests.browser.conftest import Opened
from tests.browser.test_accessibility import violations
from tests.made_session import made_session


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of one."""
    made = made_session()
    texts = [Typed(each.id, each.time, each.channel, text_message(each)) for each in made.texts]
    file: Path = tmp_path_factory.mktemp("report") / "report.html"
    page = html(made.results, texts, [thumbnail(each) for each in made.images])
    file.write_text(page, encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_axe_finds_nothing_serious(opened: Opened, report: str, dark: bool) -> None:
    page = await opened(report, dark=dark)
    await expect(page.locator("h1")).to_have_text("call-1")
    assert await violations(page) == []


async def test_its_own_policy_lets_it_look_as_it_should(opened: Opened, report: str) -> None:
    page = await opened(report)
    await expect(page.locator(".card").first).to_have_css("border-top-width", "4px")
    loaded = "[...document.images].every((each) => each.complete && each.naturalWidth > 100)"
    await page.wait_for_function(loaded)


async def test_a_phone_shows_all_of_it(opened: Opened, report: str) -> None:
    page = await opened(report, width=360)
    await expect(page.locator("h1")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    score = page.locator(".transcript .score a").first
    await expect(score).to_be_visible()
    text, link = (
        await score.locator("xpath=ancestor::tr").locator(".what p").first.bounding_box(),
        await score.bounding_box(),
    )
    assert text
    assert link
    assert link["y"] >= text["y"] + text["height"] - 1, "it is below the caption"
    assert link["x"] + link["width"] <= 360


async def test_on_paper_nothing_is_torn_apart(opened: Opened, report: str) -> None:
    page = await opened(report)
    await page.emulate_media(media="print")
    for each in ("tbody tr", ".card", ".picture", "figure", ".points li"):
        await expect(page.locator(each).first).to_have_css("break-inside", "avoid")


async def test_evidence_leads_to_the_caption(opened: Opened, report: str) -> None:
    page = await opened(report)
    await page.locator("#w1 .evidence a").first.click()
    target = page.locator("tr:target")
    await expect(target).to_be_in_viewport()
    await expect(target).to_contain_text("Good morning, and thank you for calling")
