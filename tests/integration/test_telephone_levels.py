"""What a telephone line does to the level of speech, and that speech is found all the same.

The customer of the demo call, sent in mu-law: quieter, louder than the line can carry, with an
offset, with holes. Heard by the real voice-activity detector.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from models import registry
from models.base import VoiceActivityDetector
from streams.g711 import mu_law
from streams.media import SAMPLE_RATE, Limits, Pcm, decode_audio
from streams.segmenter import Segmenter

LINE = 8_000
CHUNK = LINE // 5
Line = npt.NDArray[np.float64]
Spans = list[tuple[float, float]]


@pytest.fixture(scope="module")
def vad() -> VoiceActivityDetector:
    return registry.load_vad()


@pytest.fixture(scope="module")
def line(demo_call: Path) -> Line:
    """What the customer's telephone sends, in [-1, 1] at 8 kHz."""
    if not (demo_call / "customer.wav").exists():
        pytest.skip("the demo call is absent")
    samples, rate = soundfile.read(demo_call / "customer.wav", dtype="float64")
    assert rate == LINE
    return np.asarray(samples)


@pytest.fixture(scope="module")
def spoken(demo_call: Path) -> Spans:
    """Start and end (s) of all that the customer says."""
    script = json.loads((demo_call / "script.json").read_text(encoding="utf-8"))
    said = (each for each in script["utterances"] if each["channel"] == "customer")
    return [(each["start"], each["end"]) for each in said]


def transmitted(line: Line) -> list[Pcm]:
    """Through mu-law and the decoder: chunks of 200 ms, int16 [n] at 16 kHz."""
    codes = mu_law(np.clip(np.rint(line * 32767), -32768, 32767).astype(np.int16))
    chunks = (codes[start : start + CHUNK] for start in range(0, len(codes), CHUNK))
    return [decode_audio("audio/PCMU", chunk, Limits())[0] for chunk in chunks]


def speech(chunks: list[Pcm], vad: VoiceActivityDetector) -> Spans:
    """Start and end (s) of the utterances that the segmenter finds."""
    segmenter, state, segments = Segmenter(), vad.initial(), []
    for chunk in chunks:
        segmenter.push(chunk)
        while len(frames := segmenter.unscored()):
            (state,), (heard,) = vad.step([state], [frames.astype(np.float32) / np.float32(32768)])
            if cut := segmenter.step(heard):
                segments.append(cut)
                state = vad.initial()
    segments += segmenter.flush()
    return [(s.start / SAMPLE_RATE, s.end / SAMPLE_RATE) for s in segments if s.kind == "speech"]


def found(spans: Spans, spoken: Spans) -> float:
    """The part of the spoken time that lies in utterances."""
    both = sum(max(0.0, min(b, d) - max(a, c)) for a, b in spans for c, d in spoken)
    return both / sum(end - start for start, end in spoken)


def decibels(level: float) -> float:
    return float(10 ** (level / 20))


@pytest.mark.parametrize("level", [0, -15, -30])
def test_quiet_speech_is_found(
    vad: VoiceActivityDetector, line: Line, spoken: Spans, level: float
) -> None:
    """Speech of -22 dB below full scale, and as much as 30 dB quieter."""
    assert found(speech(transmitted(line * decibels(level)), vad), spoken) > 0.9


@pytest.mark.parametrize("level", [0, -15])
def test_speech_is_found_beside_an_offset(
    vad: VoiceActivityDetector, line: Line, spoken: Spans, level: float
) -> None:
    """10 % of full scale: there a step of mu-law is as large as speech of -30 dB is loud."""
    assert found(speech(transmitted(line * decibels(level) + 0.1), vad), spoken) > 0.9


def test_speech_that_is_clipped_is_found(
    vad: VoiceActivityDetector, line: Line, spoken: Spans
) -> None:
    assert found(speech(transmitted(line * decibels(30)), vad), spoken) > 0.9


@pytest.mark.parametrize("hole_ms", [60, 400])
def test_speech_with_a_hole_is_one_utterance(
    vad: VoiceActivityDetector, line: Line, spoken: Spans, hole_ms: int
) -> None:
    """Digital silence in the middle of each utterance, as of packets that were lost."""
    holed, middles = line.copy(), [(start + end) / 2 for start, end in spoken]
    for middle in middles:
        holed[int(middle * LINE) :][: hole_ms * LINE // 1000] = 0
    spans = speech(transmitted(holed), vad)
    assert found(spans, spoken) > 0.9
    assert all(any(start < middle < end for start, end in spans) for middle in middles)


def test_an_idle_line_is_silent(vad: VoiceActivityDetector) -> None:
    assert not speech(transmitted(np.zeros(20 * LINE)), vad)
