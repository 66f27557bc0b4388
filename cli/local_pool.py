"""A whole pool on this machine: PostgreSQL, the stratum workers, the shipper and the back office, kept running."""

import asyncio
import contextlib
import fcntl
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TextIO

from cli.nodes import open_nodes
from cli.settings import Settings
from nodes.errors import NodeError
from runtime.errors import UserError
from runtime.logs import log_event
from runtime.postgres.embedded import EmbeddedPostgres
from runtime.postgres.settings import EMBEDDED
from runtime.process import EXIT_USER_ERROR
from runtime.supervisor import ChildFailed, ChildProcess, Supervisor
from runtime.telemetry.settings import metrics_port
from stratum.supervisor import WORKER_ROLE, child_specs, require_free_port

_log = logging.getLogger("lodepool.pool")

START_TIMEOUT_S = 60.0


class LocalPool:
    """Starts every process of the pool, restarts what dies, and stops all by pid.

    Use as `async with running(settings) as pool`.

    Args:
        settings: What the pool was told.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._supervisor = Supervisor()
        self._postgres: EmbeddedPostgres | None = None
        self.dsn = settings.postgres.dsn

    def pids(self) -> dict[str, int]:
        """Return the process ids by name: postgres, office, shipper, stratum-0 and so on."""
        pids = self._supervisor.pids()
        postmaster_pid = self._postgres.postmaster_pid if self._postgres else None
        return {**pids, "postgres": postmaster_pid} if postmaster_pid else pids

    def restart_counts(self) -> dict[str, int]:
        """Return how often each process was started again."""
        counts = self._supervisor.restart_counts()
        return {**counts, "postgres": self._postgres.restart_count} if self._postgres else counts

    async def start(self) -> None:
        """Start everything; return when miners can connect.

        Raises:
            UserError: A process cannot start; it has said why.
            ChildFailed: A process fails each time it is started.
        """
        if self._settings.postgres.dsn == EMBEDDED:
            self._postgres = EmbeddedPostgres(self._settings.data_dir)
            self.dsn = await self._postgres.start()
        environment = {"LODEPOOL_POSTGRES_DSN": self.dsn, "LODEPOOL_POOL_DATA_DIR": str(self._settings.data_dir)}
        office = ChildProcess(name="office", command=self._command("office", 0))
        specs = [
            replace(spec, environment=environment | self._metrics_port(spec.name))
            for spec in (office, *child_specs(self._settings.stratum, self._command))
        ]
        try:
            for spec in specs:
                await self._supervisor.start(spec, timeout_s=START_TIMEOUT_S)
        except ChildFailed as failure:
            if failure.exit_code != EXIT_USER_ERROR:
                raise
            raise UserError(f"The pool does not start: {failure.name} has said why above.") from None
        except TimeoutError:
            raise UserError(
                f"The pool did not become ready within {START_TIMEOUT_S:.0f} s.",
                "the log above tells what it waits for",
            ) from None

    def _command(self, role: str, slot: int) -> Sequence[str]:
        """Return what `lodepool run` is, without the other commands loaded."""
        base = (sys.executable, "-m", "cli.run", role, "--config", str(self._settings.path))
        return (*base, "--slot", str(slot)) if role == WORKER_ROLE else base

    def _metrics_port(self, process: str) -> dict[str, str]:
        port = metrics_port(self._settings.telemetry.metrics_port, process)
        return {} if port is None else {"LODEPOOL_TELEMETRY_METRICS_PORT": str(port)}

    async def watch(self) -> None:
        """Keep the embedded database running until cancelled."""
        if self._postgres:
            await self._postgres.watch()
        else:
            await asyncio.Event().wait()

    async def stop(self) -> None:
        """Stop miners' ports first, the database last."""
        await self._supervisor.stop()
        if self._postgres:
            await self._postgres.stop()


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[LocalPool]:
    """Check what can be checked beforehand, then run the pool.

    Raises:
        UserError: Another pool uses the data directory, the port is taken, no node answers, or the pool's address and
            the node disagree (S6).
    """
    lock = _take_data_dir(settings)
    try:
        require_free_port(settings.stratum)
        await check_nodes(settings)
        pool = LocalPool(settings)
        watcher = None
        try:
            await pool.start()
            log_event(_log, logging.INFO, "pool started", coin=settings.coin.coin_id, port=settings.stratum.port)
            watcher = asyncio.create_task(pool.watch())
            yield pool
        finally:
            if watcher:
                watcher.cancel()
            await pool.stop()
    finally:
        lock.close()


async def check_nodes(settings: Settings) -> None:
    """Ask every node whether it serves our coin and pays our address (S6).

    Raises:
        UserError: No node answers, or one of them disagrees.
    """
    async with open_nodes(settings.nodes, coin=settings.coin) as (group, _):
        try:
            await group.verify_pool_address(settings.coin, settings.pool.address)
        except NodeError as error:
            raise UserError(str(error), "see [[nodes]] and pool.address") from None


def _take_data_dir(settings: Settings) -> TextIO:
    """Lock the data directory; the lock lasts as long as the file is open."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        lock = (settings.data_dir / "lodepool.lock").open("a+")
    except OSError as error:
        raise UserError(f"The data directory {settings.data_dir} cannot be used: {error.strerror}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip() or "another process"
        lock.close()
        raise UserError(
            f"A pool already runs on {settings.data_dir} (pid {owner}).", "stop it, or choose another pool.data_dir"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
