"""PostgreSQL: settings, connection pool, transactions, migrations and an embedded server.

Start with pool.py (`open_pool`) and transactions.py (`transact`). migrations.py brings a schema up to date;
embedded.py runs a server of our own inside a data directory, for one machine and for tests.

Reading order: settings.py, pool.py, transactions.py, migrations.py, embedded.py.
May import: runtime.clock, runtime.errors, runtime.logs, runtime.process; asyncpg.
"""

from runtime.postgres.embedded import EmbeddedPostgres
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import Connection, DatabaseUnavailable, Pool, open_pool
from runtime.postgres.settings import PostgresSettings
from runtime.postgres.transactions import transact

__all__ = [
    "Connection",
    "DatabaseUnavailable",
    "EmbeddedPostgres",
    "Pool",
    "PostgresSettings",
    "migrate",
    "open_pool",
    "transact",
]
