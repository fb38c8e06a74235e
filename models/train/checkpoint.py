"""A training that was cut off goes on where it was: its state on disk, without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from models.base import ModelError

FILE: Final = "checkpoint.safetensors"


def save(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes tensors and JSON facts at once: whoever reads sees the old ones or the new ones."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f"{FILE}.part"
    whole = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    save_file(whole, scratch, metadata={"facts": json.dumps(facts)})
    scratch.replace(folder / FILE)


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What was saved last, or None. Raises ModelError where it cannot be read."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"cannot go on from {path}: {error}; delete it to begin anew") from error


def clear(folder: Path) -> None:
    """Forgets it: the training is over."""
    (folder / FILE).unlink(missing_ok=True)


def pack(network: nn.Module, optimiser: Optimizer) -> dict[str, Tensor]:
    """The state of both as flat tensors, with torch's random numbers.

    Only of AdamW and the like, whose state is tensors and whose groups do not change.
    """
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for number, moments in optimiser.state_dict()["state"].items():
        state |= {f"optimiser.{number}.{name}": value for name, value in moments.items()}
    return {**state, "random": torch.get_rng_state()}


def unpack(state: Mapping[str, Tensor], network: nn.Module, optimiser: Optimizer) -> None:
    """Puts back what `pack` took."""
    network.load_state_dict(_under("network.", state))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimiser.", state).items():
        number, _, kind = name.partition(".")
        moments.setdefault(int(number), {})[kind] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": moments, "param_groups": groups})
    torch.set_rng_state(state["random"])


def _under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
