"""The event log on PostgreSQL: a table, an advisory wake-up by NOTIFY, polling as the safety net.

A topic has one partition, 0. Publishers of a topic queue on the row in eventlog.topic, which is held until commit: the
order of offsets is the order in which records become visible, and offsets have no gaps. A reader that has seen offset n
has therefore seen everything below it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import asyncpg

from runtime.clock import Clock, SystemClock
from runtime.eventlog.interface import EventLogUnavailable, LoadPosition, OutRecord, Record
from runtime.logs import log_event
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import Connection, DatabaseUnavailable, Pool, acquired, is_gone
from runtime.process import is_cancelled

_log = logging.getLogger("lodepool.eventlog")

POSTGRES: Final = "postgres"
"""The log's name; its migrations know it, too."""

_CHANNEL = "eventlog"
_SAFETY_POLL_S = 1.0
_LISTEN_RETRY_S = 0.5
_POLL_BYTES_MAX = 16 * 1024 * 1024
_PUBLISH_TIMEOUT_S = 60
_SELECT = """
SELECT log_offset, key, payload, floor(extract(epoch FROM append_time) * 1000)::bigint AS append_time_ms
FROM (
    SELECT *, sum(octet_length(payload)) OVER (ORDER BY log_offset) - octet_length(payload) AS bytes_before
    FROM (
        SELECT log_offset, key, payload, append_time FROM eventlog.record
        WHERE topic = $1 AND log_offset >= $2 ORDER BY log_offset LIMIT $3
    ) AS next_records
) AS sized
WHERE bytes_before < $4
ORDER BY log_offset
"""
# The time is taken before the statement's snapshot: what was committed before it is in the answer.
_SELECT_END = """
SELECT floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint AS time_ms,
    coalesce((SELECT next_offset FROM eventlog.topic WHERE topic = $1), 0) AS end_offset
"""

_PRUNE_RECORDS_MAX = 1000
_PRUNE = """
DELETE FROM eventlog.record
WHERE topic = $1 AND log_offset IN (
    SELECT log_offset FROM eventlog.record
    WHERE topic = $1 AND log_offset < $2 AND append_time < clock_timestamp() - $3::interval
    ORDER BY log_offset LIMIT $4
)
"""


