"""The miners service on a real PostgreSQL, over a real socket."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from coins.settings import PoolSettings
from miners.audit import audit
from miners.config import MinersSettings
from miners.domain import StreamTime
from miners.main import run
from miners.metrics import Counters
from miners.presence import PresenceWatch
from proto.lodepool.events.v1 import notices_pb2
from proto.lodepool.miners.v1 import miners_pb2, miners_pb2_grpc
from runtime.eventlog.interface import OutRecord
from runtime.live import Live
from runtime.platform import Platform
from runtime.postgres.fence import Fenced, take_fence
from runtime.postgres.pool import acquired
from runtime.rpc.client import call
from runtime.rpc.errors import InvalidArgument, NotFound
from tests.fakes.share_stream import STALE, FakeInstance, FakeShare
from tests.fakes.waiting import eventually

COIN = "litecoin-regtest"
POOL = PoolSettings(coin=COIN, address="rltc1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnmxrc5")
SETTINGS = MinersSettings(payout_threshold_atomic_min=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The running service and a client of it."""

    platform: Platform
    stub: "miners_pb2_grpc.MinerServiceAsyncStub"

    async def publish(self, *records: OutRecord) -> None:
        """Publish, and wait until the stream is read to its end."""
        await self.platform.eventlog.publish("shares", records)

        async def is_read() -> bool:
            return bool(
                await self.platform.pool.fetchval(
                    """
                    SELECT next_offset = (SELECT next_offset FROM eventlog.topic WHERE topic = 'shares')
                    FROM miners.position WHERE topic = 'shares'
                    """
                )
            )

        await eventually(is_read, what="the end of the stream")

    async def account(self, name: str) -> miners_pb2.Account:
        return await call(self.stub.GetAccount, miners_pb2.GetAccountRequest(coin=COIN, account=name))

    async def update(self, name: str, threshold: int, request_id: str) -> miners_pb2.Account:
        request = miners_pb2.UpdateAccountRequest(
            coin=COIN, account=name, payout_threshold_atomic=threshold, request_id=request_id
        )
        return await call(self.stub.UpdateAccount, request)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextlib.asynccontextmanager
