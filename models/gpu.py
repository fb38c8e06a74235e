"""How full and how busy the GPUs are, for whoever watches over a worker."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """One that this process may use; `bytes` is its memory."""

    index: int
    name: str
    bytes: int

    def used_bytes(self) -> float:
        """Memory that is taken, by this process or another; NaN if the GPU does not answer."""
        import torch

        try:
            free, total = torch.cuda.mem_get_info(self.index)
        except RuntimeError:  # it is gone; who asks for figures must still get the others
            return math.nan
        return total - free

    def busy(self) -> float:
        """Share of the last moments in which it worked; NaN if its driver does not tell."""
        import torch

        try:
            return torch.cuda.utilization(self.index) / 100
        except Exception:  # whatever the driver's library has to say
            return math.nan


def present() -> list[Gpu]:
    """Those of this process, none where there is no CUDA."""
    import torch

    found = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    sizes = [torch.cuda.get_device_properties(each).total_memory for each in found]
    return [Gpu(index, f"cuda:{index}", size) for index, size in enumerate(sizes)]
