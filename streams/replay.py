"""Plays a recorded conversation into the topics, in its own time or faster.

A folder holds `script.json` (channels, messages, images, each with its time); plain audio files are
one channel each, or one per track. A chunk is sent when its last sample would have been spoken.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from streams import codec, tracing
from streams.agents import signals
from streams.clock import now_ms
from streams.connection import Connection
from streams.delivery import producer
from streams.errors import UserError
from streams.events import JSON_TYPE, Event, EventType, Topics
from streams.g711 import mu_law
from streams.media import Pcm

CHUNK_S = 0.2
LONGEST_S = 86_400
PICTURES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
INPUTS = ("audio", "text", "images")
MEDIA = (EventType.AUDIO_CHUNK, EventType.TEXT_MESSAGE, EventType.IMAGE_FRAME)


class ReplayError(UserError):
    """What is to be played is not there or not readable; the message names it."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One event and when it happens (`at`, s from the start, when it can first be known)."""

    at: float
    topic: str
    type: EventType
    start: float = 0.0
    channel: str = ""
    content_type: str = ""
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Script:
    """A conversation to play: its moments in order, and what was said (`utterances`), if known."""

    moments: tuple[Moment, ...]
    utterances: tuple[dict[str, Any], ...] = ()

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return max((moment.at for moment in self.moments), default=0.0)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The topics that it has something for."""
        return tuple(sorted({moment.topic for moment in self.moments}))


@dataclass(frozen=True, slots=True)
class Sending:
    """An event, when it is sent (`at`, s from the start) and to which topic."""

    at: float
    topic: str
    event: Event


def load(paths: Sequence[Path]) -> Script:
    """The conversation in a folder with `script.json`, or of plain audio files.

    Raises:
        ReplayError: something is missing or not readable.
    """
    if len(paths) == 1 and paths[0].is_dir():
        return _load_folder(paths[0])
    moments = [moment for path in paths for moment in _tracks(path, path.stem)]
    return Script(_in_order(moments))


def _load_folder(folder: Path) -> Script:
    try:
        script = json.loads((folder / "script.json").read_text())
        moments = [
            moment
            for channel, file in script["channels"].items()
            for moment in _tracks(folder / file, channel)
        ]
        moments += [_message(each) for each in script.get("messages", [])]
        moments += [_picture(folder, each) for each in script.get("images", [])]
        utterances = tuple(_utterance(each) for each in script.get("utterances", []))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReplayError(f"{folder} is no folder with a usable script.json: {error!r}") from error
    return Script(_in_order(moments), utterances)


def _in_order(moments: list[Moment]) -> tuple[Moment, ...]:
    return tuple(sorted(moments, key=lambda moment: moment.at))


def _tracks(path: Path, channel: str) -> Iterator[Moment]:
    import soundfile  # noqa: PLC0415

    try:
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
        telephone = soundfile.info(path).subtype == "ULAW" and rate == 8000
    except (OSError, soundfile.SoundFileError) as error:
        raise ReplayError(f"cannot read {path}: {error}") from error
    for track in range(samples.shape[1]):
        name = channel if samples.shape[1] == 1 else f"{channel}-{track + 1}"
        yield from _chunks(samples[:, track], rate, name, telephone=telephone)


def _chunks(samples: Pcm, rate: int, channel: str, *, telephone: bool) -> Iterator[Moment]:
    step = int(rate * CHUNK_S)
    for first in range(0, len(samples), step):
        chunk = samples[first : first + step]
        yield Moment(
            at=(first + len(chunk)) / rate,
            topic="audio",
            type=EventType.AUDIO_CHUNK,
            start=first / rate,
            channel=channel,
            content_type="audio/PCMU;rate=8000" if telephone else f"audio/L16;rate={rate}",
            data=mu_law(chunk) if telephone else chunk.astype("<i2").tobytes(),
        )


def _seconds(value: object) -> float:
    """A time in a recording. Raises ValueError, as JSON's NaN and 1e999 are floats, too."""
    seconds = float(value)  # type: ignore[arg-type]  # a TypeError is as good
    if not 0 <= seconds <= LONGEST_S:
        raise ValueError(f"{seconds} is no time between 0 and {LONGEST_S} s")
    return seconds


def _utterance(entry: dict[str, Any]) -> dict[str, Any]:
    start, end = _seconds(entry["start"]), _seconds(entry["end"])
    return {"channel": entry["channel"], "start": start, "end": end, "text": str(entry["text"])}


def _message(entry: dict[str, Any]) -> Moment:
    value = {
        name: entry[name] for name in ("text", "speaker", "kind", "vocabulary") if name in entry
    }
    at, data = _seconds(entry["at"]), json.dumps(value).encode()
    return Moment(at, "text", EventType.TEXT_MESSAGE, at, entry.get("speaker", ""), JSON_TYPE, data)


def _picture(folder: Path, entry: dict[str, Any]) -> Moment:
    at, file = _seconds(entry["at"]), folder / entry["file"]
    kind = PICTURES[file.suffix.lower()]
    speaker = entry.get("speaker", "")
    return Moment(at, "images", EventType.IMAGE_FRAME, at, speaker, kind, file.read_bytes())


