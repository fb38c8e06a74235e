"""What clients send through gateways to a real Kafka: all of it, byte for byte, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode

import av
import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from PIL import Image
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streams.events import Event, EventType
from streams.gateway.decoding import Limits, decode_file
from streams.gateway.gate import Gate
from streams.gateway.ingest import Ingest
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.parts import Parts
from streams.gateway.server import Server, config_of, listening
from streams.gateway.settings import GatewaySettings
from tests.harness import Installation, events

PATIENCE_S = 240
PIECE = 400
"""Bytes of a message: 50 ms of telephone audio."""

HOSTILE = {
    "webm": b"\x1aE\xdf\xa3\x9fB\x86\x81\x01" + b"\xec\x08\xff\xff\xff\xff\xff\xff\xff" * 5000,
    "ogg": b"OggS\0\2" + bytes(20) + b"\xff" * 50_000,
    "wav": b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\x7f" + bytes(50_000),
    "flac": b"fLaC\xff\xff\xff\xff" * 6000,
    "mp3": b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(50_000),
}
"""Sizes that are not there, and headers of nothing."""

Installing = Callable[[], Installation]


@dataclass
class Gateway:
    """One that serves in this process."""

    port: int

    @asynccontextmanager
    async def socket(self, session: str, **query: object) -> AsyncIterator[Client]:
        path = f"/v1/sessions/{quote(session, safe='')}/audio?{urlencode(query)}"
        url = f"ws://localhost:{self.port}{path}"
        async with connect(url, open_timeout=PATIENCE_S, close_timeout=5) as socket:
            yield Client(socket)

    async def post(
        self, path: str, data: bytes = b"", content_type: str = "", **query: str | int
    ) -> httpx.Response:
        url = f"http://localhost:{self.port}/v1/sessions/{path}"
        headers = {"content-type": content_type} if content_type else {}
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            return await http.post(url, content=data, params=query, headers=headers)


@dataclass
class Client:
    """One that sends audio; `ack` is the last that it heard."""

    socket: ClientConnection
    ack: dict[str, Any] = field(default_factory=dict)

    async def send(self, data: bytes, piece: int = PIECE) -> None:
        for at in range(0, len(data), piece):
            await self.socket.send(data[at : at + piece])

    async def heard(self, confirmed_ms: int) -> None:
        """Until so much is acknowledged."""
        while self.ack.get("confirmed_ms", -1) < confirmed_ms:
            self.ack = await self.message("ready", "ack")

    async def closed(self) -> dict[str, Any]:
        await self.socket.send(json.dumps({"type": "close"}))
        while (message := await self.message("ready", "ack", "closed"))["type"] != "closed":
            pass
        return message

    async def message(self, *types: str) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            message: dict[str, Any] = json.loads(await self.socket.recv())
        assert message["type"] in types, message
        return message

    def break_off(self) -> None:
        """As when the network is gone."""
        self.socket.transport.abort()


@asynccontextmanager
async def gateways(tenor: Installation, number: int = 1) -> AsyncIterator[list[Gateway]]:
    """That many of them, with nothing in common but Kafka."""
    await tenor.make_topics()
    settings, absent = GatewaySettings(port=0, metrics_port=0), cast(Any, None)
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for _ in range(number):
            metrics, gate = GatewayMetrics(), Gate(settings)
            ingest = await stack.enter_async_context(
                Ingest.opened(tenor.brokers, tenor.topics, metrics)
            )
            parts = Parts(
                settings, gate, ingest, absent, absent, metrics, tenor.brokers, tenor.topics
            )
            listener = stack.enter_context(listening(settings))
            server = Server(config_of(parts, None))
            serving = asyncio.create_task(server.serve([listener]))
            stack.push_async_callback(_stopped, server, serving)
            made.append(Gateway(listener.getsockname()[1]))
        yield made


async def _stopped(server: Server, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    await serving


async def log_of(tenor: Installation, topic: str, count: int) -> list[Event]:
    """What is on a topic once so many records are there."""
    records = await tenor.read([topic], count=count, s=PATIENCE_S)
    read = events(records)
    assert len(read) == len(records)  # agents can read all of it
    return read


def once(log: Sequence[Event]) -> list[Event]:
    """The log without repetitions, which have to be the same in all."""
    first = {event.id: event for event in reversed(log)}
    assert [event for event in log if first[event.id] != event] == []
    return sorted(first.values(), key=lambda event: (event.channel, event.sequence or 0))


def codes_of(file: Path) -> bytes:
    """The samples of a telephone recording (WAV, mu-law), as they are."""
    data = file.read_bytes()
    at = data.index(b"data") + 8
    return data[at : at + int.from_bytes(data[at - 4 : at], "little")]


def recorded(file: Path, kind: str, seconds: float) -> bytes:
    """A telephone recording as a browser would have recorded it."""
    made = io.BytesIO()
    with av.open(str(file)) as source, av.open(made, "w", format=kind) as target:
        stream = target.add_stream("libopus", rate=48_000, layout="mono")
        assert isinstance(stream, av.AudioStream)
        resampler = av.AudioResampler(stream.format.name, "mono", 48_000, stream.frame_size)
        for frame in source.decode(audio=0):
            if frame.time is not None and frame.time < seconds:
                for part in resampler.resample(frame):
                    target.mux(stream.encode(part))
        target.mux(stream.encode(None))
    return made.getvalue()


def decoded(data: bytes, kind: str) -> bytes:
    return b"".join(samples[0] for samples in decode_file(io.BytesIO(data), kind, 1, Limits()))


async def test_a_call_lands_on_its_topic_byte_for_byte(
    installation: Installing, demo_call: Path
) -> None:
    tenor = installation()
    sides = {name: codes_of(demo_call / f"{name}.wav")[:80_000] for name in ("customer", "agent")}

    async def speak(gateway: Gateway, name: str) -> dict[str, Any]:
        async with gateway.socket("call 1/a", channel=name, encoding="mulaw") as client:
            await client.send(sides[name])
            return await client.closed()

    async with gateways(tenor, 2) as both:
        ends = await asyncio.gather(*map(speak, both, sides))
    assert [end["position_ms"] for end in ends] == [10_000, 10_000]
    log = await log_of(tenor, "audio", 200)
    assert len(log) == 200
    for name, end in zip(sides, ends, strict=True):
        chunks = [event for event in log if event.channel == name]
        assert b"".join(event.data for event in chunks) == sides[name]
        assert [event.sequence for event in chunks] == list(range(100))
        assert [event.time for event in chunks] == [end["start"] + 100 * n for n in range(100)]
        assert {event.content_type for event in chunks} == {"audio/PCMU;rate=8000"}
        assert {event.session for event in chunks} == {"call 1/a"}


async def test_a_drop_is_resumed_at_another_gateway(
    installation: Installing, demo_call: Path
) -> None:
    """Over and over, wherever it breaks; what was on its way then is in the log, or comes again."""
    tenor, codes = installation(), codes_of(demo_call / "customer.wav")[:64_000]
    kept, place = codes, dict[str, Any]()
    async with gateways(tenor, 2) as both:
        for turn in range(4):
            query = {"channel": "customer", "encoding": "mulaw", **place}
            async with both[turn % 2].socket("call", **query) as client:
                # Even if all of it is confirmed each time, there is enough for the next.
                await client.send(kept[:12_007])
                await client.heard(1000 + 100 * turn)
                client.break_off()
            kept = kept[client.ack["confirmed_ms"] * 8 :]
            place = {name: client.ack[name] for name in ("start", "sequence")}
        async with both[0].socket("call", channel="customer", encoding="mulaw", **place) as client:
            await client.send(kept)
            end = await client.closed()
    assert (end["position_ms"], end["sequence"]) == (8000, 80)
    chunks = once(await log_of(tenor, "audio", 80))
    assert [event.sequence for event in chunks] == list(range(80))
    assert b"".join(event.data for event in chunks) == codes
    assert [event.time for event in chunks] == [end["start"] + 100 * n for n in range(80)]


@pytest.mark.parametrize("kind", ["webm", "ogg"])
async def test_what_a_browser_records_is_in_the_log_as_pcm(
    installation: Installing, demo_call: Path, kind: str
) -> None:
    """And if it breaks off, the same recording is sent again, and what is known left out."""
    tenor, data = installation(), recorded(demo_call / "agent.wav", kind, 6.0)
    whole = decoded(data, kind)
    async with gateways(tenor, 2) as (first, second):
        async with first.socket("call", encoding=kind) as client:
            await client.send(data[: len(data) // 2], 1500)
            await client.heard(1000)
            client.break_off()
        place = {name: client.ack[name] for name in ("start", "sequence")}
        async with second.socket("call", encoding=kind, begin=0, **place) as client:
            await client.send(data, 3000)
            end = await client.closed()
    chunks = once(await log_of(tenor, "audio", end["sequence"]))
    assert [event.sequence for event in chunks] == list(range(end["sequence"]))
    assert b"".join(event.data for event in chunks) == whole
    assert len(whole) == pytest.approx(6 * 32_000, rel=0.02)


async def test_texts_pictures_files_and_the_end(installation: Installing, demo_call: Path) -> None:
    tenor, picture = installation(), (demo_call / "cup.jpg").read_bytes()
    sound = (demo_call / "agent.wav").read_bytes()
    async with gateways(tenor) as [gateway]:
        text = await gateway.post("call/text", b"Hi", "text/plain", channel="customer")
        image = await gateway.post("call/images", picture, "image/jpeg", channel="customer")
        file = await gateway.post("call/audio", sound, "audio/wav", channel="agent")
        end = await gateway.post("call/end")
    assert [each.status_code for each in (text, image, file, end)] == [201] * 4
    [said, ended] = await log_of(tenor, "text", 2)
    [seen, _] = await log_of(tenor, "images", 2)
    assert (said.data, said.channel, said.id) == (b"Hi", "customer", text.json()["id"])
    assert (seen.data, seen.content_type) == (picture, "image/jpeg")
    assert ended.type is EventType.SESSION_ENDED
    place = image.json()
    [record] = [each for each in await tenor.read(["images"], count=2, s=PATIENCE_S) if each.value]
    assert (record.topic, record.partition, record.offset) == (
        place["topic"],
        place["partition"],
        place["offset"],
    )
    audio = await log_of(tenor, "audio", file.json()["chunks"] + 1)
    assert audio[-1].type is EventType.SESSION_ENDED
    whole = decoded(sound, "wav")
    assert b"".join(event.data for event in audio[:-1]) == whole
    assert file.json()["seconds"] == pytest.approx(len(whole) / 32_000, abs=0.001)
    assert audio[-2].time == file.json()["start"] + 100 * (file.json()["chunks"] - 1)


async def test_what_a_topic_does_not_take_is_refused_and_what_comes_then_is_not(
    installation: Installing, demo_call: Path
) -> None:
    """A producer that was refused a record cannot go on; the gateway can."""
    tenor, picture = installation(), (demo_call / "cup.jpg").read_bytes()
    async with gateways(tenor) as [gateway]:
        await limit_records(tenor, tenor.topics.images, len(picture) // 2)
        taken, large = 0, await gateway.post("call/images", picture, "image/jpeg")
        while large.status_code == 201:  # the limit takes effect in its own time
            taken, large = taken + 1, await gateway.post("call/images", picture, "image/jpeg")
        assert (large.status_code, large.json()["type"]) == (413, "urn:tenor:problem:too-large")
        small = io.BytesIO()
        Image.new("RGB", (32, 32), "red").save(small, "PNG")
        answers = [await gateway.post("call/images", small.getvalue(), "image/png")]
        while answers[-1].status_code != 201 and len(answers) < 20:
            assert answers[-1].status_code == 503
            await asyncio.sleep(0.5)
            answers.append(await gateway.post("call/images", small.getvalue(), "image/png"))
    assert answers[-1].status_code == 201
    log = await log_of(tenor, "images", taken + 1)
    assert [event.data for event in log] == [picture] * taken + [small.getvalue()]


async def limit_records(tenor: Installation, topic: str, size: int) -> None:
    admin = AIOKafkaAdminClient(**tenor.brokers.options())
    await admin.start()
    try:
        configs = {"max.message.bytes": str(size)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])
    finally:
        await admin.close()


async def test_hostile_audio_harms_nobody_else(installation: Installing, demo_call: Path) -> None:
    tenor, codes = installation(), codes_of(demo_call / "agent.wav")[:16_000]
    async with gateways(tenor) as [gateway], gateway.socket("good", encoding="mulaw") as client:
        await client.send(codes[:8000])
        for encoding, data in HOSTILE.items():
            async with gateway.socket("bad", encoding=encoding) as other:
                assert await refusal(other, data) in (1003, 1007), encoding
        await client.send(codes[8000:])
        assert (await client.closed())["sequence"] == 20
    log = await log_of(tenor, "audio", 20)
    assert b"".join(event.data for event in log) == codes


async def refusal(client: Client, data: bytes) -> int:
    """The code with which a client is closed that sends this again and again."""
    with pytest.raises(ConnectionClosed) as closed:
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(40):
                await client.socket.send(data)
            while True:
                await client.socket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code
