"""Which texts and pictures match does not depend on the order in which they come."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.features import Modality
from streams.matching import SIDES, Matcher, Pair, Piece, apart, similarity

WITHIN = 30_000
THRESHOLD = 0.4
WIDTH = 64
MOST = 100
UNKNOWN = Piece("unknown", Modality.IMAGE, "", 0, 0, np.zeros(WIDTH, np.float32))

Found = set[tuple[str, str, float]]


@st.composite
def pieces(draw: st.DrawFn) -> list[Piece]:
    """Of both modalities, with ids that are not repeated within one; vectors from a seed."""
    count, seed = draw(st.integers(0, 24)), draw(st.integers(0, 10_000))
    chance, numbers = random.Random(seed), np.random.default_rng(seed)
    made = []
    for number in range(count):
        vector = numbers.standard_normal(WIDTH).astype(np.float32) + 1
        start = chance.randint(0, 100_000)
        made.append(
            Piece(
                id=str(number // 2),
                modality=list(SIDES)[number % 2],
                channel=chance.choice(["agent", "customer"]),
                start=start,
                end=start + chance.choice([0, 0, 5000]),
                vector=vector / np.linalg.norm(vector),
            )
        )
    return made


def found(pairs: list[Pair]) -> list[tuple[str, str, float]]:
    return [(each.text.id, each.image.id, each.similarity) for each in pairs]


def expected(held: list[Piece]) -> Found:
    texts = [each for each in held if each.modality is Modality.MEANING]
    images = [each for each in held if each.modality is Modality.IMAGE]
    return {
        (text.id, image.id, cosine)
        for text in texts
        for image in images
        if (cosine := similarity(text.vector, image.vector)) >= THRESHOLD
        and text.start - image.end <= WITHIN
        and image.start - text.end <= WITHIN
    }


@given(pieces(), st.randoms(use_true_random=False))
def test_the_pairs_are_the_same_in_any_order(held: list[Piece], chance: random.Random) -> None:
    order = [*held, *held]  # each comes twice
    chance.shuffle(order)
    matcher = Matcher(THRESHOLD, WITHIN, MOST)
    told = [pair for piece in order for pair in found(matcher.add(piece))]
    assert len(told) == len(set(told))
    assert set(told) == expected(held)


@given(pieces(), st.data())
def test_only_what_was_held_together_makes_pairs(held: list[Piece], data: st.DataObject) -> None:
    matcher = Matcher(THRESHOLD, WITHIN, MOST)
    together = list[Piece]()
    told, wanted = Found(), Found()
    for piece in held:
        told |= set(found(matcher.add(piece)))
        together.append(piece)
        wanted |= expected(together)
        gone = data.draw(st.sets(st.sampled_from(range(len(together)))))
        matcher.forget([*(together[number] for number in gone), UNKNOWN])
        together = [each for number, each in enumerate(together) if number not in gone]
    assert told == wanted
    assert len(matcher) == len(together)


def piece(modality: Modality, start: int, end: int) -> Piece:
    vector = np.array([1, 0], np.float32)
    return Piece(modality.value, modality, "", start, end, vector)


def test_a_long_text_is_near_a_picture_that_came_while_it_was_said() -> None:
    text = piece(Modality.MEANING, 0, 20_000)
    assert apart(text, piece(Modality.IMAGE, 5000, 5000)) == 0
    assert apart(text, piece(Modality.IMAGE, 25_000, 25_000)) == 5000
    assert apart(piece(Modality.IMAGE, 25_000, 25_000), text) == 5000


def test_a_pair_is_complete_when_both_are_there() -> None:
    matcher = Matcher(0.5, 1000, MOST)
    assert matcher.add(piece(Modality.IMAGE, 5000, 5000)) == []
    [pair] = matcher.add(piece(Modality.MEANING, 4000, 4500))
    assert (pair.result("s", None, "m").time, pair.similarity) == (5000, 1.0)
    assert matcher.add(piece(Modality.IMAGE, 5000, 5000)) == []


def test_what_is_too_far_apart_is_no_pair() -> None:
    for start, count in ((6000, 1), (6001, 0)):
        matcher = Matcher(0.5, 1000, MOST)
        matcher.add(piece(Modality.MEANING, 0, 5000))
        assert len(matcher.add(piece(Modality.IMAGE, start, start))) == count
