"""Measures live captions on recordings whose words are known: `tenor eval captions`.

Each clip is a session of its own, one after the other. Its audio (several tracks are mixed) goes
through the audio agent in this process in chunks of 100 ms, each handed over when its last sample
would have been recorded, on the clock of `streams.clock`: idle time is skipped, computation takes
the time that it takes here. After the clip come `SILENT_S` of digital silence, so that voice
activity finds the end of the last utterance as in a call, and then the end of the session. The
first clip is played once beforehand, unmeasured, so that nothing is measured that a worker does
only once. The figures:

- `clips`, `audio_s`: how many, and their length without that silence;
- `wer`: word error rate of the final captions, over all clips together, both sides through
  Whisper's English normaliser; `wer_offline`: the same of `models.offline`, which is given whole
  clips, with the same weights and the same greedy search in int8;
- `stable_latency_s`: for each word of the final captions, from its end (as its final caption times
  it) to when it was first shown as stable, in a partial or a final caption, never to change again;
- `final_latency_s`: from the end of an utterance's speech to its final caption. Speech ends where
  the caption does, less the silence that the segmenter keeps after it;
- `erasure_stable`, `erasure_shown`: words taken back that were called stable, or shown at all, per
  word of the final captions; without regard to case and punctuation, and in `.._exact` with it. In
  `.._prefix` it is normalised erasure (Arivazhagan et al. 2020): there every word that stands
  behind a change counts, though it stays on the screen;
- `compute_rtf`: CPU seconds of the process, all threads, per second of the clips;
- `covered_ms`, `gap_ms`: audio in final captions and silence records, and in gap records. Together
  they are all the audio that was fed, or the evaluation fails.
"""

from __future__ import annotations

import asyncio
import csv
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from models import registry
from models.normalizer import normalize_english
from models.offline import OfflineWhisper
from models.whisper import is_multilingual, vocabulary_size
from streams import media
from streams.clock import SkippingLoop
from streams.evaluation import ERASURES, EvaluationError, Tally, Timeline, text_of
from streams.local import Captioner, LocalError, captioner
from streams.recordings import Recording, RecordingError
from streams.replay import Moment
from streams.report import percentiles
from streams.settings import Settings

CHUNK_S: Final = 0.1
SILENT_S: Final = 1.0

STEPS: Final = ("live captions", "offline reference")

Tell = Callable[[str, float], None]
"""Hears of the progress: in which of the steps, and how many more seconds of audio are done."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording, what is said in it, and in which language."""

    recording: Recording
    reference: str
    language: str


@dataclass(slots=True)
class Streamed:
    """What came of the live captions of all clips."""

    texts: list[str]
    tally: Tally
    cpu_s: float = 0.0


def read_manifest(path: Path) -> list[Clip]:
    """The clips of a table with a header and tabs, whose audio lies beside it.

    Columns `file` and `reference` are needed; where `split` says multilingual, `kind` ends in the
    language (`read/de`). Raises EvaluationError.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        return [_clip(path.parent, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, RecordingError) as error:
        raise EvaluationError(f"{path}: {error}") from error
    except KeyError as error:
        raise EvaluationError(f"{path} has no column {error}") from error


def understood(clips: Sequence[Clip], settings: Settings) -> list[Clip]:
    """The clips in the language of the settings; with `auto`, in all that the model knows."""
    language = settings.language
    if language == "auto":
        folder = registry.resolve(settings.speech_model)
        language = "" if is_multilingual(vocabulary_size(folder)) else "en"
    return [clip for clip in clips if not language or clip.language == language]


def evaluate_manifest(settings: Settings, manifest: Path, limit: int | None) -> dict[str, Any]:
    """The figures of a manifest's clips; tells on standard error how far it is, and how many clips
    are left out for their language. Raises EvaluationError, ModelError."""
    every, screen = read_manifest(manifest), Console(stderr=True, highlight=False)
    clips = understood(every, settings)
    if skipped := len(every) - len(clips):
        screen.print(f"{skipped} of {len(every)} clips are skipped: not in {settings.language!r}")
    clips = clips[:limit]
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:
        total = sum(clip.recording.seconds for clip in clips)
        bars = {step: progress.add_task(step, total=total) for step in STEPS}
        return evaluate(settings, clips, lambda step, s: progress.advance(bars[step], s))


def evaluate(settings: Settings, clips: Sequence[Clip], tell: Tell) -> dict[str, Any]:
    """All figures as JSON values. Raises EvaluationError, ModelError."""
    if not clips:
        raise EvaluationError("there is no clip to measure")
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        streamed = runner.run(_stream(settings, clips, tell))
    said = [clip.reference for clip in clips]
    seconds = sum(clip.recording.seconds for clip in clips)
    tally = streamed.tally
    return {
        "clips": len(clips),
        "audio_s": round(seconds, 2),
        "wer": word_error_rate(said, streamed.texts),
        "wer_offline": word_error_rate(said, _offline(settings, clips, tell)),
        "stable_latency_s": percentiles(tally.stable_s),
        "final_latency_s": percentiles(tally.final_s),
        **{f"erasure_{kind}": round(tally.erasure(kind), 4) for kind in ERASURES},
        "compute_rtf": round(streamed.cpu_s / seconds, 4),
        "covered_ms": tally.covered_ms,
        "gap_ms": tally.gap_ms,
    }


def word_error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    """Of all texts together, both sides through Whisper's English normaliser."""
    import jiwer  # noqa: PLC0415

    pairs = [(normalize_english(a), normalize_english(b)) for a, b in zip(said, heard, strict=True)]
    known = [(reference, text) for reference, text in pairs if reference]
    if not known:
        raise EvaluationError("the references hold no words")
    references, texts = zip(*known, strict=True)
    return round(float(jiwer.wer(list(references), list(texts))), 4)


