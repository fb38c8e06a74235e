"""What the live page costs a browser: many sessions at a glance, and a call of two hours.

The page, the gateway's app and the browser are the real ones; the logs are in memory, and their
events are made. Times are the processor time of the page's main thread, so that a busy machine does
not tell in them; long tasks are as the browser counts them, by the clock.

    python tests/bench/page.py [--sessions 200] [--seconds 60] [--hours 2] [--out page.json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from playwright.async_api import Browser, CDPSession, Page

from streams.clock import now_ms
from streams.events import Event
from streams.results import SentimentWindow
from tests.browser.conftest import PATIENCE_MS, browsing
from tests.browser.made import WINDOW_MS, Call
from tests.browser.stage import Stage, staged
from tests.made_results import sentiment

SPENT: Final = ("TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
WATCH: Final = """() => {
    window.long = [];
    new PerformanceObserver((list) => window.long.push(...list.getEntries().map((e) => e.duration)))
        .observe({entryTypes: ['longtask']});
}"""


class Meter:
    """What a page has spent, and what it holds."""

    def __init__(self, page: Page, tools: CDPSession) -> None:
        self._page = page
        self._tools = tools
        self._before: dict[str, float] = {}

    async def start(self) -> None:
        await self._page.evaluate(WATCH)
        self._before = await self._metrics()

    async def stop(self, updates: int) -> dict[str, Any]:
        """Since the start, and of that for each of so many updates."""
        after = await self._metrics()
        spent = {name: after[name] - self._before[name] for name in SPENT}
        long: Sequence[float] = await self._page.evaluate("window.long")
        return {
            "cpu_ms": {
                name.removesuffix("Duration"): round(s * 1000, 1) for name, s in spent.items()
            },
            "cpu_ms_per_update": round(spent["TaskDuration"] * 1000 / max(1, updates), 3),
            "updates": updates,
            "long_tasks": len(long),
            "longest_task_ms": round(max(long, default=0), 1),
            **await self.held(),
        }

    async def held(self) -> dict[str, float]:
        """After what is not needed any more was thrown away."""
        await self._tools.send("HeapProfiler.collectGarbage")
        metrics = await self._metrics()
        return {
            "heap_mb": round(metrics["JSHeapUsedSize"] / 2**20, 2),
            "nodes": metrics["Nodes"],
            "listeners": metrics["JSEventListeners"],
        }

    async def _metrics(self) -> dict[str, float]:
        answer = await self._tools.send("Performance.getMetrics")
        return {each["name"]: each["value"] for each in answer["metrics"]}


@asynccontextmanager
async def metered(browser: Browser) -> AsyncIterator[tuple[Page, Meter]]:
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(PATIENCE_MS)
    page.set_default_navigation_timeout(PATIENCE_MS)
    tools = await page.context.new_cdp_session(page)
    await tools.send("Performance.enable", {"timeDomain": "threadTicks"})
    yield page, Meter(page, tools)
    await page.close()


async def many(browser: Browser, stage: Stage, sessions: int, seconds: int) -> dict[str, Any]:
    """All sessions on one page, each with a new score every second."""
    names = [f"call-{number:03}" for number in range(sessions)]
    begin = now_ms() // WINDOW_MS * WINDOW_MS - 120_000
    for step in range(24):
        stage.write(*(scored(name, begin + step * WINDOW_MS, step) for name in names))
    async with metered(browser) as (page, meter):
        await page.goto(stage.url)
        await page.locator(".row").nth(sessions - 1).wait_for(state="attached")
        await page.wait_for_timeout(3000)
        first = await meter.held()
        await meter.start()
        for second in range(seconds):
            due = time.monotonic() + 1
            at = begin + 120_000 + second * 1000
            stage.write(*(scored(name, at, second) for name in names))
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        spent = await meter.stop(seconds * sessions)
        return {"sessions": sessions, "seconds": seconds, "before": first, **spent}


def scored(session: str, start: int, step: int) -> SentimentWindow:
    score = ((zlib.crc32(session.encode()) + step * 37) % 160) / 100 - 0.8
    channel = ("customer", "agent")[step % 2]
    return sentiment(start, start + WINDOW_MS, score, session=session, channel=channel)


async def long_call(browser: Browser, stage: Stage, hours: float, seconds: int) -> dict[str, Any]:
    """A call that has gone on for so long is opened, read through, and followed for a while."""
    length = round(hours * 3600)
    start = now_ms() // WINDOW_MS * WINDOW_MS - length * 1000
    before = [event for _, event in calls("long", start, length, drafts=False)]
    stage.write(*before)
    async with metered(browser) as (page, meter):
        await page.goto(f"{stage.url}/page/icon.svg")
        await page.add_init_script(f"({WATCH})()")
        await meter.start()
        begun = time.monotonic()
        await page.goto(f"{stage.url}/#/s/long")
        finals = sum(each.type == "tenor.caption.final.v1" for each in before)
        items = page.locator(".item[data-kind=speech]")
        await items.nth(finals - 1).wait_for(state="attached")
        await page.locator(".now").nth(2).wait_for()
        opened_s = time.monotonic() - begun
        opening = await meter.stop(len(before))
        await meter.start()
        await page.evaluate(SCROLL)
        reading = await meter.stop(100)
        await page.evaluate("document.querySelector('.talk').parentElement.scrollTop = 1e9")
        await meter.start()
        updates = await follow(stage, start + length * 1000, seconds)
        following = await meter.stop(updates)
    return {
        "hours": hours,
        "captions": finals,
        "results": len(before),
        "opened_s": round(opened_s, 2),
        "opening": opening,
        "reading": reading,
        "following": following,
    }


SCROLL: Final = """async () => {
    const box = document.querySelector('.talk').parentElement;
    for (let i = 0; i <= 100; i += 1) {
        box.scrollTop = (box.scrollHeight * (100 - i)) / 100;
        await new Promise(requestAnimationFrame);
    }
}"""


async def follow(stage: Stage, start: int, seconds: int) -> int:
    """What comes after, with all that may change, in its own time."""
    coming = calls("long", start, seconds, drafts=True)
    begun = time.monotonic()
    for at, event in coming:
        await asyncio.sleep(max(0.0, (at - start) / 1000 - (time.monotonic() - begun)))
        stage.write(event)
    return len(coming)


def calls(session: str, start: int, seconds: int, *, drafts: bool) -> list[tuple[int, Event]]:
    made = Call(session, start, seconds, seed=7, drafts=drafts, ended=False)
    return [(each.at, each.event) for each in made.results()]


async def measure(sessions: int, seconds: int, hours: float) -> dict[str, Any]:
    async with browsing() as browser:
        async with staged() as stage:
            list_ = await many(browser, stage, sessions, seconds)
        print(json.dumps(list_), file=sys.stderr, flush=True)
        async with staged() as stage:
            call = await long_call(browser, stage, hours, seconds)
        return {"browser": browser.version, "list": list_, "call": call}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = asyncio.run(measure(options.sessions, options.seconds, options.hours))
    text = json.dumps(found, indent=2)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
