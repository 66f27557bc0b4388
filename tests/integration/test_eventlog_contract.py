"""What every event log must do; one suite for all implementations.

An implementation comes in with a factory of harnesses (`HARNESSES`): a log server of its own that can be killed, and
any number of EventLog objects on it.
"""

import asyncio
import os
import random
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from runtime.clock import SystemClock
from runtime.eventlog.consumer import consume
from runtime.eventlog.interface import EventLog, EventLogUnavailable, OutRecord, Record, Subscription
from runtime.eventlog.kafka import KafkaEventLog
from runtime.eventlog.positions import POSITION_TABLE, load_position, save_position
from runtime.eventlog.postgres import PostgresEventLog
from runtime.postgres.embedded import EmbeddedPostgres
from runtime.postgres.pool import Pool, acquired, close_pool, open_pool
from runtime.postgres.transactions import transact
from runtime.process import keep_running
from tests.fakes.kafka_cluster import KafkaCluster, quick_settings

TOPIC = "letters"
SCHEMA = "reader"
LIMIT_S = 30.0


class Harness(Protocol):
    """A running event log."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def open(self) -> EventLog:
        """Return a new EventLog, as another process would have it; closed by `stop`."""
        ...

    async def kill_server(self) -> None:
        """Kill the log's server with SIGKILL; it is started again by itself or by `revive`."""
        ...

    async def revive(self) -> None:
        """Return once the server accepts connections again."""
        ...


class PostgresHarness:
    """PostgreSQL with fsync on, since it gets killed."""

    def __init__(self, directory: Path) -> None:
        self._server = EmbeddedPostgres(directory, settings={"shared_buffers": "32MB"})
        self._opened: list[tuple[PostgresEventLog, Pool]] = []

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        for log, pool in self._opened:
            await log.close()
            await close_pool(pool)
        await self._server.stop()

    async def open(self) -> EventLog:
        pool = await open_pool(self._server.dsn)
        log = await PostgresEventLog.open(pool)
        self._opened.append((log, pool))
        return log

    async def kill_server(self) -> None:
        pid = self._server.postmaster_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    async def revive(self) -> None:
        await self._server.restart_if_dead()


class KafkaHarness:
    """The session's Kafka broker; a prefix keeps the topics and groups of a test apart from those of others."""

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster
        self._prefix = f"contract.{uuid.uuid4().hex}."
        self._opened: list[KafkaEventLog] = []

    async def start(self) -> None:
        if self._cluster.nodes[0].process is None:
            await self.revive()

    async def stop(self) -> None:
        await asyncio.gather(*(log.close() for log in self._opened))

    async def open(self) -> EventLog:
        log = KafkaEventLog(quick_settings(self._cluster, prefix=self._prefix))
        self._opened.append(log)
        return log

    async def kill_server(self) -> None:
        self._cluster.kill(self._cluster.nodes[0])

    async def revive(self) -> None:
        await self._cluster.restart(self._cluster.nodes[0])


HARNESSES: dict[str, Callable[[pytest.FixtureRequest], Harness]] = {
    "kafka": lambda request: KafkaHarness(request.getfixturevalue("kafka_server")),
    "postgres": lambda request: PostgresHarness(request.getfixturevalue("short_dir")),
}


@pytest.fixture(params=sorted(HARNESSES))
def new_harness(request: pytest.FixtureRequest) -> Harness:
    return HARNESSES[request.param](request)


@pytest.fixture
async def harness(new_harness: Harness) -> AsyncIterator[Harness]:
    await new_harness.start()
    yield new_harness
    await new_harness.stop()


@pytest.fixture
async def books(database) -> Pool:
    """The consumer's own database: its position and its effects."""
    async with acquired(database.pool) as connection:
        await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        await connection.execute(POSITION_TABLE.format(schema=SCHEMA))
        await connection.execute(f"CREATE TABLE {SCHEMA}.effect (place bigserial, log_offset bigint, payload bytea)")
    return database.pool


