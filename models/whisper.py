"""What the Whisper backends share: audio to log-mel, the fixed audio context, tokens to words.

A decode is a function of its utterance alone: greedy, after no text but the utterance's own prompt,
and padded to one of three contexts that the audio's length chooses. Below 12 s of context Whisper
loops more often, which on a real call takes the time that the shorter context saves.

Whisper: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from whisper.audio import HOP_LENGTH, TOKENS_PER_SECOND, log_mel_spectrogram
from whisper.timing import WordTiming, merge_punctuations
from whisper.tokenizer import LANGUAGES, Tokenizer, get_tokenizer

from models.base import (
    LOOP_RATIO,
    SAMPLE_RATE,
    Floats,
    ModelError,
    Transcript,
    Utterance,
    Word,
)

CONTEXTS_S = (12.0, 20.0, 30.0)
"""Seconds of audio that the encoder may see; 30 is what it was trained on."""

Bucket = tuple[float, int]
"""What may go through together: the seconds of context, the tokens before the transcript's."""

_ENGLISH_VOCABULARY = 51864
_MOST_PROMPT = 448 // 2 - 1
"""Tokens; every Whisper's text context is 448, half of which a prompt with its mark may take."""
_PREPENDED = "\"'“¿([{-"
_APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - Chinese and Japanese marks


def context_s(seconds: float) -> float:
    """The shortest context that holds `seconds` of audio. Raises ModelError beyond 30 s or at 0."""
    if seconds <= 0:
        raise ModelError("there is no audio to recognise")
    for context in CONTEXTS_S:
        if seconds <= context:
            return context
    raise ModelError(f"{seconds:.1f} s of audio: cut it, Whisper hears at most {CONTEXTS_S[-1]} s")


def prompt_tokens(vocabulary: int, prompt: str) -> list[int]:
    """What stands before the transcript's own tokens, empty for an empty prompt.

    As openai-whisper has it: the prompt is "previous text", of which the last `_MOST_PROMPT` tokens
    count, after a mark. What looks like a special token in it is plain text here.

    A prompt has a price: after many, above all lists of words with a full stop, tiny.en leaves out
    a part of what is said.
    """
    return list(_prompt_tokens(vocabulary, text)) if (text := prompt.strip()) else []


@lru_cache(maxsize=1024)  # asked for several times in a decode, and by all decodes of an utterance
def _prompt_tokens(vocabulary: int, text: str) -> tuple[int, ...]:
    tokenizer = tokenizer_for(vocabulary, "en")  # text has the same tokens in any language
    tokens = tokenizer.encode(f" {text}", disallowed_special=())
    return (tokenizer.sot_prev, *tokens[-_MOST_PROMPT:])


def bucket(vocabulary: int, utterance: Utterance) -> Bucket:
    """Where `utterance` belongs at first. Raises ModelError as `context_s` does."""
    seconds = len(utterance.audio) / SAMPLE_RATE
    return context_s(seconds), len(prompt_tokens(vocabulary, utterance.prompt))


def in_buckets(
    vocabulary: int,
    utterances: Sequence[Utterance],
    decode: Callable[[Sequence[Utterance], float], list[Transcript]],
) -> list[Transcript]:
    """Transcripts by `decode`, which is given utterances of one bucket and their context (s).

    What comes back as a loop is decoded again in the next longer context, which as a rule breaks
    it, if the utterance is to be decoded thoroughly. That, too, depends on it alone.
    """
    buckets = [bucket(vocabulary, utterance) for utterance in utterances]
    done: dict[int, Transcript] = {}
    for context in CONTEXTS_S:
        groups: dict[int, list[int]] = {}
        for i, (shortest, length) in enumerate(buckets):
            again = i in done and utterances[i].thorough and loops(done[i])
            if shortest <= context and (i not in done or again):
                groups.setdefault(length, []).append(i)
        for group in groups.values():
            decoded = decode([utterances[i] for i in group], context)
            done.update(zip(group, decoded, strict=True))
    return [done[i] for i in range(len(utterances))]


def loops(transcript: Transcript) -> bool:
    """Whether a transcript says something over and over, or, against the clock, all of it twice."""
    return transcript.compression_ratio > LOOP_RATIO or transcript.hurried


def most_tokens(context: float) -> int:
    """How many tokens a transcript of `context` seconds may have; what is longer is a loop. Fast
    speech has about 6 tokens a second."""
    return min(_MOST_PROMPT, 16 + round(8 * context))


