"""Events, results, features, text messages and dead letters as values."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from streams.deadletters import DeadLetterError, dead_letter, error_of
from streams.events import (
    TYPES_OF_TOPIC,
    VECTOR_TYPE,
    CodecError,
    Event,
    EventType,
    Topics,
    channel_names,
    event_id,
)
from streams.features import Feature, Modality
from streams.messages import TextMessage, text_message
from streams.results import RESULTS, CaptionFinal, ImageRecognized, Match, result_event, result_of

CAPTION = CaptionFinal.model_validate(
    {
        "session": "call-1",
        "channel": "customer",
        "start": 1_769_860_800_000,
        "end": 1_769_860_801_500,
        "text": "good morning",
        "words": [
            {"text": "good", "start": 1_769_860_800_100, "end": 1_769_860_800_400, "probability": 1}
        ],
        "language": "en",
        "revision": 0,
        "model": "whisper-tiny.en",
        "no_speech_probability": 0.01,
    }
)
FEATURE = Feature(
    session="call-1",
    channel="customer",
    modality=Modality.VOICE,
    start=1_769_860_800_000,
    end=1_769_860_801_500,
    encoder="voice",
    revision="1",
    vector=np.array([0.5, -1.0, 3.25], dtype=np.float32),
    evidence="caption-1",
    expects="caption-1",
)


def text_event(content_type: str, data: bytes) -> Event:
    return Event(EventType.TEXT_MESSAGE, "m", "/a", "s", 0, content_type=content_type, data=data)


def reason_of_text(content_type: str, data: bytes) -> str:
    with pytest.raises(CodecError) as caught:
        text_message(text_event(content_type, data))
    return caught.value.reason


def test_topics_share_a_prefix() -> None:
    assert Topics.of("a.").features == "a.features"
    assert set(TYPES_OF_TOPIC) == set(Topics.__slots__)


def test_every_type_has_a_topic() -> None:
    assert {type_ for types in TYPES_OF_TOPIC.values() for type_ in types} == set(EventType)


def test_ids_are_the_same_everywhere_and_for_ever() -> None:
    made = event_id("call-1", EventType.CAPTION_FINAL, "customer", 0, 1500)
    assert made == "f901e5b7-29f0-50ac-808d-bbc72cfc0156"


def test_ids_tell_apart_whatever_differs() -> None:
    ids = {
        event_id("a", "t", "bc", 0, 1),
        event_id("ab", "t", "c", 0, 1),
        event_id("a", "t", "bc", 0, 1, revision=1),
        event_id("a", "t", "bc", 0, 1, about="x"),
        event_id("a", "t", "bc", 0, 11),
        event_id("a", "t", "bc", 1, 1),
    }
    assert len(ids) == 6


def test_a_result_comes_back() -> None:
    event = result_event(CAPTION, source="/tenor")
    assert result_of(event) == CAPTION
    assert (event.session, event.channel, event.time) == ("call-1", "customer", CAPTION.end)


def test_a_repeated_result_has_the_same_id_and_content() -> None:
    assert result_event(CAPTION, source="/tenor") == result_event(
        CAPTION.model_copy(deep=True), source="/tenor"
    )


def test_two_pictures_of_one_instant_have_different_ids() -> None:
    first = ImageRecognized(
        session="s", channel="", time=5, image="a", labels=(), faces=(), model="m"
    )
    second = first.model_copy(update={"image": "b"})
    assert result_event(first, source="/t").id != result_event(second, source="/t").id


def test_matches_of_one_instant_have_different_ids() -> None:
    first = Match(
        session="s",
        time=5,
        left="a",
        right="b",
        left_modality="text",
        right_modality="image",
        similarity=0.5,
        model="m",
    )
    second = first.model_copy(update={"right": "c"})
    assert result_event(first, source="/t").id != result_event(second, source="/t").id


def test_a_field_that_a_later_version_added_is_ignored() -> None:
    event = result_event(CAPTION, source="/tenor")
    fields = json.loads(event.data) | {"new_field": 1}
    assert result_of(replace(event, data=json.dumps(fields).encode())) == CAPTION


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff", b"[]", CAPTION.model_dump_json().replace("0.01", "7").encode()]
)
def test_a_bad_result_is_refused_without_quoting_it(data: bytes) -> None:
    event = replace(result_event(CAPTION, source="/tenor"), data=data)
    with pytest.raises(CodecError) as caught:
        result_of(event)
    assert caught.value.reason == "bad-result"
    assert "good morning" not in caught.value.message


def test_every_result_type_has_one_model() -> None:
    assert len(set(RESULTS.values())) == len(RESULTS) == 8


def test_a_feature_comes_back() -> None:
    event = FEATURE.to_event(source="/tenor")
    assert event.data == np.array([0.5, -1.0, 3.25], dtype="<f4").tobytes()
    assert event.content_type == VECTOR_TYPE
    again = Feature.from_event(event)
    assert again.to_event(source="/tenor") == event
    np.testing.assert_array_equal(again.vector, FEATURE.vector)
    assert not again.vector.flags.writeable


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("modality", "smell", "bad-modality"),
        ("modality", "", "missing-attribute"),
        ("start", "-5", "bad-span"),
        ("start", "9" * 15, "bad-span"),
        ("end", "1.5", "bad-span"),
        ("dimension", "4", "bad-dimension"),
        ("dimension", "03", "bad-dimension"),
        ("encoder", "", "missing-attribute"),
        ("encoderrevision", "", "missing-attribute"),
        ("evidence", "", "missing-attribute"),
    ],
)
def test_bad_attributes_of_a_feature(name: str, value: str, reason: str) -> None:
    event = FEATURE.to_event(source="/tenor")
    changed = replace(event, extensions={**event.extensions, name: value})
    with pytest.raises(CodecError) as caught:
        Feature.from_event(changed)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "bad-dimension"),
        (b"\0" * 11, "bad-dimension"),
        (b"\0" * 16, "bad-dimension"),
        (np.array([1, math.nan, 0], dtype="<f4").tobytes(), "bad-vector"),
        (np.array([1, math.inf, 0], dtype="<f4").tobytes(), "bad-vector"),
    ],
)
def test_bad_vectors(data: bytes, reason: str) -> None:
    event = replace(FEATURE.to_event(source="/tenor"), data=data)
    with pytest.raises(CodecError) as caught:
        Feature.from_event(event)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("content_type", "data", "expected"),
    [
        ("text/plain", b"hello", TextMessage("hello")),
        ("text/plain; charset=UTF-8", "\ufeffgrüß\n".encode(), TextMessage("grüß\n")),
        ("application/json", b'{"text": "hi", "new": 1}', TextMessage("hi")),
        (
            "application/json",
            b'{"text": "slow", "speaker": "agent", "kind": "note"}',
            TextMessage("slow", "agent", "note"),
        ),
        (
            "application/json",
            b'{"kind": "vocabulary", "vocabulary": ["Tenor", "Kafka"]}',
            TextMessage(kind="vocabulary", vocabulary=("Tenor", "Kafka")),
        ),
    ],
)
def test_text_messages(content_type: str, data: bytes, expected: TextMessage) -> None:
    assert text_message(text_event(content_type, data)) == expected


@pytest.mark.parametrize(
    ("content_type", "data", "reason"),
    [
        ("text/plain; charset=latin-1", b"a", "bad-charset"),
        ("text/plain", b"\xe4", "bad-utf8"),
        ("text/plain", b"  \n", "empty-text"),
        ("text/plain", b"a\0b", "bad-characters"),
        ("text/plain", b"a" * 16_385, "text-too-long"),
        ("application/json", b"{", "bad-json"),
        ("application/json", b'"text"', "bad-json"),
        ("application/json", b"[" * 60_000, "bad-json"),
        ("application/json", b"1" * 5000, "bad-json"),
        ("application/json", b"{}", "empty-text"),
        ("application/json", b'{"text": 5}', "bad-field"),
        ("application/json", b'{"text": "a", "kind": ["note"]}', "bad-field"),
        ("application/json", b'{"text": "a", "speaker": null}', "bad-field"),
        ("application/json", b'{"kind": "vocabulary", "vocabulary": "a"}', "bad-field"),
        ("application/json", b'{"kind": "vocabulary", "vocabulary": [1]}', "bad-field"),
        ("application/json", b'{"kind": "vocabulary", "vocabulary": []}', "empty-text"),
        ("application/json", b'{"text": "\\ud83d"}', "bad-characters"),
        ("application/json", b'{"text": "a", "speaker": "\\u0000"}', "bad-characters"),
    ],
)
def test_text_that_is_refused(content_type: str, data: bytes, reason: str) -> None:
    assert reason_of_text(content_type, data) == reason


ERROR = DeadLetterError("bad-json", "not JSON at byte 3", "tenor.text", 3, 42)


def test_a_dead_letter_is_what_was_received_and_why() -> None:
    headers = [("ce_id", b"1"), ("x", None), ("ce_id", b"\xff")]
    key, value, all_headers = dead_letter(b"\xff", b"\x00", headers, ERROR)
    assert (key, value) == (b"\xff", b"\x00")
    assert all_headers[:3] == headers
    assert error_of(all_headers) == ERROR


def test_a_dead_letter_of_a_dead_letter_has_the_last_reason() -> None:
    first = dead_letter(b"k", b"v", [("ce_id", b"1")], replace(ERROR, cut="x"))
    second = dead_letter(*first, replace(ERROR, reason="late"))
    assert error_of(second[2]).reason == "late"
    assert len(second[2]) == len(first[2])


def test_an_oversized_record_is_cut_and_says_so() -> None:
    headers = [("big", b"b" * 70_000), ("ce_id", b"1")]
    key, value, all_headers = dead_letter(b"k" * 10_000, b"v" * 500, headers, ERROR, most=100)
    assert key is not None
    assert value is not None
    assert (len(key), len(value)) == (4096, 100)
    assert all_headers[0] == ("ce_id", b"1")
    assert error_of(all_headers).cut == "key=10000 value=500 headers=70009"


def test_a_long_message_is_cut_between_characters() -> None:
    *_, headers = dead_letter(None, None, [], replace(ERROR, message="€" * 1000))
    assert error_of(headers).message == "€" * 341


def test_what_is_no_dead_letter() -> None:
    with pytest.raises(CodecError) as caught:
        error_of([("ce_id", b"1")])
    assert caught.value.reason == "not-a-dead-letter"


@pytest.mark.parametrize(
    ("channel", "count", "names"),
    [
        ("customer", 1, ("customer",)),
        ("", 1, ("",)),
        ("customer,agent", 1, ("customer,agent",)),
        ("customer,agent", 2, ("customer", "agent")),
        (" customer , agent ", 2, ("customer", "agent")),
        ("", 2, ("1", "2")),
        ("call", 3, ("call-1", "call-2", "call-3")),
    ],
)
def test_channels_of_one_chunk_have_names(channel: str, count: int, names: tuple[str, ...]) -> None:
    assert channel_names(channel, count) == names


@pytest.mark.parametrize("channel", ["a,b", "a,b,c,d", "a,,c", "a,b,", ",,", "a,b,a", "a, ,c"])
def test_channels_that_are_not_named_one_by_one_are_refused(channel: str) -> None:
    with pytest.raises(CodecError) as refusal:
        channel_names(channel, 3)
    assert refusal.value.reason == "channel-names"
    assert channel not in refusal.value.message
