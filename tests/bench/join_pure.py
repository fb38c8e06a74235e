"""The join without Kafka: features per second on one core, and the memory of a session.

Every point is a process of its own that keeps its sessions from round to round, so that neither
the heap nor the garbage collector of one is part of another; the rounds go through all points in
turn, so that a machine that slows down meets all of them.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, Final

import psutil

from streams.windows import Rules, SessionWindows
from tests.bench.join_load import FEATURES_PER_EVENT, TURN, call_event, ratios, round_robin, summary

CHUNK: Final = 1000
"""Events are made so many at a time, while the clock stands."""
WARM_TURNS: Final = 14
"""After so many the memory of past items is full (60 s), and no longer grows."""
IDLE_SESSIONS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Point:
    """What is measured: so many open sessions under these rules.

    `frozen`: what is on the heap after the start is left out by the garbage collector.
    """

    name: str
    sessions: int = 100
    rules: Rules = field(default_factory=Rules)
    frozen: bool = False


BASE: Final = Point("100 sessions")


def points(largest: int) -> list[Point]:
    """All of them; the first is what the others are compared with."""
    counts = [count for count in (1000, 10_000, 100_000) if count <= largest]
    growth = [Point(f"{count:,} sessions", count) for count in counts]
    frozen = [
        replace(each, name=f"{each.name}, gc.freeze()", frozen=True) for each in (BASE, *growth)
    ]
    rules = {
        "windows of 1 s": Rules(length=1000),
        "windows of 30 s": Rules(length=30_000),
        "hopping, 1 window a feature": Rules(kind="hopping", hop=5000),
        "hopping, 2 windows a feature": Rules(kind="hopping", hop=2500),
        "hopping, 5 windows a feature": Rules(kind="hopping", hop=1000),
        "session windows, gap of 1.5 s": Rules(kind="session", gap=1500),
        "lateness 0": Rules(lateness=0),
        "lateness 10 s": Rules(lateness=10_000),
        "memory 0": Rules(memory=0),
        "shown early, every 1 s": Rules(early=1000),
        "corrected for 5 s": Rules(correction=5000),
    }
    return [BASE, *growth, *frozen, *(Point(name, rules=each) for name, each in rules.items())]


@dataclass(frozen=True, slots=True)
class Seconds:
    """What some events took: by the clock on the wall, and of a core, which others may use too."""

    wall: float
    cpu: float


class Calls:
    """The sessions of a point, in the middle of their calls."""

    def __init__(self, point: Point) -> None:
        self._sessions = point.sessions
        self._windows = _warm(point)
        self._fed = point.sessions * (WARM_TURNS * TURN)
        # The open windows were not part of the snapshots: after these they are as they were.
        self.run(point.sessions * (TURN + TURN // 2))

    def run(self, count: int) -> Seconds:
        """Takes the next `count` events; the seconds that the join took for them.

        Collections of garbage that making the events makes due happen within the seconds.
        """
        wall = cpu = 0.0
        events = round_robin(self._sessions, self._fed, count)
        for _ in range(0, count, CHUNK):
            gc.disable()
            chunk = [
                (self._windows[session].step, event) for session, event in islice(events, CHUNK)
            ]
            gc.enable()
            began, began_cpu = time.perf_counter(), time.thread_time()
            for step, event in chunk:
                step(event)
            cpu += time.thread_time() - began_cpu
            wall += time.perf_counter() - began
        self._fed += count
        return Seconds(wall, cpu)


def _warm(point: Point, turns: int = WARM_TURNS) -> list[SessionWindows]:
    """Sessions that have gone on for so many turns.

    Only one at each place of a turn really has; the others are restored from its snapshot, with
    ids of their own.
    """
    snapshots = []
    for phase in range(min(TURN, point.sessions)):
        windows = SessionWindows(point.rules)
        for index in range(phase, turns * TURN + phase):
            windows.step(call_event(phase, index))
        snapshots.append(json.dumps(windows.snapshot()))
    return [
        SessionWindows.restore(point.rules, json.loads(_rename(snapshots, session)))
        for session in range(point.sessions)
    ]


def _rename(snapshots: Sequence[str], session: int) -> str:
    phase = session % TURN
    return snapshots[phase].replace(f"{phase:016x}-", f"{session:016x}-")


def _serve(pipe: Connection, point: Point, core: int | None) -> None:
    calls = Calls(point)
    if core is not None:
        os.sched_setaffinity(0, {core})
    if point.frozen:
        gc.collect()
        gc.freeze()
    pipe.send("ready")
    while count := pipe.recv():
        pipe.send(calls.run(count))


class Child:
    """The process of a point."""

    def __init__(self, point: Point, core: int | None) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.point = point
        self.seconds: list[Seconds] = []
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, point, core), daemon=True)
        self._process.start()
        theirs.close()

    def await_ready(self) -> None:
        self._pipe.recv()

    def measure(self, events: int) -> None:
        self._pipe.send(events)
        self.seconds.append(self._pipe.recv())

    def end(self) -> None:
        self._pipe.send(0)
        self._process.join()


def speed(
    chosen: Sequence[Point], rounds: int, events: int, core: int | None, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Features per second of a core, and as a multiple of the first point's in that round."""
    tell(f"pure join: warming {len(chosen)} points")
    children = [Child(point, core) for point in chosen]
    for child in children:
        child.await_ready()
    for number in range(rounds):
        tell(f"pure join: round {number + 1} of {rounds}")
        for child in children:
            child.measure(events)
    for child in children:
        child.end()
    features = events * FEATURES_PER_EVENT
    rates = [[features / each.cpu for each in child.seconds] for child in children]
    return [
        {
            "point": child.point.name,
            "features_per_cpu_s": summary(rate),
            "features_per_wall_s": summary([features / each.wall for each in child.seconds]),
            "events_per_cpu_s": summary([each / FEATURES_PER_EVENT for each in rate]),
            "ratio": ratios(rate, rates[0]),
        }
        for child, rate in zip(children, rates, strict=True)
    ]


def _weigh(pipe: Connection, sessions: int, turns: int, traced: bool) -> None:
    _warm(BASE, turns)  # what is made once is made
    gc.collect()
    process = psutil.Process()
    if traced:
        tracemalloc.start()
    before = process.memory_info().rss
    kept = _warm(replace(BASE, sessions=sessions), turns)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0] if traced else process.memory_info().rss - before
    pipe.send(size / len(kept))


def memory(sessions: int, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Bytes of a session without an open window, by Python's count and by the system's."""
    found = []
    for name, turns in (("after 10 s", 2), ("after 70 s", WARM_TURNS)):
        tell(f"memory: {sessions} sessions {name}")
        traced, resident = (_in_child(_weigh, sessions, turns, each) for each in (True, False))
        found.append({"session": name, "tracemalloc_bytes": traced, "rss_bytes": resident})
    return found


def _in_child(target: Callable[..., None], *args: object) -> float:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=target, args=(theirs, *args), daemon=True)
    process.start()
    theirs.close()
    answer: float = ours.recv()
    process.join()
    return answer
