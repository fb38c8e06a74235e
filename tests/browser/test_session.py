"""One session: what was said and shown, how it was meant, and what that rests on."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest
from playwright.async_api import Locator, Page, expect

from streams.clock import now_ms
from streams.codec import encode
from streams.events import Event, EventType
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    ChannelSentiment,
    Evidence,
    Face,
    Gap,
    ImageRecognized,
    Label,
    Match,
    SentimentSession,
    SentimentWindow,
    Word,
    result_event,
)
from tests.browser.conftest import Opened, shoot
from tests.browser.made import Call
from tests.browser.stage import Stage
from tests.gateway_logs import TOPICS
from tests.made_results import sentiment

WORDS = """
(elements) => elements.map(({ childNodes }) => [...childNodes]
  .filter((node) => !node.matches?.('.notes, .cites'))
  .map(({ textContent }) => textContent).join('').trim())
"""
CAPTION = {"language": "en", "model": "made", "no_speech_probability": 0.0, "revision": 0}


def final(
    session: str, start: int, text: str, channel: str = "customer", sure: float = 0.9
) -> CaptionFinal:
    words = tuple(
        Word(text=word, start=start + i * 300, end=start + i * 300 + 280, probability=sure)
        for i, word in enumerate(text.split())
    )
    span = {"session": session, "channel": channel, "start": start, "end": words[-1].end}
    return CaptionFinal.model_validate({**span, **CAPTION, "text": text, "words": words})


def partial(session: str, start: int, text: str, stable: int, revision: int = 0) -> CaptionPartial:
    words = [
        {**word.model_dump(), "stable": i < stable}
        for i, word in enumerate(final(session, start, text).words)
    ]
    span = {"session": session, "channel": "customer", "start": start, "end": words[-1]["end"]}
    said = {**span, **CAPTION, "text": text, "words": words, "revision": revision}
    return CaptionPartial.model_validate(said)


def window(
    session: str, start: int, score: float, evidence: Sequence[Evidence] = ()
) -> SentimentWindow:
    return sentiment(
        start,
        start + 5000,
        score,
        session=session,
        deviation=0.2,
        label="negative" if score < 0 else "positive",
        confidence=0.8,
        emotions={"anger": 0.6, "joy": 0.1, "neutral": 0.3},
        contributions={"text": 0.5, "voice": 0.25, "context": 0.25},
        evidence=tuple(evidence),
    )


def cited(caption: CaptionFinal, modality: str, weight: float) -> Evidence:
    span = {"channel": caption.channel, "start": caption.start, "end": caption.end}
    return Evidence(id=id_of(caption), modality=modality, weight=weight, **span)


def id_of(caption: CaptionFinal) -> str:
    return result_event(caption, source="").id


def item(page: Page, text: str) -> Locator:
    return page.locator(".item").filter(has_text=text)


async def said(page: Page) -> list[str]:
    """The final captions that it shows, from top to bottom, without what they match."""
    return list(await page.locator(".item[data-final][data-kind=speech] .said").evaluate_all(WORDS))


def texts_of(events: Sequence[Event]) -> list[str]:
    """Final captions in order of time."""
    finals = [json.loads(each.data) for each in events if each.type is EventType.CAPTION_FINAL]
    return [each["text"] for each in sorted(finals, key=lambda each: each["start"])]


def address(stage: Stage, session: str, rest: str = "") -> str:
    return f"{stage.url}/#/s/{session}{rest}"


async def test_a_whole_call_is_there_word_for_word(stage: Stage, opened: Opened) -> None:
    events = [each.event for each in Call("whole", now_ms() - 70_000, 60, seed=2).results()]
    stage.write(*events)
    page = await opened(address(stage, "whole"))
    await expect(page.locator(".over")).to_be_visible()
    gaps = await page.locator(".item[data-kind=gap]").count()
    assert await said(page) == texts_of(events)
    assert gaps == sum(each.type is EventType.CAPTION_GAP for each in events)
    await expect(page.locator(".head .state")).to_contain_text("ended")
    await expect(page.locator(".now")).to_have_count(3)
    await shoot(page, "test-session")


async def test_a_partial_turns_final_in_place(stage: Stage, opened: Opened) -> None:
    start = now_ms()
    stage.write(partial("turning", start, "I am really an", stable=2))
    page = await opened(address(stage, "turning"))
    element = item(page, "I am")
    await expect(element.locator(".shaky")).to_have_text("really an")
    await element.evaluate("element => { element.known = true; }")
    stage.write(partial("turning", start, "I am really annoyed with", stable=4, revision=1))
    await expect(element.locator(".shaky")).to_have_text("with")
    assert not await element.get_attribute("data-final")
    stage.write(final("turning", start, "I am really annoyed."))
    await expect(element.locator(".said")).to_have_text("I am really annoyed.")
    assert await element.get_attribute("data-final") is not None
    assert await element.evaluate("element => element.known"), "it is the same element"
    await expect(element.locator(".shaky")).to_have_count(0)
    assert await page.locator(".item").count() == 1


async def test_only_finals_are_read_out(stage: Stage, opened: Opened) -> None:
    start = now_ms()
    page = await opened(address(stage, "aloud"), width=500)
    log = page.get_by_role("log")
    await expect(page.get_by_text("Nothing has been said")).to_be_visible()
    stage.write(partial("aloud", start, "Good morning", stable=2))
    await expect(page.locator(".item")).to_have_count(1)
    await expect(log).to_have_text("")
    await page.get_by_role("button", name="Mood", exact=True).click()
    stage.write(final("aloud", start, "Good morning."))
    await expect(log).to_have_text("customer: Good morning.")
    for live in await page.locator("[aria-live], [role=log], [role=status], [role=alert]").all():
        assert not await live.locator(".item").count(), "the conversation itself is not live"


async def test_what_was_not_recognised_is_said(stage: Stage, opened: Opened) -> None:
    start = now_ms()
    gap = {"session": "gaps", "channel": "agent", "start": start}
    stage.write(Gap(**gap, end=start + 3200, reason="no-audio"))
    stage.write(Gap(**{**gap, "start": start + 4000}, end=start + 6000, reason="repetition"))
    page = await opened(address(stage, "gaps"))
    first, second = page.locator(".item").first, page.locator(".item").last
    await expect(first).to_contain_text("No audio came (3.2 s)")
    await expect(second).to_contain_text("Not recognised, the words repeat themselves (2.0 s)")


async def test_doubtful_words_are_shown_on_request(stage: Stage, opened: Opened) -> None:
    start = now_ms()
    stage.write(final("doubts", start, "My name is", sure=0.95))
    stage.write(final("doubts", start + 2000, "Kowalczyk", sure=0.3))
    page = await opened(address(stage, "doubts"))
    await expect(page.locator(".item")).to_have_count(2)
    await expect(page.locator(".doubt")).to_have_count(0)
    await page.get_by_label("Doubtful words").check()
    await expect(page.locator(".doubt")).to_have_text("Kowalczyk (30 % sure)")
    await expect(page.locator(".doubt")).to_have_attribute("title", "30 %")
    await page.get_by_label("Doubtful words").uncheck()
    await expect(page.locator(".doubt")).to_have_count(0)


async def test_a_picture_with_its_face_and_its_match(stage: Stage, opened: Opened) -> None:
    start = now_ms()
    caption = final("shown", start, "Here is an astronaut.")
    joy = (Label(name="joy", probability=0.9),)
    places = {"x": 0.35, "y": 0.14, "width": 0.19, "height": 0.19}
    about = {"session": "shown", "time": start + 1000, "model": "made"}
    stage.write(
        caption,
        ImageRecognized(
            **about,
            channel="customer",
            image="astronaut-1",
            labels=(Label(name="space suit", probability=0.7),),
            faces=(
                Face(**places, confidence=0.9, expression=joy),
                Face(**places, confidence=0.1, expression=joy),
            ),
        ),
        Match(
            **about,
            left=id_of(caption),
            right="astronaut-1",
            left_modality="text",
            right_modality="image",
            similarity=0.3,
            probability=0.8,
        ),
    )
    page = await opened(address(stage, "shown"))
    picture = page.locator(".item[data-kind=picture]")
    image = picture.get_by_role("img", name="Picture of: space suit")
    await expect(image).to_be_visible()
    assert await image.evaluate("image => image.naturalWidth") > 0
    await expect(picture.locator(".labels")).to_contain_text("space suit 70 %")
    await expect(picture.locator(".face")).to_have_count(1)
    await expect(picture.locator(".face")).to_have_text("joy")
    box, frame = await picture.locator(".face").bounding_box(), await image.bounding_box()
    assert box and frame
    assert (box["x"] - frame["x"]) / frame["width"] == pytest.approx(0.35, abs=0.02)
    await item(page, "Here is").get_by_role("button", name="picture “space suit”").click()
    await expect(picture).to_have_attribute("data-found", "")
    await picture.get_by_role("button", name="matches “Here is an astronaut.”").click()
    await expect(item(page, "Here is").first).to_have_attribute("data-found", "")
    await shoot(page, "test-picture")


async def test_a_score_shows_what_it_rests_on(stage: Stage, opened: Opened) -> None:
    start = now_ms() // 5000 * 5000
    first, second = final("why", start, "This is bad."), final("why", start + 2000, "Very bad.")
    evidence = [cited(first, "text", 0.2), cited(second, "text", 0.3), cited(second, "voice", 0.25)]
    stage.write(first, second, window("why", start, -0.62, evidence))
    page = await opened(address(stage, "why"))
    await page.locator(".now").filter(has_text="customer").click()
    panel = page.get_by_role("region", name="What the score rests on")
    await expect(panel).to_contain_text("90 % interval \u22120.95 to \u22120.29")
    await expect(panel).to_contain_text("text 50 %, voice 25 %, context 25 %")
    causes = await panel.locator(".cause").all_inner_texts()
    assert [re.split(r"\s", each)[0] for each in causes] == ["30", "25", "20", "25"]
    await expect(item(page, "This is bad.")).to_contain_text("cited, 20 %")
    await expect(item(page, "Very bad.")).to_contain_text("cited, 55 %")
    await panel.get_by_role("button", name="“This is bad.”").click()
    await expect(item(page, "This is bad.")).to_have_attribute("data-found", "")
    await expect(item(page, "This is bad.")).to_be_focused()
    await shoot(page, "test-why")
    await page.keyboard.press("Escape")
    await expect(panel).to_be_hidden()
    await expect(page.locator("[data-cited]")).to_have_count(0)


async def test_a_click_on_a_line_chooses_its_window(stage: Stage, opened: Opened) -> None:
    start = now_ms() // 5000 * 5000 - 50_000
    captions = [final("lines", start + i * 5000, f"Sentence {i}.") for i in range(10)]
    stage.write(*captions)
    for i, caption in enumerate(captions):
        at = start + i * 5000
        stage.write(window("lines", at, i / 10 - 0.45, [cited(caption, "text", 0.75)]))
    page = await opened(address(stage, "lines"))
    canvas = page.locator(".lane[data-lane=sentiment] canvas")
    await expect(page.locator(".now .score")).to_have_text("+0.45")
    box = await canvas.bounding_box()
    assert box
    await page.mouse.click(box["x"] + box["width"] * 0.35, box["y"] + 20)
    await expect(item(page, "Sentence 3.")).to_contain_text("cited, 75 %")
    await expect(page.locator(".why-panel .score")).to_have_text("\u22120.15")


async def test_values_are_read_and_chosen_by_keys(stage: Stage, opened: Opened) -> None:
    start = now_ms() // 5000 * 5000 - 50_000
    stage.write(*(final("keys", start + i * 5000, f"Sentence {i}.") for i in range(10)))
    stage.write(*(window("keys", start + i * 5000, -0.5 + i / 10) for i in range(10)))
    page = await opened(address(stage, "keys"))
    await expect(page.locator(".now .score")).to_have_text("+0.40")
    axis = page.get_by_role("slider", name="Time, to read the values")
    await axis.focus()
    stage.write(window("keys", start + 50_000, 0.6, []).model_copy(update={"channel": "agent"}))
    await expect(page.locator(".now")).to_have_count(2)
    await expect(axis).to_be_focused()
    await page.keyboard.press("Home")
    await expect(axis).to_have_attribute(
        "aria-valuetext", re.compile(r"^0:02; customer \u22120\.50")
    )
    await page.keyboard.press("ArrowRight")
    await expect(axis).to_have_attribute(
        "aria-valuetext", re.compile(r"^0:07; customer \u22120\.40, negative, anger")
    )
    await page.keyboard.press("Enter")
    await expect(page.locator(".why-panel h2")).to_have_text("customer, 0:05 to 0:10")
    await page.get_by_text("Values as a table").click()
    await expect(page.locator(".values tbody tr")).to_have_count(11)
    await expect(page.locator(".values td").last).to_have_text(
        "text 50 %, voice 25 %, context 25 %"
    )


async def test_who_reads_above_is_left_there(stage: Stage, opened: Opened) -> None:
    start = now_ms() - 300_000
    stage.write(*(final("long", start + i * 5000, f"Sentence number {i}.") for i in range(50)))
    page = await opened(address(stage, "long"))
    talk = page.locator(".pane").first.locator(".scroll")
    await expect(item(page, "Sentence number 49.")).to_be_in_viewport()
    await talk.hover()
    await page.mouse.wheel(0, -600)
    await expect(item(page, "Sentence number 49.")).not_to_be_in_viewport()
    stage.write(final("long", start + 250_000, "Something new."))
    await expect(page.get_by_role("button", name="1 new item")).to_be_visible()
    await expect(item(page, "Something new.")).not_to_be_in_viewport()
    await page.get_by_role("button", name="1 new item").click()
    await expect(item(page, "Something new.")).to_be_in_viewport()
    stage.write(final("long", start + 255_000, "Something newer."))
    await expect(item(page, "Something newer.")).to_be_in_viewport()


async def test_captions_alone_on_a_display(stage: Stage, opened: Opened) -> None:
    start = now_ms()
    for i in range(30):
        stage.write(final("hall", start + i * 3000, f"Line {i}.", ("customer", "agent")[i % 2]))
    stage.write(partial("hall", start + 90_000, "and what comes", stable=2))
    page = await opened(address(stage, "hall", "/captions"), height=720)
    shown = page.locator(".display li")
    await expect(shown.last).to_contain_text("and what comes")
    await expect(shown.last).to_be_in_viewport()
    assert await shown.count() < 20
    await expect(page.locator(".shaky")).to_have_text("comes")
    size = "element => parseFloat(getComputedStyle(element).fontSize)"
    before = await page.locator(".display ol").evaluate(size)
    await page.get_by_role("button", name="Larger").click()
    assert await page.locator(".display ol").evaluate(size) > before
    await page.reload()
    assert await page.locator(".display ol").evaluate(size) > before, "it is kept"
    await expect(shown.last).to_contain_text("and what comes")
    await shoot(page, "test-captions")
    await page.get_by_role("link", name="Back to the session").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("hall")


async def type_in(stage: Stage, session: str, time: int, text: str) -> None:
    """As somebody types who is not on the page."""
    typed = Event(
        EventType.TEXT_MESSAGE, text, "made", session, time, content_type="text/plain",
        data=text.encode(),
    )  # fmt: skip
    await stage.producer.send(TOPICS.text, typed.data, session.encode(), headers=encode(typed)[2])


HIDDEN = "Object.defineProperty(document, 'hidden', { get: () => !window.seen })"


async def test_a_session_ended_and_went_on(stage: Stage, opened: Opened) -> None:
    """Opened where nobody sees it: what was typed is there when somebody does."""
    start = now_ms() // 5000 * 5000
    await type_in(stage, "on", start, "Are you there?")
    whole = ChannelSentiment(score=0.1, label="neutral", windows=1, first=0, last=0.2, trend=0.1)
    over = SentimentSession(session="on", start=start, end=start + 5000, channels={"": whole})
    stage.write(final("on", start, "Hello."), window("on", start, 0.4), over)
    page = await opened(address(stage, "on"), before=lambda page: page.add_init_script(HIDDEN))
    ending = page.get_by_role("region", name="How the session ended")
    await expect(ending).to_be_visible()
    await expect(item(page, "Are you there?")).to_have_count(0)
    ask = "window.seen = true; document.dispatchEvent(new Event('visibilitychange'))"
    await page.evaluate(ask)
    await expect(item(page, "Are you there?")).to_be_visible()
    stage.write(final("on", start + 6000, "Hello again."))
    await expect(item(page, "Hello again.")).to_be_visible()
    await expect(ending).to_be_hidden()
    stage.write(over.model_copy(update={"end": start + 10_000}))
    await expect(ending).to_be_visible()
    await expect(ending.locator("li")).to_have_count(1)


async def test_what_was_typed_comes_once(stage: Stage, opened: Opened) -> None:
    start = now_ms()
    stage.write(final("typed", start, "Hello."))
    page = await opened(address(stage, "typed"))
    await expect(item(page, "Hello.")).to_be_visible()
    ask = "document.dispatchEvent(new Event('visibilitychange'))"
    for text in ("First.", "Second."):
        async with page.expect_response(lambda r: r.url.endswith("/texts") and r.status == 304):
            await page.evaluate(ask)
        async with page.expect_response(lambda r: r.url.endswith("/texts") and r.status == 200):
            await type_in(stage, "typed", start, text)
            await page.evaluate(ask)
        await expect(item(page, text)).to_have_count(1)


async def test_strange_names_are_only_names(stage: Stage, opened: Opened) -> None:
    name = "a/b ü <img src=x onerror=alert(1)>&?#%2F"
    said_ = final(name, now_ms(), "<script>alert(1)</script> & “that”")
    stage.write(said_)
    page = await opened(stage.url)
    await page.get_by_role("link", name=name, exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(name)
    await expect(page.locator(".said")).to_have_text("<script>alert(1)</script> & “that”")
