"""Open a pool of connections, and tell a lost server from a wrong statement."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from runtime.clock import Clock, SystemClock
from runtime.errors import UserError
from runtime.logs import log_event
from runtime.postgres.settings import EMBEDDED, PostgresSettings
from runtime.process import is_cancelled
from runtime.telemetry.families import QUICK_S, Histogram

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_log = logging.getLogger("lodepool.postgres")

_RETRY_DELAY_S = 0.1
_CLIENT_MARGIN_S = 5

_LOST: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    # The driver's state machine when the server vanished in the middle of an exchange.
    asyncpg.InternalClientError,
)
_DRIVER: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_REFUSED: tuple[type[BaseException], ...] = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    ValueError,
)


@dataclass(slots=True, kw_only=True)
class Acquisitions:
    """How this process's tasks came by connections.

    Attributes:
        waiting: Tasks that wait for one now.
        acquired_total: Connections lent.
        failed_total: Times that none could be had.
        waits: Seconds waited for those that were lent.
    """

    waiting: int = 0
    acquired_total: int = 0
    failed_total: int = 0
    waits: Histogram = field(default_factory=lambda: Histogram(QUICK_S))


ACQUISITIONS = Acquisitions()
"""Of all pools of the process; asyncpg's pool itself has no place for it."""


class DatabaseUnavailable(Exception):
    """Raised when the database cannot be reached or the connection was lost.

    When a connection is lost during COMMIT, nobody knows whether the transaction took place: what is tried again must
    be idempotent.
    """


def is_connection_loss(error: BaseException) -> bool:
    """Return whether the error says that the server is away, not that the statement is wrong."""
    if isinstance(error, asyncpg.QueryCanceledError):
        return False
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error) or "closing" in str(error)
    return isinstance(error, _LOST)


def is_gone(connection: Connection) -> bool:
    """Return whether a lent connection is closed; the driver takes a lost one back before the borrower knows."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


@asynccontextmanager
async def acquired(pool: Pool, *, timeout_s: float = 10) -> AsyncIterator[Connection]:
    """Lend a connection of the pool.

    Raises:
        DatabaseUnavailable: When none can be had in time, or the connection is lost while it is lent.
    """
    start_s = time.perf_counter()
    ACQUISITIONS.waiting += 1
    try:
        connection = await pool.acquire(timeout=timeout_s)
        ACQUISITIONS.acquired_total += 1
        ACQUISITIONS.waits.observe(time.perf_counter() - start_s)
    except Exception as error:
        ACQUISITIONS.failed_total += 1
        if is_cancelled():
            raise asyncio.CancelledError from error
        if is_connection_loss(error):
            raise DatabaseUnavailable(_described(error)) from error
        raise
    finally:
        ACQUISITIONS.waiting -= 1
    try:
        yield connection
    except _DRIVER as error:
        if is_cancelled():
            raise asyncio.CancelledError from error
        # OSError and TimeoutError may come from the borrower's own work: only a closed connection makes them ours.
        is_foreign = isinstance(error, OSError | TimeoutError)
        if is_gone(connection) or (not is_foreign and is_connection_loss(error)):
            raise DatabaseUnavailable(_described(error)) from error
        raise
    finally:
        await _give_back(pool, connection)


async def check_database(pool: Pool) -> None:
    """Return when the database answers.

    Raises:
        DatabaseUnavailable: When it does not.
    """
    async with acquired(pool) as connection:
        await connection.execute("SELECT 1")


async def _give_back(pool: Pool, connection: "PoolConnectionProxy[asyncpg.Record]") -> None:
    """Return the connection to the pool.

    A failure says only that the connection was lost meanwhile: the pool has dropped it, and the borrower's work has
    already succeeded or failed by itself.
    """
    try:
        await pool.release(connection)
    except _DRIVER as error:
        log_event(_log, logging.DEBUG, "connection dropped", error=_described(error))


def _described(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def open_pool(
    dsn: str, settings: PostgresSettings | None = None, *, wait_s: float | None = None, clock: Clock | None = None
) -> Pool:
    """Open a pool; wait for a server that is still starting.

    Args:
        dsn: A postgresql:// URL; for the embedded server the one its `start` returned.
        settings: Sizes and timeouts.
        wait_s: How long to wait for the server; None takes it from the settings.
        clock: For tests.

    Raises:
        UserError: When the server cannot be reached in time, or refuses us (password, database, role).
    """
    settings = settings or PostgresSettings()
    clock = clock or SystemClock()
    if dsn == EMBEDDED:
        raise UserError(
            "The embedded PostgreSQL has not been started.", "start it first, or set postgres.dsn to a server's URL"
        )
    deadline_s = clock.monotonic_s() + (settings.wait_s if wait_s is None else wait_s)
    while True:
        try:
            return await _create(dsn, settings)
        except _REFUSED as error:
            raise UserError(
                f"PostgreSQL at {where(dsn)} refuses the connection: {error}.", "see postgres.dsn"
            ) from None
        except Exception as error:
            if not is_connection_loss(error):
                raise
            if clock.monotonic_s() >= deadline_s:
                raise UserError(
                    f"PostgreSQL at {where(dsn)} cannot be reached: {_described(error)}.",
                    "is the server running, and is postgres.dsn right?",
                ) from None
        await clock.sleep(_RETRY_DELAY_S)


def where(dsn: str) -> str:
    """Return host, port and database of a URL for people, without its password."""
    try:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query)
        host = query.get("host", [parts.hostname or "localhost"])[0]
        port = query.get("port", [str(parts.port or 5432)])[0]
    except ValueError:
        return "(unreadable URL)"
    database = unquote(parts.path.lstrip("/")) or "the default database"
    return f"host {host}, port {port}, database {database}"


async def _create(dsn: str, settings: PostgresSettings) -> Pool:
    """Make a pool and try one connection; a floor of 0 keeps the pool quiet while the server is away."""
    pool: Pool = await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=settings.pool_size_max,
        timeout=settings.connect_timeout_s,
        command_timeout=settings.statement_timeout_s + _CLIENT_MARGIN_S,
        server_settings={
            "statement_timeout": f"{settings.statement_timeout_s}s",
            "idle_in_transaction_session_timeout": f"{settings.statement_timeout_s}s",
            "timezone": "UTC",
            "jit": "off",
        },
    )
    try:
        async with pool.acquire():
            return pool
    except BaseException:
        pool.terminate()
        raise


async def close_pool(pool: Pool, *, timeout_s: float = 5) -> None:
    """Close the pool; cut the connections that have not come back in time."""
    try:
        async with asyncio.timeout(timeout_s):
            await pool.close()
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        pool.terminate()
