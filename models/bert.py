"""BERT on torch's own layers, from a folder as transformers writes it.

transformers would read it too, but takes some seconds and 200 MB for what it imports: too much for
a worker that is to replace another one soon. A layer of BERT is torch's encoder layer, normalised
after each part (Devlin et al., 2018); only the names of the weights differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

WEIGHTS: Final = "model.safetensors"
TOKENS: Final = "tokenizer.json"

Config = Mapping[str, Any]


def reads(folder: Path, config: Config) -> bool:
    """Whether what `config` describes is a BERT, as it was published, with all its files."""
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and (folder / WEIGHTS).is_file()
        and (folder / TOKENS).is_file()
    )


class Bert:
    """A BERT and its tokeniser; of a text at most `tokens` are read."""

    def __init__(self, folder: Path, config: Config, *, tokens: int, device: str = "cpu") -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / TOKENS))
        self.tokenizer.enable_truncation(tokens)
        self.tokenizer.enable_padding(pad_id=config.get("pad_token_id") or 0)
        self.network = Network(config)  # not on "meta": that would import half of torch
        weights = renamed(load_file(folder / WEIGHTS), config)
        self.network.load_state_dict(weights, assign=True)
        self.network.eval().to(device)
        self._device = device

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The last hidden states [n, tokens, width], and 1 for each token [n, tokens], 0 beyond."""
        encoded = self.tokenizer.encode_batch(list(texts))
        ids = torch.tensor([each.ids for each in encoded], device=self._device)
        mask = torch.tensor([each.attention_mask for each in encoded], device=self._device)
        return self.network(ids, mask), mask


class Network(nn.Module):
    """Embeddings of words and places, and the encoder. Every text is of BERT's first segment."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config["layer_norm_eps"]
        self.words = nn.Embedding(config["vocab_size"], width)
        self.places = nn.Embedding(config["max_position_embeddings"], width)
        self.segments = nn.Embedding(config["type_vocab_size"], width)
        self.norm = nn.LayerNorm(width, eps)
        layer = nn.TransformerEncoderLayer(
            width,
            config["num_attention_heads"],
            config["intermediate_size"],
            activation="gelu",
            layer_norm_eps=eps,
            batch_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, config["num_hidden_layers"], enable_nested_tensor=False
        )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden: Tensor = self.encoder(self.embed(ids), src_key_padding_mask=mask == 0)
        return hidden

    def embed(self, ids: Tensor) -> Tensor:
        """What the first layer reads of tokens [n, tokens]: [n, tokens, width]."""
        places = self.places.weight[: ids.shape[1]]
        embedded: Tensor = self.norm(self.words(ids) + places + self.segments.weight[0])
        return embedded


def pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """The mean [n, width] of the hidden states [n, tokens, width] of a text's own tokens."""
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


EMBEDDINGS: Final = {
    "words": "word_embeddings",
    "places": "position_embeddings",
    "segments": "token_type_embeddings",
    "norm": "LayerNorm",
}
LAYER: Final = {
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}
PARTS: Final = ("weight", "bias")


def renamed(state: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """The weights by the names that `Network` has for them. Raises KeyError if one is missing."""
    bare = {name.removeprefix("bert."): tensor.float() for name, tensor in state.items()}
    named = {
        f"{ours}.{part}": bare[f"embeddings.{theirs}.{part}"]
        for ours, theirs in EMBEDDINGS.items()
        for part in (PARTS if ours == "norm" else PARTS[:1])
    }
    for n in range(config["num_hidden_layers"]):
        here, there = f"encoder.layers.{n}", f"encoder.layer.{n}"
        for part in PARTS:
            heads = [bare[f"{there}.attention.self.{x}.{part}"] for x in ("query", "key", "value")]
            named[f"{here}.self_attn.in_proj_{part}"] = torch.cat(heads)
            named |= {f"{here}.{o}.{part}": bare[f"{there}.{t}.{part}"] for o, t in LAYER.items()}
    return named
