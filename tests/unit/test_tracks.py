"""What is remembered from window to window."""

from __future__ import annotations

import json

from streams.tracks import Tracks


def of(number: int) -> dict[str, int]:
    return {"n": number}


def told() -> Tracks:
    tracks = Tracks()
    tracks.put(5000, {"": of(1), "agent": of(2)})
    tracks.put(10_000, {"": of(3), "customer": of(4)})
    return tracks


def test_a_window_is_judged_by_what_was_before_it() -> None:
    tracks = told()
    assert tracks.before(5000) == {}
    assert tracks.before(10_000) == {"": of(1), "agent": of(2)}
    assert tracks.before(15_000) == {"": of(3), "agent": of(2), "customer": of(4)}


def test_a_window_that_is_judged_again_changes_nothing() -> None:
    tracks = told()
    tracks.put(5000, {"": of(9)})
    tracks.put(10_000, {"": of(9)})
    assert tracks.snapshot() == told().snapshot()


def test_what_may_still_be_corrected_keeps_what_was_before_it() -> None:
    tracks = told()
    tracks.settle(5000)
    assert tracks.before(10_000) == {"": of(1), "agent": of(2)}
    tracks.settle(12_000)
    assert tracks.before(10_000) == {}
    assert tracks.before(15_000) == {"": of(3), "agent": of(2), "customer": of(4)}
    assert len(tracks.moments) == 1


def test_a_snapshot_brings_it_back() -> None:
    tracks = told()
    assert Tracks.restore(json.loads(json.dumps(tracks.snapshot()))) == tracks
