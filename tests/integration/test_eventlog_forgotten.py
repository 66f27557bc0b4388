"""A database that has failed over to a standby that was behind: what it has forgotten is read again, never skipped."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from runtime.clock import SystemClock
from runtime.eventlog.consumer import consume
from runtime.eventlog.interface import OutRecord, Record
from runtime.eventlog.positions import POSITION_TABLE
from runtime.eventlog.postgres import PostgresEventLog
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.process import keep_running
from shares import storage
from shares.consumer import ShareConsumer
from shares.metrics import Counters
from tests.conftest import TestDatabase
from tests.fakes.share_stream import FakeInstance, FakeShare
from tests.fakes.waiting import eventually

TOPIC = "letters"


@contextlib.asynccontextmanager
async def running(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_running("reader", work, clock=SystemClock(), backoff_s_min=0.01))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def letters(database: TestDatabase) -> Pool:
    async with acquired(database.pool) as connection:
        await connection.execute("CREATE SCHEMA reader")
        await connection.execute(POSITION_TABLE.format(schema="reader"))
        await connection.execute("CREATE TABLE reader.seen (log_offset bigint PRIMARY KEY, payload text NOT NULL)")
    return database.pool


async def publish_letters(log: PostgresEventLog, texts: str) -> None:
    await log.publish(TOPIC, [OutRecord(key=b"k", payload=text.encode()) for text in texts])


async def forget_letters(pool: Pool, *, next_offset: int) -> None:
    """Take the consumer's schema back to an earlier commit, as a standby that is promoted late has it."""
    async with acquired(pool) as connection, connection.transaction():
        await connection.execute("UPDATE reader.position SET next_offset = $1", next_offset)
        await connection.execute("DELETE FROM reader.seen WHERE log_offset >= $1", next_offset)


@contextlib.asynccontextmanager
async def reading_letters(log: PostgresEventLog, pool: Pool) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    async def store(connection: Connection, records: Sequence[Record]) -> None:
        rows = [(record.offset, record.payload.decode()) for record in records]
        await connection.executemany("INSERT INTO reader.seen (log_offset, payload) VALUES ($1, $2)", rows)

    async def until(expected: str) -> None:
        async def is_there() -> bool:
            async with acquired(pool) as connection:
                rows = await connection.fetch("SELECT payload FROM reader.seen ORDER BY log_offset")
            return "".join(row["payload"] for row in rows) == expected

        await eventually(is_there, timeout_s=30, what=expected)

    async with running(lambda: consume(log, pool, topic=TOPIC, group="g", schema="reader", apply=store)):
        yield until


async def test_records_that_the_database_has_forgotten_are_applied_before_the_next_one(letters: Pool) -> None:
    """D3: the process reads on behind them, for its connections were only broken and made anew."""
    log = await PostgresEventLog.open(letters)
    await publish_letters(log, "abcd")
    async with reading_letters(log, letters) as until:
        await until("abcd")
        await forget_letters(letters, next_offset=1)
        await publish_letters(log, "e")
        await until("abcde")
    await log.close()


async def test_records_that_the_database_has_forgotten_are_applied_though_no_other_one_comes(letters: Pool) -> None:
    """D3: a found block must not wait for the next one."""
    log = await PostgresEventLog.open(letters)
    await publish_letters(log, "abcd")
    async with reading_letters(log, letters) as until:
        await until("abcd")
        await forget_letters(letters, next_offset=1)
        await until("abcd")
    await log.close()


async def test_forgotten_shares_are_booked_again_before_the_stream_counts_as_booked(database: TestDatabase) -> None:
    """D3, R3: a window that is fixed while they are missing would pay without them."""
    pool = database.pool
    await migrate(pool, schema=storage.SCHEMA, package="shares")
    log = await PostgresEventLog.open(pool)
    consumer = ShareConsumer(pool=pool, eventlog=log, clock=SystemClock(), counters=Counters(), batch_records_max=10)
    instance = FakeInstance()
    await log.publish("shares", [instance.batch([FakeShare()])])
    refused: list[str] = []

    async def booked() -> tuple[int, int, int]:
        async with acquired(pool) as connection:
            row = await connection.fetchrow(
                """
                SELECT next_offset, booked_time_ms,
                       (SELECT coalesce(sum(work), 0)::bigint FROM shares.pool_slice) AS work
                FROM shares.position WHERE topic = 'shares'
                """
            )
        return (0, 0, 0) if row is None else tuple(row)

    async def is_booked() -> bool:
        next_offset, _, work = await booked()
        return next_offset == 1 and work > 0

    async with running(consumer.run):
        await eventually(is_booked, timeout_s=30, what="the share")
        _, _, work = await booked()
        forgotten_ms = 1
        async with acquired(pool) as connection, connection.transaction():
            # Nothing but the share's own row says that it was booked.
            await connection.execute("TRUNCATE shares.slice, shares.pool_slice, shares.instance CASCADE")
            await connection.execute(
                "UPDATE shares.position SET next_offset = 0, booked_time_ms = $1 WHERE topic = 'shares'", forgotten_ms
            )

        async def is_booked_again() -> bool:
            next_offset, booked_time_ms, found = await booked()
            if next_offset == 0 and booked_time_ms > forgotten_ms:
                refused.append("counts as booked without the share")
            return (next_offset, found) == (1, work)

        await eventually(is_booked_again, timeout_s=30, what="the share, again")
    assert refused == []
    await log.close()
