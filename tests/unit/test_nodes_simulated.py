"""The simulated node checks blocks and transactions as a real one does."""

from dataclasses import replace

import pytest

from coins import registry
from coins.bitcoin.address import decode
from coins.bitcoin.coinbase import CoinbaseOutput, build_coinbase, with_witness
from coins.bitcoin.hashing import sha256d
from coins.bitcoin.merkle import merkle_branch
from coins.bitcoin.transaction import parse_transaction
from nodes.errors import NodeBusy, NodeRpcError, NodeUnreachable
from nodes.faults import Fault, FaultKind
from nodes.interface import BroadcastStatus, SubmitStatus
from nodes.simulated import SimulatedNode
from nodes.simulated_chain import Waiting
from nodes.simulated_template import make_block
from nodes.simulated_tx import Draft, DraftOutput, parse_draft
from runtime.clock import ManualClock
from tests.fakes.block_miner import mine, solve

SCRIPT = b"\x00\x14" + b"\x09" * 20
RATE = 10_000


@pytest.fixture(params=["litecoin-regtest", "bitcoin-regtest"])
def coin(request):
    return registry.get(request.param)


@pytest.fixture
def node(coin):
    made = SimulatedNode(coin, seed="unit", clock=ManualClock())
    made.mine_blocks(3, made.wallet.new_address())
    made.mine_blocks(101)
    return made


async def pay(node, amount=1_000_000):
    """Put a payment of the wallet into the mempool."""
    signed = await node.build([(node.open_wallet("other").new_address(), amount)], fee_rate_sat_per_kvb=RATE)
    assert (await node.broadcast(signed.raw)).status is BroadcastStatus.ACCEPTED
    return signed


async def refused(node, block):
    outcome = await node.submit_block(block)
    assert outcome.status is SubmitStatus.REJECTED
    return outcome.reason


async def test_a_solved_block_with_transactions_is_accepted(coin, node):
    first = await pay(node)
    second = await pay(node)
    template = await node.block_template()
    assert template.fees_atomic == first.fee_atomic + second.fee_atomic

    outcome = await node.submit_block(solve(coin, template, SCRIPT))

    assert outcome.status is SubmitStatus.ACCEPTED
    assert (await node.transaction(first.txid_hex)).confirmations == 1
    assert not node.chain.mempool


async def test_every_rule_of_a_block_is_checked(coin, node):
    """D2: what the pool puts together wrongly is found without a real node."""
    await pay(node)
    template = await node.block_template()

    assert await refused(node, solve(coin, template, SCRIPT, is_low=True)) == "high-hash"
    assert await refused(node, solve(coin, template, SCRIPT, root=b"\5" * 32)) == "bad-txnmrklroot"
    assert await refused(node, solve(coin, template, SCRIPT, prev_hash=b"\5" * 32)) == "prev-blk-not-found"
    assert await refused(node, solve(coin, template, SCRIPT, nbits=0x207FFFFE)) == "bad-diffbits"
    assert await refused(node, solve(coin, template, SCRIPT, ntime=template.mintime - 1)) == "time-too-old"
    assert await refused(node, solve(coin, template, SCRIPT, ntime=template.curtime + 7300)) == "time-too-new"
    assert "decode failed" in await refused(node, solve(coin, template, SCRIPT)[:-1])
    assert (await node.chain_info()).height == 104


def block_with_coinbase(coin, template, *, amount=None, height=None, transactions=None, keeps_witness=True):
    """Return a solved block whose coinbase or transactions are not what the template wants."""

    entries = template.transactions if transactions is None else transactions
    value = template.coinbase_value_atomic if amount is None else amount
    changed = replace(template, height=height or template.height, coinbase_value_atomic=value)
    output = CoinbaseOutput(script=SCRIPT, amount_atomic=value)
    parts = build_coinbase(changed, outputs=[output], signature=b"", extranonce_bytes=4)
    coinbase = parts.coinbase1 + b"abcd" + parts.coinbase2
    header = mine(coin, template, sha256d(coinbase), merkle_branch([entry.txid for entry in entries]))
    whole = with_witness(coinbase) if keeps_witness else coinbase
    return header + bytes([1 + len(entries)]) + whole + b"".join(entry.data for entry in entries)


async def test_a_coinbase_that_takes_too_much_or_names_another_height_is_refused(coin, node):
    template = await node.block_template()
    greedy = template.coinbase_value_atomic + 1

    assert await refused(node, block_with_coinbase(coin, template, amount=greedy)) == "bad-cb-amount"
    assert await refused(node, block_with_coinbase(coin, template, height=9_999)) == "bad-cb-height"
    modest = await node.submit_block(block_with_coinbase(coin, template, amount=1))
    assert modest.status is SubmitStatus.ACCEPTED


async def test_a_block_whose_witnesses_are_not_those_committed_to_is_refused(coin, node):
    await pay(node)
    template = await node.block_template()

    assert (await refused(node, block_with_coinbase(coin, template, amount=1, transactions=()))).startswith(
        "bad-witness"
    )
    assert (await refused(node, block_with_coinbase(coin, template, keeps_witness=False))).startswith("bad-witness")


async def test_a_transaction_twice_in_a_block_is_refused(coin, node):
    await pay(node)
    template = await node.block_template()

    twice = block_with_coinbase(coin, template, transactions=template.transactions * 2)

    assert (await refused(node, twice)) in ("bad-txns-inputs-missingorspent", "bad-txns-duplicate")


