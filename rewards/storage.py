"""The tables of schema `rewards`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from rewards.distribution import Credit, Distribution
from rewards.domain import Block, FoundBlock, Scheme, Status, WindowPlan
from runtime.eventlog.interface import Record
from runtime.postgres.pool import Connection

_BLOCK = """
    coin, block_hash_hex, height, found_time_ms, account, worker, scheme, reward_atomic, fees_atomic, network_work,
    coinbase_txid_hex, instance, fee_ppm, status, generation, confirmations, is_credited, pool_fee_atomic,
    remainder_atomic, window_work, round_work, hold_reason, trace_parent
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountCredit:
    """A credit as its account sees it: with its block."""

    credit: Credit
    height: int
    block_hash_hex: str
    status: Status
    found_time_ms: int


async def insert_found(conn: Connection, found: FoundBlock) -> bool:
    """Write a found block as candidate; return False when it is known already (idempotent by coin and hash)."""
    inserted = await conn.fetchval(
        """
        INSERT INTO rewards.block (coin, block_hash_hex, height, found_time_ms, account, worker, scheme, reward_atomic,
            fees_atomic, network_work, coinbase_txid_hex, instance, fee_ppm, trace_parent)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        ON CONFLICT (coin, block_hash_hex) DO NOTHING
        RETURNING true
        """,
        found.coin,
        found.block_hash_hex,
        found.height,
        found.found_time_ms,
        found.account,
        found.worker,
        found.scheme.value,
        found.reward_atomic,
        found.fees_atomic,
        found.network_work,
        found.coinbase_txid_hex,
        found.instance,
        found.fee_ppm,
        found.trace_parent or None,
    )
    return bool(inserted)


async def insert_poison(conn: Connection, record: Record, error: str) -> None:
    """Set a record aside that cannot be booked."""
    await conn.execute(
        """
        INSERT INTO rewards.poison (topic, partition, log_offset, payload, error) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT DO NOTHING
        """,
        record.topic,
        record.partition,
        record.offset,
        record.payload,
        error,
    )


async def poisoned(conn: Connection) -> list[tuple[str, str]]:
    """Return the records set aside: (place, error)."""
    rows = await conn.fetch("SELECT topic, partition, log_offset, error FROM rewards.poison ORDER BY 1, 2, 3")
    return [(f"{row['topic']}/{row['partition']}/{row['log_offset']}", row["error"]) for row in rows]


async def followed(conn: Connection, coin: str, *, down_to_height: int) -> list[Block]:
    """Return what is looked at on the chain: all open blocks, and every block from a height up; lowest first."""
    rows = await conn.fetch(
        f"""
        SELECT {_BLOCK} FROM rewards.block
        WHERE coin = $1 AND (status IN ('candidate', 'immature') OR height >= $2)
        ORDER BY height, block_hash_hex
        """,
        coin,
        down_to_height,
    )
    return [_block(row) for row in rows]


async def all_blocks(conn: Connection, coin: str) -> list[Block]:
    """Return every block of a coin, lowest first."""
    return await followed(conn, coin, down_to_height=0)


async def get_block(conn: Connection, coin: str, block_hash_hex: str, *, for_update: bool = False) -> Block | None:
    """Return a block, held until the transaction ends where `for_update`; None when unknown."""
    row = await conn.fetchrow(
        f"SELECT {_BLOCK} FROM rewards.block WHERE coin = $1 AND block_hash_hex = $2"
        + (" FOR UPDATE" if for_update else ""),
        coin,
        block_hash_hex,
    )
    return None if row is None else _block(row)


async def previous_height(conn: Connection, coin: str, *, below_height: int, scheme: Scheme | None) -> int:
    """Return the height of the newest block below that is not orphaned, 0 when there is none; of one scheme or any."""
    height: int = await conn.fetchval(
        """
        SELECT coalesce(max(height), 0) FROM rewards.block
        WHERE coin = $1 AND height < $2 AND status <> 'orphaned' AND ($3::text IS NULL OR scheme = $3)
        """,
        coin,
        below_height,
        None if scheme is None else scheme.value,
    )
    return height


async def has_open_candidate(conn: Connection, coin: str, *, below_height: int, scheme: Scheme) -> bool:
    """Tell whether a block of the scheme below is still undecided and not held."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM rewards.block
            WHERE coin = $1 AND height < $2 AND scheme = $3 AND status = 'candidate' AND hold_reason = ''
        )
        """,
        coin,
        below_height,
        scheme.value,
    )
    return found


