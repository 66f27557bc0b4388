"""A group of two real litecoind: new work, blocks, and the death of one of them."""

import asyncio

import pytest

from coins import registry
from coins.bitcoin.address import decode
from nodes.bitcoin import BitcoinRpc
from nodes.group import NodeGroup
from nodes.interface import SubmitStatus
from nodes.regtest import POOL_WALLET, LitecoindRegtest, find_litecoind
from runtime.clock import SystemClock
from tests.fakes.block_miner import solve
from tests.fakes.waiting import eventually

COIN = registry.get("litecoin-regtest")

pytestmark = pytest.mark.litecoind


@pytest.fixture
async def pair(tmp_path):
    if find_litecoind() is None:
        pytest.skip("missing component: litecoind")
    async with LitecoindRegtest(tmp_path / "litecoind") as started:
        await started.generate(1)
        yield started


@pytest.fixture
async def group(pair):
    nodes = [BitcoinRpc(settings, COIN) for settings in pair.node_settings()]
    opened = NodeGroup(nodes, coin=COIN, clock=SystemClock(), poll_s=0.5)
    task = asyncio.create_task(opened.run())
    yield opened
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await opened.close()


async def next_at(updates, height):
    async with asyncio.timeout(10):
        while (update := await anext(updates)).template.height < height:
            pass
    return update


async def test_own_blocks_reach_both_nodes_and_work_goes_on_when_one_is_killed(pair, group):
    """D2: each block is on every node that lives; a killed one is passed over and used again when it is back."""
    address = await pair.new_address(POOL_WALLET)
    script = decode(COIN, address).script
    await eventually(lambda: all(entry.is_up for entry in group.health), what="both nodes being up")
    await group.verify_pool_address(COIN, address)
    updates = group.subscribe()
    update = await next_at(updates, 2)

    for height in range(3, 6):
        outcomes = await group.submit_block(solve(COIN, update.template, script))
        taken = {outcome.status for outcome in outcomes.values()}
        assert len(outcomes) == 2
        assert taken <= {SubmitStatus.ACCEPTED, SubmitStatus.DUPLICATE}
        assert SubmitStatus.ACCEPTED in taken
        update = await next_at(updates, height)
        assert update.is_new_tip

    await pair.kill(1)
    await eventually(lambda: not group.health[1].is_up, what="the killed node being seen as down")
    outcomes = await asyncio.wait_for(group.submit_block(solve(COIN, update.template, script)), 5)
    assert outcomes["litecoind-1"].status is SubmitStatus.ACCEPTED
    assert outcomes["litecoind-2"].status is SubmitStatus.INCONCLUSIVE

    await pair.restart(1)
    await eventually(lambda: group.health[1].is_up, timeout_s=20, what="the node being up again")
    assert [entry.height for entry in group.health] == [5, 5]


async def test_a_block_found_elsewhere_is_heard_of_by_long_poll(pair, group):
    await eventually(lambda: all(entry.is_up for entry in group.health), what="both nodes being up")
    updates = group.subscribe()
    await next_at(updates, 2)

    (found,) = await pair.generate(1)

    update = await next_at(updates, 3)
    assert update.template.prev_hash[::-1].hex() == found
    header = await group.header(found)
    assert (header.height, header.confirmations) == (2, 1)


async def test_long_polls_that_are_given_up_do_not_keep_the_node_from_stopping(pair):
    """A node keeps a thread per long poll: stopping must still be quick."""
    node = BitcoinRpc(pair.node_settings()[0], COIN)
    template = await node.block_template()
    polls = [asyncio.create_task(node.block_template(longpollid=template.longpollid)) for _ in range(2)]
    done, _ = await asyncio.wait(polls, timeout=0.2)
    assert not done
    for poll in polls:
        poll.cancel()
    await asyncio.gather(*polls, return_exceptions=True)
    await node.close()

    await asyncio.wait_for(pair.stop(), 20)
    assert pair.pids == (None, None)
