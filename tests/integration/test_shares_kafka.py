"""The share stream over several partitions and consumers, on a real Kafka and a real PostgreSQL."""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from miners import storage as miner_storage
from miners.consumer import MinerConsumer
from miners.metrics import Counters as MinerCounters
from runtime.clock import Clock, SystemClock
from runtime.eventlog.interface import EventLog, OutRecord
from runtime.eventlog.kafka import KafkaEventLog
from runtime.eventlog.kafka_publisher import partition_of
from runtime.eventlog.kafka_settings import KafkaSettings
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import Connection, Pool
from runtime.postgres.transactions import transact
from runtime.process import keep_running
from shares import storage
from shares.audit import audit
from shares.consumer import ShareConsumer
from shares.errors import WindowNotReady
from shares.metrics import Counters
from shares.window import WaitRules, Window, WindowKind, WindowRequest
from shares.window_storage import fix_window
from tests.fakes.kafka_cluster import KafkaCluster, quick_settings
from tests.fakes.share_stream import FakeInstance, FakeShare
from tests.fakes.skewed_clock import SkewedClock
from tests.fakes.waiting import eventually

COIN = "litecoin-regtest"
LIMIT_S = 40.0
SKEW_MS_MAX = 2000


@pytest.fixture
def settings(kafka_server: KafkaCluster) -> KafkaSettings:
    assert kafka_server.nodes[0].process is not None
    return quick_settings(kafka_server, prefix=f"t.{uuid.uuid4().hex}.")


@pytest.fixture
async def log(settings: KafkaSettings) -> AsyncIterator[KafkaEventLog]:
    found = KafkaEventLog(settings)
    yield found
    await found.close()


@pytest.fixture
async def pool(database) -> Pool:
    await migrate(database.pool, schema=storage.SCHEMA, package="shares")
    await migrate(database.pool, schema=miner_storage.SCHEMA, package="miners")
    return database.pool


