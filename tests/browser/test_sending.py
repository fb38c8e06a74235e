"""Taking part: what is typed, dropped and spoken reaches the gateway, once and as it was."""

from __future__ import annotations

import asyncio
import io
import math
import struct
import wave
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from playwright.async_api import Page, expect

from streams.events import Event, EventType
from streams.messages import text_message
from tests.browser.conftest import PATIENCE_MS, Opened, browsing, forget, listen
from tests.browser.stage import PICTURES, Stage
from tests.browser.test_connection import network
from tests.browser.test_session import address
from tests.harness import eventually

RATE = 16_000


def of(stage: Stage, topic: str, session: str) -> list[Event]:
    return [event for event in stage.sent(topic) if event.session == session]


async def begin(page: Page, name: str) -> None:
    await page.get_by_label("Name of the session").fill(name)
    await page.get_by_role("button", name="Begin").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(name)


async def test_what_is_typed_is_sent_and_shown(stage: Stage, opened: Opened) -> None:
    page = await opened(f"{stage.url}/#/try")
    await begin(page, "typed")
    await page.get_by_label("as", exact=True).fill("agent")
    await page.get_by_label("Message").fill("It is KX-4471 <b>.")
    await page.keyboard.press("Enter")
    await expect(page.locator(".item")).to_contain_text("It is KX-4471 <b>.")
    await expect(page.get_by_label("Message")).to_have_value("")
    (event,) = of(stage, "text", "typed")
    assert text_message(event).text == "It is KX-4471 <b>."
    assert (event.channel, text_message(event).speaker) == ("agent", "agent")


async def test_files_are_sent_as_they_are(stage: Stage, opened: Opened, tmp_path: Path) -> None:
    page = await opened(f"{stage.url}/#/try")
    await begin(page, "files")
    tone = tmp_path / "tone.wav"
    tone.write_bytes(_wav(tone_of(1.0)))
    await page.locator("input[type=file]").set_input_files([PICTURES / "cat.jpg", tone])
    await eventually(lambda: len(of(stage, "audio", "files")) >= 10)
    await eventually(lambda: len(of(stage, "images", "files")) == 1)
    assert of(stage, "images", "files")[0].data == (PICTURES / "cat.jpg").read_bytes()
    note = tmp_path / "note.pdf"
    note.write_bytes(b"%PDF")
    await page.locator("input[type=file]").set_input_files([note, PICTURES / "cup.jpg"])
    await eventually(lambda: len(of(stage, "images", "files")) == 2)
    await expect(page.locator(".report")).to_have_text("note.pdf is neither audio nor a picture")


async def test_a_session_is_ended(stage: Stage, opened: Opened) -> None:
    page = await opened(f"{stage.url}/#/try")
    await begin(page, "ended")
    await page.get_by_role("button", name="End session").click()
    await expect(page.locator(".report")).to_contain_text("The session is ended")
    assert all(of(stage, topic, "ended") for topic in ("audio", "text", "images"))


SLOW_TO_ALLOW = """
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (wanted) => new Promise((given) => {
  window.allow = async () => {
    window.heard = await ask(wanted);
    given(window.heard);
  };
});
"""


async def test_a_microphone_that_was_left_stays_off(stage: Stage, opened: Opened) -> None:
    """It is left while the browser still asks whether it may listen."""
    page = await opened(
        address(stage, "left", "/try"), before=lambda page: page.add_init_script(SLOW_TO_ALLOW)
    )
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    await page.get_by_role("button", name="Start microphone").click()
    await page.wait_for_function("Boolean(window.allow)")
    await page.evaluate("location.hash = '#/'")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sessions")
    await page.evaluate("window.allow()")
    await page.wait_for_function("window.heard.getTracks()[0].readyState === 'ended'")
    await page.wait_for_timeout(300)
    assert not sockets


async def test_that_there_are_too_many_is_said(
    stage: Stage, opened: Opened, complaints: list[str]
) -> None:
    async def refuse(page: Page) -> None:
        problem = {"status": 429, "title": "Too many at once", "detail": "end one of them"}
        await page.route_web_socket("**/audio?*", lambda socket: socket.close())
        await page.route("**/audio", lambda route: route.fulfill(status=429, json=problem))

    page = await opened(address(stage, "busy", "/try"), before=refuse)
    await page.get_by_role("button", name="Start microphone").click()
    await expect(page.locator(".report")).to_have_text("end one of them")
    await expect(page.get_by_role("button", name="Start microphone")).to_be_visible()
    forget(complaints, "a status of 429")


