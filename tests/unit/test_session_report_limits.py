"""What a report leaves out, its figures, and its thumbnails."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from streams.media import MediaError
from streams.session_report import charts, contents, html
from streams.session_report.facts import MINUS, Facts, clock, duration, signed
from streams.thumbnails import Thumbnail, chosen, thumbnail
from tests.html_page import Page
from tests.made_session import START, MadeSession, made_session, pictured, said, scored

JPEG = b"\xff\xd8\xff"


@pytest.fixture(scope="module")
def made() -> MadeSession:
    return made_session()


# It is bounded


def test_a_transcript_that_is_too_long_is_cut_and_says_so() -> None:
    long = [said("word " * 2000, 1000 * i) for i in range(500)]
    page = html(long)
    assert len(page) < 3_000_000
    assert re.search(r"\d+ lines of the transcript, from \d:\d\d on", Page(page).text())
    assert "characters more)" in page


def test_a_call_of_many_windows_has_small_figures_and_a_table_that_is_cut() -> None:
    many = [scored(1000 * i, (i % 21 - 10) / 10) for i in range(contents.WINDOWS + 100)]
    page = html([said("Hi."), *many])
    read = Page(page)
    assert read.ids.count("w5000") == 1
    assert "w5001" not in read.ids
    assert "the last 100 windows of 5,100" in read.text()
    drawings = re.findall(r"<svg[^>]*role=\"img\".*?</svg>", page, re.DOTALL)
    assert sum(map(len, drawings)) < 200_000
    assert "A point is the mean of up to 15 windows." in read.text()


def test_many_pictures_are_told_of_and_few_are_shown() -> None:
    images = [pictured(i) for i in range(600)]
    small = [Thumbnail(f"i{i}", START + i, "a", JPEG, 4, 3) for i in range(100)]
    read = Page(html(images, pictures=small))
    assert read.tags.count("img") == 40
    assert len([each for each in read.ids if re.fullmatch(r"p\d+", each)]) == 500
    assert "100 pictures of 600" in read.text()


def test_pictures_that_are_too_large_together_are_not_shown() -> None:
    images = [pictured(i) for i in range(5)]
    large = [Thumbnail(f"i{i}", START + i, "a", JPEG * 500_000, 4, 3) for i in range(5)]
    read = Page(html(images, pictures=large))
    assert read.tags.count("img") == 2
    assert "Pictures that are not shown" in read.text()


def test_many_channels_are_listed_and_few_are_drawn() -> None:
    captions = [said("Hi.", 10 * i, channel=f"line-{i:02}") for i in range(30)]
    facts = Facts(tuple(captions))
    assert len(facts.drawn) == 8
    assert "22 channels that spoke less are not drawn." in Page(html(captions)).text()


def test_what_was_not_read_is_said(made: MadeSession) -> None:
    text = Page(html(made.results, left_out={"results": 1234})).text()
    assert "1,234 results" in text
    assert "Nothing: this is the whole session." not in text


# Figures


def test_windows_are_averaged_until_they_are_few() -> None:
    line = charts.points([scored(5000 * i, i / 1000) for i in range(1000)], 300)
    assert len(line) == 250
    assert line[0].start == START
    assert line[-1].end == START + 5_000_000
    assert line[0].score == pytest.approx(0.0015)
    assert line[0].emotions == pytest.approx({"joy": 0.4, "anger": 0.6})


@given(st.integers(1, 10**11))
def test_an_axis_has_a_few_marks_within_it(length: int) -> None:
    marks = charts.ticks(length)
    assert marks[0] == 0
    assert marks[-1] <= length
    assert len(marks) <= 11


def test_a_line_is_interrupted_where_nothing_was_scored() -> None:
    there = Facts((said("Hi.", 20_000), said("Ho."), scored(0), scored(5000)))
    pause = Facts((*there.results, scored(20_000)))
    assert 'class="bridge' not in charts.sentiment(there)
    assert charts.sentiment(pause).count('class="bridge') == 1
    assert charts.sentiment(pause).count('class="band') == 2


def test_windows_that_overlap_stand_beside_each_other() -> None:
    facts = Facts((said("Hi."), said("Ho.", 9000), scored(0), scored(1000), scored(2000)))
    drawing = charts.contributions(facts)
    (text,) = re.findall(r'<path d="([^"]*)" class="part m-text"', drawing)
    boxes = [(float(x), float(w)) for x, w in re.findall(r"M([\d.]+) [\d.]+h([\d.]+)v", text)]
    assert len(boxes) == 3
    for (x, w), (after, _) in pairwise(boxes):
        assert x + w <= after + 0.01


def test_figures_stay_within_their_frame() -> None:
    facts = Facts((said("Hi."), scored(-4000, 1.0), scored(600, -1.0)))
    for draw in (charts.sentiment, charts.emotions, charts.contributions, charts.talk):
        root = ElementTree.fromstring(draw(facts))  # noqa: S314
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        for path in root.iter("{http://www.w3.org/2000/svg}path"):
            for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path.attrib["d"]):
                assert 0 <= float(x) <= width
                assert 0 <= float(y) <= height


def test_times_and_numbers_as_people_write_them() -> None:
    assert [clock(ms) for ms in (0, 61_000, 3_661_000)] == ["0:00", "1:01", "1:01:01"]
    assert clock(-4000) == f"{MINUS}0:04"
    assert [signed(score) for score in (0.004, -0.5, 1.0)] == ["0.00", f"{MINUS}0.50", "+1.00"]
    assert [duration(ms) for ms in (900, 71_000)] == ["0.9 s", "1 min 11 s"]
    assert duration(7_260_000) == "2 h 1 min"


# Pictures


def test_a_thumbnail_is_upright_small_and_bare(made: MadeSession) -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "a secret place"
    Image.new("RGB", (1600, 800), "red").save(out, "JPEG", exif=exif)
    event = made.images[0]
    small = thumbnail(replace(event, data=out.getvalue()))
    assert (small.width, small.height) == (320, 640)
    assert b"secret" not in small.jpeg
    assert (small.id, small.time, small.channel) == (event.id, event.time, "customer")


def test_what_is_no_picture_has_no_thumbnail(made: MadeSession) -> None:
    with pytest.raises(MediaError):
        thumbnail(replace(made.images[0], data=b"GIF89a not a jpeg"))


def test_matched_and_cited_pictures_are_chosen_first_then_some_of_all_over(
    made: MadeSession,
) -> None:
    others = [pictured(i, 100_000 + i) for i in range(100)]
    picked = chosen([*others, *made.results], 7)
    assert picked[:3] == ["call-1/images/0", "call-1/images/1", "call-1/images/2"]
    rest = [int(each[1:]) for each in picked[3:]]
    assert rest == sorted(rest)
    assert rest[0] < 25 and rest[-1] >= 75
    assert len(picked) == 7
    assert chosen(made.results, 1) == ["call-1/images/1"]  # a face was cited, too
    assert chosen([], 3) == []
