"""Log lines of the commands: ours, and of libraries what they warn of, not over and over again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 10.0
"""A library's line of one kind comes once in this time: aiokafka tells of every attempt, dozens of
lines a second, while a broker is away."""
OURS: Final = ("tenor", "streams", "models")


def log_to_stderr(level: str) -> None:
    """Plain lines; libraries only from warnings on: beneath that they may quote passwords."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.getLogger("streams.transport").setLevel(logging.WARNING)  # Faust logs in its name
    for handler in logging.getLogger().handlers:
        handler.addFilter(Seldom())


class Seldom(logging.Filter):
    """Leaves out repetitions of libraries' lines, and says of the next one how many there were.

    Lines are of one kind if they come from one logger and differ only in what is filled in.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._shown: dict[tuple[str, str], float] = {}
        self._left_out: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = (record.name, str(record.msg)), self._clock()
        if record.name.partition(".")[0] in OURS:
            return True
        if now - self._shown.get(kind, -EVERY_S) < EVERY_S:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        self._shown[kind] = now
        if count := self._left_out.pop(kind, 0):
            record.msg = f"{record.getMessage()} [and {count} more such lines before]"
            record.args = ()
        return True
