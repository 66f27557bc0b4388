"""Histories, leaders and rejected shares on a real PostgreSQL, over a real socket."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from coins.settings import PoolSettings
from proto.lodepool.shares.v1 import shares_pb2, shares_pb2_grpc
from runtime.live import Live
from runtime.platform import Platform
from runtime.rpc.client import call
from runtime.rpc.errors import InvalidArgument, NotFound
from shares import history
from shares.config import SharesSettings
from shares.main import run
from tests.fakes.share_stream import LOW, STALE, FakeInstance, FakeShare

COIN = "litecoin-regtest"
POOL = PoolSettings(coin=COIN, address="rltc1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnmxrc5")
DAY, WEEK, QUARTER = (
    shares_pb2.HISTORY_WINDOW_DAY,
    shares_pb2.HISTORY_WINDOW_WEEK,
    shares_pb2.HISTORY_WINDOW_QUARTER,
)
TEN_MIN_MS = 600_000


class World:
    """The running service and what is asked of it."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.stub = shares_pb2_grpc.ShareServiceStub(platform.clients.channel("shares"))
        self.instance = FakeInstance()
        self.booked_count = 0

    async def book(self, *shares: FakeShare) -> None:
        """Publish shares and wait until they are booked."""
        await self.platform.eventlog.publish("shares", [self.instance.batch([share]) for share in shares])
        self.booked_count += len(shares)
        async with asyncio.timeout(20):
            while True:
                totals = await call(self.stub.GetTotals, shares_pb2.GetTotalsRequest(coin=COIN))
                counts = totals.instances
                if counts.accepted + counts.stale + counts.low_difficulty == self.booked_count:
                    return
                await asyncio.sleep(0.02)

    async def history(self, window: int, **fields: str) -> shares_pb2.HashrateHistory:
        request = shares_pb2.GetHashrateHistoryRequest(coin=COIN, window=window, **fields)
        return await call(self.stub.GetHashrateHistory, request)

    async def roll(self) -> int:
        return await history.roll(self.platform.pool, now_ms=time.time_ns() // 1_000_000)


@pytest.fixture
async def world(platform: Platform) -> AsyncIterator[World]:
    is_ready = asyncio.Event()
    serving = asyncio.create_task(
        run(Live(SharesSettings()), POOL, replace(platform, ready=lambda _name: is_ready.set()))
    )
    waiting = asyncio.create_task(is_ready.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    waiting.cancel()
    if serving.done():
        await serving
    yield World(platform)
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def sums(answer: shares_pb2.HashrateHistory) -> tuple[int, int, int]:
    points = answer.points
    return sum(int(p.work) for p in points), sum(p.accepted for p in points), sum(p.rejected for p in points)


def long_ago(spans: int) -> int:
    """Return a time in the middle of a ten-minute span, so many before the current one."""
    now_ms = time.time_ns() // 1_000_000
    return (now_ms // TEN_MIN_MS - spans) * TEN_MIN_MS + 300_000


async def test_history_is_the_same_before_and_after_the_roll_up(world):
    """S9: rejected shares are in it."""
    old, late, now = long_ago(8), long_ago(3), time.time_ns() // 1_000_000
    await world.book(
        FakeShare(time_ms=old, work=100, account="alice", worker="a"),
        FakeShare(time_ms=old, work=200, account="alice", worker="b", scheme="prop"),
        FakeShare(time_ms=old, work=900, account="alice", worker="b", outcome=STALE),
        FakeShare(time_ms=late, work=400, account="bob", worker=""),
        FakeShare(time_ms=now, work=800, account="alice", worker="a", height=101),
    )
    asked = [{}, {"account": "alice"}, {"account": "alice", "worker": "a"}, {"account": "bob", "worker": ""}]
    expected = [(1500, 4, 1), (1100, 3, 1), (900, 2, 0), (400, 1, 0)]
    for window in (DAY, WEEK, QUARTER):
        assert [sums(await world.history(window, **fields)) for fields in asked] == expected
    assert await world.roll() == 2
    assert await world.roll() == 0
    for window in (DAY, WEEK, QUARTER):
        assert [sums(await world.history(window, **fields)) for fields in asked] == expected
    points = (await world.history(DAY)).points
    assert len(points) >= 9
    assert {b.time_ms - a.time_ms for a, b in itertools.pairwise(points)} == {TEN_MIN_MS}
    first = points[0]
    assert (first.time_ms, first.work, first.worker_count) == (old - 300_000, "300", 2)
    assert first.hps == str(300 * 1000 // 300_000), "the half span after the pool's first share"


async def test_late_shares_are_rolled_up_once(world):
    """D3: shares that come after their span was rolled up are added, and only they."""
    old = long_ago(5)
    await world.book(FakeShare(time_ms=old, work=100))
    await world.roll()
    await world.book(FakeShare(time_ms=old, work=11, worker="late"), FakeShare(time_ms=old, work=1, outcome=LOW))
    assert await world.roll() == 1
    assert await world.roll() == 0
    for window in (DAY, WEEK, QUARTER):
        assert sums(await world.history(window)) == (111, 2, 1)
        assert sums(await world.history(window, account="alice", worker="rig")) == (100, 1, 1)


async def test_who_has_never_mined_has_no_history(world):
    assert not (await world.history(DAY)).points
    with pytest.raises(NotFound):
        await world.history(DAY, account="alice")
    await world.book(FakeShare(time_ms=long_ago(1)))
    with pytest.raises(NotFound):
        await world.history(DAY, account="alice", worker="stranger")
    for fields in ({"worker": "rig"}, {"account": "x" * 300}, {"account": "alice", "worker": "a\x00"}):
        with pytest.raises(InvalidArgument):
            await world.history(DAY, **fields)
    with pytest.raises(InvalidArgument):
        await world.history(0)


async def test_a_worker_is_told_when_and_why_its_last_share_was_rejected(world):
    """S9."""
    old, new = long_ago(4), long_ago(1)
    shares = [FakeShare(time_ms=old, outcome=STALE), FakeShare(time_ms=old, outcome=LOW), FakeShare(time_ms=old)]
    await world.book(*shares, FakeShare(time_ms=old, outcome=STALE), FakeShare(time_ms=old, worker="good"))
    request = shares_pb2.GetAccountStatsRequest(coin=COIN, account="alice")
    for is_rolled in (False, True):
        if is_rolled:
            await world.roll()
        stats = await call(world.stub.GetAccountStats, request)
        rejects = {w.worker: (w.last_reject_time_ms, w.last_reject_reason) for w in stats.workers}
        assert rejects == {"rig": (old // 60_000 * 60_000, "stale"), "good": (0, "")}
        assert stats.accepted_count_1h == 2
    await world.book(FakeShare(time_ms=new, outcome=LOW))
    await world.roll()
    stats = await call(world.stub.GetAccountStats, request)
    assert stats.workers[1].last_reject_reason == "low_difficulty"


async def test_leaders_are_ranked_by_a_days_work_page_by_page(world):
    """R6: pages have a unique order."""
    old = long_ago(20)
    works = {"a": 5, "b": 9, "c": 5, "d": 1}
    await world.book(*[FakeShare(time_ms=old, account=name, work=work) for name, work in works.items()])
    found, token = [], ""
    while True:
        request = shares_pb2.ListLeadersRequest(coin=COIN, page_size=1, page_token=token)
        answer = await call(world.stub.ListLeaders, request)
        found += [(leader.account, leader.work, leader.worker_count) for leader in answer.leaders]
        token = answer.next_page_token
        if not token:
            break
    assert found == [("b", "9", 1), ("a", "5", 1), ("c", "5", 1), ("d", "1", 1)]
