"""A block's life on a simulated chain, with real PostgreSQL and shares over gRPC."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from ledger import storage as ledger
from ledger.domain import OWNER_POOL_FEE, OWNER_REMAINDER, OwnerBalance
from nodes.errors import NodeError
from rewards import booking
from rewards.config import RewardsSettings
from rewards.distribution import distribute_to_finder
from rewards.domain import Status
from rewards.errors import BlockChanged
from rewards.transfers import credit_transfers
from runtime.platform import Platform
from runtime.postgres.transactions import transact
from tests.fakes.rewards_world import COIN, FINDER, RewardsWorld, network_work, open_rewards_world

REWARD = 5_000_000_000
FEE = REWARD // 100
NET = REWARD - FEE
PARTS = {"alice": NET * 4 // 7, "bob": NET * 2 // 7, "carol": NET // 7}


@pytest.fixture
async def world(platform: Platform) -> AsyncIterator[RewardsWorld]:
    world = await open_rewards_world(platform)
    yield world
    await world.close()


async def immature(world: RewardsWorld) -> dict[str, int]:
    return {name: (await world.balance(name)).immature_atomic for name in PARTS}


async def test_a_found_block_is_credited_and_matures(world):
    """R1, R2, R3: from candidate to payable, to the unit, however often it is looked at."""
    block_hash = await world.find_block()
    assert (await world.block(block_hash)).status is Status.CANDIDATE

    await world.look(times=3)
    block = await world.block(block_hash)
    parts = await world.credits(block_hash)
    assert (block.status, block.generation, block.confirmations) == (Status.IMMATURE, 1, 1)
    assert sum(parts.values()) + block.pool_fee_atomic == REWARD
    assert block.pool_fee_atomic == FEE
    assert {name: parts[name] - PARTS[name] for name in PARTS} == {"alice": 1, "bob": 0, "carol": 0}
    assert await immature(world) == parts

    world.node.mine_blocks(COIN.maturity_blocks - 2)
    await world.look()
    assert (await world.block(block_hash)).status is Status.IMMATURE
    world.node.mine_block()
    await world.look(times=2)
    assert (await world.block(block_hash)).status is Status.MATURE
    assert await world.balance("alice") == OwnerBalance(payable_atomic=parts["alice"])
    totals = await world.totals()
    assert (totals.coinbase_atomic, totals.owned_atomic, totals.pool_fee_atomic) == (REWARD, REWARD, FEE)
    report = await world.audit()
    assert report.is_ok, report.findings


async def test_the_window_is_asked_for_once_by_block_hash_and_height(world):
    """R3: the window belongs to the block, with the network's work of that block."""
    block_hash = await world.find_block()
    await world.look(times=2)
    (request,) = world.shares.asked
    block = await world.block(block_hash)
    assert (request.request_id, request.end_height, request.start_height) == (block_hash, block.found.height, 0)
    assert int(request.window_work) == network_work(world.node) * 2


async def test_an_orphaned_block_is_reversed_and_credited_again_when_it_comes_back(world):
    """R5: credited → reversed → credited again, each by new transfers, the same amounts."""
    first = await world.find_block()
    block_hash = await world.find_block()
    await world.look(times=2)
    credited = await immature(world)
    kept = await world.credits(first)

    (rival, _) = world.node.reorganise(1)
    await world.look()
    assert (await world.block(block_hash)).status is Status.ORPHANED
    assert await immature(world) == kept
    assert (await world.audit()).is_ok

    world.node.invalidate(rival)
    world.node.reconsider(block_hash)
    world.node.mine_block()
    world.shares.work = {"mallory": 1}
    await world.look(times=2)
    block = await world.block(block_hash)
    assert (block.status, block.generation) == (Status.IMMATURE, 2)
    assert await immature(world) == credited
    assert (await world.totals()).coinbase_atomic == 2 * REWARD
    world.node.mine_blocks(COIN.maturity_blocks)
    await world.look(times=2)
    report = await world.audit()
    assert report.is_ok, report.findings
    assert (await world.balance("alice")).payable_atomic == credited["alice"]


async def test_a_block_that_flaps_many_times_leaves_exact_books(world):
    """R5: each coming and going is one generation."""
    block_hash = await world.find_block()
    await world.look()
    for generation in range(2, 6):
        (rival, _) = world.node.reorganise(1)
        await world.look()
        world.node.invalidate(rival)
        world.node.reconsider(block_hash)
        await world.look()
        assert (await world.block(block_hash)).generation == generation
    assert sum((await immature(world)).values()) == NET
    assert (await world.audit()).is_ok


