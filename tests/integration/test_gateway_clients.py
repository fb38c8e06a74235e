"""The official clients of Deepgram and OpenAI against a gateway on a real Kafka.

In most tests the test itself is the recogniser: it reads the audio that the gateway sends and
writes captions. The last one has a worker with its models.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import jiwer
import numpy as np
import pytest
import websockets
from deepgram.core.api_error import ApiError
from deepgram.listen.v1.client import AsyncV1Client
from deepgram.listen.v1.socket_client import AsyncV1SocketClient
from deepgram.listen.v1.types import (
    ListenV1Configure,
    ListenV1ConfigureSuccess,
    ListenV1Error,
    ListenV1Finalize,
    ListenV1Metadata,
    ListenV1Results,
    ListenV1SpeechStarted,
)
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import AudioTranscription, RealtimeServerEvent
from openai.types.realtime.realtime_transcription_session_audio_input import (
    RealtimeTranscriptionSessionAudioInput,
)
from pydantic import TypeAdapter
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streams.events import EventType
from streams.gateway.keys import Caller, KeyRing, Scope, add
from streams.messages import text_message
from tests.conftest import ROOT
from tests.gateway_stage import PATIENCE_S, Stage, final, partial, silence, staged
from tests.harness import Installation

EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
PIECE = 6400
"""Bytes that clients send at a time, about."""
MESSAGES: dict[str, Any] = {
    "Results": ListenV1Results,
    "Metadata": ListenV1Metadata,
    "SpeechStarted": ListenV1SpeechStarted,
    "ConfigureSuccess": ListenV1ConfigureSuccess,
    "Error": ListenV1Error,
}


# --- what clients send and get


def tone(ms: int, rate: int = 16_000) -> bytes:
    at = np.arange(rate * ms // 1000) / rate
    return (8000 * np.sin(2 * np.pi * 300 * at)).astype("<i2").tobytes()


async def send(connection: AsyncV1SocketClient, audio: bytes) -> None:
    for at in range(0, len(audio), PIECE):
        await connection.send_media(audio[at : at + PIECE])


async def got(connection: AsyncV1SocketClient, *types: str) -> list[Any]:
    """The next messages, which are of these types and complete; ends of utterances, which depend
    on the time of day, come wherever they do."""
    messages: list[Any] = []
    while len(messages) < len(types):
        message = await asyncio.wait_for(connection.recv(), PATIENCE_S)
        if message.type != "UtteranceEnd":
            assert message.type == types[len(messages)], message
            messages.append(MESSAGES[message.type].model_validate(message.model_dump()))
    return messages


async def closed(connection: AsyncV1SocketClient) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as error:
        await asyncio.wait_for(connection.recv(), PATIENCE_S)
    assert error.value.rcvd is not None
    return error.value.rcvd.code, error.value.rcvd.reason


def text_of(result: ListenV1Results) -> str:
    return result.channel.alternatives[0].transcript


async def refusal(url: str, key: str = "") -> tuple[int, dict[str, Any]]:
    """How a handshake is refused."""
    with pytest.raises(InvalidStatus) as error:
        headers = {"Authorization": f"Token {key}"} if key else {}
        async with websockets.connect(url, additional_headers=headers):
            pass
    response = error.value.response
    return response.status_code, {**response.headers, **json.loads(response.body or b"{}")}


class Talk:
    """A conversation with OpenAI's client."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection

    async def got(self, *types: str) -> list[Any]:
        """The next events, which end so, each valid for the client."""
        found = []
        for type_ in types:
            raw = await asyncio.wait_for(self.connection.recv_bytes(), PATIENCE_S)
            event = EVENTS.validate_json(raw)
            assert event.type.endswith(type_), event
            found.append(event)
        return found

    async def append(self, audio: bytes) -> None:
        for at in range(0, len(audio), PIECE):
            encoded = base64.b64encode(audio[at : at + PIECE]).decode()
            await self.connection.input_audio_buffer.append(audio=encoded)


COMMITTED = ("committed", "item.added", "item.created", "item.done")
TRANSCRIPTION = {"intent": "transcription"}


# --- Deepgram


