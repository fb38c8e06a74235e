"""The best of many, in the memory of a few: what a search keeps of what it reads. Pure."""

from __future__ import annotations

from bisect import insort
from typing import Generic, TypeVar

T = TypeVar("T")


class Best(Generic[T]):
    """The `most` items with the highest scores, each once by its id; of equal scores, the lower id.

    What is kept does not depend on the order in which items are offered, nor on repetitions.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._ranks: list[tuple[float, str]] = []
        self._items: dict[str, T] = {}

    def offer(self, score: float, id_: str, item: T) -> None:
        """Keeps it if it is among the best. An id always comes with the same score."""
        rank = (-score, id_)
        if id_ in self._items or (len(self._ranks) == self._most and rank > self._ranks[-1]):
            return
        insort(self._ranks, rank)
        self._items[id_] = item
        if len(self._ranks) > self._most:
            del self._items[self._ranks.pop()[1]]

    def ranked(self) -> list[tuple[float, T]]:
        """Scores and items, best first."""
        return [(-negative, self._items[id_]) for negative, id_ in self._ranks]