async def test_a_candidate_that_never_enters_the_chain_is_orphaned_after_the_depth(world):
    """R5: the chain's answer at its height decides, once it is buried."""
    height = world.node.chain.tip.height + 1
    message = await world.message(world.node.mine_block(world.address))
    await world.report(message.block_hash_hex, block_hash_hex="ee" * 32)
    world.node.mine_blocks(world.settings.orphan_depth - 1)
    await world.look()
    assert (await world.block("ee" * 32)).status is Status.CANDIDATE
    world.node.mine_block()
    await world.look()
    block = await world.block("ee" * 32)
    assert (block.status, block.found.height, block.is_credited) == (Status.ORPHANED, height, False)
    assert (await world.totals()).coinbase_atomic == 0
    assert (await world.audit()).is_ok


async def test_a_block_above_the_nodes_tip_waits(world):
    """R5: no answer at the height is no orphan."""
    block_hash = await world.find_block()
    await world.look()
    world.node.invalidate(block_hash)
    await world.look()
    assert (await world.block(block_hash)).status is Status.IMMATURE


async def test_crediting_waits_until_every_live_instance_has_passed_the_block(world):
    """R3: FAILED_PRECONDITION means later, not less."""
    world.shares.missing = "instance stratum-2 is at height 3"
    block_hash = await world.find_block()
    await world.look(times=2)
    assert (await world.block(block_hash)).status is Status.CANDIDATE
    world.shares.missing = ""
    await world.look()
    assert sum((await immature(world)).values()) == NET
    assert world.counters.windows_waited_total == 2


async def test_crediting_waits_while_the_shares_service_is_away(world):
    await world.server.stop(0)
    block_hash = await world.find_block()
    await world.look()
    assert (await world.block(block_hash)).status is Status.CANDIDATE
    assert world.counters.windows_waited_total == 1


async def test_a_coinbase_that_does_not_pay_what_was_reported_is_held(world, caplog):
    """R1: money that is not on the chain is not credited; released once it fits."""
    block_hash = await world.find_block(coinbase_value_atomic=REWARD + 1)
    with caplog.at_level(logging.INFO, "lodepool.rewards"):
        await world.look(times=2)
    block = await world.block(block_hash)
    assert block.status is Status.CANDIDATE
    assert block.hold_reason == f"the coinbase pays the pool {REWARD}, reported were {REWARD + 1}"
    assert [record.levelname for record in caplog.records if record.getMessage() == "block held"] == ["ERROR"]
    assert any("reported were" in finding.actual for finding in (await world.audit()).findings)


async def test_a_held_block_is_credited_once_what_held_it_is_put_right(world):
    block_hash = await world.find_block()
    right, world.address = world.address, world.node.wallet.new_address()
    await world.look()
    assert (await world.block(block_hash)).hold_reason
    world.address = right
    await world.look()
    block = await world.block(block_hash)
    assert (block.status, block.hold_reason) == (Status.IMMATURE, "")
    assert (await world.audit()).is_ok


async def test_a_held_block_that_is_orphaned_is_no_longer_held(world):
    """R5: it will never be credited, so nobody has to decide anything; the alarm must end."""
    block_hash = await world.find_block(coinbase_value_atomic=REWARD + 1)
    await world.look()
    assert (await world.block(block_hash)).hold_reason
    world.node.reorganise(1)
    world.node.mine_blocks(COIN.maturity_blocks)
    await world.look(times=3)
    block = await world.block(block_hash)
    assert (block.status, block.hold_reason) == (Status.ORPHANED, "")


async def test_a_block_that_the_ledger_refuses_is_held_whole_and_does_not_stop_the_others(world):
    """R1, R2: block, credits and transfers are one transaction, all or none."""
    refused = world.node.mine_block(world.address)
    await world.report(refused)
    taken = credit_transfers(
        distribute_to_finder(7, "bob", fee_ppm=0), coin=COIN.coin_id, block_hash_hex=refused, generation=1
    )
    await transact(world.platform.pool, lambda conn: ledger.apply(conn, taken))
    other = await world.find_block()
    await world.look(times=3)
    block = await world.block(refused)
    assert (block.status, block.is_credited) == (Status.CANDIDATE, False)
    assert block.hold_reason.startswith("the ledger refuses it: transfer")
    assert await world.credits(refused) == {}
    assert (await world.block(other)).status is Status.IMMATURE
    assert (await world.totals()).coinbase_atomic == REWARD + 7


async def test_a_block_of_a_stranger_is_not_credited(world):
    block_hash = world.node.mine_block()
    await world.report(block_hash)
    await world.look()
    assert (await world.block(block_hash)).hold_reason.startswith("the coinbase pays the pool 0")


async def test_a_solo_block_pays_its_finder(world):
    block_hash = await world.find_block(scheme="solo")
    await world.look()
    assert await world.credits(block_hash) == {FINDER: NET}
    assert world.shares.asked == []
    assert (await world.audit()).is_ok


async def test_an_empty_window_goes_to_the_remainder(world):
    """R1: the remainder has a name."""
    world.shares.work = {}
    block_hash = await world.find_block()
    await world.look()
    assert (await world.block(block_hash)).remainder_atomic == REWARD
    assert (await world.balance(OWNER_REMAINDER)).immature_atomic == REWARD
    assert (await world.balance(OWNER_POOL_FEE)).immature_atomic == 0
    assert (await world.audit()).is_ok


