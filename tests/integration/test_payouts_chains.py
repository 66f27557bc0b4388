"""Transactions that hang on others: what only seems dead is neither voided nor paid again."""

from typing import Any

import pytest

from coins.bitcoin.transaction import parse_transaction
from nodes.interface import BroadcastOutcome
from payouts.domain import Batch, BatchStatus
from runtime.rpc.errors import FailedPrecondition
from tests.fakes.payouts_world import COIN, SimulatedBench, World


@pytest.fixture
async def bench() -> SimulatedBench:
    return SimulatedBench(coinbases=1)


@pytest.fixture
async def world(database: Any, bench: SimulatedBench) -> World:
    return await World.make(database.pool, bench)


class Refusing:
    """A wallet whose node does not take one transaction.

    Args:
        inner: The wallet.
        raw: The transaction's bytes.
    """

    def __init__(self, inner: Any, raw: bytes) -> None:
        self._inner = inner
        self._raw = raw

    async def broadcast(self, raw: bytes) -> BroadcastOutcome:
        if raw == self._raw:
            return BroadcastOutcome.from_refusal("mempool min fee not met", is_known=False)
        outcome: BroadcastOutcome = await self._inner.broadcast(raw)
        return outcome

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def fund(bench: SimulatedBench) -> None:
    bench.node.mine_blocks(1, bench.node.wallet.new_address())
    await bench.mine(COIN.maturity_blocks)


async def two_batches_one_spending_the_change_of_the_other(world: World) -> tuple[Batch, Batch]:
    await world.miner(2_000_000)
    await world.round()
    await world.miner(3_000_000)
    await world.round()
    parent, child = await world.batches()
    assert parent.raw is not None
    assert child.raw is not None
    assert parse_transaction(child.raw).inputs[0].txid == parse_transaction(parent.raw).txid
    return parent, child


async def test_batch_whose_parent_is_not_in_the_chain_is_not_voided_though_the_node_misses_its_inputs(
    world: World, bench: SimulatedBench
) -> None:
    """P3 P10: the inputs do not exist yet; once the parent confirms, so can the child."""
    parent, child = await two_batches_one_spending_the_change_of_the_other(world)
    assert parent.raw is not None
    assert child.raw is not None
    bench.node.chain.mempool.clear()
    wallet: Any = Refusing(bench.node, parent.raw)
    await world.round(world.payer(wallet=wallet))
    assert [batch.status for batch in await world.batches()] == [BatchStatus.REVIEW] * 2

    with pytest.raises(FailedPrecondition, match=f"it spends {parent.txid_hex}, which is in no block"):
        await world.reviewer(wallet=wallet).void(child.batch_id, reason="missing inputs", request_id="r1")

    bench.node.send(parent.raw)
    bench.node.send(child.raw)
    await bench.mine()
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_batch_whose_parent_is_dead_is_voided_with_it(world: World, bench: SimulatedBench) -> None:
    """P3: but not before what killed the parent is deep."""
    parent, child = await two_batches_one_spending_the_change_of_the_other(world)
    bench.node.mine_double_spend(parent.txid_hex)
    await world.round()
    assert [batch.status for batch in await world.batches()] == [BatchStatus.REVIEW] * 2

    with pytest.raises(FailedPrecondition, match="1 deep, 2 are needed"):
        await world.reviewer().void(child.batch_id, reason="its parent is dead", request_id="r1")
    await bench.mine()
    for number, batch in enumerate((child, parent)):
        await world.reviewer().void(batch.batch_id, reason="dead", request_id=f"v{number}")

    await fund(bench)
    await world.pay()
    for account, amount_atomic in world.expected.items():
        assert await bench.received_atomic(account) == amount_atomic
        assert (await world.balance(account)).paid_atomic == amount_atomic


async def test_unknown_send_stops_payouts_until_what_conflicts_with_it_is_deep(
    world: World, bench: SimulatedBench
) -> None:
    """P2: one block can be reorganised away, and the send is alive again."""
    account = await world.miner(2_000_000)
    signed = await bench.wallet.build([(account, 2_000_000)], fee_rate_sat_per_kvb=10_000)
    await bench.wallet.broadcast(signed.raw)
    assert f"the wallet has sent {signed.txid_hex}" in await world.round()

    bench.node.mine_double_spend(signed.txid_hex)
    assert f"the wallet has sent {signed.txid_hex}" in await world.round()
    assert await world.batches() == []

    await fund(bench)
    await world.pay()
    await world.assert_everybody_paid_once()
