"""Positions belong to a log: the database says which one, and what comes from another one takes no effect.

An offset means something only in the log that gave it. Read on in another log from there, and records are skipped
without a word. So the database holds the name of the log that its positions belong to (eventlog.bound). The first log
that is used becomes it. Any other is refused: at the start (`bind`), at each subscription and each question for
progress (`BoundEventLog`), and in the transaction that moves a position (`check_bound`), so that a process with an old
configuration cannot move it either. The log in PostgreSQL refuses records that nobody would read, too.

`leave` ends it: it checks that all was read, puts the positions away, and lets the next log begin anew.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from runtime.errors import UserError
from runtime.eventlog.interface import EventLog, LoadPosition, OutRecord, Record, Subscription
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.postgres.transactions import transact

SCHEMA: Final = "eventlog"

_CURRENT = "SELECT log FROM eventlog.bound WHERE is_current"


class NamedEventLog(EventLog, Protocol):
    """An event log that knows its name and its ends."""

    async def identity(self) -> str:
        """Return the log's name: another one where offsets mean other records.

        Raises:
            EventLogUnavailable: When the log cannot be asked.
        """
        ...

    async def ends(self, topic: str) -> Mapping[int, int]:
        """Return partition → the offset that the next record will have; a topic that is not there has no partitions.

        Raises:
            EventLogUnavailable: When the log cannot be asked.
        """
        ...


class OtherEventLog(UserError):
    """Raised when the positions in the database belong to another event log.

    Attributes:
        bound: The log that they belong to; empty when they belong to none now.
        log: The one that was to be read.
    """

    def __init__(self, *, bound: str, log: str) -> None:
        super().__init__(
            f"The books were made from the event log {bound or '(none any more)'}, but this is {log}.",
            "set [eventlog] back; to change it, follow docs/OPERATING.md: `lodepool eventlog switch`",
        )
        self.bound = bound
        self.log = log


class NotReadToItsEnd(UserError):
    """Raised when a log that is to be left holds records that were not read."""

    def __init__(self, left: Sequence[str]) -> None:
        super().__init__(
            "The event log is not read to its end: " + "; ".join(left) + ".",
            "run the services that read it until they have, with the shippers stopped",
        )


async def bind(pool: Pool, log: str) -> None:
    """Make `log` the one that the positions belong to, if they belong to none; otherwise check that it is.

    Raises:
        OtherEventLog: When they belong to another one.
    """

    async def work(connection: Connection) -> None:
        bound = await connection.fetchval(_CURRENT)
        if bound is None:
            # One of several that start at the same time is first; the others wait here for it, and find its row.
            await connection.execute("LOCK TABLE eventlog.bound IN SHARE ROW EXCLUSIVE MODE")
            bound = await connection.fetchval(_CURRENT)
        if bound is None:
            await _begin(connection, log)
        elif bound != log:
            raise OtherEventLog(bound=bound, log=log)

    await transact(pool, work)


async def check_bound(connection: Connection, log: str) -> None:
    """Go on only while the positions belong to `log`; call it in the transaction that moves one.

    Whoever leaves the log waits until the transaction has ended.

    Raises:
        OtherEventLog: When they do not.
    """
    bound = await connection.fetchval(_CURRENT + " FOR SHARE")
    if bound != log:
        raise OtherEventLog(bound=bound or "", log=log)


async def current(connection: Connection) -> str:
    """Return the name of the log that the positions belong to; empty when to none."""
    return await connection.fetchval(_CURRENT) or ""


async def was_left(connection: Connection) -> bool:
    """Return whether the books have ever left a log: then no single log holds everything that is in them."""
    is_there = await connection.fetchval("SELECT to_regclass('eventlog.bound') IS NOT NULL")
    return bool(is_there and await connection.fetchval("SELECT EXISTS (SELECT FROM eventlog.left_position)"))


async def leave(pool: Pool, eventlog: NamedEventLog, readers: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Let the positions belong to no log, so that the next one begins anew; return topic → records that it held.

    In one transaction, which holds the bound row and the topics: nobody reads or appends meanwhile.

    Args:
        pool: The database.
        eventlog: The log that is left.
        readers: Topic → schemas of the consumers that must have read all of it.

    Raises:
        OtherEventLog: When the positions do not belong to it.
        NotReadToItsEnd: When a consumer has not read all.
        EventLogUnavailable: When the log cannot be asked.
    """
    log = await eventlog.identity()
    await migrate(pool, schema=SCHEMA, package="runtime.eventlog")

    async def work(connection: Connection) -> dict[str, int]:
        bound = await connection.fetchval(_CURRENT + " FOR UPDATE")
        if bound != log:
            raise OtherEventLog(bound=bound or "", log=log)
        await connection.execute("LOCK TABLE eventlog.topic IN EXCLUSIVE MODE")
        positions = await _positions(connection)
        topics = {topic for _, topic, _ in positions} | readers.keys()
        ends = {topic: await eventlog.ends(topic) for topic in topics}
        _require_all_read(positions, ends, readers)
        await _put_away(connection, log, positions)
        return {topic: sum(found.values()) for topic, found in ends.items()}

    return await transact(pool, work)