async def keep_plan(conn: Connection, found: FoundBlock, plan: WindowPlan) -> WindowPlan:
    """Store what a block's window is asked for, unless it is stored already; return what is stored (R3)."""
    rows = await conn.fetch(
        """
        UPDATE rewards.block SET
            plan_window_work = CASE WHEN plan_start_height IS NULL THEN $4 ELSE plan_window_work END,
            plan_start_height = coalesce(plan_start_height, $3)
        WHERE coin = $1 AND block_hash_hex = $2
        RETURNING plan_start_height, plan_window_work
        """,
        found.coin,
        found.block_hash_hex,
        plan.start_height,
        plan.window_work,
    )
    start_height, window_work = rows[0]
    return WindowPlan(
        start_height=start_height,
        end_height=found.height,
        window_work=None if window_work is None else int(window_work),
    )


async def insert_credits(conn: Connection, found: FoundBlock, distribution: Distribution) -> None:
    """Write a block's credits; before `mark_credited`, in the same transaction."""
    parts = distribution.credits
    await conn.execute(
        """
        INSERT INTO rewards.credit (coin, block_hash_hex, height, account, work, amount_atomic)
        SELECT $1, $2, $3, account, work, amount_atomic
        FROM unnest($4::text[], $5::numeric[], $6::bigint[]) AS part (account, work, amount_atomic)
        """,
        found.coin,
        found.block_hash_hex,
        found.height,
        [credit.account for credit in parts],
        [credit.work for credit in parts],
        [credit.amount_atomic for credit in parts],
    )


async def mark_credited(conn: Connection, found: FoundBlock, distribution: Distribution, *, round_work: int) -> None:
    """Fix a block's distribution; SQL checks that it makes the reward (R1)."""
    await conn.execute(
        """
        UPDATE rewards.block SET is_credited = true, generation = 1, status = 'immature', pool_fee_atomic = $3,
            remainder_atomic = $4, window_work = $5, round_work = $6, update_time = clock_timestamp()
        WHERE coin = $1 AND block_hash_hex = $2
        """,
        found.coin,
        found.block_hash_hex,
        distribution.pool_fee_atomic,
        distribution.remainder_atomic,
        distribution.window_work,
        round_work,
    )


async def set_status(conn: Connection, found: FoundBlock, status: Status, *, generation: int) -> None:
    """Move a block that is held by the transaction."""
    await conn.execute(
        """
        UPDATE rewards.block SET status = $3, generation = $4, update_time = clock_timestamp()
        WHERE coin = $1 AND block_hash_hex = $2
        """,
        found.coin,
        found.block_hash_hex,
        status.value,
        generation,
    )


async def set_confirmations(conn: Connection, coin: str, confirmations: Mapping[str, int]) -> None:
    """Store the confirmations seen, by block hash."""
    await conn.execute(
        """
        UPDATE rewards.block AS block SET confirmations = seen.confirmations
        FROM unnest($2::text[], $3::bigint[]) AS seen (block_hash_hex, confirmations)
        WHERE coin = $1 AND block.block_hash_hex = seen.block_hash_hex
            AND block.confirmations <> seen.confirmations
        """,
        coin,
        list(confirmations.keys()),
        list(confirmations.values()),
    )


async def set_hold(conn: Connection, coin: str, block_hash_hex: str, reason: str) -> bool:
    """Store why a block waits for the operator, empty when it does not; return whether that is new."""
    changed = await conn.fetchval(
        """
        UPDATE rewards.block SET hold_reason = $3, update_time = clock_timestamp()
        WHERE coin = $1 AND block_hash_hex = $2 AND hold_reason <> $3 RETURNING true
        """,
        coin,
        block_hash_hex,
        reason,
    )
    return bool(changed)


async def credits_of(conn: Connection, coin: str, block_hash_hex: str) -> tuple[Credit, ...]:
    """Return a block's credits, greatest first, then by account."""
    rows = await conn.fetch(
        """
        SELECT account, work, amount_atomic FROM rewards.credit WHERE coin = $1 AND block_hash_hex = $2
        ORDER BY amount_atomic DESC, account COLLATE "C"
        """,
        coin,
        block_hash_hex,
    )
    return tuple(
        Credit(account=row["account"], work=int(row["work"]), amount_atomic=row["amount_atomic"]) for row in rows
    )


