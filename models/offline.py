"""Whisper on a whole recording at once: what streaming recognition is measured against.

The same weights and the same greedy search as in a live call, but the recording is known to its
end. Up to 30 s are one decode without timestamps. Longer ones go by Whisper's own sequential
decoding: windows of 30 s, each begun where the last timestamp of the one before says that a segment
ended, and prompted with the text so far (Radford et al. 2022, section 3.8; `openai-whisper`'s
`transcribe(temperature=0)`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import ctranslate2
import numpy as np
import torch
from whisper.audio import N_FRAMES, N_SAMPLES, log_mel_spectrogram, pad_or_trim
from whisper.tokenizer import Tokenizer

from models.base import Floats
from models.whisper import check_language, tokenizer_for, vocabulary_size

FRAMES_PER_TIMESTAMP: Final = 2
"""Mel frames (10 ms) per step of a timestamp token (20 ms)."""
_MOST_TOKENS: Final = 448 // 2
"""Of one window's text, and one more than of its prompt."""


@dataclass(frozen=True, slots=True)
class Window:
    """What one decode with timestamps says: the tokens of each segment, and after how many mel
    frames the next window begins."""

    segments: Sequence[Sequence[int]]
    advance: int


def window_of(tokens: Sequence[int], timestamp_begin: int, frames: int) -> Window:
    """Cuts what was decoded from `frames` of audio into segments, which lie between two timestamp
    tokens in a row. Text after the last such pair is not complete: the next window hears it again.
    """
    stamps = [token >= timestamp_begin for token in tokens]
    ended = stamps[-2:] == [False, True]  # nothing is said after the last timestamp
    cuts = [i for i in range(1, len(tokens)) if stamps[i - 1] and stamps[i]]
    if not cuts:
        return Window([tokens], frames)
    last = cuts[-1]
    if ended:
        cuts.append(len(tokens))
    segments = [tokens[a:b] for a, b in zip([0, *cuts], cuts, strict=False)]
    advance = (tokens[last - 1] - timestamp_begin) * FRAMES_PER_TIMESTAMP
    return Window(segments, frames if ended or not advance else advance)


class OfflineWhisper:
    """Recognises recordings of any length on the CPU; `folder` as CTranslate2's converter made."""

    def __init__(
        self,
        folder: Path,
        *,
        language: str | None = None,
        threads: int = 2,
        compute_type: str = "int8",
    ) -> None:
        self._vocabulary = vocabulary_size(folder)
        self._language = check_language(language, self._vocabulary)
        self._model = ctranslate2.models.Whisper(
            str(folder), compute_type=compute_type, intra_threads=threads
        )

    def transcribe(self, audio: Floats) -> str:
        """The text of `audio`, [n] samples at 16 kHz."""
        waveform = torch.from_numpy(np.ascontiguousarray(audio, np.float32))
        mel = log_mel_spectrogram(waveform, self._model.n_mels, padding=N_SAMPLES)
        tokenizer = tokenizer_for(self._vocabulary, self._language_of(mel))
        frames = mel.shape[-1] - N_FRAMES
        if len(audio) <= N_SAMPLES:
            prompt = list(tokenizer.sot_sequence_including_notimestamps)
            return _text(tokenizer, self._decode(mel[:, :N_FRAMES], prompt))
        return _text(tokenizer, self._sequentially(mel, frames, tokenizer))

    def _sequentially(self, mel: torch.Tensor, frames: int, tokenizer: Tokenizer) -> list[int]:
        said: list[int] = []
        seek = 0
        while seek < frames:
            size = min(N_FRAMES, frames - seek)
            prompt = list(tokenizer.sot_sequence)
            if said:
                prompt = [tokenizer.sot_prev, *said[1 - _MOST_TOKENS :], *prompt]
            tokens = self._decode(mel[:, seek : seek + size], prompt)
            window = window_of(tokens, tokenizer.timestamp_begin, size)
            for segment in window.segments:
                said += segment if _text(tokenizer, segment) else []
            seek += window.advance
        return said

    def _decode(self, mel: torch.Tensor, prompt: list[int]) -> list[int]:
        """Tokens of one window; nothing if Whisper thinks that nobody speaks in it."""
        [result] = self._model.generate(
            _features(mel),
            [prompt],
            beam_size=1,
            max_length=len(prompt) + _MOST_TOKENS,
            return_scores=True,
            return_no_speech_prob=True,
        )
        if result.no_speech_prob > 0.6 and result.scores[0] < -1.0:
            return []
        tokens: list[int] = result.sequences_ids[0]
        return tokens

    def _language_of(self, mel: torch.Tensor) -> str:
        if self._language is not None:
            return self._language
        [best] = self._model.detect_language(_features(mel[:, :N_FRAMES]))
        return str(best[0][0]).strip("<|>")


def _features(mel: torch.Tensor) -> ctranslate2.StorageView:
    """[n_mels, at most 3000] to [1, n_mels, 3000]."""
    padded = pad_or_trim(mel, N_FRAMES)[None].numpy()
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(padded, np.float32))


def _text(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    return str(tokenizer.decode([token for token in tokens if token < tokenizer.eot])).strip()