async def test_deepgram_captions_a_stream(installation: Callable[[], Installation]) -> None:
    async with staged(installation()) as stage:
        ear = stage.recogniser
        asked = {"interim_results": True, "utterance_end_ms": 1000, "vad_events": True}
        terms = ["Kowalczyk", "order number"]
        raw = {"encoding": "linear16", "sample_rate": 16_000}
        listen = stage.deepgram().listen.v1
        async with listen.connect(model="nova-3", **raw, **asked, keyterm=terms) as connection:
            await send(connection, tone(2000))
            chunk = (await ear.chunks(20))[0]
            (words,) = ear.of(EventType.TEXT_MESSAGE)
            assert text_message(words).vocabulary == tuple(terms)

            await ear.say(partial(chunk, 0, 900, "Hello,"))
            started, interim = await got(connection, "SpeechStarted", "Results")
            assert started.timestamp == 0.1 and not interim.is_final
            await ear.say(final(chunk, 0, 1200, "Hello, there."))
            (caption,) = await got(connection, "Results")
            assert caption.is_final and caption.speech_final and text_of(caption) == "Hello, there."
            assert (caption.start, caption.duration) == (0.0, 1.2)
            assert caption.channel.alternatives[0].words[1].word == "there"
            assert caption.metadata.request_id in chunk.session

            await connection.send_keep_alive()
            await connection.send_finalize()
            assert await ear.cut(at=chunk) == 2000
            await ear.say(silence(chunk, 1200, 2000))
            (flushed,) = await got(connection, "Results")
            assert flushed.from_finalize and (flushed.start, flushed.duration) == (1.2, 0.8)

            await connection.send_configure(ListenV1Configure(keyterms=["KX-4471"]))
            (configured,) = await got(connection, "ConfigureSuccess")
            assert configured.keyterms == [*terms, "KX-4471"]

            await send(connection, tone(1050))
            await connection.send_close_stream()
            await ear.end()
            chunks = await ear.chunks(20 + 11)
            assert sum(len(each.data) for each in chunks) == 32 * 3050
            again = chunks[20]
            late = again.time - chunk.time
            paused = [silence(chunk, 2000, late)] if late > 2000 else []
            await ear.say(*paused, final(again, 0, 1050, "Bye."))
            _, last, about = await got(connection, "SpeechStarted", "Results", "Metadata")
            assert (last.start, last.duration, text_of(last)) == (2.0, 1.05, "Bye.")
            assert about.duration == 3.05 and about.request_id == caption.metadata.request_id
            assert await closed(connection) == (1000, "")


async def test_deepgram_channels_are_apart_and_a_named_session_goes_on(
    installation: Callable[[], Installation],
) -> None:
    async with staged(installation()) as stage:
        ear = stage.recogniser
        raw = {"encoding": "mulaw", "sample_rate": 8000, "channels": 2, "multichannel": True}
        extra = ["session:calls/17", "channels:customer,agent"]
        async with stage.deepgram().listen.v1.connect(
            model="nova-2-phonecall", **raw, extra=extra
        ) as connection:
            await connection.send_media(bytes([0x80, 0xFF]) * 8000)
            customer = (await ear.chunks(10, "customer"))[0]
            agent = (await ear.chunks(10, "agent"))[0]
            assert customer.session == "calls/17" and customer.time == agent.time
            assert {*customer.data} == {0x80} and {*agent.data} == {0xFF}
            assert customer.content_type == "audio/PCMU;rate=8000"

            await connection._send_model(
                ListenV1Finalize.model_validate({"type": "Finalize", "channel": 1})
            )
            assert await ear.cut("agent", at=agent) == 1000
            await ear.say(final(agent, 0, 1000, "Yes?"))
            (first,) = await got(connection, "Results")
            assert first.channel_index == [1, 2] and first.from_finalize
            assert not ear.of(EventType.AUDIO_CUT, "customer")

            await connection.send_close_stream()
            assert await ear.cut("customer", at=customer) == 1000
            await ear.say(final(customer, 0, 1000, "No."))
            second, about = await got(connection, "Results", "Metadata")
            assert second.channel_index == [0, 2] and about.channels == 2
            assert await closed(connection) == (1000, "")
        assert ear.of(EventType.SESSION_ENDED) == []


def webm(ms: int) -> bytes:
    """What a browser records: Opus in WebM."""
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        samples = np.frombuffer(tone(ms, 48_000), "<i2").reshape(1, -1)
        for at in range(0, samples.shape[1], 960):
            part = np.ascontiguousarray(samples[:, at : at + 960])
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48_000, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


