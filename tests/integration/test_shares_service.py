"""The shares service on a real PostgreSQL, over a real socket."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import asyncpg
import pytest

from coins.settings import PoolSettings
from proto.lodepool.shares.v1 import shares_pb2, shares_pb2_grpc
from runtime.eventlog.interface import OutRecord
from runtime.live import Live
from runtime.platform import Platform
from runtime.rpc.client import call
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound
from runtime.rpc.pages import encode_page_token
from shares.audit import audit
from shares.config import SharesSettings
from shares.consumer import ShareConsumer
from shares.main import run
from shares.metrics import Counters
from shares.retention import prune
from tests.fakes.share_stream import ACCEPTED, DUPLICATE, INVALID, LOW, STALE, FakeInstance, FakeShare

COIN = "litecoin-regtest"
T = TypeVar("T")
POOL = PoolSettings(coin=COIN, address="rltc1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnmxrc5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The running service and a client of it."""

    platform: Platform
    stub: "shares_pb2_grpc.ShareServiceAsyncStub"

    async def publish(self, *records: OutRecord) -> None:
        await self.platform.eventlog.publish("shares", records)

    async def booked(self, share_count: int) -> shares_pb2.Totals:
        """Wait until so many shares are booked from the stream."""

        async def are_booked() -> shares_pb2.Totals | None:
            totals = await call(self.stub.GetTotals, shares_pb2.GetTotalsRequest(coin=COIN))
            return totals if count_of(totals.instances) >= share_count else None

        return await eventually(are_booked)

    async def slices(self, **fields: object) -> list[shares_pb2.Slice]:
        """Return all slices, page by page."""
        found: list[shares_pb2.Slice] = []
        token = ""
        while True:
            request = shares_pb2.ListSlicesRequest(coin=COIN, page_token=token, **fields)  # type: ignore[arg-type]
            page = await call(self.stub.ListSlices, request)
            found.extend(page.slices)
            token = page.next_page_token
            if not token:
                return found

    async def window(self, **fields: object) -> shares_pb2.Window:
        """Fix a window; waits until the stream is booked up to the block."""
        defaults = {"coin": COIN, "scheme": "pplns", "request_id": "block", "found_time_ms": now_ms() - 1000}
        request = shares_pb2.FixWindowRequest(**(defaults | fields))  # type: ignore[arg-type]

        async def is_fixed() -> shares_pb2.Window | None:
            try:
                return await call(self.stub.FixWindow, request)
            except FailedPrecondition:
                return None

        return await eventually(is_fixed)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def count_of(counts: shares_pb2.ShareCounts) -> int:
    return counts.accepted + counts.stale + counts.duplicate + counts.low_difficulty + counts.invalid


async def eventually(condition: Callable[[], Awaitable[T | None]], *, timeout_s: float = 15) -> T:
    async with asyncio.timeout(timeout_s):
        while (found := await condition()) is None:
            await asyncio.sleep(0.02)
    return found


