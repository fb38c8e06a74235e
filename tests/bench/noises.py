"""Made sounds without speech: what a line carries while nobody talks. At 16 kHz, from a seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from streams.media import Pcm
from streams.segmenter import SAMPLE_RATE

Wave = npt.NDArray[np.float64]
"""Samples [n], full scale 1."""
Make = Callable[[np.random.Generator, int], Wave]
"""Makes so many samples."""

PENTATONIC: Final = (0, 2, 4, 7, 9)
CHORDS: Final = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))
"""I, vi, IV, V in semitones over the tonic."""
DIGITS: Final = [(low, high) for low in (697, 770, 852) for high in (1209, 1336, 1477)]
"""1 to 9 on a telephone's keys (ITU-T Q.23), Hz."""


def sounds(seconds: float) -> Iterator[tuple[str, Pcm]]:
    """Every kind of sound, each with its name and as long, [n]."""
    for seed, (name, make) in enumerate(KINDS.items()):
        wave = make(np.random.default_rng(seed), round(seconds * SAMPLE_RATE))
        yield name, np.rint(np.clip(wave, -1, 1) * 32767).astype(np.int16)


def coloured(exponent: float, level_db: float) -> Make:
    """Noise whose power falls with frequency as f^-exponent; RMS against full scale."""

    def make(random: np.random.Generator, n: int) -> Wave:
        spectrum = np.fft.rfft(random.standard_normal(n))
        bins = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
        shape = np.where(bins < 20, 0.0, np.maximum(bins, 20.0) ** (-exponent / 2))
        return at_level(np.fft.irfft(spectrum * shape, n), level_db)

    return make


def hum(mains_hz: float) -> Make:
    """Mains hum: the odd harmonics are the stronger ones."""

    def make(random: np.random.Generator, n: int) -> Wave:
        parts = [
            tone(k * mains_hz, n, random.uniform(0, 2 * np.pi)) / (k if k % 2 else 3 * k)
            for k in range(1, 16)
        ]
        return at_level(np.sum(parts, axis=0), -30) + coloured(0, -65)(random, n)

    return make


def melody(random: np.random.Generator, n: int) -> Wave:
    """A plucked line: a random walk over the pentatonic scale."""
    wave, at, step = np.zeros(n), 0, 5
    while at < n:
        length = int(random.choice([0.15, 0.3, 0.3, 0.6]) * SAMPLE_RATE)
        step = int(np.clip(step + random.integers(-2, 3), 0, 12))
        octave, place = divmod(step, len(PENTATONIC))
        mix(wave, at, plucked(220 * 2 ** (octave + PENTATONIC[place] / 12), 2 * length, 5.0))
        at += length
    return at_level(wave, -20)


def chords(random: np.random.Generator, n: int) -> Wave:
    """An organ that holds each chord for two seconds, with a slow tremolo."""
    wave, length = np.zeros(n), 2 * SAMPLE_RATE
    swell = np.sin(np.linspace(0, np.pi, length)) ** 0.3
    for number, at in enumerate(range(0, n, length)):
        for semitone in CHORDS[number % len(CHORDS)]:
            frequency = 196 * 2 ** (semitone / 12)
            voice = [tone(k * frequency, length, random.uniform(0, 6)) / k for k in (1, 2, 3, 4, 6)]
            mix(wave, at, np.sum(voice, axis=0) * swell)
    return at_level(wave * (1 + 0.2 * tone(5, n)), -20)


