"""A session's captions as files. The WebVTT and SubRip are read back by strict readers of the
formats' rules, written here from the specifications."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cues import LINE, LONGEST_MS, SHORTEST_MS, UNHEARD
from streams.export import FORMATS, render
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    Gap,
    Match,
    Silence,
    Word,
    result_event,
)

START = 1_760_000_000_000
PER_WORD = 300


def final(
    text: str,
    start: int = 0,
    *,
    channel: str = "agent",
    words: Iterable[tuple[str, int, int]] | None = None,
    end: int | None = None,
) -> CaptionFinal:
    """Said from `start` ms on; each word takes 300 ms unless the words say otherwise."""
    if words is None:
        words = [
            (word, start + i * PER_WORD, start + (i + 1) * PER_WORD)
            for i, word in enumerate(text.split())
        ]
    timed = tuple(
        Word(text=word, start=START + begin, end=START + stop, probability=0.9)
        for word, begin, stop in words
    )
    over = START + end if end is not None else max(START + start + 1, *(w.end for w in timed), 0)
    return CaptionFinal(
        session="call-1",
        channel=channel,
        start=START + start,
        end=over,
        text=text,
        language="en",
        revision=0,
        model="m",
        no_speech_probability=0.0,
        words=timed,
    )


def gap(start: int, end: int, reason: str, channel: str = "agent") -> Gap:
    return Gap(
        session="call-1", channel=channel, start=START + start, end=START + end, reason=reason
    )


def silence(start: int, end: int, channel: str = "agent") -> Silence:
    return Silence(session="call-1", channel=channel, start=START + start, end=START + end)


class Shown(NamedTuple):
    """A cue as a reader of the file sees it; times in ms."""

    start: int
    end: int
    speaker: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.lines)


def milliseconds(clock: str, point: str) -> int:
    match = re.fullmatch(rf"(\d\d+):([0-5]\d):([0-5]\d){re.escape(point)}(\d{{3}})", clock)
    assert match, clock
    hours, minutes, seconds, ms = map(int, match.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms


def timed(line: str, point: str) -> tuple[int, int]:
    start, end = (milliseconds(clock, point) for clock in line.split(" --> "))
    assert start < end, line
    return start, end


def read_vtt(file: str) -> tuple[list[Shown], list[str]]:
    """Cues and comments of a WebVTT file (W3C, sections 4.1 and 4.2)."""
    assert "\r" not in file
    assert file.endswith("\n")
    header, *blocks = file.removesuffix("\n").split("\n\n")
    assert header == "WEBVTT"
    cues, notes = [], []
    for block in blocks:
        first, *lines = block.split("\n")
        if re.match(r"NOTE( |$)", first):
            assert "-->" not in block
            notes.append(block.removeprefix("NOTE "))
        else:
            cues.append(Shown(*timed(first, "."), *voice(lines)))
    assert all(one.start <= other.start for one, other in pairwise(cues))
    return cues, notes


def voice(lines: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Speaker and plain lines of a cue whose only tag may be a voice at its beginning."""
    assert all(lines)
    match = re.fullmatch(r"(?:<v ([^<>\n]+)>)?([^<>]+)", "\n".join(lines))
    assert match, lines
    for each in match.groups(""):
        assert not re.search(r"&(?!amp;|lt;|gt;)", each)
    speaker, text = (html.unescape(each) for each in match.groups(""))
    return speaker, tuple(text.split("\n"))


def read_srt(file: str) -> list[Shown]:
    """Cues of a SubRip file; a speaker stays in the text."""
    cues = []
    for number, block in enumerate(filter(None, file.split("\n\n")), 1):
        index, times, *lines = block.removesuffix("\n").split("\n")
        assert index == str(number)
        assert lines
        assert all(lines)
        cues.append(Shown(*timed(times, ","), "", tuple(lines)))
    return cues


WORDS = st.text("abcxyzäé&<>-.,?'", min_size=1, max_size=12) | st.sampled_from(
    ["well.", "-->", "&amp;", "<b>"]
)
CHANNELS = ("", "agent", "a<b>&c -->", "a name that is far too long for a line")


@st.composite
def channel_captions(draw: st.DrawFn, channel: str) -> list[CaptionFinal]:
    """One after the other, some with words at impossible times or without."""
    now, made = draw(st.integers(0, 5000)), []
    for said in draw(st.lists(st.lists(WORDS, min_size=1, max_size=40), max_size=4)):
        end = now + draw(st.integers(1000, 15_000))
        count = len(said) + 1
        times = draw(st.lists(st.integers(now - 99, end + 99), min_size=count, max_size=count))
        times = draw(st.sampled_from([times, sorted(times)]))
        words = draw(st.sampled_from([list(zip(said, times, times[1:], strict=False)), []]))
        made.append(final(" ".join(said), now, channel=channel, words=words, end=end))
        now = end + draw(st.integers(0, 3000))
    return made


