"""A PostgreSQL of a benchmark's own, with the tables of the share service, and the folder that it all lies in."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from runtime.postgres.embedded import EmbeddedPostgres
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import Pool, close_pool, open_pool
from runtime.postgres.settings import PostgresSettings

T = TypeVar("T")


@contextlib.asynccontextmanager
async def shares_database(data_dir: Path) -> AsyncIterator[Pool]:
    """Run a server for as long as the block runs."""
    server = EmbeddedPostgres(data_dir)
    dsn = await server.start()
    try:
        pool = await open_pool(dsn, PostgresSettings(dsn=dsn))
        try:
            await migrate(pool, schema="shares", package="shares")
            yield pool
        finally:
            await close_pool(pool)
    finally:
        await server.stop()


def in_new_folder(measure: Callable[[Path], Awaitable[T]]) -> T:
    """Return what a measurement finds that is given a new folder, which is removed afterwards."""

    async def run() -> T:
        return await measure(data_dir)

    data_dir = Path(tempfile.mkdtemp(prefix="lp-bench-"))
    data_dir.chmod(0o755)
    try:
        return asyncio.run(run())
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