def drums(random: np.random.Generator, n: int) -> Wave:
    """Eight beats in two seconds: kick, snare and hi-hat."""
    wave, eighth = np.zeros(n), SAMPLE_RATE // 4
    for number, at in enumerate(range(0, n, eighth)):
        mix(wave, at, 0.2 * burst(random, SAMPLE_RATE // 20, 60.0, bright=True))
        if number % 4 == 0:
            time = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
            mix(
                wave, at, np.sin(2 * np.pi * (50 * time - 4 * np.exp(-20 * time))) * decay(time, 14)
            )
        elif number % 4 == 2:
            mix(wave, at, 0.6 * burst(random, SAMPLE_RATE // 5, 20.0, bright=False))
    return at_level(wave, -20)


def band(random: np.random.Generator, n: int) -> Wave:
    """All of it together, as music on hold."""
    parts = [make(random, n) for make in (melody, chords, drums)]
    return at_level(np.sum(parts, axis=0), -18)


def lead(random: np.random.Generator, n: int) -> Wave:
    """A held voice of many harmonics that slides and has vibrato, as of strings or a saxophone."""
    notes = 220 * 2 ** (random.choice(PENTATONIC, n // SAMPLE_RATE + 1) / 12)
    pitch = np.interp(np.arange(n) / SAMPLE_RATE, np.arange(len(notes)), notes)
    phase = np.cumsum(2 * np.pi * pitch * (1 + 0.01 * tone(5.5, n)) / SAMPLE_RATE)
    harmonics = [np.sin(k * phase) / k for k in range(1, 12)]
    return at_level(np.sum(harmonics, axis=0) * (1 + 0.5 * tone(0.5, n)), -20)


def bell(random: np.random.Generator, n: int) -> Wave:
    """A telephone that rings: two bells in turn, 20 strokes a second, 2 s of 6."""
    time = np.arange(n) / SAMPLE_RATE
    strokes = decay(time % 0.05, 30)
    pitches = np.where(time % 0.1 < 0.05, tone(1000, n), tone(1250, n))
    return at_level(cadence(pitches * strokes, 2, 4), -20) + coloured(0, -65)(random, n)


def ringback(random: np.random.Generator, n: int) -> Wave:
    """What the caller hears meanwhile: 440 and 480 Hz."""
    return at_level(cadence(tone(440, n) + tone(480, n), 2, 4), -22) + coloured(0, -65)(random, n)


def dialling(random: np.random.Generator, n: int) -> Wave:
    """Again and again: the dial tone, keys that are pressed, and the busy signal."""
    length = 8 * SAMPLE_RATE
    wave = np.zeros(n)
    for at in range(0, n, length):
        mix(wave, at, tone(350, 2 * SAMPLE_RATE) + tone(440, 2 * SAMPLE_RATE))
        for key in range(10):
            low, high = DIGITS[random.integers(len(DIGITS))]
            pressed = at + int((2.5 + 0.2 * key) * SAMPLE_RATE)
            mix(wave, pressed, tone(low, SAMPLE_RATE // 10) + tone(high, SAMPLE_RATE // 10))
        busy = tone(480, 3 * SAMPLE_RATE) + tone(620, 3 * SAMPLE_RATE)
        mix(wave, at + 5 * SAMPLE_RATE, cadence(busy, 0.5, 0.5))
    return at_level(wave, -22) + coloured(0, -65)(random, n)


def keyboard(random: np.random.Generator, n: int) -> Wave:
    """Somebody types: five keys a second, each down and up again, with pauses."""
    wave, at = np.zeros(n), 0
    while at < n:
        loud = random.uniform(0.3, 1)
        mix(wave, at, loud * burst(random, SAMPLE_RATE // 50, 300.0, bright=True))
        up = at + int(0.08 * SAMPLE_RATE)
        mix(wave, up, 0.4 * loud * burst(random, SAMPLE_RATE // 50, 400.0, bright=True))
        at += int(random.choice([0.12, 0.2, 0.3, 1.5], p=[0.4, 0.35, 0.2, 0.05]) * SAMPLE_RATE)
    return at_level(wave, -44) + coloured(1, -55)(random, n)


# --- what they are made of


def tone(frequency: float, n: int, phase: float = 0.0) -> Wave:
    wave: Wave = np.sin(2 * np.pi * frequency * np.arange(n) / SAMPLE_RATE + phase)
    return wave


def plucked(frequency: float, n: int, rate: float) -> Wave:
    """Harmonics die away the sooner the higher they are."""
    time = np.arange(n) / SAMPLE_RATE
    parts = [tone(k * frequency, n) * decay(time, rate * k) / k for k in range(1, 8)]
    wave: Wave = np.sum(parts, axis=0)
    return wave


def burst(random: np.random.Generator, n: int, rate: float, *, bright: bool) -> Wave:
    noise = random.standard_normal(n + 1)
    return (np.diff(noise) if bright else noise[1:]) * decay(np.arange(n) / SAMPLE_RATE, rate)


def decay(time: Wave, rate: float) -> Wave:
    wave: Wave = np.exp(-rate * time)
    return wave


def cadence(wave: Wave, on_s: float, off_s: float) -> Wave:
    """`wave` for so many seconds, silence for so many, and so on."""
    time = np.arange(len(wave)) / SAMPLE_RATE
    return np.where(time % (on_s + off_s) < on_s, wave, 0.0)


def at_level(wave: Wave, level_db: float) -> Wave:
    """`wave` at this RMS against full scale."""
    rms = max(1e-9, float(np.sqrt(np.mean(wave**2))))
    return wave * (10 ** (level_db / 20) / rms)


def mix(wave: Wave, at: int, sound: Sequence[float] | Wave) -> None:
    """Adds a sound to the wave, from a sample on, as far as it reaches."""
    room = max(0, min(len(sound), len(wave) - at))
    wave[at : at + room] += sound[:room]


KINDS: Final[dict[str, Make]] = {
    "digital silence": lambda _, n: np.zeros(n),
    **{f"white noise, {db} dB": coloured(0, db) for db in (-60, -45, -25)},
    **{f"pink noise, {db} dB": coloured(1, db) for db in (-50, -35, -20)},
    **{f"brown noise, {db} dB": coloured(2, db) for db in (-35, -20)},
    "mains hum, 50 Hz": hum(50),
    "mains hum, 60 Hz": hum(60),
    "music: melody": melody,
    "music: chords": chords,
    "music: drums": drums,
    "music: band": band,
    "music: lead": lead,
    "telephone bell": bell,
    "ringback tone": ringback,
    "dialling and busy": dialling,
    "keyboard": keyboard,
}
"""By name; levels are RMS against full scale."""
