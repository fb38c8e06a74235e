"""What is left out of the log, and that nothing else is."""

from __future__ import annotations

import logging

from streams.logs import EVERY_S, Seldom


class Log:
    """What a filter lets through of lines at given times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._filter = Seldom(lambda: self.now)

    def shows(self, name: str, message: str, *filled_in: object) -> str | None:
        record = logging.LogRecord(name, logging.ERROR, "", 0, message, filled_in, None)
        return record.getMessage() if self._filter.filter(record) else None


def test_a_library_repeats_itself_seldom_and_the_rest_is_counted() -> None:
    log = Log()
    assert log.shows("aiokafka", "no node %s", 1) == "no node 1"
    assert [log.shows("aiokafka", "no node %s", node) for node in (2, 3)] == [None, None]
    log.now = EVERY_S
    assert log.shows("aiokafka", "no node %s", 4) == "no node 4 [and 2 more such lines before]"
    log.now = 2 * EVERY_S
    assert log.shows("aiokafka", "no node %s", "5 %") == "no node 5 %"


def test_other_lines_and_other_loggers_are_shown() -> None:
    log = Log()
    assert log.shows("aiokafka", "no node %s", 1)
    assert log.shows("aiokafka", "no topic %s", 1)
    assert log.shows("aiokafka.consumer", "no node %s", 1)


def test_our_own_lines_are_all_shown() -> None:
    log = Log()
    shown = [log.shows("tenor.worker", "ready") for _ in range(3)]
    assert shown == ["ready"] * 3
    assert [log.shows("streams.agents.base", "again") for _ in range(2)] == ["again"] * 2
