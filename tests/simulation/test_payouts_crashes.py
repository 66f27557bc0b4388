"""A payer crashes at every arrow between two effects; the next one continues, and everybody is paid exactly once."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nodes.regtest import LitecoindRegtest, find_litecoind
from payouts.domain import PAYING_ARROWS, Arrow, BatchStatus
from payouts.errors import PayerLockLost
from tests.fakes.payouts_world import (
    Crasher,
    LitecoindBench,
    SimulatedBench,
    SimulatedCrash,
    World,
    seeded,
)


@pytest.fixture
async def world(database: Any) -> World:
    return await World.make(database.pool, SimulatedBench())


@pytest.fixture
async def litecoind(short_dir: Path) -> AsyncIterator[LitecoindBench]:
    if find_litecoind() is None:
        pytest.skip("missing component: litecoind")
    async with LitecoindRegtest(short_dir / "litecoin") as regtest:
        bench = LitecoindBench(regtest)
        await bench.fund()
        yield bench
        await bench.rpc.close()


async def give_balances(world: World) -> None:
    """Three kinds of address over the threshold, one account below it."""
    await world.miner(1_234_567)
    await world.miner(7_000_001, kind="legacy")
    await world.miner(1_000_000, kind="p2sh-segwit")
    await world.miner(999_999, is_due=False)


@pytest.mark.parametrize("arrow", PAYING_ARROWS)
async def test_crash_at_any_arrow_pays_everybody_exactly_once(world: World, arrow: Arrow) -> None:
    """P1 P2 P3 P5: reserve, sign, store, broadcast, confirm, post; a new payer continues from what is stored."""
    await give_balances(world)

    assert await world.crash_at(arrow), f"{arrow} was never passed"
    await world.pay()

    await world.assert_everybody_paid_once(arrow)
    assert [batch.status for batch in await world.batches()] == [BatchStatus.CONFIRMED]


@pytest.mark.parametrize("arrow", PAYING_ARROWS)
async def test_crashing_three_times_at_one_arrow_pays_everybody_exactly_once(world: World, arrow: Arrow) -> None:
    """P3"""
    await give_balances(world)

    for _ in range(3):
        await world.crash_at(arrow)
    await world.pay()

    await world.assert_everybody_paid_once(arrow)


@pytest.mark.parametrize("arrow", [Arrow.BUILT, Arrow.STORING, Arrow.STORED, Arrow.SENDING, Arrow.SENT, Arrow.MARKING])
async def test_crash_of_payer_and_node_together_pays_everybody_exactly_once(world: World, arrow: Arrow) -> None:
    """P3: the node has forgotten its locks and its mempool as well."""
    await give_balances(world)
    bench = world.bench
    assert isinstance(bench, SimulatedBench)

    assert await world.crash_at(arrow)
    bench.node.wallet.locked.clear()
    bench.node.chain.mempool.clear()
    await world.pay()

    await world.assert_everybody_paid_once(arrow)


@pytest.mark.parametrize("remainder", range(4))
async def test_crash_before_any_single_effect_pays_everybody_exactly_once(world: World, remainder: int) -> None:
    """P1 P2 P3 P5: not only where the arrows are, but before each statement and each call that a payer makes."""
    effects = remainder
    while True:
        await world.miner(1_234_567)
        await world.miner(7_000_001, kind="legacy")
        has_crashed = await world.crash_after(effects)
        await world.assert_books_agree(f"effect {effects}")
        await world.pay()
        await world.assert_everybody_paid_once(f"effect {effects}")
        if not has_crashed:
            break
        effects += 4
    assert effects > 40


@pytest.mark.parametrize("seed", range(12))
async def test_payers_that_crash_at_random_pay_everybody_exactly_once(world: World, seed: int) -> None:
    """P3 P5: many batches, balances that grow meanwhile, a crash at one arrow in ten."""
    chance = seeded(seed)
    accounts: list[str] = []
    for _ in range(25):
        if chance.random() < 0.6:
            accounts.append(await world.miner(chance.randrange(1_000_000, 9_000_000)))
        for account in chance.sample(accounts, k=min(2, len(accounts))):
            amount = chance.randrange(1_000_000, 2_000_000)
            await world.credit(account, amount)
            world.expected[account] += amount
        crasher = Crasher(frozenset(Arrow), chance=lambda: chance.random() < 0.1)
        payer = world.payer(checkpoint=crasher.checkpoint)
        crasher.payer = payer
        try:
            await world.round(payer)
        except (SimulatedCrash, PayerLockLost):
            assert crasher.has_crashed
        if chance.random() < 0.5:
            await world.bench.mine()
        await world.assert_books_agree(f"seed {seed}")

    await world.pay()
    await world.assert_everybody_paid_once(f"seed {seed}")


async def test_every_arrow_of_a_good_batch_is_passed_in_order(world: World) -> None:
    await give_balances(world)
    crasher = Crasher(frozenset())

    payer = world.payer(checkpoint=crasher.checkpoint)
    for _ in range(3):
        await world.round(payer)
        await world.bench.mine()

    assert tuple(crasher.passed) == PAYING_ARROWS


@pytest.mark.parametrize("arrow", [Arrow.REVIEWING, Arrow.REVIEWED])
async def test_crash_while_a_batch_goes_to_review_leaves_it_in_review_once(world: World, arrow: Arrow) -> None:
    """P3 P10"""
    await give_balances(world)
    bench = world.bench
    assert isinstance(bench, SimulatedBench)
    await world.round()
    bench.node.mine_double_spend((await world.batch()).txid_hex)

    assert await world.crash_at(arrow)
    await world.round()

    assert (await world.batch()).status is BatchStatus.REVIEW
    await world.assert_books_agree()


@pytest.mark.parametrize("arrow", [Arrow.VOIDING, Arrow.VOIDED])
async def test_crash_while_the_operator_voids_returns_the_balances_once(world: World, arrow: Arrow) -> None:
    """P3"""
    await give_balances(world)
    bench = world.bench
    assert isinstance(bench, SimulatedBench)
    await world.round()
    batch = await world.batch()
    bench.node.mine_double_spend(batch.txid_hex)
    await world.bench.mine(2)
    await world.round()

    crasher = Crasher({arrow})
    with pytest.raises(SimulatedCrash):
        await world.reviewer(checkpoint=crasher.checkpoint).void(batch.batch_id, reason="spent", request_id="r1")
    await world.reviewer().void(batch.batch_id, reason="spent", request_id="r1")
    assert (await world.batch()).status is BatchStatus.VOIDED
    await world.pay()

    await world.assert_everybody_paid_once(arrow)


@pytest.mark.parametrize("arrow", [Arrow.VOIDING, Arrow.VOIDED])
async def test_crash_while_a_heavy_batch_is_split_pays_everybody_exactly_once(database: Any, arrow: Arrow) -> None:
    """P7"""
    world = await World.make(database.pool, SimulatedBench())
    world.settings = type(world.settings)(confirmations=1, weight_max=2_000, outputs_max=200)
    for _ in range(20):
        await world.miner(1_500_000)
    # Forty small coins make the inputs heavier than the estimate of one.
    await make_small_coins(world, count=40, amount_atomic=2_500_000)

    assert await world.crash_at(arrow), "no batch was split"
    await world.pay()

    await world.assert_everybody_paid_once(arrow)


async def make_small_coins(world: World, *, count: int, amount_atomic: int) -> None:
    """Turn the paying wallet's coins into many small ones."""
    bench = world.bench
    assert isinstance(bench, SimulatedBench)
    node = bench.node
    total = await node.balance_atomic()
    outputs = [(node.wallet.new_address(), amount_atomic) for _ in range(count)]
    spare = total - count * amount_atomic - 1_000_000
    signed = await node.build([*outputs, (bench.miner.new_address(), spare)], fee_rate_sat_per_kvb=10_000)
    await node.broadcast(signed.raw)
    await bench.mine()


