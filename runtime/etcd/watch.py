"""Follow all keys under a prefix, and find out by ourselves when a watch has gone quiet."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Self

from runtime.etcd.client import EtcdClient, Fingerprint, Snapshot
from runtime.etcd.errors import EtcdError, EtcdRefused
from runtime.logs import log_event

_log = logging.getLogger("lodepool.etcd")

_RETRY_S_MIN = 0.1
_RETRY_S_MAX = 1.0


class PrefixWatch:
    """States of a prefix, one after another: the newest is always delivered, those between may be left out.

    News comes by etcd's watch. Every `probe_s` seconds a read that a majority agrees on checks that nothing was missed:
    a watch that was cancelled, compacted, cut off or simply went silent (as after a restart of etcd) is opened again.
    So a change is seen at once as a rule, and at most `probe_s` plus one read later when the watch is dead.

    Use it as an async context manager.

    Args:
        etcd: The client.
        prefix: What to follow.
    """

    def __init__(self, etcd: EtcdClient, prefix: str) -> None:
        self._etcd = etcd
        self._prefix = prefix
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._endpoint = ""
        self._problem: type[Exception] | None = None
        self.restart_count = 0
        self.is_reachable = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop_watch()

    async def snapshots(self) -> AsyncGenerator[Snapshot, None]:
        """Yield the state now and after each change; while etcd is away nothing is yielded and the last one stands."""
        known: Snapshot | None = None
        while True:
            current = await self._read()
            if known is None or current.entries != known.entries:
                known = current
                yield current
            await self._until_changed(current)

    async def _read(self) -> Snapshot:
        delay_s = _RETRY_S_MIN
        while True:
            self._news.clear()
            try:
                snapshot = await self._etcd.read_prefix(self._prefix)
            except (EtcdError, EtcdRefused) as error:
                self._report(error)
            else:
                self._reached()
                return snapshot
            await self._etcd.clock.sleep(delay_s)
            delay_s = min(delay_s * 2, _RETRY_S_MAX)

    async def _until_changed(self, current: Snapshot) -> None:
        expected = _fingerprint(current)
        while True:
            if self._task is None or self._task.done() or self._endpoint != self._etcd.preferred_endpoint:
                await self._start_watch(current.revision + 1)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._etcd.settings.probe_s):
                    await self._news.wait()
            if self._news.is_set():
                return
            try:
                found = await self._etcd.fingerprint(self._prefix)
            except (EtcdError, EtcdRefused) as error:
                self._report(error)
                continue
            self._reached()
            if found != expected:
                log_event(_log, logging.INFO, "quiet watch replaced", prefix=self._prefix, endpoint=self._endpoint)
                await self._stop_watch()
                return

    async def _start_watch(self, start_revision: int) -> None:
        await self._stop_watch()
        self._endpoint = self._etcd.preferred_endpoint
        self.restart_count += 1
        self._task = asyncio.create_task(self._listen(start_revision), name=f"etcd watch {self._prefix}")

    async def _stop_watch(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _listen(self, start_revision: int) -> None:
        with contextlib.suppress(EtcdError, EtcdRefused):
            listening = self._etcd.watch_once(self._prefix, start_revision=start_revision)
            async with contextlib.aclosing(listening) as stream:
                async for endpoint in stream:
                    if endpoint:
                        self._news.set()

    def _report(self, error: Exception) -> None:
        """Log the first failure of its kind since etcd was last reached."""
        if type(error) is not self._problem:
            log_event(_log, logging.WARNING, "etcd not reached", prefix=self._prefix, error=str(error))
        self._problem = type(error)
        self.is_reachable = False

    def _reached(self) -> None:
        if self._problem is not None:
            log_event(_log, logging.INFO, "etcd reached again", prefix=self._prefix)
        self._problem = None
        self.is_reachable = True


def _fingerprint(snapshot: Snapshot) -> Fingerprint:
    newest = max((entry.mod_revision for entry in snapshot.entries.values()), default=0)
    return Fingerprint(key_count=len(snapshot.entries), mod_revision_max=newest)
