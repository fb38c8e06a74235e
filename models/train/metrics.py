"""Figures of merit, by the field's usual names; all are JSON numbers.

Accuracy, F1 and recall by scikit-learn. Expected calibration error: Guo et al. 2017,
arXiv:1706.04599, with bins of equal width. UAR is the unweighted average recall.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Figures = dict[str, Any]
Numbers = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]

INTERVAL_90: Final = 1.6449
"""Deviations of a Gaussian either side of its mean that hold 90 %."""


def classification(true: Integers, said: Integers) -> Figures:
    """Labels [n] against labels said [n]."""
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score  # noqa: PLC0415

    with warnings.catch_warnings():  # a label that is said and never true is an error like others
        warnings.simplefilter("ignore")
        return rounded(
            accuracy=accuracy_score(true, said),
            weighted_f1=f1_score(true, said, average="weighted", zero_division=0),
            macro_f1=f1_score(true, said, average="macro", labels=np.unique(true), zero_division=0),
            uar=balanced_accuracy_score(true, said),
        )


def multilabel(true: Bools, said: Bools) -> Figures:
    """Several labels per sample, [n, classes]; accuracy is of the whole set of a sample."""
    from sklearn.metrics import accuracy_score, f1_score  # noqa: PLC0415

    return rounded(
        accuracy=accuracy_score(true, said),
        weighted_f1=f1_score(true, said, average="weighted", zero_division=0),
        macro_f1=f1_score(true, said, average="macro", zero_division=0),
    )


def regression(true: Numbers, said: Numbers) -> Figures:
    """Mean absolute error and Pearson's correlation of numbers [n]."""
    constant = np.std(true) == 0 or np.std(said) == 0
    return rounded(
        mae=np.abs(true - said).mean(), corr=0.0 if constant else np.corrcoef(true, said)[0, 1]
    )


def coverage(true: Numbers, mean: Numbers, deviation: Numbers) -> float:
    """How often the truth lies in the central interval that is to hold 90 % of it."""
    return float((np.abs(true - mean) <= INTERVAL_90 * deviation).mean())


def ece(confidence: Numbers, right: Bools, bins: int = 10) -> float:
    """Expected calibration error of what was said with a confidence [n] in 0..1."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs((confidence - right)[place == b].sum()) for b in range(bins)]
    return float(sum(gaps) / len(confidence))


def recall_at(ranks: Integers, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Share of the queries whose answer is among the first k; ranks [n] count from 0."""
    return rounded(**{str(k): (ranks < k).mean() for k in ks})


def mean_and_spread(runs: Sequence[Figures]) -> Figures:
    """Of figures with several seeds: their mean, and `.._spread`, the standard deviation."""
    names = [name for name, value in runs[0].items() if isinstance(value, float)]
    values = {name: [run[name] for run in runs] for name in names}
    return rounded(
        **{name: np.mean(each) for name, each in values.items()},
        **{f"{name}_spread": np.std(each) for name, each in values.items()},
    )


def rounded(**figures: float | np.floating[Any]) -> Figures:
    """To four places: more than any of these corpora can tell."""
    return {name: round(float(value), 4) for name, value in figures.items()}
