"""Positions belong to a log: nothing is read, skipped or published in another one."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence

import pytest

from runtime.eventlog.bound import (
    BoundEventLog,
    NotReadToItsEnd,
    OtherEventLog,
    bind,
    current,
    give_up,
    leave,
    was_left,
)
from runtime.eventlog.consumer import apply_batch, consume
from runtime.eventlog.interface import EventLogUnavailable, OutRecord, Record
from runtime.eventlog.kafka import KafkaEventLog
from runtime.eventlog.positions import POSITION_TABLE
from runtime.eventlog.postgres import POSTGRES, PostgresEventLog
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.postgres.transactions import transact
from tests.conftest import TestDatabase
from tests.fakes.kafka_cluster import KafkaCluster, quick_settings
from tests.fakes.waiting import eventually

TOPIC = "letters"
READERS = {TOPIC: ("reader",)}
LIMIT_S = 40.0


@pytest.fixture
async def pool(database: TestDatabase) -> Pool:
    async with acquired(database.pool) as connection:
        await connection.execute("CREATE SCHEMA reader")
        await connection.execute(POSITION_TABLE.format(schema="reader"))
        await connection.execute("CREATE TABLE reader.seen (payload bytea NOT NULL)")
    return database.pool


@pytest.fixture
async def kafka(kafka_server: KafkaCluster) -> AsyncIterator[KafkaEventLog]:
    log = KafkaEventLog(quick_settings(kafka_server, prefix=f"bound.{uuid.uuid4().hex}.", partitions=2))
    yield log
    await log.close()


async def write(connection: Connection, records: Sequence[Record]) -> None:
    await connection.executemany("INSERT INTO reader.seen VALUES ($1)", [(record.payload,) for record in records])


async def seen(pool: Pool) -> list[str]:
    async with acquired(pool) as connection:
        return sorted(bytes(row[0]).decode() for row in await connection.fetch("SELECT payload FROM reader.seen"))


def letters(*texts: str) -> list[OutRecord]:
    return [OutRecord(key=text.encode(), payload=text.encode()) for text in texts]


@contextlib.asynccontextmanager
async def reading(log: BoundEventLog, pool: Pool) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(consume(log, pool, topic=TOPIC, group="g", schema="reader", apply=write))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def read_until(log: BoundEventLog, pool: Pool, expected: list[str]) -> None:
    async def is_there() -> bool:
        return await seen(pool) == expected

    async with reading(log, pool):
        await eventually(is_there, timeout_s=LIMIT_S, what="the letters")


async def test_another_log_is_refused_and_after_leaving_the_new_one_is_read_from_its_first_record(
    pool: Pool, kafka: KafkaEventLog
) -> None:
    """D3: the new log is longer than the old one; read on at the old offset, its first records would be skipped."""
    old = await PostgresEventLog.open(pool)
    await old.publish(TOPIC, letters("a", "b", "c"))
    await read_until(BoundEventLog(old, pool), pool, ["a", "b", "c"])
    new = BoundEventLog(kafka, pool)
    await kafka.publish(TOPIC, letters(*"defghijklmnop"))

    for use in (new.bind(), new.publish(TOPIC, letters("x")), new.partition_count(TOPIC)):
        with pytest.raises(OtherEventLog, match="eventlog switch"):
            await use
    async with reading(new, pool) as task:
        with pytest.raises(OtherEventLog):
            await asyncio.wait_for(task, LIMIT_S)
    assert await seen(pool) == ["a", "b", "c"]

    assert await leave(pool, old, READERS) == {TOPIC: 3}
    await read_until(new, pool, list("abcdefghijklmnop"))
    async with acquired(pool) as connection:
        assert (await current(connection)).startswith("kafka:")
        assert await was_left(connection)
    await old.close()


async def test_a_log_that_is_not_read_to_its_end_is_not_left(pool: Pool) -> None:
    """D3."""
    log = await PostgresEventLog.open(pool)
    await bind(pool, POSTGRES)
    await log.publish(TOPIC, letters("a"))
    with pytest.raises(NotReadToItsEnd, match="reader is at 0 of 1 in letters/0"):
        await leave(pool, log, READERS)
    await read_until(BoundEventLog(log, pool), pool, ["a"])
    await log.publish(TOPIC, letters("b"))
    with pytest.raises(NotReadToItsEnd, match="reader is at 1 of 2"):
        await leave(pool, log, {})
    await read_until(BoundEventLog(log, pool), pool, ["a", "b"])
    assert await leave(pool, log, READERS) == {TOPIC: 2}
    await log.close()


async def test_whoever_still_runs_on_a_log_that_was_left_moves_nothing_and_publishes_nothing(pool: Pool) -> None:
    """D3: a process with an old configuration cannot move the positions of the next log, nor lose a record."""
    log = await PostgresEventLog.open(pool)
    bound = BoundEventLog(log, pool)
    await bound.bind()
    await log.publish(TOPIC, letters("a"))
    await read_until(bound, pool, ["a"])

    async def load(_partition: int) -> int:
        return 0

    subscription = await bound.subscribe(TOPIC, group="g", load_position=load)
    late = await subscription.poll(records_max=10, timeout_s=LIMIT_S)
    assert [record.payload for record in late] == [b"a"]
    await leave(pool, log, READERS)
    with pytest.raises(OtherEventLog):
        await subscription.progress()
    with pytest.raises(OtherEventLog):
        await apply_batch(pool, schema="reader", records=late, apply=write)
    for publisher in (log, bound):
        with pytest.raises((EventLogUnavailable, OtherEventLog)):
            await publisher.publish(TOPIC, letters("lost"))
        if publisher is log:
            await bind(pool, "kafka:another/")
    async with acquired(pool) as connection:
        assert await connection.fetchval("SELECT count(*) FROM eventlog.record") == 1
        assert await connection.fetchval("SELECT count(*) FROM reader.position") == 0
    assert await seen(pool) == ["a"]
    await log.close()


async def test_an_effect_under_way_is_waited_for_before_a_log_is_left(pool: Pool) -> None:
    """D3: leaving and the transaction of an effect come one after the other, whichever is first."""
    log = await PostgresEventLog.open(pool)
    bound = BoundEventLog(log, pool)
    await bound.bind()
    await log.publish(TOPIC, letters("a"))
    (record,) = await log.read(TOPIC, next_offset=0, records_max=1)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection, records: Sequence[Record]) -> None:
        begun.set()
        await go_on.wait()
        await write(connection, records)

    effect = asyncio.create_task(apply_batch(pool, schema="reader", records=[record.of(POSTGRES)], apply=slow))
    await asyncio.wait_for(begun.wait(), LIMIT_S)
    leaving = asyncio.create_task(leave(pool, log, READERS))

    async def is_waiting() -> bool:
        async with acquired(pool) as connection:
            query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            return int(await connection.fetchval(query)) > 0

    await eventually(is_waiting, timeout_s=LIMIT_S, what="a wait for the effect")
    go_on.set()
    assert len(await effect) == 1
    assert await leaving == {TOPIC: 1}
    assert await seen(pool) == ["a"]
    await log.close()


async def test_who_comes_back_to_a_log_goes_on_where_it_was_left(pool: Pool, kafka: KafkaEventLog) -> None:
    """D3: nothing of it is booked a second time."""
    old = await PostgresEventLog.open(pool)
    first, second = BoundEventLog(old, pool), BoundEventLog(kafka, pool)
    await first.publish(TOPIC, letters("a", "b"))
    await read_until(first, pool, ["a", "b"])
    await leave(pool, old, READERS)
    await second.publish(TOPIC, letters("c"))
    await read_until(second, pool, ["a", "b", "c"])
    await leave(pool, kafka, READERS)
    again = BoundEventLog(old, pool)
    await again.publish(TOPIC, letters("d"))
    await read_until(again, pool, ["a", "b", "c", "d"])
    await old.close()


async def test_a_log_that_is_lost_is_given_up_by_its_name_only(pool: Pool, kafka: KafkaEventLog) -> None:
    """D3: nobody leaves unread records behind by mistake; what was read is told."""
    lost = BoundEventLog(kafka, pool)
    await lost.publish(TOPIC, letters("a", "b"))
    await read_until(lost, pool, ["a", "b"])
    async with acquired(pool) as connection:
        name = await current(connection)
    with pytest.raises(OtherEventLog):
        await give_up(pool, POSTGRES)
    positions = await give_up(pool, name)
    assert {schema for schema, _, _ in positions} == {"reader"}
    assert sum(positions.values()) == 2
    log = await PostgresEventLog.open(pool)
    new = BoundEventLog(log, pool)
    await new.publish(TOPIC, letters("c"))
    await read_until(new, pool, ["a", "b", "c"])
    await log.close()


async def test_several_that_start_at_once_agree_on_one_log(pool: Pool) -> None:
    """The first one's log is it; the others are refused."""
    log = await PostgresEventLog.open(pool)
    results = await asyncio.gather(
        *(bind(pool, name) for name in ("kafka:1/", "kafka:2/", "kafka:1/", "kafka:2/")), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, OtherEventLog)]
    assert len(refused) == 2
    assert {result.log for result in refused} != {result.bound for result in refused}

    async def again(connection: Connection) -> str:
        return await current(connection)

    assert await transact(pool, again) == refused[0].bound
    await log.close()