async def test_deepgram_takes_what_browsers_record(
    installation: Callable[[], Installation],
) -> None:
    async with staged(installation()) as stage:
        ear, recording = stage.recogniser, webm(2000)
        async with stage.deepgram().listen.v1.connect(model="nova-3") as connection:
            for at in range(0, len(recording), 500):
                await connection.send_media(recording[at : at + 500])
            await connection.send_close_stream()
            await ear.end()
            chunks = ear.of(EventType.AUDIO_CHUNK)
            ms = sum(len(each.data) for each in chunks) // 32
            assert abs(ms - 2000) < 60 and {e.content_type for e in chunks} == {
                "audio/L16;rate=16000"
            }
            await ear.say(silence(chunks[0], 0, ms + 1))
            _, about = await got(connection, "Results", "Metadata")
            assert abs(about.duration - 2) < 0.06
            assert await closed(connection) == (1000, "")


async def test_deepgram_is_told_what_is_wrong(
    installation: Callable[[], Installation], tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    every, sender = frozenset({Scope.INGEST, Scope.READ}), frozenset({Scope.INGEST})
    key = add(keys, Caller("app", every, "app/"), "2026-01-01")
    blind = add(keys, Caller("blind", sender), "2026-01-01")
    async with staged(installation(), KeyRing(keys)) as stage:
        raw = "encoding=linear16&sample_rate=16000"
        status, told = await refusal(stage.url(raw))
        assert (status, told["err_code"]) == (401, "INVALID_AUTH")
        status, told = await refusal(stage.url(f"{raw}&callback=http://x&redact=pci"), key)
        assert status == 400 and "callback" in told["err_msg"] and told["err_code"]
        assert told["request_id"] == told["dg-request-id"]
        status, told = await refusal(stage.url(f"{raw}&extra=session:b/1"), key)
        assert (status, told["err_code"]) == (403, "INSUFFICIENT_PERMISSIONS")
        assert (await refusal(stage.url(raw), blind))[0] == 403

        with pytest.raises(ApiError) as error:
            async with stage.deepgram(key).listen.v1.connect(model="nova-3", diarize=True):
                pass
        assert error.value.status_code == 400

        page: Any = {"subprotocols": ["token", key]}
        async with websockets.connect(stage.url(raw), **page) as socket:
            assert socket.subprotocol == "token"
            assert socket.response is not None and socket.response.headers["dg-request-id"]
            await socket.send("nonsense")
            answer = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))
            assert answer["type"] == "Error"
            await socket.send(b"")  # as older clients end a stream
            about = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))
            assert about["type"] == "Metadata" and about["session"].startswith("app/")

        async with stage.deepgram(key).listen.v1.connect(model="nova-3") as connection:
            await connection.send_media(b"neither WebM nor Ogg")
            await got(connection, "Metadata")
            code, reason = await closed(connection)
            assert code == 1008 and reason.startswith("DATA-0000")


async def test_a_client_that_vanishes_leaves_a_session_that_ends(
    installation: Callable[[], Installation],
) -> None:
    async with staged(installation()) as stage:
        raw = "encoding=linear16&sample_rate=16000"
        async with websockets.connect(stage.url(raw)) as socket:
            await socket.send(tone(1050))
            await stage.recogniser.chunks(10)
            socket.transport.abort()
        await stage.recogniser.end()
        chunks = stage.recogniser.of(EventType.AUDIO_CHUNK)
        assert sum(len(each.data) for each in chunks) == 32 * 1050


async def test_a_session_that_is_too_long_is_ended(
    installation: Callable[[], Installation],
) -> None:
    async with staged(installation(), longest_session_s=1) as stage:
        async with websockets.connect(stage.url("encoding=linear16&sample_rate=16000")) as socket:
            for _ in range(3):
                await socket.send(tone(900))
            with pytest.raises(ConnectionClosed) as error:
                await asyncio.wait_for(socket.recv(), PATIENCE_S)
        assert error.value.rcvd is not None and error.value.rcvd.code == 1008
        await stage.recogniser.end()
        async with stage.openai().realtime.connect(extra_query=TRANSCRIPTION) as connection:
            talk = Talk(connection)
            await talk.got("session.created")
            await talk.append(tone(2700, 24_000))
            (error_,) = await talk.got("error")
            assert error_.error.code == "too_long" and error_.error.type == "server_error"


# --- OpenAI


