"""ITU-T G.711, the codecs of telephone lines: a byte per sample, mu-law or A-law, and PCM.

Of the two codes that are equally near to zero the positive one is sent: idle lines carry 0xFF in
mu-law and 0xD5 in A-law.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]


def from_mu_law(codes: bytes) -> Pcm:
    """n bytes to int16 [n]."""
    return _mu_law_values()[np.frombuffer(codes, np.uint8)]


def from_a_law(codes: bytes) -> Pcm:
    """n bytes to int16 [n]."""
    return _a_law_values()[np.frombuffer(codes, np.uint8)]


def mu_law(samples: Pcm) -> bytes:
    """int16 [n] to n bytes: the codes whose values are nearest."""
    return _nearest(samples, _mu_law_values())


def a_law(samples: Pcm) -> bytes:
    """int16 [n] to n bytes: the codes whose values are nearest."""
    return _nearest(samples, _a_law_values())


def _nearest(samples: Pcm, values: Pcm) -> bytes:
    order = np.argsort(values, kind="stable")
    ascending = values[order].astype(np.int32)
    edges = (ascending[1:] + ascending[:-1]) / 2
    return order[np.searchsorted(edges, samples, side="right")].astype(np.uint8).tobytes()


@cache
def _mu_law_values() -> Pcm:
    """What the 256 codes of mu-law stand for."""
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = (((code & 0x0F).astype(np.int32) << 3) + 0x84) << ((code & 0x70) >> 4)
    linear = magnitude - 0x84
    return np.where(code & 0x80, -linear, linear).astype(np.int16)


@cache
def _a_law_values() -> Pcm:
    """What the 256 codes of A-law stand for."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    segment = ((code & 0x70) >> 4).astype(np.int32)
    base = ((code & 0x0F).astype(np.int32) << 4) + 8
    magnitude = np.where(segment > 0, (base + 0x100) << np.maximum(segment - 1, 0), base)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)
