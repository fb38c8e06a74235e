"""A client's audio on its way to a recogniser, and how an utterance is ended at once.

The chunks go through the recogniser's own bookkeeping (`streams.captions`), with a detector that
hears speech wherever there is sound.
"""

from __future__ import annotations

import numpy as np
import pytest

from streams import media
from streams.captions import NOTHING, Chunk, Piece, Track
from streams.context import EARLIER_MS, text_of
from streams.events import Event, EventType, Topics
from streams.gateway.ingest import Ingest
from streams.gateway.positions import Timeline
from streams.gateway.resuming import Format
from streams.gateway.voices import AGAIN_MS, Voice, end, hint
from streams.messages import MAXIMUM_TEXT, MAXIMUM_WORD, MAXIMUM_WORDS, TextMessage, text_message
from streams.segmenter import FRAME, Floats
from tests.gateway_sender import NOW, Log

LATENESS_MS = 1000
DEAF = np.zeros(1, np.float32)
PCM = Format()


class Client:
    """A voice on a log, with a clock, and the client's own count of its audio."""

    def __init__(self, format_: Format = PCM) -> None:
        self.log = Log()
        self.now = NOW
        self.ingest = Ingest(self.log, Topics.of(), now=lambda: self.now)
        self.timeline = Timeline()
        self.format = format_
        self.voice = Voice(self.ingest, "s", "1", self.timeline.begin, self.timeline.take)

    async def speak(self, ms: float, level: int = 8000) -> None:
        """Says something, in its own time; nothing, at level 0."""
        size = round(self.format.rate * ms / 1000)
        sound = np.where(np.arange(size) // 8 % 2, level, -level).astype("<i2")
        loud = b"\x80\x00" if level else b"\xff\xff"
        samples = sound.tobytes() if self.format.width == 2 else (loud * size)[:size]
        self.now += round(ms)
        now = self.ingest.begin("s", ["1"])
        await self.voice.write(samples, self.format, now)

    def events(self, type_: EventType = EventType.AUDIO_CHUNK) -> list[Event]:
        every = [event for topic in self.log.topics.values() for event in topic]
        return [event for event in every if event.type is type_]

    def heard(self) -> tuple[Track, list[Piece]]:
        """What a recogniser has made of it by now."""
        track, pieces = Track(LATENESS_MS), list[Piece]()
        for offset, event in enumerate(self.log.topics["tenor.audio"]):
            cut, audio = event.type is EventType.AUDIO_CUT, NOTHING
            if not cut:
                (audio,) = media.decode_audio(event.content_type, event.data, media.Limits())
            where = (event.id, event.time, audio, offset, offset)
            track.offer(Chunk(*where, sequence=event.sequence, cut=cut))
            while (frames := track.advance()) is not None:
                track.hear(detect(frames.astype(np.float32)), DEAF)
            pieces += track.pieces
            track.pieces.clear()
        return track, pieces


def detect(frames: Floats) -> Floats:
    loud: Floats = (np.abs(frames.reshape(-1, FRAME)).mean(axis=1) > 100).astype(np.float32)
    return loud


@pytest.mark.parametrize(
    "format_", [PCM, Format(rate=24_000), Format("audio/PCMU", 8000), Format("audio/PCMA", 8000)]
)
async def test_an_utterance_is_ended_where_the_client_says(format_: Format) -> None:
    client = Client(format_)
    await client.speak(1730)
    _, before = client.heard()
    await client.voice.cut()
    _, (utterance,) = client.heard()
    assert before == []
    assert utterance.kind == "speech"
    assert (utterance.start, utterance.end) == (NOW + 1730, client.timeline.time)


async def test_what_comes_after_a_cut_is_heard_at_once_and_whole() -> None:
    client = Client()
    await client.speak(1730)
    await client.voice.cut()
    await client.speak(1000)
    await client.speak(1000, level=0)
    track, pieces = client.heard()
    assert [piece.kind for piece in pieces] == ["speech", "speech"]
    assert client.timeline.place(pieces[1].start) == 1730
    assert pieces[1].start == pieces[0].end and not pieces[1].lost_ms
    assert track.now == client.timeline.time == pieces[0].end + 2000


async def test_a_second_cut_with_nothing_between_is_none() -> None:
    client = Client()
    await client.voice.cut()
    assert client.log.topics == {}
    await client.speak(500)
    await client.voice.cut()
    await client.voice.cut()
    assert len(client.events(EventType.AUDIO_CUT)) == 1


async def test_chunks_are_counted_on_so_that_nobody_waits() -> None:
    client = Client()
    for _ in range(3):
        await client.speak(330)
        await client.voice.cut()
    events = client.log.topics["tenor.audio"]
    assert [event.sequence for event in events] == list(range(len(events)))
    assert len({event.id for event in events}) == len(events)


async def test_after_a_pause_that_was_told_audio_lies_where_it_comes() -> None:
    client = Client()
    await client.speak(1000)
    client.voice.pause()
    client.now += 30_000
    client.now -= 500  # of which the audio takes that long
    await client.speak(500)
    await client.voice.close()
    track, pieces = client.heard()
    assert [piece.kind for piece in pieces] == ["speech", "gap"]
    assert track.now == client.timeline.time == client.now + 500
    assert client.timeline.place(client.timeline.time) == 1500


async def test_a_network_that_stalls_is_no_pause() -> None:
    client = Client()
    await client.speak(1000)
    client.now += 30_000
    await client.speak(1000)
    await client.voice.close()
    track, pieces = client.heard()
    assert pieces == [] and track.now == client.timeline.time


async def test_a_short_pause_is_none() -> None:
    client = Client()
    await client.speak(1000)
    client.voice.pause()
    client.now += AGAIN_MS - 1000
    await client.speak(1000)
    await client.voice.close()
    assert client.heard()[1] == []


async def test_another_format_goes_on() -> None:
    client = Client()
    await client.speak(1000)
    client.format = Format("audio/PCMU", 8000)
    await client.speak(1000)
    await client.voice.close()
    track, pieces = client.heard()
    assert pieces == []
    assert track.now == client.timeline.time and client.timeline.position == 2000


async def test_the_session_of_a_client_ends_with_it() -> None:
    client = Client()
    await client.speak(1050)
    await end(client.ingest, "s", [client.voice], own=True)
    ends = client.events(EventType.SESSION_ENDED)
    assert len(ends) == 3 and ends[0].time == max(client.now, client.voice.time)
    assert sum(len(event.data) for event in client.events()) == 32 * 1050


async def test_a_session_that_has_a_name_goes_on() -> None:
    client = Client()
    await client.speak(1050)
    await end(client.ingest, "s", [client.voice], own=False)
    assert client.events(EventType.SESSION_ENDED) == []
    assert client.heard()[1][0].end == client.timeline.time


async def test_who_said_nothing_leaves_nothing() -> None:
    client = Client()
    await end(client.ingest, "s", [client.voice], own=True)
    assert client.log.topics == {}


async def test_a_hint_helps_the_first_utterance() -> None:
    client = Client()
    words = TextMessage(kind="vocabulary", vocabulary=("Kowalczyk",))
    await hint(client.ingest, "s", words, begun=False)
    (event,) = client.events(EventType.TEXT_MESSAGE)
    text = text_of(event, stamp=1)
    assert text and text.terms == ("Kowalczyk",) and text.time <= NOW - EARLIER_MS
    await hint(client.ingest, "s", TextMessage("It is KX-1.", kind="note"), begun=True)
    assert client.events(EventType.TEXT_MESSAGE)[1].time == NOW


async def test_a_long_vocabulary_takes_several_events() -> None:
    client = Client()
    words = tuple(f"{number:03}{'щ' * (MAXIMUM_WORD - 3)}" for number in range(MAXIMUM_WORDS))
    await hint(client.ingest, "s", TextMessage(kind="vocabulary", vocabulary=words), begun=True)
    events = client.events(EventType.TEXT_MESSAGE)
    assert len(events) > 1 and {each.time for each in events} == {NOW}
    assert words == sum((text_message(each).vocabulary for each in events), ())


async def test_a_text_of_letters_that_are_not_ascii_is_as_long_as_any() -> None:
    client = Client()
    await hint(client.ingest, "s", TextMessage("щ" * MAXIMUM_TEXT, kind="note"), begun=True)
    (event,) = client.events(EventType.TEXT_MESSAGE)
    assert text_message(event).text == "щ" * MAXIMUM_TEXT


async def test_a_voice_begins_after_what_its_channel_has() -> None:
    """As a second client of the same session does."""
    client = Client()
    line = client.ingest.line("s", "1", NOW)
    await line.write(bytes(32_000 * 5))
    await client.speak(500)
    assert client.timeline.time == NOW + 5500
    assert [each.time - NOW for each in client.events()][49:] == [4900, *range(5000, 5500, 100)]