async def test_a_voice_arrives_whole_though_the_gateway_goes(
    stage: Stage, complaints: list[str], tmp_path: Path
) -> None:
    """What the microphone hears (a tone here), over two gateways: each chunk once, in order, of one
    line of time, and it is still that tone."""
    file = tmp_path / "voice.wav"
    file.write_bytes(_wav(tone_of(60.0)))
    async with browsing(f"--use-file-for-fake-audio-capture={file}") as browser:
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        listen(page, complaints)
        await page.goto(address(stage, "voice", "/try"), timeout=PATIENCE_MS)
        await page.get_by_role("button", name="Start microphone").click()
        await eventually(lambda: len(of(stage, "audio", "voice")) > 10, 240)
        await expect(page.locator(".report")).to_contain_text("Listening")
        await stage.leave()
        await expect(page.locator(".report")).to_contain_text("Connection lost")
        before = len(of(stage, "audio", "voice"))
        await asyncio.sleep(1)
        await stage.open()
        await eventually(lambda: len(of(stage, "audio", "voice")) > before + 20, 240)
        await stage.leave()
        await expect(page.locator(".report")).to_contain_text("Connection lost")
        await page.get_by_role("button", name="End session").click()
        await stage.open()
        await expect(page.locator(".report")).to_contain_text("The session is ended")
    *sent, end = of(stage, "audio", "voice")
    assert end.type is EventType.SESSION_ENDED, "all that was heard comes before the end"
    assert not [event for event in sent if event.type is EventType.SESSION_ENDED]
    chunks = {event.id: event for event in sent}
    ordered = sorted(chunks.values(), key=lambda each: each.time)
    assert [event.sequence for event in ordered] == list(range(len(ordered)))
    assert {after.time - one.time for one, after in pairwise(ordered)} == {100}
    assert heard(ordered, 440) > 0.5
    network(complaints)
    # Why it was refused is asked for by an empty recording; by then the gateway may be back.
    forget(complaints, "a status of 422")


RECORDING = """
async ({ address, enough }) => {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { autoGainControl: false } });
  const socket = new WebSocket(address);
  const recorder = new MediaRecorder(stream, { mimeType: 'audio/webm;codecs=opus' });
  const told = [];
  let told_enough;
  const heard = new Promise((resolve) => { told_enough = resolve; });
  socket.onclose = told_enough;
  socket.onmessage = ({ data }) => {
    told.push(JSON.parse(data));
    if (told.at(-1).confirmed_ms >= enough) told_enough();
  };
  recorder.ondataavailable = async ({ data }) => socket.send(await data.arrayBuffer());
  await new Promise((opened) => { socket.onopen = opened; });
  const begun = performance.now();
  recorder.start(200);
  await heard;
  await new Promise((stopped) => { recorder.onstop = stopped; recorder.stop(); });
  const lasted = performance.now() - begun;
  await new Promise((sent) => setTimeout(sent, 200));
  socket.send(JSON.stringify({ type: 'close' }));
  await new Promise((closed) => { socket.onclose = closed; });
  return [told, lasted];
}
"""


async def test_what_a_browser_records_is_decoded(stage: Stage, tmp_path: Path) -> None:
    """WebM with Opus as Chromium's MediaRecorder makes it, in pieces, by any page's own socket."""
    file = tmp_path / "voice.wav"
    file.write_bytes(_wav(tone_of(60.0)))
    async with browsing(f"--use-file-for-fake-audio-capture={file}") as browser:
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        await page.goto(stage.url, timeout=PATIENCE_MS)
        query = "channel=customer&encoding=webm"
        address = f"{stage.url.replace('http', 'ws')}/v1/sessions/recorded/audio?{query}"
        told, lasted_ms = await page.evaluate(RECORDING, {"address": address, "enough": 2600})
    assert told[0]["type"] == "ready"
    assert told[-1]["type"] == "closed"
    chunks = of(stage, "audio", "recorded")
    assert told[-1]["confirmed_ms"] == 1000 * sum(len(each.data) for each in chunks) // (2 * RATE)
    assert 2500 < told[-1]["confirmed_ms"] < lasted_ms + 1000
    assert [event.sequence for event in chunks] == list(range(len(chunks)))
    assert heard(chunks, 440) > 0.5


def heard(chunks: Sequence[Event], tone: float) -> float:
    """The share of a tone in the loudness."""
    samples = np.frombuffer(b"".join(each.data for each in chunks), "<i2").astype(float)
    power = np.abs(np.fft.rfft(samples)) ** 2
    near = np.abs(np.fft.rfftfreq(len(samples), 1 / RATE) - tone) < 20
    return float(power[near].sum() / power.sum())


def tone_of(seconds: float) -> bytes:
    count = round(seconds * RATE)
    values = (round(12_000 * math.sin(2 * math.pi * 440 * i / RATE)) for i in range(count))
    return struct.pack(f"<{count}h", *values)


def _wav(samples: bytes) -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples)
    return data.getvalue()