async def test_openai_captions_utterances(installation: Callable[[], Installation]) -> None:
    async with staged(installation()) as stage:
        ear = stage.recogniser
        async with stage.openai().realtime.connect(extra_query=TRANSCRIPTION) as connection:
            talk = Talk(connection)
            (created,) = await talk.got("session.created")
            assert created.session.type == "transcription"
            wanted: Any = {
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24_000},
                        "transcription": {
                            "model": "gpt-4o-transcribe",
                            "language": "en",
                            "prompt": "Kowalczyk, KX-4471",
                        },
                        "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
                    }
                },
            }
            await connection.session.update(session=wanted)
            (updated,) = await talk.got("session.updated")
            assert updated.session.audio.input.transcription.prompt == "Kowalczyk, KX-4471"

            await talk.append(tone(2000, 24_000))
            chunk = (await ear.chunks(20))[0]
            assert chunk.content_type == "audio/L16;rate=24000"
            (words,) = ear.of(EventType.TEXT_MESSAGE)
            assert text_message(words).vocabulary == ("Kowalczyk", "KX-4471")

            await ear.say(partial(chunk, 0, 900, "I am here", stable=2))
            started, delta = await talk.got("speech_started", "transcription.delta")
            assert delta.delta == "I am" and delta.item_id == started.item_id
            await ear.say(final(chunk, 0, 1400, "I am here."))
            rest = await talk.got("delta", "speech_stopped", *COMMITTED, "transcription.completed")
            assert rest[0].delta == " here." and rest[-1].transcript == "I am here."
            assert rest[1].audio_end_ms == 1400 and rest[-1].item_id == started.item_id

            await connection.send({"type": "response.create", "event_id": "mine"})
            (refused,) = await talk.got("error")
            assert refused.error.event_id == "mine"
        await ear.end()


async def test_openai_captions_what_is_committed(
    installation: Callable[[], Installation],
) -> None:
    async with staged(installation()) as stage:
        ear = stage.recogniser
        named = TRANSCRIPTION | {"session": "calls/18", "channel": "customer"}
        async with stage.openai().realtime.connect(extra_query=named) as connection:
            talk = Talk(connection)
            by_hand: Any = {
                "type": "transcription",
                "audio": {"input": {"format": {"type": "audio/pcmu"}, "turn_detection": None}},
            }
            await connection.session.update(session=by_hand)
            await talk.got("session.created", "session.updated")
            await connection.input_audio_buffer.commit(event_id="too early")
            (error,) = await talk.got("error")
            assert error.error.code == "input_audio_buffer_commit_empty"

            await talk.append(bytes([0x80]) * 8000)
            chunk = (await ear.chunks(10, "customer"))[0]
            assert (chunk.session, chunk.content_type) == ("calls/18", "audio/PCMU;rate=8000")
            await ear.say(final(chunk, 0, 600, "One."))
            (delta,) = await talk.got("transcription.delta")
            await connection.input_audio_buffer.commit()
            committed = (await talk.got(*COMMITTED))[0]
            assert committed.item_id == delta.item_id
            assert await ear.cut("customer", at=chunk) == 1000
            await ear.say(final(chunk, 600, 1000, "Two."))
            _, completed = await talk.got("transcription.delta", "transcription.completed")
            assert completed.transcript == "One. Two." and completed.usage.seconds == 1.0

            await talk.append(bytes([0x80]) * 8000)
            await connection.input_audio_buffer.clear()
            await talk.got("input_audio_buffer.cleared")
            again = (await ear.chunks(20, "customer"))[10]
            await ear.say(final(again, 0, 1000, "Never mind."))
            await talk.append(bytes([0x80]) * 8000)
            await connection.input_audio_buffer.commit()
            item = (await talk.got(*COMMITTED))[0].item_id
            last = (await ear.chunks(30, "customer"))[20]
            await ear.say(final(last, 0, 1000, "Three."))
            _, completed = await talk.got("transcription.delta", "transcription.completed")
            assert (completed.item_id, completed.transcript) == (item, "Three.")
        assert ear.of(EventType.SESSION_ENDED) == []


