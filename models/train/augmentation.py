"""Faces as they might also have been: altered at random, and mixed in pairs."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

TURN: Final = math.radians(15)
ZOOM: Final = 0.2
STRETCH: Final = 0.08
SHIFT: Final = 0.17
"""Of half the face's side."""
BRIGHTNESS: Final = 0.25
CONTRAST: Final = 0.3
HIDDEN: Final = (0.1, 0.4)
"""Sides of the part that is erased in every other face, as shares of the face's."""


def altered(faces: Tensor, side: int) -> Tensor:
    """Faces [n, 1, h, w] in about [-1, 1] as [n, 1, side, side], each altered in its own way."""
    size = (len(faces), 1, side, side)
    grid = affine_grid(_movements(len(faces)), list(size), align_corners=False)
    return _hidden(_lit(grid_sample(faces, grid, align_corners=False)))


def mixed(faces: Tensor, shares: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Every face and its emotions [n, 7] with a share of another's (mixup); the share is of
    Beta(strength, strength)."""
    share = torch.distributions.Beta(strength, strength).sample()
    other = torch.randperm(len(faces))
    return torch.lerp(faces[other], faces, share), torch.lerp(shares[other], shares, share)


def _movements(count: int) -> Tensor:
    """Affine maps [n, 2, 3] that mirror, turn, zoom, stretch and shift."""
    angle, zoom = _within(count, TURN), _within(count, ZOOM).exp()
    across = zoom * _within(count, STRETCH).exp() * (torch.randint(0, 2, (count,)) * 2 - 1)
    movement = torch.empty(count, 2, 3)
    movement[:, 0, 0], movement[:, 0, 1] = angle.cos() * across, -angle.sin() * zoom
    movement[:, 1, 0], movement[:, 1, 1] = angle.sin() * across, angle.cos() * zoom
    movement[:, :, 2] = torch.empty(count, 2).uniform_(-SHIFT, SHIFT)
    return movement


def _lit(faces: Tensor) -> Tensor:
    mean = faces.mean(dim=(1, 2, 3), keepdim=True)
    contrast, brightness = _within(len(faces), CONTRAST).exp(), _within(len(faces), BRIGHTNESS)
    return (faces - mean) * _each(contrast) + mean + _each(brightness)


def _hidden(faces: Tensor) -> Tensor:
    """A grey rectangle over every other face."""
    count, _, height, width = faces.shape
    rows, columns = _span(count, height), _span(count, width)
    chosen = torch.rand(count) < 0.5
    erased = rows[:, :, None] & columns[:, None, :] & chosen[:, None, None]
    return faces.masked_fill(erased[:, None], 0.0)


def _span(count: int, length: int) -> Tensor:
    """Which of `length` places are in a random stretch, [count, length]."""
    places = torch.arange(length) / length
    middle, size = torch.rand(count, 1), torch.empty(count, 1).uniform_(*HIDDEN)
    return (places - middle).abs() < size / 2


def _within(count: int, limit: float) -> Tensor:
    return torch.empty(count).uniform_(-limit, limit)


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]
