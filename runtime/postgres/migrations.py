"""Bring a schema up to date with hand-written SQL files, forward only.

A package keeps its files in `migrations/NNNN_name.sql`, numbered from 0001 without a gap. Each runs in one transaction
with its record in `<schema>.migration`; inside it the schema comes first in the search path.
"""

import hashlib
import importlib.resources
import logging
import re
from dataclasses import dataclass

from runtime.errors import UserError
from runtime.logs import log_event
from runtime.postgres.pool import Connection, Pool, acquired, is_gone

_log = logging.getLogger("lodepool.postgres")
_LOCK_NAMESPACE = 0x6D696772  # "migr": the first half of the advisory lock's key
_LOCK_WAIT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One SQL file.

    Attributes:
        version: Its number, from 1.
        name: The rest of its file name, without ".sql".
        sql: Its text.
        sha256: Digest of the text, 32 bytes.
    """

    version: int
    name: str
    sql: str
    sha256: bytes


async def migrate(pool: Pool, *, schema: str, package: str) -> int:
    """Apply what is missing and return how many files were applied.

    Any number of processes may call this at once; one works, the others wait and find nothing left to do.

    Args:
        pool: The database.
        schema: Made when missing; a plain lower-case name.
        package: The import package that has the folder `migrations`.

    Raises:
        UserError: When an applied file was changed, or the database is newer than the program.
        DatabaseUnavailable: When the database is away.
    """
    if re.fullmatch(r"[a-z_][a-z0-9_]*", schema) is None:
        raise ValueError(f"{schema!r} is not a schema name")
    migrations = read_migrations(package)
    lock_key = int.from_bytes(hashlib.sha256(schema.encode()).digest()[:4], "big", signed=True)
    async with acquired(pool) as connection:
        await connection.execute("SET statement_timeout = 0")
        lock = "SELECT pg_advisory_lock($1::int, $2::int)"
        await connection.execute(lock, _LOCK_NAMESPACE, lock_key, timeout=_LOCK_WAIT_S)
        try:
            return await _apply(connection, schema, migrations)
        finally:
            if not is_gone(connection):
                await connection.execute("SELECT pg_advisory_unlock($1::int, $2::int)", _LOCK_NAMESPACE, lock_key)
                await connection.execute("RESET statement_timeout")


def read_migrations(package: str) -> list[Migration]:
    """Return the package's migrations in order.

    Raises:
        ValueError: When a file's name is not NNNN_name.sql or a number is missing or used twice.
    """
    migrations = []
    for entry in (importlib.resources.files(package) / "migrations").iterdir():
        if not entry.name.endswith(".sql"):
            continue
        match = re.fullmatch(r"(\d{4})_([a-z0-9_]+)\.sql", entry.name)
        if match is None:
            raise ValueError(f"{package}/migrations/{entry.name} is not named NNNN_name.sql")
        text = entry.read_text(encoding="utf-8")
        digest = hashlib.sha256(text.encode()).digest()
        migrations.append(Migration(version=int(match[1]), name=match[2], sql=text, sha256=digest))
    migrations.sort(key=lambda migration: migration.version)
    if [migration.version for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise ValueError(f"the migrations of {package} are not numbered 0001, 0002, … without gap")
    return migrations


async def _apply(connection: Connection, schema: str, migrations: list[Migration]) -> int:
    await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    await connection.execute(
        f"""
        CREATE TABLE IF NOT EXISTS {schema}.migration (
            version integer PRIMARY KEY CHECK (version > 0),
            name text NOT NULL,
            sha256 bytea NOT NULL CHECK (length(sha256) = 32),
            applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """
    )
    rows = await connection.fetch(f"SELECT version, name, sha256 FROM {schema}.migration ORDER BY version")
    _check_applied(schema, {row["version"]: (row["name"], row["sha256"]) for row in rows}, migrations)
    missing = migrations[len(rows) :]
    for migration in missing:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL search_path = {schema}, public")
            await connection.execute(migration.sql, timeout=3600)
            await connection.execute(
                f"INSERT INTO {schema}.migration (version, name, sha256) VALUES ($1, $2, $3)",
                migration.version,
                migration.name,
                migration.sha256,
            )
        log_event(
            _log, logging.INFO, "migration applied", schema=schema, version=migration.version, name=migration.name
        )
    return len(missing)


def _check_applied(schema: str, applied: dict[int, tuple[str, bytes]], migrations: list[Migration]) -> None:
    known = {migration.version: migration for migration in migrations}
    for version, (name, sha256) in applied.items():
        migration = known.get(version)
        if migration is None:
            raise UserError(
                f"The database has migration {version:04d}_{name} of schema {schema}, unknown to this program.",
                "the database belongs to a newer version; install that one",
            )
        if migration.sha256 != sha256:
            raise UserError(
                f"Migration {version:04d}_{migration.name} of schema {schema} was changed after it had been applied.",
                "put the old file back and write the change as a new migration",
            )
