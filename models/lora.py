"""Low-rank adapters for the BERT of `models.bert` (LoRA: Hu et al., 2021, arXiv:2106.09685).

The network's weights stay as they are; what it learns is, for each matrix W of its layers, a change
`up @ down` of low rank, which is small enough to ship. In training the change is applied to the
activations, so that no gradient of W is needed; to serve, it is added to W once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.bert import Network


class Adapter(nn.Module):
    """The change of one matrix [outputs, inputs]; none at first."""

    def __init__(self, matrix: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = matrix.shape
        self.down = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, inputs: Tensor) -> Tensor:
        """What is to be added to what the matrix itself makes of the inputs."""
        return functional.linear(functional.linear(inputs, self.down), self.up)

    def add_to(self, matrix: Tensor) -> None:
        """Changes the matrix itself."""
        matrix += self.up @ self.down


class LayerAdapters(nn.Module):
    """The adapters of one layer; queries, keys and values are one matrix in torch."""

    def __init__(self, layer: nn.TransformerEncoderLayer, rank: int) -> None:
        super().__init__()
        self.in_proj = Adapter(layer.self_attn.in_proj_weight, rank)
        self.out_proj = Adapter(layer.self_attn.out_proj.weight, rank)
        self.linear1 = Adapter(layer.linear1.weight, rank)
        self.linear2 = Adapter(layer.linear2.weight, rank)

    def forward(
        self, layer: nn.TransformerEncoderLayer, hidden: Tensor, seen: Tensor, dropout: float
    ) -> Tensor:
        """The layer with its adapters, of hidden states [n, tokens, width]; `seen` [n, 1, 1,
        tokens] is true for tokens that may be attended to.

        All tokens of a text lose the same features (Gal and Ghahramani, 2016): as many random
        numbers as for a lot of tokens would be would take a tenth of the time.
        """

        def dropped(values: Tensor) -> Tensor:
            if not self.training or not dropout:
                return values
            kept = torch.rand(len(values), 1, values.shape[-1], device=values.device) >= dropout
            return values * (kept / (1 - dropout))

        hidden = layer.norm1(hidden + dropped(self._attended(layer.self_attn, hidden, seen)))
        inner = functional.gelu(layer.linear1(hidden) + self.linear1(hidden))
        outer: Tensor = layer.linear2(inner) + self.linear2(inner)
        normed: Tensor = layer.norm2(hidden + dropped(outer))
        return normed

    def _attended(self, attention: nn.MultiheadAttention, hidden: Tensor, seen: Tensor) -> Tensor:
        both = functional.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
        parts = (both + self.in_proj(hidden)).chunk(3, dim=-1)
        shape = (attention.num_heads, attention.head_dim)
        query, key, value = (part.unflatten(-1, shape).transpose(1, 2) for part in parts)
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        joined = found.transpose(1, 2).flatten(2)
        made: Tensor = attention.out_proj(joined) + self.out_proj(joined)
        return made


class Adapters(nn.Module):
    """The adapters of all layers; the network itself is no part of this module's state."""

    def __init__(self, network: Network, rank: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LayerAdapters(layer, rank) for layer in _layers(network))
        self.rank = rank
        self.dropout = dropout

    def forward(self, network: Network, ids: Tensor, mask: Tensor) -> Tensor:
        """The last hidden states [n, tokens, width] of `network` with these adapters."""
        hidden = network.embed(ids)
        seen = mask[:, None, None, :] > 0
        for layer, adapters in self._pairs(network):
            hidden = adapters(layer, hidden, seen, self.dropout)
        return hidden

    @torch.no_grad()
    def merge(self, network: Network) -> None:
        """Adds the changes to the network's own weights: from now on it is the adapted one."""
        for layer, adapters in self._pairs(network):
            adapters.in_proj.add_to(layer.self_attn.in_proj_weight)
            adapters.out_proj.add_to(layer.self_attn.out_proj.weight)
            adapters.linear1.add_to(layer.linear1.weight)
            adapters.linear2.add_to(layer.linear2.weight)

    def _pairs(
        self, network: Network
    ) -> Iterator[tuple[nn.TransformerEncoderLayer, LayerAdapters]]:
        for layer, adapters in zip(_layers(network), self.layers, strict=True):
            assert isinstance(adapters, LayerAdapters)  # noqa: S101
            yield layer, adapters


def _layers(network: Network) -> Iterator[nn.TransformerEncoderLayer]:
    for layer in network.encoder.layers:
        assert isinstance(layer, nn.TransformerEncoderLayer)  # noqa: S101
        yield layer
