"""Results as lines for people and for programs."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from streams.events import Event, EventType
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    ChannelSentiment,
    Gap,
    ImageRecognized,
    Label,
    Match,
    PartialWord,
    Result,
    SentimentSession,
    SentimentWindow,
    Silence,
    result_event,
)
from streams.watch import Received, Screen, as_json, shown

START = 1_760_000_000_000
GREY = "\x1b[90m"
CLEAR = "\r\x1b[2K"


def final(text: str, channel: str = "agent") -> CaptionFinal:
    return CaptionFinal(**_caption(text, channel), words=())


def partial(text: str) -> CaptionPartial:
    word = PartialWord(text=text, start=START, end=START + 1, probability=1.0, stable=False)
    return CaptionPartial(**_caption(text, "agent"), words=(word,))


def _caption(text: str, channel: str) -> dict[str, object]:
    return {
        **{"session": "call-1", "channel": channel, "start": START, "end": START + 1500},
        **{"text": text, "language": "en", "revision": 0, "model": "m"},
        "no_speech_probability": 0.0,
    }


def window(
    score: float = -0.5, channel: str = "customer", *, revision: int = 0, final: bool = True
) -> SentimentWindow:
    return SentimentWindow(
        session="call-1",
        channel=channel,
        start=START,
        end=START + 5000,
        revision=revision,
        final=final,
        score=score,
        deviation=0.25,
        label="negative",
        confidence=0.75,
        emotions={"anger": 0.7, "joy": 0.1},
        contributions={"text": 0.6, "voice": 0.4},
        evidence=(),
        model="m",
    )


def lines(*results: Result, terminal: bool = False, width: int = 120) -> str:
    """What a console shows of results, with its escapes if it is a terminal."""
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        force_terminal=terminal,
        color_system="standard" if terminal else None,
        legacy_windows=False,
        highlight=False,
    )
    screen = Screen(console, zero=START, one_session=True)
    for result in results:
        screen.show(result)
    return file.getvalue()


def test_a_caption_is_a_line_with_its_time_and_speaker() -> None:
    assert lines(final("Hello.")) == "   1.5 s  agent        Hello.\n"


def test_sessions_are_named_where_there_may_be_several() -> None:
    console = Console(file=io.StringIO(), width=120, record=True, highlight=False)
    Screen(console, zero=START).show(final("Hello."))
    assert console.export_text() == "   1.5 s  call-1  agent        Hello.\n"


def test_square_brackets_of_a_speaker_are_no_markup() -> None:
    assert "[red]ring[/]" in lines(final("[red]ring[/]"), terminal=True)


def test_a_partial_is_grey_until_the_final_replaces_it() -> None:
    text = lines(partial("Hel"), partial("Hello"), final("Hello."), terminal=True)
    first, second, third = text.split(CLEAR)
    for each, words in ((first, "Hel"), (second, "Hello")):
        assert each.endswith(f"{GREY}{words}\x1b[0m")
        assert "\n" not in each
    assert third.endswith("Hello.\x1b[0m\n")
    assert f"{GREY}Hello." not in third


def test_a_partial_never_needs_a_second_line() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=True, record=True)
    Screen(console, zero=START, one_session=True).show(partial("word " * 50))
    assert len(console.export_text()) < 40


def test_without_a_terminal_partials_are_not_shown() -> None:
    assert lines(partial("Hel"), final("Hello.")) == lines(final("Hello."))


def test_silence_says_nothing_and_leaves_the_partial() -> None:
    silence = Silence(session="call-1", channel="agent", start=START, end=START + 1)
    assert lines(silence) == ""
    assert lines(partial("Hel"), silence, terminal=True) == lines(partial("Hel"), terminal=True)


def test_what_was_not_recognised_is_said() -> None:
    gap = Gap(session="call-1", channel="agent", start=START, end=START + 2500, reason="no-audio")
    assert "[2.5 s not recognised: no-audio]" in lines(gap)


def test_a_picture_is_shown_by_its_labels() -> None:
    picture = ImageRecognized(
        session="call-1",
        channel="customer",
        time=START + 2000,
        image="i",
        labels=tuple(Label(name=name, probability=0.2) for name in ("cup", "pot", "jug", "urn")),
        faces=(),
        model="m",
    )
    expected = "   2.0 s  customer     [picture: cup 20%, pot 20%, jug 20%]\n"
    assert lines(picture) == expected


def test_a_match_is_shown_by_what_it_is_of() -> None:
    match = Match(
        session="call-1",
        time=START + 2000,
        left="text-1",
        right="picture-1",
        left_modality="text",
        right_modality="image",
        left_channel="customer",
        similarity=0.456,
        model="m",
    )
    expected = "   2.0 s  customer     [match 0.46: text-1 and picture-1]\n"
    assert lines(match) == expected


def test_a_mood_is_shown_with_its_reasons() -> None:
    assert lines(window()) == (
        "   5.0 s  customer     mood ██░░░░░░░░ -0.50 ±0.25 negative (75%)"
        "  anger; text 60%, voice 40%\n"
    )


def test_the_mood_of_all_together_is_left_to_the_summary() -> None:
    assert lines(window(channel="")) == ""


def test_a_provisional_mood_is_not_listed_but_is_in_the_json() -> None:
    provisional = window(revision=2, final=False)
    assert lines(provisional) == ""
    assert json.loads(as_json(received(provisional)))["data"]["final"] is False


def test_a_corrected_mood_says_so() -> None:
    assert lines(window(revision=1)).startswith(lines(window())[:60])
    assert "negative (75%) corrected  anger" in lines(window(revision=1))


@pytest.mark.parametrize(("score", "filled"), [(-1.0, 0), (0.0, 5), (1.0, 10)])
def test_the_bar_of_a_mood_has_ten_steps(score: float, filled: int) -> None:
    text = lines(window(score))
    assert (text.count("█"), text.count("░")) == (filled, 10 - filled)


def test_the_summary_of_a_session() -> None:
    sentiment = ChannelSentiment(
        score=-0.25, label="negative", windows=3, first=-0.75, last=0.25, trend=1.0
    )
    channels = {"": sentiment, "customer": sentiment}
    summary = SentimentSession(session="call-1", start=START, end=START + 9000, channels=channels)
    assert lines(summary) == (
        "   9.0 s  session over: together -0.25 negative (from -0.75 to +0.25); "
        "customer -0.25 negative (from -0.75 to +0.25)\n"
    )


def received(result: Result) -> Received:
    return Received("recognition", START, result_event(result, source="test"))


def test_only_the_session_that_was_asked_for() -> None:
    hello = final("Hello.")
    assert shown(received(hello), "call-1") == hello
    assert shown(received(hello), None) == hello
    assert shown(received(hello), "call-2") is None


def test_what_is_no_result_is_not_shown() -> None:
    chunk = Event(EventType.AUDIO_CHUNK, "1", "test", "call-1", START, data=b"\0\0")
    assert shown(Received("recognition", START, chunk), None) is None
    broken = Event(EventType.CAPTION_FINAL, "1", "test", "call-1", START, data=b"{")
    assert shown(Received("recognition", START, broken), None) is None
    assert shown(Received("recognition", START, None), None) is None


def test_a_line_of_json() -> None:
    came = received(final("Grüße\n"))
    line = as_json(came)
    assert "\n" not in line
    fields = json.loads(line)
    assert came.event is not None
    assert (fields["type"], fields["id"]) == ("tenor.caption.final.v1", came.event.id)
    assert fields["data"]["text"] == "Grüße\n"
    assert json.loads(as_json(Received("sentiment", START, None))) == {
        "topic": "sentiment",
        "unreadable": True,
    }
