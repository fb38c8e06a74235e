"""Records that cannot be used, among good ones: each becomes a dead letter, and nothing else."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.structs import RecordMetadata

from streams import codec
from streams.clock import now_ms
from streams.connection import Connection
from streams.deadletters import PREFIX, RawHeaders, error_of
from streams.delivery import producer
from streams.events import JSON_TYPE, VECTOR_TYPE, Event, EventType, Topics
from streams.processes import WorkerProcess
from streams.replay import Player, Script, load
from streams.results import PROVISIONAL
from tests.harness import RESULTS, Installation, events

SESSION, CLEAN = "call-mixed", "call-clean"
SOURCE = "test/bad"
SECRET = b"4929-1234-5678-9012"
"""Stands in the bad values; no message may repeat it."""
SECONDS = 10.4
PATIENCE_S = 120


@dataclass(frozen=True)
class Bad:
    """A record that cannot be used, and why."""

    name: str
    topic: str
    reason: str
    key: bytes | None
    value: bytes | None
    headers: RawHeaders


def flac(samples: int) -> bytes:
    """So many zeros at 16 kHz."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 16_000, 1, "PCM_16", format="FLAC") as sound:
        for _ in range(0, samples, 1_000_000):
            sound.write(np.zeros(min(samples, 1_000_000), np.int16))
    return file.getvalue()


def wav(seconds: float) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(1).normal(0, 0.1, round(seconds * 16_000))
    soundfile.write(file, noise, 16_000, "PCM_16", format="WAV")
    return file.getvalue()


def noisy_flac() -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(1).normal(0, 0.1, 16_000)
    soundfile.write(file, noise, 16_000, "PCM_16", format="FLAC")
    return file.getvalue()


