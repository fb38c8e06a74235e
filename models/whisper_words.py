"""When the words of a batch of transcripts were said, by the network that decoded them, on torch.

Where some heads of the decoder look while it says a token is where the token was said: dynamic time
warping makes one path of it. openai-whisper's own function does so too (`whisper.timing`), with a
pass through the network for each transcript. Here the network runs once for many; only the warping
is done one by one, on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from whisper.model import Whisper, disable_sdpa
from whisper.timing import WordTiming, dtw_cpu
from whisper.tokenizer import Tokenizer

from models.whisper import timed_words

TOGETHER: Final = 16
"""Transcripts that go through the network at once: it gives a number for every token of the
vocabulary at every place, 10 MB for a transcript of 50 tokens."""
SMOOTHED: Final = 7
"""Frames of 20 ms over which the median of what a head sees is taken, as openai-whisper does."""


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """A transcript's own tokens, and how many frames (20 ms) of the encoder its audio has."""

    tokenizer: Tokenizer
    tokens: list[int]
    frames: int

    @property
    def row(self) -> Tensor:
        """As the decoder reads it."""
        start = self.tokenizer.sot_sequence_including_notimestamps
        return torch.tensor([*start, *self.tokens, self.tokenizer.eot])

    @property
    def own(self) -> slice:
        """The places of `row` at which its tokens are foretold: each at the one before it."""
        first = len(self.tokenizer.sot_sequence)
        return slice(first, first + len(self.tokens))


def timed(model: Whisper, said: Sequence[Said], encoded: Tensor) -> list[list[WordTiming]]:
    """The words of each transcript, of the encoder's outputs [n, frames, d]; each as alone, up to
    rounding."""
    found: list[list[WordTiming]] = [[] for _ in said]
    spoken = [place for place, each in enumerate(said) if each.tokens]
    for first in range(0, len(spoken), TOGETHER):
        places = spoken[first : first + TOGETHER]
        some = [said[place] for place in places]
        for place, words in zip(places, _timed(model, some, encoded[places]), strict=True):
            found[place] = words
    return found


def warm() -> None:
    """Has the warping compiled: it takes seconds, which no caption should wait."""
    dtw_cpu(np.zeros((1, 1)))


@torch.inference_mode()
def _timed(model: Whisper, said: Sequence[Said], encoded: Tensor) -> Iterator[list[WordTiming]]:
    # What stands after a transcript's end changes nothing before it: the decoder looks back only.
    rows = pad_sequence([each.row for each in said], batch_first=True, padding_value=0)
    with _looks(model) as looks:
        logits = model.decoder(rows.to(model.device), encoded)
    seen = torch.stack([looks[layer][:, head] for layer, head in model.alignment_heads.indices().T])
    for place, each in enumerate(said):
        own = torch.tensor(each.tokens, device=logits.device)
        chances = logits[place, each.own, : each.tokenizer.eot].softmax(dim=-1)
        probabilities = chances.gather(1, own[:, None])[:, 0].tolist()
        path = _path(seen[:, place, : len(each.row), : each.frames], each.own)
        yield timed_words(each.tokenizer, each.tokens, path, probabilities)


@contextmanager
def _looks(model: Whisper) -> Iterator[list[Tensor]]:
    """Gathers where the heads of each layer look, [n, heads, tokens, frames], before softmax."""
    looks: list[Tensor] = []
    hooks = [
        block.cross_attn.register_forward_hook(lambda _, inputs, outputs: looks.append(outputs[1]))
        for block in model.decoder.blocks
    ]
    try:
        with disable_sdpa():  # which does not tell
            yield looks
    finally:
        for hook in hooks:
            hook.remove()


def _path(seen: Tensor, own: slice) -> list[tuple[int, int]]:
    """Pairs of token and frame, of what the heads saw [heads, tokens, frames]; `own` tokens only,
    and the end, which says when the last word is over."""
    shares = seen.softmax(dim=-1)
    deviation, mean = torch.std_mean(shares, dim=-2, keepdim=True, unbiased=False)
    cost = -_smooth((shares - mean) / deviation).mean(dim=0)[own.start : own.stop + 1]
    tokens, frames = dtw_cpu(cost.double().cpu().numpy())
    return list(zip(tokens.tolist(), frames.tolist(), strict=True))


def _smooth(values: Tensor) -> Tensor:
    """The median of each value and its neighbours in the last dimension, mirrored at its ends."""
    aside = SMOOTHED // 2
    if values.shape[-1] <= aside:
        return values
    return pad(values, (aside, aside), mode="reflect").unfold(-1, SMOOTHED, 1).median(dim=-1).values
