"""From speech to a stable word on the page, through all of Tenor.

    python -m tests.bench.microphone --runs 3

A private Kafka, a worker, a gateway and Chromium, whose fake microphone plays the demo call, both
speakers mixed. A word is there with the frame in which it stands as stable (or final) and is not
changed any more, punctuation apart; it was spoken when it ends, as the final caption's word times
say. Those count from the first sample, and the first block of samples (100 ms) left the page as
soon as it was whole. What a real sound card takes is not in it. Prints JSON; times in s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import soundfile
from playwright.async_api import Page, expect

from streams.broker import Broker
from streams.connection import Connection
from streams.events import EventType, Topics
from streams.history import read_history
from streams.report import percentiles
from streams.results import CaptionFinal
from tests.browser.conftest import PATIENCE_MS, browsing
from tests.browser.system import System, system
from tests.browser.test_sending import begin
from tests.harness import events

CALL: Final = Path(__file__).parents[2] / "demo" / "call"
BLOCK_MS: Final = 100
SETTLE_S: Final = 3.0
WATCH: Final = """
() => {
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    if (data instanceof ArrayBuffer) window.began ??= Date.now();
    return send.call(this, data);
  };
  const bare = (word) => word.toLowerCase().replace(/[^a-z0-9]/g, '');
  const stable = (item) => {
    const said = item.querySelector('.said').cloneNode(true);
    for (const each of said.querySelectorAll('.shaky')) each.remove();
    return said.textContent.trim().split(/\\s+/).filter(Boolean);
  };
  const look = () => {
    for (const item of document.querySelectorAll('.item[data-kind=speech]')) {
      const words = (item.seen ??= []);
      stable(item).forEach((text, i) => {
        if (!words[i] || bare(words[i].text) !== bare(text)) words[i] = { text, at: Date.now() };
      });
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
"""
FOUND: Final = """
() => [window.began, [...document.querySelectorAll('.item[data-final][data-kind=speech]')]
  .map(({ seen }) => seen ?? [])]
"""


async def spoken(page: Page, tenor: System, session: str, seconds: float) -> list[float]:
    """Plays the call; how long each word took."""
    await page.goto(f"{tenor.url}/#/try")
    await page.evaluate(WATCH)
    await begin(page, session)
    await page.get_by_role("button", name="Start microphone").click()
    await expect(page.locator(".report")).to_contain_text("Listening")
    await asyncio.sleep(seconds + SETTLE_S)
    await page.get_by_role("button", name="Stop microphone").click()
    await expect(page.locator(".report")).to_have_text("Everything was sent.")
    await page.get_by_role("button", name="End session").click()
    await expect(page.locator(".over")).to_be_visible()
    began, shown = await page.evaluate(FOUND)
    return delays(began - BLOCK_MS, shown, *await logged(tenor, session))


def delays(
    began: float, shown: list[list[dict[str, Any]]], start: int, finals: list[CaptionFinal]
) -> list[float]:
    """Of each word, in s.

    Args:
        began: when the first sample was taken, ms since 1970.
        shown: of each caption, the words and when they came.
        start: event time of the first sample, ms.
        finals: the same captions in the log.
    """
    found = []
    for words, final in zip(shown, finals, strict=True):
        for there, word in zip(words, final.words, strict=False):
            assert bare(there["text"]) == bare(word.text), "the page and the log do not agree"
            found.append((there["at"] - (began + word.end - start)) / 1000)
    return found


def bare(word: str) -> str:
    return re.sub("[^a-z0-9]", "", word.lower())


async def logged(tenor: System, session: str) -> tuple[int, list[CaptionFinal]]:
    """Event time of the first sample, and the final captions."""
    brokers, topics = tenor.tenor.brokers, Topics.of(tenor.tenor.prefix)
    history = await read_history(brokers, topics, session)
    finals = [each for each in history.results if isinstance(each, CaptionFinal)]
    sent = events(await tenor.tenor.read(["audio"], s=5))
    times = [
        each.time for each in sent if each.session == session and each.type is EventType.AUDIO_CHUNK
    ]
    return min(times), sorted(finals, key=lambda each: each.start)


def microphone(file: Path) -> float:
    """Writes what it hears; its length in s."""
    (customer, rate), (agent, _) = (
        soundfile.read(CALL / f"{n}.wav") for n in ("customer", "agent")
    )
    soundfile.write(file, customer + agent, rate, "PCM_16")
    return float(len(customer) / rate)


async def measure(brokers: Connection, folder: Path, runs: int) -> list[list[float]]:
    file = folder / "voice.wav"
    seconds, found = microphone(file), []
    expect.set_options(timeout=PATIENCE_MS)
    async with system(brokers, folder) as tenor:
        await asyncio.to_thread(tenor.tenor.start_worker().ready)
        for run in range(runs):
            async with browsing(f"--use-file-for-fake-audio-capture={file}%noloop") as browser:
                page = await browser.new_page()
                page.set_default_timeout(PATIENCE_MS)
                found.append(await spoken(page, tenor, f"run-{run}", seconds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka") as broker:
        made = measure(Connection(broker.bootstrap), Path(folder), asked.runs)
        runs = asyncio.run(made)
    every = [each for run in runs for each in run]
    figures = {"words": len(every), **percentiles(every), "runs": [percentiles(r) for r in runs]}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
