"""Which voices sound alike; the archive is a list here."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from streams.archive import Archive, ArchiveError
from streams.features import Feature, Modality
from streams.sounds import Scales, alike
from tests.unit.test_search import START, Listed

LOUD, SOFT = (1000.0, 0.2), (990.0, 0.1)
"""Numbers of very different scales."""


def voice(
    evidence: str, vector: tuple[float, float], session: str = "a", encoder: str = "ear"
) -> Feature:
    return Feature(
        session=session,
        channel="agent",
        modality=Modality.VOICE,
        start=START,
        end=START,
        encoder=encoder,
        revision="r",
        vector=np.array(vector, np.float32),
        evidence=evidence,
        kind="utterance",
    )


def archive(*features: Feature) -> Archive:
    return cast(Archive, Listed(*features))


HELD = archive(
    voice("loud", LOUD),
    voice("loud too", (1001, 0.21), session="b"),
    voice("soft", SOFT),
    voice("soft too", (989, 0.11)),
    voice("soft too", (989, 0.11)),
    voice("other", LOUD, encoder="another ear"),
)


async def test_what_is_most_alike_is_first_and_none_is_its_own_likeness() -> None:
    found = await alike(HELD, "loud", top=5)
    assert found[0][1].evidence == "loud too"
    assert {each.evidence for _, each in found} == {"loud too", "soft", "soft too"}
    assert found[0][0] > 0.9
    assert found[-1][0] < 0


async def test_only_sessions_that_are_named_are_searched() -> None:
    found = await alike(HELD, "soft", top=5, sessions={"a"})
    assert [each.evidence for _, each in found] == ["soft too", "loud"]


async def test_a_caption_whose_voice_is_not_held_is_named() -> None:
    with pytest.raises(ArchiveError, match="'unheard'"):
        await alike(HELD, "unheard", top=1)


def test_each_number_counts_the_same_whatever_its_scale() -> None:
    scales = Scales.of(3)
    for each in ((1000.0, 0.1, 7.0), (1002.0, 0.3, 7.0)):
        scales.add(np.array(each, np.float32))
    placed = scales.standard(np.array((1002.0, 0.3, 7.0), np.float32))
    assert placed == pytest.approx([0.5**0.5, 0.5**0.5, 0.0], abs=1e-5)
