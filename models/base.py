"""What a model is to the rest of Tenor: small protocols over numpy arrays; no caller needs torch.

Every model works on a batch, is called by one owner thread per device, and says which encoder made
a vector (`Encoder`), because a vector without its encoder's name cannot be compared with another.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

INSTANT_S = 0.025
"""The times of words come in steps of 20 ms."""
HURRIED = 4
"""Words in a row without duration that nobody says; right transcripts have one or two."""
LOOP_RATIO = 2.4
"""Compression ratio above which a text repeats itself, as openai-whisper has it."""
SAMPLE_RATE = 16_000
"""Hz; every model that hears takes mono float32 in [-1, 1] at this rate."""


class ModelError(Exception):
    """A model could not be found, loaded or trusted; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Which network made a vector: `id` and `revision` name its weights, `dimension` its length."""

    id: str
    revision: str
    dimension: int


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """What a recogniser hears, [n] samples; `prompt` is text whose words it may expect in it.

    Thorough: what comes back as a loop is worth another try.
    """

    audio: Floats
    prompt: str = ""
    thorough: bool = True


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word; `start` and `end` in seconds from the start of the audio given."""

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a speech recogniser heard in one utterance."""

    text: str
    words: tuple[Word, ...]
    language: str
    no_speech_probability: float
    average_log_probability: float
    compression_ratio: float

    @property
    def hurried(self) -> bool:
        """Whether there are more words than there was time for: one that is told twice has them."""
        runs = groupby(self.words, lambda word: word.end - word.start < INSTANT_S)
        return any(len(list(run)) >= HURRIED for instant, run in runs if instant)


class SpeechRecognizer(Protocol):
    """Speech to text: greedy, so that a transcript depends on its audio and prompt alone.

    `model` is the name and the revision of its weights.
    """

    model: str

    def bucket(self, utterance: Utterance) -> Hashable:
        """Utterances of the same bucket can go through together."""
        ...

    def transcribe(self, utterances: Sequence[Utterance]) -> list[Transcript]:
        """One transcript per utterance, which must not depend on the others."""
        ...


class TextEncoder(Protocol):
    """Sentences to unit vectors, [n, dimension]."""

    encoder: Encoder

    def encode(self, texts: Sequence[str]) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Label:
    """A class of a classifier with its probability."""

    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Face:
    """A detected face, in fractions of the picture's width and height, top-left corner first.

    `confidence` is that there is a face. What it then expresses, likeliest first, and the vector
    that this was read from, of `ImageRecognizer.face_encoder`, are there where they were looked
    for; `expression` says nothing of whether it is a face at all.
    """

    x: float
    y: float
    width: float
    height: float
    confidence: float
    expression: tuple[Label, ...] = ()
    embedding: Floats | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ImageContent:
    """What was recognised in one picture; `embedding` has the encoder's dimension."""

    embedding: Floats
    labels: tuple[Label, ...]
    faces: tuple[Face, ...]


class ImageRecognizer(Protocol):
    """Pictures (uint8 RGB, [height, width, 3], any size) to content.

    `face_encoder` makes the vectors of faces; None: nobody looks what faces express.
    """

    encoder: Encoder
    face_encoder: Encoder | None

    def recognize(self, images: Sequence[Pixels]) -> list[ImageContent]: ...


class StagedRecognizer(ImageRecognizer, Protocol):
    """One whose `recognize` can be had in two steps, on two threads."""

    def find(self, image: Pixels) -> tuple[Face, ...]:
        """Faces, not yet read, on the CPU: it may go on while a GPU is at the rest."""
        ...

    def describe(self, images: Sequence[tuple[Pixels, tuple[Face, ...]]]) -> list[ImageContent]:
        """All that is recognised in pictures with the faces found in them."""
        ...


class VoiceActivityDetector(Protocol):
    """Probability of speech for every 512 samples (32 ms at 16 kHz), causal, with explicit state.

    `step` takes one state and one piece of audio per stream (each piece a whole number of frames,
    lengths may differ) and returns the new states and one array of probabilities per stream. The
    result for a stream does not depend on the other streams of the batch.
    """

    frame: int

    def initial(self) -> Floats: ...

    def step(
        self, states: Sequence[Floats], audio: Sequence[Floats]
    ) -> tuple[list[Floats], list[Floats]]: ...


class VoiceEncoder(Protocol):
    """How utterances sound, [n, dimension], up to 30 s each; none depends on the others."""

    encoder: Encoder

    def encode(self, audio: Sequence[Floats]) -> Floats: ...
