"""Fits the linear head of `models.voice`, and measures it on speakers that it never heard.

The head is multinomial logistic regression on principal components with an L2 penalty, for the
emotions and for the sentiment. That is convex: it has one solution whatever it begins from. In the
emotions a clip counts only against those that its corpus has: EMO-DB's never say that a voice is
not surprised. Within a corpus all emotions weigh the same, and so do negative, neutral and
positive.

How strong the penalty is, and how sure the logits may be (temperature scaling: Guo et al., 2017),
is chosen by cross-validation over the speakers that are learned from, never over those measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from models.base import Floats
from models.train import splits
from models.voice import FARTHEST, OUTPUTS, VOICE_EMOTIONS, Head

STRENGTHS: Final = (0.3, 0.1, 0.03)
"""Of the penalty, per weight of a loss that is a mean over the clips; fixed before any result."""
TEMPERATURES: Final = tuple(float(x) for x in np.geomspace(0.5, 4, 61))
FOLDS: Final = 8
"""Of speakers, at most. EMO-DB has eight here, so that each is held out alone."""
INNER_FOLDS: Final = 3
DIRECTIONS: Final = 256
"""Principal components of the measures, within which the weights lie: a sixth of them says nearly
all, and fitting takes a tenth of the time."""
STEPS: Final = 300
"""Of L-BFGS at most; it is at its end long before."""
LEAST: Final = np.float32(-1e9)
"""The logit of what cannot be."""
NARROWEST: Final = 1e-3
"""Deviation of a measure, at least, by which it is divided."""
HEADS: Final = (slice(0, len(VOICE_EMOTIONS)), slice(len(VOICE_EMOTIONS), len(OUTPUTS)))
"""Which outputs are the emotions', and which the sentiment's."""
STDERR: Final = Console(stderr=True)

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Clips to learn from: vectors [n, d]; the shares of each output that are true [n, 12], all 0
    in a head where nothing is known; which outputs its corpus has [n, 12]; its corpus and
    speaker."""

    vectors: Floats
    shares: Floats
    allowed: Bools
    corpora: tuple[str, ...]
    speakers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.vectors)

    def of(self, chosen: Bools) -> Examples:
        """Only those chosen, [n]."""
        return Examples(
            self.vectors[chosen],
            self.shares[chosen],
            self.allowed[chosen],
            tuple(np.array(self.corpora)[chosen].tolist()),
            tuple(np.array(self.speakers)[chosen].tolist()),
        )

    def limited(self, shares: Floats) -> Examples:
        """Only the clips with an emotion that occurs in `shares` [m, 12], and only these emotions
        possible."""
        emotions = HEADS[0]
        both = shares[:, emotions].sum(axis=0) > 0
        kept = self.of(self.shares[:, emotions][:, both].sum(axis=1) > 0)
        allowed = kept.allowed.copy()
        allowed[:, emotions] &= both
        return replace(kept, allowed=allowed)

    def parts(self, count: int, seed: int) -> Iterator[tuple[Bools, Bools]]:
        """Who learns and who is held out, [n] each, so that everybody is held out once.

        Speakers of each corpus are dealt out to at most `count` folds, in an order that depends on
        the seed.
        """
        fold = np.zeros(len(self), int)
        for corpus in set(self.corpora):
            own = np.array(self.corpora) == corpus
            names = [f"{seed}/{name}" for name in np.array(self.speakers)[own]]
            fold[own] = splits.folds(names, count)
        for number in range(fold.max() + 1):
            yield fold != number, fold == number


@dataclass(frozen=True, slots=True)
class Choice:
    """The strength of the penalty and what the logits of either head are divided by."""

    strength: float
    temperatures: tuple[float, float]


def fit(examples: Examples, choice: Choice) -> Head:
    """The calibrated head that these clips teach."""
    [head] = path(examples, (choice.strength,))
    return calibrated(head, choice)


def choose(examples: Examples, seed: int) -> Choice:
    """The choice under which speakers held out are likeliest."""
    logits = np.zeros((len(STRENGTHS), len(examples), len(OUTPUTS)), np.float32)
    for learned, held in examples.parts(INNER_FOLDS, seed):
        for number, head in enumerate(path(examples.of(learned), STRENGTHS)):
            logits[number, held] = head(examples.vectors[held])
    choices = [_calibration(found, examples) for found in logits]
    best = int(np.argmin([loss for loss, _ in choices]))
    return Choice(STRENGTHS[best], choices[best][1])


def crossfitted(examples: Examples, seeds: Sequence[int]) -> Floats:
    """The logits [seeds, n, 12] of each clip by a head that was chosen and fitted without its
    speaker; each seed deals the speakers out in its own way."""
    logits = np.zeros((len(seeds), len(examples), len(OUTPUTS)), np.float32)
    parts = [(n, *part) for n, seed in enumerate(seeds) for part in examples.parts(FOLDS, seed)]
    for number, learned, held in track(parts, "speakers held out       ", console=STDERR):
        others = examples.of(learned)
        head = fit(others, choose(others, seeds[number]))
        logits[number, held] = head(examples.vectors[held])
    return logits


