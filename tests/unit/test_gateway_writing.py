"""The routes by which clients send, on a gateway whose Kafka is a list."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Protocol, cast

import numpy as np
import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from streams.connection import Connection
from streams.events import Event, EventType, Topics
from streams.g711 import mu_law
from streams.gateway.app import make_app
from streams.gateway.gate import Gate, stopping
from streams.gateway.ingest import Ingest
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.parts import Parts
from streams.gateway.settings import GatewaySettings
from tests.gateway_sender import NOW, Fate, Log
from tests.made_recordings import recording, tones

SECOND = 32_000
"""Bytes of PCM."""
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


class Answer(Protocol):
    """Of a request, or of a WebSocket that was not accepted."""

    status_code: int
    headers: Mapping[str, str]

    def json(self) -> dict[str, Any]: ...


class Gateway:
    """A gateway, its clients and its log. `now` is its time of day (ms)."""

    def __init__(self, **settings: object) -> None:
        self.log, self.now = Log(), NOW
        made, absent = GatewaySettings.model_validate(settings), cast(Any, None)
        self.gate, topics = Gate(made), Topics.of()
        ingest = Ingest(self.log, topics, now=lambda: self.now)
        nowhere = Connection("nowhere:1")
        self.parts = Parts(
            made, self.gate, ingest, absent, absent, GatewayMetrics(), nowhere, topics
        )
        self.client = TestClient(make_app(self.parts), base_url="http://localhost")

    @contextmanager
    def socket(self, **query: object) -> Iterator[WebSocketTestSession]:
        url = "ws://localhost/v1/sessions/call/audio"
        with self.client.websocket_connect(url, params=cast(Any, query)) as socket:
            yield socket

    def post(
        self,
        what: str,
        data: bytes = b"",
        content_type: str = "",
        *,
        key: str = "",
        **query: object,
    ) -> Answer:
        headers = {"content-type": content_type} if content_type else {}
        headers |= {"idempotency-key": key} if key else {}
        url, params = f"/v1/sessions/call/{what}", cast(Any, query)
        answer = self.client.post(url, content=data, headers=headers, params=params)
        return cast(Answer, answer)

    def chunks(self, channel: str = "speaker") -> list[Event]:
        audio = [event for event in self.log.of("audio") if event.channel == channel]
        assert [event.sequence for event in audio] == list(range(len(audio)))
        return audio


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    with made.client:
        yield made


def told(socket: WebSocketTestSession, type_: str) -> dict[str, Any]:
    """The next message of this type."""
    while True:
        message: dict[str, Any] = socket.receive_json()
        if message["type"] == type_:
            return message
        assert message["type"] in ("ready", "ack"), message


def place(message: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(message[name] for name in ("start", "sequence", "position_ms", "confirmed_ms"))


def ended(socket: WebSocketTestSession, kind: str, code: int) -> None:
    """It is told a problem, and closed for it."""
    assert told(socket, "error")["problem"]["type"] == f"urn:tenor:problem:{kind}"
    with pytest.raises(WebSocketDisconnect) as closed:
        socket.receive_json()
    assert closed.value.code == code


def problem(response: Answer, status: int, kind: str) -> str:
    assert (response.status_code, response.json()["type"]) == (status, f"urn:tenor:problem:{kind}")
    return str(response.json()["detail"])


# --- audio as it is spoken


def test_audio_goes_from_ready_over_acks_to_closed(gateway: Gateway) -> None:
    with gateway.socket(channel="customer") as socket:
        ready = socket.receive_json()
        assert ready["type"] == "ready"
        assert (ready["session"], ready["channels"]) == ("call", ["customer"])
        assert place(ready) == (None, 0, 0, 0)
        data = bytes(range(250)) * 128  # a second
        for at in range(0, len(data), 999):
            socket.send_bytes(data[at : at + 999])
        while place(ack := told(socket, "ack")) != (NOW, 10, 1000, 1000):
            assert ack["start"] == NOW
        socket.send_bytes(b"\1\2")
        socket.send_json({"type": "close"})
        assert place(told(socket, "closed")) == (NOW, 11, 1000, 1000)
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == 1000
    chunks = gateway.chunks("customer")
    assert b"".join(each.data for each in chunks) == data + b"\1\2"
    assert [each.time - NOW for each in chunks] == list(range(0, 1100, 100))


def test_channels_are_told_apart_and_telephone_audio_is_passed_on(gateway: Gateway) -> None:
    codes = [mu_law(channel) for channel in tones(0.5, 8000, (440, 880))]
    data = np.stack([np.frombuffer(each, np.uint8) for each in codes]).T.tobytes()
    with gateway.socket(channel="customer,agent", encoding="mulaw") as socket:
        socket.send_bytes(data)
        socket.send_json({"type": "close"})
        assert place(told(socket, "closed")) == (NOW, 5, 500, 500)
    for name, sent in zip(("customer", "agent"), codes, strict=True):
        chunks = gateway.chunks(name)
        assert b"".join(each.data for each in chunks) == sent
        assert {each.content_type for each in chunks} == {"audio/PCMU;rate=8000"}


def test_one_name_for_several_channels_is_counted(gateway: Gateway) -> None:
    with gateway.socket(channel="call", channels=2, sample_rate=48_000) as socket:
        assert told(socket, "ready")["channels"] == ["call-1", "call-2"]
        socket.send_bytes(bytes(4 * 4800))
        socket.send_json({"type": "close"})
        told(socket, "closed")
    assert gateway.chunks("call-1")[0].content_type == "audio/L16;rate=48000"


@pytest.mark.parametrize("kind", ["webm", "ogg"])
def test_what_a_browser_records_becomes_pcm(gateway: Gateway, kind: str) -> None:
    data = recording(kind, 1.0)
    with gateway.socket(encoding=kind) as socket:
        for at in range(0, len(data), 2000):
            socket.send_bytes(data[at : at + 2000])
        socket.send_json({"type": "close"})
        assert place(told(socket, "closed")) == (NOW, 10, 1000, 1000)
    chunks = gateway.chunks()
    assert {each.content_type for each in chunks} == {"audio/L16;rate=16000"}
    heard = np.frombuffer(b"".join(each.data for each in chunks), np.int16).astype(float)
    assert np.argmax(np.abs(np.fft.rfft(heard))) == 440


def test_a_session_ends_with_its_audio(gateway: Gateway) -> None:
    with gateway.socket() as socket:
        socket.send_bytes(bytes(SECOND))
        socket.send_json({"type": "end"})
        assert told(socket, "closed")["sequence"] == 10
    for topic in ("audio", "text", "images"):
        assert gateway.log.of(topic)[-1].type is EventType.SESSION_ENDED


def test_what_comes_after_a_pause_begins_when_it_comes(gateway: Gateway) -> None:
    with gateway.socket() as socket:
        socket.send_bytes(bytes(SECOND // 4))
        socket.send_json({"type": "pause"})
        while told(socket, "ack")["start"] is not None:
            pass
        gateway.now += 60_000
        socket.send_bytes(bytes(SECOND // 4))
        socket.send_json({"type": "close"})
        assert place(told(socket, "closed")) == (NOW + 60_000 - 300, 6, 550, 500)
    times = [each.time - NOW for each in gateway.chunks()]
    assert times == [0, 100, 200, 60_000, 60_100, 60_200]


def test_a_recorder_that_was_suspended_is_found_out(gateway: Gateway) -> None:
    """After 30 s in which nothing came, audio goes on at the pace of speech."""
    with gateway.socket() as socket:
        starts = set()
        for second in range(20):
            if second == 5:
                gateway.now += 30_000
            socket.send_bytes(bytes(SECOND))
            sequence = 10 * (second + 1)
            while (ack := told(socket, "ack"))["sequence"] < sequence:
                pass
            starts.add(ack["start"])
            gateway.now += 1000
        assert ack["confirmed_ms"] == 20_000
    assert starts == {NOW, NOW + 30_000}
    times = [each.time - NOW for each in gateway.chunks()]
    jumps = [b - a for a, b in pairwise(times)]
    assert sorted(jumps)[-2:] == [100, 30_100]


def test_a_drop_is_resumed_where_kafka_has_it(gateway: Gateway) -> None:
    data = bytes(range(250)) * 256  # two seconds
    with gateway.socket() as socket:
        socket.send_bytes(data[: SECOND + 1001])
        while (ack := told(socket, "ack"))["sequence"] < 10:
            pass
        socket.close(1001)
    assert len(gateway.chunks()) == 10  # nothing that is not whole
    with gateway.socket(start=ack["start"], sequence=10) as socket:
        assert place(told(socket, "ready")) == (NOW, 10, 1000, 0)
        gateway.now += 5000
        socket.send_bytes(data[SECOND:])
        socket.send_json({"type": "close"})
        assert place(told(socket, "closed")) == (NOW, 20, 2000, 1000)
    chunks = gateway.chunks()
    assert b"".join(each.data for each in chunks) == data
    assert [each.time - NOW for each in chunks] == list(range(0, 2000, 100))


@pytest.mark.parametrize("kind", ["webm", "ogg"])
def test_a_recording_that_broke_off_is_sent_again_from_its_first_byte(
    gateway: Gateway, kind: str
) -> None:
    data = recording(kind, 2.0)
    with gateway.socket(encoding=kind) as socket:
        socket.send_bytes(data[: len(data) * 2 // 3])
        while (ack := told(socket, "ack"))["sequence"] < 10:
            pass
        socket.close(1006)
    start, known = ack["start"], ack["sequence"]
    with gateway.socket(encoding=kind, start=start, sequence=known, begin=0) as socket:
        assert place(told(socket, "ready")) == (NOW, known, 100 * known, 100 * known)
        socket.send_bytes(data)
        socket.send_json({"type": "close"})
        assert place(told(socket, "closed")) == (NOW, 20, 2000, 2000)
    once = {event.id: event for event in gateway.log.of("audio")}
    assert [event.sequence for event in once.values()] == list(range(20))


def test_who_closes_in_order_has_sent_all(gateway: Gateway) -> None:
    with gateway.socket() as socket:
        socket.send_bytes(bytes(1000))
        socket.close(1000)
    assert [len(each.data) for each in gateway.chunks()] == [1000]


def test_a_later_connection_of_the_channel_takes_over(gateway: Gateway) -> None:
    with gateway.socket() as first, gateway.socket(start=NOW) as second:
        told(second, "ready")
        ended(first, "conflict", 1008)
        second.send_bytes(bytes(SECOND))
        second.send_json({"type": "close"})
        assert told(second, "closed")["sequence"] == 10


def test_audio_that_kafka_refuses_is_told_with_what_it_has(gateway: Gateway) -> None:
    fates = iter([Fate.CONFIRMED] * 3 + [Fate.REFUSED] * 100)
    gateway.log.fate = lambda: next(fates)
    with gateway.socket() as socket:
        socket.send_bytes(bytes(SECOND))
        while place(told(socket, "ack")) != (NOW, 3, 300, 300):
            pass
        ended(socket, "unavailable", 1013)


def test_a_gateway_that_stops_says_what_it_has(gateway: Gateway) -> None:
    with gateway.socket() as socket:
        socket.send_bytes(bytes(SECOND + 100))
        while told(socket, "ack")["sequence"] < 10:
            pass
        for lease in gateway.gate.leases:
            cast(Any, gateway.client.portal).call(lease.end, stopping())
        ended(socket, "stopping", 1001)
    assert len(gateway.chunks()) == 10


@pytest.mark.parametrize("text", ["", "{", "[]", '{"type": "clear"}', '{"type": []}', "[" * 5000])
def test_a_text_that_says_nothing_is_refused(gateway: Gateway, text: str) -> None:
    with gateway.socket() as socket:
        socket.send_text(text or "null")
        ended(socket, "invalid", 1007)


@pytest.mark.parametrize("encoding", ["webm", "ogg", "wav", "flac", "mp3"])
def test_what_is_no_audio_is_refused(gateway: Gateway, encoding: str) -> None:
    with gateway.socket(encoding=encoding) as socket:
        told(socket, "ready")
        with pytest.raises((AssertionError, WebSocketDisconnect)):
            for _ in range(50):
                socket.send_bytes(b"no audio " * 10_000)
            socket.send_json({"type": "close"})
            told(socket, "closed")
    assert not gateway.chunks()


def test_audio_beyond_the_longest_session_ends_it() -> None:
    gateway = Gateway(longest_session_s=1.0)
    with gateway.client, gateway.socket() as socket:
        socket.send_bytes(bytes(SECOND))
        socket.send_bytes(bytes(SECOND))
        ended(socket, "too-long", 1008)
    assert gateway.log.of("text")[-1].type is EventType.SESSION_ENDED


@pytest.mark.parametrize(
    ("query", "match"),
    [
        ({"speaker": "me"}, "speaker"),
        ({"encoding": "opus"}, "encoding"),
        ({"sample_rate": 11_025}, "sample_rate"),
        ({"sample_rate": 96_000}, "sample_rate"),
        ({"encoding": "webm", "sample_rate": 48_000}, "sample_rate"),
        ({"channels": 9}, "channels"),
        ({"channel": ""}, "channel"),
        ({"channel": "a,a"}, "ce_channel"),
        ({"channel": "a,b", "channels": 3}, "ce_channel"),
        ({"channel": "a\n"}, "channel"),
        ({"start": 5}, "time"),
        ({"start": "now"}, "start"),
        ({"sequence": 5}, "start"),
        ({"start": NOW, "sequence": -1}, "sequence"),
        ({"start": NOW, "sequence": 10**9}, "time"),
        ({"start": NOW, "sequence": 5, "begin": 6}, "begin"),
    ],
)
def test_a_query_that_cannot_be_done_is_refused_before_anything_is_sent(
    gateway: Gateway, query: dict[str, object], match: str
) -> None:
    with pytest.raises(WebSocketDenialResponse) as denied, gateway.socket(**query):
        pass
    assert match in problem(cast(Answer, denied.value), 422, "invalid")


# --- texts, pictures, recordings, ends


def test_a_text_is_accepted_with_its_place(gateway: Gateway) -> None:
    answer = gateway.post("text", b"Still waiting.", "text/plain", channel="customer", time=NOW - 9)
    [event] = gateway.log.of("text")
    assert answer.status_code == 201
    assert answer.json() == {
        "id": event.id,
        "session": "call",
        "time": NOW - 9,
        "topic": Topics.of().text,
        "partition": 0,
        "offset": 0,
    }
    assert (event.data, event.channel, event.time) == (b"Still waiting.", "customer", NOW - 9)


def test_a_repeated_post_is_one_event(gateway: Gateway) -> None:
    for what, data, type_ in (("text", b"Hello", "text/plain"), ("images", PNG, "image/png")):
        first = gateway.post(what, data, type_, key="k 1")
        assert first.status_code == 201
        assert gateway.post(what, data, type_, key="k 1").json() == first.json()
        assert len(gateway.log.of(what)) == 1
    problem(gateway.post("text", b"Goodbye", "text/plain", key="k 1"), 422, "invalid")


@pytest.mark.parametrize(
    ("what", "data", "content_type", "expected"),
    [
        ("text", b"", "text/plain", (422, "invalid")),
        ("text", b"a", "", (415, "unsupported")),
        ("text", b"a", "text/html", (415, "unsupported")),
        ("text", b"{}", "application/json", (422, "invalid")),
        ("text", b"a" * 70_000, "text/plain", (413, "too-large")),
        ("images", b"a", "image/png", (422, "invalid")),
        ("images", PNG, "image/gif", (415, "unsupported")),
        ("images", bytes(17 * 2**20), "image/png", (413, "too-large")),
        ("audio", b"a", "audio/midi", (415, "unsupported")),
        ("audio", b"a", "", (415, "unsupported")),
        ("audio", b"a", "audio/wav", (422, "invalid")),
        ("audio", bytes(65 * 2**20), "audio/wav", (413, "too-large")),
    ],
)
def test_what_cannot_be_used_is_refused(
    gateway: Gateway, what: str, data: bytes, content_type: str, expected: tuple[int, str]
) -> None:
    problem(gateway.post(what, data, content_type), *expected)
    assert not gateway.log.topics


def test_a_vocabulary_is_a_text(gateway: Gateway) -> None:
    data = json.dumps({"kind": "vocabulary", "vocabulary": ["Kowalczyk"]}).encode()
    assert gateway.post("text", data, "application/json").status_code == 201


def test_a_recording_is_sent_whole(gateway: Gateway) -> None:
    data = recording("wav", 1.25, rate=16_000, hertz=(440.0, 880.0))
    answer = gateway.post("audio", data, "audio/wav", channel="customer,agent", start=NOW - 60_000)
    assert answer.status_code == 201
    assert answer.json() == {
        "session": "call",
        "channels": ["customer", "agent"],
        "start": NOW - 60_000,
        "seconds": 1.25,
        "chunks": 13,
    }
    with wave.open(io.BytesIO(data)) as file:
        frames = np.frombuffer(file.readframes(20_000), np.int16).reshape(-1, 2)
    for place_, name in enumerate(("customer", "agent")):
        chunks = gateway.chunks(name)
        assert b"".join(each.data for each in chunks) == frames[:, place_].tobytes()
        assert chunks[0].time == NOW - 60_000


def test_what_comes_without_a_start_follows_what_is_there(gateway: Gateway) -> None:
    """A recording reaches ahead of the time of day, and audio before its end would be late."""
    data = recording("wav", 1.25, rate=16_000)
    ends = []
    for _ in range(2):
        answer = gateway.post("audio", data, "audio/wav").json()
        ends.append(answer["start"] + 1250)
        gateway.now += 100
    assert ends == [NOW + 1250, NOW + 2500]
    with gateway.socket() as socket:
        socket.send_bytes(bytes(SECOND))
        socket.send_json({"type": "close"})
        assert told(socket, "closed")["start"] == NOW + 2500
    assert gateway.post("audio", data, "audio/wav", channel="other").json()["start"] == gateway.now
    gateway.now += 10_000
    both = gateway.post("audio", data, "audio/wav", channel="speaker").json()
    assert both["start"] == gateway.now
    times = [event.time for event in gateway.log.of("audio") if event.channel == "speaker"]
    assert times == sorted(times)


def test_half_a_recording_is_not_sent(gateway: Gateway) -> None:
    good = recording("flac", 2.0)
    broken = good[: len(good) // 2] + bytes(1000) + good[len(good) // 2 :][1000:]
    answer = gateway.post("audio", broken, "audio/flac")
    if answer.status_code != 201:  # FFmpeg makes do with much
        problem(answer, 422, "invalid")
        assert not gateway.chunks()
    problem(gateway.post("audio", good, "audio/flac", channel="a,b"), 422, "invalid")
    assert not gateway.chunks("a")


def test_a_recording_that_kafka_refuses_can_be_sent_again(gateway: Gateway) -> None:
    fates = iter([Fate.CONFIRMED] * 4 + [Fate.REFUSED] * 100)
    gateway.log.fate = lambda: next(fates)
    data = recording("wav", 1.0, rate=16_000)
    detail = problem(gateway.post("audio", data, "audio/wav"), 503, "unavailable")
    assert f"start={NOW}" in detail
    gateway.log.fate = lambda: Fate.CONFIRMED
    gateway.now += 10_000
    assert gateway.post("audio", data, "audio/wav", start=NOW).status_code == 201
    once = {event.id: event for event in gateway.log.of("audio")}
    assert all(once[event.id] == event for event in gateway.log.of("audio"))
    assert [event.sequence for event in once.values()] == list(range(10))


def test_a_recording_beyond_its_limit_is_refused() -> None:
    gateway = Gateway(file_s=1.0)
    with gateway.client:
        problem(gateway.post("audio", recording("webm", 2.0), "audio/webm"), 413, "too-long")
    assert not gateway.chunks()


def test_nothing_is_held_after_an_answer() -> None:
    gateway = Gateway(bodies_bytes=0, file_bytes=80_000)
    wav = recording("wav", 1.0, rate=16_000, hertz=(440.0, 880.0))
    with gateway.client:
        for _ in range(3):
            assert gateway.post("text", b"a" * 10_000, "text/plain").status_code == 201
            assert gateway.post("audio", wav, "audio/wav").status_code == 201
            problem(gateway.post("audio", wav[:-2000], "audio/flac"), 422, "invalid")
        with gateway.gate.bodies.part() as take:
            take(80_000)
            for what, type_ in (("text", "text/plain"), ("images", "image/png")):
                problem(gateway.post(what, b"a", type_), 503, "unavailable")
            problem(gateway.post("audio", wav, "audio/wav"), 503, "unavailable")


def test_a_session_is_ended_on_every_topic(gateway: Gateway) -> None:
    answer = gateway.post("end", time=NOW - 5)
    assert answer.status_code == 201
    body = answer.json()
    assert (body["session"], body["time"]) == ("call", NOW - 5)
    topics = Topics.of()
    assert [each["topic"] for each in body["events"]] == [topics.audio, topics.text, topics.images]
    assert gateway.post("end").status_code == 201
    problem(gateway.post("end", time=5), 422, "invalid")


def test_a_session_may_have_slashes_in_its_name(gateway: Gateway) -> None:
    answer = gateway.client.post(
        "/v1/sessions/acme%2Fcall%2017/text", content=b"Hi", headers={"content-type": "text/plain"}
    )
    assert answer.json()["session"] == "acme/call 17"


def test_kafka_that_does_not_confirm_is_not_available(gateway: Gateway) -> None:
    gateway.log.fate = lambda: Fate.REFUSED
    answer = gateway.post("text", b"Hello", "text/plain")
    problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
