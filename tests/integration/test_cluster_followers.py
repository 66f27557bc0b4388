"""Two rewards services of a cluster: both read found blocks, one follows the chain and books."""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from coins.settings import PoolSettings
from rewards import booking, main
from rewards.booking import Books
from rewards.domain import Block, Scheme, Status, WindowPlan, distribute
from runtime.etcd.claims import ClaimTiming
from runtime.etcd.client import EtcdClient
from runtime.etcd.exclusive import EtcdExclusive
from runtime.eventlog.interface import OutRecord
from runtime.live import Live
from runtime.platform import Platform
from runtime.postgres.fence import Fenced
from runtime.postgres.pool import acquired
from runtime.process import socket_dir
from runtime.rpc.client import StaticDirectory
from runtime.serving import LocalServing
from tests.fakes.etcd_cluster import EtcdCluster
from tests.fakes.rewards_world import COIN, RewardsWorld, open_rewards_world
from tests.fakes.tcp_proxy import TcpProxy
from tests.fakes.waiting import eventually

TIMING = ClaimTiming(ttl_s=1.0, margin_s=0.2)
NAME = f"rewards/{COIN.coin_id}"
REWARD = 5_000_000_000
NET = REWARD - REWARD // 100


@pytest.fixture
async def world(platform: Platform) -> AsyncIterator[RewardsWorld]:
    world = await open_rewards_world(platform)
    yield world
    await world.close()


class Pair:
    """Two services, each with a way of its own to etcd."""

    def __init__(self, world: RewardsWorld, proxies: dict[str, TcpProxy], exclusive: EtcdExclusive) -> None:
        self.world = world
        self.proxies = proxies
        self._exclusive = exclusive
        self.hashes: list[str] = []

    async def leader(self) -> str:
        leader = await self._exclusive.leader(NAME)
        return leader.owner if leader is not None else ""

    async def has_begun(self) -> bool:
        """Tell whether the leader's term stands in the database."""
        async with acquired(self.world.platform.pool) as conn:
            return bool(await conn.fetchval("SELECT EXISTS (SELECT FROM rewards.fence)"))

    async def find_blocks(self, count: int) -> None:
        """Let the pool find blocks, and publish each of them twice."""
        for _ in range(count):
            block_hash = self.world.node.mine_block(self.world.address)
            self.hashes.append(block_hash)
            payload = (await self.world.message(block_hash)).SerializeToString()
            await self.world.platform.eventlog.publish("blocks", [OutRecord(key=b"", payload=payload)] * 2)

    async def have(self, status: Status) -> bool:
        """Tell whether all blocks are known and have the status."""
        async with acquired(self.world.platform.pool) as conn:
            rows = await conn.fetch("SELECT block_hash_hex FROM rewards.block WHERE status = $1", status.value)
        return {row[0] for row in rows} == set(self.hashes)

    async def assert_each_credited_once(self) -> None:
        async with acquired(self.world.platform.pool) as conn:
            rows = await conn.fetch("SELECT generation FROM rewards.block")
        assert [row[0] for row in rows] == [1] * len(self.hashes)
        owned = [await self.world.balance(name) for name in self.world.shares.work]
        total = sum(balance.immature_atomic + balance.payable_atomic for balance in owned)
        assert total == NET * len(self.hashes)
        report = await self.world.audit()
        assert report.is_ok, report.findings