def letters(*texts: str, key: bytes = b"k") -> list[OutRecord]:
    return [OutRecord(key=key, payload=text.encode()) for text in texts]


async def from_start(_partition: int) -> int:
    return 0


async def read(subscription: Subscription, count: int, *, records_max: int = 100) -> list[Record]:
    """Poll until `count` records are there; the log may be away meanwhile."""
    records: list[Record] = []
    async with asyncio.timeout(LIMIT_S):
        while len(records) < count:
            try:
                records += await subscription.poll(records_max=records_max, timeout_s=1)
            except EventLogUnavailable:
                await asyncio.sleep(0.01)
    return records


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not await condition():
            await asyncio.sleep(0.01)


async def store(connection, records: Sequence[Record]) -> None:
    rows = [(record.offset, record.payload) for record in records]
    await connection.executemany(f"INSERT INTO {SCHEMA}.effect (log_offset, payload) VALUES ($1, $2)", rows)


async def effects(pool: Pool) -> list[bytes]:
    async with acquired(pool) as connection:
        return [row["payload"] for row in await connection.fetch(f"SELECT payload FROM {SCHEMA}.effect ORDER BY place")]


async def test_a_record_comes_out_as_it_went_in(harness: Harness) -> None:
    log = await harness.open()
    await log.publish(TOPIC, [OutRecord(key=b"key\x00", payload=b"\x00\xffpayload")])
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    (record,) = await read(subscription, 1)
    assert (record.topic, record.key, record.payload) == (TOPIC, b"key\x00", b"\x00\xffpayload")
    assert abs(record.append_time_ms - SystemClock().now_ms()) < 60_000


async def test_records_of_a_key_stay_in_order_and_offsets_grow(harness: Harness) -> None:
    log = await harness.open()
    for start in range(0, 300, 30):
        await log.publish(TOPIC, letters(*(str(number) for number in range(start, start + 30))))
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    records = await read(subscription, 300, records_max=37)
    assert [int(record.payload) for record in records] == list(range(300))
    offsets = [record.offset for record in records]
    assert offsets == sorted(set(offsets))


async def test_a_poll_returns_at_most_what_was_asked_for(harness: Harness) -> None:
    log = await harness.open()
    await log.publish(TOPIC, letters(*"abcdefgh"))
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    assert len(await subscription.poll(records_max=3, timeout_s=5)) == 3


async def test_a_poll_without_news_returns_empty_after_its_timeout(harness: Harness) -> None:
    log = await harness.open()
    await log.publish(TOPIC, letters("only"))
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    await read(subscription, 1)
    start_s = asyncio.get_running_loop().time()
    assert list(await subscription.poll(records_max=10, timeout_s=0.3)) == []
    assert 0.25 <= asyncio.get_running_loop().time() - start_s < 5


async def test_a_waiting_poll_is_woken_by_a_publish_of_another_process(harness: Harness) -> None:
    log, other = await harness.open(), await harness.open()
    await log.publish(TOPIC, letters("first"))
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    await read(subscription, 1)
    waiting = asyncio.create_task(subscription.poll(records_max=10, timeout_s=LIMIT_S))
    await other.publish(TOPIC, letters("news"))
    (record,) = await waiting
    assert record.payload == b"news"


async def test_a_closed_subscription_ends_its_waiting_poll(harness: Harness) -> None:
    log = await harness.open()
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    waiting = asyncio.create_task(subscription.poll(records_max=10, timeout_s=LIMIT_S))
    await asyncio.sleep(0)
    await subscription.close()
    async with asyncio.timeout(LIMIT_S / 2):
        assert list(await waiting) == []


async def test_publishing_nothing_does_nothing(harness: Harness) -> None:
    log = await harness.open()
    await log.publish(TOPIC, [])
    await log.publish(TOPIC, letters("one"))
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    assert len(await read(subscription, 1)) == 1


