"""Audio is accounted for as by counting each millisecond, and a search finds what there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.loading.accounts import coverage
from streams.loading.search import confirmed, most_held

TIMES = st.integers(0, 30)
SPANS = st.tuples(TIMES, TIMES).map(lambda pair: (min(pair), max(pair)))


@given(st.sets(SPANS), SPANS)
def test_audio_is_accounted_for_as_by_counting(
    spans: set[tuple[int, int]], whole: tuple[int, int]
) -> None:
    counted = [ms for start, end in spans for ms in range(start, end)]
    inside = set(counted) & set(range(*whole))
    missing, doubled = coverage(spans, whole)
    assert missing == len(set(range(*whole)) - inside)
    assert doubled == len(counted) - len(inside)


@given(st.integers(0, 3000), st.integers(1, 40))
def test_a_search_finds_the_most_that_holds_to_a_tenth_and_asks_nothing_twice(
    limit: int, first: int
) -> None:
    asked: list[int] = []

    def holds(count: int) -> bool:
        asked.append(count)
        return count <= limit

    found = most_held(holds, first)
    assert found <= limit <= found + max(1, found // 10)
    assert len(asked) == len(set(asked))
    assert max(asked) <= max(first, 2 * limit)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_what_was_found_is_lowered_until_it_holds_once_more(limit: int, found: int) -> None:
    held = confirmed(lambda count: count <= limit, found)
    assert held <= min(limit, found)
    assert held >= min(found, limit - max(1, limit // 8))


@pytest.mark.parametrize("found", [0, 1, 2])
def test_nothing_is_confirmed_where_nothing_holds(found: int) -> None:
    assert confirmed(lambda _: False, found) == 0
