"""Who comes in, from where, and how much of it: keys, origins, rates, and sockets at one time.

The gate decides on what it is told and on its clock; it waits only in `Lease.wait` and `Gate.pace`.
It keeps nothing that another gateway would need: limits are those of one gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from starlette.requests import HTTPConnection, Request

from streams.gateway.credentials import PROTOCOL, key_of
from streams.gateway.keys import ANYBODY, Caller, KeyRing, Scope
from streams.gateway.problems import Kind, Problem

if TYPE_CHECKING:
    from streams.gateway.settings import GatewaySettings

T = TypeVar("T")
Take = Callable[[int], None]
"""Takes so many of the bytes that `Bodies` has left."""

SOCKETS_PER_SESSION: Final = 16
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
SILENCE_S: Final = 30.0
"""How long a body that is being sent may pause."""
BODY_S: Final = 600.0
"""How long it may take in all."""
BUSY_S: Final = 10.0
"""After that it is worth while to try again, where something must end first."""
SHORTEST_S: Final = 0.001
"""A shorter wait is not worth while."""
WATCH_S: Final = 1.0
"""Between two looks whether the keys of live sockets still count."""


class Bucket:
    """A token bucket that may run into debt by one item, however large: what comes then waits
    until the debt is paid. Pure: times are seconds of one clock, which the caller reads."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._level, self._at = burst, now

    def wait_s(self, now: float) -> float:
        """How long until something may be taken; 0: now."""
        self._fill(now)
        return max(0.0, -self._level / self._rate)

    def take(self, amount: float, now: float) -> None:
        self._fill(now)
        self._level -= amount

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self._burst, self._level + (now - self._at) * self._rate)
            self._at = now


class Bodies:
    """Bytes of bodies that may be held at one time, whoever sends them."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size

    @contextlib.contextmanager
    def part(self) -> Iterator[Take]:
        """Gives what takes of it, until the end. That raises Problem 503 where it is full."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if size > self._left:
                raise Problem(
                    Kind.UNAVAILABLE,
                    f"the gateway holds {self._size} bytes of bodies, and no more: send it again",
                    retry_after_s=BUSY_S,
                )
            self._left -= size
            taken += size

        try:
            yield take
        finally:
            self._left += taken


class Lease:
    """One live socket, or stream of results, as the gate sees it. The gate may end it: because the
    gateway stops, or its key was revoked."""

    def __init__(self, caller: Caller, session: str, scope: Scope) -> None:
        self.caller = caller
        self.session = session
        self.scope = scope
        self.why: Problem | None = None
        self._waits: set[asyncio.Timeout] = set()

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """What it gives. Put around everything that waits for the client or for results, such as
        `websocket.receive()`; not around work that must be finished.

        Raises:
            Problem: the lease is over. Confirm what was taken, tell the client, and leave.
        """
        if self.why:
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            raise self.why
        timeout = asyncio.timeout(None)
        try:
            async with timeout:
                self._waits.add(timeout)
                return await awaitable
        except TimeoutError:
            if timeout.expired() and self.why:
                raise self.why from None
            raise
        finally:
            self._waits.discard(timeout)

    def end(self, why: Problem) -> None:
        """Whoever waits, now or later, is told."""
        if self.why is None:
            self.why = why
            for timeout in self._waits:
                timeout.reschedule(0)