async def test_topics_are_apart(harness: Harness) -> None:
    log = await harness.open()
    await log.publish("one", letters("1"))
    await log.publish("two", letters("2"))
    for topic, payload in (("one", b"1"), ("two", b"2")):
        subscription = await log.subscribe(topic, group="g", load_position=from_start)
        assert [record.payload for record in await read(subscription, 1)] == [payload]


async def test_concurrent_publishers_lose_and_reorder_nothing_for_a_reader_that_never_looks_back(
    harness: Harness,
) -> None:
    """D3: a position says what was read only if nothing becomes visible below it later."""
    publisher_count, batch_count = 4, 40
    reader = await harness.open()
    subscription = await reader.subscribe(TOPIC, group="g", load_position=from_start)
    randomness = random.Random(7)
    batches = [[randomness.randint(1, 5) for _ in range(batch_count)] for _ in range(publisher_count)]

    async def publisher(name: int) -> None:
        log = await harness.open()
        number = 0
        for size in batches[name]:
            await log.publish(TOPIC, letters(*(f"{name}:{number + i}" for i in range(size)), key=str(name).encode()))
            number += size

    expected_count = sum(map(sum, batches))
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read(subscription, expected_count, records_max=7))
        for name in range(publisher_count):
            group.create_task(publisher(name))
    records = reading.result()
    assert len(records) == expected_count
    seen: dict[str, list[int]] = {}
    for record in records:
        name, number = record.payload.decode().split(":")
        seen.setdefault(name, []).append(int(number))
    assert seen == {str(name): list(range(sum(batches[name]))) for name in range(publisher_count)}
    for partition in {record.partition for record in records}:
        offsets = [record.offset for record in records if record.partition == partition]
        assert offsets == sorted(set(offsets))


async def test_big_payloads_pass(harness: Harness) -> None:
    log = await harness.open()
    payloads = [random.Random(seed).randbytes(1_000_000) for seed in range(20)]
    for payload in payloads:
        await log.publish(TOPIC, [OutRecord(key=b"k", payload=payload)])
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    assert [record.payload for record in await read(subscription, 20)] == payloads


async def test_rewind_reads_again_from_the_saved_position(harness: Harness, books: Pool) -> None:
    """D3: after a failed transaction the same records come again."""
    log = await harness.open()
    await log.publish(TOPIC, letters(*"abcd"))

    async def saved(partition: int) -> int:
        async with acquired(books) as connection:
            return await load_position(connection, SCHEMA, topic=TOPIC, partition=partition)

    subscription = await log.subscribe(TOPIC, group="g", load_position=saved)
    (first,) = await subscription.poll(records_max=1, timeout_s=10)

    async def save(connection) -> None:
        await save_position(connection, SCHEMA, topic=TOPIC, partition=first.partition, next_offset=first.offset + 1)

    await transact(books, save)
    assert [record.payload for record in await read(subscription, 3)] == [b"b", b"c", b"d"]
    await subscription.rewind()
    assert [record.payload for record in await read(subscription, 3)] == [b"b", b"c", b"d"]


async def test_a_consumer_that_fails_and_restarts_applies_each_record_once(harness: Harness, books: Pool) -> None:
    """D3: position and effects are one transaction; what is replayed changes nothing."""
    log = await harness.open()
    failures = iter([False, True, False, True, True, False, False, True])

    async def apply(connection, records: Sequence[Record]) -> None:
        await store(connection, records)
        if next(failures, False):
            raise RuntimeError("after the effects, before the commit")

    async def consumer() -> None:
        await consume(log, books, topic=TOPIC, group="g", schema=SCHEMA, apply=apply, records_max=5)

    task = asyncio.create_task(keep_running("reader", consumer, clock=SystemClock(), backoff_s_min=0.01))
    expected = [str(number).encode() for number in range(60)]
    for start in range(0, 60, 6):
        await log.publish(TOPIC, [OutRecord(key=b"k", payload=payload) for payload in expected[start : start + 6]])

    async def all_there() -> bool:
        return len(await effects(books)) >= 60

    await until(all_there)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await effects(books) == expected


