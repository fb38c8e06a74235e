"""Measures live captions while nobody talks: words out of noise, and what silence costs.

    python tests/bench/captions_quiet.py [--json] [--only words,compute,memory] [--seconds 31]
        [--idle 1000] [--talking 30]

All of it in this process, on the clock of `streams.clock`, with the settings of the environment
(`TENOR_*`). Audio goes in in chunks of 0.1 s: one channel, L16 at 16 kHz. The JSON holds

- `words`: of every kind of sound in `noises.py`, `--seconds` each: the `words` in final captions
  and in the partial captions (`partial_words`, of each partial those that the one before had not),
  goal 0; `by_kind`, also what was `said` and `shown`, `gaps_ms` by reason, how many utterances
  were decoded, whole or in part (`decodes`: voice activity heard speech), and the CPU seconds of
  the process per second of audio (`cpu_s`);
- `compute`: for 1, 10 and 100 sessions of noise at about -60 dB: CPU seconds of the process per
  second of audio, `cpu_s`, of which `load_maker_s` makes and encodes the events; goal 0.02;
- `memory`: kB for each of `--idle` sessions that have been silent for `IDLE_S`, goal 100, and for
  each of `--talking` sessions in the midst of an utterance of `TALK_S`, goal 2000. `rss_kb` is the
  growth of the process, `traced_kb` that of what Python and numpy allocated (from a second run, of
  a fifth of the idle sessions). `under_way_s`: how long the utterances are. Before the first
  reading, some sessions of the same kind come and go, so that models and shared parts are not
  counted; what the process had kept of these, the growth does not show.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import statistics
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from prometheus_client import generate_latest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2]))

from streams import codec
from streams.agents.base import Agent
from streams.clock import SkippingLoop
from streams.delivery import Record
from streams.evaluation import common
from streams.events import Event
from streams.local import BEGINNING, Captioner, Delivery, LocalError, LocalOutbox, listener
from streams.media import Pcm
from streams.metrics import Metrics, read_metrics
from streams.replay import Moment
from streams.results import CaptionFinal, CaptionPartial, Gap, Result
from streams.segmenter import FRAME, SAMPLE_RATE
from streams.settings import Settings
from tests.bench.noises import coloured, sounds
from tests.bench.talk import CHUNK, chunk_at, paced, phrases

COUNTED_S: Final = {1: 60, 10: 30, 100: 15}
"""For how long so many sessions are silent."""
SHARED: Final = 32
"""Sessions that come and go before memory is measured."""
DECODES: Final = ("tenor_batch_size_sum/speech-partial", "tenor_batch_size_sum/speech-final")
TAKEN: Final = "tenor_events_total/taken/audio"
"""As `streams.metrics.read_metrics` names them: utterances decoded, events taken."""
IDLE_S: Final = 18
"""Longer than the 128 chunks that a channel remembers, and in the midst of a silent segment."""
TALK_S: Final = 10
SETTLE_S: Final = 5
"""After the last chunk, until nothing is under way any more."""
LOUD: Final = 0.1
"""Of a phrase's RMS: what is more quiet is no part of an utterance without a pause."""


