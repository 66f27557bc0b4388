"""Topics on the cluster: made once, with what the settings say."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]  # aiokafka ships no types
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped]  # aiokafka ships no types
from aiokafka.errors import (  # type: ignore[import-untyped]  # aiokafka ships no types
    InvalidReplicationFactorError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from runtime.errors import UserError
from runtime.eventlog.kafka_calls import call
from runtime.eventlog.kafka_settings import KafkaSettings
from runtime.logs import log_event

T = TypeVar("T")

_log = logging.getLogger("lodepool.eventlog")


class KafkaTopics:
    """Makes the topics that are not there; knows which ones are."""

    def __init__(self, settings: KafkaSettings, options: dict[str, object]) -> None:
        self._settings = settings
        self._options = options
        self._known: set[str] = set()
        self._lock = asyncio.Lock()

    async def ensure(self, topic: str) -> None:
        """Return once the topic exists; does nothing the second time.

        A topic that exists keeps its number of partitions, since another number would send a key's records elsewhere.

        Raises:
            KafkaError: When the cluster cannot be asked, or refuses.
            UserError: When there are fewer brokers than the topic wants copies.
        """
        if topic in self._known:
            return
        async with self._lock:
            if topic in self._known:
                return
            await self._ask(lambda admin: self._ensure(admin, topic))
            self._known.add(topic)

    async def partition_count(self, topic: str) -> int:
        """Return into how many partitions the topic is divided now.

        Raises:
            KafkaError: When the cluster cannot be asked, or the topic is not there.
        """
        return await self._ask(lambda admin: self._count(admin, topic))

    async def cluster_id(self) -> str:
        """Return the id that the cluster got when it was set up.

        Raises:
            KafkaError: When the cluster cannot be asked.
        """
        described: dict[str, Any] = await self._ask(lambda admin: admin.describe_cluster())
        return str(described["cluster_id"])

    async def ends(self, topic: str) -> dict[int, int]:
        """Return partition → one after the last record; nothing when the topic is not there.

        Raises:
            KafkaError: When the cluster cannot be asked.
        """
        try:
            count = await self.partition_count(topic)
        except UnknownTopicOrPartitionError:
            return {}
        consumer = AIOKafkaConsumer(**self._options)
        try:
            await call(consumer.start())
            name = self._settings.name_of(topic)
            found = await call(consumer.end_offsets([TopicPartition(name, number) for number in range(count)]))
            return {partition.partition: int(end) for partition, end in found.items()}
        finally:
            await call(consumer.stop())

    async def _ask(self, question: Callable[[AIOKafkaAdminClient], Coroutine[Any, Any, T]]) -> T:
        admin = AIOKafkaAdminClient(**self._options)
        try:
            await call(admin.start())
            return await call(question(admin))
        finally:
            await admin.close()

    async def _count(self, admin: AIOKafkaAdminClient, topic: str) -> int:
        name = self._settings.name_of(topic)
        (found,) = await admin.describe_topics([name])
        error = for_code(found["error_code"])
        if error is not NoError:
            raise error(name)
        return len(found["partitions"])

    async def _ensure(self, admin: AIOKafkaAdminClient, topic: str) -> None:
        name, wanted = self._settings.name_of(topic), self._settings.settings_of(topic)
        (found,) = await admin.describe_topics([name])
        error = for_code(found["error_code"])
        if error is NoError:
            count = len(found["partitions"])
            if count != wanted.partitions:
                log_event(
                    _log,
                    logging.WARNING,
                    "topic has another number of partitions than the settings say",
                    topic=name,
                    partitions=count,
                    partitions_wanted=wanted.partitions,
                )
            return
        if error is not UnknownTopicOrPartitionError:
            raise error(name)
        new = NewTopic(
            name,
            wanted.partitions,
            wanted.replication_factor,
            topic_configs=wanted.configs(batch_bytes_max=self._settings.batch_bytes_max),
        )
        response = await admin.create_topics([new])
        for _name, code, message in response.topic_errors:
            self._check(for_code(code), name=name, message=message, replication_factor=wanted.replication_factor)

    def _check(self, error: type[KafkaError], *, name: str, message: str | None, replication_factor: int) -> None:
        if error is NoError:
            log_event(_log, logging.INFO, "topic made", topic=name)
        elif error is InvalidReplicationFactorError:
            raise UserError(
                f"Kafka cannot make the topic {name} with {replication_factor} copies: {message}",
                "set kafka.topic.replication_factor and min_insync_replicas to what the cluster has brokers for",
            )
        elif error is not TopicAlreadyExistsError:
            raise error(f"{name}: {message}")
