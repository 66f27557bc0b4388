"""Blocks put together by the pool are taken by a real litecoind, before and after MWEB is active."""

import pytest

from coins import registry
from coins.bitcoin.address import decode
from nodes.bitcoin import BitcoinRpc
from nodes.interface import SubmitStatus
from nodes.regtest import MINER_WALLET, MWEB_HEIGHT, POOL_WALLET, LitecoindRegtest, find_litecoind
from tests.fakes.block_miner import solve
from tests.fakes.waiting import eventually

COIN = registry.get("litecoin-regtest")

pytestmark = pytest.mark.litecoind


@pytest.fixture
async def pair(tmp_path):
    if find_litecoind() is None:
        pytest.skip("missing component: litecoind")
    async with LitecoindRegtest(tmp_path / "litecoind") as started:
        yield started


@pytest.fixture
async def node(pair):
    opened = BitcoinRpc(pair.node_settings()[0], COIN)
    yield opened
    await opened.close()


async def submit_template_with_payments(pair, node, *, count):
    """Put payments into the mempool, solve the template and submit it; return template and outcome."""
    for _ in range(count):
        await pair.call("sendtoaddress", await pair.new_address(POOL_WALLET), "0.5", wallet=MINER_WALLET)
    template = await node.block_template()
    script = decode(COIN, await pair.new_address(POOL_WALLET)).script
    return template, await node.submit_block(solve(COIN, template, script))


async def test_blocks_with_transactions_are_accepted_before_and_after_mweb_is_active(pair, node):
    """D2: the assembled block is what a real node takes, with and without an extension block."""
    await pair.generate(110)
    before, outcome = await submit_template_with_payments(pair, node, count=3)
    assert before.mweb is None
    assert len(before.transactions) == 3
    assert outcome.status is SubmitStatus.ACCEPTED

    await pair.activate_mweb()
    assert await pair.height() == MWEB_HEIGHT
    after, outcome = await submit_template_with_payments(pair, node, count=3)
    assert after.mweb is not None
    assert len(after.transactions) == 4
    assert outcome.status is SubmitStatus.ACCEPTED
    info = await node.chain_info()
    assert info.height == after.height == MWEB_HEIGHT + 1
    await pair.wait_synced()
    second = BitcoinRpc(pair.node_settings()[1], COIN)
    try:
        assert (await second.chain_info()).tip_hash_hex == info.tip_hash_hex
    finally:
        await second.close()


async def test_a_block_without_its_extension_block_is_rejected_after_mweb_is_active(pair, node):
    await pair.activate_mweb()
    template = await node.block_template()
    block = solve(COIN, template, decode(COIN, await pair.new_address(POOL_WALLET)).script)

    outcome = await node.submit_block(block[: -1 - len(template.mweb)])

    assert outcome.status is SubmitStatus.REJECTED
    assert "decode failed" in outcome.reason


async def test_a_payout_is_built_and_confirmed_after_mweb_is_active(pair, node):
    """P2: the transaction stays a plain one, whose bytes and id are known before it is sent."""
    await pair.generate(3, await pair.new_address(POOL_WALLET))
    await pair.activate_mweb()
    payee = await pair.new_address(MINER_WALLET)

    signed = await node.build([(payee, 7_654_321)], fee_rate_sat_per_kvb=20_000)
    await node.broadcast(signed.raw)
    await pair.generate(1)

    found = await node.transaction(signed.txid_hex)
    assert (found.confirmations, found.fee_atomic) == (1, signed.fee_atomic)


async def test_a_killed_node_comes_back_with_its_wallets_on_the_same_ports(pair, node):
    await pair.generate(3)
    settings = pair.node_settings()
    await pair.kill(0)
    assert pair.pids[0] is None

    await pair.restart(0)

    assert pair.node_settings() == settings
    assert await node.balance_atomic() == 0
    await eventually(pair.height, what="blocks after the restart")
    assert await pair.height() == await pair.height(1)
