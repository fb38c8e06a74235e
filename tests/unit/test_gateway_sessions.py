"""Summaries of sessions: what they say, when they alarm, and which are kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import CodecError, Event, EventType
from streams.gateway.results import Item
from streams.gateway.sessions import STAY_MS, Board
from streams.gateway.summaries import (
    ALERT_MS,
    CHANNELS,
    KEPT_MS,
    SHOWN,
    Channel,
    Point,
    Summary,
    alert_of,
    fold,
    smoothed,
)
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    Gap,
    ImageRecognized,
    Match,
    Result,
    SentimentSession,
    SentimentWindow,
    Silence,
    result_event,
)
from tests.made_results import sentiment

T = 1_760_000_000_000
WINDOW = 5000
TEXT = {"text": "a", "language": "en", "model": "m", "no_speech_probability": 0.0, "words": ()}
MOOD = {"confidence": 0.8, "emotions": {"joy": 1.0}, "contributions": {"text": 1.0}, "model": "m"}


def span(start: int, end: int, channel: str = "customer", session: str = "s") -> dict[str, object]:
    return {"session": session, "channel": channel, "start": T + start, "end": T + end}


def said(start: int, end: int, channel: str = "customer", lost_ms: int = 0) -> CaptionFinal:
    return CaptionFinal(**span(start, end, channel), revision=0, lost_ms=lost_ms, **TEXT)


def window(
    number: int,
    score: float,
    channel: str = "customer",
    *,
    final: bool = True,
    revision: int = 0,
    deviation: float = 0.1,
) -> SentimentWindow:
    start, end = (T + place * WINDOW for place in (number, number + 1))
    told = {"final": final, "revision": revision, "deviation": deviation}
    return sentiment(start, end, score, session="s", channel=channel, **told, **MOOD)


def event(result: Result) -> Event:
    return result_event(result, source="test")


def summed(results: Iterable[Result], session: str = "s") -> Summary:
    summary = Summary(session)
    for number, result in enumerate(results):
        summary = fold(summary, event(result), T + number)
    return summary


def scores(*values: float, channel: str = "customer") -> list[SentimentWindow]:
    return [window(number, value, channel) for number, value in enumerate(values)]


# --- what is said of a session


def test_a_call_is_summed_up() -> None:
    summary = summed(
        [
            Silence(**span(0, 1000)),
            said(1000, 4000, lost_ms=200),
            Silence(**span(0, 4000, "agent")),
            said(4000, 5000, "agent"),
            Gap(**span(4000, 4700), reason="repetition"),
            window(0, 0.25),
            ImageRecognized(
                session="s", channel="", time=T + 4500, image="i", labels=(), faces=(), model="m"
            ),
            Match(
                session="s",
                time=T + 4500,
                left="l",
                right="i",
                left_modality="text",
                right_modality="image",
                similarity=0.5,
                model="m",
            ),
        ]
    )
    told = summary.document()
    customer = told["channels"].pop("customer")
    assert told["channels"]["agent"]["talk_ms"] == 1000
    del told["channels"]
    assert told == {
        "session": "s",
        "start": T,
        "last": T + 5000,
        "ended": None,
        "alert": None,
        "captions": 2,
        "pictures": 1,
        "matches": 1,
        "gap_ms": 700,
    }
    assert customer == {
        "score": 0.25,
        "deviation": 0.1,
        "label": "positive",
        "confidence": 0.8,
        "final": True,
        "time": T + 5000,
        "history": [0.25],
        "talk_ms": 2800,
        "captions": 1,
    }
    assert json.loads(summary.text)["session"] == "s"
    assert "joy" not in summary.text
    assert summary.written == (T, T + 7)


def test_who_said_nothing_that_was_scored_has_no_score() -> None:
    told = summed([said(0, 1000)]).document()["channels"]["customer"]
    assert (told["score"], told["label"], told["history"]) == (None, None, [])


def test_a_provisional_score_is_the_latest_but_no_history() -> None:
    told = summed([window(0, 0.5), window(1, -0.4, final=False, revision=2)]).document()
    customer = told["channels"]["customer"]
    assert (customer["score"], customer["final"], customer["history"]) == (-0.4, False, [0.5])
    told = summed([window(0, 0.5), window(0, -0.4, final=False, revision=2)]).document()
    assert told["channels"]["customer"]["score"] == 0.5


def test_a_correction_replaces_a_score() -> None:
    summary = summed([window(0, 0.5), window(1, 0.2), window(0, -0.5, revision=1), window(0, 0.5)])
    told = summary.document()["channels"]["customer"]
    assert told["history"] == [-0.5, 0.2]
    assert told["score"] == 0.2


def test_scores_of_long_ago_are_not_kept() -> None:
    many = 3 * KEPT_MS // WINDOW
    channel = summed(scores(*[0.1] * many)).channels["customer"]
    assert len(channel.points) == KEPT_MS // WINDOW
    assert len(summed(scores(*[0.1] * many)).document()["channels"]["customer"]["history"]) == SHOWN


def test_a_session_ends_and_may_begin_anew() -> None:
    over = SentimentSession(session="s", start=T, end=T + 10_000, channels={})
    summary = summed([said(0, 9000), *scores(0.1, 0.2), over])
    assert summary.ended == T + 10_000
    late = fold(summary, event(said(2000, 3000, "agent")))
    assert late.ended == T + 10_000, "what belongs to it may come after its end"
    anew = fold(summary, event(said(20_000, 21_000)), T + 99)
    assert (anew.ended, anew.start, anew.written) == (None, T + 20_000, (T, T + 99))
    assert anew.channels["customer"].talk_ms == 1000


def test_channels_without_end_are_not_kept() -> None:
    summary = summed(said(0, 1000, f"c{number}") for number in range(2 * CHANNELS))
    assert len(summary.channels) == CHANNELS


def test_what_is_no_result_is_refused() -> None:
    with pytest.raises(CodecError):
        fold(Summary("s"), Event(EventType.TEXT_MESSAGE, "1", "t", "s", T, data=b"{}"))


CALL: Sequence[Result] = [
    Silence(**span(0, 1000)),
    said(1000, 4000),
    window(0, -0.1, final=False, revision=1),
    window(0, -0.2),
    Gap(**span(4000, 6000), reason="r"),
    said(6000, 9000),
    window(1, -0.9),
    window(0, -0.3, revision=1),
]


@given(st.lists(st.integers(0, len(CALL) - 1), max_size=10))
def test_what_comes_again_changes_nothing(again: list[int]) -> None:
    """After a worker was restarted, some results come once more, in their order."""
    once = summed(CALL)
    twice = summed([*CALL, *(CALL[number] for number in sorted(again))])
    assert twice.document() == once.document()


# --- alerts


def alerts(results: Iterable[Result]) -> tuple[str, str] | None:
    alert = summed(results).alert
    return (alert.channel, alert.reason) if alert else None


def test_no_alert_while_all_is_well() -> None:
    assert alerts([]) is None
    assert alerts(scores(0.1, 0.2, -0.1, 0.0, 0.3)) is None
    assert alerts(scores(-0.4, -0.4, -0.45, -0.4)) is None


def test_a_fall_of_the_customer_alarms() -> None:
    alert = summed(scores(0.4, 0.4, -0.4, -0.4, -0.4)).alert
    assert alert and (alert.channel, alert.reason) == ("customer", "fell")
    assert alert.time == T + 5 * WINDOW
    assert alert.from_ == pytest.approx(0.4)
    assert alert.to == pytest.approx(smoothed(points(0.4, 0.4, -0.4, -0.4, -0.4))[-1])
    assert alert.document()["from"] == 0.4


def test_one_bad_window_is_not_yet_a_fall() -> None:
    assert alerts(scores(0.4, 0.4, 0.4, -0.4)) is None


def test_a_fall_is_over_after_a_while() -> None:
    fell = [0.4, *[-0.2] * 6]
    assert alerts(scores(*fell)) == ("customer", "fell")
    assert alerts(scores(*fell, *[-0.2] * (ALERT_MS // WINDOW))) is None


def test_a_slow_decline_alarms_when_it_is_low() -> None:
    decline = [-0.01 * number for number in range(80)]
    assert alerts(scores(*decline[:50])) is None
    assert alerts(scores(*decline)) == ("customer", "negative")


def test_a_low_score_must_be_certain() -> None:
    unsure = [window(number, -0.6, deviation=0.5) for number in range(9)]
    assert alerts(unsure) is None
    sure = [window(number, -0.6, deviation=0.3) for number in range(9)]
    assert alerts(sure) == ("customer", "negative")


def test_only_the_customer_counts_where_there_is_one() -> None:
    angry = scores(0.5, 0.5, -0.5, -0.5, -0.5, channel="agent")
    assert alerts(angry) == ("agent", "fell")
    assert alerts([*angry, window(4, 0.0)]) is None
    assert alerts([*angry, window(4, 0.0, "Customer-2")]) is None


def test_the_whole_conversation_counts_only_if_nobody_is_named() -> None:
    whole = scores(0.5, 0.5, -0.5, -0.5, -0.5, channel="")
    assert alerts(whole) == ("", "fell")
    assert alerts([*whole, window(4, 0.0, "agent")]) is None


def test_what_was_said_long_ago_alarms_nobody() -> None:
    bad = scores(*[-0.9] * 5)
    assert alerts(bad) == ("customer", "negative")
    later = 5 * WINDOW + ALERT_MS
    assert alerts([*bad, said(later - 2, later - 1, "agent")]) == ("customer", "negative")
    assert alerts([*bad, said(later - 1, later, "agent")]) is None


def test_a_provisional_score_alarms_nobody() -> None:
    assert alerts([window(0, 0.5), window(1, -1.0, final=False, revision=1)]) is None


def test_a_session_that_is_over_alarms_nobody() -> None:
    over = SentimentSession(session="s", start=T, end=T + 25_000, channels={})
    assert alerts([*scores(*[-0.9] * 5), over]) is None


def points(*values: float) -> tuple[Point, ...]:
    return tuple(
        Point(n * WINDOW, (n + 1) * WINDOW, value, 0.1, 0) for n, value in enumerate(values)
    )


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=24))
def test_the_rule_is_what_it_says(values: list[float]) -> None:
    made = points(*values)
    alert = alert_of({"customer": Channel(points=made)}, made[-1].end)
    levels = smoothed(made)
    assert min(values) - 1e-9 <= min(levels) <= max(levels) <= max(values) + 1e-9
    recent = levels[-(ALERT_MS // WINDOW + 1) :]
    fell = max(recent) - levels[-1] >= 0.5
    low = levels[-1] < -0.5 and values[-1] + 1.645 * 0.1 < 0
    assert (alert is not None) == (fell or low)


# --- which are kept


def item(session: str, written: int, *, over: bool = False) -> Item:
    result: Result = Silence(session=session, channel="c", start=T, end=T + 1)
    if over:
        result = SentimentSession(session=session, start=T, end=T + 1, channels={})
    return Item("", event(result), written)


def names(board: Board) -> list[str]:
    return [each.session for each in board.all()]


def test_who_was_heard_of_last_comes_first() -> None:
    board = Board()
    for session, written in (("a", 1), ("b", 3), ("c", 2), ("a", 4)):
        board.take(item(session, written))
    assert names(board) == ["a", "b", "c"]
    assert [each.session for each in board.all(lambda session: session > "a")] == ["b", "c"]


def test_no_more_are_kept_than_there_is_room_for() -> None:
    board = Board(most=3)
    for session in "abc":
        board.take(item(session, ord(session)))
    board.take(item("c", 200, over=True))
    board.take(item("d", 300))
    assert names(board) == ["d", "b", "a"], "who has ended goes first"
    board.take(item("e", 400))
    assert names(board) == ["e", "d", "b"], "then who was not heard of for longest"


def test_sessions_leave_after_an_hour() -> None:
    board = Board()
    board.take(item("over", 1000, over=True))
    board.take(item("silent", 2000))
    board.expire(1000 + STAY_MS)
    assert names(board) == ["silent", "over"]
    board.expire(1001 + STAY_MS)
    assert names(board) == ["silent"]


def test_who_watches_is_told_of_what_changed() -> None:
    board = Board(most=2)
    board.take(item("a1", 1))
    board.take(item("b1", 2))
    with board.watched(lambda session: session.startswith("a")) as watch:
        assert told(watch.take()) == (["a1"], []), "at first of everything that it may know"
        board.take(item("b1", 3))
        assert told(watch.take()) == ([], [])
        for written in range(4, 9):
            board.take(item("a2", written))
        assert told(watch.take()) == (["a2"], ["a1"]), "once, however often it changed"
    board.take(item("a2", 10))
    assert told(watch.take()) == ([], [])


def told(taken: tuple[list[Summary], list[str]]) -> tuple[list[str], list[str]]:
    changed, gone = taken
    return [each.session for each in changed], gone


async def test_who_watches_is_woken() -> None:
    board = Board()
    with board.watched(lambda session: True) as watch:
        await watch.wait(0.01)
        board.take(item("a", 1))
        await watch.wait(60)
        assert told(watch.take()) == (["a"], [])


def test_what_cannot_be_read_changes_nothing() -> None:
    board = Board()
    board.take(Item("", Event(EventType.CAPTION_GAP, "1", "t", "s", T, data=b"{}"), 1))
    assert len(board) == 0


def test_a_partial_caption_is_a_sign_of_life() -> None:
    partial = CaptionPartial(**span(0, 500), revision=0, **TEXT)
    summary = summed([partial])
    assert summary.last == T + 500
    assert not summary.channels
