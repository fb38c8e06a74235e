"""The highest number that holds, found by trying. Pure."""

from __future__ import annotations

from collections.abc import Callable


def most_held(holds: Callable[[int], bool], first: int) -> int:
    """The largest number that holds, to a tenth: doubled until it does not, then bisected; 0 if
    none does."""
    most, too_many = 0, first
    while holds(too_many):
        most, too_many = too_many, 2 * too_many
    while too_many - most > _step(most):
        middle = (most + too_many) // 2
        if holds(middle):
            most = middle
        else:
            too_many = middle
    return most


def confirmed(holds: Callable[[int], bool], found: int) -> int:
    """What was found, if it holds once more; or else the next below, by tenths, that does; or 0."""
    while found > 0 and not holds(found):
        found -= _step(found)
    return found


def _step(number: int) -> int:
    return max(1, number // 10)
