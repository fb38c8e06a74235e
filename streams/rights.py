"""What each part of Tenor must be allowed to do in Kafka: the table, and what is missing of it.

`docs/security.md` shows the table, and `streams.access` asks Kafka about it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Final

from streams.events import Topics

Names = tuple[str, ...]

READS: Final[Mapping[str, Names]] = {
    "audio": ("audio", "text"),
    "text": ("text", "recognition"),
    "images": ("images",),
    "join": ("features",),
    "match": ("features",),
}
"""Topics (fields of `Topics`) that an agent reads, beside the checkpoints."""

WRITES: Final[Mapping[str, Names]] = {
    "audio": ("audio", "recognition", "features"),
    "text": ("text", "features"),
    "images": ("images", "recognition", "features"),
    "join": ("features", "sentiment"),
    "match": ("features", "recognition"),
}
"""What it writes, beside checkpoints and dead letters; a tick of idleness goes to its input."""

GROUPS: Final[Mapping[str, Names]] = {
    "audio": ("audio",),
    "text": ("text",),
    "images": ("images",),
    "join": ("join",),
    "match": ("match",),
}
"""The ends of the names of its consumer groups."""

INPUTS: Final = ("audio", "text", "images")
OUTPUTS: Final = ("recognition", "sentiment")
GATEWAY: Final = (*INPUTS, *OUTPUTS)
"""What a gateway writes, and reads."""


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One permission, in the words of Kafka's access rules."""

    resource: str
    name: str
    operation: str

    def __str__(self) -> str:
        return f"{self.operation} on {self.resource}:{self.name}"


def of_worker(agents: Iterable[str], topics: Topics, group: str) -> set[Right]:
    """What a worker with these agents needs where all topics have been made."""
    rights = set[Right]()
    for agent in agents:
        rights |= _topics(topics, "Read", (*READS[agent], "checkpoints"))
        rights |= _topics(topics, "Write", (*WRITES[agent], "checkpoints", "deadletters"))
        rights |= {Right("Group", f"{group}-{end}", "Read") for end in GROUPS[agent]}
    used = {right.name for right in rights}  # where Kafka grants Describe with the rest
    return rights | {
        Right("Topic", n, "Describe") for n in asdict(topics).values() if n not in used
    }


def of_producer(topics: Topics) -> set[Right]:
    """What is needed to bring events in."""
    return _topics(topics, "Write", INPUTS)


def of_reader(topics: Topics, outputs: Collection[str] = OUTPUTS) -> set[Right]:
    """What is needed to follow results; no consumer group."""
    return _topics(topics, "Read", outputs)


def of_reporter(topics: Topics) -> set[Right]:
    """What is needed to tell of a session afterwards."""
    return of_reader(topics, (*OUTPUTS, "text", "images"))


def of_gateway(topics: Topics) -> set[Right]:
    """What is needed to bring events in and to follow results, with the texts and pictures that
    they were made of."""
    return of_producer(topics) | of_reader(topics, (*OUTPUTS, "text", "images"))


def of_searcher(topics: Topics, *, publish: bool = False) -> set[Right]:
    """What is needed to search features and look up what they were made of, and to publish
    matches."""
    reads = of_reader(topics, ("features", "recognition", "text"))
    return reads | (_topics(topics, "Write", ("recognition",)) if publish else set())


def of_keeper(topics: Topics) -> set[Right]:
    """What is needed to look at dead letters and to send them back, in transactions."""
    origins = {topic for topics_read in READS.values() for topic in topics_read}
    transactions = Right("TransactionalId", f"{topics.deadletters}-replay", "Write")
    writes = _topics(topics, "Write", {*origins, "deadletters"})
    return _topics(topics, "Read", ("deadletters",)) | writes | {transactions}


def missing(
    rights: Iterable[Right], granted: Mapping[tuple[str, str], frozenset[str] | None]
) -> list[Right]:
    """Rights that are not granted; of a resource about which Kafka said nothing (None, or not
    there), none is."""
    lacking = []
    for right in sorted(rights):
        operations = granted.get((right.resource, right.name))
        if operations is not None and right.operation not in operations:
            lacking.append(right)
    return lacking


def _topics(topics: Topics, operation: str, fields: Iterable[str]) -> set[Right]:
    names = asdict(topics)
    return {Right("Topic", names[field], operation) for field in fields}