async def give_up(pool: Pool, log: str) -> dict[tuple[str, str, int], int]:
    """Let the positions belong to no log although `log` is lost and cannot be asked; return how far it was read.

    What was not read of it is in no book.

    Args:
        pool: The database.
        log: The name of the log that they belong to now: who gives it up knows it.

    Raises:
        OtherEventLog: When they belong to another one.
    """
    await migrate(pool, schema=SCHEMA, package="runtime.eventlog")

    async def work(connection: Connection) -> dict[tuple[str, str, int], int]:
        bound = await connection.fetchval(_CURRENT + " FOR UPDATE")
        if bound != log:
            raise OtherEventLog(bound=bound or "", log=log)
        positions = await _positions(connection)
        await _put_away(connection, log, positions)
        return positions

    return await transact(pool, work)


async def _put_away(connection: Connection, log: str, positions: Mapping[tuple[str, str, int], int]) -> None:
    """Keep the positions under the log's name, so that the next log begins anew."""
    for (schema, topic, partition), next_offset in positions.items():
        await connection.execute(
            """
            INSERT INTO eventlog.left_position (log, schema_name, topic, partition, next_offset)
            VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (log, schema_name, topic, partition) DO UPDATE SET next_offset = excluded.next_offset
            """,
            *(log, schema, topic, partition, next_offset),
        )
    for schema in {schema for schema, _, _ in positions}:
        await connection.execute(f"DELETE FROM {schema}.position")
    await connection.execute(
        "UPDATE eventlog.bound SET is_current = false, change_time = clock_timestamp() WHERE log = $1", log
    )


async def _begin(connection: Connection, log: str) -> None:
    """Bind the log, and put the positions back that were left in it."""
    await connection.execute(
        """
        INSERT INTO eventlog.bound (log, is_current) VALUES ($1, true)
        ON CONFLICT (log) DO UPDATE SET is_current = true, change_time = clock_timestamp()
        """,
        log,
    )
    rows = await connection.fetch(
        "SELECT schema_name, topic, partition, next_offset FROM eventlog.left_position WHERE log = $1", log
    )
    for row in rows:
        await connection.execute(
            f"INSERT INTO {row['schema_name']}.position (topic, partition, next_offset) VALUES ($1, $2, $3)",
            *(row["topic"], row["partition"], row["next_offset"]),
        )


async def _positions(connection: Connection) -> dict[tuple[str, str, int], int]:
    """Return (schema, topic, partition) → next offset of all consumers, held until the transaction ends."""
    schemas = await connection.fetch(
        """
        SELECT table_schema FROM information_schema.columns
        WHERE table_name = 'position' AND column_name IN ('topic', 'partition', 'next_offset')
        GROUP BY table_schema HAVING count(*) = 3 ORDER BY table_schema
        """
    )
    found: dict[tuple[str, str, int], int] = {}
    for (schema,) in schemas:
        for row in await connection.fetch(f"SELECT topic, partition, next_offset FROM {schema}.position FOR UPDATE"):
            found[schema, row["topic"], row["partition"]] = row["next_offset"]
    return found


