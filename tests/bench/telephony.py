"""Measures what it costs that every chunk of a call is resampled on its own, and can be.

    python tests/bench/telephony.py [--data DIR] [--json FILE] [--rates 8000,..]

English speech is sent as mu-law at 8 kHz and as L16 at other rates, in chunks of 20 ms to 2 s. The
error at a chunk's edges (2 ms) is that against the same samples resampled among their neighbours;
the word error rate is that of the chunks put together, beside the whole clip resampled at once.
The table goes to standard output, progress to standard error.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import gcd
from pathlib import Path

import jiwer
import numpy as np
import numpy.typing as npt
import soundfile
from scipy.signal import resample_poly

from models import registry
from models.base import SpeechRecognizer, Utterance
from models.normalizer import normalize_english
from streams.g711 import from_mu_law, mu_law
from streams.media import SAMPLE_RATE, Limits, Pcm, decode_audio, resample

DATA = Path(__file__).parents[3] / "shared" / "data"
TELEPHONE = 8_000
RATES = (TELEPHONE, 11_025, 22_050, 44_100, 48_000)
CHUNKS_MS = (20, 100, 500, 2_000)
LONGEST_S = 28.0
EDGE = 2 * SAMPLE_RATE // 1000
"""Samples of 2 ms, at both ends of a chunk."""
DRAWS = 2_000
"""How often clips are drawn for an interval."""

Powers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Clip:
    """Speech, int16 [n] at `rate` Hz, and what is said in it."""

    said: str
    samples: Pcm
    rate: int


@dataclass(frozen=True, slots=True)
class Row:
    """A rate and a chunk length (0: the whole clip); drift in samples at 16 kHz, worst clip.

    `worse` is the difference of the word error rate to the whole clips', in points, with the 95 %
    interval over draws of clips; `changed` counts the clips whose words are not the same.
    """

    rate: int
    chunk_ms: int
    edge_db: float
    drift: int
    wer: float
    worse: float
    worse_from: float
    worse_to: float
    changed: int


def speech(folder: Path) -> Iterator[Clip]:
    """The English clips that one decode takes."""
    with (folder / "speech" / "manifest.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if float(row["seconds"]) <= LONGEST_S and not row["speaker"].startswith("pv-"):
                path = folder / "speech" / row["file"]
                samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
                yield Clip(row["reference"], samples[:, 0], rate)


def at_rate(clip: Clip, rate: int) -> Pcm:
    """The clip as its receiver has it: at 8 kHz it went through mu-law."""
    step = gcd(rate, clip.rate)
    made = resample_poly(clip.samples.astype(np.float64), rate // step, clip.rate // step)
    samples = np.clip(np.rint(made), -32768, 32767).astype(np.int16)
    return from_mu_law(mu_law(samples)) if rate == TELEPHONE else samples


def in_chunks(samples: Pcm, rate: int, chunk_ms: int) -> list[tuple[int, int]]:
    """[start, end) of each chunk, at the samples where a clock of `chunk_ms` would cut."""
    count = -(-len(samples) * 1000 // (rate * chunk_ms))
    cuts = [min(k * chunk_ms * rate // 1000, len(samples)) for k in range(count + 1)]
    return [(start, end) for start, end in pairwise(cuts) if end > start]


def received(samples: Pcm, rate: int) -> Pcm:
    """One chunk as the service decodes it."""
    if rate == TELEPHONE:
        return decode_audio("audio/PCMU", mu_law(samples), Limits())[0, :]
    data = samples.astype("<i2").tobytes()
    return decode_audio(f"audio/L16;rate={rate}", data, Limits())[0, :]


def edge_powers(samples: Pcm, rate: int, spans: list[tuple[int, int]], heard: list[Pcm]) -> Powers:
    """Power of the signal and of the error at the inner edges of all chunks, [2]."""
    period = rate // gcd(rate, SAMPLE_RATE)
    margin = -(-64 // period) * period  # whole samples at both rates, beyond the filter's reach
    padded = np.pad(samples, (margin, 2 * margin))
    powers = np.zeros(2)
    for (start, end), chunk in zip(spans, heard, strict=True):
        among = resample(padded[None, start : end + 2 * margin], rate)[0]
        wanted = among[margin * SAMPLE_RATE // rate :][: len(chunk)].astype(np.float64)
        error = chunk - wanted
        for edge in (slice(None, EDGE), slice(-EDGE, None)):
            powers += np.square(wanted[edge]).sum(), np.square(error[edge]).sum()
    return powers


def words(recognizer: SpeechRecognizer, audio: Pcm) -> str:
    utterance = Utterance(audio.astype(np.float32) / np.float32(32768))
    return normalize_english(recognizer.transcribe([utterance])[0].text)


def errors(said: list[str], heard: list[str]) -> Powers:
    """Wrong words and words said, per clip: [clips, 2]."""
    pairs = [jiwer.process_words(a, b) for a, b in zip(said, heard, strict=True)]
    wrong = [p.substitutions + p.deletions + p.insertions for p in pairs]
    return np.array([wrong, [p.hits + p.substitutions + p.deletions for p in pairs]], float).T


def interval(chunked: Powers, whole: Powers) -> tuple[float, float]:
    """95 % of the differences in points, over clips drawn with replacement."""
    drawn = np.random.default_rng(0).integers(0, len(whole), (DRAWS, len(whole)))
    difference = (chunked - whole)[drawn, 0].sum(1) / whole[drawn, 1].sum(1)
    low, high = np.percentile(100 * difference, (2.5, 97.5))
    return float(low), float(high)


def measure(clips: list[Clip], rate: int, recognizer: SpeechRecognizer) -> Iterator[Row]:
    """The whole clips, then each length of chunk."""
    sent = [at_rate(clip, rate) for clip in clips]
    said = [normalize_english(clip.said) for clip in clips]
    at_once = [words(recognizer, resample(each[None], rate)[0]) for each in sent]
    whole = errors(said, at_once)
    for chunk_ms in (0, *CHUNKS_MS):
        heard, edge_db, drift = at_once, float("inf"), 0
        if chunk_ms:
            joined, edge_db = in_pieces(sent, rate, chunk_ms)
            due = [round(len(samples) * SAMPLE_RATE / rate) for samples in sent]
            drift = max(abs(len(a) - b) for a, b in zip(joined, due, strict=True))
            heard = [words(recognizer, each) for each in joined]
        chunked = errors(said, heard)
        low, high = interval(chunked, whole)
        yield Row(
            rate=rate,
            chunk_ms=chunk_ms,
            edge_db=edge_db,
            drift=drift,
            wer=float(100 * chunked[:, 0].sum() / chunked[:, 1].sum()),
            worse=float(100 * (chunked - whole)[:, 0].sum() / whole[:, 1].sum()),
            worse_from=low,
            worse_to=high,
            changed=sum(a != b for a, b in zip(heard, at_once, strict=True)),
        )


def in_pieces(sent: list[Pcm], rate: int, chunk_ms: int) -> tuple[list[Pcm], float]:
    """The clips as put together from their chunks, and signal over error at the edges (dB)."""
    joined, powers = [], np.zeros(2)
    for samples in sent:
        spans = in_chunks(samples, rate, chunk_ms)
        chunks = [received(samples[start:end], rate) for start, end in spans]
        powers += edge_powers(samples, rate, spans, chunks)
        joined.append(np.concatenate(chunks))
    return joined, float(10 * np.log10(powers[0] / powers[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rates", default=",".join(map(str, RATES)))
    options = parser.parse_args()
    if not (options.data / "speech").is_dir():
        sys.exit(f"no speech in {options.data}: name the folder with --data")
    clips, recognizer = list(speech(options.data)), registry.load_speech()
    print(f"{len(clips)} clips, {sum(len(c.said.split()) for c in clips)} words", file=sys.stderr)
    print("  rate  chunk  edges      drift    WER   worse (95 %)          clips changed")
    rows = []
    for rate in map(int, options.rates.split(",")):
        for row in measure(clips, rate, recognizer):
            rows.append(asdict(row))
            print(
                f"{row.rate:6} {row.chunk_ms or 'whole':>6} {row.edge_db:5.1f} dB {row.drift:7}"
                f" {row.wer:6.2f}  {row.worse:+5.2f} ({row.worse_from:+.2f}..{row.worse_to:+.2f})"
                f" {row.changed:10}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
