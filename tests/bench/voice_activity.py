"""What voice activity costs: the published network and ours, turn by turn in one run. Prints JSON.

    python -m tests.bench.voice_activity

CPU microseconds of a frame (32 ms), the median of many turns, for chunks of 0.2 and 1 s of 1 and of
16 streams; `ratio` is ours to the published one's. That is the network in `silero-vad`'s package,
called as its documentation has it: a frame of all streams at a time. Both on one thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch

from models import registry
from models.base import SAMPLE_RATE, Floats
from models.vad import FRAME

STREAMS: Final = (1, 16)
CHUNKS_S: Final = (0.2, 1.0)


def published() -> Callable[[Floats], object]:
    """The package's own network, on chunks [streams, samples]."""
    package = find_spec("silero_vad")
    assert package and package.submodule_search_locations, "silero-vad is not installed"
    file = Path(package.submodule_search_locations[0]) / "data" / "silero_vad.jit"
    network = torch.jit.load(file)  # type: ignore[no-untyped-call]

    @torch.inference_mode()
    def run(audio: Floats) -> None:
        for start in range(0, audio.shape[1], FRAME):
            network(torch.from_numpy(audio[:, start : start + FRAME]), SAMPLE_RATE)

    return run


def ours() -> Callable[[Floats], object]:
    detector = registry.load_vad()
    return lambda audio: detector.step([detector.initial()] * len(audio), list(audio))


def cpu_us(run: Callable[[Floats], object], audio: Floats) -> float:
    """Of each frame."""
    started = time.process_time_ns()
    run(audio)
    return (time.process_time_ns() - started) / 1000 / (audio.size // FRAME)


def compared(streams: int, seconds: float, turns: int) -> dict[str, Any]:
    frames = int(seconds * SAMPLE_RATE) // FRAME
    random = np.random.default_rng(0)
    audio = random.normal(0, 0.1, (streams, frames * FRAME)).astype(np.float32)
    both = {"published": published(), "ours": ours()}
    taken: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(turns):
        for name, run in both.items():
            taken[name].append(cpu_us(run, audio))
    each = {name: median(times[turns // 5 :]) for name, times in taken.items()}
    return {
        "streams": streams,
        "chunk_s": seconds,
        "frame_us": {name: round(us, 1) for name, us in each.items()},
        "ratio": round(each["ours"] / each["published"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=200)
    options = parser.parse_args()
    registry.set_threads(1)
    found = [compared(n, seconds, options.turns) for n in STREAMS for seconds in CHUNKS_S]
    print(json.dumps({"machine": platform.machine(), "runs": found}, indent=2))


if __name__ == "__main__":
    main()
