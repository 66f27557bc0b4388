"""Book one step of a block's life: its own rows and its ledger transfers, in one transaction.

Each function holds the block's row and checks that it is still as the caller saw it (compare-and-swap), so that two
processes that follow the same block book it once. Before that it checks that no later term has begun (`Books`), so
that a process which was frozen or cut off books nothing at all.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ledger import storage as ledger
from ledger.domain import Transfer
from proto.lodepool.events.v1.notices_pb2 import BlockNoticeKind
from rewards import notices, storage
from rewards.distribution import Distribution
from rewards.domain import Block, FoundBlock, Status, WindowPlan
from rewards.errors import BlockChanged
from rewards.transfers import credit_transfers, maturity_transfers, reversal_transfers
from runtime.postgres.fence import check_fence, take_fence
from runtime.postgres.pool import Connection, Pool
from runtime.postgres.transactions import transact

T = TypeVar("T")

SCHEMA = "rewards"


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The right of one term to book a coin's blocks.

    Attributes:
        pool: The database.
        coin_id: The coin.
        token: The fence's token of the term.
    """

    pool: Pool
    coin_id: str
    token: int

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` in one transaction that no later term can overlap.

        Raises:
            Fenced: When a later term has begun.
        """

        async def fenced(conn: Connection) -> T:
            await check_fence(conn, SCHEMA, self.coin_id, self.token)
            return await work(conn)

        return await transact(self.pool, fenced)


async def open_books(pool: Pool, coin_id: str) -> Books:
    """Begin a term; who has begun one before books no more."""
    token = await transact(pool, lambda conn: take_fence(conn, SCHEMA, coin_id))
    return Books(pool=pool, coin_id=coin_id, token=token)


async def credit(books: Books, block: Block, distribution: Distribution, *, round_work: int) -> None:
    """Credit a block for the first time (R1, R2)."""

    async def work(conn: Connection) -> None:
        await storage.insert_credits(conn, block.found, distribution)
        await storage.mark_credited(conn, block.found, distribution, round_work=round_work)
        await ledger.apply(conn, _credited(block, distribution, generation=1))
        await notices.tell_credits(conn, block.found, distribution.credits, generation=1)

    await _book(books, block, work)


async def credit_again(books: Books, block: Block) -> None:
    """Credit a block that was orphaned and came back, by the window it had (R3, R5)."""

    async def work(conn: Connection) -> None:
        generation = block.generation + 1
        distribution = await storage.distribution_of(conn, block)
        await storage.set_status(conn, block.found, Status.IMMATURE, generation=generation)
        await ledger.apply(conn, _credited(block, distribution, generation=generation))
        await notices.tell_credits(conn, block.found, distribution.credits, generation=generation)

    await _book(books, block, work)


async def mature(books: Books, block: Block, *, trace_parent: str = "") -> None:
    """Make a block's credits payable; `trace_parent` goes with the transfers."""

    async def work(conn: Connection) -> None:
        credited = _credited(block, await storage.distribution_of(conn, block), generation=block.generation)
        await storage.set_status(conn, block.found, Status.MATURE, generation=block.generation)
        await ledger.apply(conn, maturity_transfers(credited, generation=block.generation, trace_parent=trace_parent))
        await notices.tell_moved(conn, block, BlockNoticeKind.BLOCK_NOTICE_KIND_CONFIRMED)

    await _book(books, block, work)


async def reverse(books: Books, block: Block) -> None:
    """Take back the credits of a block that is not in the chain any more (R5)."""

    async def work(conn: Connection) -> None:
        credited = _credited(block, await storage.distribution_of(conn, block), generation=block.generation)
        await storage.set_status(conn, block.found, Status.ORPHANED, generation=block.generation)
        await ledger.apply(conn, reversal_transfers(credited, generation=block.generation))
        await notices.tell_moved(conn, block, BlockNoticeKind.BLOCK_NOTICE_KIND_ORPHANED)

    await _book(books, block, work)


async def orphan(books: Books, block: Block) -> None:
    """Give up a candidate that was never credited."""

    async def work(conn: Connection) -> None:
        await storage.set_status(conn, block.found, Status.ORPHANED, generation=block.generation)
        await notices.tell_moved(conn, block, BlockNoticeKind.BLOCK_NOTICE_KIND_ORPHANED)

    await _book(books, block, work)


async def hold(books: Books, block: Block, reason: str) -> bool:
    """Note why a block waits for the operator, empty when it does not; return whether that is new."""
    found = block.found

    async def work(conn: Connection) -> bool:
        is_new = await storage.set_hold(conn, found.coin, found.block_hash_hex, reason)
        if is_new and reason:
            await notices.tell_held(conn, coin=found.coin, block_hash_hex=found.block_hash_hex, reason=reason)
        return is_new

    return await books.transact(work)


async def keep_plan(books: Books, found: FoundBlock, plan: WindowPlan) -> WindowPlan:
    """Store what a block's window is asked for, unless it is stored already; return what is stored (R3)."""
    return await books.transact(lambda conn: storage.keep_plan(conn, found, plan))


async def note_confirmations(books: Books, confirmations: Mapping[str, int]) -> None:
    """Store the confirmations seen, by block hash."""
    await books.transact(lambda conn: storage.set_confirmations(conn, books.coin_id, confirmations))


def _credited(block: Block, distribution: Distribution, *, generation: int) -> tuple[Transfer, ...]:
    return credit_transfers(
        distribution, coin=block.found.coin, block_hash_hex=block.found.block_hash_hex, generation=generation
    )


async def _book(books: Books, seen: Block, work: Callable[[Connection], Awaitable[None]]) -> None:
    async def checked(conn: Connection) -> None:
        found = seen.found
        now = await storage.get_block(conn, found.coin, found.block_hash_hex, for_update=True)
        if now is None or (now.status, now.generation) != (seen.status, seen.generation):
            raise BlockChanged(found.block_hash_hex)
        await work(conn)

    await books.transact(checked)