def log_mel(audio: Floats, context: float, n_mels: int) -> Floats:
    """Log-mel spectrogram [n_mels, 100 * context] of `audio` padded with silence to `context` s."""
    return np.asarray(log_mel_on("cpu", audio, context, n_mels).numpy(), dtype=np.float32)


def log_mel_on(
    device: str | torch.device, audio: Floats, context: float, n_mels: int
) -> torch.Tensor:
    """The same, made on a device and left there."""
    missing = round(context * SAMPLE_RATE) - len(audio)
    waveform = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32))
    mel: torch.Tensor = log_mel_spectrogram(waveform, n_mels=n_mels, padding=missing, device=device)
    return mel


def mel_frames(audio: Floats) -> int:
    """How many mel frames (10 ms) cover the real audio."""
    return -(-len(audio) // int(HOP_LENGTH))


def compression_ratio(text: str) -> float:
    """Bytes of `text` per byte when compressed; a loop compresses well, see LOOP_RATIO."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def vocabulary_size(folder: Path) -> int:
    """How many tokens the model in `folder` knows."""
    for name in ("vocabulary.json", "vocabulary.txt"):
        if (file := folder / name).is_file():
            text = file.read_text(encoding="utf-8")
            return len(json.loads(text)) if name.endswith("json") else _lines(text)
    raise ModelError(f"no vocabulary.json or vocabulary.txt in {folder}: not a CTranslate2 Whisper")


def _lines(text: str) -> int:
    # Not splitlines(): tokens may hold other line separators than \n.
    return text.count("\n") + (not text.endswith("\n"))


def is_multilingual(vocabulary: int) -> bool:
    """Whether a vocabulary of this size has language tokens."""
    return vocabulary > _ENGLISH_VOCABULARY


def check_language(language: str | None, vocabulary: int) -> str | None:
    """The language that decoding is fixed to, None to detect it. Raises ModelError if unknown."""
    if not is_multilingual(vocabulary):
        if language not in {None, "en"}:
            raise ModelError(f"this Whisper knows only English, not {language!r}: take another URI")
        return "en"
    if language is not None and language not in LANGUAGES:
        raise ModelError(f"Whisper does not know the language {language!r}")
    return language


@cache
def tokenizer_for(vocabulary: int, language: str) -> Tokenizer:
    """openai-whisper's tokenizer for a model with this vocabulary, prompting for `language`."""
    multilingual = is_multilingual(vocabulary)
    languages = vocabulary - 51765 - int(multilingual)
    return get_tokenizer(
        multilingual, num_languages=languages, language=language, task="transcribe"
    )


def transcript(
    tokenizer: Tokenizer,
    tokens: list[int],
    words: Iterable[WordTiming],
    audio: Floats,
    *,
    language: str,
    no_speech_probability: float,
    average_log_probability: float,
) -> Transcript:
    """What the decoder said, in the terms of the rest of Tenor."""
    text = tokenizer.decode(tokens).strip()
    return Transcript(
        text=text,
        words=tuple(_words(words, len(audio) / SAMPLE_RATE)),
        language=language,
        no_speech_probability=no_speech_probability,
        average_log_probability=average_log_probability,
        compression_ratio=compression_ratio(text),
    )


def timed_words(
    tokenizer: Tokenizer,
    tokens: list[int],
    alignment: Sequence[tuple[int, int]],
    probabilities: Sequence[float],
) -> list[WordTiming]:
    """Words from the dynamic-time-warping path of token and encoder frame (20 ms) indices.

    A token starts where the path first reaches it; a word ends where the next one starts.
    """
    words, pieces = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
    starts: dict[int, float] = {}
    for token, frame in alignment:
        starts.setdefault(token, frame / TOKENS_PER_SECOND)
    bounds = np.cumsum([0, *(len(piece) for piece in pieces)])[:-1]
    return [
        WordTiming(
            words[i],
            pieces[i],
            starts[int(first)],
            starts[int(last)],
            float(np.mean(probabilities[first:last])),
        )
        for i, (first, last) in enumerate(pairwise(bounds))
    ]


def _words(timings: Iterable[WordTiming], duration: float) -> Iterable[Word]:
    merged = list(timings)
    merge_punctuations(merged, _PREPENDED, _APPENDED)
    for timing in merged:
        if text := timing.word.strip():
            start, end = (round(float(min(t, duration)), 2) for t in (timing.start, timing.end))
            yield Word(text, start, end, float(timing.probability))
