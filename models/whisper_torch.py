"""Whisper on torch by openai-whisper: for a GPU, and the reference for the CTranslate2 backend.

It reads the same CTranslate2 folders, so both backends have the same weights and `model`. Its
arithmetic is float16 on CUDA and float32 elsewhere; results in different batches agree up to
rounding, where int8 on CTranslate2 gives the same bits in any batch. Encoding, decoding and word
times are batched, and one thread may call at a time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from whisper.decoding import DecodingOptions, DecodingResult, DecodingTask
from whisper.model import AudioEncoder, ModelDimensions, Whisper
from whisper.timing import WordTiming

from models import registry
from models.base import ModelError, Transcript, Utterance
from models.whisper import (
    Bucket,
    bucket,
    check_language,
    in_buckets,
    log_mel_on,
    mel_frames,
    most_tokens,
    prompt_tokens,
    tokenizer_for,
    transcript,
)
from models.whisper_weights import read_variables, state_dict
from models.whisper_words import Said, timed, warm


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
    """`base.SpeechRecognizer` over a Whisper of openai-whisper, named `model`.

    `half`: in float16; None: on CUDA only.
    """

    def __init__(
        self,
        network: Whisper,
        model: str,
        *,
        device: str,
        language: str | None = None,
        half: bool | None = None,
    ) -> None:
        self._half = torch.device(device).type == "cuda" if half is None else half
        self._model = (halved(network) if self._half else network).to(device)
        self._vocabulary = network.dims.n_vocab
        self._language = check_language(language, self._vocabulary)
        self.model = model
        warm()

    @classmethod
    def of(
        cls,
        folder: Path,
        name: str,
        *,
        device: str,
        language: str | None = None,
        half: bool | None = None,
    ) -> Self:
        """The one in a folder in CTranslate2's format. Raises ModelError."""
        model = f"{name}@{registry.fingerprint(folder)}"
        return cls(load(folder), model, device=device, language=language, half=half)

    def bucket(self, utterance: Utterance) -> Bucket:
        return bucket(self._vocabulary, utterance)

    def transcribe(self, utterances: Sequence[Utterance]) -> list[Transcript]:
        """One transcript per utterance; utterances of the same bucket go through in one call."""
        return in_buckets(self._vocabulary, utterances, self._decode)

    @torch.inference_mode()
    def _decode(self, utterances: Sequence[Utterance], context: float) -> list[Transcript]:
        features = self._encode(utterances, context)
        options = DecodingOptions(
            language=self._language,
            without_timestamps=True,
            sample_len=most_tokens(context),
            fp16=self._half,
        )
        prompts = [prompt_tokens(self._vocabulary, each.prompt) for each in utterances]
        results = PromptedDecoding(self._model, options, prompts).run(features)
        said = [self._said(*each) for each in zip(utterances, results, strict=True)]
        words = timed(self._model, said, features)
        return [_transcript(*each) for each in zip(utterances, results, said, words, strict=True)]

    def _encode(self, utterances: Sequence[Utterance], context: float) -> Tensor:
        dims, device = self._model.dims, self._model.device
        mels = [log_mel_on(device, each.audio, context, dims.n_mels) for each in utterances]
        mel = torch.stack(mels)
        encoded: Tensor = self._model.encoder(mel.half() if self._half else mel)
        return encoded

    def _said(self, utterance: Utterance, result: DecodingResult) -> Said:
        tokenizer = tokenizer_for(self._vocabulary, result.language)
        tokens = [token for token in result.tokens if token < tokenizer.eot]  # no times and marks
        return Said(tokenizer, tokens, mel_frames(utterance.audio) // 2)


def _transcript(
    utterance: Utterance, result: DecodingResult, said: Said, words: list[WordTiming]
) -> Transcript:
    return transcript(
        said.tokenizer,
        said.tokens,
        words,
        utterance.audio,
        language=result.language,
        no_speech_probability=result.no_speech_prob,
        average_log_probability=result.avg_logprob,
    )


def halved(network: Whisper) -> Whisper:
    """`network` with the weights in float16 that it would else make of float32 at every token; not
    what it adds and norms with, which it uses in float32."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Embedding):
            module.half()
    return network


def empty(dims: ModelDimensions) -> Whisper:
    """A Whisper of this size whose encoder takes short contexts; its weights mean nothing yet."""
    model = Whisper(dims)
    model.encoder = ShortContextEncoder(
        dims.n_mels, dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer
    )
    return model.eval()


def load(folder: Path) -> Whisper:
    """The one in a folder in CTranslate2's format, in float32. Raises ModelError."""
    state = state_dict(read_variables(folder / "model.bin"))
    heads = json.loads((folder / "config.json").read_text(encoding="utf-8"))["alignment_heads"]
    dims = _dimensions(state)
    model = empty(dims)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{folder} is not a whole Whisper: {error}") from error
    mask = torch.zeros(dims.n_text_layer, dims.n_text_head, dtype=torch.bool)
    mask[tuple(zip(*heads, strict=True))] = True
    model.alignment_heads = mask.to_sparse()
    return model


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