async def test_openai_is_told_what_is_wrong(
    installation: Callable[[], Installation], tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    key = add(keys, Caller("app", frozenset({Scope.ADMIN})), "2026-01-01")
    async with staged(installation(), KeyRing(keys)) as stage:
        url = f"ws://127.0.0.1:{stage.port}/v1/realtime"
        status, told = await refusal(f"{url}?intent=transcription")
        assert (status, told["error"]["code"]) == (401, "invalid_api_key")
        for query in ("", "?intent=conversation", "?intent=transcription&model=gpt-realtime"):
            status, told = await refusal(url + query, key)
            assert status == 400 and told["error"]["type"] == "invalid_request_error"
        page: Any = {"subprotocols": ["realtime", f"openai-insecure-api-key.{key}"]}
        async with websockets.connect(f"{url}?intent=transcription", **page) as socket:
            assert socket.subprotocol == "realtime"
            await socket.send(b"\0\0")
            created, error = [json.loads(await socket.recv()) for _ in range(2)]
            assert created["type"] == "session.created" and error["type"] == "error"


# --- what is documented


def documented(section: str) -> set[str]:
    """What the tables of a section of docs/gateway.md name in their first columns."""
    text = (ROOT / "docs" / "gateway.md").read_text().partition(section)[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    return {name.strip(". ") for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_parameter_of_the_deepgram_client_is_documented() -> None:
    ours = {"self", "authorization", "request_options", "callback_method"}
    given = {*inspect.signature(AsyncV1Client.connect).parameters} - ours
    assert given - documented("### `/v1/listen`") == set()


def test_every_field_of_the_openai_client_is_documented() -> None:
    named = {name.rpartition(".")[2] for name in documented("### `/v1/realtime")}
    fields = {
        *AudioTranscription.model_fields,
        *RealtimeTranscriptionSessionAudioInput.model_fields,
    }
    assert fields - {"transcription"} - named == set()


# --- a real recogniser


WER = 0.1
CHANGED = 0.1
"""Of words that were told as stable, the share that may differ in the end."""
CUT_S = 7.5
"""In the midst of an utterance."""
PART_S = 13.0
"""After it."""


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower().replace("-", " ")).split())


async def by_deepgram(stage: Stage, audio: bytes) -> list[str]:
    """What a stream is told, which covers all of it, and is final where the client asks for it."""
    raw = {"encoding": "mulaw", "sample_rate": 8000}
    cut = int(8000 * CUT_S)
    async with stage.deepgram().listen.v1.connect(model="nova-3", **raw) as connection:
        await send(connection, audio[:cut])
        await connection.send_finalize()
        await send(connection, audio[cut:])
        await connection.send_close_stream()
        messages = [message async for message in connection]
    results = [message for message in messages if isinstance(message, ListenV1Results)]
    ends = [0.0] + [round(each.start + each.duration, 3) for each in results]
    assert [round(each.start, 3) for each in results] == pytest.approx(ends[:-1], abs=0.002)
    assert ends[-1] == pytest.approx(len(audio) / 8000, abs=0.005)
    assert messages[-1].type == "Metadata" and messages[-1].duration == ends[-1]
    (asked,) = (each for each in results if each.from_finalize)
    assert asked.start + asked.duration == pytest.approx(CUT_S, abs=0.002) and text_of(asked)
    return [text_of(each) for each in results]


async def by_openai(stage: Stage, audio: bytes) -> list[str]:
    """What a session is told of an utterance that ends by itself, and of the rest, committed."""
    kind = {"type": "transcription"}
    begin: Any = kind | {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}
    rest: Any = kind | {"audio": {"input": {"turn_detection": None}}}
    deltas, texts, part = list[str](), list[str](), int(8000 * PART_S)
    async with stage.openai().realtime.connect(extra_query=TRANSCRIPTION) as connection:

        async def until(last: str) -> Any:  # noqa: ANN401  (an event)
            """The next event that ends so."""
            while True:
                raw = await asyncio.wait_for(connection.recv_bytes(), 600)
                event = EVENTS.validate_json(raw)
                assert not event.type.endswith(("error", "failed")), event
                if event.type.endswith("delta"):
                    deltas.append(event.delta)
                if event.type.endswith("completed"):
                    texts.append(event.transcript)
                if event.type.endswith(last):
                    return event

        await connection.session.update(session=begin)
        await Talk(connection).append(audio[:part])
        await until("completed")
        await connection.session.update(session=rest)
        await until("session.updated")
        await Talk(connection).append(audio[part:])
        await connection.input_audio_buffer.commit()
        item = (await until("committed")).item_id
        while (await until("completed")).item_id != item:
            pass
    assert jiwer.wer(plain(" ".join(texts)), plain(" ".join(deltas))) < CHANGED
    return texts


async def test_speech_is_recognised_for_both(
    installation: Callable[[], Installation], demo_call: Path
) -> None:
    tenor = installation()
    script = json.loads((demo_call / "script.json").read_text())
    said = [each["text"] for each in script["utterances"] if each["channel"] == "customer"]
    audio = (demo_call / "customer.wav").read_bytes()
    audio = audio[audio.index(b"data") + 8 :]
    worker = tenor.start_worker(["audio", "text"])
    async with staged(tenor) as stage:
        await asyncio.to_thread(worker.ready)
        heard = await asyncio.gather(by_deepgram(stage, audio), by_openai(stage, audio))
    rates = [jiwer.wer(plain(" ".join(said)), plain(" ".join(texts))) for texts in heard]
    assert max(rates) < WER, rates