class Gate:
    """Decides who may do what. One for each gateway."""

    def __init__(
        self,
        settings: GatewaySettings,
        keys: KeyRing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without keys everybody may do everything."""
        self.settings = settings
        self.stopping = False
        self.bodies = Bodies(max(settings.bodies_bytes, settings.file_bytes))
        self._keys = keys
        self._clock = clock
        self._origins = frozenset(settings.allowed_origins)
        self._buckets: dict[Caller, tuple[Bucket, Bucket]] = {}
        self._leases: set[Lease] = set()
        self._left = asyncio.Event()

    @property
    def open(self) -> bool:
        """Whether no keys are asked for."""
        return self._keys is None

    @property
    def leases(self) -> frozenset[Lease]:
        """Of all that is live."""
        return frozenset(self._leases)

    def live(self, scope: Scope) -> int:
        """How much of this is live."""
        return sum(each.scope is scope for each in self._leases)

    def admit(self, connection: HTTPConnection, scope: Scope, session: str = "") -> Caller:
        """Who asks, if it may do that to this session, or to some. Counts as an event.

        Raises:
            Problem: 401, 403, 429, or 503 because the gateway stops.
        """
        if self.stopping:
            raise stopping()
        caller = self._caller(connection)
        if not caller.may(scope):
            raise Problem(
                Kind.FORBIDDEN,
                f"key {caller.name} lacks the scope {scope}: it has {_listed(caller.scopes)}",
            )
        if session and not caller.owns(session):
            raise Problem(
                Kind.FORBIDDEN,
                f"sessions of key {caller.name} begin with {caller.namespace!r}; this one does not",
            )
        self.spend(caller)
        return caller

    def _caller(self, connection: HTTPConnection) -> Caller:
        if self._keys is None:
            return ANYBODY
        key = key_of(connection)
        if not key:
            raise Problem(
                Kind.UNAUTHENTICATED,
                "send a key as `Authorization: Bearer ..`, as X-API-Key, or from a page's WebSocket"
                f" as the subprotocol after {PROTOCOL!r}",
            )
        caller = self._keys.find(key)
        if caller is None:
            raise Problem(Kind.UNAUTHENTICATED, "this key does not count, or not any more")
        return caller

    def check_origin(self, connection: HTTPConnection) -> None:
        """That no foreign page asks: neither by its origin, nor, where no key is asked for, by a
        name of its own that leads to this machine.

        Raises:
            Problem: 403 or 421.
        """
        host = connection.headers.get("host", "").lower()
        if self.open and _split(f"//{host}").hostname not in LOOPBACK:
            raise Problem(
                Kind.WRONG_HOST,
                "a gateway without keys answers only to localhost, 127.0.0.1 and [::1];"
                " set TENOR_GATEWAY_KEYS_FILE to reach it by another name",
            )
        origin = connection.headers.get("origin", "").lower()
        if origin and origin not in self._origins and _split(origin).netloc != host:
            raise Problem(
                Kind.FOREIGN_ORIGIN,
                "pages of this origin may not use the gateway; add it to TENOR_GATEWAY_ORIGINS",
            )

    # --- rates

    def spend(self, caller: Caller, *, events: int = 1, size: int = 0) -> None:
        """Counts what came. Raises Problem 429 if the key was too fast already."""
        if wait_s := self._wait_s(caller):
            raise Problem(
                Kind.RATE,
                f"key {caller.name} may send {self.settings.events_per_second:g} events and"
                f" {self.settings.bytes_per_second:g} bytes a second; wait",
                retry_after_s=wait_s,
            )
        self._take(caller, events, size)

    async def pace(self, caller: Caller, *, events: int = 1, size: int = 0) -> None:
        """The same for what is coming already: it is not refused but read more slowly."""
        while wait_s := self._wait_s(caller):  # noqa: ASYNC110  (time is what it waits for)
            await asyncio.sleep(max(wait_s, SHORTEST_S))
        self._take(caller, events, size)

    def _wait_s(self, caller: Caller) -> float:
        now = self._clock()
        return max(bucket.wait_s(now) for bucket in self._buckets_of(caller))

    def _take(self, caller: Caller, events: int, size: int) -> None:
        by_events, by_bytes = self._buckets_of(caller)
        by_events.take(events, self._clock())
        by_bytes.take(size, self._clock())

    def _buckets_of(self, caller: Caller) -> tuple[Bucket, Bucket]:
        if caller not in self._buckets:
            now, burst_s = self._clock(), self.settings.burst_s
            rates = self.settings.events_per_second, self.settings.bytes_per_second
            by_events, by_bytes = (Bucket(rate, rate * burst_s, now) for rate in rates)
            self._buckets[caller] = by_events, by_bytes
        return self._buckets[caller]

    async def body(self, request: Request, caller: Caller, limit: int, take: Take) -> bytes:
        """All that a request sends. Raises Problem as `chunks`."""
        return b"".join([chunk async for chunk in self.chunks(request, caller, limit, take)])

    async def chunks(
        self, request: Request, caller: Caller, limit: int, take: Take
    ) -> AsyncIterator[bytes]:
        """The same piece by piece, as it comes, no faster than the key may send; `take` is of the
        room in which it is held.

        Raises:
            Problem: 413 where it is more than `limit` bytes, 408 where it stops coming, 429, 503.
        """
        too_large = Problem(Kind.TOO_LARGE, f"at most {limit} bytes may be sent here")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise too_large
        self.spend(caller, events=0)
        stream, left, until = request.stream(), limit, self._clock() + BODY_S
        while chunk := await _within(min(SILENCE_S, until - self._clock()), anext(stream, b"")):
            left -= len(chunk)
            if left < 0:
                raise too_large
            take(len(chunk))
            await self.pace(caller, events=0, size=len(chunk))
            yield chunk

    # --- what is live

    @asynccontextmanager
    async def lease(
        self, caller: Caller, session: str = "", scope: Scope = Scope.INGEST
    ) -> AsyncIterator[Lease]:
        """While a socket is live: `INGEST` one that sends for a session, `READ` a stream of
        results.

        Raises:
            Problem: 429, there are too many of them; 503, the gateway stops.
        """
        if self.stopping:
            raise stopping()
        self._check_room(caller, session, scope)
        lease = Lease(caller, session, scope)
        self._leases.add(lease)
        try:
            yield lease
        finally:
            self._leases.discard(lease)
            self._left.set()

    def _check_room(self, caller: Caller, session: str, scope: Scope) -> None:
        own = [each for each in self._leases if each.caller == caller and each.scope is scope]
        if scope is Scope.READ:
            what, count, limit = "streams", len(own), self.settings.streams_per_key
        else:
            live = Counter(each.session for each in own)
            what, count, limit = "sessions", len(live), self.settings.sessions_per_key
            if session in live:
                what, count, limit = "sockets of one session", live[session], SOCKETS_PER_SESSION
        if count >= limit:
            raise Problem(
                Kind.TOO_MANY,
                f"key {caller.name} may have {limit} {what} at one time; end one of them",
                retry_after_s=BUSY_S,
            )

    async def watch(self) -> None:
        """Ends what is live by a key that was revoked or changed; until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            for lease in self.leases:
                if self._keys and not self._keys.holds(lease.caller):
                    lease.end(Problem(Kind.UNAUTHENTICATED, "the key was revoked or changed"))

    async def drain(self, within_s: float) -> bool:
        """Nobody comes in any more, and who is live is told to go; whether all went in time."""
        self.stopping = True
        for lease in self.leases:
            lease.end(stopping())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._leases:
                    self._left.clear()
                    await self._left.wait()
        return not self._leases


def stopping() -> Problem:
    """What is told while the gateway drains."""
    return Problem(
        Kind.STOPPING,
        "this gateway stops: connect again, to another one or to this one anew",
        retry_after_s=1,
    )


async def _within(seconds: float, chunk: Awaitable[bytes]) -> bytes:
    """A piece of a body, if it comes in time."""
    try:
        async with asyncio.timeout(seconds):
            return await chunk
    except TimeoutError:
        raise Problem(
            Kind.TIMEOUT,
            f"the body did not come: it may pause {SILENCE_S:g} s and take {BODY_S:g} s in all",
        ) from None


def _split(url: str) -> SplitResult:
    """What a client gave, if it is one; else nothing of all."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _listed(scopes: Iterable[Scope]) -> str:
    return ", ".join(sorted(scopes)) or "none"
