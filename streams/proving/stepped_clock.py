"""`tenor` on a clock that can be stepped: python -m streams.proving.stepped_clock worker ..

Seconds to add to the time of day stand in the file that the environment variable names. As when a
machine's clock is set, monotonic clocks do not notice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from aiokafka.producer.message_accumulator import BatchBuilder

VARIABLE: Final = "TENOR_PROVING_CLOCK"
EVERY_S: Final = 0.05
"""So often the file is read, at most."""


class SteppedClock:
    """The time of day plus what a file says."""

    def __init__(self, file: Path, real_ns: Callable[[], int] = time.time_ns) -> None:
        self._file = file
        self._real_ns = real_ns
        self._read = float("-inf")
        self._offset_ns = 0

    def time_ns(self) -> int:
        if time.monotonic() - self._read >= EVERY_S:
            self._offset_ns = round(float(self._file.read_text()) * 1e9)
            self._read = time.monotonic()
        return self._real_ns() + self._offset_ns

    def time(self) -> float:
        return self.time_ns() / 1e9


def step(file: Path, seconds: float) -> None:
    """Steps the clocks that read `file`."""
    new = file.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(file)  # at once, so that nobody reads half of it


def stamp_records(clock: SteppedClock) -> None:
    """Lets Kafka producers stamp their records by this clock: aiokafka asks the real one, in C."""
    append = BatchBuilder.append

    def stamped(self: BatchBuilder, *, timestamp: int | None, **record: Any) -> Any:  # noqa: ANN401
        stamp = clock.time_ns() // 1_000_000 if timestamp is None else timestamp
        return append(self, timestamp=stamp, **record)

    BatchBuilder.append = stamped


def main() -> None:
    clock = SteppedClock(Path(os.environ[VARIABLE]))
    time.time, time.time_ns = clock.time, clock.time_ns
    stamp_records(clock)
    from streams.cli import main as tenor  # noqa: PLC0415  (after the clock has been replaced)

    tenor()


if __name__ == "__main__":
    main()
