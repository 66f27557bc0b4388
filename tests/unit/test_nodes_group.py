"""Several nodes used as one: failover, the highest tip, blocks to all of them."""

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

from coins import registry
from coins.bitcoin.address import decode
from nodes.errors import NodeRpcError, NoHealthyNode, PoolAddressMismatch
from nodes.faults import Fault, FaultKind
from nodes.group import NodeGroup
from nodes.interface import SubmitStatus
from nodes.simulated import SimulatedNode
from nodes.simulated_template import make_block
from runtime.clock import SystemClock
from tests.fakes.block_miner import NONCES_MAX, solve
from tests.fakes.waiting import eventually

COIN = registry.get("bitcoin-regtest")
SLOW_S = 60.0
"""A polling interval that no test waits for: what happens, happens by long poll."""
QUICK_S = 0.05


def make_node(name, *, blocks=3):
    node = SimulatedNode(COIN, seed="group", clock=SystemClock(), name=name)
    node.mine_blocks(blocks)
    return node


def make_peers():
    """Return two nodes of one network."""
    first, second = make_node("first"), make_node("second", blocks=0)
    first.connect(second)
    return first, second


@asynccontextmanager
async def following(*nodes, poll_s=QUICK_S, refresh_s=30.0):
    group = NodeGroup(nodes, coin=COIN, clock=SystemClock(), poll_s=poll_s, refresh_s=refresh_s)
    updates = group.subscribe()
    task = asyncio.create_task(group.run())
    try:
        async with asyncio.timeout(20):
            yield group, updates
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await group.close()


def health_of(group, name):
    return next(entry for entry in group.health if entry.name == name)


async def test_a_new_tip_is_pushed_at_once_by_long_poll():
    node = make_node("only")
    async with following(node, poll_s=SLOW_S) as (_, updates):
        first = await anext(updates)
        assert (first.is_new_tip, first.node_name, first.template.height) == (True, "only", 4)

        node.mine_block()

        second = await asyncio.wait_for(anext(updates), 1)
        assert (second.is_new_tip, second.template.height) == (True, 5)


async def test_a_new_tip_is_found_by_polling_where_long_poll_is_silent():
    node = make_node("only")
    async with following(node) as (_, updates):
        await anext(updates)
        node.chain.accept_block(solve_on(node), now_s=2**31)
        assert (await asyncio.wait_for(anext(updates), 2)).template.height == 5


def solve_on(node):
    """Return a block on the node's tip, made beside it so that nobody is woken."""
    twin = SimulatedNode(COIN, seed="twin", clock=SystemClock(), name="twin")
    for stored in node.chain.missing_from(twin.chain):
        twin.chain.accept_block(stored.raw, now_s=2**31, is_trusted=True)
    raw, _ = make_block(
        node.chain, node.chain.tip, (), script=b"\x51", extranonce=b"extranon", now_s=SystemClock().now_s()
    )
    for nonce in range(NONCES_MAX):
        block = raw[:76] + nonce.to_bytes(4, "little") + raw[80:]
        if twin.chain.accept_block(block, now_s=2**31) == "":
            return block
    raise AssertionError("no nonce found")


async def test_the_same_tip_is_refreshed_without_being_called_new():
    node = make_node("only")
    async with following(node, refresh_s=0.3) as (_, updates):
        first = await anext(updates)
        second = await asyncio.wait_for(anext(updates), 3)
        assert second.is_new_tip is False
        assert second.template.prev_hash == first.template.prev_hash


async def test_a_slow_subscriber_gets_the_newest_update_and_still_learns_of_the_new_tip():
    node = make_node("only")
    async with following(node, refresh_s=0.2) as (group, updates):
        fast = group.subscribe()
        await anext(fast)
        await asyncio.wait_for(anext(fast), 3)
        assert (await anext(updates)).is_new_tip is True


async def test_the_next_node_is_used_when_one_dies_and_work_goes_on():
    first, second = make_peers()
    async with following(first, second) as (group, updates):
        assert (await anext(updates)).node_name == "first"
        await eventually(lambda: health_of(group, "second").is_up, what="the second node being up")

        first.go_down()
        await eventually(lambda: not health_of(group, "first").is_up, what="the first node being seen as down")
        second.mine_block()

        update = await asyncio.wait_for(anext(updates), 2)
        assert (update.node_name, update.is_new_tip, update.template.height) == ("second", True, 5)
        assert "cannot be reached" in health_of(group, "first").last_error

        first.come_up()
        await eventually(lambda: health_of(group, "first").is_up, what="the first node being up again")


async def test_the_highest_tip_wins():
    low, high = make_node("low"), make_node("high", blocks=5)
    async with following(low, high) as (group, updates):
        await eventually(lambda: all(entry.is_up for entry in group.health), what="both nodes being up")
        low.mine_block()
        await eventually(lambda: health_of(group, "low").height == 4, what="the lower node being seen")
        update = await anext(updates)
        assert (update.node_name, update.template.height) == ("high", 6)

        low.mine_blocks(3)

        update = await asyncio.wait_for(anext(updates), 2)
        while update.template.height < 8:
            update = await asyncio.wait_for(anext(updates), 2)
        assert update.node_name == "low"
        assert update.is_new_tip


