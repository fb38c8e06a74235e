"""Learning curves, confusion matrices and reliability diagrams as PNG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.train.metrics import Bools, Integers, Numbers

STYLE: Final[dict[Any, Any]] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
BINS: Final = 10


def curves(
    path: Path, title: str, values: Mapping[str, Sequence[float]], *, across: str = "epoch"
) -> None:
    """A line per name over the epochs, or over what else is counted from 1."""
    with _drawing(path, title, (6, 3.5)) as axes:
        for name, line in values.items():
            axes.plot(range(1, len(line) + 1), line, marker=".", label=name)
        axes.set_xlabel(across)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)


def confusion(path: Path, title: str, names: Sequence[str], true: Integers, said: Integers) -> None:
    """How often a true label (row) was said to be another (column), as shares of the row."""
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, (true, said), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.5 + 0.6 * len(names)
    with _drawing(path, title, (side, side)) as axes:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("said")
        axes.set_ylabel("true")
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour, size=8)


def reliability(path: Path, title: str, confidence: Numbers, right: Bools) -> None:
    """How often what was said with a confidence was right; the bars below: how often it was said
    (Guo et al. 2017)."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    filled = [b for b in range(BINS) if (place == b).any()]
    with _drawing(path, title, (4.5, 4)) as axes:
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
        said = [float(confidence[place == b].mean()) for b in filled]
        axes.plot(said, [float(right[place == b].mean()) for b in filled], marker="o")
        shares = [float((place == b).mean()) for b in range(BINS)]
        middles = (np.arange(BINS) + 0.5) / BINS
        axes.bar(middles, shares, width=0.9 / BINS, alpha=0.2, color="grey")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("confidence")
        axes.set_ylabel("share that is right")


@contextmanager
def _drawing(path: Path, title: str, size: tuple[float, float]) -> Iterator[Any]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_title(title)
        yield axes
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": None})