@contextlib.asynccontextmanager
async def running(platform: Platform, settings: SharesSettings | None = None) -> AsyncIterator[Service]:
    is_ready = asyncio.Event()
    ready = replace(platform, ready=lambda _name: is_ready.set())
    task = asyncio.create_task(run(Live(settings or SharesSettings()), POOL, ready))
    waiter = asyncio.create_task(is_ready.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        if task.done():
            await task
        stub = shares_pb2_grpc.ShareServiceStub(platform.clients.channel("shares"))
        yield Service(platform=platform, stub=stub)
    finally:
        waiter.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def service(platform: Platform) -> AsyncIterator[Service]:
    async with running(platform) as found:
        yield found


async def test_stream_becomes_slices_and_the_audit_agrees(service):
    """D3, S9."""
    instance = FakeInstance()
    minute_ms = now_ms() // 60_000 * 60_000
    await service.publish(
        instance.batch([FakeShare(time_ms=minute_ms), FakeShare(time_ms=minute_ms + 1, worker="b", hash_work=9000)]),
        instance.batch([FakeShare(time_ms=minute_ms + 2, height=101, scheme="prop")]),
        instance.batch([FakeShare(time_ms=minute_ms, outcome=outcome) for outcome in (STALE, DUPLICATE, LOW, INVALID)]),
        instance.mark(height=102, time_ms=now_ms()),
    )
    totals = await service.booked(7)
    assert totals.slices == totals.instances
    assert totals.slices_work == totals.instances_work == "3000"
    slices = await service.slices(page_size=1)
    assert [(entry.height, entry.worker, entry.scheme, entry.work) for entry in slices] == [
        (100, "b", "pplns", "1000"),
        (100, "rig", "pplns", "1000"),
        (101, "rig", "prop", "1000"),
    ]
    assert slices[1].counts == shares_pb2.ShareCounts(accepted=1, stale=1, duplicate=1, low_difficulty=1, invalid=1)
    report = await audit(service.platform.pool, service.platform.eventlog)
    assert report.is_ok, report.findings
    assert report.compared["slices = stream"] == 3


async def test_batches_that_come_again_or_overlap_change_nothing(service):
    """D3, D4."""
    instance = FakeInstance()
    first, second = [FakeShare(work=1), FakeShare(work=2)], [FakeShare(work=4), FakeShare(work=8)]
    records = [instance.batch(first), instance.batch(second)]
    await service.publish(*records, *records, instance.batch_at(2, [first[1], *second, FakeShare(work=16)]))
    totals = await service.booked(5)
    assert totals.slices_work == "31"
    assert totals.slices.accepted == 5
    assert (await audit(service.platform.pool, service.platform.eventlog)).is_ok


async def test_restart_of_the_service_books_each_share_once(platform):
    """D3."""
    instance = FakeInstance()
    async with running(platform) as service:
        await service.publish(*[instance.batch([FakeShare()] * 10) for _ in range(5)])
        await service.booked(1)
    async with running(platform) as service:
        await service.publish(instance.batch([FakeShare()] * 10))
        assert (await service.booked(60)).slices.accepted == 60
    assert (await audit(platform.pool, platform.eventlog)).is_ok


async def test_second_consumer_of_the_same_stream_books_nothing_twice(platform):
    """D3."""
    instance = FakeInstance()
    async with running(platform) as service:
        consumer = ShareConsumer(
            pool=platform.pool,
            eventlog=platform.eventlog,
            clock=platform.clock,
            counters=Counters(),
            batch_records_max=3,
        )
        task = asyncio.create_task(consumer.run())
        for _ in range(20):
            await service.publish(instance.batch([FakeShare()] * 7))
        totals = await service.booked(140)
        task.cancel()
        await asyncio.wait({task})
        assert totals.slices.accepted == totals.instances.accepted == 140
    assert (await audit(platform.pool, platform.eventlog)).is_ok


async def test_record_that_cannot_be_booked_is_set_aside_and_named(service):
    instance = FakeInstance()
    await service.publish(
        OutRecord(key=b"x", payload=b"\xff\xff"),
        FakeInstance("nul").batch([FakeShare(account="a\x00b")]),
        instance.batch([FakeShare()]),
        FakeInstance(instance.name, coin="bitcoin").batch([FakeShare()]),
        instance.batch([FakeShare()]),
    )
    await service.booked(2)
    rows = await service.platform.pool.fetch("SELECT log_offset, error FROM shares.poison ORDER BY 1")
    assert [row["log_offset"] for row in rows] == [0, 1, 3]
    report = await audit(service.platform.pool, service.platform.eventlog)
    assert {finding.check for finding in report.findings} == {"every record is booked"}


async def test_record_that_the_database_refuses_is_set_aside_alone(service):
    await service.platform.pool.execute("ALTER TABLE shares.slice ADD CHECK (work <> 13)")
    instances = [FakeInstance(f"i{number}") for number in range(5)]
    works = [10, 11, 13, 14, 15]
    await service.publish(
        *[one.batch([FakeShare(account=one.name, work=work)]) for one, work in zip(instances, works, strict=True)]
    )
    totals = await service.booked(4)
    assert totals.slices_work == totals.instances_work == "50"
    rows = await service.platform.pool.fetch("SELECT log_offset, error FROM shares.poison")
    assert [row["log_offset"] for row in rows] == [2]
    assert "CheckViolationError" in rows[0]["error"]


async def test_a_fault_of_ours_does_not_empty_the_stream_into_what_lies_aside(platform):
    """D3: record after record refused means that the books are broken; booking stands, and goes on once they are mended."""
    instances = [FakeInstance(f"i{number}") for number in range(9)]
    async with running(platform, SharesSettings(refused_run_max=3)) as service:
        await platform.pool.execute("ALTER TABLE shares.slice ADD CONSTRAINT broken CHECK (work <> 13)")
        await service.publish(*[one.batch([FakeShare(account=one.name, work=13)]) for one in instances])

        async def lies_aside() -> bool | None:
            return await platform.pool.fetchval("SELECT count(*) FROM shares.poison") == 3 or None

        await eventually(lies_aside)
        await platform.pool.execute("ALTER TABLE shares.slice DROP CONSTRAINT broken")
        await service.booked(6)
        assert await lies_aside()


async def test_gap_is_booked_over_and_named_by_the_audit(service):
    instance = FakeInstance()
    await service.publish(instance.batch([FakeShare()]), instance.batch_at(4, [FakeShare()]))
    await service.booked(2)
    report = await audit(service.platform.pool, service.platform.eventlog)
    assert [str(finding) for finding in report.findings] == [
        "no gaps in a stream: instance 0-a-1 shares 2 to 3: expected booked, found never came"
    ]


async def test_audit_names_a_slice_that_was_changed_by_hand(service):
    await service.publish(FakeInstance().batch([FakeShare(time_ms=60_000 * 28_000_000)]))
    await service.booked(1)
    await service.platform.pool.execute("UPDATE shares.slice SET work = work + 1")
    report = await audit(service.platform.pool, service.platform.eventlog)
    named = [str(finding) for finding in report.findings if finding.check == "slices = stream"]
    assert len(named) == 1
    assert "pplns alice.rig height 100 minute 28000000: expected work 1000," in named[0]
    assert "found work 1001," in named[0]
    assert "slices = instances" in {finding.check for finding in report.findings}


async def test_pplns_window_takes_whole_minutes_newest_first(service):
    """R3, R4."""
    instance, base_ms = FakeInstance(), now_ms() - 600_000
    shares = [
        FakeShare(account="old", height=99, work=50, time_ms=base_ms),
        FakeShare(account="alice", height=100, work=30, time_ms=base_ms + 60_000),
        FakeShare(account="bob", height=100, work=30, time_ms=base_ms + 60_000),
        FakeShare(account="bob", height=100, work=40, time_ms=base_ms + 120_000),
        FakeShare(account="solo", scheme="solo", height=100, work=1 << 62, time_ms=base_ms + 120_000),
        FakeShare(account="later", height=101, work=1000, time_ms=base_ms + 180_000),
    ]
    await service.publish(instance.batch(shares), instance.mark(height=101, time_ms=now_ms()))
    await service.booked(6)
    window = await service.window(end_height=100, window_work="41")
    assert [(entry.account, entry.work, entry.share_count) for entry in window.accounts] == [
        ("bob", "70", 2),
        ("alice", "30", 1),
    ]
    assert (window.total_work, window.start_height) == ("100", 100)
    assert window.start_minute == (base_ms + 60_000) // 60_000
    full = await service.window(end_height=100, window_work="1" + "0" * 30, request_id="other")
    assert full.total_work == "150"


async def test_window_of_the_same_block_is_the_same_for_ever(service):
    """R2, R3."""
    instance = FakeInstance()
    await service.publish(instance.batch([FakeShare(work=10)]), instance.mark(height=101, time_ms=now_ms()))
    await service.booked(1)
    first = await service.window(end_height=100)
    await service.publish(instance.batch([FakeShare(work=5), FakeShare(height=101, work=7)]))
    totals = await service.booked(3)
    assert totals.late_share_count == 1
    assert await service.window(end_height=100) == first
    assert (await service.window(end_height=100, request_id="again")).accounts == first.accounts
    with pytest.raises(InvalidArgument) as caught:
        await service.window(end_height=99)
    assert caught.value.field == "request_id"
    slices = await service.slices(start_height=101)
    assert sum(int(entry.work) for entry in slices) == 12
    report = await audit(service.platform.pool, service.platform.eventlog)
    assert report.is_ok, report.findings
    assert report.compared["slices = stream"] == 2
    assert report.notes == ("1 late shares of litecoin-regtest were booked above their height",)


async def test_prop_window_takes_the_round(service):
    instance = FakeInstance()
    shares = [FakeShare(scheme="prop", height=height, work=height) for height in (97, 98, 99, 100, 101)]
    await service.publish(instance.batch(shares), instance.mark(height=101, time_ms=now_ms()))
    await service.booked(5)
    window = await service.window(scheme="prop", start_height=98, end_height=100)
    assert (window.total_work, window.start_height, window.end_height) == ("297", 98, 100)


async def test_window_of_a_scheme_nobody_mined_is_empty(service):
    instance = FakeInstance()
    await service.publish(instance.mark(height=101, time_ms=now_ms()))
    window = await service.window(scheme="prop", start_height=98, end_height=100)
    assert (list(window.accounts), window.total_work, window.start_height) == ([], "0", 100)


async def test_window_is_refused_while_a_living_instance_has_not_passed_the_block(service):
    """R3."""
    passed, behind = FakeInstance("passed"), FakeInstance("behind")
    await service.publish(
        passed.batch([FakeShare()]),
        passed.mark(height=101, time_ms=now_ms()),
        behind.mark(height=100, time_ms=now_ms()),
    )
    await service.booked(1)
    request = shares_pb2.FixWindowRequest(
        coin=COIN, scheme="pplns", end_height=100, found_time_ms=now_ms() - 1000, request_id="block"
    )
    with pytest.raises(FailedPrecondition, match="instance behind is at height 100"):
        await call(service.stub.FixWindow, request)
    await service.publish(behind.batch([FakeShare(work=7)]), behind.mark(height=101, time_ms=now_ms()))
    assert (await service.window(end_height=100)).total_work == "1007"


async def test_window_names_a_dead_instance_it_no_longer_waited_for(platform):
    """R3."""
    async with running(platform, SharesSettings(window_wait_s=0, instance_dead_s=5)) as service:
        await service.publish(
            FakeInstance("dead").mark(height=100, time_ms=now_ms() - 10_000),
            FakeInstance("closed").mark(height=99, time_ms=now_ms(), is_closed=True),
        )
        assert list((await service.window(end_height=100)).instances_missing) == ["dead"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"scheme": "solo"}, "scheme"),
        ({"request_id": ""}, "request_id"),
        ({"coin": ""}, "coin"),
        ({"end_height": -1}, "end_height"),
        ({"start_height": 5}, "start_height"),
        ({"window_work": "1.5"}, "window_work"),
        ({"window_work": "-1"}, "window_work"),
        ({"found_time_ms": 0}, "found_time_ms"),
    ],
)
async def test_bad_window_request_names_its_field(service, fields, field):
    with pytest.raises(InvalidArgument) as caught:
        await service.window(**({"end_height": 100} | fields))
    assert caught.value.field == field