@contextlib.asynccontextmanager
async def running(name: str, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(keep_running(name, work, clock=SystemClock(), backoff_s_min=0.01))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def share_consumer(
    settings: KafkaSettings, pool: Pool, *, clock: Clock | None = None, records_max: int = 20
) -> AsyncIterator[Counters]:
    """Run a consumer with a connection to Kafka of its own, as another process has it."""
    counters, clock = Counters(), clock or SystemClock()
    eventlog = KafkaEventLog(settings, clock=clock)
    consumer = ShareConsumer(
        pool=pool, eventlog=eventlog, clock=clock, counters=counters, batch_records_max=records_max
    )
    async with running("shares", consumer.run):
        yield counters
    await eventlog.close()


@contextlib.asynccontextmanager
async def miner_consumer(settings: KafkaSettings, pool: Pool) -> AsyncIterator[MinerCounters]:
    counters, eventlog = MinerCounters(), KafkaEventLog(settings)
    consumer = MinerConsumer(pool=pool, eventlog=eventlog, counters=counters, batch_records_max=20)
    async with running("miners", consumer.run):
        yield counters
    await eventlog.close()


def names_by_partition(settings: KafkaSettings, *, count: int = 1) -> list[str]:
    """Return `count` instance names for each partition, partition by partition in turn."""
    partitions = settings.topic.partitions
    found: dict[int, list[str]] = {number: [] for number in range(partitions)}
    number = 0
    while any(len(names) < count for names in found.values()):
        name = f"instance-{number}"
        names = found[partition_of(name.encode(), partitions)]
        if len(names) < count:
            names.append(name)
        number += 1
    return [found[partition][place] for place in range(count) for partition in range(partitions)]


_BOOKED = """
SELECT coalesce(sum(accepted_count + stale_count + duplicate_count + low_difficulty_count + invalid_count), 0)::bigint
FROM shares.instance
"""


async def booked(pool: Pool, share_count: int) -> None:
    async def are_booked() -> bool:
        return await pool.fetchval(_BOOKED) >= share_count

    await eventually(are_booked, timeout_s=LIMIT_S, what=f"{share_count} shares being booked")


async def fixed(pool: Pool, *, found_time_ms: int, end_height: int = 100, skew_ms_max: int = SKEW_MS_MAX) -> Window:
    """Fix a window as soon as it is ready; raises WindowNotReady when it is not."""
    rules = WaitRules(
        window_wait_ms=60_000, instance_dead_ms=30_000, instance_forgotten_ms=3_600_000, clock_skew_ms_max=skew_ms_max
    )
    request = WindowRequest(
        request_id=f"block at {end_height}",
        coin=COIN,
        kind=WindowKind.PPLNS,
        end_height=end_height,
        start_height=0,
        window_work=None,
        found_time_ms=found_time_ms,
    )

    async def work(connection: Connection) -> Window:
        return await fix_window(connection, request, rules=rules, topic="shares")

    return await transact(pool, work)


async def fixed_in_time(pool: Pool, **options: int) -> Window:
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await fixed(pool, **options)
            except WindowNotReady:
                await asyncio.sleep(0.02)


async def assert_books_are_right(pool: Pool, eventlog: EventLog, *, with_stream: bool = True) -> None:
    report = await audit(pool, eventlog if with_stream else None)
    assert report.findings == ()
    if with_stream:
        assert report.compared.get("slices = stream"), report.notes


async def position_rows(pool: Pool) -> dict[int, tuple[int, int]]:
    rows = await pool.fetch("SELECT partition, next_offset, booked_time_ms FROM shares.position WHERE topic = 'shares'")
    return {row["partition"]: (row["next_offset"], row["booked_time_ms"]) for row in rows}


async def test_window_waits_for_a_partition_that_nobody_has_read_and_not_for_ever_for_an_idle_one(
    settings: KafkaSettings, log: KafkaEventLog, pool: Pool
) -> None:
    """R3: every partition has a position before anything is read; one without records does not hold a window up."""
    clock = SystemClock()
    instance = FakeInstance(names_by_partition(settings)[0])
    async with share_consumer(settings, pool):
        await log.publish("shares", [instance.batch([FakeShare(time_ms=clock.now_ms())])])
        await booked(pool, 1)
        assert set(await position_rows(pool)) == set(range(settings.topic.partitions))
        found_ms = clock.now_ms()
        await log.publish("shares", [instance.mark(height=101, time_ms=found_ms)])
        window = await fixed_in_time(pool, found_time_ms=found_ms)
        assert (window.total_work, window.instances_missing) == (1000, ())
    await pool.execute("INSERT INTO shares.position (topic, partition, next_offset) VALUES ('shares', 99, 0)")
    with pytest.raises(WindowNotReady):
        await fixed(pool, found_time_ms=found_ms, end_height=200)


async def test_partitions_that_were_added_get_their_positions_when_the_consumer_starts(
    settings: KafkaSettings, log: KafkaEventLog, pool: Pool
) -> None:
    """R3."""
    await storage.ensure_positions(pool, topic="shares", partition_count=1)  # type: ignore[arg-type]  # has execute
    assert set(await position_rows(pool)) == {0}
    async with share_consumer(settings, pool):
        await eventually(
            lambda: _are_all_booked_to(pool, settings, time_ms=1), timeout_s=LIMIT_S, what="all partitions' progress"
        )


async def _are_all_booked_to(pool: Pool, settings: KafkaSettings, *, time_ms: int) -> bool:
    rows = await position_rows(pool)
    return set(rows) == set(range(settings.topic.partitions)) and all(at >= time_ms for _, at in rows.values())


@pytest.mark.parametrize("seed", [1, 2])
async def test_two_consumers_book_the_same_workers_from_several_partitions_once_and_windows_are_exact(
    settings: KafkaSettings, log: KafkaEventLog, pool: Pool, seed: int
) -> None:
    """D3, D4, R3: same workers in all partitions, batches sent again, members that come and go, a block in between."""
    rng, clock = random.Random(seed), SystemClock()
    instances = [FakeInstance(name) for name in names_by_partition(settings, count=2)]
    expected: dict[int, int] = {}
    deadlocks_before = await pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")

    async def publish_round(height: int) -> int:
        count = 0
        for _ in range(15):
            records: list[OutRecord] = []
            for instance in instances:
                shares = [random_share(rng, height=height, time_ms=clock.now_ms()) for _ in range(20)]
                expected[height] = expected.get(height, 0) + sum(share.work for share in shares)
                count += len(shares)
                record = instance.batch(shares)
                records += [record, record] if rng.random() < 0.3 else [record]
            await log.publish("shares", records)
        return count

    async with share_consumer(settings, pool, records_max=5) as one:
        count = await publish_round(100)
        async with share_consumer(settings, pool, records_max=5) as two:
            found_ms = clock.now_ms()
            await log.publish("shares", [each.mark(height=101, time_ms=found_ms) for each in instances])
            fixing = asyncio.create_task(fixed_in_time(pool, found_time_ms=found_ms))
            while not two.batches_total or not fixing.done():
                count += await publish_round(101)
                assert count < 200_000
            window = await fixing
        await booked(pool, count)
        # The member that has left may have committed its last batch, of 5 records with 20 shares, without counting it.
        assert count - 100 <= one.shares_booked_total + two.shares_booked_total <= count
        assert one.shares_late_total + two.shares_late_total == 0
        assert (window.total_work, window.instances_missing) == (expected[100], ())
        await assert_books_are_right(pool, log)
        row = await pool.fetchrow(
            """
            SELECT best_hash_work, (SELECT max(best_hash_work) FROM shares.slice) AS best,
                (SELECT max(best_hash_work) FROM shares.worker WHERE worker_id = best_worker_id) AS of_worker
            FROM shares.coin
            """
        )
        assert row is not None
        assert row["best_hash_work"] == row["best"] == row["of_worker"]
    deadlocks = await pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks == deadlocks_before


def random_share(rng: random.Random, *, height: int, time_ms: int) -> FakeShare:
    return FakeShare(
        account=f"account{rng.randrange(5)}",
        worker=f"rig{rng.randrange(3)}",
        work=rng.randrange(1, 1 << 40),
        hash_work=rng.randrange(1 << 40, 1 << 62),
        height=height,
        time_ms=time_ms,
    )


async def test_two_miner_consumers_see_new_accounts_at_once_without_failing(
    settings: KafkaSettings, log: KafkaEventLog, pool: Pool
) -> None:
    """D3: the same new accounts and workers come in all partitions at the same moment."""
    clock = SystemClock()
    instances = [FakeInstance(name) for name in names_by_partition(settings, count=2)]
    async with miner_consumer(settings, pool) as one, miner_consumer(settings, pool) as two:
        count = number = 0
        while not one.batches_total or not two.batches_total or number < 40:
            now_ms = clock.now_ms()
            for instance in instances:
                shares = [
                    FakeShare(account=f"new{number}-{index}", worker="rig", time_ms=now_ms) for index in range(10)
                ]
                await log.publish("shares", [instance.batch(shares)])
                count += len(shares)
            number += 1

        def all_seen() -> bool:
            return one.shares_seen_total + two.shares_seen_total >= count

        await eventually(all_seen, timeout_s=LIMIT_S, what="all shares being seen")
    assert await pool.fetchval("SELECT count(*) FROM miners.account") == number * 10
    assert await pool.fetchval("SELECT count(*) FROM miners.worker") == number * 10
    last_seqs = await pool.fetch("SELECT instance, last_seq FROM miners.instance")
    assert {row["instance"]: row["last_seq"] for row in last_seqs} == {each.name: each.last_seq for each in instances}


async def test_poison_on_kafka_is_set_aside_and_the_stream_goes_on(
    settings: KafkaSettings, log: KafkaEventLog, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """D3, D5: a record that cannot be decoded or booked, in each partition; both consumers go on."""
    await pool.execute("ALTER TABLE shares.slice ADD CHECK (work <> 13)")
    await pool.execute("ALTER TABLE miners.worker ADD CHECK (worker <> 'poison')")
    names = names_by_partition(settings)
    instances = [FakeInstance(name) for name in names]
    poison = [
        OutRecord(key=names[0].encode(), payload=b"\xff\xff"),
        OutRecord(key=names[1].encode(), payload=b""),
        FakeInstance("refused").batch([FakeShare(work=13, worker="poison")]),
    ]
    async with share_consumer(settings, pool) as shares_seen, miner_consumer(settings, pool) as miners_seen:
        for _ in range(3):
            await log.publish("shares", [each.batch([FakeShare(account=each.name)]) for each in instances])
        await log.publish("shares", poison)
        for _ in range(3):
            await log.publish("shares", [each.batch([FakeShare(account=each.name)]) for each in instances])
        await booked(pool, 6 * len(instances))

        def is_counted() -> bool:
            return (
                shares_seen.records_poison_total == len(poison)
                and miners_seen.records_malformed_total == len(poison)
                and miners_seen.shares_seen_total == 6 * len(instances)
            )

        await eventually(is_counted, timeout_s=LIMIT_S, what="all poison being counted")
    rows = await pool.fetch("SELECT partition, log_offset, payload, error FROM shares.poison")
    assert {row["payload"] for row in rows} == {record.payload for record in poison}
    assert {row["partition"] for row in rows} == {partition_of(record.key, 3) for record in poison}
    assert all(row["error"] for row in rows)
    said = [line for line in caplog.records if line.getMessage() == "share record set aside"]
    assert len(said) == len(poison)
    assert {line.levelname for line in said} == {"ERROR"}
    report = await audit(pool)
    assert {finding.check for finding in report.findings} == {"every record is booked"}


@pytest.mark.parametrize("skews_ms", [(-1000, 1000, 0), (1000, -1000, -900), (-900, 900, 1000)])
async def test_window_has_every_share_though_the_clocks_of_all_hosts_differ(
    settings: KafkaSettings, log: KafkaEventLog, pool: Pool, skews_ms: Sequence[int]
) -> None:
    """R3: the block's finder, another instance and the consumer are on three hosts, at most 2 s apart."""
    finder, other, reader = (SkewedClock(SystemClock(), wall_offset_s=skew_ms / 1000) for skew_ms in skews_ms)
    names = names_by_partition(settings)
    known, unknown = FakeInstance(names[0]), FakeInstance(names[1])
    async with share_consumer(settings, pool, clock=reader):
        await eventually(
            lambda: _are_all_booked_to(pool, settings, time_ms=1), timeout_s=LIMIT_S, what="the consumer reading"
        )
        # The other instance's first record ever is in the log just before the block is found.
        await log.publish("shares", [known.batch([FakeShare(time_ms=finder.now_ms())])])
        await log.publish("shares", [unknown.batch([FakeShare(account="bob", time_ms=other.now_ms())])])
        found_ms = finder.now_ms()
        await log.publish("shares", [known.mark(height=101, time_ms=found_ms)])
        fixing = asyncio.create_task(fixed_in_time(pool, found_time_ms=found_ms))
        await booked(pool, 2)
        await log.publish("shares", [unknown.batch([FakeShare(account="bob", time_ms=other.now_ms())])])
        await log.publish("shares", [unknown.mark(height=101, time_ms=other.now_ms())])
        window = await fixing
    assert {entry.account: entry.work for entry in window.accounts} == {"alice": 1000, "bob": 2000}
    assert window.instances_missing == ()
