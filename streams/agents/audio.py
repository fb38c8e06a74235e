"""The audio agent: chunks of each channel to captions, silence and gap records, and voice features.

A channel's audio is cut into segments (`streams.captions`); each speech segment is decoded once, as
a whole. A chunk is acknowledged when every segment that it is part of has been delivered, and the
checkpoint says at which sample of which chunk the next segment begins: a restart goes on there and
takes the same decisions.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any, ClassVar, Final

import numpy as np

from models.base import Encoder, Floats, Transcript, Utterance
from streams import media
from streams.agents import signals
from streams.agents.base import Agent, Means, Refused, Session, place
from streams.batching import Batcher
from streams.captions import SAMPLE_RATE, Pcm, Segment, Segmenter
from streams.delivery import Record, State
from streams.events import Event, EventType
from streams.features import Feature, Modality
from streams.results import CaptionFinal, Gap, Result, Silence, Word, result_event

log = logging.getLogger(__name__)

SOURCE: Final = "tenor/audio"
JITTER_MS: Final = 250
"""How far a chunk's time stamp may be off from the end of the one before; beyond it, it counts."""
PROGRESS_MS: Final = 1000
REPEATS: Final = 64
"""Chunks of a channel, beyond those being heard, that are known should they be sent again."""
PER_MS: Final = SAMPLE_RATE // 1000

Activity = tuple[Floats, Floats]


@dataclass(frozen=True, slots=True)
class Hearing:
    """The models that the agent listens with.

    `activity` takes a detector's state and audio and returns the new state and a probability per
    frame, `recognize` audio, `voice` an utterance with its transcript. Audio is float32 in [-1, 1].
    """

    activity: Batcher[Activity, Activity]
    recognize: Batcher[Utterance, Transcript]
    voice: Batcher[tuple[Floats, Transcript], Floats]
    deaf: Floats
    speech_encoder: Encoder
    voice_encoder: Encoder


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk that is being heard, [start, end) in samples of its channel."""

    record: Record
    id: str
    start: int
    end: int


@dataclass(slots=True)
class Channel:
    """One audio track. `origin` is the event time (ms) of its sample 0.

    `chunks` are those not yet acknowledged, with their ids and the samples at which each begins
    and ends; `recent` the ids of the last ones before: what is sent again is heard once.
    """

    origin: int
    state: Floats
    segmenter: Segmenter = field(default_factory=Segmenter)
    chunks: deque[Chunk] = field(default_factory=deque)
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=REPEATS))
    progress: int = 0

    @property
    def now(self) -> int:
        """Event time (ms) at which the audio that has come ends."""
        return self.time(self.segmenter.position)

    def time(self, sample: int) -> int:
        """Event time (ms) of a sample."""
        return self.origin + sample // PER_MS

    def knows(self, id_: str) -> bool:
        """Whether this chunk has come before."""
        return id_ in self.recent or any(chunk.id == id_ for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a channel goes on after a restart: `skip` samples into the chunk at `offset`, which
    is event time `time`. Anew: at the time of the next chunk, if that is later."""

    offset: int
    skip: int
    time: int
    anew: bool = False
    recent: Sequence[str] = ()


