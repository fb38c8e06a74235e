"""The report of a session: read back as HTML and as XML, with what was really said in it."""

from __future__ import annotations

import io
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256
from xml.etree import ElementTree

import pytest
from PIL import Image

from streams.events import Event
from streams.markup import escaped
from streams.messages import TextMessage, Typed, text_message
from streams.results import (
    CaptionFinal,
    Gap,
    ImageRecognized,
    Label,
    Match,
    Result,
    SentimentSession,
    SentimentWindow,
    Silence,
    Word,
    result_event,
)
from streams.session_report import POLICY, contents, html
from streams.session_report.facts import DASH, Facts, clock, signed
from streams.thumbnails import SIDE, Thumbnail, thumbnail
from tests.html_page import Page
from tests.made_session import START, MadeSession, made_session, pictured, said, scored

HOSTILE = "</style><script>alert(1)</script>\" onload='x' <!-- & \u202edlrow \x00\x1b[2J ]]>"


def typed(events: Iterable[Event]) -> list[Typed]:
    messages = ((each, text_message(each)) for each in events)
    return [Typed(each.id, each.time, text.speaker, text) for each, text in messages]


def thumbnails(made: MadeSession) -> list[Thumbnail]:
    return [thumbnail(each) for each in made.images]


def report(made: MadeSession) -> str:
    return html(made.results, typed(made.texts), thumbnails(made))


@pytest.fixture(scope="module")
def made() -> MadeSession:
    return made_session()


@pytest.fixture(scope="module")
def page(made: MadeSession) -> str:
    return report(made)


@pytest.fixture(scope="module")
def read(page: str) -> Page:
    return Page(page)


# What kind of file it is


def test_every_element_is_closed_where_it_was_opened(read: Page) -> None:
    assert read.open == []


def test_it_is_well_formed_as_xml_too_so_every_drawing_is(page: str, read: Page) -> None:
    root = ElementTree.fromstring(page.removeprefix("<!doctype html>"))  # noqa: S314  (our own)
    drawings = list(root.iter("{http://www.w3.org/2000/svg}svg"))
    assert len(drawings) == read.tags.count("svg") > 4


def test_it_is_complete_in_itself(page: str, read: Page) -> None:
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {*read.tags}
    assert all(each.startswith("#") for each in read.values("href"))
    assert all(each.startswith("data:image/jpeg;base64,") for each in read.values("src"))
    assert {*read.values("xmlns")} == {"http://www.w3.org/2000/svg"}
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"url\((?!#lost\))", page) == []


def test_what_is_linked_is_there_once(read: Page) -> None:
    assert len({*read.ids}) == len(read.ids)
    assert {each[1:] for each in read.values("href")} <= {*read.ids}
    assert {*read.values("aria-labelledby")} <= {*read.ids}


def test_its_policy_lets_its_own_style_and_pictures_in_and_nothing_else(page: str) -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert "default-src 'none'" in POLICY
    assert escaped(POLICY) in page


def test_nothing_needs_inline_style_or_script(read: Page) -> None:
    names = {name for _, name, _ in read.attributes}
    assert "style" not in names
    assert not [name for name in names if name.startswith("on")]


def test_tables_have_heads_and_figures_have_words(read: Page) -> None:
    assert read.tags.count("table") == read.tags.count("caption") == read.tags.count("thead") == 5
    assert read.tags.count("figure") == read.tags.count("figcaption") == 4 + 3
    roles = [tag for tag, name, value in read.attributes if (name, value) == ("role", "img")]
    assert roles == ["svg"] * 4
    hidden = [tag for tag, name, _ in read.attributes if tag == "svg" and name == "aria-hidden"]
    assert len(hidden) + len(roles) == read.tags.count("svg")
    assert all(read.values("alt"))
    assert {*read.values("scope")} == {"col", "row"}


# What it tells


def test_the_head_says_what_it_is_about(read: Page) -> None:
    text = read.text()
    for words in ("call-1", "Thursday, 9 October 2025", "08:53:20 to 08:54:31 UTC", "1 min 11 s"):
        assert words in text
    assert "agent and customer" in text
    assert "4 texts typed, 3 pictures" in text
    assert "not ended" not in text.lower()


def test_every_caption_stands_with_its_time_and_speaker(made: MadeSession, read: Page) -> None:
    rows = [read.text(id_) for id_ in read.ids if re.fullmatch(r"c\d+", id_)]
    captions = [each for each in made.results if isinstance(each, CaptionFinal)]
    assert len(rows) == len(captions) > 10
    for each, row in zip(captions, rows, strict=True):
        assert row.startswith(clock(each.start - START) + each.channel + each.text)


