"""The page's pure modules, each by itself, in the browser that runs them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.browser.conftest import PATIENCE_MS
from tests.browser.stage import Stage

START = 1_760_000_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def blank(browser: Browser, stage: Stage) -> AsyncIterator[Page]:
    """A page of the gateway's origin that does nothing by itself."""
    page = await browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    await page.goto(f"{stage.url}/page/icon.svg", timeout=PATIENCE_MS)
    yield page
    await page.close()


async def run(page: Page, script: str, given: object = None) -> Any:  # noqa: ANN401
    """The value of a function of modules, imported by name: `({sse}, given) => ..`."""
    names = script[script.index("{") + 1 : script.index("}")].replace(" ", "").split(",")
    imports = ", ".join(f"{name}: await import('/page/{name}.js')" for name in names)
    return await page.evaluate(f"async (given) => ({script})({{{imports}}}, given)", given)


# --- events of a stream

EVENTS = (
    ": hello\r\nevent: a\r\nid: 1\r\ndata: one\r\n\r\n"
    "data: two\ndata:  three\n\n"
    "id: 3\n: ping\n\n"
    "event: only\n\n"
    "data\rid:4\r\rdata: last"
)
PARSED = [
    {"id": "1", "type": "a", "data": "one"},
    {"id": "1", "type": "message", "data": "two\n three"},
    {"id": "4", "type": "message", "data": ""},
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_events_are_the_same_however_they_are_cut(blank: Page, size: int) -> None:
    pieces = [EVENTS[i : i + size] for i in range(0, len(EVENTS), size)]
    script = """({sse}, pieces) => {
        const parser = new sse.EventParser();
        return [pieces.flatMap((piece) => parser.push(piece)), parser.id];
    }"""
    assert await run(blank, script, pieces) == [PARSED, "4"]


async def test_a_ping_moves_the_cursor_and_is_no_event(blank: Page) -> None:
    script = """({sse}) => {
        const parser = new sse.EventParser();
        return [parser.push('id: 7\\n: ping\\n\\n'), parser.id];
    }"""
    assert await run(blank, script) == [[], "7"]


# --- a conversation


def caption(kind: str, start: int, end: int, text: str, **more: object) -> dict[str, Any]:
    said = {"channel": "customer", "start": START + start, "end": START + end, "text": text}
    words = [{"text": word, "stable": True, "probability": 1} for word in text.split()]
    data = {**said, "words": words, "revision": 0, **more}
    return {"type": f"tenor.caption.{kind}.v1", "id": f"{kind} {start} {text}", "data": data}


def window(start: int, score: float, *, final: bool, revision: int = 0) -> dict[str, Any]:
    span = {"channel": "customer", "start": START + start, "end": START + start + 5000}
    data = {**span, "score": score, "final": final, "revision": revision, "evidence": []}
    return {"type": "tenor.sentiment.window.v1", "id": f"{start} {score}", "data": data}


TOLD = """({model}, results) => {
    const conversation = new model.Conversation('call');
    results.forEach((result) => conversation.take(result));
    const voice = conversation.voices.get('customer');
    return {
        items: conversation.items.map(({kind, final, said}) => [kind, final, said.text ?? '']),
        scores: voice ? voice.windows.map(({score}) => score) : [],
        talk: voice ? voice.talkMs : 0,
        origin: conversation.origin,
    };
}"""


async def test_a_partial_turns_final_in_its_place(blank: Page) -> None:
    script = """({model}, results) => {
        const conversation = new model.Conversation('call');
        conversation.take(results[0]);
        const [item] = conversation.items;
        results.slice(1).forEach((result) => conversation.take(result));
        const {items} = conversation;
        return [item === items[0], item.final, item.said.text, items.length];
    }"""
    said = [
        caption("partial", 0, 900, "I am"),
        caption("partial", 0, 1500, "I am here", revision=1),
    ]
    final = caption("final", 0, 1600, "I am here.")
    assert await run(blank, script, [*said, final]) == [True, True, "I am here.", 1]


async def test_what_is_outdated_changes_nothing(blank: Page) -> None:
    said = [
        caption("partial", 0, 1500, "I am here", revision=1),
        caption("partial", 0, 900, "I am", revision=0),
        caption("final", 0, 1600, "I am here."),
        caption("partial", 0, 1500, "I am here", revision=2),
        caption("final", 0, 1600, "I am here."),
    ]
    told = await run(blank, TOLD, said)
    assert told["items"] == [["speech", True, "I am here."]]
    assert told["talk"] == 1600
    assert told["origin"] == START


async def test_silence_and_gaps_take_partials_away(blank: Page) -> None:
    said = [
        caption("partial", 0, 900, "hm"),
        caption("silence", 0, 1000, ""),
        caption("partial", 1000, 1900, "hm hm"),
        caption("gap", 1000, 2000, "", reason="repetition"),
        caption("partial", 2000, 2500, "next"),
    ]
    told = await run(blank, TOLD, said)
    assert [item[:2] for item in told["items"]] == [["gap", True], ["speech", False]]


async def test_what_comes_late_is_put_in_its_place(blank: Page) -> None:
    said = [caption("final", at, at + 500, str(at)) for at in (3000, 1000, 2000, 0)]
    told = await run(blank, TOLD, said)
    assert [text for _, _, text in told["items"]] == ["0", "1000", "2000", "3000"]


async def test_of_a_window_the_last_word_counts(blank: Page) -> None:
    said = [
        window(5000, 0.1, final=False, revision=2),
        window(0, 0.2, final=False, revision=1),
        window(0, 0.3, final=True),
        window(0, 0.4, final=False, revision=4),
        window(5000, 0.5, final=False, revision=1),
        window(0, 0.6, final=True, revision=1),
        window(0, 0.7, final=True, revision=0),
    ]
    assert (await run(blank, TOLD, said))["scores"] == [0.6, 0.1]


async def test_a_call_is_the_same_in_any_order(blank: Page) -> None:
    """As far as its results do not follow from each other: each is of its own topic."""
    captions = [caption("final", at, at + 900, f"said {at}") for at in range(0, 9000, 1000)]
    windows = [window(at, at / 50_000, final=True) for at in range(0, 45_000, 5000)]
    first = await run(blank, TOLD, [*captions, *windows])
    assert await run(blank, TOLD, [*windows, *captions]) == first
    assert await run(blank, TOLD, [*captions, *windows, *captions, *windows]) == first


# --- time lines


async def test_many_windows_become_as_many_columns_as_can_be_seen(blank: Page) -> None:
    script = """({lanes}, count) => {
        const windows = Array.from({length: count}, (_, i) => (
            {start: i * 5000, end: i * 5000 + 5000, score: i % 2}));
        const scale = new lanes.Scale(0, count * 5000, 500);
        const made = lanes.columns(windows, scale, ({score}) => [score]);
        return made.map(({left, right, values}) => [left, right, values[0]]);
    }"""
    few, many = await run(blank, script, 100), await run(blank, script, 1440)
    assert len(few) == 100
    assert 240 <= len(many) <= 300
    assert all(before[1] == pytest.approx(after[0]) for before, after in pairwise(many))
    mean = sum((right - left) * value for left, right, value in many) / 500
    assert mean == pytest.approx(0.5, abs=0.01)


async def test_lines_break_where_nothing_is_known(blank: Page) -> None:
    script = """({lanes}, starts) => {
        const windows = starts.map((start) => ({start, end: start + 5000}));
        const made = lanes.columns(windows, new lanes.Scale(0, 100000, 1000), () => [0]);
        return lanes.stretches(made).map((each) => each.length);
    }"""
    assert await run(blank, script, [0, 5000, 10_000, 40_000, 50_000, 70_000]) == [3, 2, 1]


async def test_times_of_an_axis_have_room(blank: Page) -> None:
    script = """({lanes}, [from, to]) => lanes.ticks(new lanes.Scale(from, to, 500), 1000)"""
    for length in (5000, 60_000, 7_200_000, 40_000_000):
        ticks = await run(blank, script, [1000, 1000 + length])
        assert 2 <= len(ticks) <= 7
        assert all((tick - 1000) % 1000 == 0 for tick in ticks)


# --- audio


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("tone", [200, 3000, 6000, 11_000])
async def test_tones_below_8_khz_pass_and_others_do_not(blank: Page, rate: int, tone: int) -> None:
    if tone > rate / 2:
        pytest.skip("there is no such tone at this rate")
    script = """({resample}, [rate, tone]) => {
        const resampler = new resample.Resampler(rate);
        const made = [];
        for (let block = 0; block < rate / 256; block += 1) {
            made.push(...resampler.push(Float32Array.from({length: 128}, (_, i) =>
                Math.sin(2 * Math.PI * tone * (block * 128 + i) / rate))));
        }
        const last = made.slice(500);
        return [made.length, Math.sqrt(2 * last.reduce((sum, x) => sum + x * x, 0) / last.length)];
    }"""
    length, loud = await run(blank, script, [rate, tone])
    assert length == pytest.approx(8000, abs=200)
    assert loud == pytest.approx(1.0 if tone < 8000 else 0.0, abs=0.02)


OUTBOX = """({microphone}, steps) => {
    const outbox = new microphone.Outbox();
    const got = [];
    for (const [act, value] of steps) {
        const answer = outbox[act](value);
        if (act === 'take' || act === 'begin') got.push(answer);
    }
    return [got, outbox.length];
}"""


def place(confirmed: int, start: int | None = 5, sequence: int = 0) -> dict[str, Any]:
    return {"start": start, "sequence": sequence, "confirmed_ms": confirmed}


async def test_what_was_not_confirmed_is_sent_again_from_there(blank: Page) -> None:
    added = [["add", number] for number in range(5)]
    steps = [
        ["begin", None],
        *added,
        *[["take", None]] * 4,
        ["confirmed", place(200, sequence=2)],
        ["begin", None],
        *[["take", None]] * 4,
        ["confirmed", place(100, sequence=3)],
        ["begin", None],
        ["take", None],
    ]
    got, held = await run(blank, OUTBOX, steps)
    first, second = {"start": 5, "sequence": 2}, {"start": 5, "sequence": 3}
    assert got == [{}, 0, 1, 2, 3, first, 2, 3, 4, None, second, 3]
    assert held == 2


async def test_nothing_is_resumed_that_has_not_begun(blank: Page) -> None:
    steps = [["begin", None], ["add", 0], ["confirmed", place(0, None)], ["begin", None]]
    got, held = await run(blank, OUTBOX, [*steps, ["take", None]])
    assert got == [{}, {}, 0]
    assert held == 1


# --- words and numbers


async def test_numbers_are_said_so_that_people_understand(blank: Page) -> None:
    script = """({format}) => [
        format.signed(-0.424), format.signed(0.07), format.signed(-0.001), format.clock(59_999),
        format.clock(3_723_000), format.span(59_000), format.span(3_600_000), format.percent(0.315),
    ]"""
    expected = ["\u22120.42", "+0.07", "0.00", "0:59", "1:02:03", "59 s", "1 h", "32 %"]
    assert await run(blank, script) == expected


async def test_waits_grow_and_have_an_end(blank: Page) -> None:
    waits = await run(blank, "({api}) => [0, 1, 2, 9, 99].map((tries) => api.backoff(tries, 1))")
    assert waits == [500, 1000, 2000, 15_000, 15_000]
    assert math.isclose(await run(blank, "({api}) => api.backoff(0, 0)"), 250)