@st.composite
def sessions(draw: st.DrawFn) -> list[CaptionFinal]:
    names = draw(st.lists(st.sampled_from(CHANNELS), max_size=3, unique=True))
    return draw(st.permutations([each for name in names for each in draw(channel_captions(name))]))


def said_by(speaker: str, results: Iterable[CaptionFinal]) -> list[str]:
    theirs = sorted((each for each in results if each.channel == speaker), key=lambda r: r.start)
    return [word for each in theirs for word in each.text.split()]


@given(sessions())
def test_each_word_is_shown_once_in_order_by_its_speaker(results: list[CaptionFinal]) -> None:
    cues, notes = read_vtt(render(results, "vtt"))
    for speaker in CHANNELS:
        words = [word for cue in cues if cue.speaker == speaker for word in cue.text.split()]
        assert words == said_by(speaker, results)
    assert not notes


@given(sessions())
def test_cues_are_of_two_short_lines_and_follow_each_other(results: list[CaptionFinal]) -> None:
    cues, _ = read_vtt(render(results, "vtt"))
    for cue in cues:
        assert len(cue.lines) <= 2
        assert max(map(len, cue.lines)) <= LINE
        assert cue.end - cue.start <= LONGEST_MS
    for speaker in CHANNELS:
        theirs = [cue for cue in cues if cue.speaker == speaker]
        assert all(one.end <= other.start for one, other in pairwise(theirs))


@given(sessions())
def test_cues_are_shown_while_their_caption_is_said(results: list[CaptionFinal]) -> None:
    zero = min((each.start for each in results), default=0)
    cues, _ = read_vtt(render(results, "vtt"))
    for cue in cues:
        assert any(
            each.start <= cue.start + zero < cue.end + zero <= each.end + SHORTEST_MS
            for each in results
            if each.channel == cue.speaker
        )


@given(sessions())
def test_srt_shows_the_cues_of_vtt_with_their_speakers(results: list[CaptionFinal]) -> None:
    cues, _ = read_vtt(render(results, "vtt"))
    several = len({cue.speaker for cue in cues}) > 1
    for ours, theirs in zip(read_srt(render(results, "srt")), cues, strict=True):
        label = f"{theirs.speaker}: " if several and theirs.speaker else ""
        assert (ours.start, ours.end) == (theirs.start, theirs.end)
        assert ours.text == label + theirs.text
        if len(label) <= LINE // 2:
            assert max(map(len, ours.lines)) <= LINE


@pytest.mark.parametrize(("format_", "empty"), [("vtt", "WEBVTT\n"), ("srt", ""), ("txt", "")])
def test_a_file_of_nothing(format_: str, empty: str) -> None:
    assert render([], format_) == empty


def test_a_vtt_file() -> None:
    results = [
        silence(0, 1000),
        final("Fish & <chips>?", 1000),
        final("Yes.", 1500, channel="customer"),
        gap(3_600_000, 3_602_500, "recognition-failed", "customer"),
        gap(1900, 5000, "no-audio"),
    ]
    assert (
        render(results, "vtt")
        == """WEBVTT

00:00:01.000 --> 00:00:01.900
<v agent>Fish &amp; &lt;chips&gt;?

00:00:01.500 --> 00:00:02.333
<v customer>Yes.

NOTE 00:00:01.900 to 00:00:05.000 agent: [no audio]

01:00:00.000 --> 01:00:02.500
<v customer>[inaudible]

NOTE 01:00:00.000 to 01:00:02.500 customer: [not recognised: recognition-failed]
"""
    )


def test_an_srt_file() -> None:
    results = [final("Hello.", 0), final("Hello there.", 500, channel="customer")]
    assert render(results, "srt") == (
        "1\n00:00:00,000 --> 00:00:00,833\nagent: Hello.\n\n"
        "2\n00:00:00,500 --> 00:00:01,333\ncustomer: Hello there.\n"
    )
    assert "\nHello.\n" in render(results[:1], "srt")


def test_a_txt_file() -> None:
    results = [
        final("Where is\nit?", 1000),
        gap(0, 1000, "no-audio"),
        gap(3_725_000, 3_726_000, "repetition", ""),
        silence(5000, 6000),
    ]
    assert render(results, "txt") == (
        "[0:00:00] agent: [no audio]\n"
        "[0:00:01] agent: Where is it?\n"
        "[1:02:05] [not recognised: repetition]\n"
    )


def test_json_accounts_for_each_channel_and_cites_ids() -> None:
    hello, quiet = final("Hello Zoë.", 2000), silence(0, 2000)
    lost = gap(500, 1700, "no-audio", "customer")
    file = render([hello, lost, quiet], "json")
    read = json.loads(file)
    results = read.pop("results")
    assert read == {
        "session": "call-1",
        "start": START,
        "end": START + 2600,
        "channels": {
            "agent": {"covered_ms": 2600, "caption_ms": 600, "silence_ms": 2000, "gap_ms": 0},
            "customer": {"covered_ms": 1200, "caption_ms": 0, "silence_ms": 0, "gap_ms": 1200},
        },
    }
    ids = [result_event(each, source="any").id for each in (quiet, lost, hello)]
    assert [each["id"] for each in results] == ids
    said = {key: value for key, value in results[2].items() if key not in ("id", "type")}
    assert CaptionFinal.model_validate(said) == hello
    assert "Zoë" in file


