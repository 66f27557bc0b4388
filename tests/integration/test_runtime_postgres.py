"""Pool, transactions, migrations and the embedded server, on a real PostgreSQL."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from runtime.errors import UserError
from runtime.postgres.embedded import EmbeddedPostgres
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import DatabaseUnavailable, acquired, close_pool, open_pool
from runtime.postgres.settings import PostgresSettings
from runtime.postgres.transactions import transact
from runtime.process import free_port

LIMIT_S = 30.0
SMALL = {"shared_buffers": "32MB"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `shop` with one migration; returns its folder of migrations."""
    folder = tmp_path / "shop" / "migrations"
    folder.mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").write_text("")
    (folder / "0001_goods.sql").write_text("CREATE TABLE shop.goods (name text PRIMARY KEY);\nSELECT pg_sleep(0.2);")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    sys.modules.pop("shop", None)


@pytest.fixture
async def server(short_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(short_dir, settings=SMALL)
    await server.start()
    yield server
    await server.stop()


async def test_several_processes_migrate_at_once_and_each_file_is_applied_once(database, package: Path) -> None:
    (package / "0002_price.sql").write_text("ALTER TABLE goods ADD price_atomic bigint NOT NULL DEFAULT 0;")
    program = (
        "import asyncio, sys\n"
        "from runtime.postgres.migrations import migrate\n"
        "from runtime.postgres.pool import open_pool\n"
        "async def main():\n"
        "    pool = await open_pool(sys.argv[1])\n"
        "    print(await migrate(pool, schema='shop', package='shop'))\n"
        "    await pool.close()\n"
        "asyncio.run(main())\n"
    )
    path = os.pathsep.join([str(package.parent.parent), str(Path.cwd())])
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            database.dsn,
            env={**os.environ, "PYTHONPATH": path},
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]
    outputs = [(await process.communicate())[0] for process in processes]
    assert sorted(int(output) for output in outputs) == [0, 0, 0, 2]
    rows = await database.pool.fetch("SELECT version, name FROM shop.migration ORDER BY version")
    assert [tuple(row) for row in rows] == [(1, "goods"), (2, "price")]


async def test_a_changed_migration_is_refused(database, package: Path) -> None:
    assert await migrate(database.pool, schema="shop", package="shop") == 1
    (package / "0001_goods.sql").write_text("CREATE TABLE shop.goods (name text);")
    with pytest.raises(UserError, match="0001_goods of schema shop was changed"):
        await migrate(database.pool, schema="shop", package="shop")


async def test_a_database_newer_than_the_program_is_refused(database, package: Path) -> None:
    (package / "0002_price.sql").write_text("SELECT 1;")
    await migrate(database.pool, schema="shop", package="shop")
    (package / "0002_price.sql").unlink()
    with pytest.raises(UserError, match="0002_price of schema shop, unknown to this program"):
        await migrate(database.pool, schema="shop", package="shop")


