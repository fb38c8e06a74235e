"""The table of access rules: what is missing of it, and that the docs show it."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from streams import rights
from streams.events import Topics
from streams.rights import Right
from streams.settings import AGENTS

DOCS = Path(__file__).parents[2] / "docs" / "security.md"
TOPICS = Topics.of("tenor.")


def rows() -> list[str]:
    """The table as `docs/security.md` has it."""
    workers = {agent: rights.of_worker([agent], TOPICS, "tenor") for agent in AGENTS}
    every = set.intersection(*workers.values())
    parts = {"every worker": every | _described()}
    parts |= {f"agent {agent}": needed - every for agent, needed in workers.items()}
    parts |= {"producer, `tenor replay`": rights.of_producer(TOPICS)}
    parts |= {"`tenor deadletters`": rights.of_keeper(TOPICS)}
    parts |= {"reader, `tenor watch`, `tenor export`": rights.of_reader(TOPICS)}
    parts |= {"`tenor report`": rights.of_reporter(TOPICS)}
    parts |= {"`tenor gateway`": rights.of_gateway(TOPICS)}
    searching = rights.of_searcher(TOPICS)
    publishing = rights.of_searcher(TOPICS, publish=True) - searching
    parts |= {"`tenor search`, `tenor match`": searching, "`tenor match --publish`": publishing}
    return [row for who, needed in parts.items() for row in _rows(who, needed)]


def _described() -> set[Right]:
    return {Right("Topic", "tenor.*", "Describe")}


def _rows(who: str, needed: set[Right]) -> list[str]:
    listed = sorted(
        (each for each in needed if each.operation != "Describe" or each.name == "tenor.*"),
        key=lambda each: (each.operation, each.resource, each.name),
    )
    return [
        f"| {who} | {operation} | {resource} {', '.join(f'`{each.name}`' for each in group)} |"
        for (operation, resource), group in groupby(listed, lambda r: (r.operation, r.resource))
    ]


def test_the_docs_show_the_table() -> None:
    lines = DOCS.read_text().splitlines()
    start = lines.index("| who | operation | resource |") + 2
    assert lines[start : start + len(rows()) + 1] == [*rows(), ""]


def test_what_is_granted_is_not_missing() -> None:
    needed = rights.of_worker(AGENTS, TOPICS, "tenor")
    all_ = frozenset({"Read", "Write", "Describe"})
    granted = {(each.resource, each.name): all_ for each in needed}
    assert rights.missing(needed, granted) == []


def test_each_right_that_is_not_granted_is_named() -> None:
    needed = [
        Right("Topic", "b", "Write"),
        Right("Topic", "b", "Read"),
        Right("Group", "a", "Read"),
    ]
    granted = {("Topic", "b"): frozenset({"Write"}), ("Group", "a"): frozenset[str]()}
    missing = rights.missing(needed, granted)
    assert [str(each) for each in missing] == ["Read on Group:a", "Read on Topic:b"]


def test_of_what_nothing_was_said_nothing_is_missing() -> None:
    needed = [Right("Topic", "a", "Write"), Right("Topic", "b", "Write")]
    assert rights.missing(needed, {("Topic", "a"): None}) == []


def test_a_worker_may_describe_every_topic() -> None:
    needed = rights.of_worker(["images"], Topics.of("x."), "g")
    assert Right("Topic", "x.audio", "Describe") in needed
    assert Right("Topic", "x.audio", "Read") not in needed
    assert {each for each in needed if each.resource == "Group"} == {
        Right("Group", "g-images", "Read")
    }