class PostgresEventLog:
    """An EventLog in a PostgreSQL database; `open` makes its tables.

    One connection of the pool listens for notifications while there are subscriptions.
    """

    def __init__(self, pool: Pool, *, clock: Clock | None = None) -> None:
        self._pool = pool
        self._clock = clock or SystemClock()
        self._subscriptions: set[PostgresSubscription] = set()
        self._listener: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, pool: Pool, *, clock: Clock | None = None) -> "PostgresEventLog":
        """Bring the schema eventlog up to date and return the log.

        Raises:
            DatabaseUnavailable: When the database is away.
        """
        await migrate(pool, schema="eventlog", package="runtime.eventlog")
        return cls(pool, clock=clock)

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append the records, all or none, and return once they are durable."""
        if not records:
            return
        keys = [record.key for record in records]
        payloads = [record.payload for record in records]
        try:
            async with acquired(self._pool) as connection:
                query = "SELECT eventlog.append($1, $2::bytea[], $3::bytea[])"
                await connection.execute(query, topic, keys, payloads, timeout=_PUBLISH_TIMEOUT_S)
        except asyncpg.ObjectNotInPrerequisiteStateError as error:
            # Whoever publishes keeps its records, and tries again until it is told of the other log.
            raise EventLogUnavailable(f"{error}; see `lodepool eventlog show`") from error
        except (DatabaseUnavailable, TimeoutError) as error:
            raise EventLogUnavailable(str(error)) from error

    async def subscribe(self, topic: str, *, group: str, load_position: LoadPosition) -> "PostgresSubscription":
        """Return a subscription; `group` only names it in logs, since there is one partition."""
        subscription = PostgresSubscription(self, topic=topic, group=group, load_position=load_position)
        self._subscriptions.add(subscription)
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen(), name="eventlog listener")
        return subscription

    async def partition_count(self, topic: str) -> int:  # noqa: ARG002  every topic has one
        """Return 1: a topic has one partition."""
        return 1

    async def identity(self) -> str:
        """Return "postgres": the log lies in the database whose positions are asked about."""
        return POSTGRES

    async def ends(self, topic: str) -> Mapping[int, int]:
        """Return the offset that the next record will have."""
        _, end_offset = await self.end(topic)
        return {0: end_offset}

    async def prune(self, topic: str, *, keep: timedelta, below_offset: int) -> int:
        """Delete records older than `keep` whose offset is below `below_offset`; return how many.

        Args:
            topic: The topic.
            keep: What is younger stays.
            below_offset: The smallest position of all consumers: what somebody still has to read stays.
        """
        deleted_count = 0
        try:
            while True:
                async with acquired(self._pool) as connection:
                    status = await connection.execute(_PRUNE, topic, below_offset, keep, _PRUNE_RECORDS_MAX)
                chunk_count = int(status.rpartition(" ")[2])
                deleted_count += chunk_count
                if chunk_count < _PRUNE_RECORDS_MAX:
                    return deleted_count
        except (DatabaseUnavailable, TimeoutError) as error:
            raise EventLogUnavailable(str(error)) from error

    async def close(self) -> None:
        """Stop listening; the pool stays open, it is the caller's."""
        self._subscriptions.clear()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener

    async def read(self, topic: str, *, next_offset: int, records_max: int) -> list[Record]:
        """Return what is there from `next_offset` on, at most `records_max` and about 16 MB, without waiting."""
        try:
            async with acquired(self._pool) as connection:
                rows = await connection.fetch(_SELECT, topic, next_offset, records_max, _POLL_BYTES_MAX)
        except (DatabaseUnavailable, TimeoutError) as error:
            raise EventLogUnavailable(str(error)) from error
        return [
            Record(
                topic=topic,
                partition=0,
                offset=row["log_offset"],
                key=row["key"],
                payload=row["payload"],
                append_time_ms=row["append_time_ms"],
            )
            for row in rows
        ]

    async def end(self, topic: str) -> tuple[int, int]:
        """Return a time in milliseconds and an offset: all that was published before that time is before the offset."""
        try:
            async with acquired(self._pool) as connection:
                row = await connection.fetchrow(_SELECT_END, topic)
        except (DatabaseUnavailable, TimeoutError) as error:
            raise EventLogUnavailable(str(error)) from error
        assert row is not None
        return row["time_ms"], row["end_offset"]

    def forget(self, subscription: "PostgresSubscription") -> None:
        """Stop waking a subscription."""
        self._subscriptions.discard(subscription)

    async def _listen(self) -> None:
        """Wake subscriptions on notifications; connect again when the connection is lost."""
        while True:
            try:
                async with acquired(self._pool) as connection:
                    await self._listen_on(connection)
            except Exception as error:
                if is_cancelled():
                    raise asyncio.CancelledError from error
                log_event(_log, logging.DEBUG, "event log listener lost", error=str(error))
            await self._clock.sleep(_LISTEN_RETRY_S)

    async def _listen_on(self, connection: Connection) -> None:
        lost = asyncio.Event()

        def on_notice(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            self._wake(str(payload))

        def on_lost(_connection: object) -> None:
            lost.set()

        connection.add_termination_listener(on_lost)
        await connection.add_listener(_CHANNEL, on_notice)
        try:
            self._wake(None)
            await lost.wait()
        finally:
            if not is_gone(connection):
                connection.remove_termination_listener(on_lost)
                await connection.remove_listener(_CHANNEL, on_notice)

    def _wake(self, topic: str | None) -> None:
        for subscription in self._subscriptions:
            if topic is None or subscription.topic == topic:
                subscription.wake()


class PostgresSubscription:
    """A consumer's place in a topic of a PostgresEventLog."""

    def __init__(self, log: PostgresEventLog, *, topic: str, group: str, load_position: LoadPosition) -> None:
        self.topic = topic
        self.group = group
        self._log = log
        self._load_position = load_position
        self._next_offset: int | None = None
        self._read_time_ms = 0
        self._news = asyncio.Event()
        self._is_closed = False

    def wake(self) -> None:
        """Note that there may be new records."""
        self._news.set()

    async def poll(self, *, records_max: int, timeout_s: float) -> Sequence[Record]:
        """Return the next records; empty after `timeout_s` seconds without any."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while not self._is_closed:
            self._news.clear()
            if self._next_offset is None:
                self._next_offset = await self._loaded()
            records = await self._log.read(self.topic, next_offset=self._next_offset, records_max=records_max)
            if records:
                self._next_offset = records[-1].offset + 1
                self._read_time_ms = records[-1].append_time_ms
                return records
            left_s = deadline_s - loop.time()
            if left_s <= 0:
                return []
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, _SAFETY_POLL_S)):
                    await self._news.wait()
        return []

    async def rewind(self) -> None:
        """Forget what was polled; the next poll loads the position again."""
        self._next_offset = None
        self._read_time_ms = 0

    async def progress(self) -> Mapping[int, int]:
        """Return how far this subscription has read, by the clock of the database."""
        next_offset = self._next_offset
        if next_offset is None or self._is_closed:
            return {}
        time_ms, end_offset = await self._log.end(self.topic)
        if self._next_offset is None:
            return {}
        if next_offset == end_offset:
            self._read_time_ms = max(self._read_time_ms, time_ms)
        return {0: self._read_time_ms} if self._read_time_ms else {}

    async def lag(self) -> Mapping[int, int]:
        """Return how many records there are still to read."""
        if self._next_offset is None or self._is_closed:
            return {}
        _, end_offset = await self._log.end(self.topic)
        next_offset = self._next_offset
        return {} if next_offset is None else {0: max(0, end_offset - next_offset)}

    async def close(self) -> None:
        """End the subscription; a poll that waits returns empty."""
        self._is_closed = True
        self._news.set()
        self._log.forget(self)

    async def _loaded(self) -> int:
        try:
            return await self._load_position(0)
        except DatabaseUnavailable as error:
            raise EventLogUnavailable(str(error)) from error
