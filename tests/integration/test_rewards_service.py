"""The whole rewards service: event log in, gRPC out."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from coins.settings import PoolSettings
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.rewards.v1.rewards_pb2_grpc import RewardServiceStub
from rewards import main
from rewards.consumer import BlockConsumer
from rewards.metrics import Counters
from runtime.eventlog.consumer import apply_batch
from runtime.eventlog.interface import OutRecord, Record
from runtime.live import Live
from runtime.platform import Platform
from runtime.postgres.pool import acquired
from runtime.rpc.client import call
from runtime.rpc.errors import InvalidArgument, NotFound, Unavailable
from runtime.rpc.pages import encode_page_token
from tests.fakes.rewards_world import COIN, FINDER, RewardsWorld, open_rewards_world
from tests.fakes.waiting import eventually

REWARD = 5_000_000_000


@pytest.fixture
async def world(platform: Platform) -> AsyncIterator[RewardsWorld]:
    world = await open_rewards_world(platform)
    yield world
    await world.close()


@pytest.fixture
async def running(world: RewardsWorld) -> AsyncIterator[RewardsWorld]:
    pool_settings = PoolSettings(coin=COIN.coin_id, address=world.address)
    task = asyncio.create_task(main.run(Live(world.settings), pool_settings, world.platform, world.node))
    yield world
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def stub(world: RewardsWorld) -> RewardServiceStub:
    return RewardServiceStub(world.platform.clients.channel("rewards"))


async def publish(world: RewardsWorld, *block_hashes: str, **changes: object) -> None:
    records = [
        OutRecord(key=b"", payload=(await world.message(block_hash, **changes)).SerializeToString())
        for block_hash in block_hashes
    ]
    await world.platform.eventlog.publish("blocks", records)


async def get_block(world: RewardsWorld, block_hash: str) -> rewards_pb2.Block:
    request = rewards_pb2.GetBlockRequest(coin=COIN.coin_id, block_hash_hex=block_hash)
    return await call(stub(world).GetBlock, request)


async def has_status(world: RewardsWorld, block_hash: str, status: int) -> bool:
    try:
        return (await get_block(world, block_hash)).status == status
    except (NotFound, Unavailable):
        return False


async def is_serving(world: RewardsWorld) -> bool:
    try:
        await call(stub(world).GetLedgerTotals, rewards_pb2.GetLedgerTotalsRequest(coin=COIN.coin_id))
    except Unavailable:
        return False
    return True


async def test_a_published_block_is_credited_matures_and_is_shown(running):
    """R1, D3: event log → block → credits → ledger → gRPC."""
    block_hash = running.node.mine_block(running.address)
    await publish(running, block_hash, block_hash)
    await eventually(lambda: has_status(running, block_hash, rewards_pb2.BLOCK_STATUS_IMMATURE))
    running.node.mine_blocks(COIN.maturity_blocks)
    await eventually(lambda: has_status(running, block_hash, rewards_pb2.BLOCK_STATUS_MATURE))

    block = await get_block(running, block_hash)
    assert block.reward_atomic == REWARD == sum(c.amount_atomic for c in block.credits) + block.pool_fee_atomic
    assert (block.account, block.scheme, block.maturity_blocks, block.window_work) == (FINDER, "pplns", 100, "7")
    assert [credit.account for credit in block.credits] == ["alice", "bob", "carol"]
    balance = await call(stub(running).GetBalance, rewards_pb2.GetBalanceRequest(coin=COIN.coin_id, account="alice"))
    assert balance == rewards_pb2.Balance(payable_atomic=block.credits[0].amount_atomic)
    totals = await call(stub(running).GetLedgerTotals, rewards_pb2.GetLedgerTotalsRequest(coin=COIN.coin_id))
    assert totals.coinbase_atomic == REWARD == totals.payable_atomic + totals.pool_fee_atomic


async def test_a_changed_fee_is_that_of_blocks_booked_from_then_on(world):
    """R1: the fee is written with the block; the blocks before keep theirs."""
    live = Live(world.settings)
    pool_settings = PoolSettings(coin=COIN.coin_id, address=world.address)
    task = asyncio.create_task(main.run(live, pool_settings, world.platform, world.node))
    hashes = [world.node.mine_block(world.address) for _ in range(2)]
    try:
        await publish(world, hashes[0])
        await eventually(lambda: has_status(world, hashes[0], rewards_pb2.BLOCK_STATUS_IMMATURE))
        assert live.set(msgspec.structs.replace(live.value, fee_ppm=20_000)) == ()
        await publish(world, hashes[1])
        await eventually(lambda: has_status(world, hashes[1], rewards_pb2.BLOCK_STATUS_IMMATURE))
        fees = [(await get_block(world, block_hash)).pool_fee_atomic for block_hash in hashes]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert fees == [REWARD // 100, REWARD // 50]


async def test_the_service_goes_on_after_its_node_was_away(running):
    running.node.go_down()
    block_hash = running.node.mine_block(running.address)
    running.node.come_up()
    message = (await running.message(block_hash)).SerializeToString()
    running.node.go_down()
    await running.platform.eventlog.publish("blocks", [OutRecord(key=b"", payload=message)])
    await eventually(lambda: has_status(running, block_hash, rewards_pb2.BLOCK_STATUS_CANDIDATE))
    running.node.come_up()
    await eventually(lambda: has_status(running, block_hash, rewards_pb2.BLOCK_STATUS_IMMATURE))


async def test_a_block_that_waits_for_the_operator_says_why(running):
    """R5: orphaned after its credits became payable; nothing is taken back by itself."""
    block_hash = running.node.mine_block(running.address)
    await publish(running, block_hash)
    await eventually(lambda: has_status(running, block_hash, rewards_pb2.BLOCK_STATUS_IMMATURE))
    assert (await get_block(running, block_hash)).hold_reason == ""
    running.node.mine_blocks(COIN.maturity_blocks)
    await eventually(lambda: has_status(running, block_hash, rewards_pb2.BLOCK_STATUS_MATURE))

    running.node.reorganise(COIN.maturity_blocks + 1)

    async def is_held() -> bool:
        return "not in the chain any more" in (await get_block(running, block_hash)).hold_reason

    await eventually(is_held, what="a reason")


async def test_pages_show_every_block_and_credit_once_newest_first(running):
    """R6: a unique order, also for blocks of one height."""
    hashes = [running.node.mine_block(running.address) for _ in range(7)]
    await publish(running, *hashes)
    rivals = [f"{number:064x}" for number in range(1, 4)]
    for rival in rivals:
        await publish(running, hashes[3], block_hash_hex=rival)
    await eventually(lambda: has_status(running, hashes[-1], rewards_pb2.BLOCK_STATUS_IMMATURE))
    await eventually(lambda: has_status(running, rivals[-1], rewards_pb2.BLOCK_STATUS_CANDIDATE))

    seen: list[tuple[int, str]] = []
    token = ""
    while True:
        page = await call(
            stub(running).ListBlocks,
            rewards_pb2.ListBlocksRequest(coin=COIN.coin_id, page_size=2, page_token=token),
        )
        seen += [(block.height, block.block_hash_hex) for block in page.blocks]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(seen, reverse=True)
    assert {block_hash for _, block_hash in seen} == {*hashes, *rivals}
    assert (page.counts.immature, page.counts.candidate) == (7, 3)

    credited: list[str] = []
    token = ""
    while True:
        credit_page = await call(
            stub(running).ListCredits,
            rewards_pb2.ListCreditsRequest(coin=COIN.coin_id, account="bob", page_size=3, page_token=token),
        )
        credited += [credit.block_hash_hex for credit in credit_page.credits]
        token = credit_page.next_page_token
        if not token:
            break
    assert credited == hashes[::-1]


async def test_blocks_can_be_asked_for_by_status_and_finder(running):
    first, second = (running.node.mine_block(running.address) for _ in range(2))
    await publish(running, first)
    await publish(running, second, account="rltc1other")
    await eventually(lambda: has_status(running, second, rewards_pb2.BLOCK_STATUS_IMMATURE))
    other = await call(stub(running).ListBlocks, rewards_pb2.ListBlocksRequest(coin=COIN.coin_id, account="rltc1other"))
    none = await call(
        stub(running).ListBlocks,
        rewards_pb2.ListBlocksRequest(coin=COIN.coin_id, status=rewards_pb2.BLOCK_STATUS_MATURE),
    )
    assert [block.block_hash_hex for block in other.blocks] == [second]
    assert list(none.blocks) == []


async def test_wrong_requests_are_told_which_field_is_wrong(running):
    await eventually(lambda: is_serving(running))
    with pytest.raises(NotFound):
        await get_block(running, "0" * 64)
    with pytest.raises(InvalidArgument) as refusal:
        await call(stub(running).GetBalance, rewards_pb2.GetBalanceRequest(coin=COIN.coin_id))
    assert refusal.value.field == "account"
    for token in ("?!", encode_page_token((2**64 - 1, "")), encode_page_token((1, "\x00")), encode_page_token([1])):
        with pytest.raises(InvalidArgument):
            await call(stub(running).ListBlocks, rewards_pb2.ListBlocksRequest(coin=COIN.coin_id, page_token=token))
    with pytest.raises(InvalidArgument):
        await get_block(running, "\x00")


async def test_records_that_are_replayed_or_are_no_block_change_nothing_and_are_kept(world):
    """D3, R2: idempotent by position and by block hash; a block record is never dropped."""
    block_hash = world.node.mine_block(world.address)
    message = await world.message(block_hash)
    payloads = [message.SerializeToString(), b"\xff\xff", message.SerializeToString()]
    message.scheme = "lottery"
    payloads.append(message.SerializeToString())
    records = [
        Record(topic="blocks", partition=0, offset=offset, key=b"", payload=payload, append_time_ms=0)
        for offset, payload in enumerate(payloads)
    ]
    counters = Counters()
    consumer = BlockConsumer(fee_ppm=lambda: 10_000, counters=counters)
    for _ in range(2):
        await apply_batch(world.platform.pool, schema="rewards", records=records, apply=consumer.apply)
    assert (counters.blocks_found_total, counters.blocks_repeated_total, counters.blocks_poison_total) == (1, 1, 2)
    async with acquired(world.platform.pool) as conn:
        assert await conn.fetchval("SELECT count(*) FROM rewards.block") == 1
        assert await conn.fetchval("SELECT next_offset FROM rewards.position") == 4
    findings = (await world.audit()).findings
    assert [finding.subject for finding in findings] == ["record blocks/0/1", "record blocks/0/3"]
