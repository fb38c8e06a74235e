"""What clients are given of results: on logs in memory, where everything can come in any order."""

from __future__ import annotations

import asyncio
import json

import pytest

from streams import codec
from streams.connection import Connection
from streams.events import EventType
from streams.gateway import results as gateway_results
from streams.gateway.cursor import Cursor
from streams.gateway.problems import Kind, Problem
from streams.gateway.results import ALL, ONE, Following, Item, Results
from streams.gateway.sessions import SLACK_MS, STAY_MS, Board, Sessions
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    ImageRecognized,
    result_event,
)
from streams.topics import partition_of
from tests.gateway_logs import START, TEXT, TOPICS, Logs, bring, results_of, silence, window
from tests.harness import eventually


def numbers(items: list[Item]) -> list[int]:
    return [(json.loads(item.event.data)["start"] - START) // 1000 for item in items]


async def taken(following: Following) -> list[Item]:
    """All that it gives without waiting."""
    found = list[Item]()
    while (items := await following.batch(0)) or not following.live:
        found += items
    return found


@pytest.fixture
def logs() -> Logs:
    return Logs()


# --- the past, the present, and the seam between them


async def test_what_was_before_comes_first_then_what_is_new(logs: Logs) -> None:
    logs.write(*(silence(n) for n in range(5)), window(5))
    results = results_of(logs)
    async with results.following("call", None) as following:
        logs.write(silence(6))  # is in the log before the replay ends, and comes by the tail
        bring(results, logs)
        assert numbers(await taken(following)) == [0, 1, 2, 3, 4, 5, 6]
        assert following.live
        logs.write(window(7), silence(8))
        bring(results, logs)
        assert sorted(numbers(await taken(following))) == [7, 8]
    assert results.followers == 0


async def test_the_past_comes_in_the_order_of_its_writing(logs: Logs) -> None:
    for number in range(20):
        logs.write(silence(number) if number % 3 else window(number))
    async with results_of(logs).following("call", None) as following:
        assert numbers(await taken(following)) == list(range(20))


async def test_every_cursor_leads_to_what_follows_it(logs: Logs) -> None:
    for number in range(6):
        logs.write(silence(number) if number % 2 else window(number))
        logs.write(silence(number, "other"))
    results = results_of(logs)
    async with results.following("call", None) as following:
        found = await taken(following)
    for place, item in enumerate(found):
        async with results_of(logs).following("call", Cursor.parse(item.cursor)) as following:
            assert numbers(await taken(following)) == numbers(found)[place + 1 :]


async def test_sessions_do_not_mix(logs: Logs) -> None:
    sessions = [f"call-{n}" for n in range(9)]
    results = results_of(logs)
    async with results.following("call-1", None) as one, results.following(None, None) as every:
        for number, session in enumerate(sessions):
            logs.write(silence(number, session))
        bring(results, logs)
        assert numbers(await taken(one)) == [1]
        assert sorted(numbers(await taken(every))) == list(range(9))


async def test_all_sessions_begin_now_unless_told_otherwise(logs: Logs) -> None:
    logs.write(silence(0))
    results = results_of(logs)
    async with results.following(None, None) as following:
        logs.write(silence(1))
        bring(results, logs)
        assert numbers(await taken(following)) == [1]
        last = following.cursor
    logs.write(*(silence(n, f"call-{n}") for n in range(2, 6)))
    async with results.following(None, Cursor.parse(last)) as following:
        bring(results, logs)
        assert numbers(await taken(following)) == [2, 3, 4, 5]
    async with results.following(None, None, since=START + 2) as following:
        assert numbers(await taken(following)) == [1, 2, 3, 4, 5]
    async with results.following(None, None, since=START + 99) as following:
        assert await taken(following) == []


async def test_now_is_a_cursor_without_a_past(logs: Logs) -> None:
    logs.write(silence(0))
    results = results_of(logs)
    now = results.now()
    logs.write(silence(1))
    async with results.following("call", now) as following:
        bring(results, logs)
        assert numbers(await taken(following)) == [1]
        assert logs.steps == 0, "nothing had to be read back"


async def test_a_namespace_holds_its_sessions_only(logs: Logs) -> None:
    logs.write(silence(0, "acme/1"), silence(1, "acme2/1"))
    results = results_of(logs)
    async with results.following(None, None, namespace="acme/", since=START) as following:
        logs.write(silence(2, "acme/2"), silence(3, "acme2/2"), silence(4, "other"))
        bring(results, logs)
        assert numbers(await taken(following)) == [0, 2]


async def test_certain_types_only(logs: Logs) -> None:
    logs.write(silence(0), window(1))
    results = results_of(logs)
    types = [EventType.SENTIMENT_WINDOW]
    async with results.following(None, None, since=START, types=types) as following:
        logs.write(silence(2), window(3))
        bring(results, logs)
        assert numbers(await taken(following)) == [1, 3]


async def test_a_result_that_comes_twice_is_given_once(logs: Logs) -> None:
    logs.write(silence(0), silence(1), silence(0))
    results = results_of(logs)
    async with results.following("call", None) as following:
        logs.write(silence(1), silence(2), silence(0))
        bring(results, logs)
        assert numbers(await taken(following)) == [0, 1, 2]


async def test_what_is_unreadable_is_passed_over(logs: Logs) -> None:
    place = (TOPICS.recognition, partition_of("call", 3))
    key, value, headers = codec.encode(result_event(silence(1), source="t"))
    logs.write(silence(0))
    logs.write_raw(place, key, b"{", headers)
    logs.write_raw(place, key, value, [("ce_\xff", b"dirt")])
    logs.write_raw(place, None, None, [])
    said = json.loads(value or b"")
    for wrong in ({"session": "another"}, {"channel": "d"}, {"end": 10**400}, {"start": -1}):
        logs.write_raw(place, key, json.dumps(said | wrong).encode(), headers)
    logs.write(silence(2))
    results = results_of(logs)
    async with results.following("call", None) as following:
        assert numbers(await taken(following)) == [0, 2]
        logs.write_raw(place, key, b"{", headers)
        logs.write(silence(3))
        bring(results, logs)
        assert numbers(await taken(following)) == [3]


async def test_partial_captions_that_were_replaced_are_left_out_of_the_past() -> None:
    logs = Logs(most=100)
    span = {"session": "call", "channel": "c", "start": START, "end": START + 1000}
    partials = [CaptionPartial(**span, revision=n, text=f"{n}", **TEXT) for n in range(3)]
    final = CaptionFinal(**span, revision=0, text="f", **TEXT)
    next_ = CaptionPartial(
        **{**span, "start": START + 1000, "end": START + 1500}, revision=0, text="n", **TEXT
    )
    logs.write(*partials, final, next_)
    results = results_of(logs)
    async with results.following("call", None) as following:
        said = [json.loads(item.event.data)["text"] for item in await taken(following)]
        assert said == ["f", "n"]
        logs.write(*[each.model_copy(update={"end": START + 1}) for each in partials])
        bring(results, logs)
        assert len(await taken(following)) == 3, "live, each is shown"


# --- who is slow, who goes, who comes back


async def test_what_comes_during_a_long_replay_is_read_from_the_log(logs: Logs) -> None:
    logs.write(*(silence(n) for n in range(4)))
    results = results_of(logs)
    async with results.following("call", None) as following:
        logs.calm.clear()
        reading_ = asyncio.create_task(taken(following))
        await asyncio.sleep(0.01)
        many = 2 * ONE.entries
        logs.write(*(silence(n) for n in range(4, many)))
        bring(results, logs)
        logs.calm.set()
        assert numbers(await reading_) == list(range(many))
        assert following.live


async def test_who_is_too_slow_is_cut_off_and_comes_back(logs: Logs) -> None:
    results = results_of(logs)
    count = ONE.entries + 10
    async with results.following("call", None) as following:
        logs.write(silence(0))
        bring(results, logs)
        got = await following.batch(1)
        logs.write(*(silence(n) for n in range(1, count)))
        bring(results, logs)
        with pytest.raises(Problem) as cut:
            await following.batch(1)
    assert cut.value.kind is Kind.TOO_SLOW
    async with results.following("call", Cursor.parse(got[-1].cursor)) as following:
        assert numbers(await taken(following)) == list(range(1, count))


async def test_who_takes_large_ones_too_slowly_is_cut_off(logs: Logs) -> None:
    results = results_of(logs)
    large = {"text": "x" * 700_000, "revision": 0, **TEXT}
    async with results.following("call", None) as following:
        for number in range(ONE.size // 700_000 + 1):
            logs.write(CaptionFinal(**silence(number).model_dump(exclude={"lost_ms"}), **large))
        bring(results, logs)
        with pytest.raises(Problem):
            await following.batch(1)
    assert ALL.size > ONE.size


async def test_who_is_cancelled_may_go_on(logs: Logs) -> None:
    logs.write(*(silence(n) for n in range(30)))
    results = results_of(logs)
    found = list[Item]()
    async with results.following("call", None) as following:
        for turns in range(60):
            waiting = asyncio.create_task(following.batch(None, 1))
            for _ in range(turns % 5):
                await asyncio.sleep(0)
            waiting.cancel()
            outcome = (await asyncio.gather(waiting, return_exceptions=True))[0]
            found += outcome if isinstance(outcome, list) else []
        found += await taken(following)
    assert numbers(found) == list(range(30))


async def test_waiting_ends_in_time_and_the_cursor_moves_on(logs: Logs) -> None:
    results = results_of(logs)
    async with results.following("call", None) as following:
        before = following.cursor
        place = (TOPICS.recognition, partition_of("call", 3))
        key, value, headers = codec.encode(result_event(silence(0, "foreign"), source="t"))
        logs.write_raw(place, key, value, headers)
        bring(results, logs)
        assert await following.batch(0.01) == []
        assert following.cursor != before
    async with results.following("call", Cursor.parse(following.cursor)) as following:
        assert logs.steps == 0


async def test_up_to_now_ends(logs: Logs) -> None:
    logs.write(silence(0), silence(0, "other"), window(1))
    results = results_of(logs)
    logs.write(silence(2))  # which the tail has not seen
    async with results.history("call") as items:
        found = [item async for item in items]
    assert numbers(found) == [0, 1, 2]
    async with results.history("call", Cursor.parse(found[1].cursor)) as items:
        assert numbers([item async for item in items]) == [2]
    async with results.history("nobody") as items:
        assert [item async for item in items] == []


# --- cursors that lead nowhere, and logs that change


async def refused(results: Results, session: str | None, after: Cursor | None) -> Kind:
    with pytest.raises(Problem) as problem:
        async with results.following(session, after):
            pass
    return problem.value.kind


async def test_a_cursor_before_what_is_left_is_gone(logs: Logs) -> None:
    logs.write(*(silence(n) for n in range(5)))
    results = results_of(logs)
    number = partition_of("call", 3)
    logs.begins[TOPICS.recognition, number] = 3
    assert await refused(results, "call", Cursor({number: (2, 0)})) is Kind.GONE
    async with results.following("call", Cursor({number: (3, 0)})) as following:
        assert len(await taken(following)) == 2
    async with results.following("call", None) as following:
        assert len(await taken(following)) == 2, "what is left, for who begins"


async def test_a_cursor_beyond_the_end_is_gone(logs: Logs) -> None:
    logs.write(silence(0))
    results = results_of(logs)
    number = partition_of("call", 3)
    assert await refused(results, "call", Cursor({number: (2, 0)})) is Kind.GONE
    assert await refused(results, "call", Cursor({7: (0, 0)})) is Kind.GONE
    whole = Cursor(dict.fromkeys(range(4), (0, 0)), whole=True)
    assert await refused(results, None, whole) is Kind.GONE


async def test_a_cursor_ahead_of_this_gateway_is_waited_for(logs: Logs) -> None:
    results = results_of(logs)
    logs.write(silence(0), silence(1))
    ahead = results_of(logs).now()
    async with results.following("call", ahead) as following:
        assert following.live
        logs.write(silence(2))
        bring(results, logs)
        assert numbers(await taken(following)) == [2]


async def test_whose_cursor_it_is(logs: Logs) -> None:
    logs.write(silence(0), silence(1, "other"))
    results = results_of(logs)
    number = partition_of("call", 3)
    assert await refused(results, None, Cursor({number: (0, 0)})) is Kind.INVALID
    whole = Cursor(dict.fromkeys(range(3), (0, 0)), whole=True)
    async with results.following("call", whole) as following:
        assert numbers(await taken(following)) == [0], "of all sessions it serves for each"


async def test_partitions_may_be_added() -> None:
    logs = Logs(partitions=2)
    session = next(s for s in map(str, range(99)) if partition_of(s, 2) != partition_of(s, 5))
    logs.write(silence(0, session), silence(0, "another"))
    results = results_of(logs)
    first = list[Item]()
    for whose in (session, None):
        async with results.following(whose, None, since=START) as following:
            first.append(await anext(following))
    one, every = first
    async with results.following(session, Cursor.parse(one.cursor)) as following:
        logs.grow(5)
        results.tail.positions |= {
            (t, n): 0 for t in (TOPICS.recognition, TOPICS.sentiment) for n in range(2, 5)
        }
        logs.write(silence(1, session), window(2, session))
        bring(results, logs)
        live = await taken(following)
        assert sorted(numbers(live)) == [1, 2]
    for cursor in (one.cursor, live[0].cursor):
        async with results_of(logs).following(session, Cursor.parse(cursor)) as following:
            assert numbers(await taken(following))[-1] == numbers(live)[-1]
    async with results_of(logs).following(None, Cursor.parse(every.cursor)) as following:
        assert {1, 2} <= set(numbers(await taken(following)))


async def test_logs_that_were_cut_end_all_streams(logs: Logs) -> None:
    results = results_of(logs)
    async with results.following("call", None) as following:
        waiting = asyncio.create_task(following.batch(None))
        await asyncio.sleep(0.01)
        results._lost()
        with pytest.raises(Problem) as problem:
            await waiting
    assert problem.value.kind is Kind.GONE


async def test_before_the_logs_are_found_everybody_is_told_to_wait(logs: Logs) -> None:
    results = Results(Connection("nowhere:1"), TOPICS)
    assert results.not_ready()
    assert await refused(results, "call", None) is Kind.UNAVAILABLE
    with pytest.raises(Problem):
        results.now()


async def test_there_are_only_so_many(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_results, "FOLLOWERS", 1)
    results = results_of(logs)
    async with results.following("call", None):
        assert await refused(results, "call", None) is Kind.UNAVAILABLE
    async with results.following("call", None):
        pass


# --- the board of sessions follows the results


async def test_sessions_are_read_back_and_followed(logs: Logs) -> None:
    logs.write(silence(0, "a"), window(1, "a"), silence(2, "b"))
    results = results_of(logs)
    sessions = Sessions(results, lambda: START + 10)
    assert sessions.not_ready() == "the sessions of the last hours are being read"
    await sessions.start()
    try:
        await eventually(lambda: not sessions.not_ready())
        assert [each.session for each in sessions.board.all()] == ["b", "a"]
        logs.write(silence(3, "c"))
        bring(results, logs)
        await eventually(lambda: len(sessions.board) == 3)
    finally:
        await sessions.stop()
    assert sessions.not_ready()


async def test_the_beginning_of_a_session_is_known_only_for_certain(logs: Logs) -> None:
    sessions = Sessions(results_of(logs))
    sessions._begun = START
    sessions.board.take(Item("", result_event(silence(0, "a"), source="t"), START + STAY_MS - 1))
    sessions.board.take(Item("", result_event(silence(0, "b"), source="t"), START + STAY_MS))
    assert sessions.since("a") is None, "it may have begun before it was looked at"
    assert sessions.since("b") == START + STAY_MS - SLACK_MS
    assert sessions.since("c") is None


async def test_the_beginning_of_a_session_that_was_forgotten_is_not_known(logs: Logs) -> None:
    sessions = Sessions(results_of(logs))
    sessions.board = Board(most=1)
    for session, time in (("a", 1000), ("b", 2000), ("a", 3000)):
        sessions.board.take(Item("", result_event(silence(0, session), source="t"), START + time))
    assert sessions.since("a") is None, "it was heard of before, at 1000"
    late = START + 2000 + STAY_MS
    sessions.board.take(Item("", result_event(silence(0, "d"), source="t"), late))
    assert sessions.since("d") is None, "as far as is known, it was heard of at 3000"
    sessions.board.take(Item("", result_event(silence(0, "e"), source="t"), late + 2 * STAY_MS))
    assert sessions.since("e") == late + 2 * STAY_MS - SLACK_MS


async def test_what_is_read_back_a_second_time_is_counted_once(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.gateway.sessions.AGAIN_S", 0.01)
    shown = {"session": "a", "channel": "c", "time": START, "image": "i"}
    logs.write(ImageRecognized(**shown, labels=(), faces=(), model="m"))
    results = results_of(logs)
    sessions = Sessions(results, lambda: START + 10)
    await sessions.start()
    try:
        await eventually(lambda: len(sessions.board) == 1)
        logs.write(silence(1, "b"))
        results._lost()
        bring(results, logs)
        await eventually(lambda: len(sessions.board) == 2)
        assert [each.pictures for each in sessions.board.all()] == [0, 1]
    finally:
        await sessions.stop()
