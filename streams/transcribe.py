"""Captions of audio files, as fast as the machine can: `tenor transcribe`.

Each file is a session, its tracks are the channels, and the way is that of a live call
(`streams.local`), without partial captions. Files are read while they are heard, some at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from streams.export import render
from streams.local import Captioner, LocalError, captioner
from streams.recordings import Recording, RecordingError
from streams.replay import Moment
from streams.results import CaptionFinal, Gap, Result, Silence
from streams.settings import Settings

CHUNK_S: Final = 1.0
TOGETHER: Final = 16
"""Files that are heard at a time: enough for full batches."""

Tell = Callable[[float], None]
"""Hears of the progress: so many more seconds of audio are done."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was heard in a file, or why it could not be."""

    path: Path
    results: tuple[Result, ...] = ()
    error: str = ""


async def transcribe(
    settings: Settings, paths: Sequence[Path], tell: Tell, vocabulary: Sequence[str] = ()
) -> AsyncGenerator[Transcript, None]:
    """A transcript of each file, in their order; what is wrong with a file stops no other.

    Raises ModelError where the models cannot be loaded.
    """
    settings = settings.model_copy(update={"partial_ms": 0})
    turn = asyncio.Semaphore(TOGETHER)
    async with captioner(settings, vocabulary) as captions:
        tasks = [
            asyncio.create_task(_transcript(captions, path, f"transcript-{number}", turn, tell))
            for number, path in enumerate(paths, 1)
        ]
        try:
            for task in tasks:
                yield await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _transcript(
    captions: Captioner, path: Path, session: str, turn: asyncio.Semaphore, tell: Tell
) -> Transcript:
    async with turn:
        try:
            recording = await asyncio.to_thread(Recording.of, path)
            return Transcript(path, tuple(await _heard(captions, recording, session, tell)))
        except RecordingError as error:
            return Transcript(path, error=str(error))
        except LocalError as error:
            return Transcript(path, error=f"cannot transcribe {path}: {error}")


async def _heard(
    captions: Captioner, recording: Recording, session: str, tell: Tell
) -> list[Result]:
    results = []
    async with aclosing(captions.caption(session, _moments(recording))) as deliveries:
        async for _, result in deliveries:
            results.append(result)
            if isinstance(result, CaptionFinal | Silence | Gap):
                tell((result.end - result.start) / 1000 / len(recording.channels))
    return results


async def _moments(recording: Recording) -> AsyncIterator[Moment]:
    """The chunks, read off the event loop."""
    moments = recording.moments(CHUNK_S)
    while (moment := await asyncio.to_thread(next, moments, None)) is not None:
        yield moment


async def write_transcripts(
    settings: Settings,
    paths: Sequence[Path],
    format_: str,
    out: Path | None,
    vocabulary: Sequence[str] = (),
) -> int:
    """Writes each transcript to its `file_of` in the folder `out`, or all to standard output in
    the end, and tells of the rest on standard error; returns how many files failed.

    Raises OSError where a file cannot be written, and ModelError.
    """
    texts, failed, screen = [], 0, Console(stderr=True, highlight=False)
    with _progress(screen) as progress:
        bar = progress.add_task("transcribing", total=sum(map(_seconds, paths)))
        transcripts = transcribe(settings, paths, partial(progress.advance, bar), vocabulary)
        async with aclosing(transcripts):
            async for transcript in transcripts:
                if transcript.error:
                    failed += 1
                    screen.print(transcript.error, style="red", markup=False, soft_wrap=True)
                elif out:
                    text = render(transcript.results, format_)
                    file_of(transcript.path, format_, out).write_text(text, encoding="utf-8")
                else:
                    texts.append(render(transcript.results, format_))
    click.echo("\n".join(texts), nl=False)
    return failed


def file_of(path: Path, format_: str, out: Path) -> Path:
    """Where the transcript of a file goes."""
    return out / f"{path.stem}.{format_}"


def _progress(screen: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    return Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)


def _seconds(path: Path) -> float:
    try:
        return Recording.of(path).seconds
    except RecordingError:
        return 0.0
