"""Run work in one transaction, again when the database asks for it."""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from runtime.clock import Clock, SystemClock
from runtime.postgres.pool import Connection, Pool, acquired

T = TypeVar("T")

ATTEMPTS_MAX = 8
_DELAY_S_MIN = 0.005
_RETRIED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


async def transact(
    pool: Pool,
    work: Callable[[Connection], Awaitable[T]],
    *,
    isolation: str = "read_committed",
    clock: Clock | None = None,
) -> T:
    """Run `work` in one transaction and return its result once it is committed.

    A serialization failure or deadlock rolls back and runs `work` again, at most `ATTEMPTS_MAX` times; so `work` must
    keep its effects inside the transaction.

    Args:
        pool: Where the connection comes from.
        work: Called with the connection, inside the transaction.
        isolation: read_committed, repeatable_read or serializable.
        clock: For tests.

    Raises:
        DatabaseUnavailable: When the connection cannot be had or is lost. During COMMIT the outcome is unknown.
    """
    clock = clock or SystemClock()
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            async with acquired(pool) as connection, connection.transaction(isolation=isolation):  # type: ignore[arg-type]  # the stubs want a Literal
                return await work(connection)
        except _RETRIED:
            if attempt == ATTEMPTS_MAX:
                raise
        await clock.sleep(_DELAY_S_MIN * 2**attempt * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, no secret
    raise AssertionError("the loop returns or raises")
