"""How full and how busy the GPUs are, for whoever watches over a worker."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True, slots=True)
class Gpu:
    """One that this process may use; `bytes` is its memory."""

    index: int
    name: str
    bytes: int

    def used_bytes(self) -> float:
        """Memory that is taken, by this process or another; NaN if the GPU does not answer."""
        try:
            free, total = _cuda().mem_get_info(self.index)
        except RuntimeError:  # it is gone; who asks for figures must still get the others
            return math.nan
        return float(total - free)

    def busy(self) -> float:
        """Share of the last moments in which it worked; NaN if its driver does not tell."""
        try:
            return float(_cuda().utilization(self.index)) / 100
        except Exception:  # whatever the driver's library has to say
            return math.nan


def present() -> list[Gpu]:
    """Those of this process, none where there is no CUDA."""
    cuda = _cuda()
    found = range(cuda.device_count() if cuda.is_available() else 0)
    sizes = [cuda.get_device_properties(each).total_memory for each in found]
    return [Gpu(index, f"cuda:{index}", size) for index, size in enumerate(sizes)]


def _cuda() -> ModuleType:
    from torch import cuda  # noqa: PLC0415  (it takes seconds to import, and gateways need none)

    return cuda