async def _stream(settings: Settings, clips: Sequence[Clip], tell: Tell) -> Streamed:
    streamed = Streamed([], Tally())
    async with captioner(settings) as captions:
        with _about(clips[0]):
            await _play(captions, clips[0].recording, "warm-up")
        for number, clip in enumerate(clips):
            with _about(clip):
                cpu_s = time.process_time()
                timeline = await _play(captions, clip.recording, f"clip-{number}")
                streamed.cpu_s += time.process_time() - cpu_s
                _add(streamed.tally, clip.recording, timeline)
            streamed.texts.append(text_of(timeline))
            tell(STEPS[0], clip.recording.seconds)
    return streamed


async def _play(captions: Captioner, recording: Recording, session: str) -> Timeline:
    start = round(captions.now())
    moments = _paced(recording)
    async with aclosing(captions.caption(session, moments, start=start)) as deliveries:
        return [delivery async for delivery in deliveries]


async def _paced(recording: Recording) -> AsyncIterator[Moment]:
    """Each chunk when it has been recorded."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    for moment in recording.moments(CHUNK_S, silent_s=SILENT_S):
        await asyncio.sleep(max(0.0, begun + moment.at - clock()))
        yield moment


@contextmanager
def _about(clip: Clip) -> Iterator[None]:
    """Names the clip in what goes wrong with it."""
    try:
        yield
    except (EvaluationError, LocalError, RecordingError) as error:
        raise EvaluationError(f"{clip.recording.path.name}: {error}") from error


def _add(tally: Tally, recording: Recording, timeline: Timeline) -> None:
    before = tally.covered_ms + tally.gap_ms
    tally.add(timeline)
    fed, said = _length_ms(recording), tally.covered_ms + tally.gap_ms - before
    if said != fed:
        raise EvaluationError(f"of {fed} ms of audio, results are about {said} ms")


def _length_ms(recording: Recording) -> int:
    """Of all that was fed, as the agent decodes it, in whole milliseconds."""
    chunks = (
        media.decode_audio(moment.content_type, moment.data, media.Limits())
        for moment in recording.moments(CHUNK_S, silent_s=SILENT_S)
    )
    return sum(int(chunk.shape[-1]) for chunk in chunks) * 1000 // media.SAMPLE_RATE


def _offline(settings: Settings, clips: Sequence[Clip], tell: Tell) -> list[str]:
    recognizer = OfflineWhisper(
        registry.resolve(settings.speech_model),
        language=None if settings.language == "auto" else settings.language,
        threads=settings.threads * settings.decoders,
    )
    texts = []
    for clip in clips:
        with _about(clip):
            texts.append(recognizer.transcribe(clip.recording.whole()))
        tell(STEPS[1], clip.recording.seconds)
    return texts


def _clip(folder: Path, row: dict[str, str]) -> Clip:
    recording = Recording.of(folder / row["file"], mono=True)
    foreign = "multilingual" in (row.get("split") or "")
    language = row["kind"].rpartition("/")[2] if foreign else "en"
    return Clip(recording, row["reference"], language)


def print_figures(figures: dict[str, Any], console: Console) -> None:
    """The figures for people."""
    table = Table(title="Live captions in figures", title_justify="left", show_header=False)
    for name, figure in figures.items():
        table.add_row(name, _text(figure))
    console.print(table)


def _text(figure: Any) -> str:  # noqa: ANN401  (a JSON value)
    if isinstance(figure, dict):
        return ", ".join(f"{name} {value}" for name, value in figure.items())
    return str(figure)