class AudioSession(Session):
    """All channels of one session."""

    def __init__(self, agent: AudioAgent, partition: int, id_: str, state: State | None) -> None:
        self._agent = agent
        self._partition = partition
        self._id = id_
        self._channels: dict[str, Channel] = {}
        self._done: int = state["done"] if state else -1
        self._ending: Event | None = None
        self._taken = -1  # up to this offset, every record is done or in `chunks`
        self._marks: dict[str, Mark] = {}
        if state:
            self._marks = {name: Mark(*mark) for name, mark in state["channels"].items()}
        self.over = not self._live

    @property
    def _live(self) -> set[str]:
        """The channels that go on: those heard, and those not heard again since a restart."""
        return {*self._channels, *(name for name, mark in self._marks.items() if not mark.anew)}

    async def take(self, event: Event, record: Record) -> None:
        self._taken = record.offset - 1
        if record.offset <= self._done:
            record.acknowledge()
        elif event.type is EventType.AUDIO_CHUNK:
            await self._hear(event, record)
        elif event.type is EventType.SESSION_ENDED:
            await self._end(event, record)
        elif event.type is EventType.TICK:
            await self._idle(signals.idle_sources(event), record)
        else:  # a producer's progress: the audio itself says how far it is
            record.acknowledge()

    def tick(self, silent_s: Callable[[str], float]) -> Event | None:
        after = self._agent.settings.idle_after_s
        idle = {name for name in self._live if silent_s(name) >= after}
        if not idle:
            return None
        return signals.tick(self._id, max(map(self._now, idle)), agent="audio", idle=idle)

    def remember(self) -> State:
        return self._state()

    def _now(self, name: str) -> int:
        channel = self._channels.get(name)
        return channel.now if channel else self._marks[name].time

    async def _hear(self, event: Event, record: Record) -> None:
        mark = self._marks.get(event.channel)
        if mark and record.offset < mark.offset:
            record.acknowledge()
            return
        audio = await self._agent.decode_audio(event)
        time, whole = event.time, len(audio)
        if mark and mark.skip and record.offset == mark.offset:
            time, audio = mark.time, audio[mark.skip :]
        channel = self._channels.get(event.channel) or self._begin(time, mark)
        if channel.knows(event.id) or not len(audio):
            self._agent.metrics.events.labels("audio", "repeated").inc()
            record.acknowledge()
            return
        audio = _news(audio, channel.now - time)
        self._marks.pop(event.channel, None)
        self._channels[event.channel], self.over = channel, False
        if time - channel.now > JITTER_MS:
            await self._skip(event.channel, channel, time)
        self._taken, end = record.offset, channel.segmenter.position + len(audio)
        channel.chunks.append(Chunk(record, event.id, end - whole, end))
        await self._listen(event.channel, audio)

    def _begin(self, time: int, mark: Mark | None) -> Channel:
        if mark:
            time = max(time, mark.time) if mark.anew else mark.time
        channel = Channel(time, self._agent.hearing.deaf)
        channel.recent.extend(mark.recent if mark else [])
        return channel

    async def _skip(self, name: str, channel: Channel, time: int) -> None:
        await self._finish(name, channel.segmenter.flush())
        gap = Gap(session=self._id, channel=name, start=channel.now, end=time, reason="no-audio")
        await self._agent.outbox.deliver([_result(gap)])
        # Counting from here, so that every segment begins at a whole millisecond.
        channel.origin, channel.segmenter = time, Segmenter()

    async def _listen(self, name: str, audio: Pcm) -> None:
        channel = self._channels[name]
        segmenter = channel.segmenter
        segmenter.push(audio)
        while len(frames := segmenter.unscored()):
            channel.state, heard = await self._agent.hearing.activity.submit(
                (channel.state, _floats(frames))
            )
            if segment := segmenter.step(heard):
                await self._finish(name, [segment])
        await self._report(name, channel)

    async def _finish(self, name: str, segments: Iterable[Segment]) -> None:
        """Delivers what the segments say, keeps where the next one begins, and acknowledges."""
        channel = self._channels[name]
        for segment in segments:
            await self._agent.outbox.deliver(await self._say(name, channel, segment))
            channel.state = self._agent.hearing.deaf
            await self._settle(channel, segment.end)

    async def _settle(self, channel: Channel, sample: int) -> None:
        complete = []
        while channel.chunks and channel.chunks[0].end <= sample:
            complete.append(channel.chunks.popleft())
        channel.recent.extend(chunk.id for chunk in complete)
        await self._save()
        for chunk in complete:
            chunk.record.acknowledge()

    async def _save(self) -> None:
        await self._agent.checkpoint(self._partition, self._id, self._state())

    def _state(self) -> State:
        marks = self._marks | {name: self._mark(each) for name, each in self._channels.items()}
        return {"done": self._done, "channels": {name: astuple(m) for name, m in marks.items()}}

    def _mark(self, channel: Channel, *, anew: bool = False) -> Mark:
        offset, skip, sample = self._taken + 1, 0, channel.segmenter.start
        if channel.chunks:
            first = channel.chunks[0]
            offset, skip = first.record.offset, sample - first.start
        return Mark(offset, skip, channel.time(sample), anew, tuple(channel.recent))

    async def _say(self, name: str, channel: Channel, segment: Segment) -> list[tuple[str, Event]]:
        span: dict[str, Any] = {
            "session": self._id,
            "channel": name,
            "start": channel.time(segment.start),
            "end": channel.time(segment.end),
        }
        if segment.kind == "silence":
            return [_result(Silence(**span))]
        try:
            return await self._recognize(span, _floats(segment.audio))
        except Exception as error:  # a gap speaks for the audio; the rest of the session goes on
            log.error("speech recognition failed: %s in %s", type(error).__name__, place(error))
            return [_result(Gap(**span, reason="recognition-failed"))]

    async def _recognize(self, span: dict[str, Any], audio: Floats) -> list[tuple[str, Event]]:
        hearing = self._agent.hearing
        transcript = await hearing.recognize.submit(Utterance(audio))
        if (why := distrust(transcript)) is not None:
            return [_result(Gap(**span, reason=why))]
        if not transcript.text.strip():
            return [_result(Silence(**span))]
        said = _result(_caption(span, transcript, hearing.speech_encoder))
        feature = Feature(
            session=self._id,
            channel=span["channel"],
            modality=Modality.VOICE,
            start=span["start"],
            end=span["end"],
            encoder=hearing.voice_encoder.id,
            revision=hearing.voice_encoder.revision,
            vector=await hearing.voice.submit((audio, transcript)),
            evidence=said[1].id,
            expects=said[1].id,
            kind="utterance",
        )
        return [said, ("features", feature.to_event(source=SOURCE))]

    async def _report(self, name: str, channel: Channel) -> None:
        """Tells the join, about once a second, how far this channel is complete."""
        time = channel.time(channel.segmenter.complete)
        if time // PROGRESS_MS > channel.progress // PROGRESS_MS:
            channel.progress = time
            event = signals.progress(self._id, time, input_="audio", channel=name)
            await self._agent.outbox.deliver([("features", event)])

    async def _idle(self, idle: Iterable[str], record: Record) -> None:
        """Flushes these channels: each begins anew with what comes next."""
        for name in sorted(self._live & set(idle)):
            if name in self._channels:
                await self._finish(name, self._channels[name].segmenter.flush())
                self._marks[name] = self._mark(self._channels.pop(name), anew=True)
            elif self._marks[name].offset <= record.offset:  # else this was done before a restart
                self._marks[name] = replace(self._marks[name], anew=True)
        if not self._live:
            await self._close(record)
        await self._save()
        record.acknowledge()

    async def _end(self, event: Event, record: Record) -> None:
        self._ending = signals.ended(self._id, event.time, input_="audio")
        await self._idle(self._live, record)

    async def _close(self, record: Record) -> None:
        if self._ending:
            await self._agent.outbox.deliver([("features", self._ending)])
        self._done = record.offset
        self.over = True


