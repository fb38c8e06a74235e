"""The figures of a call, on small results made by hand."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from streams.events import EventType
from streams.replay import Moment, Script
from streams.report import Report, percentiles, print_report, word_error_rate
from streams.results import CaptionFinal, ImageRecognized, Label, SentimentWindow
from tests.made_results import sentiment

START = 1_760_000_000_000
SCRIPT = Script(
    (Moment(4.0, "audio", EventType.AUDIO_CHUNK),),
    (
        {"channel": "agent", "start": 0.5, "end": 1.5, "text": "How can I help you?"},
        {"channel": "customer", "start": 2.0, "end": 3.0, "text": "The cup is broken."},
    ),
)


def caption(channel: str, start: float, end: float, text: str) -> CaptionFinal:
    return CaptionFinal(
        session="s",
        channel=channel,
        start=START + round(start * 1000),
        end=START + round(end * 1000),
        text=text,
        language="en",
        revision=0,
        model="m",
        no_speech_probability=0.0,
        words=(),
    )


def window(
    channel: str, end: float, score: float, *, revision: int = 0, final: bool = True
) -> SentimentWindow:
    begin, end_ms = START - 3000, START + round(end * 1000)
    told = {"session": "s", "channel": channel, "revision": revision, "final": final}
    return sentiment(begin, end_ms, score, **told)


def picture(at: float) -> ImageRecognized:
    return ImageRecognized(
        session="s",
        channel="customer",
        time=START + round(at * 1000),
        image="i",
        labels=(Label(name="cup", probability=0.9),),
        faces=(),
        model="m",
    )


def report() -> Report:
    made = Report("s", start=START, events_in={"audio": 3}, dead_letters=1)
    made.add(
        EventType.CAPTION_FINAL, caption("agent", 0.4, 2.0, "How can I help you"), START + 2500
    )
    made.add(
        EventType.CAPTION_FINAL, caption("customer", 1.9, 2.5, "The cup is spoken."), START + 3500
    )
    made.add(EventType.IMAGE_RECOGNIZED, picture(1.25), START + 1400)
    made.add(EventType.SENTIMENT_WINDOW, window("", 2.0, -0.12345), START + 3100)
    made.add(EventType.SENTIMENT_WINDOW, window("customer", 2.0, -0.5), START + 3200)
    return made


def test_captions_are_in_seconds_of_the_call_and_held_against_the_script() -> None:
    captions = report().results(SCRIPT)["captions"]
    assert captions["finals"][0] == {
        "channel": "agent",
        "start": 0.4,
        "end": 2.0,
        "text": "How can I help you",
    }
    assert captions["wer"] == round(1 / 9, 4)
    assert captions["partials"] == 0


def test_latency_begins_when_the_words_were_over() -> None:
    latency = report().results(SCRIPT)["latency_s"]
    # The agent's words ended at 1.5 s; the customer's caption ends, at 2.5 s, before the words do.
    assert latency["caption_final"] == {"p50": 1.0, "p95": 1.0}
    assert latency["sentiment_window"] == {"p50": 1.1, "p95": 1.2}


def test_a_caption_of_which_the_script_knows_nothing_ends_where_it_says() -> None:
    made = Report("s", start=START)
    made.add(EventType.CAPTION_FINAL, caption("agent", 0.0, 2.0, "hello"), START + 2300)
    results = made.results(Script(()))
    assert results["latency_s"]["caption_final"] == {"p50": 0.3, "p95": 0.3}
    assert results["captions"]["wer"] is None


def test_sentiment_and_pictures_by_channel() -> None:
    results = report().results(SCRIPT)
    assert {name: len(each) for name, each in results["sentiment"].items()} == {
        "together": 1,
        "customer": 1,
    }
    together = results["sentiment"]["together"][0]
    assert (together["start"], together["end"], together["score"]) == (0.0, 2.0, -0.1235)
    assert results["images"] == [
        {
            "at": 1.25,
            "channel": "customer",
            "labels": [{"name": "cup", "probability": 0.9}],
            "faces": 0,
        }
    ]
    assert results["results_out"] == {
        "tenor.caption.final.v1": 2,
        "tenor.image.recognized.v1": 1,
        "tenor.sentiment.window.v1": 2,
    }


def test_provisional_sentiment_counts_for_nothing() -> None:
    made = report()
    before = made.results(SCRIPT)
    made.add(EventType.SENTIMENT_WINDOW, window("", 2.0, 0.5, revision=3, final=False), START)
    assert made.results(SCRIPT) == before


def test_a_correction_takes_the_place_of_its_window_but_says_nothing_of_latency() -> None:
    made = report()
    before = made.results(SCRIPT)
    made.add(EventType.SENTIMENT_WINDOW, window("", 2.0, 0.75, revision=2), START + 60_000)
    made.add(EventType.SENTIMENT_WINDOW, window("", 2.0, 0.25, revision=1), START + 70_000)
    after = made.results(SCRIPT)
    assert [each["score"] for each in after["sentiment"]["together"]] == [0.75]
    assert after["sentiment"]["customer"] == before["sentiment"]["customer"]
    assert after["latency_s"] == before["latency_s"]


@pytest.mark.parametrize(
    ("values", "p50", "p95"),
    [
        ([], None, None),
        ([3.0], 3.0, 3.0),
        ([2.0, 1.0], 1.0, 2.0),
        ([3.0, 1.0, 2.0], 2.0, 3.0),
        ([float(n) for n in range(1, 101)], 50.0, 95.0),
        ([float(n) for n in range(1, 21)], 10.0, 19.0),
    ],
)
def test_percentiles_are_of_the_nearest_rank(
    values: list[float], p50: float | None, p95: float | None
) -> None:
    assert percentiles(values) == {"p50": p50, "p95": p95}


def said(channel: str, start: float, text: str) -> dict[str, object]:
    return {"channel": channel, "start": start, "end": start + 1, "text": text}


def test_word_errors_count_over_all_channels_in_the_order_of_time() -> None:
    spoken = [said("a", 0, "a red"), said("b", 1, "cat"), said("a", 2, "cup")]
    heard = [said("a", 2, "Cup!"), said("a", 0, "A red"), said("b", 1, "hat")]
    assert word_error_rate(spoken, heard) == 0.25


def test_what_was_not_heard_at_all_is_wrong() -> None:
    assert word_error_rate([said("a", 0, "one two")], []) == 1.0


def test_nothing_is_known_of_what_was_said() -> None:
    assert word_error_rate([], [said("a", 0, "one")]) is None


def test_the_report_for_people() -> None:
    console = Console(file=io.StringIO(), width=120, record=True)
    print_report(report().results(SCRIPT), console)
    text = console.export_text()
    assert "2, word error rate 11.1%" in text
    assert "p50 1.00 s, p95 1.00 s" in text
    assert "audio 3" in text
    print_report(Report("s").results(Script(())), console)
    text = console.export_text()
    assert "word error rate unknown" in text
    assert "nothing measured" in text
