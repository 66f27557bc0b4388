"""Payouts on a real litecoind: what its wallet and mempool really answer."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coins.bitcoin.transaction import parse_transaction
from nodes.errors import NodeUnreachable
from nodes.interface import BroadcastOutcome
from nodes.regtest import LitecoindRegtest, find_litecoind
from payouts.domain import Arrow, BatchStatus
from runtime.rpc.errors import FailedPrecondition
from tests.fakes.payouts_world import COIN, LitecoindBench, World

pytestmark = [pytest.mark.litecoind, pytest.mark.timeout(600)]


@pytest.fixture
async def bench(short_dir: Path) -> AsyncIterator[LitecoindBench]:
    if find_litecoind() is None:
        pytest.skip("missing component: litecoind")
    async with LitecoindRegtest(short_dir / "litecoin") as regtest:
        made = LitecoindBench(regtest)
        await made.fund(6)
        yield made
        await made.rpc.close()


@pytest.fixture
async def world(database: Any, bench: LitecoindBench) -> World:
    return await World.make(database.pool, bench)


class LosesAnswer:
    """A wallet whose answers to `broadcast` are lost on the way, after the node has acted."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.sent: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def broadcast(self, raw: bytes) -> BroadcastOutcome:
        self.sent.append(raw)
        await self._inner.broadcast(raw)
        raise NodeUnreachable(node="litecoind", method="sendrawtransaction", url="", reason="connection reset by peer")


async def test_lost_answers_wallet_unloaded_and_too_little_money_on_litecoind(
    world: World, bench: LitecoindBench
) -> None:
    """P2 P3 P8"""
    await world.miner(2_000_000)
    wallet = LosesAnswer(bench.rpc)
    for _ in range(2):
        assert "cannot be reached" in await world.round(world.payer(wallet=wallet))  # type: ignore[arg-type]
        await bench.mine()
    assert (await world.batch()).status is BatchStatus.SIGNED
    await world.pay()
    assert set(wallet.sent) == {(await world.batch()).raw}
    await world.assert_everybody_paid_once("lost answer")

    await bench.regtest.call("unloadwallet", "pool")
    await world.miner(3_000_000)
    assert "error -18" in await world.round()
    await bench.regtest.call("loadwallet", "pool")
    await world.pay()
    await world.assert_everybody_paid_once("wallet unloaded")

    available = await bench.rpc.balance_atomic()
    await world.miner(available)
    assert f"the wallet can spend {available}" in await world.round()
    await bench.fund(1)
    await world.pay()
    await world.assert_everybody_paid_once("too little money")


async def test_inputs_spent_elsewhere_lead_to_review_and_void_on_litecoind(world: World, bench: LitecoindBench) -> None:
    """P3 P10"""
    account = await world.miner(2_000_000)
    assert await world.crash_at(Arrow.STORED)
    batch = await world.batch()
    assert batch.raw is not None
    await bench.rpc.release(batch.raw)
    await bench.regtest.call("sendrawtransaction", await spending_the_same(bench, batch.raw))

    await world.round()
    assert (await world.batch()).status is BatchStatus.REVIEW
    with pytest.raises(FailedPrecondition, match="mempool"):
        await world.reviewer().void(batch.batch_id, reason="spent elsewhere", request_id="r1")
    await bench.mine(2)
    await world.reviewer().void(batch.batch_id, reason="spent elsewhere", request_id="r1")

    assert (await world.balance(account)).payable_atomic == 2_000_000
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_transaction_double_spent_after_its_broadcast_leads_to_review_and_void_on_litecoind(
    world: World, bench: LitecoindBench
) -> None:
    """P10: the node itself says that it conflicts with the chain, and how deep."""
    account = await world.miner(2_000_000)
    await world.round()
    batch = await world.batch()
    assert batch.status is BatchStatus.BROADCAST
    assert batch.raw is not None
    conflicting = await spending_the_same(bench, batch.raw)
    await bench.regtest.call("generateblock", await bench.new_address(), [conflicting])
    await bench.regtest.wait_synced()

    await world.round()
    assert (await world.batch()).status is BatchStatus.REVIEW
    with pytest.raises(FailedPrecondition, match="1 deep, 2 are needed"):
        await world.reviewer().void(batch.batch_id, reason="double spent", request_id="r1")
    await bench.mine()
    await world.reviewer().void(batch.batch_id, reason="double spent", request_id="r1")

    assert (await world.balance(account)).payable_atomic == 2_000_000
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_payouts_go_on_after_mweb_has_activated_on_litecoind(world: World, bench: LitecoindBench) -> None:
    """P5"""
    await world.miner(2_000_000)
    await world.miner(3_000_000, kind="legacy")
    await bench.regtest.activate_mweb()

    await world.pay()

    await world.assert_everybody_paid_once()


async def test_hundreds_of_payments_go_out_in_batches_of_two_hundred_on_litecoind(
    world: World, bench: LitecoindBench
) -> None:
    """P7"""
    for number in range(450):
        await world.miner(1_000_000 + number)

    await world.pay()

    assert [batch.payout_count for batch in await world.batches()] == [200, 200, 50]
    await world.assert_everybody_paid_once()


async def spending_the_same(bench: LitecoindBench, raw: bytes) -> str:
    """Return a signed transaction, in hex, that gives the inputs of another one back to the paying wallet."""
    call = bench.regtest.call
    inputs = [{"txid": entry.txid[::-1].hex(), "vout": entry.index} for entry in parse_transaction(raw).inputs]
    amount_atomic = sum(output.amount_atomic for output in parse_transaction(raw).outputs)
    address = await bench.regtest.new_address("pool")
    outputs = [{address: COIN.format_amount(amount_atomic).split()[0]}]
    unsigned = await call("createrawtransaction", inputs, outputs)
    signed = await call("signrawtransactionwithwallet", unsigned, wallet="pool")
    assert isinstance(signed, dict)
    return str(signed["hex"])