def test_gaps_are_said(read: Page) -> None:
    told = [read.text(id_) for id_ in read.ids if re.fullmatch(r"g\d+", id_)]
    assert told == ["0:46agent[not recognised: repetition, 1.9 s]", "1:00customer[no audio, 1.6 s]"]


def test_what_was_typed_stands_with_its_kind(read: Page) -> None:
    told = [read.text(id_) for id_ in read.ids if re.fullmatch(r"t\d+", id_)]
    assert len(told) == 4
    assert "0:28customermessageMy order number is 48213, one photo cup." in told
    assert any(each.startswith("0:46agentnoteWrong print") for each in told)


def test_unsure_words_are_marked_and_no_others(page: str) -> None:
    marked = re.findall(r"<mark title=\"heard with 31.%\">([^<]*)</mark>", page)
    assert marked == ["annoyed.", "handle"]


def test_text_that_is_not_of_its_words_is_not_marked() -> None:
    odd = said("one two").model_copy(
        update={"words": (Word(text="three", start=START, end=START, probability=0.1),)}
    )
    assert contents.unsure(odd) == []


def test_evidence_leads_to_what_it_is(made: MadeSession, page: str, read: Page) -> None:
    windows = [each for each in made.results if isinstance(each, SentimentWindow)]
    texts = {
        result_event(each, source="").id: each.text
        for each in made.results
        if isinstance(each, CaptionFinal)
    }
    rows = re.findall(r'<tr id="(w\d+)">(.*?)</tr>', page)
    assert len(rows) == len(windows)
    linked = 0
    ordered = sorted(windows, key=lambda each: (each.start, each.channel == "", each.channel))
    for each, (_, row) in zip(ordered, rows, strict=True):
        anchors = re.findall(r'href="#(\w+)"', row)
        cited = sorted(each.evidence, key=lambda e: (-e.weight, e.start, e.id))[:6]
        assert len(anchors) == len(cited)
        for evidence, anchor in zip(cited, anchors, strict=True):
            linked += 1
            if evidence.id in texts:
                assert texts[evidence.id] in read.text(anchor)
            else:
                assert anchor[0] in "tp"
    assert linked > 40


def test_a_window_says_its_score_interval_label_emotion_and_contributions() -> None:
    row = Page(html([said("Hi."), scored(0, 0.5)])).text("w1")
    for words in (f"0:00{DASH}0:05", "agent", "+0.50", "+0.34 to +0.66", "neutral 50", "anger 60"):
        assert words in row
    assert "text 70" in row
    assert "nothing new was said" in row


def test_an_interval_stays_on_the_scale() -> None:
    assert "+0.84 to +1.00" in Page(html([said("Hi."), scored(0, 0.9 + 0.1)])).text("w1")


def test_pictures_stand_with_what_they_show(made: MadeSession, page: str, read: Page) -> None:
    assert "tabby cat 52" in read.text("p2")
    assert "face: joy 91" in read.text("p3")
    assert "sure that it is one" in read.text("p2")
    assert len(re.findall(r'<rect [^>]*class="face"', page)) == 1
    assert len(re.findall(r'<rect [^>]*class="face doubtful"', page)) == 1
    for source in read.values("src"):
        with Image.open(io.BytesIO(b64decode(source.partition(",")[2]))) as picture:
            assert picture.format == "JPEG"
            assert max(picture.size) <= SIDE


def test_matches_lead_to_both_sides(page: str, read: Page) -> None:
    assert "with a picture of an astronaut on it.” 0:14espresso 0:15" in read.text()
    assert "0.41" in read.text("report")


def test_a_match_with_another_session_leads_nowhere_there() -> None:
    match = Match(
        session="s", time=START, left="x", right="call-1/images/0", left_modality="text",
        right_modality="image", similarity=0.5, model="a", right_session="other",
    )  # fmt: skip
    text = Page(html([said("Hi."), match])).text()
    assert "image, not in this report of session other" in text


def test_the_audio_is_accounted_for(read: Page) -> None:
    assert "agent71,000 ms" in read.text()
    assert "customer71,000 ms" in read.text()


def test_models_are_named(read: Page) -> None:
    for name in (
        "whisper-tiny.en@a1b2c3d4e5f6",
        "efficientnet-lite0@0.1.0",
        "fusion@9f3c2d71",
        "align@77aa01",
    ):
        assert name in read.text()


