"""Let one process pay at a time: a session-level advisory lock on a connection of its own, and a fence (P4).

Everything the payer writes goes through that same connection, so a payer that has lost the lock cannot write either.
PostgreSQL frees the lock when the session ends. A pooler between us that changes sessions per transaction breaks this.

Taking the lock begins a term in `payouts.fence`: each of the payer's transactions begins with a look at it. That holds
also where the lock does not: a database that failed over has forgotten its locks and not its rows.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from payouts.errors import PayerLockLost, TermOver
from payouts.storage import SCHEMA
from runtime.exclusive import Term
from runtime.logs import log_event
from runtime.postgres.fence import Fenced, check_fence, take_fence
from runtime.postgres.pool import Connection, DatabaseUnavailable, Pool, acquired, is_gone

_log = logging.getLogger("lodepool.payouts")

LOCK_NAMESPACE: Final = 0x70617965
"""ASCII "paye": the first half of the advisory lock's key; the second is made from the coin."""
_EVICT_MS_MAX: Final = 5_000

_HOLDERS = """
    FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid = $1::bigint AND objid = $2::bigint AND objsubid = 2
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLock:
    """The lock, held.

    Attributes:
        coin_id: Whose payouts it guards.
        connection: The session that holds it.
        term: Why we are the one that asks for it.
        token: The fence's token of this term.
        lost: Set when the session has ended.
    """

    coin_id: str
    connection: Connection
    term: Term
    token: int
    lost: asyncio.Event

    async def check(self) -> None:
        """Ask the database whether it is still ours to pay; done before each call that builds or sends something.

        Raises:
            PayerLockLost: When the lock is not ours any more.
            Fenced: When another payer has begun its term.
            TermOver: When our own term is over.
        """
        if self.lost.is_set() or is_gone(self.connection):
            raise PayerLockLost(self.coin_id)
        row = await self.connection.fetchrow(
            f"""
            SELECT EXISTS (SELECT {_HOLDERS} AND pid = pg_backend_pid()) AS is_held,
                   (SELECT token FROM payouts.fence WHERE name = $3) AS token
            """,
            *_lock_ids(self.coin_id),
            self.coin_id,
        )
        if row is None or not row["is_held"]:
            raise PayerLockLost(self.coin_id)
        if row["token"] != self.token:
            raise Fenced(self.coin_id, token=self.token, current=int(row["token"] or 0))
        self.check_term()

    def check_term(self) -> None:
        """Ask our own clock; last before each call that sends, for the process may have been frozen meanwhile.

        Raises:
            TermOver: When our own term is over.
        """
        if not self.term.is_current:
            raise TermOver(self.coin_id)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Open a transaction that no later payer can overlap.

        Raises:
            Fenced: When another payer has begun its term.
        """
        async with self.connection.transaction():
            await check_fence(self.connection, SCHEMA, self.coin_id, self.token)
            yield self.connection


def lock_key(coin_id: str) -> int:
    """Return the second half of a coin's lock key, a signed 32-bit number."""
    return int.from_bytes(hashlib.sha256(coin_id.encode()).digest()[:4], "big", signed=True)


async def is_locked(connection: Connection, coin_id: str) -> bool:
    """Return whether a payer of the coin holds the lock, in whichever process."""
    found: bool = await connection.fetchval(f"SELECT EXISTS (SELECT {_HOLDERS})", *_lock_ids(coin_id))
    return found


@asynccontextmanager
async def try_lock(pool: Pool, coin_id: str, term: Term) -> AsyncIterator[HeldLock | None]:
    """Hold the lock inside the block; None when another payer has it.

    Who was elected does not wait for an earlier payer: that one's term is over, and a frozen process or a host that
    is gone would keep its session for hours. Its session is ended, which frees the lock.

    Raises:
        PayerLockLost: When the connection was lost inside the block.
        DatabaseUnavailable: When there is no connection to be had.
    """
    held: Connection | None = None
    try:
        async with acquired(pool) as connection:
            is_ours = await _take(connection, coin_id)
            if not is_ours and term.is_elected and term.is_current:
                await _evict(connection, coin_id)
                is_ours = await _take(connection, coin_id)
            if not is_ours:
                yield None
                return
            lost = asyncio.Event()

            def on_end(_connection: object) -> None:
                lost.set()

            connection.add_termination_listener(on_end)
            held = connection
            try:
                token = await take_fence(connection, SCHEMA, coin_id)
                yield HeldLock(coin_id=coin_id, connection=connection, term=term, token=token, lost=lost)
            except TimeoutError:
                # A database that is silent would not hear us unlock either; it frees the lock with the session.
                connection.terminate()
                raise
            finally:
                if not (lost.is_set() or is_gone(connection)):
                    connection.remove_termination_listener(on_end)
                    await connection.execute(
                        "SELECT pg_advisory_unlock($1::int, $2::int)", LOCK_NAMESPACE, lock_key(coin_id)
                    )
    except DatabaseUnavailable as error:
        if held is not None:
            raise PayerLockLost(coin_id) from error
        raise


async def _take(connection: Connection, coin_id: str) -> bool:
    taken: bool = await connection.fetchval(
        "SELECT pg_try_advisory_lock($1::int, $2::int)", LOCK_NAMESPACE, lock_key(coin_id)
    )
    return taken


async def _evict(connection: Connection, coin_id: str) -> None:
    """End the sessions that hold the lock, and wait until they have ended."""
    rows = await connection.fetch(
        f"SELECT pid, pg_terminate_backend(pid, {_EVICT_MS_MAX}) AS has_ended {_HOLDERS}", *_lock_ids(coin_id)
    )
    for row in rows:
        log_event(
            _log,
            logging.WARNING,
            "payer lock taken from an earlier term",
            coin=coin_id,
            session_pid=row["pid"],
            has_ended=row["has_ended"],
        )


def _lock_ids(coin_id: str) -> tuple[int, int]:
    """Return the lock's key as pg_locks shows it: two unsigned halves."""
    return LOCK_NAMESPACE, lock_key(coin_id) & 0xFFFFFFFF
