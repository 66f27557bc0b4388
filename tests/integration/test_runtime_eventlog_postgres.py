"""What only the event log on PostgreSQL does: pruning, bounded reads, waking without notifications."""

import asyncio
from datetime import timedelta

import pytest

from runtime.eventlog.interface import OutRecord
from runtime.eventlog.positions import POSITION_TABLE, PositionMoved, load_position, save_position
from runtime.eventlog.postgres import PostgresEventLog
from runtime.postgres.pool import acquired


async def from_start(_partition: int) -> int:
    return 0


@pytest.fixture
async def log(database):
    log = await PostgresEventLog.open(database.pool)
    yield log
    await log.close()


async def publish(log: PostgresEventLog, count: int, *, payload: bytes = b"x") -> None:
    await log.publish("t", [OutRecord(key=b"k", payload=payload)] * count)


async def test_pruning_spares_what_is_young_and_what_somebody_has_still_to_read(log: PostgresEventLog) -> None:
    await publish(log, 2500)
    assert await log.prune("t", keep=timedelta(hours=1), below_offset=2500) == 0
    assert await log.prune("t", keep=timedelta(0), below_offset=2400) == 2400
    left = await log.read("t", next_offset=0, records_max=1000)
    assert [record.offset for record in left] == list(range(2400, 2500))


async def test_offsets_go_on_after_everything_was_pruned(log: PostgresEventLog) -> None:
    await publish(log, 3)
    await log.prune("t", keep=timedelta(0), below_offset=3)
    await publish(log, 1)
    (record,) = await log.read("t", next_offset=0, records_max=10)
    assert record.offset == 3


async def test_a_read_is_bounded_in_bytes_and_always_gives_at_least_one_record(log: PostgresEventLog) -> None:
    for _ in range(3):
        await publish(log, 10, payload=bytes(1_000_000))
    sizes = []
    next_offset = 0
    while records := await log.read("t", next_offset=next_offset, records_max=1000):
        sizes.append(len(records))
        next_offset = records[-1].offset + 1
    assert sizes == [17, 13]


async def test_a_reader_whose_listener_was_cut_still_gets_the_news(log: PostgresEventLog, database) -> None:
    await publish(log, 1)
    subscription = await log.subscribe("t", group="g", load_position=from_start)
    assert len(await subscription.poll(records_max=10, timeout_s=5)) == 1
    waiting = asyncio.create_task(subscription.poll(records_max=10, timeout_s=10))
    await database.pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
    )
    await publish(log, 1)
    (record,) = await waiting
    assert record.offset == 1


async def test_a_position_never_goes_back(database) -> None:
    """D3: a second consumer that is behind cannot save over the one that is ahead."""
    async with acquired(database.pool) as connection:
        await connection.execute("CREATE SCHEMA reader")
        await connection.execute(POSITION_TABLE.format(schema="reader"))
        place = {"topic": "t", "partition": 0}
        assert await load_position(connection, "reader", **place) == 0
        await save_position(connection, "reader", **place, next_offset=7)
        with pytest.raises(PositionMoved):
            await save_position(connection, "reader", **place, next_offset=6)
        assert await load_position(connection, "reader", **place) == 7