class AudioAgent(Agent):
    """Hears."""

    name: ClassVar[str] = "audio"
    inputs: ClassVar[tuple[str, ...]] = ("audio",)
    keeps_state: ClassVar[bool] = True

    def __init__(self, means: Means, hearing: Hearing) -> None:
        super().__init__(means)
        self.hearing = hearing
        self._limits = media.Limits()

    def open(self, partition: int, session: str, state: State | None) -> Session:
        return AudioSession(self, partition, session, state)

    async def decode_audio(self, event: Event) -> Pcm:
        """The chunk as PCM, decoded off the event loop."""
        with self.metrics.timed("decode-audio"):
            return await asyncio.to_thread(
                media.decode_audio, event.content_type, event.data, self._limits
            )

    async def checkpoint(self, partition: int, session: str, state: State) -> None:
        await self.outbox.checkpoint(self.name, partition, session, state)


def distrust(transcript: Transcript) -> str | None:
    """Why a transcript is not to be believed, by the limits that Whisper's authors use for their
    own decoding (Radford et al. 2022, section 4.5), else None."""
    if transcript.no_speech_probability > 0.6 and transcript.average_log_probability < -1.0:
        return "no-speech"
    if transcript.compression_ratio > 2.4:
        return "repetition"
    return None


def _news(audio: Pcm, early: int) -> Pcm:
    """What a chunk adds that starts `early` ms before its channel's end; jitter counts as none.
    Raises Refused if it adds nothing: such a chunk leaves no trace in the channel."""
    if early <= JITTER_MS:
        return audio
    if early * PER_MS >= len(audio):
        raise Refused("late", f"the channel is {early} ms beyond the start of this chunk")
    return audio[early * PER_MS :]


def _result(result: Result) -> tuple[str, Event]:
    return "recognition", result_event(result, source=SOURCE)


def _caption(span: dict[str, Any], transcript: Transcript, encoder: Encoder) -> CaptionFinal:
    return CaptionFinal(
        **span,
        text=transcript.text.strip(),
        language=transcript.language,
        revision=0,
        model=f"{encoder.id}@{encoder.revision}",
        no_speech_probability=transcript.no_speech_probability,
        words=tuple(_words(transcript, span["start"])),
    )


def _words(transcript: Transcript, start: int) -> Iterable[Word]:
    for word in transcript.words:
        yield Word(
            text=word.text,
            start=start + round(word.start * 1000),
            end=start + round(word.end * 1000),
            probability=min(1.0, max(0.0, word.probability)),
        )


def _floats(audio: Pcm) -> Floats:
    return audio.astype(np.float32) / np.float32(32768)
