"""Whisper on CTranslate2: int8 on the CPU, the default speech recogniser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ctranslate2
import numpy as np
from whisper.timing import WordTiming

from models import registry
from models.base import Floats, ModelError, Transcript, Utterance
from models.whisper import (
    Bucket,
    bucket,
    check_language,
    in_buckets,
    log_mel,
    mel_frames,
    most_tokens,
    prompt_tokens,
    timed_words,
    tokenizer_for,
    transcript,
    vocabulary_size,
)


class CTranslate2Whisper:
    """`base.SpeechRecognizer` over a folder that CTranslate2's converter made.

    One encoder pass serves the decoder and the word times. `workers` threads
    may call `transcribe` at once; each call computes on `threads` threads of CTranslate2's own.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        language: str | None = None,
        threads: int = 2,
        workers: int = 1,
        compute_type: str = "int8",
    ) -> None:
        self._vocabulary = vocabulary_size(folder)
        self._language = check_language(language, self._vocabulary)
        try:
            self._model = ctranslate2.models.Whisper(
                str(folder),
                compute_type=compute_type,
                inter_threads=workers,
                intra_threads=threads,
            )
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"CTranslate2 cannot load {folder}: {error}") from error
        self.model = f"{name}@{registry.fingerprint(folder)}"

    def bucket(self, utterance: Utterance) -> Bucket:
        return bucket(self._vocabulary, utterance)

    def transcribe(self, utterances: Sequence[Utterance]) -> list[Transcript]:
        """One transcript per utterance; utterances of the same bucket go through in one call."""
        return in_buckets(self._vocabulary, utterances, self._decode)

    def _encode(self, audio: Sequence[Floats], context: float) -> ctranslate2.StorageView:
        mels = np.stack([log_mel(samples, context, self._model.n_mels) for samples in audio])
        return self._model.encode(ctranslate2.StorageView.from_array(mels))

    def _decode(self, utterances: Sequence[Utterance], context: float) -> list[Transcript]:
        audio = [utterance.audio for utterance in utterances]
        features = self._encode(audio, context)
        languages = self._languages(features, len(audio))
        starts = [self._start(*each) for each in zip(utterances, languages, strict=True)]
        most = most_tokens(context)
        results = self._model.generate(
            features,
            starts,
            beam_size=1,
            max_length=most + max(most, len(starts[0])),  # of which it takes half at most
            return_scores=True,
            return_no_speech_prob=True,
        )
        encodings = np.array(features)
        return [
            self._transcript(samples, language, result, encoding)
            for samples, language, result, encoding in zip(
                audio, languages, results, encodings, strict=True
            )
        ]

    def _start(self, utterance: Utterance, language: str) -> list[int]:
        tokenizer = tokenizer_for(self._vocabulary, language)
        prompt = prompt_tokens(self._vocabulary, utterance.prompt)
        return [*prompt, *tokenizer.sot_sequence_including_notimestamps]

    def _languages(self, features: ctranslate2.StorageView, count: int) -> list[str]:
        if self._language is not None:
            return [self._language] * count
        return [str(best[0][0]).strip("<|>") for best in self._model.detect_language(features)]

    def _transcript(
        self,
        samples: Floats,
        language: str,
        result: ctranslate2.models.WhisperGenerationResult,
        encoding: Floats,
    ) -> Transcript:
        tokenizer = tokenizer_for(self._vocabulary, language)
        tokens = [t for t in result.sequences_ids[0] if t < tokenizer.eot]
        generated = len(result.sequences_ids[0])
        return transcript(
            tokenizer,
            tokens,
            self._align(samples, language, tokens, encoding),
            samples,
            language=language,
            no_speech_probability=result.no_speech_prob,
            average_log_probability=result.scores[0] * generated / (generated + 1),
        )

    def _align(
        self, samples: Floats, language: str, tokens: list[int], encoding: Floats
    ) -> list[WordTiming]:
        if not tokens:
            return []
        tokenizer = tokenizer_for(self._vocabulary, language)
        # One by one: in a batch of texts of different lengths CTranslate2 aligns differently.
        [aligned] = self._model.align(
            ctranslate2.StorageView.from_array(encoding[None]),
            list(tokenizer.sot_sequence),
            [tokens],
            mel_frames(samples),
        )
        return timed_words(tokenizer, tokens, aligned.alignments, aligned.text_token_probs)