def png(side: int) -> bytes:
    """A whole, valid, black picture of one bit per pixel."""
    packed = zlib.compressobj(1)
    row = bytes(1 + (side + 7) // 8)
    data = b"".join([packed.compress(row) for _ in range(side)] + [packed.flush()])
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def bad_event(name: str, topic: str, reason: str, event: Event) -> Bad:
    key, value, headers = codec.encode(event)
    return Bad(name, topic, reason, key, value, list(headers))


def of_audio(base: Event) -> Iterator[Bad]:
    def bad(name: str, reason: str, content_type: str, data: bytes) -> Bad:
        event = replace(base, content_type=content_type, data=data)
        return bad_event(f"audio: {name}", "audio", reason, event)

    odd = SECRET + b"\0" * 100
    assert len(odd) % 2
    yield bad("half a sample", "truncated-audio", "audio/L16;rate=16000", odd)
    yield bad("cut FLAC", "undecodable-audio", "audio/flac", noisy_flac()[:-9000])
    yield bad("cut WAV", "truncated-audio", "audio/wav", wav(1.0)[:-9000])
    yield bad("text as WAV", "undecodable-audio", "audio/wav", SECRET * 10)
    yield bad("FLAC as WAV", "undecodable-audio", "audio/wav", noisy_flac())
    yield bad("100 MB of zeros", "audio-too-long", "audio/flac", flac(50_000_000))
    yield bad("nine channels", "unsupported-channels", "audio/L16;channels=9", SECRET[:18])
    yield bad("rate of 1 Hz", "unsupported-rate", "audio/L16;rate=1", SECRET[:18])
    yield bad("rate in words", "unsupported-rate", "audio/L16;rate=fast", SECRET[:18])
    yield bad("MP3", "unsupported-content-type", "audio/mpeg", SECRET)
    yield bad("no content type", "missing-header", "", SECRET)
    yield bad("empty value", "empty-value", "audio/L16;rate=16000", b"")


def of_images(base: Event, picture: bytes) -> Iterator[Bad]:
    def bad(name: str, reason: str, content_type: str, data: bytes) -> Bad:
        event = replace(base, type=EventType.IMAGE_FRAME, content_type=content_type, data=data)
        return bad_event(f"images: {name}", "images", reason, event)

    yield bad("text as PNG", "undecodable-image", "image/png", SECRET)
    yield bad("JPEG as PNG", "undecodable-image", "image/png", picture)
    yield bad("half a JPEG", "undecodable-image", "image/jpeg", picture[: len(picture) // 2])
    yield bad("60,000 x 60,000 pixels", "image-too-large", "image/png", png(60_000))
    yield bad("SVG", "unsupported-content-type", "image/svg+xml", SECRET)


def of_text(base: Event) -> Iterator[Bad]:
    def bad(name: str, reason: str, data: bytes, content_type: str = JSON_TYPE) -> Bad:
        event = replace(base, type=EventType.TEXT_MESSAGE, content_type=content_type, data=data)
        return bad_event(f"text: {name}", "text", reason, event)

    yield bad("not UTF-8", "bad-utf8", SECRET + b"\xff", "text/plain")
    yield bad("Latin-1", "bad-charset", SECRET, "text/plain; charset=iso-8859-1")
    yield bad("no JSON", "bad-json", b'{"text": ' + SECRET)
    yield bad("a JSON list", "bad-json", b'["' + SECRET + b'"]')
    yield bad("deep JSON", "bad-json", b"[" * 60_000)
    yield bad("text that is an object", "bad-field", b'{"text": {"x": "' + SECRET + b'"}}')
    yield bad("unknown kind", "bad-field", b'{"text": "a", "kind": "' + SECRET + b'"}')
    yield bad("vocabulary of numbers", "bad-field", b'{"kind": "vocabulary", "vocabulary": [1]}')
    yield bad("17,000 characters", "text-too-long", SECRET * 900, "text/plain")
    yield bad("70 kB", "too-large", SECRET * 4000, "text/plain")
    yield bad("blank", "empty-text", b'{"text": "  "}')


def of_attributes(base: Event) -> Iterator[Bad]:
    def bad(name: str, reason: str, **changes: Any) -> Bad:  # noqa: ANN401  (fields of an event)
        return bad_event(name, "audio", reason, replace(base, **changes))

    yield bad("time of 1970", "time-out-of-range", time=0)
    yield bad("time of 2100", "time-out-of-range", time=4_102_444_800_000)
    yield bad("session with NUL", "bad-session", session="call\0")
    yield bad("type of another topic", "unexpected-type", type=EventType.TEXT_MESSAGE)
    whole = bad_event("", "audio", "", base)
    for header in ("specversion", "id", "source", "type", "time"):
        rest = [(name, raw) for name, raw in whole.headers if name != f"ce_{header}"]
        yield replace(whole, name=f"no ce_{header}", reason="missing-header", headers=rest)
    yield replace(whole, name="no headers", reason="missing-header", headers=[])
    named = [each for each in whole.headers if each[0] not in ("ce_subject", "ce_partitionkey")]
    long = replace(whole, name="session of 10 kB", key=b"s" * 10_000, headers=named)
    yield replace(long, reason="session-too-long")
    yield replace(whole, name="null key", reason="missing-key", key=None)
    yield replace(whole, name="null value", reason="empty-value", value=None)
    yield replace(whole, name="key not UTF-8", reason="bad-utf8", key=b"call-\xff")
    yield replace(whole, name="another key", reason="key-mismatch", key=b"call-other")
    for name, raw, reason in (
        ("ce_channel", b"\xff" + SECRET, "bad-utf8"),
        ("ce_type", b"com.example." + SECRET, "unknown-type"),
        ("ce_specversion", b"0.3", "bad-specversion"),
        ("ce_time", b"yesterday", "bad-time"),
        ("ce_sequence", SECRET, "bad-sequence"),
        ("ce_channel", b"x" * 2000, "header-too-long"),
        ("ce_Bad-Name", SECRET, "bad-attribute-name"),
    ):
        rest = [(other, value) for other, value in whole.headers if other != name]
        title = f"{name}: {raw[:9]!r}"
        yield replace(whole, name=title, reason=reason, headers=[*rest, (name, raw)])
    double = [*whole.headers, ("ce_id", b"again")]
    yield replace(whole, name="id twice", reason="duplicate-header", headers=double)
    many = [*whole.headers, *((f"x-{i}", b"") for i in range(100))]
    yield replace(whole, name="100 headers", reason="too-many-headers", headers=many)


def of_inner_topics(base: Event) -> Iterator[Bad]:
    """What only Tenor should write, written by somebody else."""
    whole = {
        **{"modality": "text", "start": str(base.time), "end": str(base.time), "dimension": "2"},
        **{"encoder": "word-counts", "encoderrevision": "r1", "evidence": "e-1", "kind": "message"},
    }
    vector = np.ones(2, "<f4").tobytes()

    def bad(name: str, reason: str, data: bytes = vector, **changes: str) -> Bad:
        event = replace(
            base,
            type=EventType.FEATURE,
            content_type=VECTOR_TYPE,
            data=data,
            extensions={key: text for key, text in (whole | changes).items() if text},
        )
        return bad_event(f"features: {name}", "features", reason, event)

    yield bad("three bytes", "bad-dimension", vector[:3])
    yield bad("not as long as it says", "bad-dimension", dimension="384")
    yield bad("no number", "bad-vector", np.full(2, np.nan, "<f4").tobytes())
    yield bad("smell", "bad-modality", modality="smell")
    yield bad("no encoder", "missing-attribute", encoder="")
    yield bad("unknown encoder", "unknown-encoder")
    yield bad("ends before it starts", "bad-span", start="9" * 13)
    yield bad("span in words", "bad-span", start="now")
    tick = replace(base, type=EventType.TICK, content_type="", data=b"")
    for topic in ("features", "audio"):
        for idle in ("[" + SECRET.decode(), "7", '[{"a": 1}]'):
            garbage = replace(tick, extensions={"idle": idle})
            yield bad_event(f"{topic}: tick with {idle[:4]}", topic, "bad-tick", garbage)
    until = replace(tick, extensions={"idle": "[]", "until": "later"})
    yield bad_event("features: tick until later", "features", "bad-tick", until)
    caption = replace(base, type=EventType.CAPTION_FINAL, content_type=JSON_TYPE)
    nonsense = replace(caption, data=json.dumps({"text": SECRET.decode()}).encode())
    yield bad_event("recognition: half a caption", "recognition", "bad-result", nonsense)


@dataclass(frozen=True)
class Outcome:
    """What came of it all. `places` are the topic, partition and offset of each bad record."""

    bad: Sequence[Bad] = field(repr=False)
    places: Sequence[RecordMetadata] = field(repr=False)
    letters: Sequence[ConsumerRecord] = field(repr=False)
    results: Sequence[Event] = field(repr=False)
    metrics: str = field(repr=False)

    def letter(self, index: int) -> ConsumerRecord:
        """The one dead letter of a bad record."""
        place = self.places[index]
        (letter,) = (each for each in self.letters if _place(each) == _of(place))
        return letter


def _place(letter: ConsumerRecord) -> tuple[str, int, int]:
    error = error_of(letter.headers)
    return error.topic, error.partition, error.offset


def _of(place: RecordMetadata) -> tuple[str, int, int]:
    return place.topic, place.partition, place.offset


def beginning(folder: Path) -> Script:
    """The first seconds of the demo call, with one picture and one message."""
    script = load([folder])
    audio = [m for m in script.moments if m.topic == "audio" and m.at <= SECONDS]
    others = [
        replace(next(m for m in script.moments if m.topic == topic), at=at, start=at)
        for topic, at in (("images", 3.0), ("text", 6.0))
    ]
    return Script(tuple(sorted([*audio, *others], key=lambda moment: moment.at)))


def everything_bad(script: Script, start: int) -> list[Bad]:
    chunk = np.zeros(1600, "<i2").tobytes()
    base = Event(
        type=EventType.AUDIO_CHUNK,
        id="bad",
        source=SOURCE,
        session=SESSION,
        time=start,
        channel="customer",
        content_type="audio/L16;rate=16000",
        data=chunk,
    )
    picture = next(moment.data for moment in script.moments if moment.topic == "images")
    return [
        *of_audio(base),
        *of_images(base, picture),
        *of_text(base),
        *of_attributes(base),
        *of_inner_topics(base),
    ]


async def play(
    installation: Installation, script: Script, session: str, start: int, bad: Sequence[Bad]
) -> list[RecordMetadata]:
    """Sends the good events of a session, the bad ones evenly before, between and after them."""
    sender = producer(installation.brokers)
    await sender.start()
    try:
        player = Player(sender, installation.topics, session, start)
        await player.punctuate(start)
        places = []
        for i, moment in enumerate([*script.moments, None]):
            good = len(script.moments)
            for each in bad[i * len(bad) // (good + 1) : (i + 1) * len(bad) // (good + 1)]:
                places.append(await _send(sender, installation.topics, each))
            if moment is not None:
                await player.play(moment)
        await player.end(SECONDS)
        return places
    finally:
        await sender.stop()


async def _send(sender: AIOKafkaProducer, topics: Topics, bad: Bad) -> RecordMetadata:
    name = asdict(topics)[bad.topic]
    return await sender.send_and_wait(name, bad.value, bad.key, headers=bad.headers)


async def finished(installation: Installation, letters: int) -> None:
    """Waits until both sessions are summed up and all dead letters are there."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    over = 0
    while over < 2 and asyncio.get_running_loop().time() < deadline:
        told = events(await installation.read(["sentiment"], s=0.5))
        over = sum(event.type is EventType.SENTIMENT_SESSION for event in told)
    await installation.read(["deadletters"], count=letters, s=20)


async def run(installation: Installation, worker: WorkerProcess, script: Script) -> Outcome:
    start = now_ms() - 60_000
    bad = everything_bad(script, start)
    await play(installation, script, CLEAN, start, [])
    places = await play(installation, script, SESSION, start, bad)
    await finished(installation, len(bad))
    records = await installation.read(RESULTS, s=1)
    return Outcome(
        bad=bad,
        places=places,
        letters=await installation.read(["deadletters"], s=1),
        results=[event for event in events(records) if event.source != SOURCE],
        metrics=worker.get("metrics"),
    )


@pytest.fixture(scope="module")
def outcome(
    kafka: Connection, demo_call: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcome]:
    prefix = f"t{uuid.uuid4().hex[:8]}."
    installation = Installation(kafka, Topics.of(prefix), prefix, tmp_path_factory.mktemp("bad"))
    script = beginning(demo_call)
    with asyncio.Runner() as runner:
        runner.run(installation.make_topics())
        worker = installation.start_worker()
        try:
            worker.ready()
            yield runner.run(run(installation, worker, script))
            assert worker.stop() == 0
        finally:
            installation.stop()


async def test_each_becomes_a_dead_letter_with_its_reason(outcome: Outcome) -> None:
    found = {
        bad.name: error_of(outcome.letter(i).headers).reason for i, bad in enumerate(outcome.bad)
    }
    assert found == {bad.name: bad.reason for bad in outcome.bad}
    assert len(outcome.letters) == len(outcome.bad)


async def test_the_message_helps_and_does_not_repeat_the_value(outcome: Outcome) -> None:
    for letter in outcome.letters:
        message = error_of(letter.headers).message
        assert len(message) > 10
        assert SECRET.decode() not in message
        assert "object at 0x" not in message


async def test_the_dead_letter_is_the_record_as_it_was_received(outcome: Outcome) -> None:
    for i, bad in enumerate(outcome.bad):
        letter = outcome.letter(i)
        own = [(name, raw) for name, raw in letter.headers if not name.startswith(PREFIX)]
        assert (letter.value, own) == (bad.value, bad.headers), bad.name
        assert letter.partition == outcome.places[i].partition
        if bad.reason != "session-too-long":
            assert letter.key == bad.key
            assert not error_of(letter.headers).cut


async def test_a_key_that_is_too_long_is_cut_and_the_letter_says_so(outcome: Outcome) -> None:
    (i,) = (i for i, bad in enumerate(outcome.bad) if bad.reason == "session-too-long")
    letter = outcome.letter(i)
    key = outcome.bad[i].key
    assert key is not None
    assert letter.key == key[: len(letter.key)] != b""
    assert error_of(letter.headers).cut == f"key={len(key)}"


async def test_the_rest_of_the_session_does_not_notice(outcome: Outcome) -> None:
    lasting = [
        event
        for event in outcome.results
        if event.type is not EventType.CAPTION_PARTIAL and PROVISIONAL not in event.extensions
    ]
    mixed, clean = (
        sorted(_said(event) for event in lasting if event.session == session)
        for session in (SESSION, CLEAN)
    )
    assert mixed == clean
    kinds = Counter(event.type for event in outcome.results if event.session == CLEAN)
    assert kinds[EventType.CAPTION_FINAL] >= 2
    assert kinds[EventType.IMAGE_RECOGNIZED] == 1
    assert kinds[EventType.SENTIMENT_WINDOW] >= 3
    assert kinds[EventType.SENTIMENT_SESSION] == 1
    assert {event.session for event in outcome.results} == {SESSION, CLEAN}


def _said(event: Event) -> str:
    """A result without the ids, which name the session."""
    fields = {**json.loads(event.data), "session": "", "image": ""}
    fields["biased_by"] = len(fields.get("biased_by", ()))
    for evidence in fields.get("evidence", ()):
        evidence["id"] = ""
    return json.dumps([event.type, fields], sort_keys=True)


async def test_the_metric_counts_them_by_reason(outcome: Outcome) -> None:
    start = 'tenor_dead_letters_total{reason="'
    counted = {
        line.removeprefix(start).partition('"')[0]: float(line.split()[-1])
        for line in outcome.metrics.splitlines()
        if line.startswith(start)
    }
    assert counted == Counter(bad.reason for bad in outcome.bad)


async def test_what_a_producer_has_compressed_is_read(
    installation: Callable[[], Installation],
) -> None:
    made = installation()
    await made.make_topics()
    codecs = ("gzip", "snappy", "lz4", "zstd")
    for how in codecs:
        sender = AIOKafkaProducer(**made.brokers.options(), compression_type=how)
        await sender.start()
        try:
            await sender.send_and_wait(made.topics.text, how.encode() * 100)
        finally:
            await sender.stop()
    records = await made.read(["text"], count=len(codecs), s=20)
    assert {record.value for record in records} == {how.encode() * 100 for how in codecs}
