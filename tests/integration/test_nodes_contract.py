"""What the pool relies on in a node and its wallet, proven alike on the simulated node, on it over HTTP, and on litecoind."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from coins import registry
from coins.bitcoin.address import decode
from nodes.bitcoin import BitcoinRpc
from nodes.errors import InsufficientFunds, NodeRpcError
from nodes.interface import SENDS_DEPTH_BLOCKS, BroadcastStatus, SubmitStatus
from nodes.regtest import LitecoindRegtest, find_litecoind
from nodes.simulated import SimulatedNode
from nodes.simulated_server import SimulatedServer
from runtime.clock import SystemClock
from tests.fakes.block_miner import solve
from tests.fakes.waiting import eventually

COIN = registry.get("litecoin-regtest")
FEE_RATE = 10_000


@dataclass
class World:
    """A node with the wallet `pool`, and a hand on what happens around it."""

    node: Any
    call: Any
    mine: Any

    async def address(self, wallet: str) -> str:
        return await self.call("getnewaddress", "", "bech32", wallet=wallet)


@asynccontextmanager
async def simulated_world():
    node = SimulatedNode(COIN, seed="contract", clock=SystemClock())
    node.open_wallet("miner")
    async with SimulatedServer(node, user="u", password="p") as server:
        outside = BitcoinRpc(server.settings(wallet="pool"), COIN)

        async def call(method, *params, wallet=""):
            return await outside._rpc.call(method, params, wallet=wallet)

        async def mine(count, address):
            return await call("generatetoaddress", count, address)

        try:
            yield node, server, call, mine
        finally:
            await outside.close()


@pytest_asyncio.fixture(
    params=["simulated", "simulated_http", pytest.param("litecoind", marks=pytest.mark.litecoind)],
    scope="module",
    loop_scope="module",
)
async def world(request, tmp_path_factory):
    if request.param == "litecoind":
        if find_litecoind() is None:
            pytest.skip("missing component: litecoind")
        async with LitecoindRegtest(tmp_path_factory.mktemp("litecoind")) as pair:
            node = BitcoinRpc(pair.node_settings()[0], COIN)
            made = World(node, pair.call, pair.generate)
            await mature(made)
            yield made
            await node.close()
        return
    async with simulated_world() as (simulated, server, call, mine):
        node = simulated if request.param == "simulated" else BitcoinRpc(server.settings(wallet="pool"), COIN)
        made = World(node, call, mine)
        await mature(made)
        yield made
        await node.close()


async def mature(world: World) -> None:
    """Give the pool's wallet five spendable coinbases of 50."""
    await world.mine(5, await world.address("pool"))
    await world.mine(101, await world.address("miner"))


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_chain_is_regtest_and_its_tip_is_the_block_at_its_height(world):
    info = await world.node.chain_info()

    assert info.chain == COIN.network
    assert not info.is_initial_download
    assert info.height >= 106
    assert await world.node.block_hash_at(info.height) == info.tip_hash_hex
    assert await world.node.block_hash_at(info.height + 1) is None


async def test_a_header_says_its_height_and_confirmations_and_an_unknown_one_is_none(world):
    info = await world.node.chain_info()
    below = await world.node.block_hash_at(info.height - 2)

    header = await world.node.header(below)

    assert (header.block_hash_hex, header.height, header.confirmations) == (below, info.height - 2, 3)
    assert header.time_s > 1_500_000_000
    assert await world.node.header("11" * 32) is None
    assert await world.node.block("11" * 32) is None


async def test_a_solved_template_is_accepted_once_and_pays_what_its_coinbase_says(world):
    """D2: the same block again is a duplicate, so a retry after a lost answer is harmless."""
    script = decode(COIN, await world.address("miner")).script
    template = await world.node.block_template()
    block = solve(COIN, template, script)

    first = await world.node.submit_block(block)
    second = await world.node.submit_block(block)

    assert first.status is SubmitStatus.ACCEPTED
    assert second.status is SubmitStatus.DUPLICATE
    info = await world.node.chain_info()
    assert info.height == template.height
    found = await world.node.block(info.tip_hash_hex)
    assert found.coinbase_outputs[0] == (script, template.coinbase_value_atomic)
    assert (found.height, found.confirmations, found.network_target) == (template.height, 1, template.target)


async def test_a_block_that_breaks_a_rule_is_rejected_with_the_nodes_word(world):
    script = decode(COIN, await world.address("miner")).script
    template = await world.node.block_template()

    low = await world.node.submit_block(solve(COIN, template, script, is_low=True))
    wrong_root = await world.node.submit_block(solve(COIN, template, script, root=b"\7" * 32))
    garbage = await world.node.submit_block(b"\0" * 100)
    orphan = await world.node.submit_block(solve(COIN, template, script, prev_hash=b"\7" * 32))

    assert (low.status, low.reason) == (SubmitStatus.REJECTED, "high-hash")
    assert (wrong_root.status, wrong_root.reason) == (SubmitStatus.REJECTED, "bad-txnmrklroot")
    assert garbage.status is SubmitStatus.REJECTED
    assert (orphan.status, orphan.reason) == (SubmitStatus.REJECTED, "prev-blk-not-found")