def path(examples: Examples, strengths: Sequence[float]) -> list[Head]:
    """A head for each strength of the penalty, from the strongest on; none is calibrated."""
    mean = examples.vectors.mean(axis=0)
    scale = (1 / np.maximum(examples.vectors.std(axis=0), NARROWEST)).astype(np.float32)
    standard = np.clip((examples.vectors - mean) * scale, -FARTHEST, FARTHEST)
    directions = principal(standard)
    problem = Problem(standard @ directions, examples)
    heads = []
    for strength in strengths:
        weights, bias = problem.solve(strength)
        heads.append(Head(mean, scale, weights @ directions.T, bias))
    return heads


def principal(standard: Floats) -> Floats:
    """The directions [d, DIRECTIONS] of the most variance, orthonormal."""
    _, vectors = eigh(standard.T @ standard, subset_by_index=_last(standard.shape))
    directions: Floats = vectors
    return directions


def _last(shape: tuple[int, ...]) -> tuple[int, int]:
    """The numbers of the largest of the eigenvalues of a matrix, that are not all 0."""
    return max(0, shape[1] - min(DIRECTIONS, shape[0])), shape[1] - 1


def calibrated(head: Head, choice: Choice) -> Head:
    """With the logits of each of its heads divided by the temperature."""
    divisor = np.ones(len(OUTPUTS), np.float32)
    for outputs, temperature in zip(HEADS, choice.temperatures, strict=True):
        divisor[outputs] = temperature
    return Head(head.mean, head.scale, head.weights / divisor[:, None], head.bias / divisor)


def balance(examples: Examples) -> Floats:
    """How much each clip counts in either head, [n, 2]: every class of a corpus the same, every
    corpus by its clips, and nothing where nothing is known."""
    weights = np.zeros((len(examples), len(HEADS)), np.float32)
    for number, outputs in enumerate(HEADS):
        shares = examples.shares[:, outputs]
        for corpus in set(examples.corpora):
            own = (np.array(examples.corpora) == corpus) & (shares.sum(axis=1) > 0)
            counts = shares[own].sum(axis=0)
            each = np.divide(1, counts, out=np.zeros_like(counts), where=counts > 0)
            weights[own, number] = shares[own] @ each * own.sum() / max(1, (counts > 0).sum())
    return weights


def probabilities(logits: Floats, possible: Bools) -> Floats:
    """Of the classes that are possible, [n, classes]; the others have none."""
    shares: Floats = softmax(np.where(possible, logits, -np.inf), axis=1)
    return shares


class Problem:
    """Both heads' balanced loss on vectors [n, d], and where it is least."""

    def __init__(self, vectors: Floats, examples: Examples) -> None:
        self.vectors = vectors
        self.shares, self.allowed = examples.shares, examples.allowed
        self.balance = balance(examples)
        self._weights = np.zeros((len(OUTPUTS), vectors.shape[1] + 1))

    def solve(self, strength: float) -> tuple[Floats, Floats]:
        """Weights [12, d] and bias [12] by L-BFGS (Liu and Nocedal, 1989), from where the last
        solution was: a path from strong to weak penalties is quick."""

        def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
            weights = flat.reshape(self._weights.shape).astype(np.float32)
            value, slope = self.loss(self.vectors @ weights[:, :-1].T + weights[:, -1])
            down = np.column_stack([slope.T @ self.vectors, slope.sum(axis=0)])
            down[:, :-1] += strength * weights[:, :-1]
            penalty = strength / 2 * float((weights[:, :-1] ** 2).sum())
            return value.sum() + penalty, down.ravel().astype(np.float64)

        limits = {"maxiter": STEPS, "gtol": 1e-5, "ftol": 1e-6}
        found = minimize(loss, self._weights.ravel(), jac=True, method="L-BFGS-B", options=limits)
        self._weights = found.x.reshape(self._weights.shape)
        solved = self._weights.astype(np.float32)
        return solved[:, :-1], solved[:, -1]

    def loss(self, logits: Floats) -> tuple[Floats, Floats]:
        """The balanced cross-entropy of either head, [2], and its slopes by the logits [n, 12].
        Outputs that a corpus lacks do not count."""
        values, slopes = np.zeros(len(HEADS), np.float32), np.zeros_like(logits)
        for number, outputs in enumerate(HEADS):
            weight = self.balance[:, number] / max(1.0, float(self.balance[:, number].sum()))
            shares = self.shares[:, outputs]
            found = np.where(self.allowed[:, outputs], logits[:, outputs], LEAST)
            likely = log_softmax(found, axis=1)
            values[number] = -((shares * likely).sum(axis=1) * weight).sum()
            slopes[:, outputs] = (np.exp(likely) - shares) * weight[:, None]
        return values, slopes


def _calibration(logits: Floats, examples: Examples) -> tuple[float, tuple[float, float]]:
    """The least loss of both heads, and the temperatures that give it."""
    problem = Problem(np.zeros((len(examples), 1), np.float32), examples)
    table = np.stack([problem.loss(logits / each)[0] for each in TEMPERATURES])
    first, second = table.argmin(axis=0)
    return float(table.min(axis=0).sum()), (TEMPERATURES[first], TEMPERATURES[second])
