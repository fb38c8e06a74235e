"""Deepgram's protocol without sockets: its query, its messages, and what results are in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streams.gateway.deepgram_messages import (
    BadMessage,
    CloseStream,
    Configure,
    Finalize,
    KeepAlive,
    Listening,
    said,
)
from streams.gateway.deepgram_query import BadParameter, Options, options_of
from streams.gateway.positions import Timeline
from streams.gateway.problems import Problem
from streams.results import CaptionFinal, CaptionPartial, Gap, PartialWord, Result, Silence, Word

T0 = 1_700_000_000_000
RAW = [("encoding", "linear16"), ("sample_rate", "16000")]


def options(*more: tuple[str, str]) -> Options:
    return options_of([*RAW, *more], "en")


def listening(*more: tuple[str, str], ms: float = 10_000) -> Listening:
    """A stream of whose channels so much audio has come."""
    core = Listening(options(*more), "request")
    for index in range(len(core.channels)):
        core.begin(index, T0)
        core.take(index, ms)
    return core


def span(start: int, end: int, channel: str = "1") -> dict[str, Any]:
    return {"session": "s", "channel": channel, "start": T0 + start, "end": T0 + end}


def words(*spoken: tuple[str, int, int]) -> tuple[Word, ...]:
    return tuple(Word(text=t, start=T0 + a, end=T0 + b, probability=0.8) for t, a, b in spoken)


def final(start: int, end: int, *spoken: tuple[str, int, int], channel: str = "1") -> CaptionFinal:
    return CaptionFinal(
        **span(start, end, channel),
        text=" ".join(text for text, _, _ in spoken),
        language="en",
        revision=0,
        model="tiny.en",
        no_speech_probability=0.1,
        words=words(*spoken),
    )


def partial(
    start: int, end: int, *spoken: tuple[str, int, int], revision: int = 0, channel: str = "1"
) -> CaptionPartial:
    return CaptionPartial(
        **span(start, end, channel),
        text=" ".join(text for text, _, _ in spoken),
        language="en",
        revision=revision,
        model="tiny.en",
        no_speech_probability=0.1,
        words=tuple(PartialWord(**word.model_dump(), stable=False) for word in words(*spoken)),
    )


def told(core: Listening, *results: Result, channel: str = "1") -> list[dict[str, Any]]:
    return [message for result in results for message in core.result(channel, result)]


def transcript(message: dict[str, Any]) -> str:
    text: str = message["channel"]["alternatives"][0]["transcript"]
    return text


HELLO = (("Hello,", 300, 700), ("there.", 750, 1200))


# --- the query


def test_a_query_says_what_the_stream_is() -> None:
    asked = options(
        ("channels", "2"),
        ("multichannel", "true"),
        ("interim_results", "True"),
        ("utterance_end_ms", "1000"),
        ("vad_events", "true"),
        ("keyterm", "Kowalczyk"),
        ("keyterm", "order  number"),
        ("keywords", "KX-4471:2"),
        ("extra", "session:my:call"),
        ("extra", "channels:customer,agent"),
        ("tag", "a"),
        ("model", "nova-3"),
        ("language", "en-US"),
        ("diarize", "false"),
    )
    assert asked.names == ("customer", "agent") and asked.multichannel and asked.channels == 2
    assert asked.interim_results and asked.vad_events and asked.utterance_end_ms == 1000
    assert asked.keyterms == ("Kowalczyk", "order number", "KX-4471")
    assert asked.session == "my:call" and asked.tags == ("a",)


def test_without_an_encoding_the_stream_is_a_container() -> None:
    for query in ([], [("encoding", "opus")], [("encoding", "ogg-opus")]):
        assert options_of(query, "en").encoding == ""


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ([("callback", "https://example.com")], "callback"),
        ([("redact", "pci")], "redact"),
        ([("diarize", "true")], "diarize"),
        ([("search", "x")], "search"),
        ([("something", "new")], "something"),
        ([("punctuate", "yes")], "punctuate"),
        ([("interim_results", "1")], "interim_results"),
        ([("model", "enhanced")], "model"),
        ([("model", "novax")], "model"),
        ([("version", "2024-01-01")], "version"),
        ([("language", "de")], "language"),
        ([("utterance_end_ms", "1000")], "interim_results"),
        ([("endpointing", "1000")], "endpointing"),
        ([("channels", "2")], "multichannel"),
        ([("multichannel", "true")], "channels"),
        ([("channels", "9"), ("multichannel", "true")], "channels"),
        ([("sample_rate", "16000")], "sample_rate"),  # twice
        ([("keyterm", "x" * 101)], "keyterms"),
        ([("keywords", "nonsense:-5")], "keywords"),
        ([("extra", "no-colon")], "extra"),
        ([("extra", "channels:a,b")], "channels"),
    ],
)
def test_what_is_not_done_is_refused_by_name(query: list[tuple[str, str]], named: str) -> None:
    with pytest.raises(BadParameter, match=named):
        options(*query)


@pytest.mark.parametrize(
    "query",
    [
        [("encoding", "linear16")],
        [("encoding", "g729"), ("sample_rate", "8000")],
        [("encoding", "mulaw"), ("sample_rate", "11025")],
        [("encoding", "mulaw"), ("sample_rate", "4000")],
    ],
)
def test_audio_that_cannot_be_read_is_refused(query: list[tuple[str, str]]) -> None:
    with pytest.raises(BadParameter):
        options_of(query, "en")


def test_a_recogniser_of_all_languages_takes_any() -> None:
    assert options_of([*RAW, ("language", "multi")], "auto").language == "multi"


# --- what clients say


def test_clients_are_understood() -> None:
    assert said('{"type": "KeepAlive"}', 1) == KeepAlive()
    assert said('{"type": "CloseStream"}', 1) == CloseStream()
    assert said('{"type": "Finalize"}', 1) == Finalize()
    assert said('{"type": "Finalize", "channel": 1}', 2) == Finalize(1)
    assert said('{"type": "Configure", "keyterms": ["a  b"]}', 1) == Configure(("a b",))


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        "{}",
        '{"type": "Close"}',
        '{"type": "Finalize", "channel": 1}',
        '{"type": "Finalize", "channel": true}',
        '{"type": "Configure"}',
        '{"type": "Configure", "keyterms": []}',
        '{"type": "Configure", "keyterms": ["a"], "features": {"numerals": true}}',
        "[" * 100_000,
    ],
)
def test_what_is_not_understood_is_said(text: str) -> None:
    with pytest.raises(BadMessage):
        said(text, 1)


# --- what they are told


def test_a_final_caption() -> None:
    (message,) = told(listening(), final(0, 1500, *HELLO))
    assert message["type"] == "Results" and message["channel_index"] == [0, 1]
    assert (message["start"], message["duration"]) == (0.0, 1.5)
    assert message["is_final"] and message["speech_final"] and not message["from_finalize"]
    alternative = message["channel"]["alternatives"][0]
    assert alternative["transcript"] == "Hello, there." and alternative["confidence"] == 0.8
    assert alternative["words"][0] == {
        "word": "hello",
        "start": 0.3,
        "end": 0.7,
        "confidence": 0.8,
        "punctuated_word": "Hello,",
    }
    assert message["metadata"]["request_id"] == "request"
    assert message["metadata"]["model_info"]["version"] == "tiny.en"


def test_interim_results_are_asked_for() -> None:
    shown = partial(0, 900, *HELLO[:1])
    assert told(listening(), shown) == []
    (message,) = told(listening(("interim_results", "true")), shown)
    assert not message["is_final"] and not message["speech_final"]
    assert transcript(message) == "Hello," and message["duration"] == 0.9


def test_all_audio_is_told_of() -> None:
    core = listening()
    gap = Gap(**span(1500, 2000), reason="recognition-failed")
    messages = told(core, final(0, 1500, *HELLO), gap, Silence(**span(2000, 10_000)))
    assert [(m["start"], m["duration"]) for m in messages] == [(0.0, 1.5), (1.5, 0.5), (2.0, 8.0)]
    assert messages[1]["gap"] == "recognition-failed" and transcript(messages[1]) == ""
    assert core.complete


def test_results_that_come_again_are_told_once() -> None:
    core = listening(("interim_results", "true"))
    told(core, partial(0, 900, *HELLO[:1]), final(0, 1500, *HELLO))
    assert told(core, final(0, 1500, *HELLO), partial(0, 1200, *HELLO, revision=3)) == []


def test_the_next_utterance_is_not_shown_before_the_end_of_this_one() -> None:
    core = listening(("interim_results", "true"))
    ahead = partial(1500, 2000, ("So", 1600, 1900))
    assert told(core, partial(0, 900, *HELLO[:1]), ahead)[1:] == []
    first, second = told(core, final(0, 1500, *HELLO))
    assert first["is_final"] and transcript(second) == "So" and not second["is_final"]


def test_speech_that_was_cut_has_not_ended() -> None:
    core, end = listening(("vad_events", "true"), ms=30_000), 14_000
    cut = final(0, end, ("on", 100, 400), ("and", 13_700, 13_990))
    started, message = told(core, cut)
    assert started["type"] == "SpeechStarted" and not message["speech_final"]
    (rest,) = told(core, final(end, end + 2000, ("on", end + 50, end + 300)))
    assert rest["speech_final"]


def test_endpointing_may_be_switched_off() -> None:
    (message,) = told(listening(("endpointing", "false")), final(0, 1500, *HELLO))
    assert message["is_final"] and not message["speech_final"]


def test_the_beginning_of_speech_is_an_event_if_it_is_asked_for() -> None:
    core = listening(("vad_events", "true"))
    (started,) = told(core, partial(0, 900, *HELLO[:1]))
    assert started == {"type": "SpeechStarted", "channel": [0, 1], "timestamp": 0.3}
    assert [m["type"] for m in told(core, final(0, 1500, *HELLO))] == ["Results"]
    again = final(1500, 3000, ("Yes.", 2000, 2500))
    assert [m["type"] for m in told(core, again)] == ["SpeechStarted", "Results"]


ENDS = (("interim_results", "true"), ("utterance_end_ms", "1000"))


def ends(messages: list[dict[str, Any]]) -> list[float]:
    return [m["last_word_end"] for m in messages if m["type"] == "UtteranceEnd"]


def test_an_utterance_ends_when_silence_is_known() -> None:
    core = listening(*ENDS)
    assert ends(told(core, final(0, 1500, *HELLO))) == []
    assert ends(core.heard(T0 + 3100)) == []  # a word at 2.1 s might not have been shown yet
    assert ends(core.heard(T0 + 3200)) == [1.2]
    assert ends(core.heard(T0 + 9000)) == []


def test_an_utterance_ends_by_a_record_of_silence() -> None:
    core = listening(*ENDS)
    assert ends(told(core, final(0, 1500, *HELLO), Silence(**span(1500, 2100)))) == []
    assert ends(told(core, Silence(**span(2100, 2300)))) == [1.2]


def test_an_utterance_ends_before_words_that_come_late() -> None:
    core = listening(*ENDS)
    told(core, final(0, 1500, *HELLO))
    messages = told(core, partial(1500, 3000, ("Yes", 2500, 2900)))
    assert [m["type"] for m in messages] == ["UtteranceEnd", "Results"]


def test_an_utterance_goes_on_with_words_that_come_soon() -> None:
    core = listening(*ENDS)
    told(core, final(0, 1500, *HELLO), partial(1500, 2600, ("and", 1700, 2000)))
    assert ends(core.heard(T0 + 8000)) == []  # what was said then may be longer
    assert ends(told(core, final(1500, 2600, ("and", 1700, 2000)))) == []
    assert ends(core.heard(T0 + 8000)) == [2.0]


def test_audio_that_is_not_there_is_not_silent() -> None:
    core = listening(*ENDS, ms=2000)
    told(core, final(0, 1500, *HELLO))
    assert ends(core.heard(T0 + 60_000)) == []


def test_finalize_is_answered_by_what_reaches_up_to_it() -> None:
    core = listening(ms=2000)
    assert core.finalize(0) == []
    (first,) = told(core, final(0, 1500, *HELLO))
    assert not first["from_finalize"]
    (second,) = told(core, final(1500, 2000, ("And", 1600, 1990)))
    assert second["from_finalize"] and second["is_final"] and second["speech_final"]


def test_finalize_is_answered_at_once_where_all_is_final() -> None:
    core = listening(ms=1500)
    told(core, final(0, 1500, *HELLO))
    (answer,) = core.finalize(0)
    assert answer["from_finalize"] and transcript(answer) == "" and answer["start"] == 1.5


def test_finalize_before_any_audio_is_answered() -> None:
    (answer,) = Listening(options(), "request").finalize(0)
    assert answer["from_finalize"] and answer["duration"] == 0.0


def test_event_time_that_no_audio_has_is_not_counted() -> None:
    core = listening(ms=1500)
    core.finalize(0)
    told(core, final(0, 1500, *HELLO))
    core.begin(0, T0 + 1780)  # after the cut
    core.take(0, 2000)
    between = [Gap(**span(1500, 1760), reason="no-audio"), Silence(**span(1760, 1780))]
    assert told(core, *between) == []
    (message,) = told(core, final(1780, 3000, ("Yes.", 2000, 2500)))
    assert (message["start"], message["duration"]) == (1.5, 1.22)
    word = message["channel"]["alternatives"][0]["words"][0]
    assert (word["start"], word["end"]) == (1.72, 2.22)


def test_channels_are_apart() -> None:
    core = listening(("channels", "2"), ("multichannel", "true"), ("vad_events", "true"))
    (_, first) = told(core, final(0, 1500, *HELLO, channel="2"), channel="2")
    assert first["channel_index"] == [1, 2] and not core.complete
    assert told(core, Silence(**span(0, 10_000)), channel="somebody else") == []
    assert core.finalize(1) == []
    (second,) = told(core, Silence(**span(0, 10_000)))
    assert second["channel_index"] == [0, 2] and not second["from_finalize"]


def test_metadata_say_what_the_stream_was() -> None:
    core = listening(("model", "nova-3"), ("extra", "case:7"), ("tag", "t"), ms=1500)
    told(core, final(0, 1500, *HELLO))
    message = core.metadata("session", "2026-01-01T00:00:00.000+00:00", "abc")
    assert message["duration"] == 1.5 and message["channels"] == 1
    (model,) = message["models"]
    assert message["model_info"][model]["name"] == "tenor"
    assert message["requested_model"] == "nova-3" and message["session"] == "session"
    assert message["extra"] == {"case": "7"} and message["tags"] == ["t"]
    json.dumps(message)


def test_more_words_may_be_expected() -> None:
    core = listening(("keyterm", "one"))
    assert core.configure(["two", "one"])["keyterms"] == ["one", "two"]
    with pytest.raises(BadMessage) as refused:
        core.configure([str(number) for number in range(499)])
    answer = refused.value.answer("request")
    assert answer["type"] == "ConfigureFailure" and answer["request_id"] == "request"
    assert answer["code"] == "CONFIGURE_KEYTERM_LIMIT_EXCEEDED"
    assert core.keyterms == ("one", "two")


def test_finalize_that_comes_again_is_one() -> None:
    core = listening(ms=2000)
    for _ in range(3):
        core.finalize(0)
    assert len(core.channels[0].finalize) == 1


def test_what_waits_to_be_recognised_is_bounded() -> None:
    core = Listening(options(), "request")
    with pytest.raises(Problem, match="wait to be recognised"):
        for number in range(2000):
            core.begin(0, T0 + 1000 * number)
            core.take(0, 500)
            core.finalize(0)


# --- positions


def test_a_timeline_counts_audio_only() -> None:
    line = Timeline()
    assert line.place(T0) == 0 and line.time == 0
    line.begin(T0)
    line.take(1000.5)
    line.begin(T0 + 5000)
    line.take(500)
    assert line.time == T0 + 5500 and line.position == 1500.5
    places = {0: 0, 400: 400, 1000: 1000, 3000: 1000.5, 5000: 1000.5, 5200: 1200.5, 9000: 1500.5}
    assert {at: line.place(T0 + at) for at in places} == places
    assert line.place(T0 - 50) == 0
    line.forget(T0 + 5100)
    assert line.place(T0 + 5200) == 1200.5 and line.place(T0 + 400) == 1000.5
