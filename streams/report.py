"""The figures of a played call: what was understood, and how quickly. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from models.normalizer import normalize_english
from streams.events import EventType
from streams.replay import Script
from streams.results import CaptionFinal, ImageRecognized, Result, SentimentWindow


@dataclass(slots=True)
class Report:
    """Collects the results of one session; `start` is the event time (ms) of its beginning.

    Provisional sentiment counts for nothing here, and of each window the last correction counts.
    """

    session: str
    start: int = 0
    complete: bool = False
    dead_letters: int = 0
    events_in: dict[str, int] = field(default_factory=dict)
    _out: Counter[str] = field(default_factory=Counter)
    _received: list[tuple[Result, int]] = field(default_factory=list)

    def add(self, type_: EventType, result: Result, at: int) -> None:
        """Takes a result that came at `at` (ms)."""
        if isinstance(result, SentimentWindow) and not result.final:
            return
        self._out[type_.value] += 1
        self._received.append((result, at))

    def results(self, script: Script) -> dict[str, Any]:
        """All figures as JSON values; `script` knows what was really said, and when."""
        captions = [(r, at) for r, at in self._received if isinstance(r, CaptionFinal)]
        windows = [(r, at) for r, at in self._received if isinstance(r, SentimentWindow)]
        images = [r for r, _ in self._received if isinstance(r, ImageRecognized)]
        finals = [self._caption(caption) for caption, _ in captions]
        return {
            "session": self.session,
            "captions": {
                "finals": finals,
                "partials": self._out[EventType.CAPTION_PARTIAL],
                "wer": word_error_rate(script.utterances, finals),
            },
            "sentiment": self._sentiment(corrected([window for window, _ in windows])),
            "images": [self._image(image) for image in images],
            "latency_s": {
                "caption_final": percentiles(
                    [(at - self._spoken_until(script, c)) / 1000 for c, at in captions]
                ),
                "sentiment_window": percentiles(
                    [(at - w.end) / 1000 for w, at in windows if not w.revision]
                ),
            },
            "events_in": self.events_in,
            "results_out": dict(sorted(self._out.items())),
            "dead_letters": self.dead_letters,
        }

    def _spoken_until(self, script: Script, caption: CaptionFinal) -> int:
        """When the last utterance of the script that a caption covers was over (ms); the end of
        the caption itself where the script does not say."""
        ends = [
            self.start + round(each["end"] * 1000)
            for each in script.utterances
            if each["channel"] == caption.channel
            and self.start + each["start"] * 1000 < caption.end
            and self.start + each["end"] * 1000 > caption.start
        ]
        return min(max(ends), caption.end) if ends else caption.end

    def _seconds(self, time: int) -> float:
        return round((time - self.start) / 1000, 3)

    def _caption(self, caption: CaptionFinal) -> dict[str, Any]:
        start, end = self._seconds(caption.start), self._seconds(caption.end)
        return {"channel": caption.channel, "start": start, "end": end, "text": caption.text}

    def _sentiment(self, windows: Sequence[SentimentWindow]) -> dict[str, Any]:
        channels: dict[str, list[dict[str, Any]]] = {}
        for window in windows:
            channels.setdefault(window.channel or "together", []).append(
                {
                    "start": max(0.0, self._seconds(window.start)),
                    "end": self._seconds(window.end),
                    "score": round(window.score, 4),
                    "label": window.label,
                    "confidence": round(window.confidence, 4),
                }
            )
        return channels

    def _image(self, image: ImageRecognized) -> dict[str, Any]:
        return {
            "at": self._seconds(image.time),
            "channel": image.channel,
            "labels": [each.model_dump() for each in image.labels],
            "faces": len(image.faces),
        }


def corrected(windows: Iterable[SentimentWindow]) -> list[SentimentWindow]:
    """The last revision of each, in order of time."""
    last: dict[tuple[int, str], SentimentWindow] = {}
    for window in sorted(windows, key=lambda each: each.revision):
        last[window.start, window.channel] = window
    return [last[place] for place in sorted(last)]


def word_error_rate(
    utterances: Sequence[dict[str, Any]], finals: Sequence[dict[str, Any]]
) -> float | None:
    """Over all channels, each as one text, both sides through Whisper's English normaliser;
    None where nothing is known of what was said."""
    import jiwer  # noqa: PLC0415

    channels = sorted({each["channel"] for each in utterances})
    if not channels:
        return None
    said, heard = (
        [
            normalize_english(" ".join(e["text"] for e in _sorted(entries) if e["channel"] == c))
            for c in channels
        ]
        for entries in (utterances, finals)
    )
    return round(float(jiwer.wer(said, heard)), 4)


def percentiles(
    values: Sequence[float], percents: Sequence[int] = (50, 95)
) -> dict[str, float | None]:
    """The 50th and 95th, or others, by the nearest rank."""
    ranked = sorted(values)
    if not ranked:
        return dict.fromkeys((f"p{percent}" for percent in percents), None)
    return {
        f"p{percent}": round(ranked[math.ceil(percent * len(ranked) / 100) - 1], 3)
        for percent in percents
    }


def print_report(results: dict[str, Any], console: Console) -> None:
    """The figures for people."""
    captions, latency = results["captions"], results["latency_s"]
    table = Table(title="The call in figures", title_justify="left", show_header=False)
    wer = "unknown" if captions["wer"] is None else f"{captions['wer']:.1%}"
    table.add_row("final captions", f"{len(captions['finals'])}, word error rate {wer}")
    table.add_row("pictures", str(len(results["images"])))
    table.add_row("end of utterance to final caption", _range(latency["caption_final"]))
    table.add_row("end of window to sentiment", _range(latency["sentiment_window"]))
    table.add_row("events in", _counts(results["events_in"]))
    table.add_row("results out", _counts(results["results_out"]))
    table.add_row("dead letters", str(results["dead_letters"]))
    console.print()
    console.print(table)


def _range(of: dict[str, float | None]) -> str:
    if of["p50"] is None:
        return "nothing measured"
    return f"p50 {of['p50']:.2f} s, p95 {of['p95']:.2f} s"


def _counts(of: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in of.items())


def _sorted(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda each: each["start"])
