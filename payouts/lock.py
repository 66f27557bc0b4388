"""Let one process pay at a time: a session-level advisory lock on a connection of its own (P4).

Everything the payer writes goes through that same connection, so a payer that has lost the lock cannot write either.
PostgreSQL frees the lock when the session ends. A pooler between us that changes sessions per transaction breaks this.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from payouts.errors import PayerLockLost
from runtime.postgres.pool import Connection, DatabaseUnavailable, Pool, acquired, is_gone

LOCK_NAMESPACE = 0x70617965
"""ASCII "paye": the first half of the advisory lock's key; the second is made from the coin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLock:
    """The lock, held.

    Attributes:
        coin_id: Whose payouts it guards.
        connection: The session that holds it.
        lost: Set when the session has ended.
    """

    coin_id: str
    connection: Connection
    lost: asyncio.Event

    async def check(self) -> None:
        """Ask the database whether the lock is still ours; done before each call that sends something.

        Raises:
            PayerLockLost: When it is not.
        """
        if self.lost.is_set() or is_gone(self.connection):
            raise PayerLockLost(self.coin_id)
        is_held = await self.connection.fetchval(
            """
            SELECT EXISTS (
                SELECT FROM pg_locks
                WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted
                  AND classid = $1::bigint AND objid = $2::bigint AND objsubid = 2
            )
            """,
            LOCK_NAMESPACE,
            lock_key(self.coin_id) & 0xFFFFFFFF,
        )
        if not is_held:
            raise PayerLockLost(self.coin_id)


def lock_key(coin_id: str) -> int:
    """Return the second half of a coin's lock key, a signed 32-bit number."""
    return int.from_bytes(hashlib.sha256(coin_id.encode()).digest()[:4], "big", signed=True)


@asynccontextmanager
async def try_lock(pool: Pool, coin_id: str) -> AsyncIterator[HeldLock | None]:
    """Hold the lock inside the block; None when another payer has it.

    Raises:
        PayerLockLost: When the connection was lost inside the block.
        DatabaseUnavailable: When there is no connection to be had.
    """
    held: Connection | None = None
    try:
        async with acquired(pool) as connection:
            key = lock_key(coin_id)
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1::int, $2::int)", LOCK_NAMESPACE, key):
                yield None
                return
            lost = asyncio.Event()

            def on_end(_connection: object) -> None:
                lost.set()

            connection.add_termination_listener(on_end)
            held = connection
            try:
                yield HeldLock(coin_id=coin_id, connection=connection, lost=lost)
            finally:
                if not (lost.is_set() or is_gone(connection)):
                    connection.remove_termination_listener(on_end)
                    await connection.execute("SELECT pg_advisory_unlock($1::int, $2::int)", LOCK_NAMESPACE, key)
    except DatabaseUnavailable as error:
        if held is not None:
            raise PayerLockLost(coin_id) from error
        raise
