"""Rewards and the real shares service: shares in the event log become money in the ledger."""

import asyncio
from collections.abc import AsyncIterator

import pytest

import rewards.main
import shares.main
from coins.settings import PoolSettings
from proto.lodepool.events.v1 import events_pb2
from rewards.domain import Status
from runtime.eventlog.interface import OutRecord
from runtime.live import Live
from runtime.platform import Platform
from shares.config import SharesSettings
from tests.fakes.rewards_world import COIN, RewardsWorld, open_rewards_world
from tests.fakes.waiting import eventually

REWARD = 5_000_000_000


@pytest.fixture
async def world(platform: Platform) -> AsyncIterator[RewardsWorld]:
    world = await open_rewards_world(platform)
    await world.close()
    pool_settings = PoolSettings(coin=COIN.coin_id, address=world.address)
    tasks = [
        asyncio.create_task(shares.main.run(Live(SharesSettings()), pool_settings, platform)),
        asyncio.create_task(rewards.main.run(Live(world.settings), pool_settings, platform, world.node)),
    ]
    yield world
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def publish_shares(world: RewardsWorld, *, first_seq: int, height: int, works: dict[str, list[int]]) -> int:
    """Publish accepted shares of one instance and return the sequence number after them."""
    flat = [(index, work) for index, entries in enumerate(works.values()) for work in entries]
    batch = events_pb2.ShareBatch(
        instance="stratum-1",
        first_seq=first_seq,
        coin=COIN.coin_id,
        base_time_ms=world.platform.clock.now_ms(),
        submitters=[events_pb2.Submitter(account=account, worker="rig", scheme="pplns") for account in works],
        submitter_index=[index for index, _ in flat],
        time_offset_ms=range(len(flat)),
        height=[height] * len(flat),
        work=[work for _, work in flat],
        hash_work=[work for _, work in flat],
        outcome=[events_pb2.SHARE_OUTCOME_ACCEPTED] * len(flat),
    )
    await publish(world, events_pb2.ShareRecord(batch=batch))
    return first_seq + len(flat)


async def publish_watermark(world: RewardsWorld, *, last_seq: int, height: int) -> None:
    mark = events_pb2.Watermark(
        instance="stratum-1",
        coin=COIN.coin_id,
        last_seq=last_seq,
        height=height,
        time_ms=world.platform.clock.now_ms(),
    )
    await publish(world, events_pb2.ShareRecord(watermark=mark))


async def publish(world: RewardsWorld, record: events_pb2.ShareRecord) -> None:
    await world.platform.eventlog.publish("shares", [OutRecord(key=b"stratum-1", payload=record.SerializeToString())])


async def find_block(world: RewardsWorld) -> str:
    block_hash = world.node.mine_block(world.address)
    message = await world.message(block_hash, time_ms=world.platform.clock.now_ms())
    await world.platform.eventlog.publish("blocks", [OutRecord(key=b"", payload=message.SerializeToString())])
    return block_hash


async def is_credited(world: RewardsWorld, block_hash: str) -> bool:
    try:
        return (await world.block(block_hash)).status is Status.IMMATURE
    except AssertionError:
        return False


async def test_shares_become_credits_in_proportion_to_their_work(world):
    """R1, R3, D3: only what was accepted up to the block's height counts, and all of it does."""
    height = world.node.chain.tip.height + 1
    next_seq = await publish_shares(
        world, first_seq=1, height=height, works={"alice": [1, 1], "bob": [1], "carol": [1]}
    )
    block_hash = await find_block(world)
    next_seq = await publish_shares(world, first_seq=next_seq, height=height + 1, works={"dave": [1000]})
    await publish_watermark(world, last_seq=next_seq - 1, height=height + 1)
    await eventually(lambda: is_credited(world, block_hash))

    net = REWARD - REWARD // 100
    assert await world.credits(block_hash) == {"alice": net // 2, "bob": net // 4, "carol": net // 4}
    block = await world.block(block_hash)
    assert (block.window_work, block.round_work) == (4, 4)
    report = await world.audit()
    assert report.is_ok, report.findings
