"""What a text says of sentiment and emotions: a vector for the fusion model, read from MiniLM.

MiniLM goes on learning from labelled sentences by low-rank adapters (`models.lora`), trained by
`models.train.text`. A vector is the mean of the last hidden states, shifted and scaled to about
unit variance, and after it what each head makes of that mean, a head per corpus: corpora do not
mean the same by the same label, and fusion may learn whom to believe. See `Layout`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from models import bert, registry
from models.base import Encoder, Floats, ModelError
from models.fusion import EMOTIONS, SENTIMENTS
from models.lora import Adapters

HEADS: Final[Mapping[str, tuple[str, ...]]] = {
    "meld_emotions": EMOTIONS,
    "meld_sentiments": SENTIMENTS,
    "goemotions": EMOTIONS,
    "sst2": ("positive",),
    "scored": ("sentiment",),
}
"""All heads and their outputs: logits, of one of MELD's emotions or sentiments each, of every one
of GoEmotions' emotions apart, of SST-2's positive; and the sentiment of a scored sentence."""
TOKENS: Final = 64
"""Of a text that count; fewer than one in a thousand of what it learned from has more."""
BATCH: Final = 32
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Layout:
    """Where what is in a vector: `hidden` first, then the outputs of `heads`, in this order."""

    width: int
    heads: tuple[str, ...]

    @property
    def hidden(self) -> slice:
        return slice(0, self.width)

    @property
    def outputs(self) -> slice:
        """Those of all heads."""
        return slice(self.width, self.dimension)

    @property
    def dimension(self) -> int:
        return self.width + sum(len(HEADS[name]) for name in self.heads)

    def head(self, name: str) -> slice:
        """Those of one head. Raises ModelError where the model has no such head."""
        if name not in self.heads:
            raise ModelError(f"no head {name!r}: this model has {', '.join(self.heads)}")
        before = self.heads[: self.heads.index(name)]
        first = self.width + sum(len(HEADS[each]) for each in before)
        return slice(first, first + len(HEADS[name]))


class AffectNet(nn.Module):
    """Adapters and heads: all that is learned; the BERT that they belong to is given to it."""

    def __init__(
        self, network: bert.Network, heads: Sequence[str], rank: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.layout = Layout(network.words.embedding_dim, tuple(heads))
        self.adapters = Adapters(network, rank, dropout)
        self.heads = nn.Linear(self.layout.width, self.layout.dimension - self.layout.width)
        self.shift = nn.Buffer(torch.zeros(self.layout.width))
        self.scale = nn.Buffer(torch.ones(self.layout.width))
        self.dropout = dropout

    def forward(self, network: bert.Network, ids: Tensor, mask: Tensor) -> Tensor:
        """The vectors [n, dimension] of tokens [n, tokens]."""
        return self.vectors(self.adapters(network, ids, mask), mask)

    def vectors(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The vectors [n, dimension] of the adapted network's hidden states [n, tokens, width]."""
        mean = bert.pooled(hidden, mask)
        outputs = self.heads(functional.dropout(mean, self.dropout, self.training))
        return torch.cat([(mean - self.shift) / self.scale, outputs], dim=1)


class AffectTextEncoder:
    """`base.TextEncoder` of the model in a folder with model.json and model.safetensors.

    Its vectors are not of unit length. Raises ModelError where the folder holds none, or where the
    MiniLM that it was made from is missing or another one.
    """

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        facts = read_facts(folder)
        self._bert = base(facts["base"], device)
        if (revision := registry.fingerprint(registry.resolve(facts["base"]))) != facts["revision"]:
            raise ModelError(
                f"{folder} belongs to {facts['base']} {facts['revision']}, and here that is"
                f" {revision}: install the version that it was made with or train it anew"
            )
        self._net = restored(folder, facts, self._bert.network).to(device)
        self._net.adapters.merge(self._bert.network)
        self.layout = self._net.layout
        self.encoder = Encoder("affect", registry.fingerprint(folder), self.layout.dimension)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Floats:
        """Vectors [n, dimension] in the order of `texts`; no one depends on the others.

        Texts of like length share a batch, so that little is padded.
        """
        vectors = np.zeros((len(texts), self.layout.dimension), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for first in range(0, len(order), BATCH):
            chosen = order[first : first + BATCH]
            hidden, mask = self._bert([texts[i] for i in chosen])
            vectors[chosen] = self._net.vectors(hidden, mask).cpu().numpy()
        return vectors


def base(uri: str, device: str = "cpu") -> bert.Bert:
    """The BERT of `uri`, which reads `TOKENS` of a text. Raises ModelError."""
    folder = registry.resolve(uri)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return bert.Bert(folder, config, tokens=TOKENS, device=device)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{uri} holds no BERT: {error}") from error


def read_facts(folder: Path) -> dict[str, Any]:
    """What model.json says of the model. Raises ModelError where it is none of ours."""
    try:
        facts: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        said = {name: tuple(outputs) for name, outputs in facts["heads"].items()}
        if facts["format"] != FORMAT or any(HEADS[name] != said[name] for name in said):
            raise ValueError(f"it has format {facts['format']} and heads {said}")
        _ = facts["base"], facts["revision"], int(facts["rank"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"no usable affect model in {folder} ({error!r}); make one with tenor train text"
        ) from error
    return facts


def restored(
    folder: Path, facts: Mapping[str, Any], network: bert.Network, dropout: float = 0.0
) -> AffectNet:
    """The adapters and heads of the folder, for `network`. Raises ModelError."""
    try:
        net = AffectNet(network, tuple(facts["heads"]), int(facts["rank"]), dropout)
        net.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"no usable affect model in {folder} ({error}); make one with tenor train text"
        ) from error
    return net.eval()
