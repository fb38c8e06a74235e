"""What is left out of the log, and that nothing else is."""

from __future__ import annotations

import logging

from streams.logs import EVERY_S, OFTEN, Seldom


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


def test_our_own_lines_are_shown_unless_they_come_in_masses() -> None:
    log = Log()
    shown = [log.shows("streams.agents.base", "a bad record at %s", n) for n in range(OFTEN + 5)]
    assert shown == [f"a bad record at {n}" for n in range(OFTEN)] + [None] * 5
    assert log.shows("tenor.worker", "ready") == "ready"
    log.now = EVERY_S
    after = log.shows("streams.agents.base", "a bad record at %s", "last")
    assert after == "a bad record at last [and 5 more such lines before]"
