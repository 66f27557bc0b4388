"""Appends records to Kafka: an idempotent producer, replaced by a new one after each failure."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence

from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]  # aiokafka ships no types
from aiokafka.partitioner import murmur2  # type: ignore[import-untyped]  # aiokafka ships no types

from runtime.eventlog.interface import OutRecord
from runtime.eventlog.kafka_calls import call, finish

_CLOSE_TIMEOUT_S = 5.0
_RECORD_OVERHEAD_BYTES = 128
_POSITIVE = 0x7FFFFFFF


class RecordTooBig(Exception):
    """Raised when a record can never be published.

    Attributes:
        size_bytes: Key and payload.
        size_bytes_max: The limit.
    """

    def __init__(self, *, size_bytes: int, size_bytes_max: int) -> None:
        super().__init__(f"a record of {size_bytes} bytes is bigger than {size_bytes_max}")
        self.size_bytes = size_bytes
        self.size_bytes_max = size_bytes_max


class Publisher:
    """Appends records; whoever calls sets the time limit.

    After a failure the producer is given up, because it would go on trying with what nobody waits for any more. What it
    had sent may still become durable.
    """

    def __init__(self, options: dict[str, object], *, batch_bytes_max: int) -> None:
        self._options = options
        self._batch_bytes_max = batch_bytes_max
        self._line: _Line | None = None
        self._starting = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()

    async def publish(self, name: str, records: Sequence[OutRecord]) -> None:
        """Append the records to the topic `name` and return once all are durable.

        Raises:
            KafkaError: When the cluster refuses or cannot be reached.
            RecordTooBig: When a record is beyond the limit; then nothing was sent.
        """
        for record in records:
            size_bytes = len(record.key) + len(record.payload)
            if size_bytes + _RECORD_OVERHEAD_BYTES > self._batch_bytes_max:
                raise RecordTooBig(size_bytes=size_bytes, size_bytes_max=self._batch_bytes_max - _RECORD_OVERHEAD_BYTES)
        line = await self._started()
        line.user_count += 1
        try:
            await line.publish(name, records)
        except BaseException:
            # Also when the caller's time is up: that is a cancellation here.
            if self._line is line:
                self._line = None
            line.is_retired = True
            raise
        finally:
            line.user_count -= 1
            if line.is_retired and line.user_count == 0:
                self._retire(line)

    async def close(self) -> None:
        """Give the connections back; what was not published by now is not."""
        line, self._line = self._line, None
        if line is not None:
            line.is_retired = True
            self._retire(line)
        while self._retiring:
            await asyncio.gather(*self._retiring)

    async def _started(self) -> "_Line":
        async with self._starting:
            if self._line is None:
                line = _Line(self._options, batch_bytes_max=self._batch_bytes_max)
                try:
                    await call(line.producer.start())
                except BaseException:
                    self._retire(line)
                    raise
                self._line = line
            return self._line

    def _retire(self, line: "_Line") -> None:
        task = asyncio.create_task(line.give_up(), name="eventlog producer ending")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


class _Line:
    """One producer, and a queue before each partition, so that records of a key stay in the order of their publishes.

    Attributes:
        producer: aiokafka's.
        user_count: Publishes under way.
        is_retired: New publishes go elsewhere.
    """

    def __init__(self, options: dict[str, object], *, batch_bytes_max: int) -> None:
        self.producer = AIOKafkaProducer(
            **options, acks="all", enable_idempotence=True, linger_ms=0, max_batch_size=batch_bytes_max
        )
        self.user_count = 0
        self.is_retired = False
        self._turns: dict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def publish(self, name: str, records: Sequence[OutRecord]) -> None:
        partition_count = len(await self.producer.partitions_for(name))
        by_partition: dict[int, list[OutRecord]] = defaultdict(list)
        for record in records:
            by_partition[partition_of(record.key, partition_count)].append(record)
        if len(by_partition) == 1:
            ((partition, only),) = by_partition.items()
            await self._append(name, partition, only)
            return
        try:
            async with asyncio.TaskGroup() as group:
                for partition, some in by_partition.items():
                    group.create_task(self._append(name, partition, some))
        except* Exception as failed:
            raise failed.exceptions[0] from None

    async def _append(self, name: str, partition: int, records: Sequence[OutRecord]) -> None:
        async with self._turns[name, partition]:
            for batch in self._batches(records):
                delivery = await self.producer.send_batch(batch, name, partition=partition)
                await delivery

    def _batches(self, records: Sequence[OutRecord]) -> Iterator[object]:
        """Yield the records in as few batches as they fit; Kafka appends a batch all or none."""
        batch = self.producer.create_batch()
        for record in records:
            if batch.append(key=record.key, value=record.payload, timestamp=None) is None:
                yield batch
                batch = self.producer.create_batch()
                batch.append(key=record.key, value=record.payload, timestamp=None)
        batch.close()
        yield batch

    async def give_up(self) -> None:
        """Drop what was not delivered and close the connections."""
        # aiokafka's own stop() waits for delivery, which may never come; the sender must be ended before the client.
        self.producer._closed = True  # noqa: SLF001  what stop() marks, so that it does not warn
        sender = self.producer._sender  # noqa: SLF001  what stop() ends after the delivery
        await finish(sender.close(), what="sender", timeout_s=_CLOSE_TIMEOUT_S)
        await finish(self.producer.client.close(), what="client", timeout_s=_CLOSE_TIMEOUT_S)


def partition_of(key: bytes, partition_count: int) -> int:
    """Return the partition of a key: the same as all of Kafka's clients choose."""
    return (int(murmur2(key)) & _POSITIVE) % partition_count
