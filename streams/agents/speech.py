"""What one channel says, as results: partial captions while an utterance grows, then its final.

The final caption is one decode of the whole utterance. It is asked for as soon as the speaker
pauses, before the pause is long enough to end the utterance: then it is there when it ends, and is
shown meanwhile as a partial. It is the same decode of the same audio whenever it is asked for.

The voice feature of an utterance is begun when its caption is there, and follows it: whoever reads
along does not wait for it, and until then the decoder has the processor for itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import numpy as np

from models.base import Encoder, Floats, Transcript, Utterance
from streams import tracing
from streams.agents.base import place
from streams.agreement import LiveCaption
from streams.batching import Batcher
from streams.captions import Part, Piece, Track
from streams.context import Bias
from streams.events import Event
from streams.features import Feature, Modality
from streams.guards import distrust
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    Gap,
    Result,
    Silence,
    Word,
    result_event,
)
from streams.scheduling import DecodeScheduler
from streams.segmenter import SAMPLE_RATE, Pcm

log = logging.getLogger(__name__)

SOURCE: Final = "tenor/audio"
STALE: Final = 3
"""After so many times the interval between partials, one is not worth having any more."""
PAUSE_S: Final = 0.3
"""About how long it takes from the pause at which a final is asked for to its utterance's end."""

T = TypeVar("T")

Outgoing = tuple[str, Event]


@dataclass(frozen=True, slots=True)
class Recognition:
    """The models that turn an utterance into results; `model` names the recogniser's weights."""

    decoder: DecodeScheduler
    voice: Batcher[Floats, Floats]
    model: str
    voice_encoder: Encoder


@dataclass(frozen=True, slots=True)
class Said:
    """What a piece leads to: its result, and a voice feature under way; None if it failed. `trace`
    is the one that both are part of."""

    result: Outgoing
    voice: asyncio.Task[Outgoing | None] | None = None
    trace: str = ""


@dataclass(slots=True)
class Early:
    """A decode that was asked for at a pause, of the samples [start, end)."""

    start: int
    end: int
    transcript: asyncio.Task[Transcript]