async def test_statistics_show_rates_counts_and_best_share(service):
    instance, time_ms = FakeInstance(), now_ms()
    await service.publish(
        instance.batch(
            [
                FakeShare(time_ms=time_ms, work=60_000, hash_work=70_000),
                FakeShare(time_ms=time_ms, work=60_000, account="bob", worker="", hash_work=90_000),
                FakeShare(time_ms=time_ms, outcome=STALE),
                FakeShare(time_ms=time_ms, work=1, height=98),
            ]
        )
    )
    await service.booked(4)
    pool = await call(service.stub.GetPoolStats, shares_pb2.GetPoolStatsRequest(coin=COIN, round_start_height=99))
    assert (pool.round_work, pool.best_hash_work, pool.best_account) == ("120000", 90_000, "bob")
    assert (pool.account_count, pool.worker_count, pool.last_share_time_ms) == (2, 2, time_ms)
    assert pool.counts == shares_pb2.ShareCounts(accepted=3, stale=1)
    assert pool.hashrates.hps_1m == pool.hashrates.hps_24h == "2000"
    alice = await call(service.stub.GetAccountStats, shares_pb2.GetAccountStatsRequest(coin=COIN, account="alice"))
    assert (alice.total_work, alice.best_hash_work) == ("60001", 70_000)
    assert alice.hashrates.hps_15m == alice.workers[0].hashrates.hps_1h == "1000"
    assert [worker.worker for worker in alice.workers] == ["rig"]
    with pytest.raises(NotFound):
        await call(service.stub.GetAccountStats, shares_pb2.GetAccountStatsRequest(coin=COIN, account="nobody"))