async def test_two_consumers_of_one_group_apply_each_record_once(harness: Harness, books: Pool) -> None:
    """D3: the row of the position is held during the transaction."""
    logs = [await harness.open(), await harness.open()]

    def consumer(log: EventLog) -> Callable[[], Awaitable[None]]:
        return lambda: consume(log, books, topic=TOPIC, group="g", schema=SCHEMA, apply=store, records_max=7)

    tasks = [
        asyncio.create_task(keep_running("reader", consumer(log), clock=SystemClock(), backoff_s_min=0.01))
        for log in logs
    ]
    expected = [str(number).encode() for number in range(200)]
    for start in range(0, 200, 10):
        await logs[0].publish(TOPIC, [OutRecord(key=b"k", payload=payload) for payload in expected[start : start + 10]])

    async def all_there() -> bool:
        return len(await effects(books)) >= 200

    await until(all_there)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await effects(books) == expected


async def test_a_killed_server_loses_no_acknowledged_record_and_everyone_goes_on(harness: Harness, books: Pool) -> None:
    """D1, D3: kill -9 under load; acknowledged means there, and each stored record takes effect once, in order."""
    publisher, reader = await harness.open(), await harness.open()
    acknowledged: list[bytes] = []
    unavailable_count = 0

    async def consumer() -> None:
        await consume(reader, books, topic=TOPIC, group="g", schema=SCHEMA, apply=store, records_max=20)

    async def publish_for_ever() -> None:
        nonlocal unavailable_count
        number = 0
        while True:
            payload = str(number).encode()
            try:
                await publisher.publish(TOPIC, [OutRecord(key=b"k", payload=payload)])
            except EventLogUnavailable:
                unavailable_count += 1
                await asyncio.sleep(0.01)
            else:
                acknowledged.append(payload)
                number += 1

    reading = asyncio.create_task(keep_running("reader", consumer, clock=SystemClock(), backoff_s_min=0.01))
    writing = asyncio.create_task(publish_for_ever())
    for _ in range(3):
        count_before = len(acknowledged)

        async def has_progressed(count_before: int = count_before) -> bool:
            return len(acknowledged) > count_before + 50

        await until(has_progressed)
        failures_before = unavailable_count
        await harness.kill_server()

        async def has_noticed(failures_before: int = failures_before) -> bool:
            return unavailable_count > failures_before

        await until(has_noticed)
        await harness.revive()
    count_before = len(acknowledged)

    async def goes_on() -> bool:
        return len(acknowledged) > count_before + 50

    await until(goes_on)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    end = b"end"
    await publisher.publish(TOPIC, [OutRecord(key=b"k", payload=end)])

    async def end_applied() -> bool:
        return end in await effects(books)

    await until(end_applied)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    async with acquired(books) as connection:
        rows = await connection.fetch(f"SELECT log_offset, payload FROM {SCHEMA}.effect ORDER BY place")
    offsets = [row["log_offset"] for row in rows]
    assert offsets == sorted(set(offsets)), "each record once, in order"
    distinct = list(dict.fromkeys(row["payload"] for row in rows))
    # At most one publish was under way when the writer was stopped: it may be there without an acknowledgement.
    assert distinct[: len(acknowledged)] == acknowledged
    assert len(distinct) <= len(acknowledged) + 2


async def test_a_log_that_is_away_says_so_to_publishers_and_readers(harness: Harness) -> None:
    log = await harness.open()
    await log.publish(TOPIC, letters("before"))
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    await harness.kill_server()

    async def publishing_fails() -> bool:
        try:
            await log.publish(TOPIC, letters("maybe"))
        except EventLogUnavailable:
            return True
        return False

    await until(publishing_fails)
    with pytest.raises(EventLogUnavailable):
        await subscription.poll(records_max=10, timeout_s=5)
    await harness.revive()
    records = await read(subscription, 1)
    assert records[0].payload == b"before"


