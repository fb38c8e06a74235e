"""Recordings of tones, in the containers that clients send; made anew, as PyAV encodes them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache

import av
import numpy as np
import numpy.typing as npt

ENCODERS = {
    "webm": "libopus",
    "ogg": "libopus",
    "wav": "pcm_s16le",
    "flac": "flac",
    "mp3": "libmp3lame",
    "mp4": "aac",
}
LIVE = {
    "webm": {"live": "1", "cluster_time_limit": "200"},  # of no known length, as browsers record
    "ogg": {"page_duration": "100000"},
}
"""Options of containers that are sent while they are made."""


def tones(seconds: float, rate: int, hertz: Sequence[float] = (440.0,)) -> npt.NDArray[np.int16]:
    """A tone for each channel, [channels, samples], with pauses so that places differ."""
    at = np.arange(round(seconds * rate)) / rate
    loud = 6000 * (0.2 + (np.sin(2 * np.pi * 1.7 * at) > 0))
    return np.stack([loud * np.sin(2 * np.pi * each * at) for each in hertz]).astype(np.int16)


@lru_cache(maxsize=32)
def recording(
    kind: str,
    seconds: float = 2.0,
    *,
    rate: int = 48_000,
    hertz: tuple[float, ...] = (440.0,),
    codec: str = "",
) -> bytes:
    """A file of one of these containers."""
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[len(hertz)]
    file = io.BytesIO()
    with av.open(file, "w", format=kind, options=LIVE.get(kind, {})) as container:
        stream = container.add_stream(codec or ENCODERS[kind], rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        resampler = av.AudioResampler(stream.format.name, layout, rate, stream.frame_size)
        samples = tones(seconds, rate, hertz)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T).reshape(1, -1), format="s16", layout=layout
        )
        frame.sample_rate = rate
        for source in (frame, None):
            for part in resampler.resample(source):
                container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()
