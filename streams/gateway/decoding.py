"""What clients send as audio, to samples of each channel: raw ones as they are, others by FFmpeg.

Raw samples keep their encoding and rate: workers read them all, and what is sent again after a drop
has the same bytes. What browsers record (WebM and Ogg with Opus) and other containers become 16 kHz
PCM. Media are untrusted: only the demuxer of the declared kind sees them, only decoders of sound
are opened, and size, length, rate, streams and time have limits. All but raw samples are decoded in
a thread; to call `feed` of a decoder that `blocks` is to wait for it.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import IO, TYPE_CHECKING, Final, Protocol

import numpy as np

from streams.gateway.resuming import PCM, Format
from streams.media import MediaError

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.stream import AudioStream
    from av.codec import CodecContext
    from av.container import InputContainer

RAW: Final = {"linear16": "audio/L16", "mulaw": "audio/PCMU", "alaw": "audio/PCMA"}
"""Encodings without a container."""
DEMUXERS: Final = {
    "webm": "matroska",
    "ogg": "ogg",
    "wav": "wav",
    "flac": "flac",
    "mp3": "mp3",
    "mp4": "mov",
}
STREAMED: Final = ("webm", "ogg", "wav", "flac", "mp3")
"""Containers that can be decoded while they come."""
MEDIA_TYPES: Final = {
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/x-wav": "wav",
    "audio/vnd.wave": "wav",
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/ogg": "ogg",
    "application/ogg": "ogg",
    "audio/webm": "webm",
    "video/webm": "webm",
    "audio/mp4": "mp4",
    "audio/m4a": "mp4",
    "audio/x-m4a": "mp4",
}
"""Of whole files."""
MAGIC: Final = (
    (b"\x1aE\xdf\xa3", "webm"),
    (b"OggS", "ogg"),
    (b"RIFF", "wav"),
    (b"fLaC", "flac"),
    (b"ID3", "mp3"),
    (b"\xff\xfb", "mp3"),
    (b"\xff\xf3", "mp3"),
)
"""The first bytes of containers."""
CODECS: Final = (
    "opus",
    "vorbis",
    "flac",
    "mp3float",
    "mp3",
    "aac",
    *(f"pcm_{each}" for each in ("s16le", "s24le", "s32le", "f32le", "u8", "mulaw", "alaw")),
)
SLICE: Final = 16 * 1024
"""Bytes that are decoded at a time; a few of them may be minutes of silence."""
BARREN: Final = 2**20
"""Bytes without a sample after which it is no audio."""
DENSE: Final = 64 * 2**20
"""Bytes of samples that may come of one call; more is a bomb."""
ALLOCATION: Final = 32 * 2**20
"""Bytes that FFmpeg may ask for at once."""
STUCK_S: Final = 60.0
"""How long the decoding of one slice may take."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`seconds` of audio, `spent_s` of decoding a file, numbers of channels and streams, Hz."""

    seconds: float = 7200.0
    spent_s: float = 300.0
    channels: int = 8
    streams: int = 16
    lowest_rate: int = 8_000
    highest_rate: int = 192_000


class Decoder(Protocol):
    """Bytes, cut anywhere, to samples of each channel, written as `format`."""

    format: Format
    blocks: bool

    def feed(self, data: bytes) -> list[bytes]:
        """What is known now of each channel. Raises MediaError."""
        ...

    def close(self) -> list[bytes]:
        """What is left. Raises MediaError."""
        ...

    def leave(self) -> None:
        """Nothing more comes and nothing more is wanted; does not wait."""
        ...


def decoder(
    encoding: str, rate: int = 16_000, channels: int = 1, limits: Limits | None = None
) -> Decoder:
    """For one of `RAW`, interleaved at this rate (Hz), or of `STREAMED`, which say it themselves.
    Of a container, one channel is a mix of all. Raises ValueError for another encoding."""
    if encoding in RAW:
        return RawDecoder(Format(RAW[encoding], rate), channels)
    if encoding in STREAMED:
        return StreamDecoder(encoding, channels, limits or Limits())
    raise ValueError(f"the encoding must be one of {', '.join((*RAW, *STREAMED))}")