async def test_fresh_pool_has_statistics_of_zeros(service):
    pool = await call(service.stub.GetPoolStats, shares_pb2.GetPoolStatsRequest(coin=COIN))
    assert (pool.hashrates.hps_1m, pool.round_work, pool.best_account) == ("0", "0", "")
    assert not await service.slices()


async def test_accounts_are_listed_by_hashrate_page_by_page(service):
    """R6."""
    time_ms = now_ms()
    works = {"a": 10, "b": 30, "c": 30, "d": 20, "e": 40}
    await service.publish(
        FakeInstance().batch([FakeShare(account=name, work=work, time_ms=time_ms) for name, work in works.items()])
    )
    await service.booked(5)
    names, token = [], ""
    while True:
        request = shares_pb2.ListAccountsRequest(coin=COIN, page_size=2, page_token=token)
        page = await call(service.stub.ListAccounts, request)
        names += [account.account for account in page.accounts]
        token = page.next_page_token
        if not token:
            break
    assert names == ["e", "b", "c", "d", "a"]


async def test_slices_of_an_account_are_paged_without_loss(service):
    """R6."""
    shares = [
        FakeShare(account=account, worker=worker, scheme=scheme, height=height, time_ms=28_000_000 * 60_000 + shift)
        for account in "ab"
        for worker in ("x", "y")
        for scheme in ("pplns", "prop")
        for height in (5, 6, 7)
        for shift in (0, 60_000)
    ]
    await service.publish(FakeInstance().batch(shares))
    await service.booked(len(shares))
    for page_size in (1, 3, 5):
        paged = await service.slices(page_size=page_size)
        places = [(entry.height, entry.minute, entry.account, entry.worker, entry.scheme) for entry in paged]
        assert places == sorted(places)
        assert len(set(places)) == len(shares)
    owned = await service.slices(page_size=5, account="a", start_height=6, end_height=6)
    assert {(entry.account, entry.height) for entry in owned} == {("a", 6)}
    assert len(owned) == 8


