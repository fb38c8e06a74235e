"""The best of what is offered, whatever the order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.ranking import Best

SCORES = st.dictionaries(st.text(max_size=3), st.sampled_from([-1.0, 0.0, 0.25, 0.5]), max_size=20)


@given(SCORES, st.integers(1, 8), st.randoms(use_true_random=False))
def test_the_best_are_kept_in_any_order_and_however_often_they_come(
    scores: dict[str, float], most: int, chance: object
) -> None:
    offered = [*scores, *scores]
    chance.shuffle(offered)  # type: ignore[attr-defined]
    best = Best[str](most)
    for id_ in offered:
        best.offer(scores[id_], id_, id_)
    expected = sorted((-score, id_) for id_, score in scores.items())[:most]
    assert best.ranked() == [(-negative, id_) for negative, id_ in expected]
