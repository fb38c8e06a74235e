"""Makes the topics where they are missing, all with the same number of partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import asdict

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.partitioner import DefaultPartitioner

from streams.connection import Connection
from streams.delivery import LARGEST
from streams.errors import UserError
from streams.events import Topics
from streams.rights import Right
from streams.settings import Settings

TRIES, TRY_AGAIN_S = 100, 0.1
"""How long a broker may take to hear of a topic that another one has made."""
_WEEK = str(7 * 24 * 3600 * 1000)


class TopicError(UserError):
    """The topics are not as they must be; the message says what to do."""


async def ensure_topics(
    brokers: Connection, settings: Settings, fields: Collection[str] | None = None
) -> dict[str, int]:
    """Creates missing topics, all or these fields of `Topics`; others keep their configuration.

    Gives the number of partitions of each.

    Raises:
        TopicError: one could not be made, or has another number of partitions than the rest.
    """
    names = asdict(Topics.of(settings.topic_prefix))
    names = {field: name for field, name in names.items() if fields is None or field in fields}
    admin = AIOKafkaAdminClient(**brokers.options())
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        missing = [_new(field, name, settings) for field, name in names.items()]
        missing = [topic for topic in missing if topic.name not in existing]
        if missing:
            response = await admin.create_topics(missing)
            for name, code, *_ in response.topic_errors:
                _check_created(brokers, name, for_code(code))
        counts = await _counts(admin, names.values())
        if len(set(counts.values())) > 1:
            raise TopicError(f"all topics must have the same number of partitions: {counts}")
        return counts
    finally:
        await admin.close()


async def _counts(admin: AIOKafkaAdminClient, names: Collection[str]) -> dict[str, int]:
    """The partitions of each topic, when the broker that answers has heard of all of them."""
    for _ in range(TRIES):
        described = await admin.describe_topics(list(names))
        counts = {topic["topic"]: len(topic["partitions"]) for topic in described}
        if all(counts.values()):
            return counts
        await asyncio.sleep(TRY_AGAIN_S)
    unknown = ", ".join(sorted(name for name, count in counts.items() if not count))
    raise TopicError(f"Kafka has made topics, but its brokers do not know of {unknown}: try again")


def _check_created(brokers: Connection, name: str, error: type[Exception]) -> None:
    if error is TopicAuthorizationFailedError:
        right = Right("Topic", name, "Create")
        raise TopicError(
            f"Kafka does not allow {brokers.principal}: {right}; add this access rule, or let"
            " somebody make the topic who may (docs/security.md)"
        )
    if error not in (NoError, TopicAlreadyExistsError):  # another worker may have been quicker
        raise TopicError(f"topic {name}: {error.__name__}")


async def partitions_of(brokers: Connection) -> dict[str, int]:
    """How many partitions each topic has; asking for one by its name might make it."""
    admin = AIOKafkaAdminClient(**brokers.options())
    await admin.start()
    try:
        return {each["topic"]: len(each["partitions"]) for each in await admin.describe_topics()}
    finally:
        await admin.close()


def partition_of(session: str, count: int) -> int:
    """The partition that a session is on, of so many, in every topic that Tenor writes."""
    every = list(range(count))
    return int(DefaultPartitioner()(session.encode(), every, every))


def _new(field: str, name: str, settings: Settings) -> NewTopic:
    configuration = {
        "max.message.bytes": str(LARGEST),
        "retention.ms": _WEEK,
        # Which text an utterance is biased by depends on what was in the log first; and Kafka
        # refuses what a producer stamps whose clock is an hour ahead.
        "message.timestamp.type": "LogAppendTime",
    }
    if field == "checkpoints":
        configuration["cleanup.policy"] = "compact,delete"
    return NewTopic(name, settings.partitions, settings.replication, topic_configs=configuration)
