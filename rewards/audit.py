"""Compare each block's distribution with its reward, its ledger transfers and the chain."""

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

from ledger import storage as ledger
from ledger.domain import Transfer
from nodes.errors import NodeError
from rewards import storage
from rewards.distribution import Credit, Distribution
from rewards.domain import Block, Scheme, Status, distribute
from rewards.follower import ChainReader
from rewards.transfers import credit_transfers, maturity_transfers, reversal_transfers
from runtime.audit import Finding, Report
from runtime.postgres.pool import Connection, Pool, acquired

SUM_CHECK = "credits + fee + remainder = reward"
SPLIT_CHECK = "credits follow from the work of the window"
TRANSFERS_CHECK = "ledger transfers = credits"
COINBASE_CHECK = "rewards of credited blocks = coinbase of the ledger"
OPEN_CHECK = "no block waits for the operator"
CHAIN_CHECK = "status of blocks = the chain's answer"

_BLOCKS_AT_ONCE = 50


async def audit(pool: Pool, *, coin_id: str, nodes: ChainReader | None = None) -> Report:
    """Audit one coin's blocks on one snapshot of the database; every difference is named.

    Args:
        pool: The database.
        coin_id: Which coin.
        nodes: Where to ask for the chain; None compares the books alone.
    """
    findings: list[Finding] = []
    compared: Counter[str] = Counter({SUM_CHECK: 0, SPLIT_CHECK: 0, TRANSFERS_CHECK: 0})
    async with (
        acquired(pool) as conn,
        conn.transaction(isolation="repeatable_read", readonly=True),
    ):
        blocks = await storage.all_blocks(conn, coin_id)
        for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
            findings.extend(await _audit_blocks(conn, coin_id, blocks[start : start + _BLOCKS_AT_ONCE], compared))
        findings.extend(await _coinbase(conn, coin_id, blocks))
        poisoned = await storage.poisoned(conn)
    compared[COINBASE_CHECK] = 1
    compared[OPEN_CHECK] = len(blocks) + len(poisoned)
    findings.extend(
        Finding(check=OPEN_CHECK, subject=_subject(block), expected="no hold", actual=block.hold_reason)
        for block in blocks
        if block.hold_reason
    )
    findings.extend(
        Finding(check=OPEN_CHECK, subject=f"record {place}", expected="a booked block", actual=error)
        for place, error in poisoned
    )
    if nodes is None:
        return Report(
            compared=dict(compared), findings=tuple(findings), notes=("the chain was not asked about blocks",)
        )
    differences, compared[CHAIN_CHECK], notes = await _chain(nodes, blocks)
    return Report(compared=dict(compared), findings=(*findings, *differences), notes=notes)


async def _audit_blocks(conn: Connection, coin_id: str, blocks: list[Block], compared: Counter[str]) -> list[Finding]:
    credits_by_block = await storage.credits_by_block(conn, coin_id, [block.found.block_hash_hex for block in blocks])
    findings: list[Finding] = []
    for block in blocks:
        parts = credits_by_block.get(block.found.block_hash_hex, ())
        actual = {
            transfer.transfer_id: transfer
            for transfer in await ledger.transfers_by_reference(conn, coin_id, block.found.block_hash_hex)
        }
        expected: dict[UUID, Transfer] = {}
        if block.is_credited:
            compared[SUM_CHECK] += 1
            compared[SPLIT_CHECK] += len(parts) + 2
            findings.extend(_split(block, parts))
            if wrong_sum := _sum(block, parts):
                findings.append(wrong_sum)
            else:
                expected = {transfer.transfer_id: transfer for transfer in _expected_transfers(block, parts)}
        compared[TRANSFERS_CHECK] += len(expected)
        if expected or not block.is_credited:
            findings.extend(_transfers(expected, actual))
    return findings


def _sum(block: Block, parts: tuple[Credit, ...]) -> Finding | None:
    total = sum(part.amount_atomic for part in parts) + block.pool_fee_atomic + block.remainder_atomic
    if total == block.found.reward_atomic:
        return None
    return Finding(check=SUM_CHECK, subject=_subject(block), expected=str(block.found.reward_atomic), actual=str(total))


