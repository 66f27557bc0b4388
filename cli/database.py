"""How commands that read or change the database itself reach it."""

import contextlib
from collections.abc import AsyncIterator

from cli.settings import Settings
from runtime.postgres.embedded import EmbeddedPostgres
from runtime.postgres.pool import Pool, close_pool, open_pool
from runtime.postgres.settings import EMBEDDED


@contextlib.asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[Pool]:
    """Open the pool's database; an embedded one that does not run is run for as long as it is needed.

    Raises:
        UserError: It cannot be reached.
    """
    embedded = EmbeddedPostgres(settings.data_dir) if settings.postgres.dsn == EMBEDDED else None
    dsn = await embedded.start() if embedded else settings.postgres.dsn
    try:
        pool = await open_pool(dsn, settings.postgres)
        try:
            yield pool
        finally:
            await close_pool(pool)
    finally:
        if embedded:
            await embedded.stop()
