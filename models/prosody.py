"""Prosody: a few classical measures of pitch, loudness, timbre and tempo of an utterance.

They are made from the telephone band (300-3400 Hz, 8 kHz) and none depends on the recording's gain,
so that a headset and a telephone can be compared.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.signal import find_peaks, resample_poly

from models.base import SAMPLE_RATE, Floats

PROSODY_VERSION: Final = "prosody1"
PROSODY: Final = (
    "energy_mean",  # dB below the loud frames, mean over frames of speech
    "energy_deviation",  # dB, over frames of speech
    "energy_range",  # dB, 10th to 90th percentile of frames of speech
    "pitch_median",  # semitones above 100 Hz
    "pitch_deviation",  # semitones
    "pitch_range",  # semitones, 10th to 90th percentile
    "voiced_share",  # of frames of speech
    "tilt_mean",  # dB, energy of 300-1000 Hz over 1000-3400 Hz
    "tilt_deviation",  # dB
    "centroid_mean",  # kHz, within 300-3400 Hz
    "centroid_deviation",  # kHz
    "peak_rate",  # loudness peaks per second, roughly syllables
    "pause_share",  # of all frames
    "longest_pause",  # seconds
)

RATE: Final = 8_000
FRAME: Final = 320  # 40 ms: two periods of the lowest pitch
HOP: Final = 160  # 20 ms
FFT: Final = 512  # no circular overlap: at least FRAME + the longest lag
PITCH_HZ: Final = (60.0, 450.0)
VOICED: Final = 0.5  # normalised autocorrelation above which a frame has a pitch
SPEECH_DB: Final = 25.0  # a frame this far below the loud ones is a pause
SILENCE_DB: Final = -80.0  # full scale; the floor of every level

_WINDOW = np.hanning(FRAME).astype(np.float32)
_WINDOW_CORRELATION = fft.irfft(np.abs(np.fft.rfft(_WINDOW, FFT)) ** 2)[: FFT // 2]
_HZ = fft.rfftfreq(FFT, 1 / RATE)
_LOW = (_HZ >= 300) & (_HZ < 1000)
_HIGH = (_HZ >= 1000) & (_HZ < 3400)
_BAND = _LOW | _HIGH


def prosody(audio: Floats) -> Floats:
    """The measures named in `PROSODY`, [14], of mono audio at 16 kHz; finite for any input."""
    seconds = max(len(audio) / SAMPLE_RATE, 0.2)
    power = _spectra(_frames(audio))
    level = _decibels(power[:, _BAND].sum(axis=1))
    speech = level > max(float(np.percentile(level, 95)) - SPEECH_DB, SILENCE_DB)
    measures = [
        *_energy(level[speech]),
        *_pitch(power[speech]),
        *_timbre(power[speech]),
        _peaks(level, speech) / seconds,
        1.0 - float(speech.mean()),
        _longest_run(~speech) * HOP / RATE,
    ]
    return np.nan_to_num(np.array(measures, dtype=np.float32))


def _frames(audio: Floats) -> Floats:
    """Windowed frames at 8 kHz, [frames, 320]; at least one."""
    samples = np.nan_to_num(audio.astype(np.float32, copy=False))
    narrow = resample_poly(samples, 1, SAMPLE_RATE // RATE) if samples.size else samples
    narrow = np.pad(narrow, (0, max(0, FRAME - len(narrow))))
    return np.lib.stride_tricks.sliding_window_view(narrow, FRAME)[::HOP] * _WINDOW


def _spectra(frames: Floats) -> Floats:
    """Power per frequency, [frames, 257], of frames without their mean."""
    spectra = fft.rfft(frames - frames.mean(axis=1, keepdims=True), FFT)
    power: Floats = (spectra.real**2 + spectra.imag**2).astype(np.float32) / (FFT * FRAME)
    return power


def _decibels(power: Floats) -> Floats:
    levels: Floats = 10 * np.log10(np.maximum(power, 10 ** (SILENCE_DB / 10)))
    return levels


def _energy(level: Floats) -> tuple[float, float, float]:
    if not level.size:
        return 0.0, 0.0, 0.0
    low, high, loud = np.percentile(level, (10, 90, 95))
    return float(level.mean() - loud), float(level.std()), float(high - low)


def _pitch(power: Floats) -> tuple[float, float, float, float]:
    """Median, deviation, range in semitones and the voiced share.

    Autocorrelation over the window's own, as in Boersma (1993), "Accurate short-term analysis of
    the fundamental frequency"; a telephone's missing fundamental is found by its harmonics.
    """
    if not len(power):
        return 0.0, 0.0, 0.0, 0.0
    shortest, longest = (int(RATE / hz) for hz in reversed(PITCH_HZ))
    correlation = fft.irfft(power)[:, : longest + 1]
    scale = np.maximum(correlation[:, :1], 1e-12) / _WINDOW_CORRELATION[0]
    normal = correlation / scale / _WINDOW_CORRELATION[: longest + 1]
    # Between equal peaks the shortest lag is the pitch, the others its octaves below.
    lags = np.arange(shortest, longest + 1)
    scores = normal[:, shortest:] - 0.05 * np.log2(lags / shortest)
    best = scores.argmax(axis=1)
    voiced = np.take_along_axis(normal, best[:, None] + shortest, axis=1)[:, 0] > VOICED
    if not voiced.any():
        return 0.0, 0.0, 0.0, 0.0
    semitones = 12 * np.log2(RATE / lags[best[voiced]] / 100)
    low, high = np.percentile(semitones, (10, 90))
    return (
        float(np.median(semitones)),
        float(semitones.std()),
        float(high - low),
        float(voiced.mean()),
    )


def _timbre(power: Floats) -> tuple[float, float, float, float]:
    if not len(power):
        return 0.0, 0.0, 0.0, 0.0
    tilt = _decibels(power[:, _LOW].sum(axis=1)) - _decibels(power[:, _HIGH].sum(axis=1))
    band = power[:, _BAND] + 1e-12
    centroid = (band @ _HZ[_BAND]) / band.sum(axis=1) / 1000
    return float(tilt.mean()), float(tilt.std()), float(centroid.mean()), float(centroid.std())


def _peaks(level: Floats, speech: npt.NDArray[np.bool_]) -> int:
    """Syllables, roughly: peaks of the level, smoothed over 100 ms, that stand out by 2 dB from
    the dips around them (after de Jong and Wempe, 2009)."""
    smooth = np.convolve(level, np.full(5, 0.2), mode="same")[: len(level)]
    peaks, _ = find_peaks(smooth, prominence=2.0)
    return int(speech[peaks].sum())


def _longest_run(flags: npt.NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))
