"""G.711 beside CPython's `audioop`, which was written by others from the standard."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from streams.g711 import a_law, from_a_law, from_mu_law, mu_law
from streams.media import Limits, Pcm, decode_audio

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # removed from Python 3.13
    import audioop

CODES = bytes(range(256))
SAMPLES = np.arange(-32768, 32768).astype(np.int16)
LAWS = [
    pytest.param(mu_law, from_mu_law, audioop.lin2ulaw, audioop.ulaw2lin, id="mu-law"),
    pytest.param(a_law, from_a_law, audioop.lin2alaw, audioop.alaw2lin, id="A-law"),
]
Encode = Callable[[Pcm], bytes]
Decode = Callable[[bytes], Pcm]
Reference = Callable[[bytes, int], bytes]


@pytest.mark.parametrize(("encode", "decode", "reference", "linear"), LAWS)
def test_all_codes_mean_what_the_reference_says(
    encode: Encode, decode: Decode, reference: Reference, linear: Reference
) -> None:
    assert decode(CODES).tobytes() == linear(CODES, 2)


@pytest.mark.parametrize(("encode", "decode", "reference", "linear"), LAWS)
def test_a_decoded_value_is_sent_as_the_code_that_the_reference_sends(
    encode: Encode, decode: Decode, reference: Reference, linear: Reference
) -> None:
    values = decode(CODES)
    assert encode(values) == reference(values.tobytes(), 2)


@pytest.mark.parametrize(("encode", "decode", "reference", "linear"), LAWS)
def test_every_sample_gets_the_nearest_code(
    encode: Encode, decode: Decode, reference: Reference, linear: Reference
) -> None:
    values = np.frombuffer(linear(CODES, 2), np.int16).astype(int)
    nearest = np.abs(values - SAMPLES[:, None].astype(int)).min(axis=1)
    ours = np.abs(decode(encode(SAMPLES)).astype(int) - SAMPLES)
    theirs = np.abs(decode(reference(SAMPLES.tobytes(), 2)).astype(int) - SAMPLES)
    assert np.array_equal(ours, nearest)
    assert (ours <= theirs).all()  # the reference cuts low bits off first


def test_silence_is_sent_as_idle_lines_send_it() -> None:
    silence = np.zeros(3, np.int16)
    assert mu_law(silence) == b"\xff" * 3
    assert a_law(silence) == b"\xd5" * 3


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize(("encode", "content_type"), [(mu_law, "PCMU"), (a_law, "PCMA")])
def test_at_every_rate(encode: Encode, content_type: str, rate: int) -> None:
    time = np.arange(rate) / rate
    sent = np.rint(8000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
    heard = decode_audio(f"audio/{content_type};rate={rate}", encode(sent), Limits())[0]
    wanted = 8000 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert heard.shape == wanted.shape
    error = (heard - wanted)[500:-500]
    assert np.sqrt(np.mean(error**2)) < 0.03 * np.sqrt(np.mean(wanted**2))  # some 37 dB


def test_the_rate_of_the_telephone_is_the_default() -> None:
    assert decode_audio("audio/PCMU", CODES, Limits()).shape == (1, 512)
    assert decode_audio("audio/PCMA", CODES, Limits()).shape == (1, 512)
