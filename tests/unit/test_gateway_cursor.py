"""Cursors: short strings that say where in the logs a client is."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.gateway.cursor import LONGEST, MOVES, Cursor
from streams.gateway.problems import Kind, Problem

OFFSET = st.one_of(st.integers(0, 200), st.integers(0, 2**63 - 1))
PAIR = st.tuples(OFFSET, OFFSET)
ONE = st.dictionaries(st.integers(0, 999), PAIR, min_size=1, max_size=MOVES).map(Cursor)
ALL = st.lists(PAIR, max_size=12).map(lambda pairs: Cursor(dict(enumerate(pairs)), whole=True))


@given(st.one_of(ONE, ALL))
def test_what_is_given_back_is_what_was_given(cursor: Cursor) -> None:
    text = str(cursor)
    assert Cursor.parse(text) == cursor
    assert set(text) <= set(string.ascii_letters + string.digits + "-_")


@given(st.text(max_size=60))
def test_other_text_is_refused_or_some_cursor(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except Problem as problem:
        assert problem.kind is Kind.INVALID
    else:
        assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",  # no partition at all
        "x" + str(Cursor({0: (1, 2)}))[1:],
        str(Cursor({0: (1, 2)})) + "A",  # half a byte more
        str(Cursor({0: (1, 2)}))[:-2],
        str(Cursor({0: (1, 2)})) + "é",
        str(Cursor({0: (1, 2)})) + "\n",
        "a" + "_" * 16,  # a number without an end
        "a" + "A" * LONGEST,
        str(Cursor({n: (n, n) for n in range(MOVES + 1)})),
        "sAQEBAQEB",  # one partition twice
    ],
)
def test_no_cursor(text: str) -> None:
    with pytest.raises(Problem) as refused:
        Cursor.parse(text)
    assert refused.value.kind is Kind.INVALID


def test_it_is_short() -> None:
    assert len(str(Cursor({5: (1_000_000, 200_000)}))) <= 12
    assert len(str(Cursor(dict.fromkeys(range(6), (1_000_000, 200_000)), whole=True))) <= 64
    large = Cursor(dict.fromkeys(range(1000), (10**12, 10**12)), whole=True)
    assert len(str(large)) < LONGEST
    assert Cursor.parse(str(large)) == large
