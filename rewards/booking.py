"""Book one step of a block's life: its own rows and its ledger transfers, in one transaction.

Each function holds the block's row and checks that it is still as the caller saw it (compare-and-swap), so that two
processes that follow the same block book it once.
"""

from collections.abc import Awaitable, Callable

from ledger import storage as ledger
from ledger.domain import Transfer
from rewards import storage
from rewards.distribution import Distribution
from rewards.domain import Block, Status
from rewards.errors import BlockChanged
from rewards.transfers import credit_transfers, maturity_transfers, reversal_transfers
from runtime.postgres.pool import Connection, Pool
from runtime.postgres.transactions import transact


async def credit(pool: Pool, block: Block, distribution: Distribution, *, round_work: int) -> None:
    """Credit a block for the first time (R1, R2)."""

    async def work(conn: Connection) -> None:
        await storage.insert_credits(conn, block.found, distribution)
        await storage.mark_credited(conn, block.found, distribution, round_work=round_work)
        await ledger.apply(conn, _credited(block, distribution, generation=1))

    await _book(pool, block, work)


async def credit_again(pool: Pool, block: Block) -> None:
    """Credit a block that was orphaned and came back, by the window it had (R3, R5)."""

    async def work(conn: Connection) -> None:
        generation = block.generation + 1
        distribution = await storage.distribution_of(conn, block)
        await storage.set_status(conn, block.found, Status.IMMATURE, generation=generation)
        await ledger.apply(conn, _credited(block, distribution, generation=generation))

    await _book(pool, block, work)


async def mature(pool: Pool, block: Block) -> None:
    """Make a block's credits payable."""

    async def work(conn: Connection) -> None:
        credited = _credited(block, await storage.distribution_of(conn, block), generation=block.generation)
        await storage.set_status(conn, block.found, Status.MATURE, generation=block.generation)
        await ledger.apply(conn, maturity_transfers(credited, generation=block.generation))

    await _book(pool, block, work)


async def reverse(pool: Pool, block: Block) -> None:
    """Take back the credits of a block that is not in the chain any more (R5)."""

    async def work(conn: Connection) -> None:
        credited = _credited(block, await storage.distribution_of(conn, block), generation=block.generation)
        await storage.set_status(conn, block.found, Status.ORPHANED, generation=block.generation)
        await ledger.apply(conn, reversal_transfers(credited, generation=block.generation))

    await _book(pool, block, work)


async def orphan(pool: Pool, block: Block) -> None:
    """Give up a candidate that was never credited."""

    async def work(conn: Connection) -> None:
        await storage.set_status(conn, block.found, Status.ORPHANED, generation=block.generation)

    await _book(pool, block, work)


def _credited(block: Block, distribution: Distribution, *, generation: int) -> tuple[Transfer, ...]:
    return credit_transfers(
        distribution, coin=block.found.coin, block_hash_hex=block.found.block_hash_hex, generation=generation
    )


async def _book(pool: Pool, seen: Block, work: Callable[[Connection], Awaitable[None]]) -> None:
    async def checked(conn: Connection) -> None:
        found = seen.found
        now = await storage.get_block(conn, found.coin, found.block_hash_hex, for_update=True)
        if now is None or (now.status, now.generation) != (seen.status, seen.generation):
            raise BlockChanged(found.block_hash_hex)
        await work(conn)

    await transact(pool, checked)
