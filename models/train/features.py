"""Labelled sentences and clips to labelled features, by the very encoders that serve.

Vectors are kept on disk in blocks named by a digest of the encoder and the content, so that a
training run that was cut off goes on where it was, and a new encoder is never served old vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import track

from models.base import (
    Encoder,
    Floats,
    SpeechRecognizer,
    TextEncoder,
    Utterance,
    VoiceEncoder,
)
from models.fusion import EMOTIONS
from models.train.data import Clip, Sentence
from models.train.heads import Examples

BLOCK: Final = 256


def sentence_examples(
    encoder: TextEncoder,
    sentences: Sequence[Sentence],
    cache: Path,
    name: str,
    weight: float = 1.0,
) -> Examples:
    """Sentences as examples, each of this weight."""
    texts = [sentence.text for sentence in sentences]
    vectors = _cached(
        cache,
        encoder.encoder,
        [text.encode() for text in texts],
        lambda start, end: encoder.encode(texts[start:end]),
        name,
    )
    return _examples(vectors, sentences, np.full(len(sentences), weight, dtype=np.float32))


def clip_examples(
    speech: SpeechRecognizer, voice: VoiceEncoder, clips: Sequence[Clip], cache: Path, name: str
) -> Examples:
    """Clips as examples, weighted so that negative, neutral and positive count the same: acted
    corpora are mostly negative, and calls are not."""
    audio = [clip.audio for clip in clips]
    vectors = _cached(
        cache,
        voice.encoder,
        [samples.tobytes() for samples in audio],
        lambda start, end: voice.encode(
            audio[start:end], speech.transcribe([Utterance(each) for each in audio[start:end]])
        ),
        name,
    )
    signs = np.sign([clip.score for clip in clips])
    counts = {sign: int((signs == sign).sum()) for sign in (-1, 0, 1)}
    weights = np.array([len(clips) / 3 / counts[sign] for sign in signs], dtype=np.float32)
    return _examples(vectors, clips, weights)


def _examples(vectors: Floats, samples: Sequence[Sentence | Clip], weights: Floats) -> Examples:
    return Examples(
        vectors=vectors,
        scores=np.array([sample.score for sample in samples], dtype=np.float32),
        emotions=np.stack([_shares(sample.emotions) for sample in samples]),
        weights=weights,
        groups=np.array([sample.group for sample in samples]),
    )


def _shares(emotions: Sequence[str]) -> Floats:
    shares = np.zeros(len(EMOTIONS), dtype=np.float32)
    for emotion in emotions:
        shares[EMOTIONS.index(emotion)] = 1 / len(emotions)
    return shares


def _cached(
    cache: Path,
    encoder: Encoder,
    contents: Sequence[bytes],
    encode: Callable[[int, int], Floats],
    name: str,
) -> Floats:
    cache.mkdir(parents=True, exist_ok=True)
    blocks = []
    starts = range(0, len(contents), BLOCK)
    for start in track(starts, description=f"{name:24}", console=Console(stderr=True)):
        end = min(start + BLOCK, len(contents))
        path = cache / f"{_digest(encoder, contents[start:end])}.npy"
        if not path.is_file():
            whole = path.with_suffix(".part.npy")
            np.save(whole, encode(start, end))
            whole.rename(path)
        blocks.append(np.load(path))
    return np.concatenate(blocks)


def _digest(encoder: Encoder, contents: Sequence[bytes]) -> str:
    digest = hashlib.sha256(f"{encoder.id}\n{encoder.revision}\n".encode())
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:32]
