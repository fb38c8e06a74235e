"""What the processes of a load take: CPU by process and by what a worker's threads do, memory, lag.

A worker's threads are told apart by their names (`streams.threads`): those that recognise speech,
those of the other models, the event loop, and the rest, which is Kafka's and Python's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import psutil

from streams.clock import now_ms
from streams.loading.calls import Span
from streams.metrics import read_metrics
from streams.processes import WorkerProcess
from streams.threads import name_of

EVERY_S: Final = 1.0
MB: Final = 1e6
DOES: Final = {
    **dict.fromkeys(("speech", "decoder"), "speech"),
    **dict.fromkeys(
        ("device", "light", "vad", "voice", "text", "affect", "image", "fusion", "align"),
        "other_models",
    ),
}
"""What a worker's thread does, by its name."""
PARTS: Final = ("speech", "other_models", "event_loop", "rest")
"""What all threads of a worker do."""


@dataclass(frozen=True, slots=True)
class Watched:
    """Whom to watch: process ids by what they are, and the workers, which may change."""

    processes: Mapping[str, Sequence[int]]
    workers: Callable[[], Sequence[WorkerProcess]]


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment (ms): CPU seconds and resident bytes by process, CPU seconds of the workers' parts,
    and of what the workers export the lag by agent and topic and how far captions are degraded."""

    at: int
    cpu_s: Mapping[str, float]
    parts_s: Mapping[str, float]
    rss: Mapping[str, int]
    lag: Mapping[str, float]
    lag_s: Mapping[str, float]
    degradation: float
    partials_skipped: float


async def watch(watched: Watched, samples: list[Sample]) -> None:
    """Takes a sample every second, without end."""
    while True:
        samples.append(await asyncio.to_thread(take, watched))
        await asyncio.sleep(EVERY_S)


def take(watched: Watched) -> Sample:
    """A sample of now; a process that has just ended has nothing."""
    workers = watched.workers()
    pids = {**watched.processes, "workers": [each.process.pid for each in workers]}
    used = {name: [_used(pid) for pid in each] for name, each in pids.items()}
    machine = psutil.cpu_times()
    busy = sum(machine) - machine.idle - getattr(machine, "iowait", 0.0)
    metrics = [_metrics(worker) for worker in workers]
    return Sample(
        at=now_ms(),
        cpu_s={**{name: sum(c for c, _ in each) for name, each in used.items()}, "machine": busy},
        parts_s=_parts(pids["workers"]),
        rss={name: sum(rss for _, rss in each) for name, each in used.items()},
        lag=_by_agent(metrics, "tenor_consumer_lag_events/", sum),
        lag_s=_by_agent(metrics, "tenor_consumer_lag_seconds/", max),
        degradation=max((m.get("tenor_captions_degradation", 0.0) for m in metrics), default=0.0),
        partials_skipped=sum(_total(each, "tenor_partials_skipped_total/") for each in metrics),
    )


def _used(pid: int) -> tuple[float, int]:
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        return times.user + times.system, process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0.0, 0


def _parts(workers: Iterable[int]) -> dict[str, float]:
    """CPU seconds of the workers' threads by what they do."""
    found = dict.fromkeys(PARTS, 0.0)
    for pid in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            for thread in psutil.Process(pid).threads():
                found[_part(pid, thread.id)] += thread.user_time + thread.system_time
    return found


def _part(pid: int, thread: int) -> str:
    if thread == pid:
        return "event_loop"
    try:
        return DOES.get(name_of(pid, thread), "rest")
    except OSError:
        return "rest"


def _metrics(worker: WorkerProcess) -> dict[str, float]:
    try:
        return read_metrics(worker.get("metrics"))
    except OSError:
        return {}


def _by_agent(
    metrics: Iterable[Mapping[str, float]], name: str, together: Callable[[Iterable[float]], float]
) -> dict[str, float]:
    """Of all workers, by `agent/topic`."""
    found: dict[str, list[float]] = {}
    for each in metrics:
        for key, value in each.items():
            if key.startswith(name):
                found.setdefault(key.removeprefix(name), []).append(value)
    return {agent: together(values) for agent, values in found.items()}


def _total(metrics: Mapping[str, float], names: str) -> float:
    return sum(value for name, value in metrics.items() if name.startswith(names))


# --- what the samples come to; pure


def cores(samples: Sequence[Sample], span: Span) -> dict[str, float]:
    """Busy cores in a span (ms), by process; `others` is what the rest of the machine did."""
    inside = [each for each in samples if span[0] <= each.at <= span[1]]
    if len(inside) < 2:
        return {}
    first, last = inside[0], inside[-1]
    seconds = (last.at - first.at) / 1000
    busy = {name: (used - first.cpu_s[name]) / seconds for name, used in last.cpu_s.items()}
    parts = {part: (last.parts_s[part] - first.parts_s[part]) / seconds for part in PARTS}
    machine = busy.pop("machine")
    return {
        **{name: round(each, 3) for name, each in busy.items()},
        **{f"workers_{part}": round(each, 3) for part, each in parts.items()},
        "others": round(max(0.0, machine - sum(busy.values())), 3),
    }


def memory(samples: Sequence[Sample]) -> dict[str, dict[str, int]]:
    """Resident MB by process: at first, the most, at last."""
    taken = {name: [s.rss[name] for s in samples if s.rss[name]] for name in samples[0].rss}
    return {
        name: {
            "start": round(used[0] / MB),
            "max": round(max(used) / MB),
            "end": round(used[-1] / MB),
        }
        for name, used in taken.items()
        if used
    }


def strain(samples: Sequence[Sample]) -> dict[str, Any]:
    """The most lag, by agent and topic, and for how long captions were degraded."""
    pairs = list(pairwise(samples))
    degraded = sum(later.at - each.at for each, later in pairs if later.degradation)
    return {
        "lag_events": _most([each.lag for each in samples]),
        "lag_s": _most([each.lag_s for each in samples]),
        "degraded_s": round(degraded / 1000, 1),
        "partials_skipped": round(samples[-1].partials_skipped),
    }


def _most(values: Iterable[Mapping[str, float]]) -> dict[str, float]:
    most: dict[str, float] = {}
    for each in values:
        for agent, value in each.items():
            most[agent] = max(most.get(agent, 0.0), round(value, 1))
    return most


def cpu_model() -> str:
    """The name of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
