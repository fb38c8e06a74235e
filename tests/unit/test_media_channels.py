"""Several channels in one chunk, chunks of any length and rate, and what is refused of them."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import resample_poly

from streams.g711 import a_law, from_a_law, from_mu_law, mu_law
from streams.media import Limits, MediaError, Pcm, decode_audio, resample

LIMITS = Limits()
RATES = [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]


def noise(channels: int, samples: int, seed: int = 0) -> Pcm:
    level = np.linspace(8000, 1000, channels)[:, None]  # no two channels are alike
    drawn = np.random.default_rng(seed).normal(0, 1, (channels, samples)) * level
    return np.clip(np.rint(drawn), -32768, 32767).astype(np.int16)


def interleaved(samples: Pcm) -> Pcm:
    return np.ascontiguousarray(samples.T).reshape(-1)


def file(samples: Pcm, kind: str = "WAV", rate: int = 16_000) -> bytes:
    made = io.BytesIO()
    soundfile.write(made, samples.T, rate, format=kind)
    return made.getvalue()


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_interleaved_channels_come_apart(channels: int, rate: int) -> None:
    sent = noise(channels, 320)
    l16 = interleaved(sent).tobytes()
    heard = decode_audio(f"audio/L16;rate={rate};channels={channels}", l16, LIMITS)
    assert np.array_equal(heard, resample(sent, rate))
    for law, encode, value in (("PCMU", mu_law, from_mu_law), ("PCMA", a_law, from_a_law)):
        codes = encode(interleaved(sent))
        wanted = np.stack([value(encode(channel)) for channel in sent])
        heard = decode_audio(f"audio/{law};rate={rate};channels={channels}", codes, LIMITS)
        assert np.array_equal(heard, resample(wanted, rate))


@pytest.mark.parametrize(("kind", "content_type"), [("WAV", "wav"), ("FLAC", "flac")])
@pytest.mark.parametrize("channels", range(1, 9))
def test_files_of_several_channels(kind: str, content_type: str, channels: int) -> None:
    sent = noise(channels, 320)
    assert np.array_equal(decode_audio(f"audio/{content_type}", file(sent, kind), LIMITS), sent)


def test_an_ogg_of_two_channels() -> None:
    time = np.arange(16_000) / 16_000
    left, right = (
        np.rint(8000 * np.sin(2 * np.pi * f * time)).astype(np.int16) for f in (440, 660)
    )
    heard = decode_audio("audio/ogg", file(np.stack([left, right]), "OGG"), LIMITS)
    for got, wanted in zip(heard, (left, right), strict=True):
        assert np.corrcoef(got, wanted)[0, 1] > 0.99


@pytest.mark.parametrize("text", ['channels="2"', " Channels = 2 ", "channels=2;rate=16000"])
def test_how_channels_may_be_written(text: str) -> None:
    sent = noise(2, 10)
    heard = decode_audio(f"audio/L16;{text}", interleaved(sent).tobytes(), LIMITS)
    assert np.array_equal(heard, sent)


def with_half_a_frame() -> bytes:
    """A well-formed file whose samples end after the left one."""
    wav = bytearray(file(noise(2, 10))[:-2])
    wav[4:8] = (len(wav) - 8).to_bytes(4, "little")
    wav[40:44] = (len(wav) - 44).to_bytes(4, "little")
    return bytes(wav)


REFUSED: list[tuple[str, str, Callable[[], bytes], str]] = [
    ("no channel", "audio/L16;channels=0", lambda: bytes(32), "unsupported-channels"),
    ("nine channels", "audio/L16;channels=9", lambda: bytes(36), "unsupported-channels"),
    ("minus one", "audio/PCMU;channels=-1", lambda: bytes(36), "unsupported-channels"),
    ("a word", "audio/PCMU;channels=two", lambda: bytes(36), "unsupported-channels"),
    ("nothing named", "audio/PCMU;channels=", lambda: bytes(36), "unsupported-channels"),
    ("endless", f"audio/L16;channels={'2' * 5000}", lambda: bytes(36), "unsupported-channels"),
    ("a wav of nine", "audio/wav", lambda: file(noise(9, 10)), "unsupported-channels"),
    ("half a frame", "audio/L16;channels=2", lambda: bytes(18), "truncated-audio"),
    ("half a sample", "audio/L16;channels=2", lambda: bytes(17), "truncated-audio"),
    ("one of three bytes", "audio/PCMU;channels=3", lambda: bytes(160), "truncated-audio"),
    ("A-law", "audio/PCMA;channels=8", lambda: bytes(4), "truncated-audio"),
    ("a wav's half frame", "audio/wav", with_half_a_frame, "truncated-audio"),
    ("no frame", "audio/PCMU;channels=2", bytes, "empty-audio"),
    ("3 s", "audio/PCMU;channels=2", lambda: bytes(2 * 3 * 8_000), "audio-too-long"),
    ("a wav of 3 s", "audio/wav", lambda: file(noise(2, 48_000)), "audio-too-long"),
]


@pytest.mark.parametrize(
    ("content_type", "make", "reason"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED]
)
def test_what_is_refused(content_type: str, make: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(MediaError) as refusal:
        decode_audio(content_type, make(), LIMITS)
    assert refusal.value.reason == reason
    assert len(str(refusal.value)) < 200


def test_the_longest_chunk_counts_time_and_not_channels() -> None:
    assert decode_audio("audio/PCMU;channels=8", bytes(8 * 16_000), LIMITS).shape == (8, 32_000)


@pytest.mark.parametrize("rate", RATES)
def test_resampling_keeps_a_tone_of_each_channel(rate: int) -> None:
    def tones(rate: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        time = np.arange(rate) / rate
        return np.stack([16_000 * np.sin(2 * np.pi * hertz * time) for hertz in (440, 1_500)])

    heard = resample(np.rint(tones(rate)).astype(np.int16), rate)
    assert heard.shape == (2, 16_000)
    error = (heard - tones(16_000))[:, 500:-500]  # the filter rings at the edges
    assert np.sqrt(np.mean(error**2)) < 0.01 * 16_000 / np.sqrt(2)


@pytest.mark.parametrize("rate", RATES)
@given(chunk_ms=st.integers(1, 2_000), channels=st.integers(1, 3))
def test_a_whole_number_of_samples_is_exact(rate: int, chunk_ms: int, channels: int) -> None:
    if rate * chunk_ms % 1000 == 0:
        sent = noise(channels, rate * chunk_ms // 1000)
        assert resample(sent, rate).shape == (channels, 16 * chunk_ms)


@given(rate=st.sampled_from(RATES), samples=st.integers(1, 4_096), seed=st.integers(0, 99))
def test_a_count_is_rounded_up_or_down(rate: int, samples: int, seed: int) -> None:
    count = resample(noise(1, samples, seed), rate).shape[1]
    assert count >= 1
    assert abs(count - samples * 16_000 / rate) < 1


@pytest.mark.parametrize(
    ("rate", "samples"), [(11_025, 220), (11_025, 221), (48_000, 1_024), (44_100, 1_024)]
)
def test_equal_chunks_do_not_drift(rate: int, samples: int) -> None:
    """Rounded to the nearest they would be 0.3 samples off each, 1,200 in all."""
    chunks = 4_000
    sent = noise(1, chunks * samples).reshape(chunks, 1, samples)
    count = sum(resample(chunk, rate).shape[1] for chunk in sent)
    assert abs(count - chunks * samples * 16_000 / rate) < 4 * np.sqrt(chunks) / 2


@given(rate=st.sampled_from(RATES), samples=st.integers(1, 400), seed=st.integers(0, 99))
def test_a_chunk_gives_the_same_samples_wherever_it_comes(
    rate: int, samples: int, seed: int
) -> None:
    chunk = noise(2, samples, seed)
    first = resample(chunk, rate)
    resample(noise(2, samples, seed + 1), rate)
    assert np.array_equal(resample(chunk, rate), first)


def test_a_sample_that_comes_alone_is_heard_at_every_rate() -> None:
    for rate in RATES:
        heard = resample(np.array([[1000]], np.int16), rate)
        assert heard.shape == (1, 2 if rate == 8_000 else heard.shape[1])
        assert 0.5 < heard[0, 0] / 1000 < 1.5


@given(st.integers(1, 4000), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_the_telephones_rate_is_resampled_as_any_other(
    length: int, channels: int, seed: int
) -> None:
    sent = noise(channels, length, seed)
    edges = "line" if length > 1 else "mean"
    wanted = resample_poly(sent.astype(np.float32), 2, 1, axis=-1, padtype=edges)
    assert np.abs(resample(sent, 8_000) - np.clip(wanted, -32768, 32767)).max() <= 0.5 + 0.01