def progress(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def in_chunks(audio: Pcm) -> Iterator[Pcm]:
    return (audio[at : at + CHUNK] for at in range(0, len(audio) - CHUNK + 1, CHUNK))


def hush(seconds: float, seed: int) -> Pcm:
    """Noise at about -60 dB, [n]."""
    wave = coloured(0, -60)(np.random.default_rng(seed), round(seconds * SAMPLE_RATE))
    return np.rint(wave * 32767).astype(np.int16)


# --- words


async def words(seconds: float) -> dict[str, Any]:
    """What is said of every kind of sound."""
    kinds: dict[str, dict[str, Any]] = {}
    metrics = Metrics()
    async with listener(Settings(), metrics) as (agent, outbox):
        captions = Captioner(agent, outbox)
        for number, (name, audio) in enumerate(sounds(seconds)):
            cpu_s, decodes = time.process_time(), _exported(metrics, *DECODES)
            moments = paced(in_chunks(audio), asyncio.get_running_loop().time())
            heard = [each.result async for each in captions.caption(f"sound-{number}", moments)]
            kinds[name] = {
                **_said(heard),
                "decodes": _exported(metrics, *DECODES) - decodes,
                "cpu_s": round((time.process_time() - cpu_s) / seconds, 4),
            }
            progress(f"{name}: {kinds[name]}")
    return {
        "seconds": round(seconds * len(kinds), 1),
        "words": sum(kind["words"] for kind in kinds.values()),
        "partial_words": sum(kind["partial_words"] for kind in kinds.values()),
        "by_kind": kinds,
    }


def _said(heard: Sequence[Result]) -> dict[str, Any]:
    finals = [each for each in heard if isinstance(each, CaptionFinal)]
    shown = [each.text for each in heard if isinstance(each, CaptionPartial)]
    gaps: Counter[str] = Counter()
    for each in heard:
        if isinstance(each, Gap):
            gaps[each.reason] += each.end - each.start
    return {
        "words": sum(len(each.words) for each in finals),
        "partial_words": _new_words(shown),
        "said": [each.text for each in finals],
        "shown": shown,
        "gaps_ms": dict(gaps),
    }


def _new_words(texts: Sequence[str]) -> int:
    """How many words came up, text after text, that did not stand there before."""
    shown = [text.split() for text in ("", *texts)]
    return sum(len(now) - common(before, now) for before, now in pairwise(shown))


def _exported(metrics: Metrics, *names: str) -> int:
    """The sum of these values, those that are not there yet left out."""
    exported = read_metrics(generate_latest(metrics.registry).decode())
    return round(sum(exported.get(name, 0.0) for name in names))


# --- sessions for an agent, without a reader


Handle = Callable[[Record], Awaitable[None]]


async def ignore(record: Record) -> None:
    """Stands where an agent does."""


async def feed(handle: Handle, sessions: Mapping[str, Pcm], first: int = 0) -> set[int]:
    """Hands over the audio of all sessions at its time, evenly staggered; returns their partitions,
    which are numbered from `first` on."""
    clock = asyncio.get_running_loop().time
    begin, step = clock(), CHUNK / SAMPLE_RATE / len(sessions)
    chunks = {name: in_chunks(audio) for name, audio in sessions.items()}
    for number in range(min(len(audio) for audio in sessions.values()) // CHUNK):
        for place, (name, its) in enumerate(chunks.items()):
            moment = chunk_at(number, next(its))
            await asyncio.sleep(max(0.0, begin + moment.at + place * step - clock()))
            await handle(_record(moment, name, first + place, number))
    return set(range(first, first + len(sessions)))


def _record(moment: Moment, session: str, partition: int, offset: int) -> Record:
    event = Event(
        type=moment.type,
        id=f"{session}/{offset}",
        source="tenor/bench",
        session=session,
        time=BEGINNING + round(moment.start * 1000),
        sequence=offset,
        content_type=moment.content_type,
        data=moment.data,
    )
    key, value, headers = codec.encode(event)
    return Record(
        topic="audio",
        partition=partition,
        offset=offset,
        key=key,
        value=value,
        headers=tuple(headers),
        acknowledge=_nothing,
        timestamp=event.time,
    )


def _nothing() -> None:
    pass


def silent(count: int, seconds: float) -> dict[str, Pcm]:
    """Sessions of low noise, ten different ones."""
    noise = [hush(seconds, seed) for seed in range(min(count, 10))]
    return {f"silent-{number}": noise[number % len(noise)] for number in range(count)}


def talking(count: int) -> dict[str, Pcm]:
    """Sessions that talk for `TALK_S` without a pause, each about something else."""
    speech = [_without_pauses(each) for each in phrases()[1]]
    random, length = np.random.default_rng(0), TALK_S * SAMPLE_RATE
    made = {}
    for number in range(count):
        order = random.permutation(len(speech))
        made[f"talking-{number}"] = np.concatenate([speech[each] for each in order])[:length].copy()
    return made


def _without_pauses(speech: Pcm) -> Pcm:
    frames = speech[: len(speech) - len(speech) % FRAME].reshape(-1, FRAME)
    levels = np.sqrt(np.square(frames.astype(np.float64)).mean(axis=1))
    audio: Pcm = frames[levels > LOUD * np.sqrt(np.mean(levels**2))].reshape(-1)
    return audio


# --- compute


async def compute() -> dict[str, Any]:
    """CPU seconds for each second of silent audio, by how many sessions there are."""
    found = {}
    async with listener(Settings(), Metrics()) as (agent, _):
        await agent.revoke(await feed(agent.handle, silent(4, 5)))
        for count, seconds in COUNTED_S.items():
            sessions = silent(count, seconds)
            cpu_s = time.process_time()
            await feed(ignore, sessions)
            alone, cpu_s = time.process_time() - cpu_s, time.process_time()
            partitions = await feed(agent.handle, sessions)
            taken = time.process_time() - cpu_s
            await agent.revoke(partitions)
            figures = {"cpu_s": taken, "load_maker_s": alone}
            found[f"{count}"] = {n: round(s / count / seconds, 5) for n, s in figures.items()}
            progress(f"{count} silent sessions: {found[str(count)]}")
    return found


# --- memory


async def memory(idle: int, speaking: int) -> dict[str, Any]:
    """kB for each session of either kind."""
    async with listener(Settings(), Metrics()) as (agent, outbox):
        found = {
            "idle": await _growth(agent, outbox, silent(idle, IDLE_S)),
            "talking": await _growth(agent, outbox, talking(speaking)),
        }
        tracemalloc.start()
        fewer = {"idle": silent(max(1, idle // 5), IDLE_S), "talking": talking(speaking)}
        for kind, sessions in fewer.items():
            traced = await _growth(agent, outbox, sessions)
            found[kind]["traced_kb"] = traced["traced_kb"]
        tracemalloc.stop()
    return found


async def _growth(agent: Agent, outbox: LocalOutbox, sessions: Mapping[str, Pcm]) -> dict[str, Any]:
    """What the process grew by for each session, kB, after all of its audio was heard."""
    some = dict(islice(sessions.items(), SHARED))
    await agent.revoke(await feed(_in_step(agent, len(some)), some))
    ends = dict.fromkeys(sessions, BEGINNING)
    for name in sessions:
        outbox.listen(name, partial(_note, ends, name))
    before = _sizes()
    partitions = await feed(_in_step(agent, len(sessions)), sessions, len(some))
    await asyncio.sleep(SETTLE_S)
    sizes = {name: size - before[name] for name, size in _sizes().items()}
    await agent.revoke(partitions)
    for name in sessions:
        outbox.forget(name)
    fed_ms = min(map(len, sessions.values())) * 1000 / SAMPLE_RATE
    found: dict[str, float] = {"sessions": len(sessions)}
    found |= {name: round(size / len(sessions) / 1000, 1) for name, size in sizes.items()}
    found["under_way_s"] = round(fed_ms - statistics.median(ends.values()) + BEGINNING) / 1000
    progress(f"memory: {found}")
    return found


def _in_step(agent: Agent, every: int) -> Handle:
    """Hands records over and waits, after so many at a time, until all of them have been taken:
    what waits in queues, because this machine is slower than so many sessions, shall not count."""
    before, handed = _exported(agent.metrics, TAKEN), 0

    async def handle(record: Record) -> None:
        nonlocal handed
        await agent.handle(record)
        handed += 1
        while handed % every == 0 and _exported(agent.metrics, TAKEN) < before + handed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    return handle


def _note(ends: dict[str, int], session: str, delivery: Delivery | LocalError) -> None:
    """Keeps up to where a session has been delivered."""
    assert isinstance(delivery, Delivery), delivery
    if not isinstance(delivery.result, CaptionPartial):
        ends[session] = max(ends[session], delivery.result.span()[1])


def _sizes() -> dict[str, int]:
    gc.collect()
    traced = {"traced_kb": tracemalloc.get_traced_memory()[0]} if tracemalloc.is_tracing() else {}
    return {"rss_kb": psutil.Process().memory_info().rss} | traced


# --- the command


def measure(parts: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """The figures of these parts."""
    measures: dict[str, Callable[[], Coroutine[Any, Any, dict[str, Any]]]] = {
        "words": lambda: words(options.seconds),
        "compute": compute,
        "memory": lambda: memory(options.idle, options.talking),
    }
    found: dict[str, Any] = {"machine": f"{os.cpu_count()} cores, {platform.machine()}"}
    for part in parts:
        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            found[part] = runner.run(measures[part]())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="words,compute,memory")
    parser.add_argument("--seconds", type=float, default=31.0, help="of each kind of sound")
    parser.add_argument("--idle", type=int, default=1000, help="silent sessions")
    parser.add_argument("--talking", type=int, default=30, help="talking sessions")
    options = parser.parse_args()
    found = measure(options.only.split(","), options)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        Console().print(found)


if __name__ == "__main__":
    main()
