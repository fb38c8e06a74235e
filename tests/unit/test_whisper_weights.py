"""The reader of CTranslate2's weights, against files in that format written here."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from models.base import ModelError
from models.whisper_weights import Array, read_variables, state_dict

TYPES = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}


def _string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def _write(path: Path, variables: Mapping[str, Array], kind: str = "WhisperSpec") -> Path:
    data = struct.pack("<I", 6) + _string(kind) + struct.pack("<II", 3, len(variables))
    for name, value in variables.items():
        data += _string(name) + struct.pack("<B", value.ndim)
        data += struct.pack(f"<{value.ndim}I", *value.shape)
        data += struct.pack("<BI", TYPES[value.dtype.name], value.nbytes) + value.tobytes()
    path.write_bytes(data + struct.pack("<I", 0))
    return path


def test_variables_come_back_as_written(tmp_path: Path) -> None:
    written: dict[str, Array] = {
        "encoder/conv1/weight": np.arange(12, dtype=np.float16).reshape(2, 2, 3),
        "decoder/num_heads": np.array(6, np.int16),
    }
    read = read_variables(_write(tmp_path / "model.bin", written))
    assert read.keys() == written.keys()
    for name, value in written.items():
        np.testing.assert_array_equal(read[name], value)
        assert read[name].dtype == value.dtype


def test_int8_is_scaled_back_row_by_row(tmp_path: Path) -> None:
    written: dict[str, Array] = {
        "decoder/embeddings/weight": np.array([[127, -127], [64, 0]], np.int8),
        "decoder/embeddings/weight_scale": np.array([127, 32], np.float32),
    }
    read = read_variables(_write(tmp_path / "model.bin", written))
    np.testing.assert_array_equal(read["decoder/embeddings/weight"], [[1, -1], [2, 0]])
    assert len(read) == 1


def test_packed_projections_are_taken_apart() -> None:
    bias = np.array([1, 2, 0, 0, 5, 6], np.float16)
    state = state_dict({"encoder/layer_3/self_attention/linear_0/bias": bias})
    assert state.keys() == {"encoder.blocks.3.attn.query.bias", "encoder.blocks.3.attn.value.bias"}
    assert torch.equal(state["encoder.blocks.3.attn.value.bias"], torch.tensor([5.0, 6.0]))


def test_a_key_bias_that_would_be_lost_is_refused() -> None:
    bias = np.array([1, 2, 3, 4, 5, 6], np.float16)
    with pytest.raises(ModelError, match="not zero"):
        state_dict({"encoder/layer_0/self_attention/linear_0/bias": bias})


def test_a_variable_of_another_network_is_refused() -> None:
    with pytest.raises(ModelError, match="not a part of Whisper"):
        state_dict({"encoder/layer_0/rotary/weight": np.zeros(4, np.float32)})


def test_broken_files_are_refused(tmp_path: Path) -> None:
    variables = {"encoder/conv1/bias": np.zeros(4, np.float32)}
    with pytest.raises(ModelError, match="not Whisper"):
        read_variables(_write(tmp_path / "other.bin", variables, kind="TransformerSpec"))
    whole = _write(tmp_path / "model.bin", variables).read_bytes()
    (tmp_path / "model.bin").write_bytes(whole[:-8])
    with pytest.raises(ModelError, match="ends too early"):
        read_variables(tmp_path / "model.bin")
