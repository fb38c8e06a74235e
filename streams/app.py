"""One agent as a Faust app: its consumer group, its topics, and how records reach the handler.

Each agent is a consumer group of its own, so that any mix of agents can run in any number of
processes. Faust reads and balances; commits follow `streams.transport`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import faust
from faust.types import StreamT
from faust.types.auth import CredentialsT

from streams import transport
from streams.agents.base import Agent
from streams.connection import Connection
from streams.delivery import Record
from streams.events import Topics
from streams.settings import Settings


def faust_app(
    agent: Agent, brokers: Connection, settings: Settings, fail: Callable[[BaseException], None]
) -> faust.App:
    """The app that feeds `agent`; `start()` it on the running event loop.

    `fail` hears of what the agent itself could not answer: Faust would skip the record.
    """
    app = faust.App(
        f"{settings.group}-{agent.name}",
        broker=[f"kafka://{broker}" for broker in brokers.servers.split(",")],
        broker_credentials=_credentials(brokers),
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_s,
        broker_request_timeout=max(30.0, 2 * settings.session_timeout_s),
        broker_commit_interval=settings.commit_interval_s,
        broker_max_poll_records=64,
        # Kafka returns a record that is larger than this, alone: it only bounds the others.
        consumer_max_fetch_size=2**20,
        stream_buffer_maxsize=16,
        # Windows hold records for seconds: revocation and shutdown must not wait for them.
        stream_wait_empty=False,
        # No tables: then the assignor is the one of `streams.transport`, not Faust's.
        table_standby_replicas=0,
        # Topics are made by `ensure_topics`; without the leader's topic Faust needs none.
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        # It makes one, and has nothing to put into it.
        datadir=str(Path(tempfile.gettempdir()) / "tenor-faust"),
    )
    transport.install(app)
    names = {getattr(Topics.of(settings.topic_prefix), field): field for field in agent.inputs}
    topic = app.topic(
        *names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )

    @app.agent(topic, name=agent.name)
    async def feed(stream: StreamT[Any]) -> None:
        async for event in cast(faust.Stream[Any], stream).noack().events():
            try:
                await agent.handle(_record(app, event, names))
            except Exception as error:
                fail(error)
                raise

    async def assigned(*args: Any, **_: Any) -> None:  # noqa: ANN401  (as Faust sends signals)
        await agent.assign({tp.partition for tp in args[-1]})

    async def revoked(*args: Any, **_: Any) -> None:  # noqa: ANN401  (as Faust sends signals)
        await agent.revoke({tp.partition for tp in args[-1]})

    app.on_partitions_assigned.connect(assigned)
    app.on_partitions_revoked.connect(revoked)

    return app


def show_lag(agent: Agent, app: faust.App) -> None:
    """Exports how much of its topics an agent has not yet done; 0 of a topic of which this process
    has no partition, or has none any more: another one tells of it."""
    topics, now = Topics.of(agent.settings.topic_prefix), time.time()
    events, times = lag(app), oldest(app)
    for field in agent.inputs:
        name = getattr(topics, field)
        age = max(0.0, now - times.get(name, now))
        agent.metrics.lag.labels(field, agent.name).set(events.get(name, 0))
        agent.metrics.lag_seconds.labels(field, agent.name).set(age)


def lag(app: faust.App) -> dict[str, int]:
    """Records of each topic that are not yet done, by Kafka's topic name."""
    consumer = cast(transport.TrackingConsumer, app.consumer)
    total: dict[str, int] = {}
    for tp in consumer.assignment():
        end, done = consumer.highwater(tp), consumer.offsets.position(tp)
        if end is not None and done is not None:
            total[tp.topic] = total.get(tp.topic, 0) + max(0, end - done)
    return total


def oldest(app: faust.App) -> dict[str, float]:
    """When the oldest record of each topic that is not yet done was written (s since the epoch), by
    Kafka's topic name; now, where all that was read is done."""
    consumer = cast(transport.TrackingConsumer, app.consumer)
    assigned = consumer.assignment()
    times = dict.fromkeys((tp.topic for tp in assigned), time.time())
    for message in consumer.unacked:
        if not message.acked and message.tp in assigned:
            times[message.topic] = min(times[message.topic], message.timestamp)
    return times


def _credentials(brokers: Connection) -> CredentialsT | None:
    """What Faust passes on to aiokafka as `brokers.credentials()`."""
    given = brokers.credentials()
    if brokers.by_password:
        return faust.SASLCredentials(
            username=given["sasl_plain_username"],
            password=given["sasl_plain_password"],
            mechanism=given["sasl_mechanism"],
            ssl_context=given.get("ssl_context"),
        )
    return faust.SSLCredentials(given["ssl_context"]) if brokers.encrypted else None


def _record(app: faust.App, event: Any, names: dict[str, str]) -> Record:  # noqa: ANN401  (Faust is untyped)
    message = event.message
    offsets = cast(transport.TrackingConsumer, app.consumer).offsets
    return Record(
        topic=names[message.topic],
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=tuple(message.headers or ()),
        acknowledge=event.ack,
        timestamp=round(message.timestamp * 1000),
        current=lambda: offsets.current(message.tp, message.offset, message.token),
    )