@pytest.fixture
async def pair(world: RewardsWorld, short_dir: Path) -> AsyncIterator[Pair]:
    pool_settings = PoolSettings(coin=COIN.coin_id, address=world.address)
    async with EtcdCluster() as cluster, contextlib.AsyncExitStack() as stack:
        proxies: dict[str, TcpProxy] = {}
        tasks: list[asyncio.Task[None]] = []
        for name in ("a", "b"):
            proxies[name] = await stack.enter_async_context(TcpProxy(cluster.members[0].client_port))
            settings = cluster.settings(endpoints=(proxies[name].endpoint,), attempt_timeout_s=0.3)
            etcd = await stack.enter_async_context(EtcdClient(settings))
            sockets = socket_dir(short_dir / name)
            platform = dataclasses.replace(
                world.platform,
                serve=LocalServing(StaticDirectory({"rewards": f"unix:{sockets}/rewards.sock"})),
                exclusive=EtcdExclusive(etcd, name, timing=TIMING),
            )
            tasks.append(asyncio.create_task(main.run(Live(world.settings), pool_settings, platform, world.node)))
        watching = await stack.enter_async_context(EtcdClient(cluster.settings()))
        pair = Pair(world, proxies, EtcdExclusive(watching, "watcher"))
        await eventually(pair.leader, what="a leader")
        yield pair
        for task in tasks:
            assert not task.done(), task
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_two_services_write_each_block_once_and_credit_it_once(pair: Pair) -> None:
    """R2 D3"""
    await pair.find_blocks(8)
    await eventually(lambda: pair.have(Status.IMMATURE), what="all blocks credited")
    pair.world.node.mine_blocks(COIN.maturity_blocks)
    await eventually(lambda: pair.have(Status.MATURE), what="all blocks mature")

    await pair.assert_each_credited_once()


async def test_follower_cut_off_from_etcd_is_followed_by_the_other(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """R2: blocks that were found meanwhile wait; none is credited twice."""
    await pair.find_blocks(2)
    await eventually(lambda: pair.have(Status.IMMATURE), what="the first blocks credited")
    first = await pair.leader()
    with caplog.at_level(logging.INFO):
        pair.proxies[first].freeze()
        await pair.find_blocks(3)

        async def has_changed() -> bool:
            return await pair.leader() not in {"", first}

        await eventually(has_changed, what="another leader")
        await eventually(lambda: pair.have(Status.IMMATURE), what="all blocks credited")
        pair.proxies[first].thaw()
        await pair.find_blocks(2)
        await eventually(lambda: pair.have(Status.IMMATURE), what="all blocks credited")

    await pair.assert_each_credited_once()
    seen = [record.getMessage() for record in caplog.records]
    assert seen.index("claim lost") < seen.index("follower started")


async def test_follower_whose_term_is_over_stands_down_with_one_warning_and_follows_again(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """R2: somebody has begun a later term in the database, whatever etcd says."""
    await eventually(pair.has_begun, what="the leader's term")
    with caplog.at_level(logging.INFO, "lodepool.rewards"):
        await pair.world.books()
        await pair.find_blocks(3)
        await eventually(lambda: pair.have(Status.IMMATURE), what="all blocks credited")

    await pair.assert_each_credited_once()
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warned == ["follower stood down"]


# --- what the fence refuses ---

PLAN = WindowPlan(start_height=0, end_height=4, window_work=1)


async def credit(books: Books, block: Block) -> None:
    found = dataclasses.replace(block.found, scheme=Scheme.SOLO)
    await booking.credit(books, block, distribute(found, {}), round_work=1)


async def keep_plan(books: Books, block: Block) -> None:
    await booking.keep_plan(books, block.found, PLAN)


async def hold(books: Books, block: Block) -> None:
    await booking.hold(books, block, "a reason")


async def note_confirmations(books: Books, block: Block) -> None:
    await booking.note_confirmations(books, {block.found.block_hash_hex: 77})


CANDIDATE_STEPS = [credit, booking.orphan, keep_plan, hold, note_confirmations]
IMMATURE_STEPS = [booking.mature, booking.reverse]
ORPHANED_STEPS = [booking.credit_again]


@pytest.mark.parametrize("step", CANDIDATE_STEPS + IMMATURE_STEPS + ORPHANED_STEPS)
async def test_no_step_is_booked_by_an_earlier_term(
    world: RewardsWorld, step: Callable[[Books, Block], Awaitable[None]]
) -> None:
    """R2: as by a process that was frozen while another one began; the same step of the later term is booked."""
    block_hash = await world.find_block()
    if step not in CANDIDATE_STEPS:
        await world.look()
    if step in ORPHANED_STEPS:
        await booking.reverse(await world.books(), await world.block(block_hash))
    block = await world.block(block_hash)
    earlier = await world.books()
    later = await world.books()
    totals = await world.totals()

    with pytest.raises(Fenced):
        await step(earlier, block)

    assert await world.block(block_hash) == block
    assert await world.totals() == totals
    await step(later, block)
