"""What the benches of live captions have in common: made talk, and an audio agent to listen to it.

Talk is recorded speech with pauses, without end: the English recordings beside the repository, or,
where these are absent, the utterances of the demo call. Phrases are at most `LONGEST_S` long (what
is longer is cut at its quietest places), come in an order drawn from a seed, and are followed by
pauses that make speech `SHARE` of the time. So every session says something else.
"""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from streams.events import EventType
from streams.media import Pcm, resample
from streams.replay import Moment
from streams.segmenter import SAMPLE_RATE

ROOT: Final = Path(__file__).parents[2]
SPEECH: Final = ROOT.parent / "shared" / "data" / "speech"
DEMO: Final = ROOT / "demo" / "call"

CHUNK: Final = SAMPLE_RATE // 10
SHARE: Final = 0.6
PAUSES_S: Final = (0.6, 4.0)
LONGEST_S: Final = 8.0
HUSH: Final = 3
"""The most that the noise in pauses is off from 0, of 32768."""


def phrases() -> tuple[str, list[Pcm]]:
    """Where they come from, and speech at 16 kHz, each [n] of at most `LONGEST_S`."""
    if SPEECH.is_dir():
        source, found = "English recordings of ../shared/data/speech", list(_recordings())
    else:
        source, found = "the demo call (../shared is absent)", list(_utterances())
    longest = round(LONGEST_S * SAMPLE_RATE)
    return source, [part for each in found for part in divided(each, longest)]


def divided(speech: Pcm, longest: int) -> list[Pcm]:
    """Speech [n] in parts of at most `longest` samples: halved at the quietest 0.2 s of its middle
    third as often as it takes."""
    if len(speech) <= longest:
        return [speech]
    width, first, end = SAMPLE_RATE // 5, len(speech) // 3, 2 * len(speech) // 3
    energy = np.cumsum(np.square(speech[first : end + width].astype(np.float64)))
    cut = first + int(np.argmin(energy[width:] - energy[:-width])) + width // 2
    return divided(speech[:cut], longest) + divided(speech[cut:], longest)


def talk(speech: Sequence[Pcm], seed: int) -> Iterator[tuple[Pcm, int]]:
    """Chunks of 0.1 s without end, each with how many of its samples are of a phrase. They begin
    anywhere within the first ten seconds of the talk."""
    random = np.random.default_rng(seed)
    audio, spoken = np.zeros(0, np.int16), np.zeros(0, np.bool_)
    skip = int(random.integers(10 * SAMPLE_RATE))
    for part, is_speech in _turns(speech, random):
        audio = np.concatenate([audio, part])
        spoken = np.concatenate([spoken, np.full(len(part), is_speech)])
        gone, skip = min(skip, len(audio)), max(0, skip - len(audio))
        while len(audio) - gone >= CHUNK:
            yield audio[gone : gone + CHUNK], int(spoken[gone : gone + CHUNK].sum())
            gone += CHUNK
        audio, spoken = audio[gone:], spoken[gone:]


def _turns(speech: Sequence[Pcm], random: np.random.Generator) -> Iterator[tuple[Pcm, bool]]:
    """Phrases and pauses in turn; a pause makes good, as far as it may, what was owed before."""
    shortest, longest = (round(seconds * SAMPLE_RATE) for seconds in PAUSES_S)
    owed = 0.0
    while True:
        for place in random.permutation(len(speech)):
            yield speech[place], True
            owed += len(speech[place]) * (1 / SHARE - 1)
            pause = int(np.clip(owed * random.uniform(0.5, 1.5), shortest, longest))
            yield random.integers(-HUSH, HUSH + 1, pause).astype(np.int16), False
            owed -= pause


async def paced(chunks: Iterator[Pcm], begin: float) -> AsyncIterator[Moment]:
    """Each chunk of one channel when its last sample would have been spoken, on the clock of the
    event loop, where `begin` is the time of its first."""
    clock = asyncio.get_running_loop().time
    for number, chunk in enumerate(chunks):
        moment = chunk_at(number, chunk)
        await asyncio.sleep(max(0.0, begin + moment.at - clock()))
        yield moment


def chunk_at(number: int, chunk: Pcm) -> Moment:
    """The chunk of a channel of that number, from 0."""
    seconds = CHUNK / SAMPLE_RATE
    return Moment(
        at=(number + 1) * seconds,
        topic="audio",
        type=EventType.AUDIO_CHUNK,
        start=number * seconds,
        content_type=f"audio/L16;rate={SAMPLE_RATE}",
        data=chunk.astype("<i2").tobytes(),
    )


def _recordings() -> Iterator[Pcm]:
    with (SPEECH / "manifest.tsv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            if "multilingual" not in row["split"]:
                yield _read(SPEECH / row["file"])


def _utterances() -> Iterator[Pcm]:
    script = json.loads((DEMO / "script.json").read_text())
    tracks = {name: _read(DEMO / file) for name, file in script["channels"].items()}
    for each in script["utterances"]:
        start, end = (round(each[name] * SAMPLE_RATE) for name in ("start", "end"))
        yield tracks[each["channel"]][start:end]


def _read(path: Path) -> Pcm:
    """The mean of all tracks, [n] at 16 kHz."""
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    mono = np.rint(samples.mean(axis=1)).astype(np.int16)
    audio: Pcm = resample(mono[None], rate)[0]
    return audio