async def running(platform: Platform) -> AsyncIterator[Service]:
    is_ready = asyncio.Event()
    task = asyncio.create_task(run(Live(SETTINGS), POOL, replace(platform, ready=lambda _name: is_ready.set())))
    waiter = asyncio.create_task(is_ready.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        if task.done():
            await task
        stub = miners_pb2_grpc.MinerServiceStub(platform.clients.channel("miners"))
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


async def test_account_and_workers_appear_with_their_first_accepted_share(service):
    time_ms = now_ms()
    await service.publish(
        FakeInstance().batch(
            [
                FakeShare(time_ms=time_ms - 5000),
                FakeShare(time_ms=time_ms, worker="b", scheme="solo"),
                FakeShare(account="never", time_ms=time_ms, outcome=STALE),
            ]
        )
    )
    account = await service.account("alice")
    assert (account.create_time_ms, account.last_share_time_ms) == (time_ms - 5000, time_ms)
    assert (account.worker_count, account.worker_online_count, account.payout_threshold_atomic) == (2, 2, 0)
    page = await call(service.stub.ListWorkers, miners_pb2.ListWorkersRequest(coin=COIN, account="alice"))
    assert [(worker.worker, worker.scheme) for worker in page.workers] == [("b", "solo"), ("rig", "pplns")]
    assert {worker.user_agent for worker in page.workers} == {"cgminer/4.11.1"}
    with pytest.raises(NotFound):
        await service.account("never")
    assert (await audit(service.platform.pool)).is_ok


async def told(pool) -> list[notices_pb2.Notice]:
    query = "SELECT payload FROM eventlog.record WHERE topic = 'notices' ORDER BY log_offset"
    return [notices_pb2.Notice.FromString(row["payload"]) for row in await pool.fetch(query)]


async def presence_of(service) -> dict[str, int]:
    page = await call(service.stub.ListWorkers, miners_pb2.ListWorkersRequest(coin=COIN))
    return {worker.worker: worker.presence for worker in page.workers}


def mined(worker, *, until_ms, interval_ms, count=100):
    return [FakeShare(worker=worker, time_ms=until_ms - n * interval_ms) for n in reversed(range(count))]


async def pass_until(service, instances, *, from_ms, to_ms, is_done, what):
    """Let the stream's time go on to `to_ms`, and then by milliseconds until something has happened."""
    times_ms = range(from_ms, to_ms + 1, 5_000)
    await service.publish(*(entry.mark(height=100, time_ms=ms) for ms in times_ms for entry in instances))
    ticks = itertools.count(to_ms)

    async def is_done_now() -> bool:
        time_ms = next(ticks)
        await service.publish(*(entry.mark(height=100, time_ms=time_ms) for entry in instances))
        return await is_done()

    await eventually(is_done_now, timeout_s=30, what=what)


def has_told(service, count):
    async def is_told() -> bool:
        return len(await told(service.platform.pool)) >= count

    return is_told


async def test_silent_worker_is_told_offline_once_and_online_when_it_is_back(service):
    """What is shown and what is told agree; time is the stream's: all of this is a year ago."""
    start_ms, instance, pool = now_ms() - 365 * 86_400_000, FakeInstance(), service.platform.pool
    quick, slow = (
        mined("quick", until_ms=start_ms, interval_ms=1_000),
        mined("slow", until_ms=start_ms, interval_ms=600_000),
    )
    await service.publish(instance.batch([*slow, *quick]))
    await service.publish(instance.mark(height=100, time_ms=start_ms))
    assert await presence_of(service) == dict.fromkeys(("quick", "slow"), miners_pb2.PRESENCE_ONLINE)

    await pass_until(
        service,
        [instance],
        from_ms=start_ms + 1_000,
        to_ms=start_ms + 90_000,
        is_done=has_told(service, 1),
        what="the notice",
    )
    assert await presence_of(service) == {
        "quick": miners_pb2.PRESENCE_OFFLINE,
        "slow": miners_pb2.PRESENCE_ONLINE,
    }
    assert (await service.account("alice")).worker_online_count == 1
    (notice,) = await told(pool)
    assert notice.notice_id == f"worker_offline/{COIN}/alice/quick/{start_ms}"
    assert (notice.account, notice.worker_offline.worker) == ("alice", "quick")
    assert notice.worker_offline.last_share_time_ms == start_ms
    assert notice.worker_offline.expected_interval_ms == 1_000
    assert 60_000 < notice.time_ms - start_ms < 120_000

    back_ms = start_ms + 130_000
    await service.publish(instance.batch([FakeShare(worker="quick", time_ms=back_ms)]))
    assert (await presence_of(service))["quick"] == miners_pb2.PRESENCE_ONLINE

    await pass_until(
        service, [instance], from_ms=back_ms, to_ms=back_ms, is_done=has_told(service, 2), what="the second notice"
    )
    notice = (await told(pool))[1]
    assert notice.notice_id == f"worker_online/{COIN}/alice/quick/{start_ms}"
    assert notice.worker_online.offline_ms == 130_000


async def test_hours_in_which_the_pool_was_stopped_are_no_silence(service):
    """No mark, no time: the quick worker is told first, though the other one has been away for ten hours."""
    start_ms, old, new = now_ms() - 86_400_000, FakeInstance("0-a-1"), FakeInstance("0-a-2")
    await service.publish(old.batch(mined("rig", until_ms=start_ms, interval_ms=20_000)))
    await service.publish(old.mark(height=100, time_ms=start_ms + 1_000, is_closed=True))
    later_ms = start_ms + 10 * 3_600_000
    await service.publish(new.batch(mined("quick", until_ms=later_ms, interval_ms=100)))
    await pass_until(
        service,
        [new],
        from_ms=later_ms,
        to_ms=later_ms + 90_000,
        is_done=has_told(service, 1),
        what="the quick one's notice",
    )
    assert await presence_of(service) == {"rig": miners_pb2.PRESENCE_ONLINE, "quick": miners_pb2.PRESENCE_OFFLINE}
    await pass_until(
        service,
        [new],
        from_ms=later_ms + 95_000,
        to_ms=later_ms + 400_000,
        is_done=has_told(service, 2),
        what="the other one's notice",
    )
    assert [notice.worker_offline.worker for notice in await told(service.platform.pool)] == ["quick", "rig"]


async def test_worker_that_moves_to_another_instance_stays_online(service):
    start_ms, one, other = now_ms() - 86_400_000, FakeInstance("0-a-1"), FakeInstance("1-a-1")
    await service.publish(one.batch(mined("rig", until_ms=start_ms, interval_ms=1_000)))
    await service.publish(other.batch(mined("gone", until_ms=start_ms, interval_ms=1_000)))
    await service.publish(other.batch(mined("rig", until_ms=start_ms + 100_000, interval_ms=1_000)))
    await pass_until(
        service,
        [one, other],
        from_ms=start_ms + 5_000,
        to_ms=start_ms + 100_000,
        is_done=has_told(service, 1),
        what="the other worker's notice",
    )
    assert await presence_of(service) == {"rig": miners_pb2.PRESENCE_ONLINE, "gone": miners_pb2.PRESENCE_OFFLINE}


async def test_worker_that_left_a_week_ago_is_forgotten_silently(service):
    start_ms, instance = now_ms() - 86_400_000, FakeInstance()
    await service.publish(instance.batch(mined("old", until_ms=start_ms - 8 * 86_400_000, interval_ms=1_000)))
    await service.publish(instance.batch(mined("quick", until_ms=start_ms, interval_ms=1_000)))
    await pass_until(
        service,
        [instance],
        from_ms=start_ms,
        to_ms=start_ms + 90_000,
        is_done=has_told(service, 1),
        what="the notice",
    )
    assert [notice.worker_offline.worker for notice in await told(service.platform.pool)] == ["quick"]
    assert (await presence_of(service))["old"] == miners_pb2.PRESENCE_OFFLINE


async def test_low_hashrate_and_refused_shares_are_told_for_the_hour_that_is_over(service):
    """S9."""
    hour_ms, instance = 3_600_000, FakeInstance()
    end_ms = (now_ms() - 86_400_000) // hour_ms * hour_ms
    usual = mined("rig", until_ms=end_ms - hour_ms - 1, interval_ms=15_000, count=23 * 240)
    low = mined("rig", until_ms=end_ms - 1, interval_ms=60_000, count=60)
    stale = [replace(share, outcome=STALE) for share in low[::6]]
    # The last batch reaches from the day into the hour, so that the stream has no pause.
    for shares in (usual[:4000], [*usual[4000:], *low, *stale]):
        await service.publish(instance.batch(shares))
    await pass_until(
        service,
        [instance],
        from_ms=end_ms,
        to_ms=end_ms + 31_000,
        is_done=has_told(service, 2),
        what="both notices",
    )
    low_notice, rejects_notice = await told(service.platform.pool)
    assert low_notice.hashrate_low.worker == rejects_notice.rejects_high.worker == "rig"
    assert low_notice.hashrate_low.hps == 60 * 1000 // 3600
    assert low_notice.hashrate_low.usual_hps in range(63, 68)
    assert low_notice.hashrate_low.step_percent == 40
    assert low_notice.time_ms == end_ms
    refused = rejects_notice.rejects_high
    assert (refused.reason, refused.percent_hundredths, refused.share_count) == ("stale", 1428, 70)
    assert refused.step_percent == 10


async def test_term_that_is_over_decides_nothing(service):
    """A process that was frozen finds the fence of its successor."""
    pool = service.platform.pool
    async with acquired(pool) as connection:
        token = await take_fence(connection, "miners", f"presence/{COIN}")
        await take_fence(connection, "miners", f"presence/{COIN}")
    watch = PresenceWatch(
        pool=pool, coin_id=COIN, clock=service.platform.clock, counters=Counters(), on_put=lambda: None
    )
    with pytest.raises(Fenced):
        await watch.decide(token, StreamTime(now_ms=now_ms(), awake_ms=0))


async def test_replay_and_restart_change_nothing(platform):
    """D3, D4."""
    instance, time_ms = FakeInstance(), now_ms()
    shares = [FakeShare(time_ms=time_ms - 8000 + n * 1000) for n in range(8)]
    query = """
        SELECT worker, new_count, new_ms, new_work, create_time_ms, last_share_time_ms, accepted, bin.work
        FROM miners.worker JOIN (SELECT worker_id, sum(accepted) AS accepted, sum(work) AS work FROM miners.worker_bin
            GROUP BY worker_id) AS bin USING (worker_id)
        """
    async with running(platform) as service:
        await service.publish(instance.batch(shares))
        before = [tuple(row) for row in await platform.pool.fetch(query)]
        await service.publish(instance.batch_at(1, shares), instance.batch_at(5, shares[4:]))
        assert [tuple(row) for row in await platform.pool.fetch(query)] == before
    async with running(platform) as service:
        await service.publish(instance.batch([FakeShare(time_ms=time_ms)]))
        found = await platform.pool.fetchrow("SELECT new_count, new_ms FROM miners.worker")
    assert tuple(found) == (8, 8000)


async def test_malformed_record_is_passed_over(service):
    await service.publish(
        OutRecord(key=b"x", payload=b"\xff"),
        FakeInstance("nul").batch([FakeShare(account="a\x00b")]),
        FakeInstance("huge").batch_at((1 << 63) - 1, [FakeShare(), FakeShare()]),
        FakeInstance().batch([FakeShare()]),
    )
    page = await call(service.stub.ListAccounts, miners_pb2.ListAccountsRequest(coin=COIN))
    assert [account.account for account in page.accounts] == ["alice"]


async def test_threshold_is_set_once_per_request(service):
    await service.publish(FakeInstance().batch([FakeShare()]))
    assert (await service.update("alice", 5000, "first")).payout_threshold_atomic == 5000
    assert (await service.update("alice", 0, "second")).payout_threshold_atomic == 0
    assert (await service.update("alice", 5000, "first")).payout_threshold_atomic == 0
    with pytest.raises(InvalidArgument) as caught:
        await service.update("alice", 6000, "first")
    assert caught.value.field == "request_id"
    assert (await audit(service.platform.pool)).is_ok


@pytest.mark.parametrize(
    ("name", "threshold", "request_id", "field"),
    [
        ("alice", 999, "r", "payout_threshold_atomic"),
        ("alice", -1, "r", "payout_threshold_atomic"),
        ("alice", 1000, "", "request_id"),
        ("", 1000, "r", "account"),
    ],
)
async def test_bad_update_names_its_field(service, name, threshold, request_id, field):
    await service.publish(FakeInstance().batch([FakeShare()]))
    with pytest.raises(InvalidArgument) as caught:
        await service.update(name, threshold, request_id)
    assert caught.value.field == field


async def test_update_of_an_unknown_account_is_refused(service):
    with pytest.raises(NotFound):
        await service.update("nobody", 5000, "r")


async def test_several_accounts_come_in_the_order_asked(service):
    await service.publish(FakeInstance().batch([FakeShare(account=name) for name in "abc"]))
    await service.update("c", 7000, "r")
    request = miners_pb2.BatchGetAccountsRequest(coin=COIN, accounts=["c", "nobody", "a"])
    found = await call(service.stub.BatchGetAccounts, request)
    assert [(entry.account, entry.payout_threshold_atomic) for entry in found.accounts] == [("c", 7000), ("a", 0)]
    with pytest.raises(InvalidArgument):
        await call(service.stub.BatchGetAccounts, miners_pb2.BatchGetAccountsRequest(coin=COIN, accounts=["a"] * 1001))


async def test_lists_are_paged_without_loss(service):
    """R6."""
    shares = [FakeShare(account=account, worker=worker) for account in "abc" for worker in ("x", "y", "")]
    await service.publish(FakeInstance().batch(shares))
    accounts, workers, token = [], [], ""
    while True:
        request = miners_pb2.ListAccountsRequest(coin=COIN, page_size=2, page_token=token)
        page = await call(service.stub.ListAccounts, request)
        accounts += [entry.account for entry in page.accounts]
        if not (token := page.next_page_token):
            break
    while True:
        asked = miners_pb2.ListWorkersRequest(coin=COIN, page_size=2, page_token=token)
        found = await call(service.stub.ListWorkers, asked)
        workers += [entry.worker for entry in found.workers]
        if not (token := found.next_page_token):
            break
    assert accounts == ["a", "b", "c"]
    assert workers == ["", "", "", "x", "x", "x", "y", "y", "y"]