def _require_all_read(
    positions: Mapping[tuple[str, str, int], int],
    ends: Mapping[str, Mapping[int, int]],
    readers: Mapping[str, Sequence[str]],
) -> None:
    pairs = {(schema, topic) for schema, topic, _ in positions}
    pairs |= {(schema, topic) for topic, schemas in readers.items() for schema in schemas}
    left: list[str] = []
    for schema, topic in sorted(pairs):
        for partition, end in sorted(ends[topic].items()):
            next_offset = positions.get((schema, topic, partition), 0)
            if next_offset != end:
                left.append(f"{schema} is at {next_offset} of {end} in {topic}/{partition}")
        for key, next_offset in positions.items():
            if key[:2] == (schema, topic) and key[2] not in ends[topic] and next_offset:
                left.append(f"{schema} has read {topic}/{key[2]}, which the log does not have")
    if left:
        raise NotReadToItsEnd(left)


class BoundEventLog:
    """An EventLog that is read only while the database's positions belong to it.

    Args:
        eventlog: The one that does the work; closed with this one.
        pool: The database with the positions.
    """

    def __init__(self, eventlog: NamedEventLog, pool: Pool) -> None:
        self._eventlog = eventlog
        self._pool = pool
        self._log = ""

    async def bind(self) -> str:
        """Make this log the one that the positions belong to, or check that it is; return its name.

        Raises:
            OtherEventLog: When they belong to another one.
            EventLogUnavailable: When the log cannot be asked for its name.
            DatabaseUnavailable: When the database is away.
        """
        log = await self._eventlog.identity()
        if not self._log:
            await migrate(self._pool, schema=SCHEMA, package="runtime.eventlog")
        await bind(self._pool, log)
        self._log = log
        return log

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append the records, all or none, and return once they are durable.

        Raises:
            OtherEventLog: When the positions belong to another log: nobody would read the records.
            EventLogUnavailable: When it is not known that they are durable.
        """
        if self._log:
            await bind(self._pool, self._log)
        else:
            await self.bind()
        await self._eventlog.publish(topic, records)

    async def subscribe(self, topic: str, *, group: str, load_position: LoadPosition) -> Subscription:
        """Return a subscription whose records name the log.

        Raises:
            OtherEventLog: When the positions belong to another log.
            EventLogUnavailable: When the log cannot be asked for its name.
        """
        log = await self.bind()
        subscription = await self._eventlog.subscribe(topic, group=group, load_position=load_position)
        return _BoundSubscription(subscription, self._pool, log)

    async def partition_count(self, topic: str) -> int:
        """Return into how many partitions a topic is divided now."""
        if not self._log:
            await self.bind()
        return await self._eventlog.partition_count(topic)

    async def close(self) -> None:
        """Close the log; its subscriptions end with it."""
        await self._eventlog.close()


class _BoundSubscription:
    def __init__(self, inner: Subscription, pool: Pool, log: str) -> None:
        self._inner = inner
        self._pool = pool
        self._log = log

    async def poll(self, *, records_max: int, timeout_s: float) -> Sequence[Record]:
        records = await self._inner.poll(records_max=records_max, timeout_s=timeout_s)
        return [record.of(self._log) for record in records]

    async def rewind(self) -> None:
        await self._inner.rewind()

    async def progress(self) -> Mapping[int, int]:
        progress = await self._inner.progress()
        async with acquired(self._pool) as connection:
            bound = await current(connection)
        if bound != self._log:
            raise OtherEventLog(bound=bound, log=self._log)
        return progress

    async def lag(self) -> Mapping[int, int]:
        return await self._inner.lag()

    async def close(self) -> None:
        await self._inner.close()
