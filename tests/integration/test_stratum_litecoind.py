"""Shares of a miner become blocks on a pair of real litecoind, before and after MWEB is active."""

import pytest

from nodes.bitcoin import BitcoinRpc
from nodes.regtest import MINER_WALLET, POOL_WALLET, LitecoindRegtest, find_litecoind
from stratum import blocks
from stratum.journal import entries, instance_dirs
from tests.fakes.stratum_miner import Miner, running_worker
from tests.fakes.stratum_world import LITECOIN, process_settings, simulated
from tests.fakes.waiting import eventually

pytestmark = pytest.mark.litecoind


@pytest.fixture
async def pair(tmp_path):
    if find_litecoind() is None:
        pytest.skip("missing component: litecoind")
    async with LitecoindRegtest(tmp_path / "litecoind") as started:
        yield started


async def mine_one(worker, miner):
    """Submit shares until one is a block; return when the next job is there."""
    found = worker.metrics.blocks_found
    job_id = miner.job[0]
    while worker.metrics.blocks_found == found:
        assert (await miner.submit())["result"] is True
    await miner.wait_job(other_than=job_id)


async def test_a_share_that_is_a_block_is_on_the_chain_of_both_nodes(pair, short_dir):
    """D2, S6, S8."""
    await pair.generate(110)
    nodes = [BitcoinRpc(settings, LITECOIN) for settings in pair.node_settings()]
    address = await pair.new_address(POOL_WALLET)
    settings = process_settings(short_dir, simulated(LITECOIN), address, difficulty_start=1e-9, difficulty_min=1e-9)
    async with running_worker(settings, *nodes) as worker:
        miner = await Miner.ready(worker.port, f"{address}.rig", password="fd=0.000000001")
        await pair.call("sendtoaddress", await pair.new_address(POOL_WALLET), "0.5", wallet=MINER_WALLET)
        await mine_one(worker, miner)
        await mine_one(worker, miner)
        await pair.activate_mweb()
        await eventually(lambda: worker.jobs.active.template.mweb is not None, timeout_s=20)
        await miner.wait_job(other_than=miner.job[0])
        while int(miner.job[0], 16) < worker.jobs.active.serial:
            await miner.line()
        await mine_one(worker, miner)
        await eventually(lambda: all(block.is_done for block in blocks.list_blocks(short_dir)), timeout_s=20)
        await miner.close()
        stored = blocks.list_blocks(short_dir)
        heights = {block.height for block in stored}
        assert len(heights) == 3
        on_chain = set()
        for index in (0, 1):
            await pair.wait_synced()
            for block in stored:
                if await pair.call("getblockhash", block.height, index=index) == block.block_hash_hex:
                    on_chain.add((index, block.height))
        assert on_chain == {(index, height) for index in (0, 1) for height in heights}
        found = [e.block for e in entries(instance_dirs(short_dir)[0]) if e.HasField("block")]
        assert {block.block_hash_hex for block in found} == {block.block_hash_hex for block in stored}