def container_of(head: bytes) -> str:
    """The container that begins so; '' if it is none that is known."""
    return next((kind for magic, kind in MAGIC if head.startswith(magic)), "")


class RawDecoder:
    """Interleaved samples, told apart; each keeps its bytes."""

    blocks = False

    def __init__(self, format: Format, channels: int) -> None:  # noqa: A002  (it is called so)
        self.format = format
        self._channels = channels
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        data = self._rest + data
        whole = len(data) - len(data) % (self.format.width * self._channels)
        data, self._rest = data[:whole], data[whole:]
        if self._channels == 1:
            return [data]
        frames = np.frombuffer(data, f"V{self.format.width}").reshape(-1, self._channels)
        return [frames[:, channel].tobytes() for channel in range(self._channels)]

    def close(self) -> list[bytes]:
        """Half a sample at the end is none."""
        self._rest = b""
        return [b""] * self._channels

    def leave(self) -> None:
        """Nothing is held."""


class StreamDecoder:
    """A container that is decoded while it comes.

    FFmpeg reads what it wants when it wants it, so it has a thread of its own: `feed` hands over
    bytes and waits until the thread asks for more. So what comes out depends on the bytes alone.
    """

    format = PCM
    blocks = True

    def __init__(self, kind: str, channels: int, limits: Limits) -> None:
        self._channels = channels
        self._pipe = _Pipe()
        self._made: list[list[bytes]] = []
        self._error: MediaError | None = None
        self._barren = self._dense = 0
        self._thread = threading.Thread(target=self._run, args=(kind, limits), daemon=True)

    def feed(self, data: bytes) -> list[bytes]:
        if not self._thread.ident:
            self._thread.start()
        for at in range(0, len(data), SLICE):
            if self._error is None:
                self._put(data[at : at + SLICE])
        return self._take()

    def close(self) -> list[bytes]:
        self._pipe.close()
        if self._thread.ident:
            self._thread.join(STUCK_S)
        return self._take()

    def leave(self) -> None:
        self._pipe.close()

    def _put(self, data: bytes) -> None:
        made = len(self._made)
        took = self._pipe.put(data)
        self._barren = 0 if len(self._made) > made else self._barren + len(data)
        if self._error is None and not took:
            self._error = MediaError("chained-audio", "the recording is over; begin a new line")
        if self._error is None and self._barren > BARREN:
            self._error = MediaError("undecodable-audio", f"no sound in {BARREN} bytes")
        if self._error:
            self._pipe.close()

    def _take(self) -> list[bytes]:
        """What was decoded before an error counts, and is told first. The thread waits now."""
        if not self._made and self._error:
            raise self._error
        made, self._made, self._dense = self._made, [], 0
        return [b"".join(parts[channel] for parts in made) for channel in range(self._channels)]

    def _run(self, kind: str, limits: Limits) -> None:
        options = {"probesize": "32", "analyzeduration": "0"}  # tell at once what is there
        try:
            with _opened(self._pipe, kind, limits, options) as container:
                for samples in _samples(container, self._channels, limits):
                    self._keep(samples)
        except MediaError as error:
            self._error = error
        finally:
            self._pipe.leave()

    def _keep(self, samples: list[bytes]) -> None:
        """A bomb is dropped as soon as it is known to be one."""
        self._made.append(samples)
        self._dense += sum(map(len, samples))
        if self._dense > DENSE:
            self._made = []
            raise MediaError("audio-too-long", f"more than {DENSE} bytes of sound at once")


@cache
def ffmpeg() -> ModuleType:
    """PyAV, whose FFmpeg is not to believe every size: 13 KB of WAV could make it take 2 GB."""
    import av  # noqa: PLC0415  (20 MB, only where it is used)
    import av._core  # noqa: PLC0415

    library = ctypes.CDLL(av._core.__file__)  # finds what that is linked with, too
    library.av_max_alloc(ctypes.c_size_t(ALLOCATION))
    return av


