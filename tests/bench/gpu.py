"""Measures what batches are good for on a GPU, and how many sessions one carries.

    python -m tests.bench.gpu [--json | --markdown] [--device auto|cuda|cpu] [--seconds 5]
        [--only text,affect,image,expression,voice,tiny,base,small,sessions]
        [--sessions N|search] [--session-seconds 30]

It runs on a CPU too, with fewer sizes: then the goals do not count, they are for a GPU. Each part
is measured alone, in this process, with the models that the environment names (`TENOR_*`).

- `text`, `affect`: sentences to vectors. `image`: pictures to vectors, labels and faces, of which
  these are looked for on the CPU. `expression`: faces to vectors. `voice`: utterances to vectors,
  one after the other in any batch.
- `tiny`, `base`, `small`: recognition by `models.whisper_torch`, utterances of up to 8 s.
  `small` has random weights, since no package holds trained ones: it measures time alone, and its
  transcripts are all as long as they may be, 112 tokens of text, several times those of speech.
- `sessions`: how many live sessions are captioned (`captions_capacity`, without Kafka), by the
  agent, the batchers and the schedule of a worker, in one process.

The JSON holds `device`, `machine`, `goals` (met or not; none on a CPU), and

- `rates`: by part and size `per_s` and `speedup` (times that of size 1: one call per item), of
  audio `real_time_factor` (computing time per time of audio); `best_speedup`; how far the answers
  of the largest batch are from those of each item alone: `max_difference` of a number and the
  `largest` number, or `texts_equal` and `max_time_difference_s` of words; `gpu_busy_percent` of
  the time of all sizes, `gpu_peak_mb`: the most that torch had allocated;
- `sessions`: `max_sustained`, and of its run `gpu_busy_percent` and `by_rates`: how many the best
  rate of `tiny` would be enough for, if nothing else were to do; `gpu_peak_mb`; all `runs`.

`gpu_busy_percent` is sampled by nvidia-smi; null where that is missing or tells nothing.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from typing import Any, Final

import click
import numpy as np
import torch
from PIL import Image
from torch import nn
from whisper.model import ModelDimensions

from models import registry
from models.base import SAMPLE_RATE, Floats, Pixels, TextEncoder, Utterance
from models.expression import SEEN
from models.whisper import CONTEXTS_S, most_tokens, tokenizer_for
from models.whisper_torch import TorchWhisper, empty
from streams.agents.speech import floats
from streams.figures import tell
from streams.media import Pcm
from streams.settings import Settings
from tests.bench.captions_capacity import Load, measure_all, measure_here, progress
from tests.bench.gpu_rates import (
    Part,
    best_rate,
    goals,
    markdown,
    measured,
    sessions_by_rates,
    transcripts_apart,
    vectors_apart,
)
from tests.bench.talk import DEMO, phrases

SIZES: Final = {"cuda": (1, 2, 4, 8, 16, 32, 64, 128, 256), "cpu": (1, 4, 16)}
SPEECH_SIZES: Final = {"cuda": (1, 2, 4, 8, 16, 32, 64), "cpu": (1, 4)}
FIRST: Final = {"cuda": 16, "cpu": 2}
"""Sessions that a search begins with."""
ITEMS: Final = 256
"""Different texts, faces and utterances; pictures are few."""
SMALL: Final = ModelDimensions(80, 1500, 768, 12, 12, 51865, 448, 768, 12, 12)
SAMPLE_MS: Final = 200

SPEECH: Final = ("tiny", "base", "small")
PARTS: Final = ("text", "affect", "image", "expression", "voice", *SPEECH, "sessions")

AnyPart = Part[Any, Any]


# --- what is measured


def parts(
    settings: Settings, device: str, speech: Sequence[Pcm]
) -> dict[str, Callable[[], AnyPart]]:
    """What loads each part, by name."""
    whisper = partial(trained, device=device, speech=speech)
    return {
        "text": lambda: reader(registry.load_text(settings.text_model, device)),
        "affect": lambda: reader(registry.load_affect(settings.affect_model, device)),
        "image": lambda: pictures(settings, device),
        "expression": lambda: faces(settings, device),
        "voice": lambda: voices(settings, device, speech),
        "tiny": lambda: whisper(registry.SPEECH_ENGLISH),
        "base": lambda: whisper(registry.SPEECH_MULTILINGUAL),
        "small": lambda: recogniser(
            untrained(SMALL, device),
            [Utterance(each, thorough=False) for each in heard(speech)],
            f"random weights, {most_tokens(CONTEXTS_S[0])} tokens each: time only",
        ),
    }


def reader(encoder: TextEncoder) -> AnyPart:
    return Part(lambda texts: list(encoder.encode(texts)), sentences(), vectors_apart)


def pictures(settings: Settings, device: str) -> AnyPart:
    model = registry.load_image(settings.image_model, device, expression=settings.expression_model)

    def embed(images: list[Pixels]) -> list[Floats]:
        return [content.embedding for content in model.recognize(images)]

    files = sorted(DEMO.glob("*.jpg"))
    return Part(
        embed, [np.asarray(Image.open(file).convert("RGB")) for file in files], vectors_apart
    )


def faces(settings: Settings, device: str) -> AnyPart:
    """Noise in the size of faces: a network takes as long for it."""
    model = registry.load_expression(settings.expression_model or registry.EXPRESSION, device)
    random = np.random.default_rng(0)
    items = list(random.integers(0, 256, (ITEMS, SEEN, SEEN), dtype=np.uint8))
    return Part(lambda batch: list(model.look(batch)[0]), items, vectors_apart)


def voices(settings: Settings, device: str, speech: Sequence[Pcm]) -> AnyPart:
    model = registry.load_voice(settings.voice_model, device)
    return Part(lambda batch: list(model.encode(batch)), heard(speech), vectors_apart, _seconds)


def trained(uri: str, device: str, speech: Sequence[Pcm]) -> AnyPart:
    name, folder = registry.name_of(uri), registry.resolve(uri)
    model = TorchWhisper.of(folder, name, device=device, language="en")
    return recogniser(model, [Utterance(each) for each in heard(speech)])


def untrained(dims: ModelDimensions, device: str) -> TorchWhisper:
    """A Whisper with random weights, the same in every run. It says text and nothing else, up to
    the most tokens that it may: the end and the marks behind it are never the likeliest."""
    torch.manual_seed(0)
    network = empty(dims)
    nn.init.normal_(network.decoder.positional_embedding, std=0.02)
    with torch.no_grad():
        network.decoder.token_embedding.weight[tokenizer_for(dims.n_vocab, "en").eot :] = 0
    return TorchWhisper(network, "untrained", device=device, language="en")


def recogniser(model: TorchWhisper, utterances: list[Utterance], note: str = "") -> AnyPart:
    return Part(
        model.transcribe, utterances, transcripts_apart, lambda each: _seconds(each.audio), note
    )


def _seconds(audio: Floats) -> float:
    return len(audio) / SAMPLE_RATE


def heard(speech: Sequence[Pcm]) -> list[Floats]:
    """Speech as models take it."""
    return [floats(each) for each in islice(speech, ITEMS)]


def sentences() -> list[str]:
    """What is said in the demo call, of one to three utterances: texts of many lengths."""
    script = json.loads((DEMO / "script.json").read_text(encoding="utf-8"))
    said = cycle([each["text"] for each in script["utterances"]])
    return [" ".join(islice(said, 1 + number % 3)) for number in range(ITEMS)]


# --- the GPU


@contextmanager
def sampling(device: str, found: list[int]) -> Iterator[None]:
    """When it is left, adds the percents of its time that the GPU was busy in here."""
    if device == "cpu" or not (tool := shutil.which("nvidia-smi")):
        yield
        return
    which = f"--id=GPU-{torch.cuda.get_device_properties(0).uuid}"
    query = "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"
    command = [tool, which, *query, f"--loop-ms={SAMPLE_MS}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        process.terminate()
        lines, _ = process.communicate()
        found += [int(line) for line in lines.split() if line.isdigit()]


def busy_percent(samples: Sequence[int]) -> float | None:
    return round(sum(samples) / len(samples), 1) if samples else None


@contextmanager
def memory(device: str) -> Iterator[dict[str, float]]:
    """Holds the most memory of the GPU that torch had allocated in here, when it is left."""
    found: dict[str, float] = {}
    gc.collect()  # what was measured before
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    yield found
    if device != "cpu":
        found["gpu_peak_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)


def machine(device: str) -> str:
    host = f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"
    return host if device == "cpu" else f"{torch.cuda.get_device_name(0)}, {host}"


# --- the command


def rates(
    load: Callable[[], AnyPart], sizes: Sequence[int], seconds: float, device: str
) -> dict[str, Any]:
    """The figures of one part; it is forgotten before the next one comes."""
    busy: list[int] = []
    with memory(device) as most:
        part = load()
        with sampling(device, busy):
            found = measured(part, sizes, seconds)
    return {**found, "gpu_busy_percent": busy_percent(busy), **most}


def sessions(
    settings: Settings, speech: Sequence[Pcm], wanted: str, seconds: float, tiny: float | None
) -> dict[str, Any]:
    """How many are captioned at once; `tiny`: its best rate, if that was measured."""
    device = settings.device

    async def measure(load: Load) -> dict[str, Any]:
        busy: list[int] = []
        found = await measure_here(load, speech, settings, sampling(device, busy))
        return {**found, "gpu_busy_percent": busy_percent(busy)}

    with memory(device) as most_memory:
        most, runs = measure_all(wanted, measure, seconds, FIRST[device])
    best = next((run for run in runs if run["sessions"] == most), None)
    return {
        "max_sustained": most,
        "gpu_busy_percent": best and best["gpu_busy_percent"],
        "by_rates": best and tiny and sessions_by_rates(best, tiny),
        **most_memory,
        "runs": runs,
    }


def measure(
    settings: Settings, only: Collection[str], seconds: float, count: str, session_seconds: float
) -> dict[str, Any]:
    """What the module's docstring describes."""
    registry.set_threads(settings.threads)
    device, (source, speech) = settings.device, phrases()
    found: dict[str, Any] = {}
    for name, load in parts(settings, device, speech).items():
        if name in only:
            progress(f"{name} on {device}")
            sizes = (SPEECH_SIZES if name in SPEECH else SIZES)[device]
            found[name] = rates(load, sizes, seconds, device)
    results = {
        "device": device,
        "machine": machine(device),
        "goals_are_for": "a GPU",
        "speech": source,
        "rates": found,
    }
    if "sessions" in only:
        tiny = best_rate(found["tiny"]) if "tiny" in found else None
        results["sessions"] = sessions(settings, speech, count, session_seconds, tiny)
    return {**results, "goals": goals(results)}


@click.command()
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto")
@click.option("--only", default=",".join(PARTS), show_default=True, help="Parts, with commas.")
@click.option("--seconds", type=click.FloatRange(min=0), default=5.0, help="Of each size.")
@click.option("--sessions", "count", default="search", help="A number, or search.")
@click.option("--session-seconds", type=click.FloatRange(min=1), default=30.0, help="Of each run.")
@click.option("--markdown", "as_markdown", is_flag=True, help="The table of docs/gpu.md.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def main(
    *,
    device: str,
    only: str,
    seconds: float,
    count: str,
    session_seconds: float,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """Measure what batches are good for on a GPU, and how many sessions it carries."""
    wanted = only.split(",")
    if unknown := set(wanted) - set(PARTS):
        raise click.UsageError(f"no part {', '.join(unknown)}: there are {', '.join(PARTS)}")
    settings = Settings(device=registry.device(device))
    results = measure(settings, wanted, seconds, count, session_seconds)
    if as_markdown:
        click.echo(markdown(results))
    else:
        tell(results, as_json=as_json)


if __name__ == "__main__":
    main()
