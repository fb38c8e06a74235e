"""Reads the weights of a Whisper in CTranslate2's format into openai-whisper's own names.

The conversion is lossless: CTranslate2 only packs query, key and value into one matrix and writes
the key's bias, which Whisper does not have, as zeros.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from models.base import ModelError

Array = npt.NDArray[np.generic]

_VERSION = 6
_TYPES = ("<f4", "<i1", "<i2", "<i4", "<f2")
"""numpy types in the order of CTranslate2's type numbers; 5, bfloat16, is one that numpy lacks."""

_LAYER = {
    "self_attention/layer_norm": ("attn_ln",),
    "self_attention/linear_0": ("attn.query", "attn.key", "attn.value"),
    "self_attention/linear_1": ("attn.out",),
    "attention/layer_norm": ("cross_attn_ln",),
    "attention/linear_0": ("cross_attn.query",),
    "attention/linear_1": ("cross_attn.key", "cross_attn.value"),
    "attention/linear_2": ("cross_attn.out",),
    "ffn/layer_norm": ("mlp_ln",),
    "ffn/linear_0": ("mlp.0",),
    "ffn/linear_1": ("mlp.2",),
}
_REST = {
    "encoder/conv1": "encoder.conv1",
    "encoder/conv2": "encoder.conv2",
    "encoder/layer_norm": "encoder.ln_post",
    "decoder/layer_norm": "decoder.ln",
    "decoder/embeddings": "decoder.token_embedding",
    "encoder/position_encodings": "encoder",
    "decoder/position_encodings": "decoder",
}
_LEAF = {
    "weight": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "encodings": "positional_embedding",
}


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack("<" + kind, self.take(struct.calcsize("<" + kind)))
        return int(value)

    def text(self) -> str:
        return self.take(self.number("H"))[:-1].decode()

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise ModelError("the weights file ends too early: fetch it again")
        self._at += count
        return taken


def read_variables(path: Path) -> dict[str, Array]:
    """The variables of a CTranslate2 model.bin by name; int8 ones are scaled back to float32.

    Layout, little-endian: u32 version, name of the specification, u32 its revision, u32 count, then
    per variable: name, u8 rank, u32 sizes, u8 type, u32 bytes, the bytes. A string is u16 length,
    UTF-8, zero; the zero counts. Aliases follow: Whisper's one ties the output to the embedding.
    """
    reader = _Reader(path.read_bytes())
    version, kind = reader.number("I"), reader.text()
    if (version, kind) != (_VERSION, "WhisperSpec"):
        raise ModelError(f"{path} holds {kind} in version {version}, not Whisper in {_VERSION}")
    reader.number("I")
    variables = dict(_variable(reader) for _ in range(reader.number("I")))
    return {name: _scaled(name, variables) for name in variables if not name.endswith("_scale")}


def state_dict(variables: dict[str, Array]) -> dict[str, torch.Tensor]:
    """Weights by the names of `whisper.model.Whisper`, float32; ModelError if one has no place."""
    state = {
        name: torch.from_numpy(value.astype(np.float32))
        for packed, array in variables.items()
        if array.ndim  # the rest are settings
        for name, value in _unpacked(packed, array)
    }
    for name in [name for name in state if name.endswith(".key.bias")]:
        if state.pop(name).any():
            raise ModelError(f"{name} is not zero: openai-whisper has no place for it")
    return state


def _variable(reader: _Reader) -> tuple[str, Array]:
    name = reader.text()
    shape = [reader.number("I") for _ in range(reader.number("B"))]
    kind = reader.number("B")
    data = reader.take(reader.number("I"))
    if kind >= len(_TYPES):
        raise ModelError(f"{name} has a type that cannot be read: convert the model to float16")
    return name, np.frombuffer(data, _TYPES[kind]).reshape(shape)


def _scaled(name: str, variables: dict[str, Array]) -> Array:
    value, scale = variables[name], variables.get(f"{name}_scale")
    if scale is None:
        return value
    return value.astype(np.float32) / scale.astype(np.float32)[:, None]


def _unpacked(packed: str, array: Array) -> Iterator[tuple[str, Array]]:
    owner, leaf = packed.rsplit("/", 1)
    side, _, inner = owner.partition("/layer_")
    if inner and inner[0].isdigit():
        number, _, part = inner.partition("/")
        owners = tuple(f"{side}.blocks.{number}.{name}" for name in _LAYER.get(part, ()))
    else:
        owners = (_REST[owner],) if owner in _REST else ()
    if not owners or leaf not in _LEAF:
        raise ModelError(f"{packed} is not a part of Whisper")
    for name, value in zip(owners, np.split(array, len(owners)), strict=True):
        yield f"{name}.{_LEAF[leaf]}", value