async def test_a_reorganisation_is_a_new_tip():
    """R5: jobs move to the branch that won."""
    node = make_node("only")
    async with following(node, poll_s=SLOW_S) as (_, updates):
        await anext(updates)
        hashes = node.reorganise(2)
        update = await asyncio.wait_for(anext(updates), 2)
        assert update.is_new_tip
        assert update.template.prev_hash[::-1].hex() == hashes[-1]


async def test_a_node_on_another_network_is_not_used_and_its_health_says_why():
    """S6: blocks for another chain would be worth nothing."""
    foreign, right = make_node("foreign", blocks=9), make_node("right")
    foreign.network = "main"
    async with following(foreign, right) as (group, updates):
        assert (await anext(updates)).node_name == "right"
        await eventually(lambda: "network 'main'" in health_of(group, "foreign").last_error, what="the reason")
        assert not health_of(group, "foreign").is_up


async def test_a_node_in_its_initial_download_is_not_used_until_it_is_done():
    loading, right = make_node("loading", blocks=9), make_node("right")
    loading.is_initial_download = True
    async with following(loading, right) as (group, updates):
        assert (await anext(updates)).node_name == "right"
        await eventually(lambda: "initial download" in health_of(group, "loading").last_error, what="the reason")

        loading.is_initial_download = False

        assert (await asyncio.wait_for(anext(updates), 2)).node_name == "loading"


async def test_without_any_node_it_keeps_trying_and_says_so_once(caplog):
    caplog.set_level(logging.INFO, "lodepool.nodes")
    first, second = make_peers()
    async with following(first, second) as (group, updates):
        await anext(updates)
        first.go_down()
        second.go_down()
        await eventually(lambda: not any(entry.is_up for entry in group.health), what="both being seen as down")
        followers = group._followers
        await eventually(lambda: all(entry.breaker._failure_count >= 4 for entry in followers), what="retries")
        with pytest.raises(NoHealthyNode, match=r"first.*cannot be reached.*second"):
            await group.chain_info()

        second.come_up()
        second.mine_block()

        assert (await asyncio.wait_for(anext(updates), 5)).node_name == "second"
    said = [record.message for record in caplog.records]
    assert said.count("no node can be used") == 1
    assert said.count("nodes can be used again") == 1
    assert said.count("node went down") == 2


async def own_block(node):
    template = await node.block_template()
    return solve(COIN, template, decode(COIN, node.wallet.new_address()).script)


async def test_a_block_reaches_all_nodes_and_new_work_follows_at_once():
    """D2: every configured node gets the block."""
    first, second = make_node("first"), make_node("second")
    async with following(first, second, poll_s=SLOW_S) as (group, updates):
        await anext(updates)
        for stored in first.chain.missing_from(second.chain):
            second.chain.accept_block(stored.raw, now_s=2**31, is_trusted=True)
        first.mine_block()
        second.chain.accept_block(first.chain.tip.raw, now_s=2**31, is_trusted=True)
        block = await own_block(first)

        outcomes = await group.submit_block(block)

        assert {name: outcome.status for name, outcome in outcomes.items()} == {
            "first": SubmitStatus.ACCEPTED,
            "second": SubmitStatus.ACCEPTED,
        }
        assert first.chain.tip.block_hash == second.chain.tip.block_hash
        update = await asyncio.wait_for(anext(updates), 1)
        while update.template.height < first.chain.tip.height + 1:
            update = await asyncio.wait_for(anext(updates), 1)
        assert update.is_new_tip


@pytest.mark.parametrize("kind", [FaultKind.TIMEOUT, FaultKind.REFUSE])
async def test_a_dead_node_does_not_stall_a_block_on_its_way_to_the_others(kind):
    """D2: one dead node costs nothing but its own copy."""
    dead, alive = make_peers()
    async with following(dead, alive, poll_s=SLOW_S) as (group, updates):
        await anext(updates)
        block = await own_block(alive)
        dead.disconnect(alive)
        dead.faults.fail_next("submitblock", Fault(kind=kind), count=100)

        outcomes = await asyncio.wait_for(group.submit_block(block), 3)

        assert outcomes["second"].status is SubmitStatus.ACCEPTED
        assert outcomes["first"].status is SubmitStatus.INCONCLUSIVE


async def test_a_block_is_sent_again_until_the_node_takes_it():
    """D2: a refused connection and a lost answer are both survived."""
    node = make_node("only")
    group = NodeGroup([node], coin=COIN, clock=SystemClock())
    node.faults.fail_next("submitblock", Fault(kind=FaultKind.REFUSE))
    node.faults.fail_next("submitblock", Fault(kind=FaultKind.DROP_ANSWER))

    outcomes = await group.submit_block(await own_block(node))

    assert outcomes["only"].status is SubmitStatus.DUPLICATE
    assert node.chain.tip.height == 4
    await group.close()