def read_up_to(progress: Mapping[int, int], time_ms: int) -> bool:
    """Tell whether everything published before a time was read, in all partitions that are read."""
    return bool(progress) and min(progress.values()) >= time_ms


async def test_progress_reaches_now_in_every_partition_also_where_nothing_is_published(harness: Harness) -> None:
    """R3: a window waits for all partitions; one without records must not hold it up."""
    log, clock = await harness.open(), SystemClock()
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    count = await log.partition_count(TOPIC)

    async def reaches_now() -> bool:
        time_ms = clock.now_ms()
        await subscription.poll(records_max=10, timeout_s=0.05)
        await asyncio.sleep(0.002)
        progress = await subscription.progress()
        assert all(read_ms <= clock.now_ms() for read_ms in progress.values())
        return set(progress) == set(range(count)) and read_up_to(progress, time_ms)

    await until(reaches_now)
    await log.publish(TOPIC, letters("a"))
    assert len(await read(subscription, 1)) == 1
    await until(reaches_now)


async def test_progress_never_passes_a_published_record_that_was_not_polled(harness: Harness) -> None:
    """R3: what is told as read must have been returned."""
    log, clock = await harness.open(), SystemClock()
    await log.publish(TOPIC, letters("first"))
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    (first,) = await read(subscription, 1)
    await asyncio.sleep(0.002)
    before_ms = clock.now_ms()
    await log.publish(TOPIC, letters("second", "third"))
    after_ms = clock.now_ms() + 2
    for _ in range(3):
        assert not (await subscription.progress()).get(first.partition, 0) >= after_ms
    (second,) = await read(subscription, 1, records_max=1)
    progress = await subscription.progress()
    assert first.append_time_ms <= progress[first.partition] <= second.append_time_ms + 1
    assert second.append_time_ms + 1 >= before_ms
    await read(subscription, 1)
    await asyncio.sleep(0.005)
    assert (await subscription.progress())[first.partition] >= after_ms


async def test_progress_says_nothing_before_the_position_is_loaded_and_after_a_rewind(harness: Harness) -> None:
    """D3: after a failed transaction what was polled is not in effect."""
    log = await harness.open()
    await log.publish(TOPIC, letters("a"))
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    assert await subscription.progress() == {}
    (record,) = await read(subscription, 1)
    assert record.partition in await subscription.progress()
    await subscription.rewind()
    assert await subscription.progress() == {}
    await read(subscription, 1)
    assert record.partition in await subscription.progress()
    await subscription.close()
    assert await subscription.progress() == {}


async def test_progress_of_a_log_that_is_away_is_unknown_and_goes_on_afterwards(harness: Harness) -> None:
    """D3, R3: an outage is never taken for an idle stream."""
    log, clock = await harness.open(), SystemClock()
    await log.publish(TOPIC, letters("before"))
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    await read(subscription, 1)
    await harness.kill_server()

    async def publishing_fails() -> bool:
        try:
            await log.publish(TOPIC, letters("maybe"))
        except EventLogUnavailable:
            return True
        return False

    await until(publishing_fails)
    killed_ms = clock.now_ms()

    async def asked() -> Mapping[int, int]:
        try:
            await subscription.poll(records_max=10, timeout_s=0.1)
            return await subscription.progress()
        except EventLogUnavailable:
            return {}

    with pytest.raises(EventLogUnavailable):
        await subscription.progress()
    assert not read_up_to(await asked(), killed_ms)
    await harness.revive()

    async def has_caught_up() -> bool:
        return read_up_to(await asked(), killed_ms)

    await until(has_caught_up)


async def test_a_topic_tells_its_number_of_partitions(harness: Harness) -> None:
    log = await harness.open()
    count = await log.partition_count(TOPIC)
    assert count >= 1
    await log.publish(TOPIC, letters("a"))
    subscription = await log.subscribe(TOPIC, group="g", load_position=from_start)
    (record,) = await read(subscription, 1)
    assert 0 <= record.partition < count