@pytest.mark.parametrize(
    ("method", "request_type", "fields", "field"),
    [
        ("ListSlices", shares_pb2.ListSlicesRequest, {"page_token": "!"}, "page_token"),
        ("ListSlices", shares_pb2.ListSlicesRequest, {"page_token": encode_page_token((1, 2))}, "page_token"),
        (
            "ListSlices",
            shares_pb2.ListSlicesRequest,
            {"page_token": encode_page_token((1, 2, "a\x00", "", "pplns"))},
            "page_token",
        ),
        (
            "ListSlices",
            shares_pb2.ListSlicesRequest,
            {"page_token": encode_page_token((1 << 63, 2, "a", "", "pplns"))},
            "page_token",
        ),
        ("ListSlices", shares_pb2.ListSlicesRequest, {"account": "a\x00"}, "account"),
        ("ListSlices", shares_pb2.ListSlicesRequest, {"page_size": -1}, "page_size"),
        ("ListAccounts", shares_pb2.ListAccountsRequest, {"page_token": encode_page_token(("x", "a"))}, "page_token"),
        ("GetAccountStats", shares_pb2.GetAccountStatsRequest, {"account": "\x00"}, "account"),
        ("GetPoolStats", shares_pb2.GetPoolStatsRequest, {"coin": ""}, "coin"),
    ],
)
async def test_bad_question_names_its_field(service, method, request_type, fields, field):
    request = request_type(**({"coin": COIN} | fields))
    with pytest.raises(InvalidArgument) as caught:
        await call(getattr(service.stub, method), request)
    assert caught.value.field == field


async def test_retention_removes_old_slices_and_keeps_their_sums(service):
    day_ms = 86_400_000
    old = [FakeShare(time_ms=now_ms() - 30 * day_ms, work=5), FakeShare(time_ms=now_ms() - 29 * day_ms, outcome=STALE)]
    await service.publish(FakeInstance().batch([*old, FakeShare(time_ms=now_ms(), work=7)]))
    await service.booked(3)
    assert await prune(service.platform.pool, keep_days=20, now_ms=now_ms()) == 2
    assert len(await service.slices()) == 1
    totals = await service.booked(3)
    assert totals.slices == totals.instances
    assert totals.slices_work == "12"
    report = await audit(service.platform.pool, service.platform.eventlog)
    assert report.is_ok, report.findings