async def test_a_failing_migration_leaves_nothing_behind_and_can_be_repaired(database, package: Path) -> None:
    (package / "0002_price.sql").write_text("CREATE TABLE half (a int); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(database.pool, schema="shop", package="shop")
    assert await database.pool.fetchval("SELECT to_regclass('shop.half')") is None
    (package / "0002_price.sql").write_text("CREATE TABLE whole (a int);")
    assert await migrate(database.pool, schema="shop", package="shop") == 1


async def test_a_gap_between_migrations_is_refused(database, package: Path) -> None:
    (package / "0003_price.sql").write_text("SELECT 1;")
    with pytest.raises(ValueError, match="without gap"):
        await migrate(database.pool, schema="shop", package="shop")


async def test_transactions_that_cannot_be_serialised_are_tried_again(database) -> None:
    await database.pool.execute("CREATE TABLE counter AS SELECT 0 AS value")
    attempts = 0
    all_have_read = asyncio.Barrier(4)

    async def increment(connection) -> int:
        nonlocal attempts
        attempts += 1
        value = await connection.fetchval("SELECT value FROM counter")
        if attempts <= 4:
            await all_have_read.wait()
        await connection.execute("UPDATE counter SET value = $1", value + 1)
        return value

    results = await asyncio.gather(*(transact(database.pool, increment, isolation="repeatable_read") for _ in range(4)))
    assert sorted(results) == [0, 1, 2, 3]
    assert await database.pool.fetchval("SELECT value FROM counter") == 4
    assert attempts >= 7, "three of the first four had to be repeated"


async def test_a_deadlock_is_tried_again(database) -> None:
    await database.pool.execute("CREATE TABLE pair AS SELECT * FROM (VALUES (1, 0), (2, 0)) AS rows(id, value)")
    both_hold_one = asyncio.Barrier(2)
    is_first = {1: True, 2: True}

    async def update(connection, first: int, second: int) -> None:
        await connection.execute("SET LOCAL deadlock_timeout = '50ms'")
        await connection.execute("UPDATE pair SET value = value + 1 WHERE id = $1", first)
        if is_first[first]:
            is_first[first] = False
            await both_hold_one.wait()
        await connection.execute("UPDATE pair SET value = value + 1 WHERE id = $1", second)

    await asyncio.gather(
        transact(database.pool, lambda connection: update(connection, 1, 2)),
        transact(database.pool, lambda connection: update(connection, 2, 1)),
    )
    assert [row["value"] for row in await database.pool.fetch("SELECT value FROM pair")] == [2, 2]


async def test_an_error_of_the_work_rolls_back_and_passes(database) -> None:
    await database.pool.execute("CREATE TABLE entry (a int)")

    async def work(connection) -> None:
        await connection.execute("INSERT INTO entry VALUES (1)")
        raise FileNotFoundError("not the database's fault")

    with pytest.raises(FileNotFoundError):
        await transact(database.pool, work)
    assert await database.pool.fetchval("SELECT count(*) FROM entry") == 0


async def test_a_connection_lost_inside_a_transaction_is_database_unavailable(database) -> None:
    async def work(connection) -> None:
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        await database.pool.execute("SELECT pg_terminate_backend($1)", pid)
        await connection.fetchval("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        await transact(database.pool, work)
    assert await database.pool.fetchval("SELECT 1") == 1


async def test_a_statement_that_runs_too_long_is_cancelled(database) -> None:
    pool = await open_pool(database.dsn, PostgresSettings(statement_timeout_s=1))
    with pytest.raises(asyncpg.QueryCanceledError):
        await pool.execute("SELECT pg_sleep(20)")
    await close_pool(pool)


async def test_a_server_that_is_not_there_is_named_in_a_sentence() -> None:
    port = free_port()
    with pytest.raises(UserError, match=f"PostgreSQL at host 127.0.0.1, port {port}, database pool cannot be reached"):
        await open_pool(f"postgresql://me:secret@127.0.0.1:{port}/pool", wait_s=0)


async def test_a_missing_database_is_named_at_once(postgres_server: EmbeddedPostgres) -> None:
    with pytest.raises(UserError, match='refuses the connection: database "nowhere" does not exist'):
        await open_pool(postgres_server.dsn_of("nowhere"), wait_s=LIMIT_S)


async def test_a_pool_waits_for_a_server_that_is_still_starting(short_dir: Path) -> None:
    server = EmbeddedPostgres(short_dir, settings=SMALL)
    dsn = await server.start()
    await server.stop()
    opening = asyncio.create_task(open_pool(dsn, wait_s=LIMIT_S))
    await asyncio.sleep(0)
    await server.start()
    pool = await opening
    assert await pool.fetchval("SELECT 1") == 1
    await close_pool(pool)
    await server.stop()


async def test_the_embedded_server_is_durable_and_private(server: EmbeddedPostgres) -> None:
    """D1: what is committed survives; nobody else on the machine can connect."""
    pool = await open_pool(server.dsn)
    shown = {
        name: await pool.fetchval("SELECT current_setting($1)", name)
        for name in ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses", "max_connections")
    }
    assert shown == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "",
        "max_connections": "100",
    }
    (directory,) = (await pool.fetchval("SHOW unix_socket_directories")).split(",")
    assert os.stat(directory).st_mode & 0o077 == 0  # noqa: PTH116 - a path from the server, one call
    await close_pool(pool)


async def test_a_killed_server_is_back_within_a_second_with_every_committed_row(server: EmbeddedPostgres) -> None:
    """D1: kill -9 of the postmaster; the watch starts it again, pools recover by themselves."""
    pool = await open_pool(server.dsn)
    await pool.execute("CREATE TABLE entry (number bigint)")
    watching = asyncio.create_task(server.watch())
    committed: list[int] = []
    number = 0
    for restart_count in (1, 2):
        for _ in range(50):
            await pool.execute("INSERT INTO entry VALUES ($1)", number)
            committed.append(number)
            number += 1
        old_pid = server.postmaster_pid
        assert old_pid is not None
        os.kill(old_pid, signal.SIGKILL)
        killed_s = asyncio.get_running_loop().time()
        while True:
            try:
                async with acquired(pool) as connection:
                    rows = await connection.fetch("SELECT number FROM entry ORDER BY number")
                    if server.restart_count == restart_count:
                        break
            except DatabaseUnavailable:
                assert asyncio.get_running_loop().time() - killed_s < LIMIT_S
            await asyncio.sleep(0.01)
        assert [row["number"] for row in rows] == committed
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await close_pool(pool)


async def test_a_second_process_is_a_guest_and_takes_over_when_the_owner_is_killed(short_dir: Path) -> None:
    """The kernel ends the server of a killed owner; a guest starts it again."""
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from runtime.postgres.embedded import EmbeddedPostgres\n"
        "async def main():\n"
        "    server = EmbeddedPostgres(Path(sys.argv[1]), settings={'shared_buffers': '32MB'})\n"
        "    await server.start()\n"
        "    print(server.postmaster_pid, flush=True)\n"
        "    await server.watch()\n"
        "asyncio.run(main())\n"
    )
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(short_dir), stdout=asyncio.subprocess.PIPE
    )
    guest = EmbeddedPostgres(short_dir, settings=SMALL)
    try:
        assert owner.stdout is not None
        first_pid = int(await owner.stdout.readline())
        dsn = await guest.start()
        assert not guest.is_owner
        pool = await open_pool(dsn)
        await pool.execute("CREATE TABLE entry AS SELECT 7 AS number")
        await guest.stop()
        assert await pool.fetchval("SELECT number FROM entry") == 7, "a guest's stop leaves the server alone"
        owner.kill()
        await owner.wait()
        async with asyncio.timeout(LIMIT_S):
            while not await guest.restart_if_dead():
                await asyncio.sleep(0.02)
        assert guest.is_owner
        assert guest.postmaster_pid != first_pid
        async with acquired(pool) as connection:
            assert await connection.fetchval("SELECT number FROM entry") == 7
        await close_pool(pool)
    finally:
        if owner.returncode is None:
            owner.kill()
            await owner.wait()
        await guest.stop()


async def test_a_deep_data_directory_gets_a_short_private_socket_directory(short_dir: Path) -> None:
    deep = short_dir.joinpath(*["a-rather-long-directory-name"] * 4)
    server = EmbeddedPostgres(deep, settings=SMALL)
    await server.start()
    pool = await open_pool(server.dsn)
    directory = Path(await pool.fetchval("SHOW unix_socket_directories"))
    assert deep not in directory.parents
    assert os.stat(directory).st_mode & 0o777 == 0o700  # noqa: PTH116 - as above
    await close_pool(pool)
    await server.stop()
    assert not os.path.exists(directory)  # noqa: PTH110 - as above


async def test_an_embedded_server_that_cannot_start_says_why(short_dir: Path) -> None:
    server = EmbeddedPostgres(short_dir, settings={"shared_buffers": "nonsense"})
    with pytest.raises(UserError, match='invalid value for parameter "shared_buffers"'):
        await server.start()
    assert server.postmaster_pid is None
