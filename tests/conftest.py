"""Fixtures that all tests share: a real PostgreSQL, fresh databases, and a Platform on them."""

import asyncio
import itertools
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from runtime.clock import SystemClock
from runtime.eventlog.postgres import PostgresEventLog
from runtime.platform import Platform
from runtime.postgres.embedded import EmbeddedPostgres
from runtime.postgres.pool import Pool, close_pool, open_pool
from runtime.postgres.settings import PostgresSettings
from runtime.process import socket_dir
from runtime.rpc.client import RpcClients, StaticDirectory

DEBIAN_BIN_DIR = Path("/usr/lib/postgresql/15/bin")
SERVICES = ("stratum", "shares", "miners", "rewards", "payouts", "gateway", "notifier", "users")
TEST_SERVER_SETTINGS = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB", "max_wal_size": "256MB"}

_MISSING_COMPONENT = re.compile(r"missing component: (.+)")
_database_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TestDatabase:
    """A fresh database.

    Attributes:
        dsn: Its URL.
        pool: A pool on it, closed after the test.
    """

    __test__ = False

    dsn: str
    pool: Pool


@pytest.fixture
def require_component() -> Callable[[str], Path]:
    """Return a function: program name → its path; skips the test, counted in the summary, when it is not installed."""

    def find(program: str) -> Path:
        found = shutil.which(program)
        if found is None:
            pytest.skip(f"missing component: {program}")
        return Path(found)

    return find


def postgres_bin_dir() -> Path | None:
    """Return the folder of the PostgreSQL that the tests run on; None means the embedded one."""
    if os.environ.get("LODEPOOL_TEST_POSTGRES") != "debian":
        return None
    if not DEBIAN_BIN_DIR.is_dir():
        pytest.skip("missing component: postgresql-15")
    return DEBIAN_BIN_DIR


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """Run one PostgreSQL for this pytest process; `LODEPOOL_TEST_POSTGRES=debian` chooses Debian's."""
    bin_dir = postgres_bin_dir()
    data_dir = Path(tempfile.mkdtemp(prefix="lp-pg-"))
    data_dir.chmod(0o755)
    server = EmbeddedPostgres(data_dir, bin_dir=bin_dir, settings=TEST_SERVER_SETTINGS)
    # A loop factory of our own leaves the current event loop of the test runner alone.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(server.start())
        try:
            yield server
        finally:
            runner.run(server.stop())
            shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture
async def database(postgres_server: EmbeddedPostgres) -> AsyncIterator[TestDatabase]:
    """Make a fresh database and open a pool on it."""
    name = f"test_{next(_database_numbers)}"
    admin = await asyncpg.connect(postgres_server.dsn_of("postgres"))
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    await admin.close()
    dsn = postgres_server.dsn_of(name)
    pool = await open_pool(dsn, PostgresSettings(dsn=dsn))
    yield TestDatabase(dsn=dsn, pool=pool)
    await close_pool(pool)
    admin = await asyncpg.connect(postgres_server.dsn_of("postgres"))
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """Return a temporary directory whose path is short enough for unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="lp-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def platform(database: TestDatabase, short_dir: Path) -> AsyncIterator[Platform]:
    """Return what a service runs on: a fresh database, its event log, unix sockets, the real clock.

    `platform.ready` does nothing.
    """
    sockets = socket_dir(short_dir)
    directory = StaticDirectory({name: f"unix:{sockets / name}.sock" for name in SERVICES})
    clients = RpcClients(directory)
    eventlog = await PostgresEventLog.open(database.pool)
    yield Platform.local(
        clock=SystemClock(),
        pool=database.pool,
        eventlog=eventlog,
        directory=directory,
        clients=clients,
        ready=lambda _name: None,
    )
    await clients.close()
    await eventlog.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the tests that were skipped for each missing component, so that nothing is skipped silently."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        match = _MISSING_COMPONENT.search(reason)
        if match is not None:
            counts[match[1].strip()] += 1
    if counts:
        terminalreporter.section("skipped for missing components")
        for component, count in sorted(counts.items()):
            terminalreporter.line(f"{component}: {count} tests")
