"""What is summed up of a session's windows, and when."""

from __future__ import annotations

import json

from streams.courses import Courses, Scores


def label(score: float) -> str:
    return "positive" if score > 0 else "negative"


def test_a_course_is_that_of_the_windows_in_order_of_time() -> None:
    courses = Courses()
    courses.put(Scores(60_000, 120_000, {"": 0.5, "agent": 1.0}))
    courses.put(Scores(0, 60_000, {"": -1.0}))
    courses.settle(120_000)
    together = courses.summary(label)[""]
    assert (together.windows, together.first, together.last) == (2, -1.0, 0.5)
    assert (together.score, together.label, together.trend) == (-0.25, "negative", 0.75)
    assert courses.summary(label)["agent"].windows == 1
    assert courses.span() == (0, 120_000)


def test_a_correction_counts_in_place_of_what_was_said_before() -> None:
    courses = Courses()
    courses.put(Scores(0, 5000, {"": -1.0, "agent": -1.0}))
    courses.put(Scores(0, 5000, {"": 0.5}))
    courses.settle(4999)
    assert not courses.settled
    courses.settle(5000)
    assert not courses.scores
    assert {name: each.score for name, each in courses.summary(label).items()} == {"": 0.5}


def test_a_snapshot_holds_all_of_it() -> None:
    courses = Courses()
    courses.put(Scores(0, 5000, {"": 0.1}))
    courses.settle(5000)
    courses.put(Scores(5000, 10_000, {"": 0.2}))
    assert Courses.restore(json.loads(json.dumps(courses.snapshot()))) == courses
