"""Whisper on torch by openai-whisper: for a GPU, and the reference for the CTranslate2 backend.

It reads the same CTranslate2 folders, so both backends have the same weights and `model`. Its
arithmetic is float16 on CUDA and float32 elsewhere; results in different batches agree up to
rounding, where int8 on CTranslate2 gives the same bits in any batch. Encoding and decoding are
batched; word times are found one utterance after the other, and one thread may call at a time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import gelu
from whisper.decoding import DecodingOptions, DecodingResult, DecodingTask
from whisper.model import AudioEncoder, ModelDimensions, Whisper
from whisper.timing import WordTiming, find_alignment

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
    tokenizer_for,
    transcript,
)
from models.whisper_weights import read_variables, state_dict


class ShortContextEncoder(AudioEncoder):  # type: ignore[misc]
    """Whisper's encoder for any length up to 30 s: positions are counted from the start.

    What it has encoded already it passes through, so that one pass serves decoding and alignment.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[batch, n_mels, frames] to [batch, frames / 2, d]."""
        if x.shape[1] != self.conv1.in_channels:
            return x
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        encoded: Tensor = self.ln_post(x)
        return encoded

    def embed(self, mel: Tensor) -> Tensor:
        """What the first block is given, of the shape of the outcome."""
        x = gelu(self.conv2(gelu(self.conv1(mel)))).permute(0, 2, 1)
        embedded: Tensor = (x + self.positional_embedding[: x.shape[1]]).to(x.dtype)
        return embedded


class PromptedDecoding(DecodingTask):  # type: ignore[misc]
    """openai-whisper's decoding with a prompt of its own for each row of the batch.

    `prompts` are the tokens before <|startoftranscript|>, of one length in all rows.
    """

    def __init__(
        self, model: Whisper, options: DecodingOptions, prompts: Sequence[Sequence[int]]
    ) -> None:
        # The mark before them it writes itself; the first row's stand in for the others'.
        super().__init__(model, replace(options, prompt=list(prompts[0][1:])))
        self._prompts = torch.tensor(prompts, dtype=torch.long, device=model.device)

    def _main_loop(
        self, audio_features: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor, list[float]]:
        tokens[:, : self._prompts.shape[1]] = self._prompts
        decoded: tuple[Tensor, Tensor, list[float]] = super()._main_loop(audio_features, tokens)
        return decoded


class TorchWhisper:
    """`base.SpeechRecognizer` over a folder in CTranslate2's format, decoded by openai-whisper."""

    def __init__(
        self, folder: Path, name: str, *, device: str, language: str | None = None
    ) -> None:
        self._model = _load(folder).to(device)
        self._half = torch.device(device).type == "cuda"
        self._vocabulary = self._model.dims.n_vocab
        self._language = check_language(language, self._vocabulary)
        self.model = f"{name}@{registry.fingerprint(folder)}"

    def bucket(self, utterance: Utterance) -> Bucket:
        return bucket(self._vocabulary, utterance)

    def transcribe(self, utterances: Sequence[Utterance]) -> list[Transcript]:
        """One transcript per utterance; utterances of the same bucket go through in one call."""
        return in_buckets(self._vocabulary, utterances, self._decode)

    @torch.inference_mode()
    def _decode(self, utterances: Sequence[Utterance], context: float) -> list[Transcript]:
        audio = [utterance.audio for utterance in utterances]
        mels = np.stack([log_mel(samples, context, self._model.dims.n_mels) for samples in audio])
        mel = torch.from_numpy(mels).to(self._model.device)
        features = self._model.encoder(mel.half() if self._half else mel)
        options = DecodingOptions(
            language=self._language,
            without_timestamps=True,
            sample_len=most_tokens(context),
            fp16=self._half,
        )
        prompts = [prompt_tokens(self._vocabulary, each.prompt) for each in utterances]
        results = PromptedDecoding(self._model, options, prompts).run(features)
        return [
            self._transcript(samples, result, encoded)
            for samples, result, encoded in zip(audio, results, features, strict=True)
        ]

    def _transcript(self, samples: Floats, result: DecodingResult, encoded: Tensor) -> Transcript:
        tokenizer = tokenizer_for(self._vocabulary, result.language)
        return transcript(
            tokenizer,
            result.tokens,
            self._align(samples, result, encoded),
            samples,
            language=result.language,
            no_speech_probability=result.no_speech_prob,
            average_log_probability=result.avg_logprob,
        )

    def _align(self, samples: Floats, result: DecodingResult, encoded: Tensor) -> list[WordTiming]:
        tokenizer = tokenizer_for(self._vocabulary, result.language)
        found: list[WordTiming] = find_alignment(
            self._model, tokenizer, result.tokens, encoded, mel_frames(samples)
        )
        return found


def _load(folder: Path) -> Whisper:
    state = state_dict(read_variables(folder / "model.bin"))
    heads = json.loads((folder / "config.json").read_text(encoding="utf-8"))["alignment_heads"]
    dims = _dimensions(state)
    model = Whisper(dims)
    model.encoder = ShortContextEncoder(
        dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer
    )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{folder} is not a whole Whisper: {error}") from error
    mask = torch.zeros(dims.n_text_layer, dims.n_text_head, dtype=torch.bool)
    mask[tuple(zip(*heads, strict=True))] = True
    model.alignment_heads = mask.to_sparse()
    return model.eval()


def _dimensions(state: dict[str, Tensor]) -> ModelDimensions:
    layers = [name.split(".") for name in state if name.endswith("attn_ln.weight")]
    width, n_mels, _ = state["encoder.conv1.weight"].shape
    return ModelDimensions(
        n_mels=n_mels,
        n_audio_ctx=len(state["encoder.positional_embedding"]),
        n_audio_state=width,
        n_audio_head=width // 64,  # every Whisper has heads of 64
        n_audio_layer=1 + max(int(name[2]) for name in layers if name[0] == "encoder"),
        n_vocab=len(state["decoder.token_embedding.weight"]),
        n_text_ctx=len(state["decoder.positional_embedding"]),
        n_text_state=width,
        n_text_head=width // 64,
        n_text_layer=1 + max(int(name[2]) for name in layers if name[0] == "decoder"),
    )