@pytest.mark.litecoind
@pytest.mark.timeout(600)
async def test_crash_at_any_arrow_pays_everybody_exactly_once_on_litecoind(
    database: Any, litecoind: LitecoindBench
) -> None:
    """P1 P2 P3 P5, on a real node: the same scenario, arrow after arrow."""
    world = await World.make(database.pool, litecoind)
    for arrow in PAYING_ARROWS:
        await give_balances(world)
        assert await world.crash_at(arrow), f"{arrow} was never passed"
        await world.pay()
        await world.assert_everybody_paid_once(arrow)
    assert {batch.status for batch in await world.batches()} == {BatchStatus.CONFIRMED}


@pytest.mark.litecoind
@pytest.mark.timeout(600)
@pytest.mark.parametrize("arrow", [Arrow.BUILT, Arrow.STORED, Arrow.SENT])
async def test_payer_and_litecoind_killed_together_pay_everybody_exactly_once(
    database: Any, litecoind: LitecoindBench, arrow: Arrow
) -> None:
    """P3: the node is killed with the payer, and has lost its locks and what of its mempool was not on disk."""
    world = await World.make(database.pool, litecoind)
    await give_balances(world)

    assert await world.crash_at(arrow)
    await litecoind.regtest.kill(0)
    waiting = await world.round()
    assert "cannot be reached" in waiting
    await litecoind.regtest.restart(0)
    await world.pay()

    await world.assert_everybody_paid_once(arrow)


@pytest.mark.litecoind
@pytest.mark.timeout(600)
async def test_process_killed_with_sigkill_at_any_arrow_pays_everybody_exactly_once_on_litecoind(
    database: Any, litecoind: LitecoindBench
) -> None:
    """P1 P2 P3 P4 P5: a real process, a real kill -9, a real node; the lock comes free by itself."""
    world = await World.make(database.pool, litecoind)
    node = msgspec.json.encode(litecoind.regtest.node_settings()[0]).decode()
    for arrow in PAYING_ARROWS:
        await give_balances(world)
        command = [sys.executable, "-m", "tests.fakes.payouts_process", database.dsn, node, arrow.value]
        process = await asyncio.create_subprocess_exec(*command)
        try:
            async with asyncio.timeout(60):
                while process.returncode is None:
                    await world.bench.mine()
                    await asyncio.sleep(0.2)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        assert process.returncode == -signal.SIGKILL, arrow
        await world.pay()
        await world.assert_everybody_paid_once(arrow)