@dataclass(slots=True)
class Speaker:
    """One channel of a session: its track and its captions under way.

    `bias` gives what text helps the utterance that begins at an event time (ms) in a chunk;
    `deliver` sends results.
    """

    session: str
    name: str
    track: Track
    recognition: Recognition
    bias: Callable[[int, Part], Coroutine[Any, Any, Bias]]
    deliver: Callable[[Iterable[Outgoing]], Coroutine[Any, Any, None]]
    progress: int = 0
    _live: LiveCaption = field(default_factory=LiveCaption)
    _shown: tuple[Transcript, int] | None = None
    _asked: int = 0
    _early: Early | None = None
    _biases: dict[int, asyncio.Task[Bias]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _partial: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Asks, if it is time, for a partial caption of the utterance under way or its final."""
        begins = self.track.begins
        with tracing.within(begins.trace if begins else tracing.here()):
            self._look()

    def _look(self) -> None:
        segmenter = self.track.segmenter
        every = self.recognition.decoder.partials_every()
        if not segmenter.speaking or every is None:
            return
        if (end := segmenter.candidate) is not None:
            self._ask_early(segmenter.start, end)
        elif self._partial is None or self._partial.done():
            since = segmenter.position - max(self._asked, segmenter.start)
            if since >= every * SAMPLE_RATE:
                self._asked = segmenter.position
                self._partial = self._spawn(self._hear_partial(every))

    def final(self, piece: Piece) -> asyncio.Task[Said]:
        """What a piece of the channel leads to."""
        early, self._early = self._early, None
        if self._partial:
            self._partial.cancel()
        self._carry_on(piece)
        if early and (early.start, early.end) != (piece.until - len(piece.audio), piece.until):
            early.transcript.cancel()
            early = None
        begins = [piece.begins] if piece.begins else []
        parts = [*begins, *self.track.parts(piece)]  # silence has no audio that has parts
        traces = list(dict.fromkeys(part.trace for part in parts))
        return self._spawn(self._account_for(piece, early, traces or [tracing.here()]))

    def forget(self, piece: Piece) -> None:
        """Drops what was kept for a piece that has been delivered."""
        self._biases.pop(piece.start, None)

    async def close(self) -> None:
        """Ends everything under way; nothing more is delivered."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask_early(self, start: int, end: int) -> None:
        decoder = self.recognition.decoder
        asked = self._early and (self._early.start, self._early.end) == (start, end)
        if asked or not decoder.unhurried:
            return
        if self._partial:
            self._partial.cancel()
        if self._early:  # the speaker went on, and pauses again
            self._early.transcript.cancel()
        self._early = Early(start, end, self._spawn(self._decode_early(start, end)))
        self._partial = self._spawn(self._hear_early(self._early))

    async def _decode_early(self, start: int, end: int) -> Transcript:
        audio, bias = self.track.segmenter.heard(end), await self._bias()
        deadline = asyncio.get_running_loop().time() + PAUSE_S
        utterance = Utterance(floats(audio), bias.prompt)
        return await self.recognition.decoder.final(self.session, utterance, deadline)

    async def _hear_early(self, early: Early) -> None:
        transcript = await asyncio.shield(early.transcript)
        await self._show(transcript, early.start, early.end, paused=True)

    async def _hear_partial(self, every: float) -> None:
        segmenter = self.track.segmenter
        start, until, audio = segmenter.start, segmenter.position, segmenter.heard()
        bias = await self._bias()
        deadline = asyncio.get_running_loop().time() + STALE * every
        utterance = Utterance(floats(audio), bias.prompt, thorough=False)
        transcript = await self.recognition.decoder.partial(self.session, utterance, deadline)
        if transcript:
            await self._show(transcript, start, until)

    async def _show(
        self, transcript: Transcript, start: int, until: int, *, paused: bool = False
    ) -> None:
        if self.track.segmenter.start != start or distrust(transcript) or transcript.hurried:
            return
        begin, end = self.track.time(start), self.track.time(until)
        if self._live.hear(tuple(_words(transcript, begin)), end, paused=paused):
            self._shown = (transcript, end)
            await self.deliver([self._partial_of(self._live, begin, end, transcript)])

    def _partial_of(
        self, live: LiveCaption, start: int, end: int, transcript: Transcript
    ) -> Outgoing:
        partial = CaptionPartial(
            session=self.session,
            channel=self.name,
            start=start,
            end=end,
            text=" ".join(word.text for word in live.shown),
            language=transcript.language,
            revision=live.revision,
            model=self.recognition.model,
            no_speech_probability=transcript.no_speech_probability,
            words=live.shown,
        )
        return _result(partial)

    async def _account_for(self, piece: Piece, early: Early | None, traces: Sequence[str]) -> Said:
        """Says a piece as part of the trace of the chunk in which it begins; others are linked."""
        about = {"tenor.audio.ms": piece.end - piece.start, "tenor.audio.lost_ms": piece.lost_ms}
        with tracing.span(piece.kind, parent=traces[0], links=traces, attributes=about) as span:
            return replace(await self._say(piece, early), trace=span.traceparent)

    async def _say(self, piece: Piece, early: Early | None) -> Said:
        span: dict[str, Any] = {
            "session": self.session,
            "channel": self.name,
            "start": piece.start,
            "end": piece.end,
        }
        if piece.kind == "gap":
            return Said(_result(Gap(**span, reason=piece.reason)))
        if piece.kind == "silence":
            return Said(_result(Silence(**span, lost_ms=piece.lost_ms)))
        bias = await self._bias(piece)
        try:
            return await self._recognize(piece, span, bias, early)
        except Exception as error:  # a gap speaks for the audio; the rest of the session goes on
            log.error("speech recognition failed: %s in %s", type(error).__name__, place(error))
            return Said(_result(Gap(**span, reason="recognition-failed")))

    async def _recognize(
        self, piece: Piece, span: dict[str, Any], bias: Bias, early: Early | None
    ) -> Said:
        audio = floats(piece.audio)
        if early:
            transcript = await early.transcript
        else:
            now = asyncio.get_running_loop().time()
            utterance = Utterance(audio, bias.prompt)
            transcript = await self.recognition.decoder.final(self.session, utterance, now)
        if (why := distrust(transcript)) is not None:
            return Said(_result(Gap(**span, reason=why)))
        if not transcript.text.strip():
            return Said(_result(Silence(**span, lost_ms=piece.lost_ms)))
        caption = _result(self._caption(piece, span, transcript, bias))
        return Said(caption, self._spawn(self._voice(span, audio, caption[1].id)))

    def _caption(
        self, piece: Piece, span: dict[str, Any], transcript: Transcript, bias: Bias
    ) -> CaptionFinal:
        return CaptionFinal(
            **span,
            text=transcript.text.strip(),
            language=transcript.language,
            revision=0,
            model=self.recognition.model,
            no_speech_probability=transcript.no_speech_probability,
            words=tuple(_words(transcript, piece.start)),
            lost_ms=piece.lost_ms,
            biased_by=bias.evidence,
        )

    async def _voice(self, span: dict[str, Any], audio: Floats, caption: str) -> Outgoing | None:
        encoder = self.recognition.voice_encoder
        try:
            feature = Feature(
                **span,
                modality=Modality.VOICE,
                encoder=encoder.id,
                revision=encoder.revision,
                vector=await self.recognition.voice.submit(audio),
                evidence=caption,
                expects=caption,
                kind="utterance",
            )
            return "features", feature.to_event(source=SOURCE)
        except Exception as error:  # the caption has left, and speaks for the audio
            log.error("voice encoding failed: %s in %s", type(error).__name__, place(error))
            return None

    def _carry_on(self, piece: Piece) -> None:
        """What is shown belongs to this piece, but for words beyond a cut in the midst of speech:
        they are shown on as the beginning of the next utterance."""
        rest = self._live.cut(piece.end)
        if rest and self._shown:
            transcript, until = self._shown
            self._spawn(
                self.deliver(
                    [
                        self._partial_of(self._live, piece.start, piece.end, transcript),
                        self._partial_of(rest, piece.end, until, transcript),
                    ]
                )
            )
        self._live, self._shown, self._asked = rest or LiveCaption(), None, piece.until

    async def _bias(self, piece: Piece | None = None) -> Bias:
        """What helps the utterance under way, or that of a piece; asked for once."""
        start = piece.start if piece else self.track.time(self.track.segmenter.start)
        begins = piece.begins if piece else self.track.begins
        if begins is None:  # it begins with what was lost
            return Bias()
        if start not in self._biases:
            self._biases[start] = self._spawn(self.bias(start, begins))
        return await asyncio.shield(self._biases[start])

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and task is self._partial:
            log.error("partial caption failed: %s in %s", type(error).__name__, place(error))


def _result(result: Result) -> Outgoing:
    """A result on its way to its topic."""
    return "recognition", result_event(result, source=SOURCE)


def _words(transcript: Transcript, start: int) -> Iterator[Word]:
    for word in transcript.words:
        yield Word(
            text=word.text,
            start=start + round(word.start * 1000),
            end=start + round(word.end * 1000),
            probability=min(1.0, max(0.0, word.probability)),
        )


def floats(audio: Pcm) -> Floats:
    """PCM as the models take it, in [-1, 1]."""
    return audio.astype(np.float32) / np.float32(32768)
