"""Recorded conversations become events in the order in which they can be known."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from aiokafka import AIOKafkaProducer

from streams import codec
from streams.events import Event, EventType, Topics
from streams.media import Limits, Pcm, decode_audio
from streams.replay import Moment, Player, ReplayError, Script, load

START = 1_760_000_000_000


def tone(seconds: float, rate: int = 16_000) -> Pcm:
    times = np.arange(round(seconds * rate)) / rate
    return (8000 * np.sin(2 * np.pi * 440 * times)).astype(np.int16)


def conversation(folder: Path, **changes: object) -> Path:
    """A folder to play: half a second of two channels, a message, a picture."""
    for channel in ("agent", "customer"):
        soundfile.write(folder / f"{channel}.wav", tone(0.5), 16_000, "PCM_16")
    (folder / "cat.JPG").write_bytes(b"the picture")
    script = {
        "channels": {"agent": "agent.wav", "customer": "customer.wav"},
        "messages": [{"at": 0.3, "speaker": "customer", "kind": "note", "text": "a cat"}],
        "images": [{"at": 0.1, "speaker": "agent", "file": "cat.JPG"}],
        "utterances": [{"channel": "agent", "start": 0.0, "end": 0.5, "text": "hm"}],
        **changes,
    }
    (folder / "script.json").write_text(json.dumps(script))
    return folder


def test_a_folder_is_played_in_the_order_of_its_times(tmp_path: Path) -> None:
    script = load([conversation(tmp_path)])
    assert [(m.at, m.topic, m.channel) for m in script.moments] == [
        (0.1, "images", "agent"),
        (0.2, "audio", "agent"),
        (0.2, "audio", "customer"),
        (0.3, "text", "customer"),
        (0.4, "audio", "agent"),
        (0.4, "audio", "customer"),
        (0.5, "audio", "agent"),
        (0.5, "audio", "customer"),
    ]
    assert script.seconds == 0.5
    assert script.utterances[0]["text"] == "hm"


def test_messages_and_pictures_keep_what_they_say(tmp_path: Path) -> None:
    moments = {m.topic: m for m in load([conversation(tmp_path)]).moments}
    assert moments["images"].data == b"the picture"
    assert moments["images"].content_type == "image/jpeg"
    assert json.loads(moments["text"].data) == {
        "text": "a cat",
        "speaker": "customer",
        "kind": "note",
    }


def test_the_chunks_of_a_file_are_its_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "alone.wav", tone(0.5), 16_000, "PCM_16")
    moments = load([tmp_path / "alone.wav"]).moments
    assert {m.channel for m in moments} == {"alone"}
    assert [m.start for m in moments] == [0.0, 0.2, 0.4]
    samples = np.frombuffer(b"".join(m.data for m in moments), "<i2")
    np.testing.assert_array_equal(samples, tone(0.5))


def test_each_track_of_a_stereo_file_is_a_channel(tmp_path: Path) -> None:
    left, right = tone(0.2, 44_100), -tone(0.2, 44_100)
    soundfile.write(tmp_path / "call.flac", np.stack([left, right], axis=1), 44_100)
    moments = load([tmp_path / "call.flac"]).moments
    assert [m.channel for m in moments] == ["call-1", "call-2"]
    assert {m.content_type for m in moments} == {"audio/L16;rate=44100"}
    np.testing.assert_array_equal(np.frombuffer(moments[1].data, "<i2"), right)


def test_telephone_audio_is_sent_as_it_was_recorded(tmp_path: Path) -> None:
    file = tmp_path / "phone.wav"
    soundfile.write(file, tone(0.3, 8000), 8000, "ULAW")
    moments = load([file]).moments
    assert {m.content_type for m in moments} == {"audio/PCMU;rate=8000"}
    recorded, _ = soundfile.read(file, dtype="int16")
    as_if_16k = "audio/PCMU;rate=16000"
    sent = decode_audio(as_if_16k, b"".join(m.data for m in moments), Limits())[0]
    np.testing.assert_array_equal(sent, recorded)


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": {"agent": "missing.wav"}},
        {"channels": {"agent": "cat.JPG"}},
        {"channels": ["agent.wav"]},
        {"channels": None},
        {"messages": [{"text": "when?"}]},
        {"messages": [{"at": "soon", "text": "a"}]},
        {"messages": [{"at": float("nan"), "text": "a"}]},
        {"messages": [{"at": float("inf"), "text": "a"}]},
        {"messages": [{"at": -1, "text": "a"}]},
        {"messages": ["a"]},
        {"images": [{"at": 0.1, "file": "missing.jpg"}]},
        {"images": [{"at": 0.1, "file": "agent.wav"}]},
        {"images": 7},
        {"utterances": 7},
        {"utterances": [{"channel": "agent"}]},
    ],
)
def test_a_script_that_cannot_be_played_is_refused(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(ReplayError, match=str(tmp_path)):
        load([conversation(tmp_path, **changes)])


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '"a"', "\ud800"])
def test_a_script_that_is_no_script_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "script.json").write_text(text, errors="surrogatepass")
    with pytest.raises(ReplayError, match=r"script\.json"):
        load([tmp_path])


def test_a_folder_without_a_script_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"script\.json"):
        load([tmp_path])


class Recorder:
    """Stands in for the producer: keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Event]] = []

    async def send(
        self, topic: str, value: bytes, key: bytes, headers: codec.Headers
    ) -> asyncio.Future[Any]:
        self.sent.append((topic, codec.decode(key, value, headers, now=START)))
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


async def played(script: Script) -> tuple[list[tuple[str, Event]], dict[str, int]]:
    recorder = Recorder()
    player = Player(cast(AIOKafkaProducer, recorder), Topics.of(""), "call-1", START)
    for moment in script.moments:
        await player.play(moment)
    await player.punctuate(START + 1000)
    await player.end(script.seconds)
    return recorder.sent, player.counts


async def test_a_player_numbers_its_events_and_says_what_is_complete(tmp_path: Path) -> None:
    sent, counts = await played(load([conversation(tmp_path)]))
    assert counts == {"audio": 6, "text": 1, "images": 1}
    assert [(topic, event.type, event.time - START) for topic, event in sent[-5:]] == [
        ("text", EventType.PROGRESS, 1000),
        ("images", EventType.PROGRESS, 1000),
        ("audio", EventType.SESSION_ENDED, 500),
        ("text", EventType.SESSION_ENDED, 500),
        ("images", EventType.SESSION_ENDED, 500),
    ]
    customer = [
        event for topic, event in sent[:-5] if (topic, event.channel) == ("audio", "customer")
    ]
    assert [(event.sequence, event.time - START) for event in customer] == [
        (0, 0),
        (1, 200),
        (2, 400),
    ]
    assert {event.session for _, event in sent} == {"call-1"}
    assert len({event.id for _, event in sent}) == len(sent)


async def test_the_same_conversation_is_the_same_events() -> None:
    moment = Moment(0.2, "audio", EventType.AUDIO_CHUNK, 0.0, "a", "audio/L16", b"\0\0")
    assert await played(Script((moment,))) == await played(Script((moment,)))