def sendings(script: Script, session: str, start: int) -> Iterator[Sending]:
    """All that a producer sends of a session that begins at `start` (ms): the moments of the
    script, every second how far chat and pictures are, and the ends."""
    author = Author(session, start, script.inputs)
    yield from author.play(script.moments)
    yield from author.end(script.seconds)


class Author:
    """Makes the events of one session, numbered by topic and channel; declares its `inputs`."""

    def __init__(self, session: str, start: int, inputs: Collection[str] = ()) -> None:
        self._session = session
        self._start = start
        self._inputs = inputs
        self._sequence: dict[tuple[str, str], int] = {}

    def moment(self, moment: Moment) -> Sending:
        place = (moment.topic, moment.channel)
        sequence = self._sequence[place] = self._sequence.get(place, -1) + 1
        event = Event(
            type=moment.type,
            id=f"{self._session}/{moment.topic}/{moment.channel}/{sequence}",
            source="tenor/replay",
            session=self._session,
            time=self._start + round(moment.start * 1000),
            channel=moment.channel,
            sequence=sequence,
            content_type=moment.content_type,
            data=moment.data,
        )
        return Sending(moment.at, moment.topic, event)

    def play(self, moments: Iterable[Moment]) -> Iterator[Sending]:
        """Moments in order of their time, and every second how far chat and pictures are."""
        second = self._start // 1000 + 1
        for moment in moments:
            while self._start + moment.at * 1000 > second * 1000:
                yield from self.progress(second * 1000)
                second += 1
            yield self.moment(moment)

    def progress(self, time_: int) -> Iterator[Sending]:
        """Says that chat and pictures up to this event time (ms) have been sent."""
        at = (time_ - self._start) / 1000
        for topic in ("text", "images"):
            event = signals.progress(self._session, time_, input_=topic, inputs=self._inputs)
            yield Sending(at, topic, event)

    def end(self, seconds: float) -> Iterator[Sending]:
        """Ends the session on every topic."""
        for topic in INPUTS:
            end = signals.ended(self._session, self._start + round(seconds * 1000), input_=topic)
            yield Sending(seconds, topic, end)


class Player:
    """Sends the events of one session and counts those of each topic that are media or text."""

    def __init__(
        self,
        sender: AIOKafkaProducer,
        topics: Topics,
        session: str,
        start: int,
        inputs: Collection[str] = (),
    ) -> None:
        self.counts = dict.fromkeys(INPUTS, 0)
        self._author = Author(session, start, inputs)
        self._sender = sender
        self._names: dict[str, str] = asdict(topics)
        self._traces = tracing.Course(tracing.here())
        self._sent: list[asyncio.Future[Any]] = []

    async def play(self, moment: Moment) -> None:
        await self.send(self._author.moment(moment))

    async def punctuate(self, time_: int) -> None:
        """Says that chat and pictures up to this event time (ms) have been sent."""
        for sending in self._author.progress(time_):
            await self.send(sending)

    async def end(self, seconds: float) -> None:
        """Ends the session on every topic, and waits until Kafka has confirmed everything."""
        for sending in self._author.end(seconds):
            await self.send(sending)
        await self.confirmed()

    async def send(self, sending: Sending) -> None:
        name, trace = self._names[sending.topic], self._traces.at(round(sending.at * 1000))
        event, span = tracing.publish(name, replace(sending.event, traceparent=trace))
        key, value, headers = codec.encode(event)
        sent = await self._sender.send(name, value, key, headers=headers)
        sent.add_done_callback(span.landed)
        self._sent.append(sent)
        if sending.event.type in MEDIA:
            self.counts[sending.topic] += 1

    async def confirmed(self) -> None:
        """Waits until Kafka has confirmed what was sent."""
        await asyncio.gather(*self._sent)
        self._sent.clear()


async def replay(
    script: Script,
    brokers: Connection,
    topics: Topics,
    session: str,
    *,
    speed: float = 1.0,
    tell: Callable[[float, float], None] = lambda at, of: None,
    start: int | None = None,
) -> dict[str, int]:
    """Plays the conversation from now on; returns the number of events by topic.

    `speed` 0 plays as fast as Kafka takes it. `tell` hears of the progress (s, of s). `start` is
    the event time (ms) of the beginning, now if it is None.
    """
    sender = producer(brokers)
    await sender.start()
    try:
        start = start or now_ms()
        player = Player(sender, topics, session, start)
        clock = _Clock(speed)
        for sending in sendings(script, session, start):
            await clock.until(sending.at)
            await player.send(sending)
            if sending.event.type is EventType.PROGRESS:
                tell(sending.at, script.seconds)
        await player.confirmed()
        return player.counts
    finally:
        await sender.stop()


class _Clock:
    """Waits for moments of the recording."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._begun = time.monotonic()

    async def until(self, seconds: float) -> None:
        if self._speed > 0:
            due = self._begun + seconds / self._speed
            await asyncio.sleep(max(0.0, due - time.monotonic()))