async def test_a_block_beside_the_tip_is_inconclusive(world):
    script = decode(COIN, await world.address("miner")).script
    template = await world.node.block_template()
    await world.mine(1, await world.address("miner"))

    outcome = await world.node.submit_block(solve(COIN, template, script))

    assert outcome.status is SubmitStatus.INCONCLUSIVE


async def test_a_long_poll_answers_when_the_tip_changes_and_not_before(world):
    template = await world.node.block_template()
    waiting = asyncio.create_task(world.node.block_template(longpollid=template.longpollid))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done

    await world.mine(1, await world.address("miner"))

    async with asyncio.timeout(5):
        fresh = await waiting
    assert fresh.height == template.height + 1
    assert fresh.prev_hash != template.prev_hash


async def test_an_address_has_the_script_we_compute_and_knows_its_owner(world):
    """S6: the node's own answer about the pool's address."""
    own, foreign = await world.address("pool"), await world.address("miner")

    of_own, of_foreign = await world.node.address_info(own), await world.node.address_info(foreign)
    invalid = await world.node.address_info("rltc1nonsense")

    assert (of_own.is_valid, of_own.script, of_own.is_mine) == (True, decode(COIN, own).script, True)
    assert of_foreign.is_mine is False
    assert (invalid.is_valid, invalid.script, invalid.is_mine) == (False, b"", None)


async def test_there_is_no_zmq_and_it_is_noticed(world):
    assert await world.node.has_zmq() is False


