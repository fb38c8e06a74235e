"""Makes the topics where they are missing, all with the same number of partitions."""

from __future__ import annotations

from dataclasses import asdict

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from streams.delivery import LARGEST
from streams.events import Topics
from streams.settings import Settings

_WEEK = str(7 * 24 * 3600 * 1000)


class TopicError(Exception):
    """The topics are not as they must be; the message says what to do."""


async def ensure_topics(brokers: str, settings: Settings) -> None:
    """Creates missing topics; others keep their configuration.

    Raises:
        TopicError: one could not be made, or has another number of partitions than the rest.
    """
    names = asdict(Topics.of(settings.topic_prefix))
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        missing = [_new(field, name, settings) for field, name in names.items()]
        missing = [topic for topic in missing if topic.name not in existing]
        if missing:
            response = await admin.create_topics(missing)
            for name, code, *_ in response.topic_errors:
                # another worker may have been quicker
                if code and for_code(code).__name__ != "TopicAlreadyExistsError":
                    raise TopicError(f"topic {name}: {for_code(code).__name__}")
        described = await admin.describe_topics(list(names.values()))
        counts = {topic["topic"]: len(topic["partitions"]) for topic in described}
        if len(set(counts.values())) > 1:
            raise TopicError(f"all topics must have the same number of partitions: {counts}")
    finally:
        await admin.close()


def _new(field: str, name: str, settings: Settings) -> NewTopic:
    configuration = {"max.message.bytes": str(LARGEST), "retention.ms": _WEEK}
    if field in ("audio", "text"):
        # Which text an utterance is biased by depends on what was in the log first.
        configuration["message.timestamp.type"] = "LogAppendTime"
    if field == "checkpoints":
        configuration["cleanup.policy"] = "compact,delete"
    return NewTopic(name, settings.partitions, settings.replication, topic_configs=configuration)