async def test_instances_are_listed_with_what_they_brought(service):
    instance, time_ms = FakeInstance(), now_ms()
    await service.publish(
        instance.batch([FakeShare(), FakeShare(outcome=LOW)]),
        instance.mark(height=101, time_ms=time_ms, is_closed=True),
    )
    await service.booked(2)

    async def is_closed() -> shares_pb2.Instance | None:
        page = await call(service.stub.ListInstances, shares_pb2.ListInstancesRequest(coin=COIN))
        return page.instances[0] if page.instances[0].is_closed else None

    found = await eventually(is_closed)
    assert (found.last_seq, found.height, found.time_ms, found.work) == (2, 101, time_ms, "1000")
    assert found.counts == shares_pb2.ShareCounts(accepted=1, low_difficulty=1)


async def test_instances_are_listed_in_pages_that_miss_none(service):
    names = [f"0-{number}-a" for number in range(5)]
    await service.publish(*[FakeInstance(name).batch([FakeShare()]) for name in names])
    await service.booked(5)
    found, token = [], ""
    while True:
        request = shares_pb2.ListInstancesRequest(coin=COIN, page_size=2, page_token=token)
        page = await call(service.stub.ListInstances, request)
        assert len(page.instances) <= 2
        found += [instance.instance for instance in page.instances]
        token = page.next_page_token
        if not token:
            break
    assert found == names


async def test_window_fixed_while_shares_are_booked_is_exact(service):
    """R3: work enters the window or the heights above it, never both, never neither."""
    instance = FakeInstance()

    async def publish() -> None:
        for _ in range(40):
            await service.publish(instance.batch([FakeShare(work=3), FakeShare(height=101, work=5)] * 20))

    passed = instance.mark(height=101, time_ms=now_ms())
    await service.publish(passed)
    publishing = asyncio.create_task(publish())
    await service.booked(200)
    window = await service.window(end_height=100)
    await publishing
    totals = await service.booked(1600)
    slices = await service.slices()
    inside = sum(int(entry.work) for entry in slices if entry.height <= 100)
    assert int(window.total_work) == inside
    assert int(totals.slices_work) == sum(int(entry.work) for entry in slices) == 40 * 20 * 8
    assert totals.late_share_count * 3 == 40 * 20 * 3 - inside
    report = await audit(service.platform.pool, service.platform.eventlog)
    assert report.is_ok, report.findings


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_random_streams_with_replays_and_restarts_are_booked_once(platform, seed):
    """D3, D4."""
    rng = random.Random(seed)
    instances = [FakeInstance(f"i{number}") for number in range(3)]
    streams: dict[str, list[FakeShare]] = {instance.name: [] for instance in instances}
    for _ in range(3):
        async with running(platform, SharesSettings(batch_records_max=rng.choice([1, 3, 50]))) as service:
            for _ in range(20):
                instance = rng.choice(instances)
                stream = streams[instance.name]
                first = rng.randint(max(0, len(stream) - 15), len(stream))
                stream += [random_share(rng) for _ in range(rng.randint(1, 20))]
                await service.publish(instance.batch_at(first + 1, stream[first:]))
    everything = [share for stream in streams.values() for share in stream]
    async with running(platform) as service:
        totals = await service.booked(len(everything))
        assert totals.slices == totals.instances
        assert int(totals.slices_work) == sum(share.work for share in everything if share.outcome == ACCEPTED)
        assert count_of(totals.slices) == len(everything)
    report = await audit(platform.pool, platform.eventlog)
    assert report.is_ok, report.findings


def random_share(rng: random.Random) -> FakeShare:
    return FakeShare(
        account=rng.choice("abc"),
        worker=rng.choice(["", "x", "y"]),
        scheme=rng.choice(["pplns", "prop", "solo"]),
        height=rng.randint(100, 103),
        work=rng.randint(1, 1 << 62),
        hash_work=rng.randint(1, (1 << 63) - 1),
        outcome=rng.choice([ACCEPTED, ACCEPTED, ACCEPTED, STALE, DUPLICATE, LOW, INVALID]),
        time_ms=1_700_000_000_000 + rng.randint(0, 300_000),
    )


async def test_lost_database_connections_lose_and_repeat_nothing(service):
    """D3: the consumer goes on by itself."""
    instance = FakeInstance()
    for _ in range(10):
        await service.publish(*[instance.batch([FakeShare()] * 50) for _ in range(5)])
        with contextlib.suppress(asyncpg.PostgresConnectionError, asyncpg.InterfaceError):
            await service.platform.pool.execute(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
                """
            )
    totals = await service.booked(2500)
    assert totals.slices.accepted == totals.instances.accepted == 2500
    assert (await audit(service.platform.pool, service.platform.eventlog)).is_ok