async def test_a_prop_round_begins_after_the_prop_block_before_that_is_not_orphaned(world):
    """R3: rounds do not overlap, and blocks of other schemes do not end them."""
    await world.find_block(scheme="prop")
    await world.look()
    orphaned = await world.find_block(scheme="prop")
    world.node.reorganise(1)
    world.node.mine_blocks(world.settings.orphan_depth)
    await world.look()
    assert (await world.block(orphaned)).status is Status.ORPHANED
    await world.find_block(scheme="pplns")
    last = await world.find_block(scheme="prop")
    await world.look()
    requests = {request.request_id: request for request in world.shares.asked}
    assert requests[last].start_height == 4 + 1
    assert requests[last].end_height == (await world.block(last)).found.height


async def test_a_prop_round_waits_while_the_block_before_is_undecided(world):
    """R3: else the shares of an orphaned block's round would be nobody's."""
    world.shares.missing = "not yet"
    first = await world.find_block(scheme="prop")
    second = await world.find_block(scheme="prop")
    await world.look()
    assert [request.request_id for request in world.shares.asked] == [first]
    world.shares.missing = ""
    await world.look()
    assert [request.request_id for request in world.shares.asked] == [first, first, second]


@pytest.mark.parametrize("scheme", ["pplns", "prop"])
async def test_the_window_asked_for_stays_the_same_after_a_change_of_settings_or_of_the_block_before(world, scheme):
    """R3: what was asked first is asked again, so that a window fixed before a crash is still the answer."""
    before = await world.find_block(scheme=scheme)
    await world.look()
    block_hash = world.node.mine_block(world.address)
    await world.report(block_hash, scheme=scheme)
    world.shares.missing = "not yet"
    await world.look()
    world.settings = RewardsSettings(pplns_window_percent=5000)
    await booking.reverse(await world.books(), await world.block(before))
    world.shares.missing = ""
    await world.look()
    first, second = (request for request in world.shares.asked if request.request_id == block_hash)
    assert first == second


async def test_the_round_work_is_that_of_the_heights_since_the_block_before(world):
    first = await world.find_block()
    height = world.node.chain.tip.height
    world.node.mine_block()
    second = await world.find_block()
    world.shares.work_by_height = {height - 1: 5, height: 7, height + 1: 11, height + 2: 13, height + 3: 100}
    await world.look()
    assert (await world.block(first)).round_work == 12
    assert (await world.block(second)).round_work == 24


async def test_a_block_orphaned_after_maturity_is_held_and_not_reversed(world, caplog):
    """R5: its money may be paid out; a person decides."""
    block_hash = await world.find_block()
    world.node.mine_blocks(COIN.maturity_blocks)
    await world.look(times=2)
    before = await world.totals()
    world.node.reorganise(COIN.maturity_blocks + 1)
    with caplog.at_level(logging.INFO, "lodepool.rewards"):
        await world.look(times=2)
    block = await world.block(block_hash)
    assert block.status is Status.MATURE
    assert "not in the chain any more" in block.hold_reason
    assert [record.levelname for record in caplog.records if record.getMessage() == "block held"] == ["ERROR"]
    assert await world.totals() == before
    assert {finding.check for finding in (await world.audit()).findings} == {
        "no block waits for the operator",
        "status of blocks = the chain's answer",
    }


async def test_two_followers_at_once_book_a_block_once(world):
    """R2: the second sees that the block has moved on."""
    await world.find_block()
    books = await world.books()
    await asyncio.gather(*(world.follower().look(books) for _ in range(3)))
    assert sum((await immature(world)).values()) == NET
    assert (await world.audit()).is_ok


async def test_a_step_from_an_old_view_is_refused(world):
    """R2: compare-and-swap on status and generation."""
    block_hash = await world.find_block()
    await world.look()
    seen = await world.block(block_hash)
    await booking.reverse(await world.books(), seen)
    with pytest.raises(BlockChanged):
        await booking.mature(await world.books(), seen)
    assert sum((await immature(world)).values()) == 0


async def test_a_node_that_is_away_stops_the_look_and_changes_nothing(world):
    block_hash = await world.find_block()
    world.node.go_down()
    with pytest.raises(NodeError):
        await world.look()
    world.node.come_up()
    assert (await world.block(block_hash)).status is Status.CANDIDATE
    await world.look()
    assert (await world.block(block_hash)).status is Status.IMMATURE


async def test_the_fee_is_the_one_in_force_when_the_block_was_found(world):
    """R3: a fee changed later does not touch it."""
    block_hash = await world.find_block()
    world.settings = RewardsSettings(fee_ppm=500_000)
    await world.look()
    assert (await world.block(block_hash)).pool_fee_atomic == FEE