async def test_a_node_that_lacks_the_previous_block_is_asked_again():
    """D2: a node that lags takes the block once it has caught up."""
    ahead, behind = make_peers()
    ahead.disconnect(behind)
    ahead.mine_block()
    block = await own_block(ahead)
    group = NodeGroup([behind], coin=COIN, clock=SystemClock())
    asked, submit = [], behind.submit
    behind.submit = lambda raw: asked.append(raw) or submit(raw)
    submission = asyncio.create_task(group.submit_block(block))
    await eventually(lambda: len(asked) >= 2, what="a second try")
    assert not submission.done()

    behind.connect(ahead)

    assert (await submission)["second"].status is SubmitStatus.ACCEPTED
    await group.close()


async def test_a_block_that_breaks_a_rule_is_not_sent_again():
    node = make_node("only")
    group = NodeGroup([node], coin=COIN, clock=SystemClock())
    template = await node.block_template()

    outcomes = await group.submit_block(solve(COIN, template, b"\x51", is_low=True))

    assert (outcomes["only"].status, outcomes["only"].reason) == (SubmitStatus.REJECTED, "high-hash")
    await group.close()


async def test_the_pool_address_is_compared_with_each_nodes_own_answer():
    """S6: a mismatch refuses to start."""
    node = make_node("only")
    address = node.wallet.new_address()
    group = NodeGroup([node], coin=COIN, clock=SystemClock())

    await group.verify_pool_address(COIN, address)

    node.network = "main"
    with pytest.raises(PoolAddressMismatch, match="expected a node on network 'regtest', got one on 'main'"):
        await group.verify_pool_address(COIN, address)
    node.network = "regtest"
    node.coin = registry.get("bitcoin")
    with pytest.raises(PoolAddressMismatch, match="one the node refuses"):
        await group.verify_pool_address(COIN, address)
    node.go_down()
    with pytest.raises(NoHealthyNode):
        await group.verify_pool_address(COIN, address)
    await group.close()


async def test_a_node_that_was_away_at_the_start_is_checked_when_it_comes():
    """S6: a late node cannot slip past the check."""
    late, right = make_node("late", blocks=9), make_node("right")
    address = right.wallet.new_address()
    late.go_down()
    async with following(late, right) as (group, updates):
        await group.verify_pool_address(COIN, address)
        late.coin = registry.get("bitcoin")
        late.come_up()
        await eventually(lambda: "does not fit" in health_of(group, "late").last_error, what="the mismatch")
        assert not health_of(group, "late").is_up
        assert (await anext(updates)).node_name == "right"


async def test_questions_go_to_the_next_node_when_the_best_fails():
    first, second = make_peers()
    async with following(first, second) as (group, updates):
        await anext(updates)
        await eventually(lambda: all(entry.is_up for entry in group.health), what="both nodes being up")
        tip = first.chain.tip.block_hash[::-1].hex()
        first.faults.fail_next("getblockheader", Fault(kind=FaultKind.REFUSE))

        header = await group.header(tip)

        assert (header.height, header.confirmations) == (3, 1)
        assert await group.block_hash_at(3) == tip
        assert (await group.block(tip)).height == 3


async def test_a_question_no_node_can_answer_is_told_as_it_is_and_costs_no_node_its_place():
    first, second = make_peers()
    async with following(first, second) as (group, updates):
        await anext(updates)
        await eventually(lambda: all(entry.is_up for entry in group.health), what="both nodes being up")
        for node in (first, second):
            pruned = Fault(kind=FaultKind.ERROR, code=-1, message="Block not available (pruned data)")
            node.faults.fail_next("getblock", pruned, count=3)

        for _ in range(3):
            with pytest.raises(NodeRpcError, match="pruned"):
                await group.block("11" * 32)

        assert all(entry.is_up for entry in group.health)


async def test_a_lagging_node_takes_over_only_when_it_had_time_to_catch_up(monkeypatch):
    monkeypatch.setattr("nodes.group.STEP_BACK_S", 0.5)
    ahead, behind = make_node("ahead", blocks=5), make_node("behind", blocks=3)
    async with following(ahead, behind) as (group, updates):
        await eventually(lambda: all(entry.is_up for entry in group.health), what="both nodes being up")
        while (await anext(updates)).node_name != "ahead":
            pass
        ahead.mine_block()
        assert (await anext(updates)).template.height == 7
        started_s = asyncio.get_running_loop().time()

        ahead.go_down()

        update = await asyncio.wait_for(anext(updates), 5)
        assert (update.node_name, update.template.height, update.is_new_tip) == ("behind", 4, True)
        assert asyncio.get_running_loop().time() - started_s >= 0.45