def _split(block: Block, parts: tuple[Credit, ...]) -> Iterator[Finding]:
    again = distribute(block.found, {part.account: part.work for part in parts})
    expected = {part.account: part.amount_atomic for part in again.credits}
    actual = {part.account: part.amount_atomic for part in parts}
    pairs = [
        (f"credit of {account}", expected.get(account, 0), actual.get(account, 0))
        for account in sorted(expected.keys() | actual.keys())
    ]
    pairs.append(("pool fee", again.pool_fee_atomic, block.pool_fee_atomic))
    pairs.append(("remainder", again.remainder_atomic, block.remainder_atomic))
    if block.found.scheme is not Scheme.SOLO:
        pairs.append(("window work", sum(part.work for part in parts), block.window_work))
    for name, wanted, found in pairs:
        if wanted != found:
            yield Finding(
                check=SPLIT_CHECK, subject=f"{_subject(block)}, {name}", expected=str(wanted), actual=str(found)
            )


def _expected_transfers(block: Block, parts: tuple[Credit, ...]) -> Iterator[Transfer]:
    """Return all transfers of a block's life: each generation before the last was reversed."""
    distribution = Distribution(
        reward_atomic=block.found.reward_atomic,
        pool_fee_atomic=block.pool_fee_atomic,
        remainder_atomic=block.remainder_atomic,
        credits=parts,
    )
    for generation in range(1, block.generation + 1):
        credited = credit_transfers(
            distribution,
            coin=block.found.coin,
            block_hash_hex=block.found.block_hash_hex,
            generation=generation,
        )
        yield from credited
        if generation < block.generation or block.status is Status.ORPHANED:
            yield from reversal_transfers(credited, generation=generation)
        elif block.status is Status.MATURE:
            yield from maturity_transfers(credited, generation=generation)


def _transfers(expected: dict[UUID, Transfer], actual: dict[UUID, Transfer]) -> Iterator[Finding]:
    for transfer_id in sorted(expected.keys() | actual.keys()):
        wanted, found = expected.get(transfer_id), actual.get(transfer_id)
        if wanted != found:
            yield Finding(
                check=TRANSFERS_CHECK,
                subject=f"transfer {transfer_id}",
                expected=_describe(wanted),
                actual=_describe(found),
            )


async def _coinbase(conn: Connection, coin_id: str, blocks: list[Block]) -> list[Finding]:
    rewards_atomic = sum(
        block.found.reward_atomic for block in blocks if block.status in {Status.IMMATURE, Status.MATURE}
    )
    totals = await ledger.totals(conn, coin_id)
    if rewards_atomic == totals.coinbase_atomic:
        return []
    return [
        Finding(
            check=COINBASE_CHECK,
            subject=f"{coin_id} ledger",
            expected=str(rewards_atomic),
            actual=str(totals.coinbase_atomic),
        )
    ]


async def _chain(nodes: ChainReader, blocks: list[Block]) -> tuple[list[Finding], int, tuple[str, ...]]:
    findings: list[Finding] = []
    compared = 0
    try:
        for block in blocks:
            if block.status is Status.CANDIDATE:
                continue
            at_height = await nodes.block_hash_at(block.found.height)
            compared += 1
            is_there = at_height == block.found.block_hash_hex
            if is_there == (block.status is Status.ORPHANED):
                findings.append(
                    Finding(
                        check=CHAIN_CHECK,
                        subject=_subject(block),
                        expected="immature or mature: it is in the chain"
                        if is_there
                        else f"orphaned: the chain has {at_height or 'no block'} at its height",
                        actual=block.status.value,
                    )
                )
    except NodeError as error:
        return findings, compared, (f"the chain could not be asked about all blocks: {error}",)
    return findings, compared, ()


def _subject(block: Block) -> str:
    return f"{block.found.coin} block {block.found.height} {block.found.block_hash_hex}"


def _describe(transfer: Transfer | None) -> str:
    if transfer is None:
        return "none"
    return f"{transfer.code} of {transfer.amount_atomic} from {transfer.debit} to {transfer.credit}"
