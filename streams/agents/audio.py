"""The audio agent: chunks of each channel to captions, silence and gap records, and voice features.

A channel's audio is cut into pieces (`streams.captions`) that are decoded side by side
(`streams.agents.speech`) and leave in the order in which they were cut (`streams.agents.egress`). A
chunk is acknowledged when every piece that it is part of has been delivered, and the checkpoint
says at which sample of which chunk the next piece begins: a restart goes on there and takes the
same decisions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, ClassVar, Final

from models.base import Floats
from streams import media, tracing
from streams.agents import signals
from streams.agents.base import Agent, Means, Refused, Room, Session, place
from streams.agents.egress import Egress, Receipt, receipt_of
from streams.agents.speech import Recognition, Speaker, floats
from streams.batching import Batcher
from streams.captions import NOTHING, Chunk, Late, Mark, Part, Track
from streams.checkpoints import State
from streams.context import Bias, Heard, bias
from streams.delivery import Record
from streams.events import Event, EventType, channel_names
from streams.segmenter import SAMPLE_RATE
from streams.texts import Texts, Unassigned

log = logging.getLogger(__name__)

PROGRESS_MS: Final = 1000
AT_ONCE: Final = 2**16
"""Bytes of samples that are decoded on the event loop: 2 s of `audio/L16` at 16 kHz."""

Activity = tuple[Floats, Floats]


@dataclass(frozen=True, slots=True)
class Hearing:
    """What the agent listens with.

    `activity` takes a detector's state and audio, float32 in [-1, 1], and returns the new state and
    a probability per frame; `deaf` is the state that it begins with.
    """

    activity: Batcher[Activity, Activity]
    deaf: Floats
    recognition: Recognition
    texts: Texts


class AudioSession(Session):
    """All channels of one session."""

    def __init__(self, agent: AudioAgent, partition: int, id_: str, state: State | None) -> None:
        self._agent = agent
        self._partition = partition
        self._id = id_
        self._speakers: dict[str, Speaker] = {}
        self._marks: dict[str, Mark] = {}
        self._done = -1
        self._taken = -1  # up to this offset, every record is done or waits in a track
        self._latest: dict[str, int] = {}  # the offset at which each channel was last heard
        self._records: dict[int, Record] = {}
        self._sources: dict[str, str] = {}
        self._egress = Egress(
            agent.outbox,
            agent.backlog,
            agent.metrics,
            agent.fail,
            begun=lambda: min(map(self._begun, self._live)),
            save=self._save,
            report=self._report,
        )
        if state:
            self._done = state["done"]
            self._marks = {name: Mark(**mark) for name, mark in state["channels"].items()}
            self._egress.heard = [Heard(*each) for each in state["heard"]]
            self._latest = dict(state["latest"])
        self.over = not self._live

    @property
    def _live(self) -> set[str]:
        """The channels that go on: those heard, and those not heard again since a restart."""
        return {*self._speakers, *(name for name, mark in self._marks.items() if not mark.anew)}

    async def take(self, event: Event, record: Record) -> None:
        self._taken = record.offset - 1
        if record.offset <= self._done:
            record.acknowledge()
        elif event.type is EventType.AUDIO_CHUNK:
            await self._hear(event, record, await self._agent.decode_audio(event))
        elif event.type is EventType.AUDIO_CUT and event.channel in self._live:
            await self._hear(event, record, NOTHING[None])
        elif event.type is EventType.SESSION_ENDED:
            await self._end(event, record)
        elif event.type is EventType.TICK:
            await self._fall_silent(event, record)
        else:  # a cut where nothing was said; a producer's progress: the audio says how far it is
            record.acknowledge()

    def tick(self, silent_s: Callable[[str], float]) -> Event | None:
        after = self._agent.settings.idle_after_s
        idle = {n for n in self._live if silent_s(self._sources.get(n, n)) >= after}
        if not idle:
            return None
        time, seen = max(map(self._now, idle)), max(self._taken, *self._latest.values())
        return signals.tick(self._id, time, agent="audio", idle=idle, seen=seen)

    def remember(self) -> State:
        return self._state()

    async def close(self) -> None:
        await self._egress.close()
        for speaker in self._speakers.values():
            await speaker.close()

    def _now(self, name: str) -> int:
        speaker = self._speakers.get(name)
        return speaker.track.now if speaker else self._marks[name].time

    async def _hear(self, event: Event, record: Record, decoded: media.Pcm) -> None:
        """Takes audio of channels, [channels, samples], or a cut of one."""
        cut = event.type is EventType.AUDIO_CUT
        names = channel_names(event.channel, len(decoded))
        receipt = Receipt(record.acknowledge)
        late: Late | None = None
        taken = []
        for name, audio in zip(names, decoded, strict=True):
            chunk = Chunk(
                event.id,
                event.time,
                audio,
                record.offset,
                record.timestamp,
                event.sequence,
                source=receipt,
                cut=cut,
                trace=tracing.here(),
            )
            try:
                if self._offer(name, chunk):
                    receipt.parts += 1
                    taken.append(name)
            except Late as error:
                late = error
        if late and not taken:
            await self._go_on(names)
            raise Refused("late", str(late))
        if late:
            await self._agent.outbox.dead_letter(record, "late", str(late))
        self._records[record.offset] = record
        if not cut:
            self._sources.update(dict.fromkeys(taken, event.channel))
        self._latest.update(dict.fromkeys(taken, record.offset))
        self._taken = record.offset
        receipt.done()
        await self._go_on(names)

    async def _go_on(self, names: Sequence[str]) -> None:
        """Also where nothing was taken: after a restart, a channel waits for what is done to come
        again."""
        for name in names:
            if speaker := self._speakers.get(name):
                await self._advance(speaker)

    def _offer(self, name: str, chunk: Chunk) -> bool:
        mark = self._marks.get(name)
        if mark and chunk.offset < mark.offset:
            return False
        speaker = self._speakers.get(name) or self._speaker(name, mark)
        if not speaker.track.offer(chunk):
            self._agent.metrics.events.labels("audio", "repeated").inc()
            return False
        self._agent.metrics.audio_taken.inc(len(chunk.audio) / SAMPLE_RATE)
        self._marks.pop(name, None)
        self._speakers[name], self.over = speaker, False
        return True

    def _speaker(self, name: str, mark: Mark | None) -> Speaker:
        agent = self._agent
        return Speaker(
            self._id,
            name,
            Track(agent.settings.lateness_ms, resume=mark),
            agent.hearing.recognition,
            partial(self._bias, name),
            agent.outbox.deliver,
        )

    async def _advance(self, speaker: Speaker, *, flush: bool = False) -> None:
        """Listens to what can be put in order now."""
        track = speaker.track
        while (frames := track.advance(flush=flush)) is not None:
            await self._listen(track, frames)
            await self._let_go(speaker)
        await self._let_go(speaker)
        waiting = {chunk.offset for each in self._speakers.values() for chunk in each.track.held}
        self._records = {o: r for o, r in self._records.items() if o in waiting}
        speaker.look()
        await self._report(speaker)

    async def _listen(self, track: Track, frames: media.Pcm) -> None:
        hearing = self._agent.hearing
        ear = hearing.deaf if track.ear is None else track.ear
        try:
            ear, heard = await hearing.activity.submit((ear, floats(frames)))
        except Exception as error:  # a gap speaks for the audio; the rest of the session goes on
            log.error("voice activity failed: %s in %s", type(error).__name__, place(error))
            track.give_up("detection-failed")
        else:
            track.hear(heard, ear)

    async def _let_go(self, speaker: Speaker) -> None:
        """Sends the pieces that were cut on their way, and what came too late aside."""
        while speaker.track.pieces:
            await self._egress.send(speaker, speaker.track.pieces.popleft(), self._taken)
        while speaker.track.late:  # it waits until it was sent: a mark is to lead back to it
            late = speaker.track.late[-1]
            await self._agent.outbox.dead_letter(
                self._records[late.chunk.offset], "late", str(late)
            )
            speaker.track.late.pop()
            receipt_of(late.chunk).done()
        while speaker.track.spent:
            receipt_of(speaker.track.spent.pop()).done()

    def _begun(self, name: str) -> int:
        """The event time (ms) up to which a channel has been delivered."""
        speaker = self._speakers.get(name)
        return speaker.track.settled if speaker else self._marks[name].time

    async def _bias(self, name: str, start: int, begins: Part) -> Bias:
        """What helps an utterance that begins at `start` (ms) in the chunk `begins`."""
        context = await self._agent.hearing.texts.context(self._partition, self._id)
        heard = await self._egress.earlier(name, start, begins.offset)
        return bias(context.texts, heard, start=start, stamp=begins.stamp, offset=begins.offset - 1)

    async def _save(self) -> None:
        await self._agent.checkpoint(self._partition, self._id, self._state())

    def _state(self) -> State:
        otherwise = self._taken + 1
        marks = self._marks | {n: s.track.mark(otherwise) for n, s in self._speakers.items()}
        return {
            "done": self._done,
            "channels": {name: _fields(mark) for name, mark in marks.items()},
            "heard": [tuple(_fields(each).values()) for each in self._egress.heard],
            "latest": self._latest,
        }

    async def _report(self, speaker: Speaker) -> None:
        """Tells the join, about once a second, how far this channel is complete and delivered."""
        time = speaker.track.complete
        if time // PROGRESS_MS > speaker.progress // PROGRESS_MS:
            speaker.progress = time
            event = signals.progress(
                self._id, time, input_="audio", channel=speaker.name, origin=self._taken
            )
            await self._agent.outbox.deliver([("features", event)])

    async def _fall_silent(self, event: Event, record: Record) -> None:
        """Takes a tick: of the channels that it names, those that it has not missed are silent."""
        seen = min(signals.seen_of(event), record.offset)  # a channel that came later is not meant
        idle = signals.idle_sources(event) & self._live
        names = sorted(name for name in idle if self._latest.get(name, -1) <= seen)
        if not names:
            record.acknowledge()
            return
        sources = [f"audio/{name}" for name in names]
        signal = signals.tick(
            self._id, event.time, agent="audio", idle=sources, origin=record.offset
        )
        await self._stop(names, record, signal)

    async def _stop(self, names: Sequence[str], record: Record, signal: Event) -> None:
        """Ends these channels where they are: each begins anew with what comes next."""
        for name in names:
            if speaker := self._speakers.get(name):
                await self._advance(speaker, flush=True)
                speaker.track.flush()
                await self._let_go(speaker)
            elif self._marks[name].offset <= record.offset:  # else done before a restart
                self._marks[name] = replace(self._marks[name], anew=True)
        await self._egress.join()
        for name in names:
            if speaker := self._speakers.pop(name, None):
                self._marks[name] = speaker.track.mark(self._taken + 1, anew=True)
                await speaker.close()
        await self._agent.outbox.deliver([("features", signal)])
        if not self._live:
            self._done, self.over = record.offset, True
        await self._save()
        record.acknowledge()

    async def _end(self, event: Event, record: Record) -> None:
        signal = signals.ended(self._id, event.time, input_="audio", origin=record.offset)
        await self._stop(sorted(self._live), record, signal)
        if self.over:
            await self._agent.hearing.texts.forget(self._partition, self._id)


class AudioAgent(Agent):
    """Hears."""

    name: ClassVar[str] = "audio"
    inputs: ClassVar[tuple[str, ...]] = ("audio",)
    keeps_state: ClassVar[bool] = True

    def __init__(self, means: Means, hearing: Hearing) -> None:
        super().__init__(means)
        self.hearing = hearing
        self.fail = means.fail
        self.backlog = Room(means.settings.queue_bytes)
        self._limits = media.Limits()
        # What resamples is imported with the models, and not on the event loop by the first call.
        media.decode_audio("audio/PCMU;rate=8000", b"\xff", self._limits)

    def open(self, partition: int, session: str, state: State | None) -> Session:
        return AudioSession(self, partition, session, state)

    def unfinished(self, state: State) -> bool:
        return not all(mark["anew"] for mark in state["channels"].values())

    async def assigned(self, partition: int) -> None:
        with contextlib.suppress(Unassigned):  # it went away meanwhile
            await self.hearing.texts.assign(partition)

    async def revoke(self, partitions: Collection[int]) -> None:
        await super().revoke(partitions)
        await self.hearing.texts.revoke(partitions)

    async def decode_audio(self, event: Event) -> media.Pcm:
        """The chunk as PCM [channels, samples]; files and much at a time off the event loop."""
        decode = partial(media.decode_audio, event.content_type, event.data, self._limits)
        with self.metrics.timed("decode-audio"):
            # A few samples without a header take less time than the way to a thread and back.
            if media.is_raw(event.content_type) and len(event.data) <= AT_ONCE:
                return decode()
            return await asyncio.to_thread(decode)


def _fields(record: Mark | Heard) -> dict[str, Any]:
    """By name and as they are: they hold nothing that changes, so that no copy is needed."""
    return {each.name: getattr(record, each.name) for each in fields(record)}
