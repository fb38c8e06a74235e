"""Who comes in, from where, how fast, and how many at one time; and how they are told to go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection, Request
from starlette.types import Message

from streams.gateway import gate as gates
from streams.gateway import keys
from streams.gateway.gate import SOCKETS_PER_SESSION, Bucket, Gate
from streams.gateway.keys import ANYBODY, Caller, KeyRing, Scope
from streams.gateway.problems import Kind, Problem
from streams.gateway.settings import GatewaySettings

HOST = {"host": "127.0.0.1:8080"}
ACME = Caller("acme", frozenset({Scope.INGEST}), "acme/")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def connection(headers: Mapping[str, str] = HOST) -> HTTPConnection:
    raw = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
    return HTTPConnection({"type": "websocket", "headers": raw, "path": "/"})


def gate(clock: Clock | None = None, ring: KeyRing | None = None, **settings: object) -> Gate:
    return Gate(GatewaySettings.model_validate(settings), ring, clock or Clock())


@pytest.fixture
def acme(tmp_path: Path) -> tuple[KeyRing, str]:
    """A ring with a key, and that key."""
    file = tmp_path / "keys.json"
    key = keys.add(file, ACME, "")
    return KeyRing(file), key


# --- keys


def test_without_keys_everybody_is_anybody() -> None:
    assert gate().admit(connection(), Scope.ADMIN, "any") is ANYBODY


def refused(gate: Gate, connection: HTTPConnection, scope: Scope, session: str = "") -> Kind:
    with pytest.raises(Problem) as refusal:
        gate.admit(connection, scope, session)
    return refusal.value.kind


def test_with_keys_only_who_has_one_does_what_it_may(acme: tuple[KeyRing, str]) -> None:
    ring, key = acme
    closed = gate(ring=ring)
    with_key = connection({"x-api-key": key})
    assert closed.admit(with_key, Scope.INGEST, "acme/1") == ACME
    assert closed.admit(with_key, Scope.INGEST) == ACME
    assert refused(closed, connection(), Scope.INGEST) is Kind.UNAUTHENTICATED
    wrong = connection({"x-api-key": f"{key}x"})
    assert refused(closed, wrong, Scope.INGEST) is Kind.UNAUTHENTICATED
    assert refused(closed, with_key, Scope.READ) is Kind.FORBIDDEN
    assert refused(closed, with_key, Scope.INGEST, "umbra/1") is Kind.FORBIDDEN


def test_a_refusal_does_not_repeat_the_key(acme: tuple[KeyRing, str]) -> None:
    with pytest.raises(Problem) as refusal:
        gate(ring=acme[0]).admit(connection({"x-api-key": "s3cret"}), Scope.READ)
    assert "s3cret" not in str(refusal.value.document())


# --- origins


@pytest.mark.parametrize(
    ("host", "origin", "kind"),
    [
        ("127.0.0.1:8080", None, None),
        ("localhost", "http://localhost", None),
        ("LOCALHOST:8080", "http://localhost:8080", None),
        ("[::1]:8080", "http://[::1]:8080", None),
        ("localhost:8080", "http://localhost:9000", Kind.FOREIGN_ORIGIN),
        ("localhost:8080", "http://evil.example", Kind.FOREIGN_ORIGIN),
        ("localhost:8080", "null", Kind.FOREIGN_ORIGIN),
        ("localhost:8080", "https://page.example", None),
        ("localhost:8080", "https://PAGE.example", None),
        ("localhost:8080", "http://page.example", Kind.FOREIGN_ORIGIN),
        ("localhost:8080", "https://page.example.evil", Kind.FOREIGN_ORIGIN),
        ("evil.example:8080", "http://evil.example:8080", Kind.WRONG_HOST),
        ("localhost.evil.example", None, Kind.WRONG_HOST),
        ("evil.example", None, Kind.WRONG_HOST),
        ("", None, Kind.WRONG_HOST),
        ("[", None, Kind.WRONG_HOST),
        ("localhost", "http://[", Kind.FOREIGN_ORIGIN),
    ],
)
def test_foreign_pages_stay_outside(host: str, origin: str | None, kind: Kind | None) -> None:
    headers = {"host": host} | ({"origin": origin} if origin else {})
    checked = gate(origins="https://page.example")
    if kind is None:
        checked.check_origin(connection(headers))
        return
    with pytest.raises(Problem) as refusal:
        checked.check_origin(connection(headers))
    assert refusal.value.kind is kind


def test_a_gateway_with_keys_has_whatever_name(acme: tuple[KeyRing, str]) -> None:
    closed = gate(ring=acme[0])
    closed.check_origin(connection({"host": "tenor.example", "origin": "https://tenor.example"}))
    with pytest.raises(Problem, match="TENOR_GATEWAY_ORIGINS"):
        closed.check_origin(connection({"host": "tenor.example", "origin": "https://x.example"}))


# --- rates


amounts = st.floats(0.01, 1000)


@given(amounts, amounts, st.lists(st.tuples(amounts, st.floats(0, 100)), min_size=1))
def test_a_bucket_gives_its_rate_and_a_burst_and_one_item_more(
    rate: float, burst: float, items: list[tuple[float, float]]
) -> None:
    """Whoever waits as told never gets more than that, and whoever waits so long gets something."""
    now = 0.0
    bucket = Bucket(rate, burst, now)
    taken = largest = 0.0
    for amount, pause in items:
        now += pause
        now += bucket.wait_s(now)
        assert bucket.wait_s(now + 1e-6) <= 1e-6
        bucket.take(amount, now)
        taken, largest = taken + amount, max(largest, amount)
        assert taken <= burst + rate * now + largest + 1e-3


def test_who_was_too_fast_is_told_how_long_to_wait() -> None:
    clock = Clock()
    slow = gate(clock, events_per_second=2, burst_s=2)
    for _ in range(5):
        slow.spend(ANYBODY)
    with pytest.raises(Problem) as refusal:
        slow.spend(ANYBODY)
    assert refusal.value.kind is Kind.RATE
    assert refusal.value.retry_after_s == pytest.approx(0.5)
    slow.spend(ACME)
    clock.now += 0.5
    slow.spend(ANYBODY)


def test_bytes_count_too_and_one_item_may_be_larger_than_a_burst() -> None:
    clock = Clock()
    slow = gate(clock, bytes_per_second=1000, burst_s=1)
    slow.spend(ANYBODY, size=11_000)
    with pytest.raises(Problem) as refusal:
        slow.spend(ANYBODY)
    assert refusal.value.retry_after_s == pytest.approx(10)
    clock.now += 10
    slow.spend(ANYBODY, size=1)


def test_each_admission_is_an_event() -> None:
    slow = gate(events_per_second=1, burst_s=1)
    slow.admit(connection(), Scope.READ)
    slow.admit(connection(), Scope.READ)
    assert refused(slow, connection(), Scope.READ) is Kind.RATE


async def test_a_live_socket_that_is_too_fast_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds

    monkeypatch.setattr("asyncio.sleep", sleep)
    slow = gate(clock, events_per_second=10, burst_s=1)
    for _ in range(31):
        await slow.pace(ANYBODY)
    assert sum(slept) == pytest.approx(2.0, abs=0.11)


# --- bodies


def request(*chunks: bytes, length: int | None = None) -> Request:
    """One whose body comes in these pieces."""
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
    ]
    messages.append({"type": "http.request", "body": b""})

    async def receive() -> Message:
        return messages.pop(0)

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def nothing(_: int) -> None:
    """Takes of a room without an end."""


async def test_a_body_is_read_up_to_its_limit() -> None:
    assert await gate().body(request(b"abc", b"de"), ANYBODY, 5, nothing) == b"abcde"
    assert await gate().body(request(), ANYBODY, 5, nothing) == b""
    for too_large in (request(b"abc", b"def"), request(length=6), request(length=10**30)):
        with pytest.raises(Problem) as refusal:
            await gate().body(too_large, ANYBODY, 5, nothing)
        assert refusal.value.kind is Kind.TOO_LARGE


async def test_what_was_read_counts_as_bytes_of_the_key() -> None:
    slow = gate(bytes_per_second=1, burst_s=1)
    await slow.body(request(b"abc"), ANYBODY, 5, nothing)
    with pytest.raises(Problem) as refusal:
        await slow.body(request(b"abc"), ANYBODY, 5, nothing)
    assert refusal.value.kind is Kind.RATE
    await slow.body(request(b"abc"), ACME, 5, nothing)


async def test_a_body_is_read_no_faster_than_its_key_may_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()

    async def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr("asyncio.sleep", sleep)
    slow = gate(clock, bytes_per_second=1000, burst_s=1)
    await slow.body(request(*[bytes(1000)] * 10), ANYBODY, 10_000, nothing)
    assert clock.now == pytest.approx(108, abs=0.1), "after the burst and one piece in debt"


async def test_bodies_of_all_have_one_room_until_they_are_used() -> None:
    small = gate(bodies_bytes=4000, file_bytes=2000)
    with small.bodies.part() as first:
        await small.body(request(bytes(3000)), ANYBODY, 5000, first)
        with small.bodies.part() as second, pytest.raises(Problem) as refusal:
            await small.body(request(bytes(1000), b"1"), ACME, 5000, second)
        assert (refusal.value.kind, refusal.value.retry_after_s) == (Kind.UNAVAILABLE, 10)
        with small.bodies.part() as third:
            await small.body(request(bytes(1000)), ACME, 5000, third)
    with small.bodies.part() as alone:
        await small.body(request(bytes(4000)), ANYBODY, 5000, alone)


async def test_one_file_has_room_whatever_the_settings_say() -> None:
    with gate(bodies_bytes=0, file_bytes=2000).bodies.part() as take:
        take(2000)


async def test_a_body_that_stops_coming_is_not_awaited_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def receive() -> Message:
        return await asyncio.Future()

    monkeypatch.setattr(gates, "SILENCE_S", 0.01)
    stuck = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(Problem) as refusal:
        await gate().body(stuck, ANYBODY, 5, nothing)
    assert refusal.value.kind is Kind.TIMEOUT


# --- what is live


async def count(gate: Gate, *wanted: tuple[Caller, str, Scope]) -> int:
    """How many of these may be live at one time, in this order."""
    async with AsyncExitStack() as stack:
        for number, each in enumerate(wanted):
            try:
                await stack.enter_async_context(gate.lease(*each))
            except Problem as refusal:
                assert refusal.kind is Kind.TOO_MANY
                assert refusal.retry_after_s
                return number
    return len(wanted)


async def test_a_key_has_so_many_sessions_and_streams() -> None:
    small = gate(sessions_per_key=2, streams_per_key=3)
    sessions = [(ANYBODY, f"s{n}", Scope.INGEST) for n in range(4)]
    assert await count(small, *sessions) == 2
    assert await count(small, *sessions[:2]) == 2, "those of before have ended"
    assert await count(small, *[(ANYBODY, "", Scope.READ)] * 4) == 3
    mixed = [*sessions[:2], *[(ANYBODY, "s0", Scope.READ)] * 3, (ACME, "s0", Scope.INGEST)]
    assert await count(small, *mixed) == 6
    same = [(ANYBODY, "s0", Scope.INGEST)] * (SOCKETS_PER_SESSION + 1)
    assert await count(small, *same) == SOCKETS_PER_SESSION


async def forever() -> AsyncIterator[int]:
    yield 1
    await asyncio.Future()


async def test_a_lease_waits_for_what_comes() -> None:
    async with gate().lease(ANYBODY) as lease:
        assert await lease.wait(anext(forever())) == 1
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await lease.wait(asyncio.Future())
        with pytest.raises(ZeroDivisionError):
            await lease.wait(_fail())


async def _fail() -> None:
    raise ZeroDivisionError


async def test_whoever_is_live_is_told_to_go_and_may_finish() -> None:
    stopping = gate()
    finished: list[str] = []

    async def serve(waits: int) -> None:
        async with stopping.lease(ANYBODY) as lease:
            with pytest.raises(Problem) as told:
                await asyncio.gather(*[lease.wait(asyncio.Future()) for _ in range(waits)])
            assert told.value.close_code == 1001
            with pytest.raises(Problem):
                await lease.wait(asyncio.sleep(0))
            await asyncio.sleep(0.01)
            finished.append("confirmed")

    served = [asyncio.create_task(serve(waits)) for waits in (1, 1, 2)]
    await asyncio.sleep(0)
    assert len(stopping.leases) == 3
    assert await stopping.drain(10)
    assert len(finished) == 3
    await asyncio.gather(*served)
    assert refused(stopping, connection(), Scope.READ) is Kind.STOPPING
    with pytest.raises(Problem, match="stops"):
        async with stopping.lease(ANYBODY):
            pass


async def test_who_does_not_go_is_not_awaited_for_ever() -> None:
    stopping = gate()
    async with stopping.lease(ANYBODY):
        assert not await stopping.drain(0.01)


async def test_a_revoked_key_ends_what_is_live_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, clock = tmp_path / "keys.json", Clock()
    other = Caller("other", frozenset({Scope.READ}))
    keys.add(file, ACME, "")
    keys.add(file, other, "")
    closed = Gate(GatewaySettings(), KeyRing(file, clock), clock)
    monkeypatch.setattr(gates, "WATCH_S", 0.001)
    watching = asyncio.create_task(closed.watch())
    async with closed.lease(ACME) as lease, closed.lease(other) as stays:
        keys.revoke(file, "acme")
        clock.now += keys.EVERY_S
        with pytest.raises(Problem) as told:
            await lease.wait(asyncio.Future())
        assert (told.value.kind, told.value.close_code) == (Kind.UNAUTHENTICATED, 1008)
        assert stays.why is None
    watching.cancel()
