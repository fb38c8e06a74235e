"""Dead letters on their topic: which are meant, what goes back, what is shown of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from streams import codec, inspection
from streams.cli_deadletters import details, line, since
from streams.deadletters import (
    HEADERS,
    DeadLetterError,
    Letter,
    Offsets,
    RawHeaders,
    Selection,
    dead_letter,
    error_of,
    marked_offset,
    obstacle,
)
from streams.events import CodecError, Event, EventType
from streams.letters import Found

ERROR = DeadLetterError("bad-json", "not JSON at byte 3", "tenor.text", 3, 42)
EVENT = Event(EventType.TEXT_MESSAGE, "1", "/a", "call", 0, content_type="text/plain", data=b"hi")
NAMES = st.sampled_from(["ce_id", "x", "tenor-replayed", "tenor-replayed-offset", "tenor-error-x"])
RAW_HEADERS = st.lists(st.tuples(NAMES | st.text(max_size=5), st.none() | st.binary(max_size=9)))


def letter(
    key: bytes | None = b"call",
    value: bytes | None = b"hi",
    headers: Iterable[tuple[str, bytes | None]] = (),
    error: DeadLetterError = ERROR,
    *,
    offset: int = 7,
) -> Letter:
    """The dead letter of a record on its topic."""
    key, value, made = dead_letter(key, value, headers, error)
    return Letter(3, offset, 1000, key, value, tuple(made))


@given(RAW_HEADERS, st.integers(1, 4))
def test_what_goes_back_is_what_came_however_often(received: RawHeaders, times: int) -> None:
    own = [h for h in received if not h[0].startswith("tenor-error-") and h[0] != "tenor-replayed"]
    headers = own
    for count in range(1, times + 1):
        one = letter(b"call", b"\xff", headers)
        headers = one.returned_headers()
        assert (one.key, one.value, one.tries) == (b"call", b"\xff", count - 1)
        assert headers == [*own, ("tenor-replayed", str(count).encode())]


def test_a_record_with_all_the_headers_it_may_have_does_not_get_one_more() -> None:
    key, value, headers = codec.encode(EVENT)
    padding = [(f"h{i}", b"") for i in range(codec.DEFAULT_LIMITS.headers - len(headers))]
    returned = letter(key, value, [*headers, *padding]).returned_headers()
    known = [(name, raw or b"") for name, raw in returned]
    assert codec.decode(key, value, known, now=0, limits=codec.Limits(earliest=0)) == EVENT


def test_the_count_does_not_cost_a_record_a_header() -> None:
    full = [("x", b"b" * (HEADERS - 1))]
    again = letter(headers=letter(headers=full).returned_headers())
    assert not again.error.cut
    assert again.tries == 1


@pytest.mark.parametrize("raw", [b"", b"x", b"-1", "٣".encode(), b"9" * 5000, None])
def test_a_count_that_is_none_counts_as_never(raw: bytes | None) -> None:
    one = Letter(0, 0, 0, b"k", b"", (("tenor-replayed", raw),))
    assert one.tries == 0


def test_a_record_of_nothing_at_all_can_be_put_aside_but_is_not_whole() -> None:
    key, value, headers = dead_letter(None, None, [], ERROR)
    assert (key, value) == (None, b"")
    assert error_of(headers).cut == "value=null"


@given(RAW_HEADERS)
def test_no_sender_can_make_a_dead_letter_look_like_a_marker(received: RawHeaders) -> None:
    one = letter(headers=received)
    assert marked_offset(one.headers) is None
    assert marked_offset(one.marker()[2]) == one.offset
    assert one.error == ERROR


def test_a_foreign_record_is_told_from_a_marker_and_a_letter() -> None:
    foreign = Letter(0, 1, 0, b"\xff", None, (("ce_id", b"1"),))
    assert marked_offset(foreign.headers) is None
    assert marked_offset([("tenor-replayed-offset", b"x")]) is None
    assert foreign.error.reason == "not-a-dead-letter"
    assert (foreign.session, foreign.type) == ("", "")
    assert obstacle(foreign, {"": 9}) == foreign.error.message


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ERROR, ""),
        (replace(ERROR, topic="tenor.other"), "tenor.other is no topic"),
        (replace(ERROR, partition=6), "no partition 6"),
        (replace(ERROR, partition=-1), "no partition -1"),
    ],
)
def test_where_nothing_can_be_sent_back_to(error: DeadLetterError, why: str) -> None:
    found = obstacle(letter(error=error), {"tenor.text": 6})
    assert (why in found) if why else (found == "")


def test_what_was_cut_does_not_go_back() -> None:
    found = obstacle(letter(key=b"k" * 5000), {"tenor.text": 6})
    assert "not whole" in found
    assert "key=5000" in found


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        (Selection(), True),
        (Selection("bad-json", 1000, "call", frozenset({(3, 7)})), True),
        (Selection(reason="bad"), False),
        (Selection(since=1001), False),
        (Selection(session="cal"), False),
        (Selection(ids=frozenset({(7, 3)})), False),
    ],
)
def test_every_condition_has_to_hold(selection: Selection, meant: bool) -> None:
    assert selection.holds(letter()) is meant


def test_late_ones_have_to_be_named() -> None:
    assert Selection(reason="late").names_late()
    assert Selection(ids=frozenset({(0, 0)})).names_late()
    assert not Selection(session="call", since=5).names_late()


@given(st.integers(0, 100), st.integers(0, 100), st.sets(st.integers(0, 250)))
def test_offsets_are_a_set_within_their_range(start: int, length: int, added: set[int]) -> None:
    offsets = Offsets(start, start + length)
    for each in added:
        offsets.add(each)
    inside = range(start, start + length)
    assert {each for each in inside if each in offsets} == added & set(inside)


@given(st.binary(max_size=300) | st.text().map(str.encode))
def test_nothing_of_a_value_reaches_the_terminal_as_a_command(value: bytes) -> None:
    shown = list(inspection.value_lines(value))
    assert all(each.isprintable() for each in "".join(shown).replace("\t", ""))


@given(st.text(), st.binary())
def test_nothing_of_a_letter_breaks_its_line(text: str, raw: bytes) -> None:
    error = DeadLetterError(text, text, text, 0, 0)
    headers: RawHeaders = [("ce_type", raw), ("x\x1b[2J", raw)]
    found = Found(letter(raw or b"k", b"", headers, error), replayed=False)
    for shown in (line(found), *details(found, with_value=True)):
        assert shown.isprintable()


def test_how_a_value_is_shown() -> None:
    assert list(inspection.value_lines("Grüße\n\tan alle".encode())) == ["Grüße", "\tan alle"]
    assert list(inspection.value_lines(None)) == ["(null)"]
    turned_around = "a\u202eb".encode()
    assert list(inspection.value_lines(turned_around)) == [
        "00000000  61 e2 80 ae 62                                   a...b"
    ]
    long = list(inspection.value_lines(b"\0" * 1000))
    assert (len(long), long[-1]) == (17, "… 744 bytes more")
    assert inspection.header_text(b"\xff\x1b") == "\\xff\\x1b"
    assert inspection.header_text(b"x" * 1000) == "x" * 200 + "… (1000 bytes)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 9_910_000),
        ("10m", 9_400_000),
        ("2h", 2_800_000),
        ("3d", 0),
        ("1970-01-01T01:00:01.500+01:00", 1500),
    ],
)
def test_since_is_a_span_or_a_time(text: str, expected: int) -> None:
    assert since(text, 10_000_000) == expected


@pytest.mark.parametrize("text", ["", "h", "1.5h", "-1h", "2w", "yesterday", "٣h"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(CodecError):
        since(text, 10_000_000)


@pytest.mark.parametrize(
    "arguments", [["list", "--since", "2w"], ["show", "7"], ["replay", "--id", "1:x"]]
)
def test_wrong_arguments_are_told(arguments: list[str]) -> None:
    from streams.cli import main

    done = CliRunner().invoke(main, ["deadletters", *arguments])
    assert done.exit_code == 2
    assert repr(arguments[-1]) in done.output
