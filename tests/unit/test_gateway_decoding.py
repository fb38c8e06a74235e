"""What clients send as audio, decoded: whole, cut anywhere, and what is no audio."""

from __future__ import annotations

import contextlib
import io
import random
import resource
import struct
import threading
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import pytest

from streams.g711 import a_law, mu_law
from streams.gateway import decoding
from streams.gateway.decoding import Decoder, Limits, container_of, decode_file, decoder
from streams.gateway.resuming import PCM
from streams.media import MediaError
from tests.made_recordings import ENCODERS, recording, tones

TWO = (440.0, 880.0)


def whole(data: bytes, kind: str, channels: int = 1, limits: Limits | None = None) -> list[bytes]:
    pieces = list(decode_file(io.BytesIO(data), kind, channels, limits or Limits()))
    return [b"".join(parts) for parts in zip(*pieces, strict=True)]


def streamed(feeding: Decoder, data: bytes, sizes: Sequence[int], channels: int = 1) -> list[bytes]:
    made, at = [], 0
    for size in sizes:
        made.append(feeding.feed(data[at : at + size]))
        at += size
    made += [feeding.feed(data[at:]), feeding.close()]
    return [b"".join(each[channel] for each in made) for channel in range(channels)]


def loudest(samples: bytes) -> float:
    """The frequency (Hz) that is strongest."""
    heard = np.frombuffer(samples, np.int16).astype(float)
    return float(np.argmax(np.abs(np.fft.rfft(heard))) * PCM.rate / len(heard))


def seconds(samples: bytes) -> float:
    return len(samples) / PCM.width / PCM.rate


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_file_is_decoded_to_its_length_and_its_tone(kind: str) -> None:
    rate = 48_000 if kind in ("webm", "ogg") else 44_100
    [samples] = whole(recording(kind, rate=rate), kind)
    assert seconds(samples) == pytest.approx(2.0, abs=0.05)
    assert loudest(samples) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(
    ("codec", "rate"),
    [("pcm_mulaw", 8000), ("pcm_alaw", 8000), ("pcm_f32le", 16_000), ("pcm_s24le", 96_000)],
)
def test_wav_may_hold_what_it_will(codec: str, rate: int) -> None:
    [samples] = whole(recording("wav", rate=rate, codec=codec), "wav")
    assert seconds(samples) == 2.0
    assert loudest(samples) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("kind", ["webm", "ogg", "wav", "flac"])
def test_channels_are_told_apart_or_mixed(kind: str) -> None:
    data = recording(kind, hertz=TWO)
    left, right = whole(data, kind, channels=2)
    assert (loudest(left), loudest(right)) == pytest.approx(TWO, abs=2)
    [mixed] = whole(data, kind, channels=1)
    spectrum = np.abs(np.fft.rfft(np.frombuffer(mixed, np.int16).astype(float)))
    per_hertz = len(mixed) // 2 / PCM.rate
    strong = [spectrum[round(each * per_hertz)] for each in TWO]
    assert min(strong) > 0.5 * max(strong)


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_the_most_channels_are_told_apart(kind: str) -> None:
    """Eight: as planes of one frame they would crash the process."""
    hertz = tuple(400.0 + 100 * n for n in range(8))
    data = recording(kind, hertz=hertz)
    for made in (whole(data, kind, 8), streamed(decoder(kind, channels=8), data, [999], 8)):
        assert [loudest(each) for each in made] == pytest.approx(hertz, abs=2)


