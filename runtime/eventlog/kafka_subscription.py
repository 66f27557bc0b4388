"""Reads a topic of Kafka as a member of a consumer group, from positions that the consumer keeps itself.

The group only says who reads which partition; nothing is ever committed to Kafka. At every assignment, and after each
rewind, aiokafka is held (paused) until the position of each partition was loaded from the consumer's database; what was
fetched before a partition was taken away is dropped. Should a record still reach a consumer that has lost its
partition, the position's row in the database decides (consumer.py).
"""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import (  # type: ignore[import-untyped]  # aiokafka ships no types
    AIOKafkaConsumer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    TopicPartition,
)
from aiokafka.errors import (  # type: ignore[import-untyped]  # aiokafka ships no types
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from runtime.clock import Clock
from runtime.eventlog.interface import EventLogUnavailable, LoadPosition, Record
from runtime.eventlog.kafka_calls import call, finish
from runtime.eventlog.kafka_settings import KafkaSettings
from runtime.eventlog.kafka_topics import KafkaTopics
from runtime.postgres.pool import DatabaseUnavailable

T = TypeVar("T")

_FETCH_BYTES_MAX = 16 * 1024 * 1024
_FETCH_WAIT_MS = 500
_HEARTBEATS_PER_SESSION = 4
_HEARTBEAT_MS_MAX = 1000
_CHECK_EVERY_S = 1.0
_REBALANCE_GRACE_S = 0.1
_CLOSE_TIMEOUT_S = 5.0


class PositionOutOfRange(Exception):
    """Raised when Kafka no longer has the record at a stored position, or does not have it yet.

    Records were deleted before they were read, or the topic was made anew: a person has to decide what is lost.

    Attributes:
        topic: The topic.
        partition: The partition.
        next_offset: The stored position.
        first_offset: The first record that is there.
        end_offset: One after the last.
    """

    def __init__(self, *, topic: str, partition: int, next_offset: int, first_offset: int, end_offset: int) -> None:
        super().__init__(
            f"{topic}/{partition} holds the offsets from {first_offset} to before {end_offset}, "
            f"but the stored position is {next_offset}"
        )
        self.topic = topic
        self.partition = partition
        self.next_offset = next_offset
        self.first_offset = first_offset
        self.end_offset = end_offset


class KafkaSubscription:
    """A consumer's place in a topic of a KafkaEventLog; connects at the first poll."""

    def __init__(
        self,
        settings: KafkaSettings,
        options: dict[str, object],
        topics: KafkaTopics,
        *,
        topic: str,
        group: str,
        load_position: LoadPosition,
        clock: Clock,
    ) -> None:
        self.topic = topic
        self.group = group
        self._settings = settings
        self._options = options
        self._topics = topics
        self._load_position = load_position
        self._clock = clock
        self._seats: _Seats | None = None
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._seen_s = 0.0

    @property
    def is_closed(self) -> bool:
        """Whether nothing comes from it any more."""
        return self._closing.done()

    async def poll(self, *, records_max: int, timeout_s: float) -> Sequence[Record]:
        """Return the next records, ordered per partition; empty after `timeout_s` seconds without any.

        Raises:
            EventLogUnavailable: When no broker answers, or the positions cannot be loaded.
            PositionOutOfRange: When Kafka does not have what is to be read next.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        try:
            seats = await self._joined()
            while not self._closing.done():
                left_s = max(0.0, deadline_s - loop.time())
                records = await self._next(seats, records_max=records_max, timeout_s=left_s)
                if records:
                    self._seen_s = loop.time()
                    return records
                if loop.time() >= deadline_s:
                    await self._check_reachable(seats)
                    return []
        except DatabaseUnavailable as error:
            raise EventLogUnavailable(str(error)) from error
        except (KafkaError, TimeoutError) as error:
            if self._closing.done():
                return []
            raise await self._lost(error) from error
        return []

    async def rewind(self) -> None:
        """Forget what was polled; the next poll loads the positions again."""
        if self._seats is not None:
            self._seats.hold()

    async def progress(self) -> Mapping[int, int]:
        """Return how far this member has read.

        By this process's clock, read before the brokers are asked for the ends, where it has read to the end; elsewhere
        by the time that the broker has given the record read last. A position behind the end, in a topic that was made
        anew, is not the end.

        Raises:
            EventLogUnavailable: When no broker answers.
        """
        seats = self._seats
        if seats is None or not seats.places or self._closing.done():
            return {}
        turn, time_ms = seats.turn, self._clock.now_ms()
        asked = {partition: place.next_offset for partition, place in seats.places.items()}
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                ends = await call(seats.consumer.end_offsets(list(asked)))
        except (KafkaError, TimeoutError) as error:
            if self._closing.done():
                return {}
            raise await self._lost(error) from error
        if seats is not self._seats or turn != seats.turn:
            return {}
        for partition, next_offset in asked.items():
            if next_offset == ends[partition]:
                place = seats.places[partition]
                place.read_time_ms = max(place.read_time_ms, time_ms)
        return {
            partition.partition: place.read_time_ms for partition, place in seats.places.items() if place.read_time_ms
        }

    async def lag(self) -> Mapping[int, int]:
        """Return how many records of each partition there are still to read."""
        seats = self._seats
        if seats is None or not seats.places or self._closing.done():
            return {}
        places = dict(seats.places)
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                ends = await call(seats.consumer.end_offsets(list(places)))
        except (KafkaError, TimeoutError) as error:
            # Who only looks on does not end the membership: `poll` does that by itself.
            raise EventLogUnavailable(f"{self.topic}: {str(error) or type(error).__name__}") from error
        return {partition.partition: max(0, ends[partition] - place.next_offset) for partition, place in places.items()}

    async def close(self) -> None:
        """Leave the group; a poll that waits returns empty."""
        if not self._closing.done():
            self._closing.set_result(None)
        await self._leave()

    async def _joined(self) -> "_Seats":
        if self._seats is not None:
            return self._seats
        async with asyncio.timeout(self._settings.request_timeout_s):
            await self._topics.ensure(self.topic)
            session_ms = self._settings.session_timeout_s * 1000
            consumer = AIOKafkaConsumer(
                **self._options,
                group_id=self._settings.group_of(self.group),
                enable_auto_commit=False,
                auto_offset_reset="none",
                session_timeout_ms=session_ms,
                # A member learns with its heartbeat that the partitions are shared out again.
                heartbeat_interval_ms=min(session_ms // _HEARTBEATS_PER_SESSION, _HEARTBEAT_MS_MAX),
                fetch_max_wait_ms=_FETCH_WAIT_MS,
                fetch_max_bytes=_FETCH_BYTES_MAX,
                max_partition_fetch_bytes=min(_FETCH_BYTES_MAX, self._settings.batch_bytes_max),
            )
            try:
                await call(consumer.start())
            except BaseException:
                await _stop(consumer)
                raise
        seats = _Seats(consumer)
        if self._closing.done():
            await _stop(consumer)
            return seats
        self._seats = seats
        consumer.subscribe([self._settings.name_of(self.topic)], listener=seats)
        return seats

    async def _lost(self, error: Exception) -> EventLogUnavailable:
        """Begin anew at the next poll: what aiokafka knows may be wrong by now, the brokers' addresses too."""
        await self._leave()
        return EventLogUnavailable(f"{self.topic}: {str(error) or type(error).__name__}")

    async def _leave(self) -> None:
        seats, self._seats = self._seats, None
        if seats is not None:
            await _stop(seats.consumer)

    async def _next(self, seats: "_Seats", *, records_max: int, timeout_s: float) -> Sequence[Record]:
        """Return records, or nothing: at the end of the time, after a change of the assignment, when it is closed."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        if not seats.assigned.is_set() and not await self._or_closed(seats.assigned.wait(), timeout_s=timeout_s):
            return []
        await self._place(seats)
        turn = seats.turn
        left_s = max(0.0, deadline_s - loop.time())
        try:
            polling = seats.consumer.getmany(timeout_ms=int(left_s * 1000), max_records=records_max)
            found = await self._or_closed(polling, timeout_s=left_s + _REBALANCE_GRACE_S)
        except NoOffsetForPartitionError:
            return []  # aiokafka asked for a committed position before ours was set; there is none, and none is needed
        except OffsetOutOfRangeError as error:
            await self._move_or_refuse(seats, error)
            return []
        if not found or turn != seats.turn:
            return []
        for partition, records in found.items():
            seats.places[partition].read(records[-1])
        return [self._record(record) for partition in sorted(found) for record in found[partition]]

    async def _place(self, seats: "_Seats") -> None:
        """Load the positions of the partitions that are held and let them go on from there."""
        for partition in sorted(seats.held):
            turn = seats.turn
            next_offset = await self._load_position(partition.partition)
            if turn != seats.turn:
                return
            seats.release(partition, next_offset)

    async def _move_or_refuse(self, seats: "_Seats", error: OffsetOutOfRangeError) -> None:
        """Go to the first record there is when the position is the beginning; refuse to skip anything otherwise."""
        ((partition, next_offset),) = error.args[0].items()
        turn = seats.turn
        first = (await call(seats.consumer.beginning_offsets([partition])))[partition]
        end = (await call(seats.consumer.end_offsets([partition])))[partition]
        if turn != seats.turn:
            return
        if next_offset != 0:
            raise PositionOutOfRange(
                topic=self.topic,
                partition=partition.partition,
                next_offset=next_offset,
                first_offset=first,
                end_offset=end,
            )
        seats.release(partition, first)

    async def _check_reachable(self, seats: "_Seats") -> None:
        """Raise KafkaError or TimeoutError when no broker answers: aiokafka would wait for one without a word."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._seen_s < _CHECK_EVERY_S or self._closing.done():
            return
        async with asyncio.timeout(self._settings.request_timeout_s):
            await call(seats.consumer.topics())
        self._seen_s = loop.time()

    async def _or_closed(self, work: Coroutine[object, object, T], *, timeout_s: float) -> T | None:
        """Return the result of `work`; None when the subscription is closed first or the time is up."""
        task = asyncio.create_task(work)
        either: set[asyncio.Future[Any]] = {task, self._closing}
        try:
            await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if self._closing.done() or not task.done():
                return None
            if task.cancelled():
                raise KafkaError("the client was ended from inside")
            return task.result()
        finally:
            if not task.done():
                task.cancel()

    def _record(self, record: ConsumerRecord) -> Record:
        return Record(
            topic=self.topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key or b"",
            payload=record.value or b"",
            append_time_ms=record.timestamp,
        )


@dataclass(slots=True, kw_only=True)
class _Place:
    """How far a partition was read.

    Attributes:
        next_offset: The record that comes next.
        read_time_ms: Everything that was published before was returned; 0 while nothing is known.
    """

    next_offset: int
    read_time_ms: int = 0

    def read(self, record: ConsumerRecord) -> None:
        """Go on behind a record."""
        self.next_offset = record.offset + 1
        self.read_time_ms = max(self.read_time_ms, record.timestamp)


class _Seats(ConsumerRebalanceListener):  # type: ignore[misc]  # the base has no types
    """The partitions that the group has given to this member, and which of them wait for their position.

    Attributes:
        consumer: aiokafka's.
        assigned: Set while there is an assignment.
        held: Partitions that are not read before `release`.
        places: Where the partitions that are not held are read.
        turn: Grows when anything before it is void.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.consumer = consumer
        self.assigned = asyncio.Event()
        self.held: set[TopicPartition] = set()
        self.places: dict[TopicPartition, _Place] = {}
        self.turn = 0
        self._partitions: frozenset[TopicPartition] = frozenset()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002  the base's signature
        """Void everything; called before the group shares its partitions out again."""
        self.turn += 1
        self.assigned.clear()
        self.held.clear()
        self.places.clear()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Hold what was given to us until its positions are loaded."""
        self._partitions = frozenset(assigned)
        self.assigned.set()
        self.hold()

    def hold(self) -> None:
        """Stop reading, forget what was fetched, and ask for the positions again."""
        self.turn += 1
        self.places.clear()
        if not self.assigned.is_set():
            return
        self.held = set(self._partitions)
        for partition in self.held:
            self.consumer.pause(partition)
            # Any position keeps aiokafka from looking for a committed one.
            self.consumer.seek(partition, 0)

    def release(self, partition: TopicPartition, next_offset: int) -> None:
        """Read on from a position."""
        self.held.discard(partition)
        self.places[partition] = _Place(next_offset=next_offset)
        self.consumer.seek(partition, next_offset)
        self.consumer.resume(partition)


async def _stop(consumer: AIOKafkaConsumer) -> None:
    """Leave the group and close the connections, within a limit."""
    if await finish(consumer.stop(), what="consumer", timeout_s=_CLOSE_TIMEOUT_S):
        return
    # What stop() did not come to:
    if consumer._fetcher is not None:  # noqa: SLF001  aiokafka has no other way to it
        await finish(consumer._fetcher.close(), what="fetcher", timeout_s=_CLOSE_TIMEOUT_S)  # noqa: SLF001
    await finish(consumer._client.close(), what="client", timeout_s=_CLOSE_TIMEOUT_S)  # noqa: SLF001
