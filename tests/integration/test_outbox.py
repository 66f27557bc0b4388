"""The transactional outbox on real PostgreSQL, with a log that fails as logs do."""

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from runtime.clock import SystemClock
from runtime.eventlog.interface import EventLogUnavailable, OutRecord
from runtime.eventlog.kafka import KafkaEventLog
from runtime.outbox import BATCH_RECORDS_MAX, OUTBOX_TABLE, OutboxPublisher, put, read_waiting
from runtime.postgres.pool import Pool, acquired
from runtime.process import keep_running
from tests.fakes.kafka_cluster import quick_settings
from tests.fakes.waiting import eventually

SCHEMA, TOPIC = "service", "letters"


class Crash(Exception):
    """Raised in place of the process's end."""


class FaultyLog:
    """The real log; `fails` are raised one after another, before or after the publish."""

    def __init__(self, log) -> None:
        self.log = log
        self.is_away = False
        self.crashes_after = 0

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        if self.is_away:
            raise EventLogUnavailable("away")
        await self.log.publish(topic, records)
        if self.crashes_after:
            self.crashes_after -= 1
            raise Crash


@pytest.fixture
async def pool(database) -> Pool:
    async with acquired(database.pool) as connection:
        await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        await connection.execute(OUTBOX_TABLE.format(schema=SCHEMA))
    return database.pool


@pytest.fixture
def log(platform) -> FaultyLog:
    return FaultyLog(platform.eventlog)


def publisher(pool: Pool, log) -> OutboxPublisher:
    return OutboxPublisher(pool, log, SCHEMA, SystemClock())


def letters(*texts: str, key: str = "k") -> list[OutRecord]:
    return [OutRecord(key=key.encode(), payload=text.encode()) for text in texts]


async def put_all(pool: Pool, records: Sequence[OutRecord]) -> None:
    async with acquired(pool) as connection, connection.transaction():
        await put(connection, SCHEMA, TOPIC, records)


async def published(pool: Pool) -> list[tuple[str, str]]:
    query = "SELECT key, payload FROM eventlog.record WHERE topic = $1 ORDER BY log_offset"
    return [(row["key"].decode(), row["payload"].decode()) for row in await pool.fetch(query, TOPIC)]


async def waiting_count(pool: Pool) -> int:
    async with acquired(pool) as connection:
        return (await read_waiting(connection, SCHEMA)).record_count


@contextlib.asynccontextmanager
async def running(*publishers: OutboxPublisher) -> AsyncIterator[None]:
    clock = SystemClock()
    tasks = [asyncio.create_task(keep_running("outbox", entry.run, clock=clock)) for entry in publishers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_is_committed_is_published_in_order_and_what_is_rolled_back_is_not(pool, log):
    await put_all(pool, letters("a", "b"))
    async with acquired(pool) as connection:
        with contextlib.suppress(Crash):
            async with connection.transaction():
                await put(connection, SCHEMA, TOPIC, letters("never"))
                raise Crash
    await put_all(pool, letters("c"))
    assert await publisher(pool, log).publish_batch() == 3
    assert [payload for _, payload in await published(pool)] == ["a", "b", "c"]
    assert await waiting_count(pool) == 0


async def test_crash_between_publish_and_delete_publishes_again_and_loses_nothing(pool, log):
    await put_all(pool, letters("a", "b"))
    log.crashes_after = 1
    with pytest.raises(Crash):
        await publisher(pool, log).publish_batch()
    assert await waiting_count(pool) == 2
    await put_all(pool, letters("c"))
    assert await publisher(pool, log).publish_batch() == 3
    assert [payload for _, payload in await published(pool)] == ["a", "b", "a", "b", "c"]


async def test_log_that_is_away_is_waited_for(pool, log):
    log.is_away = True
    found = publisher(pool, log)
    async with running(found):
        await put_all(pool, letters("a"))
        found.wake()
        assert await waiting_count(pool) == 1
        log.is_away = False

        async def is_empty() -> bool:
            return await waiting_count(pool) == 0

        await eventually(is_empty, what="an empty outbox")
    assert await published(pool) == [("k", "a")]


async def test_processes_at_once_keep_the_order_of_each_key_and_publish_each_record_once(pool, log):
    keys = [f"k{number}" for number in range(7)]
    async with running(*(publisher(pool, log) for _ in range(3))):
        for start in range(0, 3 * BATCH_RECORDS_MAX, 30):
            numbers = range(start, start + 30)
            await put_all(pool, [r for n in numbers for r in letters(f"{n:06}", key=keys[n % len(keys)])])

        async def is_empty() -> bool:
            return await waiting_count(pool) == 0

        await eventually(is_empty, what="an empty outbox", timeout_s=30)
    found = await published(pool)
    assert set(Counter(found).values()) == {1}
    assert len(found) == 3 * BATCH_RECORDS_MAX
    for key in keys:
        texts = [text for own, text in found if own == key]
        assert texts == sorted(texts)


async def test_lost_session_gives_the_turn_to_another_process(pool, log):
    """A publisher that dies inside its transaction holds nothing up."""
    await put_all(pool, letters("a"))
    reached, forever = asyncio.Event(), asyncio.Event()

    class Stuck:
        async def publish(self, _topic, _records):
            reached.set()
            await forever.wait()

    stuck = asyncio.create_task(publisher(pool, Stuck()).publish_batch())
    await asyncio.wait_for(reached.wait(), 10)
    assert await publisher(pool, log).publish_batch() == 0, "it is another's turn"
    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)
    assert await publisher(pool, log).publish_batch() == 1


async def test_record_that_is_too_big_is_refused_where_it_arises(pool):
    with pytest.raises(asyncpg.CheckViolationError):
        await put_all(pool, letters("x" * 65_537))


async def test_kafka_keeps_the_order_of_each_key_across_processes_and_a_crash(pool, kafka_server):
    """A crash in between repeats records; the first time of each is in order."""
    settings = quick_settings(kafka_server, prefix=f"outbox.{uuid.uuid4().hex}.")
    kafka = KafkaEventLog(settings)
    crashing = FaultyLog(kafka)
    crashing.crashes_after = 1
    keys = [f"k{number}" for number in range(5)]
    try:
        await put_all(pool, [r for n in range(30) for r in letters(f"{n:06}", key=keys[n % len(keys)])])
        while crashing.crashes_after:
            # A broker that has just started may need longer than these settings allow.
            with contextlib.suppress(Crash, EventLogUnavailable):
                await publisher(pool, crashing).publish_batch()
        assert await waiting_count(pool) == 30
        async with running(publisher(pool, kafka), publisher(pool, kafka)):
            for start in range(30, 120, 30):
                numbers = range(start, start + 30)
                await put_all(pool, [r for n in numbers for r in letters(f"{n:06}", key=keys[n % len(keys)])])

            async def is_empty() -> bool:
                return await waiting_count(pool) == 0

            await eventually(is_empty, what="an empty outbox", timeout_s=60)
        found = await read_kafka(kafka, 120)
    finally:
        await kafka.close()
    for key in keys:
        texts = list(dict.fromkeys(text for own, text in found if own == key))
        assert texts == sorted(texts)
        assert len(texts) == 24


async def read_kafka(kafka: KafkaEventLog, distinct_count: int) -> list[tuple[str, str]]:
    async def from_start(_partition: int) -> int:
        return 0

    subscription = await kafka.subscribe(TOPIC, group="reader", load_position=from_start)
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(60):
        while len(set(found)) < distinct_count:
            records = await subscription.poll(records_max=1000, timeout_s=1)
            found += [(record.key.decode(), record.payload.decode()) for record in records]
    await subscription.close()
    return found