async def distribution_of(conn: Connection, block: Block) -> Distribution:
    """Return the distribution of a credited block as it was written."""
    return Distribution(
        reward_atomic=block.found.reward_atomic,
        pool_fee_atomic=block.pool_fee_atomic,
        remainder_atomic=block.remainder_atomic,
        credits=await credits_of(conn, block.found.coin, block.found.block_hash_hex),
    )


async def list_blocks(
    conn: Connection, coin: str, *, status: Status | None, account: str, below: tuple[int, str] | None, limit: int
) -> list[Block]:
    """Return blocks newest first (height, then hash), below a position in that order."""
    height, block_hash_hex = below or (2**63 - 1, "")
    rows = await conn.fetch(
        f"""
        SELECT {_BLOCK} FROM rewards.block
        WHERE coin = $1 AND (height, block_hash_hex) < ($2, $3) AND ($4::text IS NULL OR status = $4)
            AND ($5 = '' OR account = $5)
        ORDER BY height DESC, block_hash_hex DESC LIMIT $6
        """,
        coin,
        height,
        block_hash_hex,
        None if status is None else status.value,
        account,
        limit,
    )
    return [_block(row) for row in rows]


async def count_blocks(conn: Connection, coin: str, *, account: str) -> dict[Status, int]:
    """Return the number of blocks by status."""
    rows = await conn.fetch(
        "SELECT status, count(*) FROM rewards.block WHERE coin = $1 AND ($2 = '' OR account = $2) GROUP BY status",
        coin,
        account,
    )
    return {Status(row["status"]): row["count"] for row in rows}


async def list_credits(
    conn: Connection, coin: str, account: str, *, below: tuple[int, str] | None, limit: int
) -> list[AccountCredit]:
    """Return an account's credits newest first (height, then hash), below a position in that order."""
    height, block_hash_hex = below or (2**63 - 1, "")
    rows = await conn.fetch(
        """
        SELECT c.account, c.work, c.amount_atomic, c.height, c.block_hash_hex, b.status, b.found_time_ms
        FROM rewards.credit c JOIN rewards.block b USING (coin, block_hash_hex)
        WHERE c.coin = $1 AND c.account = $2 AND (c.height, c.block_hash_hex) < ($3, $4)
        ORDER BY c.height DESC, c.block_hash_hex DESC LIMIT $5
        """,
        coin,
        account,
        height,
        block_hash_hex,
        limit,
    )
    return [
        AccountCredit(
            credit=Credit(account=row["account"], work=int(row["work"]), amount_atomic=row["amount_atomic"]),
            height=row["height"],
            block_hash_hex=row["block_hash_hex"],
            status=Status(row["status"]),
            found_time_ms=row["found_time_ms"],
        )
        for row in rows
    ]


async def credits_by_block(conn: Connection, coin: str, hashes: Sequence[str]) -> dict[str, tuple[Credit, ...]]:
    """Return the credits of several blocks, by block hash."""
    rows = await conn.fetch(
        """
        SELECT block_hash_hex, account, work, amount_atomic FROM rewards.credit
        WHERE coin = $1 AND block_hash_hex = ANY($2::text[])
        ORDER BY block_hash_hex, amount_atomic DESC, account COLLATE "C"
        """,
        coin,
        list(hashes),
    )
    found: dict[str, list[Credit]] = {}
    for row in rows:
        credit = Credit(account=row["account"], work=int(row["work"]), amount_atomic=row["amount_atomic"])
        found.setdefault(row["block_hash_hex"], []).append(credit)
    return {block_hash_hex: tuple(parts) for block_hash_hex, parts in found.items()}


def _block(row: asyncpg.Record) -> Block:
    return Block(
        found=FoundBlock(
            coin=row["coin"],
            block_hash_hex=row["block_hash_hex"],
            height=row["height"],
            found_time_ms=row["found_time_ms"],
            account=row["account"],
            worker=row["worker"],
            scheme=Scheme(row["scheme"]),
            reward_atomic=row["reward_atomic"],
            fees_atomic=row["fees_atomic"],
            network_work=int(row["network_work"]),
            coinbase_txid_hex=row["coinbase_txid_hex"],
            instance=row["instance"],
            fee_ppm=row["fee_ppm"],
            trace_parent=row["trace_parent"] or "",
        ),
        status=Status(row["status"]),
        generation=row["generation"],
        confirmations=row["confirmations"],
        is_credited=row["is_credited"],
        pool_fee_atomic=row["pool_fee_atomic"],
        remainder_atomic=row["remainder_atomic"],
        window_work=int(row["window_work"]),
        round_work=int(row["round_work"]),
        hold_reason=row["hold_reason"],
    )