def decode_file(file: IO[bytes], kind: str, channels: int, limits: Limits) -> Iterator[list[bytes]]:
    """A whole file, one of `DEMUXERS`, as 16 kHz PCM of each channel, piece by piece; one channel
    is a mix of all.

    Raises:
        MediaError: it cannot be decoded, or is beyond a limit; it may be what came before that was
            good.
    """
    spent, began, empty = 0.0, time.perf_counter(), True
    with _opened(file, kind, limits, {}) as container:
        for samples in _samples(container, channels, limits):
            spent += time.perf_counter() - began
            if spent > limits.spent_s:
                raise MediaError("audio-too-long", "it takes too long to decode")
            empty = False
            yield samples
            began = time.perf_counter()
    if empty:
        raise MediaError("empty-audio", "no samples")


@contextmanager
def _opened(
    file: IO[bytes] | _Pipe, kind: str, limits: Limits, options: dict[str, str]
) -> Iterator[InputContainer]:
    av = ffmpeg()
    options = {
        **options,
        "codec_whitelist": ",".join(CODECS),
        "format_whitelist": DEMUXERS[kind],
        "max_streams": str(limits.streams),
    }
    try:
        with av.open(file, "r", format=DEMUXERS[kind], container_options=options) as container:
            yield container
    except (av.FFmpegError, ValueError, LookupError, OverflowError, MemoryError) as error:
        # Not its own text, which may quote what was read.
        what = f"this cannot be decoded as {kind}: {type(error).__name__}"
        raise MediaError("undecodable-audio", what) from None


def _samples(container: InputContainer, channels: int, limits: Limits) -> Iterator[list[bytes]]:
    resampler = ffmpeg().AudioResampler("s16", "mono" if channels == 1 else None, PCM.rate)
    sound, left = _sound(container), int(limits.seconds * PCM.rate)
    for packet in container.demux(sound):
        for frame in packet.decode():
            _check(frame, channels, limits)
            for part in resampler.resample(frame):
                left -= part.samples
                yield _bytes(part)
            if left < 0:
                raise MediaError("audio-too-long", f"longer than {limits.seconds:g} s")
    yield from map(_bytes, resampler.resample(None))


def _sound(container: InputContainer) -> AudioStream:
    sounds = container.streams.audio
    if not sounds:
        raise MediaError("undecodable-audio", "there is no sound in it")
    context: CodecContext | None = sounds[0].codec_context  # though it is said to be there always
    if context is None or context.name not in CODECS:
        name = context.name if context else "this codec"
        raise MediaError("unsupported-audio", f"no decoder for {name}")
    return sounds[0]


def _check(frame: AudioFrame, channels: int, limits: Limits) -> None:
    if not limits.lowest_rate <= frame.sample_rate <= limits.highest_rate:
        found = f"{frame.sample_rate} Hz; {limits.lowest_rate} to {limits.highest_rate} Hz"
        raise MediaError("unsupported-rate", f"{found} are understood")
    found_channels = frame.layout.nb_channels
    if found_channels > limits.channels or channels not in (1, found_channels):
        named = f"{found_channels} channels, {channels} were named"
        raise MediaError("unsupported-channels", f"{named}; at most {limits.channels} are decoded")


def _bytes(frame: AudioFrame) -> list[bytes]:
    """Of each channel. Frames are packed: of eight planes PyAV looks for a ninth, and crashes."""
    samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
    return [channel.astype("<i2").tobytes() for channel in samples.T]


class _Pipe:
    """A file for FFmpeg that ends where nothing was put into it yet, and goes on when more is."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._data = b""
        self._starving = False
        self._closed = False
        self._left = False

    def put(self, data: bytes) -> bool:
        """Hands over and waits until it is used up; False: nobody reads any more."""
        with self._turn:
            self._data, self._starving = self._data + data, False
            self._turn.notify_all()
            if not self._turn.wait_for(lambda: self._starving or self._left, STUCK_S):
                raise MediaError("undecodable-audio", "it takes too long to decode")
            return not self._data

    def close(self) -> None:
        """Nothing more comes."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()

    def leave(self) -> None:
        """Nothing more is read."""
        with self._turn:
            self._left = True
            self._turn.notify_all()

    def read(self, size: int) -> bytes:
        """At least a byte, as soon as there is one; nothing at the end."""
        with self._turn:
            while not self._data and not self._closed:
                self._starving = True
                self._turn.notify_all()
                self._turn.wait()
            data, self._data = self._data[:size], self._data[size:]
            return data
