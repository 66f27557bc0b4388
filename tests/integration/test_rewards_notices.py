"""What the rewards service tells people, each in the transaction that books it."""

from collections.abc import AsyncIterator

import pytest

from proto.lodepool.events.v1.notices_pb2 import BlockNoticeKind, Notice, TroubleKind
from rewards.consumer import BlockConsumer
from rewards.metrics import Counters
from runtime.eventlog.interface import Record
from runtime.platform import Platform
from runtime.postgres.transactions import transact
from tests.fakes.rewards_world import COIN, FINDER, RewardsWorld, open_rewards_world

REWARD = 5_000_000_000


@pytest.fixture
async def world(platform: Platform) -> AsyncIterator[RewardsWorld]:
    world = await open_rewards_world(platform)
    yield world
    await world.close()


async def told(world: RewardsWorld) -> list[Notice]:
    rows = await world.platform.pool.fetch("SELECT payload FROM rewards.outbox ORDER BY outbox_id")
    return [Notice.FromString(row["payload"]) for row in rows]


async def consume(world: RewardsWorld, *payloads: bytes) -> None:
    consumer = BlockConsumer(fee_ppm=lambda: 10_000, counters=Counters())
    records = [
        Record(topic="blocks", partition=0, offset=number, key=b"", payload=payload, append_time_ms=1)
        for number, payload in enumerate(payloads)
    ]
    await transact(world.platform.pool, lambda conn: consumer.apply(conn, records))


async def test_block_is_told_once_though_its_record_comes_twice(world):
    """D3: the notice is part of the booking."""
    block_hash = world.node.mine_block(world.address)
    payload = (await world.message(block_hash)).SerializeToString()
    await consume(world, payload, payload)
    (notice,) = await told(world)
    assert (notice.notice_id, notice.account) == (f"block_found/{COIN.coin_id}/{block_hash}", "")
    assert notice.block.kind == BlockNoticeKind.BLOCK_NOTICE_KIND_FOUND
    assert (notice.block.reward_atomic, notice.block.account, notice.block.worker) == (REWARD, FINDER, "rig1")


async def test_credits_and_maturity_are_told_with_the_amounts_that_are_booked(world):
    """R1, R2."""
    block_hash = await world.find_block()
    await world.look(times=3)
    credits_ = {notice.account: notice for notice in await told(world)}
    assert {name: notice.credit.amount_atomic for name, notice in credits_.items()} == await world.credits(block_hash)
    assert credits_["alice"].notice_id == f"credit/{COIN.coin_id}/{block_hash}/1/alice"
    world.node.mine_blocks(COIN.maturity_blocks)
    await world.look(times=2)
    last = (await told(world))[-1]
    assert last.notice_id == f"block_confirmed/{COIN.coin_id}/{block_hash}/1"
    assert len(await told(world)) == len(credits_) + 1
    assert (await world.audit()).is_ok


async def test_orphan_and_the_block_that_comes_back_are_told_apart(world):
    """R5."""
    block_hash = await world.find_block()
    await world.look()
    (rival, _) = world.node.reorganise(1)
    await world.look()
    world.node.invalidate(rival)
    world.node.reconsider(block_hash)
    await world.look()
    ids = [notice.notice_id for notice in await told(world)]
    assert f"block_orphaned/{COIN.coin_id}/{block_hash}/1" in ids
    assert f"credit/{COIN.coin_id}/{block_hash}/2/alice" in ids
    assert len(ids) == len(set(ids)) == 7


async def test_block_that_is_held_is_an_operators_trouble_once(world):
    block_hash = await world.find_block(coinbase_value_atomic=REWARD + 1)
    await world.look(times=3)
    (notice,) = await told(world)
    assert notice.trouble.kind == TroubleKind.TROUBLE_KIND_BLOCK_HELD
    assert (notice.trouble.subject, notice.account) == (block_hash, "")
    assert "coinbase" in notice.trouble.detail


async def test_record_that_is_set_aside_is_an_operators_trouble(world):
    await consume(world, b"\xff")
    (notice,) = await told(world)
    assert notice.trouble.kind == TroubleKind.TROUBLE_KIND_POISON_RECORD
    assert (notice.notice_id, notice.trouble.subject) == ("trouble/poison_record/rewards/blocks/0/0", "blocks/0/0")
