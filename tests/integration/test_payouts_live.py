"""Settings that change while the payer runs: in force at once, without a restart."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from payouts.config import PayoutSettings
from payouts.domain import Arrow
from payouts.payer import Payer
from payouts.sender import Checkpoint, no_checkpoint
from runtime.clock import SystemClock
from runtime.exclusive import Alone
from runtime.live import Live
from tests.fakes.payouts_world import COIN, SETTINGS, SimulatedBench, World
from tests.fakes.waiting import eventually

IN_FORCE_S = 2.0
"""The promise, with an interval of an hour between two rounds."""


@pytest.fixture
async def world(database: Any) -> World:
    return await World.make(database.pool, SimulatedBench())


class Running:
    """A payer that runs on the real clock."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.live = Live(msgspec.structs.replace(SETTINGS, interval_s=3600.0))
        self.task: asyncio.Task[None] | None = None

    async def start(self, *, checkpoint: Checkpoint = no_checkpoint) -> None:
        payer = Payer(
            coin=COIN,
            live=self.live,
            pool=self.world.pool,
            wallet=self.world.bench.wallet,
            thresholds=self.world.thresholds,
            clock=SystemClock(),
            checkpoint=checkpoint,
        )
        self.task = asyncio.create_task(payer.run(Alone()))
        await eventually(lambda: payer.metrics.rounds, what="the first round")

    def change(self, **changes: object) -> PayoutSettings:
        assert self.live.set(msgspec.structs.replace(self.live.value, **changes)) == ()
        return self.live.value

    async def batch_count(self) -> int:
        return len(await self.world.batches())


@pytest.fixture
async def running(world: World) -> AsyncIterator[Running]:
    running = Running(world)
    yield running
    assert running.task is not None
    running.task.cancel()
    await asyncio.gather(running.task, return_exceptions=True)


async def test_lower_threshold_is_paid_at_once(running: Running) -> None:
    await running.start()
    account = await running.world.miner(500_000)

    running.change(threshold_atomic=400_000)
    await eventually(running.batch_count, timeout_s=IN_FORCE_S, what="a batch")

    assert await running.world.items((await running.world.batch()).batch_id) == {account: 500_000}


async def test_payouts_that_are_switched_off_make_no_batch_and_go_on_when_switched_on(running: Running) -> None:
    running.live.set(msgspec.structs.replace(running.live.value, is_enabled=False))
    await running.world.miner(2_000_000)
    await running.start()
    assert await running.batch_count() == 0

    running.change(is_enabled=True)

    await eventually(running.batch_count, timeout_s=IN_FORCE_S, what="a batch")


async def test_switching_off_comes_between_choosing_and_reserving(running: Running) -> None:
    """P1: nothing is reserved by a decision that is out of date."""
    account = await running.world.miner(2_000_000)

    async def checkpoint(arrow: Arrow) -> None:
        if arrow is Arrow.CHOSEN:
            running.live.set(msgspec.structs.replace(running.live.value, is_enabled=False))

    await running.start(checkpoint=checkpoint)

    async def waits() -> bool:
        async with running.world.pool.acquire() as conn:
            reason = await conn.fetchval("SELECT wait_reason FROM payouts.payer WHERE coin = $1", COIN.coin_id)
        return "switched off" in str(reason)

    await eventually(waits, what="a payer that waits")
    assert await running.batch_count() == 0
    assert (await running.world.balance(account)).payable_atomic == 2_000_000


async def test_new_fee_ceiling_belongs_to_new_batches_and_not_to_one_that_is_reserved(running: Running) -> None:
    """P9: the policy was committed with the intent."""
    await running.world.miner(2_000_000)
    ceiling = running.live.value.fee_atomic_max

    async def checkpoint(arrow: Arrow) -> None:
        if arrow is Arrow.RESERVED:
            running.change(fee_atomic_max=ceiling - 1)

    await running.start(checkpoint=checkpoint)
    await eventually(running.batch_count, what="the first batch")
    await running.world.bench.mine(2)
    await running.world.miner(3_000_000)
    running.change(rebroadcast_s=601.0)

    async def have_two() -> bool:
        return await running.batch_count() == 2

    await eventually(have_two, timeout_s=IN_FORCE_S, what="the second batch")
    assert [batch.fee_policy.fee_atomic_max for batch in await running.world.batches()] == [ceiling, ceiling - 1]
