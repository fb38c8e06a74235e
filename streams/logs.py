"""Log lines of the commands: ours, and what libraries warn of; none of them over and over again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

EVERY_S: Final = 10.0
"""A library's line of one kind comes once in this time: aiokafka tells of every attempt, dozens of
lines a second, while a broker is away."""
OFTEN: Final = 20
"""Our own come so often: a producer that sends nothing but rubbish shall not fill the disk."""
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
    """Leaves out repetitions, and says of the next line of that kind how many there were.

    Lines are of one kind if they come from one logger and differ only in what is filled in. The
    first `OFTEN` of ours in `EVERY_S` are shown, of a library's the first.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, str], _Seen] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        often = OFTEN if record.name.partition(".")[0] in OURS else 1
        kind, now = (record.name, str(record.msg)), self._clock()
        seen = self._seen.get(kind)
        if seen and now - seen.since < EVERY_S:
            seen.lines += 1
            return seen.lines <= often
        self._seen[kind] = _Seen(now)
        if seen and (left_out := seen.lines - often) > 0:
            record.msg = f"{record.getMessage()} [and {left_out} more such lines before]"
            record.args = ()
        return True


@dataclass(slots=True)
class _Seen:
    """The lines of a kind since a time (s)."""

    since: float
    lines: int = 1