def test_what_is_no_account_of_audio_is_passed_over() -> None:
    hello = final("Hello.", 0)
    partial = CaptionPartial(**{**hello.model_dump(), "start": START - 9, "words": ()})
    match = Match(
        session="call-1",
        time=START - 9,
        left="a",
        right="b",
        left_modality="text",
        right_modality="image",
        similarity=0.5,
        model="m",
    )
    for format_ in FORMATS:
        assert render([partial, hello, match], format_) == render([hello], format_)


def lines_of(caption: CaptionFinal) -> list[tuple[str, ...]]:
    return [cue.lines for cue in read_vtt(render([caption], "vtt"))[0]]


def test_a_long_caption_is_divided_where_sentences_end() -> None:
    first = "I have been waiting for three weeks."
    second = "Nobody has called me back, and now it says it was never sent."
    assert lines_of(final(f"{first} {second}")) == [
        (first,),
        ("Nobody has called me back,", "and now it says it was never sent."),
    ]


def test_a_word_longer_than_a_line_is_divided() -> None:
    lines = [line for cue in lines_of(final("x" * 100)) for line in cue]
    assert [len(line) for line in lines] == [42, 42, 16]


def test_a_language_without_spaces_keeps_its_text() -> None:
    text = "今日は、いい天気です。明日も晴れるといいですね。" * 3
    words = [(character, i * 100, i * 100 + 100) for i, character in enumerate(text)]
    cues, _ = read_vtt(render([final(text, words=words)], "vtt"))
    assert "".join(line for cue in cues for line in cue.lines) == text
    assert all(cue.lines[-1].endswith("。") for cue in cues)


def test_a_word_in_two_parts_is_not_torn() -> None:
    before, after = "a" * 16, "b" * 17
    said = [(before, 0, 900), ("well", 900, 1200), ("-known", 1200, 1500), (after, 1500, 2400)]
    caption = final(f"{before} well-known {after}", words=said)
    assert lines_of(caption) == [(f"{before} well-known", after)]


def test_a_short_sentence_is_not_torn_off_where_it_could_not_be_read() -> None:
    first, *_ = lines_of(final("Well. " + "abcdef " * 12))
    assert len(" ".join(first).split()) > 1


def test_a_word_that_lasts_over_a_pause_is_not_shown_all_the_time() -> None:
    cues, _ = read_vtt(render([final("Well.", words=[("Well.", 0, 12_000)])], "vtt"))
    assert [(cue.start, cue.end) for cue in cues] == [(0, LONGEST_MS)]


def test_a_short_caption_stays_until_it_can_be_read_or_the_next_one_comes() -> None:
    results = [final("No.", 0), final("No.", 500), final("Yes.", 5000)]
    cues, _ = read_vtt(render(results, "vtt"))
    assert [(cue.start, cue.end) for cue in cues] == [(0, 500), (500, 1333), (5000, 5833)]


def test_words_that_all_have_one_time_can_be_read_all_the_same() -> None:
    said = ["abcdefgh"] * 20
    words = [(word, 9000, 9000) for word in said]
    cues, _ = read_vtt(render([final(" ".join(said), words=words, end=9000)], "vtt"))
    assert len(cues) > 1
    assert min(cue.end - cue.start for cue in cues) >= SHORTEST_MS


def test_slow_speech_is_divided_so_that_all_of_it_is_shown() -> None:
    said = [(word, i * 2500, i * 2500 + 2500) for i, word in enumerate("abcdefgh")]
    cues, _ = read_vtt(render([final("a b c d e f g h", words=said)], "vtt"))
    assert all(one.end == other.start for one, other in pairwise(cues))
    assert (cues[0].start, cues[-1].end) == (0, 20_000)


def test_a_word_that_ends_after_its_caption_does_not_stay_longer() -> None:
    cues, _ = read_vtt(render([final("Well.", words=[("Well.", 0, 2500)], end=2000)], "vtt"))
    assert [(cue.start, cue.end) for cue in cues] == [(0, 2000)]


def test_more_text_than_milliseconds_is_still_a_valid_file() -> None:
    results = [final("abcdefgh " * 50, words=[], end=1), final("Oh.", 1)]
    cues, _ = read_vtt(render(results, "vtt"))
    assert sum(len(cue.text.split()) for cue in cues) == 51
    read_vtt(render([final("Oh.", words=[], end=0)], "vtt"))


def test_unrecognised_speech_is_shown_but_not_for_long() -> None:
    results = [gap(0, 20_000, "repetition"), gap(20_000, 30_000, "no-audio")]
    cues, notes = read_vtt(render(results, "vtt"))
    assert cues == [Shown(0, LONGEST_MS, "agent", (UNHEARD,))]
    assert len(notes) == 2
    assert UNHEARD in render(results, "srt")
