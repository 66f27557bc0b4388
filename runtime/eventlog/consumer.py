"""The loop of a consumer: each record takes effect exactly once."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from runtime.eventlog.bound import check_bound
from runtime.eventlog.interface import EventLog, Record
from runtime.eventlog.positions import Reached, load_position, save_position
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.postgres.transactions import transact

POLL_TIMEOUT_S = 1.0
IDLE_POLLS_MAX = 5
"""After so many polls without a record the database is asked whether it still knows how far it was."""

Apply: TypeAlias = Callable[[Connection, Sequence[Record]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Poison:
    """What becomes of a record that cannot be applied, so that the stream goes on.

    Attributes:
        errors: What `apply` raises because of what is in a record, never because of the consumer's own state.
        set_aside: Called with the record and the error, inside the transaction that moves the position behind it.
    """

    errors: tuple[type[Exception], ...]
    set_aside: Callable[[Connection, Record, Exception], Awaitable[None]]


async def consume(
    eventlog: EventLog,
    pool: Pool,
    *,
    topic: str,
    group: str,
    schema: str,
    apply: Apply,
    records_max: int = 500,
    after_commit: Callable[[Sequence[Record]], Awaitable[None]] | None = None,
    poison: Poison | None = None,
) -> None:
    """Read a topic for ever and apply its records, with the position saved in the same transaction (D3).

    Inside the transaction the position's row is held and records that were applied before are left out, so a replay or
    a second process changes nothing. Any error ends the loop: run it under `keep_running`, which starts it again from
    the stored position. A database that has forgotten what it had committed is such an error, so it is read again.

    Args:
        eventlog: The log.
        pool: The database with the consumer's tables.
        topic: What to read.
        group: The consumer's name.
        schema: Where its table `position` is.
        apply: Called inside the transaction with the records of one partition, in order, never none; may be called
            again with the same records when the transaction did not commit.
        records_max: Records of one transaction.
        after_commit: Called with what was applied once it is committed.
        poison: What becomes of records that cannot be applied; None: the error ends the loop.
    """
    errors = () if poison is None else poison.errors
    reached = Reached()

    async def applied(records: Sequence[Record]) -> None:
        done = await apply_batch(pool, schema=schema, records=records, apply=apply, reached=reached)
        if done and after_commit is not None:
            await after_commit(done)

    async def applied_one_by_one(records: Sequence[Record]) -> None:
        assert poison is not None  # without it there are no errors to get here with
        for record in records:
            try:
                await applied([record])
            except poison.errors as error:
                await _set_aside(pool, schema=schema, record=record, error=error, poison=poison, reached=reached)

    async def position(partition: int) -> int:
        async with acquired(pool) as connection:
            next_offset = await load_position(connection, schema, topic=topic, partition=partition)
        reached.loaded(partition, next_offset)
        return next_offset

    subscription = await eventlog.subscribe(topic, group=group, load_position=position)
    idle_polls = 0
    try:
        while True:
            records = await subscription.poll(records_max=records_max, timeout_s=POLL_TIMEOUT_S)
            idle_polls = 0 if records else idle_polls + 1
            if idle_polls >= IDLE_POLLS_MAX:
                idle_polls = 0
                async with acquired(pool) as connection:
                    await reached.check_all(connection, schema, topic=topic)
            for partition in sorted({record.partition for record in records}):
                batch = [record for record in records if record.partition == partition]
                try:
                    await applied(batch)
                except errors:
                    await applied_one_by_one(batch)
    finally:
        await subscription.close()


async def _set_aside(
    pool: Pool, *, schema: str, record: Record, error: Exception, poison: Poison, reached: Reached
) -> None:
    async def work(connection: Connection, records: Sequence[Record]) -> None:
        for each in records:
            await poison.set_aside(connection, each, error)

    await apply_batch(pool, schema=schema, records=[record], apply=work, reached=reached)


async def apply_batch(
    pool: Pool,
    *,
    schema: str,
    records: Sequence[Record],
    apply: Apply,
    reached: Reached | None = None,
) -> Sequence[Record]:
    """Apply the records of one partition and save the position in one transaction; return those that were new.

    Args:
        pool: The database with the consumer's tables.
        schema: Where its table `position` is.
        records: Of one partition, in order, at least one.
        apply: Called inside the transaction with those that are new.
        reached: How far the position had come before; is told of what this call commits. None: nobody has noted it.

    Raises:
        PositionForgotten: When the position has gone back since.
        OtherEventLog: When the database's positions no longer belong to the log that the records are from.
    """
    first, last = records[0], records[-1]

    async def work(connection: Connection) -> Sequence[Record]:
        if first.log:
            await check_bound(connection, first.log)
        next_offset = await load_position(
            connection, schema, topic=first.topic, partition=first.partition, for_update=True
        )
        if reached is not None:
            reached.check({first.partition: next_offset})
        fresh = [record for record in records if record.offset >= next_offset]
        if fresh:
            await apply(connection, fresh)
            await save_position(
                connection, schema, topic=first.topic, partition=first.partition, next_offset=last.offset + 1
            )
        return fresh

    fresh = await transact(pool, work)
    if reached is not None:
        reached.committed(first.partition, last.offset + 1)
    return fresh