async def test_a_payout_is_built_without_being_sent_then_sent_once_and_confirmed(world):
    """P2, P3, P5: the id is known before the broadcast, a repeat is harmless, the amounts are exact."""
    payee, amount = await world.address("miner"), 123_456_789
    before = await world.node.balance_atomic()

    signed = await world.node.build([(payee, amount)], fee_rate_sat_per_kvb=FEE_RATE)
    locked = await world.node.balance_atomic()
    assert await world.node.transaction(signed.txid_hex) is None
    assert locked < before - amount
    assert signed.outputs == ((payee, amount),)
    assert abs(signed.fee_atomic - -(-signed.weight // 4) * FEE_RATE // 1000) <= 20

    first = await world.node.broadcast(signed.raw)
    again = await world.node.broadcast(signed.raw)
    waiting = await world.node.transaction(signed.txid_hex)
    assert (first.status, again.status) == (BroadcastStatus.ACCEPTED, BroadcastStatus.ALREADY_KNOWN)
    assert (waiting.confirmations, waiting.is_in_mempool, waiting.block_hash_hex) == (0, True, None)
    assert waiting.fee_atomic == signed.fee_atomic
    assert await world.node.balance_atomic() == before - amount - signed.fee_atomic

    hashes = await world.mine(2, await world.address("miner"))
    mined = await world.node.transaction(signed.txid_hex)
    assert (mined.confirmations, mined.block_hash_hex, mined.is_in_mempool) == (2, hashes[0], False)
    assert (await world.node.broadcast(signed.raw)).status is BroadcastStatus.ALREADY_KNOWN
    received = await world.call("getreceivedbyaddress", payee, wallet="miner")
    assert int(received * 10**8) == amount


async def test_a_payout_that_is_in_the_chain_with_all_outputs_spent_is_still_known(world):
    """P3: a spent output must not make our own transaction look like a conflict."""
    whole = await world.node.balance_atomic()
    assert whole > 0
    payee = await world.address("pool")
    signed = await world.node.build([(payee, 1_000_000)], fee_rate_sat_per_kvb=FEE_RATE)
    await world.node.broadcast(signed.raw)
    await world.mine(1, await world.address("miner"))
    everything = await world.node.balance_atomic()
    sweep = await world.node.build(
        [(await world.address("miner"), everything - 500_000)], fee_rate_sat_per_kvb=FEE_RATE
    )
    await world.node.broadcast(sweep.raw)
    await world.mine(1, await world.address("miner"))

    assert (await world.node.broadcast(signed.raw)).status is BroadcastStatus.ALREADY_KNOWN
    await world.mine(3, await world.address("pool"))
    await world.mine(101, await world.address("miner"))


async def test_two_payouts_never_use_the_same_coins_and_released_ones_are_free_again(world):
    payee = await world.address("miner")
    before = await world.node.balance_atomic()

    first = await world.node.build([(payee, 10_000_000)], fee_rate_sat_per_kvb=FEE_RATE)
    second = await world.node.build([(payee, 10_000_000)], fee_rate_sat_per_kvb=FEE_RATE)
    assert first.txid_hex != second.txid_hex
    await world.node.release(first.raw)
    await world.node.release(first.raw)
    await world.node.release(second.raw)

    assert await world.node.balance_atomic() == before
    await world.node.build([(payee, 10_000_000)], fee_rate_sat_per_kvb=FEE_RATE)
    assert await world.node.balance_atomic() < before
    await world.node.release_all()
    assert await world.node.balance_atomic() == before


async def test_a_payout_whose_coins_went_elsewhere_is_a_conflict(world):
    """P3: what is ambiguous is named, never sent blindly."""
    payee = await world.address("miner")
    first = await world.node.build([(payee, 10_000_000)], fee_rate_sat_per_kvb=FEE_RATE)
    await world.node.release(first.raw)
    everything = await world.node.balance_atomic()
    rival = await world.node.build([(payee, everything - 1_000_000)], fee_rate_sat_per_kvb=FEE_RATE)

    assert (await world.node.broadcast(rival.raw)).status is BroadcastStatus.ACCEPTED
    assert (await world.node.broadcast(first.raw)).status is BroadcastStatus.CONFLICT
    await world.mine(1, payee)
    assert (await world.node.broadcast(first.raw)).status is BroadcastStatus.CONFLICT
    assert (await world.node.broadcast(b"\0")).status is BroadcastStatus.REJECTED
    await world.mine(3, await world.address("pool"))
    await world.mine(101, payee)


async def test_sends_are_told_newest_first_whoever_ordered_them_until_the_cursor_has_passed_them(world):
    """P2: a database restored from a backup learns from the wallet what it has forgotten."""
    payee = await world.address("miner")
    before = await world.node.sends(since="")
    signed = await world.node.build([(payee, 10_000_000)], fee_rate_sat_per_kvb=FEE_RATE)
    assert (await world.node.sends(since="")).txids_hex == before.txids_hex
    await world.node.broadcast(signed.raw)
    waiting = await world.node.sends(since=before.cursor)
    await world.mine(1, payee)
    by_hand = await world.call("sendtoaddress", payee, "0.5", wallet="pool")

    both = await world.node.sends(since=before.cursor)

    assert signed.txid_hex in waiting.txids_hex
    assert by_hand not in waiting.txids_hex
    assert {by_hand, signed.txid_hex} <= set(both.txids_hex)
    assert len(set(both.txids_hex)) == len(both.txids_hex)
    assert (await world.node.transaction(signed.txid_hex)).raw == signed.raw
    await world.mine(SENDS_DEPTH_BLOCKS + 1, payee)
    later = await world.node.sends(since=both.cursor)
    assert {by_hand, signed.txid_hex} <= set(later.txids_hex)
    assert not (await world.node.sends(since=later.cursor)).txids_hex
    assert set(both.txids_hex) <= set((await world.node.sends(since="11" * 32)).txids_hex)


async def test_more_than_the_wallet_has_is_refused_and_nothing_stays_locked(world):
    """P8: an empty wallet is told apart from other failures."""
    before = await world.node.balance_atomic()

    with pytest.raises(InsufficientFunds):
        await world.node.build([(await world.address("miner"), before + 1)], fee_rate_sat_per_kvb=FEE_RATE)

    assert await world.node.balance_atomic() == before


async def test_a_bad_payout_address_is_an_error_that_names_it(world):
    """P6: one bad address can be told from a failure of the node."""
    with pytest.raises(NodeRpcError, match="rltc1nonsense"):
        await world.node.build([("rltc1nonsense", 10_000)], fee_rate_sat_per_kvb=FEE_RATE)


async def test_an_orphaned_block_is_out_of_the_chain_and_its_height_has_another(world):
    """R5: orphan status comes from the chain's answer at that height; a block that comes back is seen as well."""
    (orphan,) = await world.mine(1, await world.address("miner"))
    height = (await world.node.header(orphan)).height

    await world.call("invalidateblock", orphan)
    (rival,) = [(await world.call("generatetoaddress", 1, await world.address("miner")))[0]]
    assert (await world.node.header(orphan)).confirmations == -1
    assert (await world.node.block(orphan)).confirmations == -1
    assert await world.node.block_hash_at(height) == rival

    await world.call("invalidateblock", rival)
    await world.call("reconsiderblock", orphan)
    assert (await world.node.header(orphan)).confirmations == 1
    assert await world.node.block_hash_at(height) == orphan
    await world.call("reconsiderblock", rival)


async def test_a_payout_of_an_orphaned_block_returns_to_the_mempool(world):
    """P10: a transaction that drops out of the chain is seen to."""
    await eventually(world.node.balance_atomic, what="a balance")
    signed = await world.node.build([(await world.address("miner"), 5_000_000)], fee_rate_sat_per_kvb=FEE_RATE)
    await world.node.broadcast(signed.raw)
    (mined,) = await world.mine(1, await world.address("miner"))
    assert (await world.node.transaction(signed.txid_hex)).confirmations == 1

    await world.call("invalidateblock", mined)
    try:
        dropped = await world.node.transaction(signed.txid_hex)
        assert (dropped.confirmations, dropped.is_in_mempool) == (0, True)
    finally:
        await world.call("reconsiderblock", mined)
    assert (await world.node.transaction(signed.txid_hex)).confirmations == 1
