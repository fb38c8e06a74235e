"""What a step of the fusion model costs, with the weights that ship: prints JSON.

    python tests/bench/fusion.py --json

Milliseconds of a window: alone, and in a batch of 32 of different sessions with a memory, each with
a text, a voice and a face. Median and the 5th and 95th percentile of many calls.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable

import click
import numpy as np

from models import registry
from models.fusion import FusionModel, Item, Window
from streams.settings import Settings

BATCH = 32


def windows(model: FusionModel, count: int) -> list[Window]:
    random = np.random.default_rng(0)
    items = [
        [
            Item(
                f"{m}{n}", m, random.standard_normal(e.dimension).astype(np.float32),
                e.id, e.revision, 2.0,
            )
            for m, e in model.encoders.items()
        ]
        for n in range(count)
    ]  # fmt: skip
    made = []
    for each in items:
        [before] = model.judge([Window(each, 5.0)])
        assert before is not None
        made.append(Window(each, 10.0, before.track, before.track))
    return made


def milliseconds(run: Callable[[], object], times: int, windows_: int) -> dict[str, float]:
    """Per window."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        taken.append(1000 * (time.perf_counter() - started) / windows_)
    low, middle, high = np.percentile(taken[times // 10 :], (5, 50, 95))
    return {"p5": round(low, 4), "p50": round(middle, 4), "p95": round(high, 4)}


@click.command()
@click.option("--times", type=click.IntRange(min=20), default=500, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def main(times: int, as_json: bool) -> None:
    """Measure the fusion step."""
    model = FusionModel.load(registry.resolve(Settings().fusion_model))
    many = windows(model, BATCH)
    [opinion] = model.judge(many[:1])
    assert opinion is not None
    figures = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "model": model.revision,
        "alone_ms": milliseconds(lambda: model.judge(many[:1]), times, 1),
        "batch_of_32_ms_per_window": milliseconds(lambda: model.judge(many), times, BATCH),
        "state_bytes_per_track": len(json.dumps(opinion.track.state())),
    }
    click.echo(json.dumps(figures, indent=None if as_json else 2))


if __name__ == "__main__":
    main()