def test_means_are_those_of_the_summary(made: MadeSession, read: Page) -> None:
    (summary,) = (each for each in made.results if isinstance(each, SentimentSession))
    text = read.text()
    for channel, mean in summary.channels.items():
        assert f"{channel or 'everybody'}{signed(mean.score)}{mean.label} on average" in text
        assert f"Trend{signed(mean.trend)} a minute" in text


def test_a_session_that_goes_on_says_so_and_is_summed_up_so_far(made: MadeSession) -> None:
    open_ = report(made_session(ended=False))
    text = Page(open_).text()
    assert (
        "Not ended. This session had not ended when the report was made. It is told up to 1:11."
        in text
    )
    (summary,) = (each for each in made.results if isinstance(each, SentimentSession))
    assert f"customer{signed(summary.channels['customer'].score)}" in text


def test_a_session_that_goes_on_after_its_end_is_not_ended(made: MadeSession) -> None:
    (summary,) = (each for each in made.results if isinstance(each, SentimentSession))
    later = scored(summary.end - START, 0.5).model_copy(update={"session": summary.session})
    assert Facts(tuple(made.results)).summary == summary
    assert Facts((*made.results, later)).summary is None
    assert "Not ended." in Page(html([*made.results, later])).text()


def test_what_never_arrived_was_not_spoken() -> None:
    whole = said("Hello there.")
    cut = whole.model_copy(update={"channel": "customer", "lost_ms": 600})
    facts = Facts((whole, cut))
    assert (facts.talk_ms("agent"), facts.talk_ms("customer")) == (900, 300)
    assert facts.share("customer") == 0.25


@pytest.mark.parametrize(
    "results",
    [
        [],
        [scored(0)],
        [scored(0, channel="")],
        [said("Only words.")],
        [said("No name.", channel="")],
        [Silence(session="s", channel="a", start=START, end=START + 10)],
        [Gap(session="s", channel="a", start=START, end=START, reason="no-audio")],
        [pictured(0)],
        [SentimentSession(session="s", start=START, end=START + 1, channels={})],
    ],
    ids=lambda results: "-".join(type(each).__name__ for each in results) or "nothing",
)  # fmt: skip
def test_whatever_little_there_is_makes_a_page(results: list[Result]) -> None:
    read = Page(html(results))
    assert read.open == []
    assert {each[1:] for each in read.values("href")} <= {*read.ids}


def test_only_chat_makes_a_page() -> None:
    texts = [Typed("t", START, "customer", TextMessage("Hello?"))]
    vocabulary = Typed(
        "v", START + 10, "", TextMessage(kind="vocabulary", vocabulary=("KX-4471", "Kowalczyk"))
    )
    text = Page(html([scored(0, channel="customer")], [*texts, vocabulary])).text()
    assert "Hello?" in text
    assert "KX-4471, Kowalczyk" in text


# Whoever may write to a topic may write anything


def hostile() -> MadeSession:
    made = made_session(HOSTILE)
    said = {"text": HOSTILE, "channel": HOSTILE, "model": HOSTILE, "language": HOSTILE}
    label = (Label(name=HOSTILE, probability=0.5),)
    changed: list[Result] = []
    for each in made.results:
        match each:
            case CaptionFinal():
                changed.append(each.model_copy(update=said))
            case Gap():
                changed.append(each.model_copy(update={"reason": HOSTILE, "channel": HOSTILE}))
            case ImageRecognized():
                changed.append(each.model_copy(update={"labels": label, "model": HOSTILE}))
            case SentimentWindow():
                shares = {HOSTILE: 0.5, "text": 0.5}
                more = {"emotions": shares, "contributions": shares, "model": HOSTILE}
                changed.append(each.model_copy(update=more))
            case _:
                changed.append(each)
    made.results = changed
    return made


def test_hostile_text_is_text(read: Page) -> None:
    made = hostile()
    texts = [Typed(each.id, each.time, HOSTILE, TextMessage(HOSTILE)) for each in made.texts]
    page = html(made.results, texts, thumbnails(made), left_out={HOSTILE: 2})
    found = Page(page)
    assert found.open == []
    assert {*found.tags} <= {*read.tags} | {"p"}
    known = {name for _, name, _ in read.attributes}
    assert {name for _, name, _ in found.attributes} <= known | {"lang"}
    assert "alert(1)" in found.text()
    assert re.findall("[\x00-\x08\x0e-\x1f\u202a-\u202e]", page) == []
    assert all(each.startswith("#") for each in found.values("href"))
    assert {*found.values("lang")} == {"en"}
    ElementTree.fromstring(page.removeprefix("<!doctype html>"))  # noqa: S314