@pytest.mark.parametrize("kind", ["webm", "ogg", "wav", "flac"])
def test_a_stream_is_what_the_file_is_wherever_it_is_cut(kind: str) -> None:
    data = recording(kind, 0.7, rate=48_000 if kind in ("webm", "ogg") else 16_000)
    draw = random.Random(7)
    for size in (100, 5000, len(data)):
        sizes = [draw.randint(1, size) for _ in range(2 * len(data) // size)]
        assert streamed(decoder(kind), data, sizes) == whole(data, kind)


@pytest.mark.parametrize("kind", ["webm", "ogg"])
def test_what_a_browser_records_is_heard_while_it_comes(kind: str) -> None:
    data, feeding = recording(kind, 3.0), decoder(kind)
    half = feeding.feed(data[: len(data) // 2])
    assert seconds(half[0]) > 1.2
    feeding.leave()


def test_raw_samples_are_only_told_apart() -> None:
    samples = tones(0.5, 24_000, TWO)
    interleaved = samples.T.tobytes()
    sizes = [1, 2, 3, 4, 5, 6, 7] * 20
    made = streamed(decoder("linear16", 24_000, 2), interleaved, sizes, 2)
    assert made == [samples[0].tobytes(), samples[1].tobytes()]
    for encoding, code in (("mulaw", mu_law), ("alaw", a_law)):
        codes = [np.frombuffer(code(channel), np.uint8) for channel in samples]
        feeding = decoder(encoding, 8000, 2)
        assert feeding.format.content_type == f"{decoding.RAW[encoding]};rate=8000"
        made = streamed(feeding, np.stack(codes).T.tobytes(), sizes, 2)
        assert made == [each.tobytes() for each in codes]


def test_half_a_sample_at_the_end_is_none() -> None:
    assert streamed(decoder("linear16"), b"\1\2\3", [1]) == [b"\1\2"]


def test_an_encoding_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="linear16, mulaw, alaw, webm"):
        decoder("opus")


def test_containers_are_known_by_their_first_bytes() -> None:
    for kind in decoding.STREAMED:
        assert container_of(recording(kind)[:8]) == kind
    assert container_of(b"\0\1\2\3") == ""


def refused(data: bytes, kind: str, channels: int = 1, limits: Limits | None = None) -> str:
    with pytest.raises(MediaError) as error:
        whole(data, kind, channels, limits)
    assert len(str(error.value)) < 200
    return error.value.reason


@pytest.mark.parametrize("kind", ENCODERS)
def test_what_is_no_audio_is_refused(kind: str) -> None:
    noise = random.Random(3).randbytes(100_000)
    assert refused(noise, kind) in ("undecodable-audio", "empty-audio")
    assert refused(b"", kind) in ("undecodable-audio", "empty-audio")
    other = recording("wav" if kind != "wav" else "flac")
    assert refused(other, kind) in ("undecodable-audio", "empty-audio")


def test_limits_of_a_file() -> None:
    data = recording("wav", rate=48_000)
    assert refused(data, "wav", limits=Limits(seconds=1.0)) == "audio-too-long"
    assert refused(data, "wav", limits=Limits(highest_rate=44_100)) == "unsupported-rate"
    assert refused(data, "wav", limits=Limits(spent_s=0.0)) == "audio-too-long"
    assert refused(data, "wav", channels=2) == "unsupported-channels"
    two = recording("wav", hertz=TWO)
    assert refused(two, "wav", limits=Limits(channels=1)) == "unsupported-channels"
    assert refused(recording("wav")[:44], "wav") in ("undecodable-audio", "empty-audio")


def test_a_rate_that_would_make_hours_of_a_few_bytes_is_refused() -> None:
    wav = bytearray(recording("wav", rate=8000))
    wav[24:28] = (1).to_bytes(4, "little")
    assert refused(bytes(wav), "wav") == "unsupported-rate"


def test_a_size_that_is_only_declared_takes_no_memory() -> None:
    """Two chunks of metadata, one in the other, that say they have 2 GB."""
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    large = b"LIST" + struct.pack("<I", 2**31 - 16) + b"INFOISFT" + struct.pack("<I", 2**31 - 2**24)
    body = b"WAVE" + form + large + bytes(2000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(b"RIFF" + struct.pack("<I", len(body)) + body, "wav")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_only_decoders_of_sound_are_opened() -> None:
    """A picture beside the sound is not looked at; a codec that is not ours is not opened."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        sound = container.add_stream("ac3", rate=48_000)
        assert isinstance(sound, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, sound.frame_size or 1536), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    assert refused(file.getvalue(), "webm") == "unsupported-audio"


def test_too_many_streams_are_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        for _ in range(20):
            container.add_stream("pcm_s16le", rate=8000, layout="mono")
        container.start_encoding()
    assert refused(file.getvalue(), "webm") in ("undecodable-audio", "empty-audio")


def test_a_stream_that_is_no_audio_is_refused_before_it_is_long() -> None:
    feeding = decoder("webm")
    junk = recording("webm")[:600] + bytes(2 * decoding.BARREN)
    with pytest.raises(MediaError, match=r"no sound|cannot be decoded"):
        for at in range(0, len(junk), 50_000):
            feeding.feed(junk[at : at + 50_000])
    with pytest.raises(MediaError):
        feeding.feed(b"more")
    feeding.leave()


def test_what_comes_after_a_recording_is_refused_when_that_was_heard() -> None:
    data, feeding = recording("webm"), decoder("webm")
    heard = streamed(decoder("webm"), data, [])
    made = feeding.feed(data)
    with pytest.raises(MediaError):
        for _ in range(40):
            made = [made[0] + feeding.feed(b"\0" * 50_000)[0]]
    assert heard[0].startswith(made[0])
    assert seconds(made[0]) > 1.9
    feeding.leave()


def test_limits_of_a_stream() -> None:
    feeding = decoder("webm", limits=Limits(seconds=1.0))
    with pytest.raises(MediaError) as error:
        streamed(feeding, recording("webm", 3.0), [500] * 100)
    assert error.value.reason == "audio-too-long"


def test_much_silence_in_few_bytes_is_limited() -> None:
    """Packets of two bytes, each of which is 120 ms of silence."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        container.start_encoding()
        for place in range(25_000):
            packet = av.Packet(b"\x1b\x02")
            packet.stream, packet.time_base = stream, Fraction(1, 48_000)
            packet.pts = packet.dts = place * 5760
            container.mux_one(packet)
    bomb = file.getvalue()
    assert len(bomb) < 2**19
    feeding = decoder("webm")
    with pytest.raises(MediaError, match="at once"):
        while len(feeding.feed(bomb)[0]) < 2 * decoding.DENSE:
            pass
    feeding.leave()
    assert refused(bomb, "webm", limits=Limits(seconds=600)) == "audio-too-long"


def crc(data: bytes, polynomial: int, bits: int) -> int:
    """As FLAC has it."""
    made = 0
    for each in data:
        made ^= each << (bits - 8)
        for _ in range(8):
            made = (made << 1) ^ (polynomial if made >> (bits - 1) else 0)
    return made


def flac_bomb(frames: int) -> bytes:
    """Frames of 31 bytes, each of them 65,535 samples of 7 channels at 8 kHz: constants."""
    about = 8000 << 44 | (7 - 1) << 41 | (16 - 1) << 36
    info = struct.pack(">HH6xQ16x", 65_535, 65_535, about)
    made = b"fLaC\x80" + len(info).to_bytes(3, "big") + info
    for number in range(frames):
        head = b"\xff\xf8\x74\x68" + bytes([number]) + b"\xff\xfe"
        frame = head + bytes([crc(head, 0x107, 8)]) + b"\0\1\0" * 7
        made += frame + crc(frame, 0x18005, 16).to_bytes(2, "big")
    return made


def test_a_bomb_is_dropped_before_it_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in one slice, so nobody looks at it before all of it was decoded."""
    feeding, limit, made = decoder("flac", channels=7), 8 * 2**20, 0
    monkeypatch.setattr(decoding, "DENSE", limit)

    class Counted(list[list[bytes]]):
        def append(self, samples: list[bytes]) -> None:
            nonlocal made
            made += sum(map(len, samples))
            super().append(samples)

    monkeypatch.setattr(feeding, "_made", Counted())
    bomb = flac_bomb(90)
    assert len(bomb) < 3000 < decoding.SLICE
    with pytest.raises(MediaError, match="at once"):
        feeding.feed(bomb)
    assert limit < made < 2 * limit
    feeding.leave()


@pytest.mark.parametrize("kind", ENCODERS)
def test_what_is_spoilt_is_decoded_or_refused(kind: str) -> None:
    whole_file = recording(kind, 0.3, rate=48_000 if kind in ("webm", "ogg") else 16_000)
    draw = random.Random(kind)
    for _ in range(40):
        spoilt = bytearray(whole_file)
        for _ in range(draw.choice((1, 3, 20))):
            at = draw.randrange(min(len(spoilt), draw.choice((300, 2**20))))
            spoilt[at : at + draw.randrange(3)] = draw.randbytes(draw.randrange(4))
        with contextlib.suppress(MediaError):
            assert seconds(whole(bytes(spoilt), kind, limits=Limits(seconds=10))[0]) < 11


def test_no_thread_is_left_behind() -> None:
    def threads() -> int:
        return sum("_run" in each.name for each in threading.enumerate())

    before = threads()
    for end in ("close", "leave", "error"):
        feeding = decoder("ogg")
        feeding.feed(recording("ogg")[:20_000] if end != "error" else b"no Ogg at all")
        feeding.close() if end == "close" else feeding.leave()
    for thread in threading.enumerate():
        if "_run" in thread.name:
            thread.join(10)
    assert threads() == before


def test_a_decoder_that_was_given_nothing_gives_nothing() -> None:
    assert decoder("webm").close() == [b""]
    decoder("webm").leave()
