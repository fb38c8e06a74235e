"""Faust's consumer of Kafka, with the commit positions of `offsets.OffsetTracker`.

Faust (0.15) commits past a single record that was not acknowledged, commits nothing when partitions
are revoked, reads on past records that it fetched while paused if nothing was committed yet, and
spreads the partitions of one number over several workers. This transport mends that. It expects
`stream_wait_empty=False`, `noack()` streams, and that `event.ack()` is called on the event loop
when all that a record leads to has been delivered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import faust
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message
from mode.utils.futures import notify

from streams.offsets import OffsetTracker, Token

FETCH_WAIT_MS: Final = 200
"""For so long a broker holds a fetch back while there is nothing new. It answers the requests of a
connection in turn, so the start of a new assignment waits for that too: of Faust's 1500 ms."""


class Delivery(ConsumerMessage):
    """A record, and which delivery of it this is."""

    token: Token


class RangeThread(driver.AIOKafkaConsumerThread):
    """The thread of a consumer that is assigned the same partition numbers of all its topics, and
    reads only what was committed.

    Faust without tables takes the round-robin assignor, which gives partition 3 of one topic to
    one worker and partition 3 of another topic to another, if the numbers do not happen to divide.
    """

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._partition_assignment_strategy = (RangePartitionAssignor,)
        # What a replay of dead letters wrote, and did not finish, has not happened.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class TrackingConsumer(driver.Consumer):
    """A consumer that commits what its tracker says, and nothing else."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.offsets = OffsetTracker()

    def _new_consumer_thread(self) -> RangeThread:
        return RangeThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: ConsumerRecord) -> ConsumerMessage:
        delivery = Delivery(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp / 1000.0,
            record.timestamp_type,
            record.headers,
            record.key,
            record.value,
            record.checksum,
            record.serialized_key_size,
            record.serialized_value_size,
            TP(record.topic, record.partition),
            generation_id=self.app.consumer_generation_id,
        )
        # The first moment at which Faust has the record: whatever it does with it from here on
        # (buffers it, throws it away in a rebalance), its offset is held until it is acknowledged.
        delivery.token = self.offsets.begin(delivery.tp, delivery.offset)
        return delivery

    def ack(self, message: Message) -> bool:
        """The record is safe to commit. False if that is no longer ours to say."""
        # Faust's iterator also acknowledges what it skips while paused; that was never tracked.
        if message.acked or not message.tracked or not isinstance(message, Delivery):
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        self._n_acked += 1
        notify(self._waiting_for_ack)
        return self.offsets.done(message.tp, message.offset, message.token)

    def _filter_tps_with_pending_acks(
        self, topics: Collection[str | TP] | None = None
    ) -> Iterator[TP]:
        for tp in self.offsets:
            if topics is None or tp in topics or tp[0] in topics:
                yield TP(*tp)

    def _new_offset(self, tp: TP) -> int | None:
        return self.offsets.position(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commits what is done, so that the next owner repeats only what is in flight."""
        await self.maybe_wait_for_commit_to_finish()
        await self.commit()
        self.offsets.drop(revoked)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Begins from what is committed: records of an earlier assignment no longer count."""
        self.offsets.drop(assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Goes back also where nothing is committed: to the beginning."""
        committed = await super().seek_to_committed()
        if fresh := [tp for tp, offset in committed.items() if not offset]:
            await self._thread.seek_to_beginning(*fresh)
        return committed

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: Faust's check reports every partition that is empty for a while as an error."""


class TrackingTransport(driver.Transport):
    """The transport whose consumer is `TrackingConsumer`."""

    Consumer = TrackingConsumer


def install(app: faust.App) -> None:
    """Gives an app this transport. Call it before the app has any topic or agent."""
    app.transport = TrackingTransport(app.conf.broker_consumer, app)