async def test_the_mempool_refuses_with_a_nodes_words(node):
    spend = node.wallet.spendable()[0]
    (outpoint, entry) = spend
    immature = next((key, value) for key, value in node.chain.unspent.items() if value.height == node.chain.tip.height)

    def draft(source, amount):
        outputs = (DraftOutput(script=SCRIPT, amount_atomic=amount),)
        return Draft(inputs=(source,), outputs=outputs).serialise(is_signed=True)

    async def reason(raw):
        return (await node.broadcast(raw)).reason

    assert await reason(draft(outpoint, entry.amount_atomic + 1)) == "bad-txns-in-belowout"
    assert await reason(draft(outpoint, entry.amount_atomic)) == "min relay fee not met"
    assert await reason(draft(outpoint, 100)) == "dust"
    assert await reason(draft((b"\1" * 32, 0), 100_000)) == "bad-txns-inputs-missingorspent"
    assert await reason(draft(immature[0], 100_000)) == "bad-txns-premature-spend-of-coinbase"
    assert (await node.broadcast(draft(outpoint, 100_000))).status is BroadcastStatus.ACCEPTED
    assert await reason(draft(outpoint, 200_000)) == "txn-mempool-conflict"


async def test_a_double_spend_gives_the_payout_negative_confirmations(node):
    """P10: a transaction that can never confirm is told from one that waits."""
    signed = await pay(node)

    node.mine_double_spend(signed.txid_hex)
    node.mine_block()

    found = await node.transaction(signed.txid_hex)
    assert (found.confirmations, found.is_in_mempool) == (-2, False)
    assert (await node.broadcast(signed.raw)).status is BroadcastStatus.CONFLICT


async def test_a_reorganisation_returns_transactions_to_the_mempool_and_they_confirm_again(node):
    """R5, P10: nothing is lost when a branch is left."""
    signed = await pay(node)
    orphan = node.mine_block()

    node.reorganise(1)

    assert (await node.header(orphan)).confirmations == -1
    assert (await node.transaction(signed.txid_hex)).is_in_mempool
    node.mine_block()
    assert (await node.transaction(signed.txid_hex)).confirmations == 1


async def test_an_invalid_block_on_a_longer_branch_leaves_the_chain_as_it_was(coin, node):
    """The best valid chain wins: a branch with a bad block gives way to the old one, outputs and all."""
    node.mine_block()
    before = (node.chain.tip.block_hash, dict(node.chain.unspent), dict(node.chain.mined_in))
    fork_point = node.chain.active[-3]

    thief = Draft(inputs=((b"\1" * 32, 0),), outputs=(DraftOutput(script=SCRIPT, amount_atomic=5),))
    raw = thief.serialise(is_signed=True)

    bad = Waiting(transaction=parse_transaction(raw), raw=raw, fee_atomic=0)
    parent, reasons = fork_point, []
    for waiting in ((), (bad,), ()):
        block, time_s = make_block(node.chain, parent, waiting, script=SCRIPT, extranonce=b"12345678", now_s=2e9)
        reasons.append(node.chain.accept_block(block, now_s=time_s, is_trusted=True))
        parent = node.chain.blocks[sha256d(block[:80])]

    assert reasons[:2] == ["inconclusive", "inconclusive"]
    assert reasons[2] == "bad-txns-inputs-missingorspent"
    assert (node.chain.tip.block_hash, node.chain.unspent, node.chain.mined_in) == before


async def test_the_same_seed_gives_the_same_chain(coin):
    def made():
        node = SimulatedNode(coin, seed="one", clock=ManualClock())
        return node.wallet.new_address(), node.mine_blocks(5, node.wallet.new_address())

    assert made() == made()


async def test_planned_faults_happen_once_each_and_in_order(coin, node):
    """D2: a lost answer means that the node has acted."""
    node.faults.fail_next("submitblock", Fault(kind=FaultKind.REFUSE))
    node.faults.fail_next("submitblock", Fault(kind=FaultKind.ERROR, code=-28, message="Loading"))
    node.faults.fail_next("submitblock", Fault(kind=FaultKind.ERROR, code=-1))
    node.faults.fail_next("submitblock", Fault(kind=FaultKind.DROP_ANSWER))
    block = solve(coin, await node.block_template(), SCRIPT)

    with pytest.raises(NodeUnreachable):
        await node.submit_block(block)
    with pytest.raises(NodeBusy):
        await node.submit_block(block)
    with pytest.raises(NodeRpcError):
        await node.submit_block(block)
    assert (await node.chain_info()).height == 104
    with pytest.raises(NodeUnreachable):
        await node.submit_block(block)
    assert (await node.chain_info()).height == 105
    assert (await node.submit_block(block)).status is SubmitStatus.DUPLICATE


async def test_the_wallet_keeps_count_of_every_unit(coin, node):
    """P5: amount, fee and change add up to what was spent."""
    before = await node.balance_atomic()
    payee = node.open_wallet("other").new_address()

    signed = await node.build([(payee, 7_777_777), (node.wallet.new_address(), 10_000)], fee_rate_sat_per_kvb=RATE)
    await node.broadcast(signed.raw)

    assert await node.balance_atomic() == before - 7_777_777 - signed.fee_atomic
    received = node.wallets["other"].received_atomic(decode(coin, payee).script, confirmations_min=0)
    assert received == 7_777_777


def test_an_unsigned_draft_is_read_back_as_it_was_written():
    draft = Draft(inputs=(), outputs=(DraftOutput(script=SCRIPT, amount_atomic=5),), lock_time=7)
    assert parse_draft(draft.serialise(is_signed=False)) == draft
    with pytest.raises(ValueError, match="ends early"):
        parse_draft(draft.serialise(is_signed=False)[:-1])
