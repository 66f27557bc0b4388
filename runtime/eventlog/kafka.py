"""The event log on Apache Kafka.

A topic of ours is a topic of Kafka with `prefix` before its name; a key's records lie in one partition. What a publish
appends to one partition is there all or none as long as it fits into one batch (`batch_bytes_max`); several partitions,
or several batches of one, are appended apart, so a publish that fails may have taken place in part. Offsets start at 0
in each partition.
"""

import asyncio
from collections.abc import Mapping, Sequence

from aiokafka.errors import KafkaError  # type: ignore[import-untyped]  # aiokafka ships no types

from runtime.clock import Clock, SystemClock
from runtime.eventlog.interface import EventLogUnavailable, LoadPosition, OutRecord
from runtime.eventlog.kafka_logs import cap_client_logs
from runtime.eventlog.kafka_publisher import Publisher
from runtime.eventlog.kafka_settings import KafkaSettings
from runtime.eventlog.kafka_subscription import KafkaSubscription
from runtime.eventlog.kafka_topics import KafkaTopics


class KafkaEventLog:
    """An EventLog on a cluster; connects when it is first used, and again after each outage."""

    def __init__(self, settings: KafkaSettings, *, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._options = settings.client_options()
        cap_client_logs()
        self._topics = KafkaTopics(settings, self._options)
        self._publisher = Publisher(self._options, batch_bytes_max=settings.batch_bytes_max)
        self._subscriptions: set[KafkaSubscription] = set()

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append the records and return once they are durable: on disk, or on `min_insync_replicas` brokers.

        Raises:
            EventLogUnavailable: When it is not known within `publish_timeout_s` that they are.
            RecordTooBig: When a record is beyond `batch_bytes_max`; then nothing was published.
        """
        if not records:
            return
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                await self._topics.ensure(topic)
                await self._publisher.publish(self._settings.name_of(topic), records)
        except TimeoutError as error:
            reason = f"not acknowledged within {self._settings.publish_timeout_s} s"
            raise EventLogUnavailable(f"{topic}: {reason}") from error
        except KafkaError as error:
            raise EventLogUnavailable(f"{topic}: {str(error) or type(error).__name__}") from error

    async def subscribe(self, topic: str, *, group: str, load_position: LoadPosition) -> KafkaSubscription:
        """Return a subscription as one member of `group`; it joins at its first poll."""
        subscription = KafkaSubscription(
            self._settings,
            self._options,
            self._topics,
            topic=topic,
            group=group,
            load_position=load_position,
            clock=self._clock,
        )
        self._subscriptions = {known for known in self._subscriptions if not known.is_closed} | {subscription}
        return subscription

    async def partition_count(self, topic: str) -> int:
        """Return into how many partitions the topic is divided now; makes it when it is not there.

        Raises:
            EventLogUnavailable: When the cluster cannot be asked in time.
        """
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                await self._topics.ensure(topic)
                return await self._topics.partition_count(topic)
        except (KafkaError, TimeoutError) as error:
            raise EventLogUnavailable(f"{topic}: {str(error) or type(error).__name__}") from error

    async def identity(self) -> str:
        """Return the cluster's id and our prefix: a cluster that was set up anew has another id.

        Raises:
            EventLogUnavailable: When the cluster cannot be asked in time.
        """
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                return f"kafka:{await self._topics.cluster_id()}/{self._settings.prefix}"
        except (KafkaError, TimeoutError) as error:
            raise EventLogUnavailable(f"cluster: {str(error) or type(error).__name__}") from error

    async def ends(self, topic: str) -> Mapping[int, int]:
        """Return partition → the offset that the next record will have; nothing when there is no such topic.

        Raises:
            EventLogUnavailable: When the cluster cannot be asked in time.
        """
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                return await self._topics.ends(topic)
        except (KafkaError, TimeoutError) as error:
            raise EventLogUnavailable(f"{topic}: {str(error) or type(error).__name__}") from error

    async def close(self) -> None:
        """Close the subscriptions and the connections."""
        subscriptions, self._subscriptions = self._subscriptions, set()
        await asyncio.gather(*(subscription.close() for subscription in subscriptions))
        await self._publisher.close()
