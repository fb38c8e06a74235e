"""For any event the codec is lossless, and for any bytes it answers with an event or CodecError."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.codec import CONTENT_TYPES, check, decode, encode, format_time, parse_time
from streams.deadletters import DeadLetterError, dead_letter, error_of
from streams.events import JSON_TYPE, CodecError, Event, EventType
from streams.features import Feature
from streams.messages import text_message
from streams.results import RESULTS, result_of

NOW = 1_800_000_000_000
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20).map("x".__add__)
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"], codec="utf-8"), max_size=40)
TRACES = st.just("") | st.integers(1, 16**32 - 1).map(lambda n: f"00-{n:032x}-{1:016x}-01")


@st.composite
def events(draw: st.DrawFn) -> Event:
    type_ = draw(st.sampled_from(EventType))
    return Event(
        type=type_,
        id=draw(TEXTS.filter(bool)),
        source=draw(TEXTS.filter(bool)),
        session=draw(TEXTS.filter(bool)),
        time=draw(st.integers(946_684_800_000, NOW)),
        channel=draw(TEXTS),
        sequence=draw(st.none() | st.integers(0, 10**20 - 1)),
        content_type=draw(st.sampled_from(CONTENT_TYPES.get(type_, (JSON_TYPE,)) or ("",))),
        data=draw(st.binary(min_size=1)),
        traceparent=draw(TRACES),
        extensions=draw(st.dictionaries(NAMES, TEXTS, max_size=5)),
    )


@given(events())
def test_round_trip(event: Event) -> None:
    check(event, now=NOW)
    assert decode(*encode(event), now=NOW) == event


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_times_round_trip(time: int) -> None:
    assert parse_time(format_time(time)) == time


def read_everything(event: Event) -> None:
    readers: list[Any] = [text_message, Feature.from_event]
    if event.type in RESULTS:
        readers.append(result_of)
    for reader in readers:
        with contextlib.suppress(CodecError):
            reader(event)


ANY_HEADERS = st.lists(st.tuples(st.text(max_size=10), st.none() | st.binary(max_size=40)))


@given(st.none() | st.binary(), st.none() | st.binary(), ANY_HEADERS)
def test_any_record_is_answered(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    with contextlib.suppress(CodecError):
        read_everything(decode(key, value, headers, now=NOW))


@given(events(), st.data())
def test_any_damage_is_answered(event: Event, data: st.DataObject) -> None:
    key, value, headers = encode(event)
    place = data.draw(st.integers(0, len(headers) - 1))
    headers[place] = (headers[place][0], data.draw(st.binary(max_size=40)))
    damaged = data.draw(st.sampled_from([value, b"", b"[" * 9000, b'{"text": "\\ud800"}']))
    with contextlib.suppress(CodecError):
        read_everything(decode(key, damaged, headers, now=NOW))


@given(st.text())
def test_any_time_is_answered(text: str) -> None:
    with contextlib.suppress(CodecError):
        parse_time(text)


@given(st.none() | st.binary(), st.none() | st.binary(), ANY_HEADERS, st.text(max_size=80))
def test_any_record_fits_a_dead_letter(
    key: bytes | None,
    value: bytes | None,
    headers: list[tuple[str, bytes | None]],
    message: str,
) -> None:
    error = DeadLetterError("bad-json", message, "tenor.text", 3, 42)
    letter_key, letter_value, letter_headers = dead_letter(key, value, headers, error)
    nothing = key is None and value is None  # which aiokafka does not send
    assert (letter_key, letter_value) == (key, b"" if nothing else value)
    assert letter_headers[: len(headers)] == headers
    assert error_of(letter_headers) == replace(error, cut="value=null" if nothing else "")
