"""The audit of rewards against an attacker who may do anything in SQL, and SQL against everybody else."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from rewards.transfers import transfer_id
from runtime.platform import Platform
from runtime.postgres.pool import acquired
from runtime.postgres.transactions import transact
from tests.fakes.rewards_world import COIN, RewardsWorld, open_rewards_world

REWARD = 5_000_000_000
ALICE = 2_828_571_429


@pytest.fixture
async def world(platform: Platform) -> AsyncIterator[RewardsWorld]:
    world = await open_rewards_world(platform)
    yield world
    await world.close()


@pytest.fixture
async def block_hash(world: RewardsWorld) -> str:
    block_hash = await world.find_block()
    await world.look()
    assert (await world.credits(block_hash))["alice"] == ALICE
    return block_hash


async def tamper(world: RewardsWorld, *statements: str) -> None:
    async def work(conn) -> None:
        await conn.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            await conn.execute(statement)

    await transact(world.platform.pool, work)


async def found(world: RewardsWorld) -> list[tuple[str, str, str]]:
    return [(finding.subject, finding.expected, finding.actual) for finding in (await world.audit()).findings]


async def test_untouched_books_agree_and_the_report_says_how_much_was_compared(world, block_hash):
    report = await world.audit()
    assert report.is_ok
    assert report.compared["credits follow from the work of the window"] == 3 + 2
    assert report.compared["ledger transfers = credits"] == 4


async def test_a_changed_credit_is_named(world, block_hash):
    """R1: account, expected and actual amount."""
    await tamper(world, "UPDATE rewards.credit SET amount_atomic = amount_atomic + 7 WHERE account = 'alice'")
    block = f"{COIN.coin_id} block 4 {block_hash}"
    assert await found(world) == [
        (f"{block}, credit of alice", str(ALICE), str(ALICE + 7)),
        (block, str(REWARD), str(REWARD + 7)),
    ]


async def test_money_moved_from_one_credit_to_another_is_named(world, block_hash):
    await tamper(
        world,
        "UPDATE rewards.credit SET amount_atomic = amount_atomic + 7 WHERE account = 'alice'",
        "UPDATE rewards.credit SET amount_atomic = amount_atomic - 7 WHERE account = 'bob'",
    )
    subjects = [subject for subject, _, _ in await found(world)]
    ids = {
        str(transfer_id(coin=COIN.coin_id, block_hash_hex=block_hash, generation=1, step="credit", owner=owner))
        for owner in ("alice", "bob")
    }
    assert subjects[:2] == [f"{COIN.coin_id} block 4 {block_hash}, credit of {name}" for name in ("alice", "bob")]
    assert set(subjects[2:]) == {f"transfer {transfer}" for transfer in ids}


async def test_a_changed_transfer_is_named_with_its_id(world, block_hash):
    changed = transfer_id(coin=COIN.coin_id, block_hash_hex=block_hash, generation=1, step="credit", owner="alice")
    await tamper(world, f"UPDATE ledger.transfer SET amount_atomic = 1 WHERE transfer_id = '{changed}'")
    (first, *_) = await found(world)
    where = f"from {COIN.coin_id} chain:coinbase external to {COIN.coin_id} alice immature"
    assert first == (f"transfer {changed}", f"block_credit of {ALICE} {where}", f"block_credit of 1 {where}")


async def test_a_removed_transfer_is_named_with_its_id(world, block_hash):
    removed = transfer_id(coin=COIN.coin_id, block_hash_hex=block_hash, generation=1, step="credit", owner="bob")
    await tamper(world, f"DELETE FROM ledger.transfer WHERE transfer_id = '{removed}'")
    assert (f"transfer {removed}", "none") in [(subject, actual) for subject, _, actual in await found(world)]


async def test_a_block_made_up_in_sql_is_named(world, block_hash):
    """R1: a reward without transfers and without a block on the chain."""
    await tamper(
        world,
        f"""
        INSERT INTO rewards.block (coin, block_hash_hex, height, found_time_ms, account, worker, scheme, reward_atomic,
            fees_atomic, network_work, coinbase_txid_hex, instance, fee_ppm, status, generation, is_credited,
            remainder_atomic)
        VALUES ('{COIN.coin_id}', '{"f" * 64}', 2, 0, 'mallory', '', 'pplns', 900, 0, 1, '', '', 0, 'immature', 1, true,
            900)
        """,
    )
    differences = await found(world)
    assert (f"{COIN.coin_id} ledger", str(REWARD + 900), str(REWARD)) in differences
    assert any("ffff" in subject and expected.startswith("orphaned") for subject, expected, _ in differences)
    assert any(expected.startswith("remainder of 900") and actual == "none" for _, expected, actual in differences)


async def test_a_changed_status_is_named_by_the_chain_and_by_the_transfers(world, block_hash):
    """R5: the chain at its height decides."""
    await tamper(world, "UPDATE rewards.block SET status = 'orphaned'")
    differences = await found(world)
    assert (f"{COIN.coin_id} block 4 {block_hash}", "immature or mature: it is in the chain", "orphaned") in differences
    assert len([1 for _, expected, actual in differences if expected.startswith("reversal") and actual == "none"]) == 4


async def test_a_chain_that_cannot_be_asked_is_a_note_not_an_agreement(world, block_hash):
    world.node.go_down()
    report = await world.audit()
    assert report.is_ok
    assert "could not be asked" in report.notes[0]


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("UPDATE rewards.credit SET amount_atomic = 1", "refused"),
        ("DELETE FROM rewards.credit", "refused"),
        ("DELETE FROM rewards.block", "refused"),
        ("UPDATE rewards.block SET reward_atomic = reward_atomic + 1", "does not change"),
        ("UPDATE rewards.block SET pool_fee_atomic = 0", "distribution of block"),
        ("UPDATE rewards.block SET generation = 0, is_credited = false, status = 'candidate'", "distribution of block"),
        (
            "INSERT INTO rewards.credit SELECT coin, block_hash_hex, 'mallory', height, 1, 1 FROM rewards.block",
            "takes no more credits",
        ),
    ],
)
async def test_sql_refuses_to_change_a_distribution(world, block_hash, statement, error):
    """R1, R2: fixed once it is written."""
    async with acquired(world.platform.pool) as conn:
        with pytest.raises(asyncpg.PostgresError, match=error):
            await conn.execute(statement)


async def test_sql_refuses_a_distribution_that_is_not_the_reward(world):
    """R1: asserted in the transaction, in SQL as well."""
    block_hash = await world.find_block()
    async with acquired(world.platform.pool) as conn:
        with pytest.raises(asyncpg.PostgresError, match="are not the reward"):
            await conn.execute(
                """
                UPDATE rewards.block SET is_credited = true, generation = 1, status = 'immature', pool_fee_atomic = 5
                WHERE block_hash_hex = $1
                """,
                block_hash,
            )
