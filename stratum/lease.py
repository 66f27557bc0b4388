"""Give each life of a worker process a piece of the search space and a name of its own."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

from runtime.clock import Clock
from runtime.errors import UserError
from runtime.etcd.claims import ClaimTiming
from runtime.etcd.client import EtcdClient
from runtime.etcd.prefix_lease import NumberLease, NumberLeases
from stratum.protocol.extranonce import PREFIX_BYTES

COUNTER_NAME: Final = "extranonce.counter"
PREFIXES: Final = range(1 << 8 * PREFIX_BYTES)
INSTANCE_CHARS_MAX: Final = 64
PREFIX_MARGIN_S: Final = 60.0
"""How much clocks of two hosts may differ in what they measure during one lease of a prefix."""
PREFIX_RENEW_S: Final = 10.0
"""A lease lasts a day, but that it was lost should be known soon."""


class Lease(Protocol):
    """What one life of a worker process has for itself.

    Attributes:
        prefix: First two bytes of its extranonce1 values, 0..65535.
        instance: Its name in the books; never used again.
    """

    prefix: int
    instance: str

    @property
    def is_held(self) -> bool:
        """Return whether the prefix may be used now: ask in each turn of the event loop that uses it."""
        ...

    @property
    def left_s(self) -> float | None:
        """Return for how many seconds it may be used if nobody renews it; None when it needs no renewal."""
        ...

    async def wait_lost(self) -> None:
        """Return when the prefix must no longer be used."""
        ...


class PrefixSource(Protocol):
    """Lends prefixes."""

    def hold(self) -> AbstractAsyncContextManager[Lease]:
        """Wait for a prefix that nobody has, hold it while the block runs, give it back afterwards.

        Raises:
            UserError: There can be none.
        """
        ...


class _HostLease:
    """A prefix from this host's counter: nobody can take it away."""

    def __init__(self, *, prefix: int, instance: str) -> None:
        self.prefix = prefix
        self.instance = instance
        self.is_held = True
        self.left_s = None

    async def wait_lost(self) -> None:
        """Never return."""
        await asyncio.Event().wait()


class FilePrefixSource:
    """Counts the lives of a host's workers in a file; for one machine.

    Args:
        data_dir: Where the pool keeps its files.
        slot: Number of the worker on this host.
        clock: Source of time.
    """

    def __init__(self, data_dir: Path, *, slot: int, clock: Clock) -> None:
        self._data_dir = data_dir
        self._slot = slot
        self._clock = clock

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[Lease]:
        """Take the next prefix of this host; after 65,536 lives they begin anew.

        Raises:
            UserError: The counter cannot be read or written.
        """
        prefix = self._count()
        yield _HostLease(
            prefix=prefix, instance=instance_name(slot=self._slot, start_ms=self._clock.now_ms(), prefix=prefix)
        )

    def _count(self) -> int:
        path = self._data_dir / COUNTER_NAME
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                text = os.pread(fd, 32, 0).strip()
                prefix = int(text or b"0") % len(PREFIXES)
                os.pwrite(fd, b"%-31d\n" % ((prefix + 1) % len(PREFIXES)), 0)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}.", "is pool.data_dir this user's?") from error
        except ValueError as error:
            raise UserError(f"{path} does not hold a number.", "delete it if no stratum process runs") from error
        return prefix


class _ClusterLease:
    """A prefix that is claimed in etcd."""

    def __init__(self, lease: NumberLease, *, instance: str) -> None:
        self._lease = lease
        self.prefix = lease.number
        self.instance = instance

    @property
    def is_held(self) -> bool:
        """Return whether the prefix may be used now."""
        return self._lease.is_held

    @property
    def left_s(self) -> float | None:
        """Return for how many seconds it may be used if etcd does not answer again."""
        return self._lease.left_s

    async def wait_lost(self) -> None:
        """Return when the prefix must no longer be used."""
        await self._lease.wait_lost()


class EtcdPrefixSource:
    """Claims prefixes in etcd, each again only after all others; for the workers of a cluster.

    Args:
        etcd: The client.
        slot: Number of the worker on its host.
        owner: Who we are, for people to read: host and process.
        timing: The rule's numbers, the same for all workers of the cluster; see `prefix_timing`.
        prefixes: The prefixes there are; fewer only in tests.
    """

    def __init__(
        self, etcd: EtcdClient, *, slot: int, owner: str, timing: ClaimTiming, prefixes: range = PREFIXES
    ) -> None:
        self._clock = etcd.clock
        self._slot = slot
        self._leases = NumberLeases(
            etcd, prefix=f"{etcd.settings.root}stratum/prefixes/", numbers=prefixes, owner=owner, timing=timing
        )

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[Lease]:
        """Wait until etcd lends a prefix; says in the log what it waits for."""
        async with self._leases.hold() as lease:
            # The token is the revision of the claim's write: no other claim of the cluster has it.
            instance = instance_name(
                slot=self._slot, start_ms=self._clock.now_ms(), prefix=lease.number, token=lease.token
            )
            yield _ClusterLease(lease, instance=instance)


def prefix_timing(lease_s: float) -> ClaimTiming:
    """Return the timing of prefixes that last `lease_s` seconds without etcd."""
    return ClaimTiming(ttl_s=lease_s, margin_s=PREFIX_MARGIN_S, renewal_s=PREFIX_RENEW_S)


def instance_name(*, slot: int, start_ms: int, prefix: int, token: int | None = None) -> str:
    """Return the name of one life of a worker, at most 64 characters: a folder, a record's key, a row's key.

    Raises:
        ValueError: A number is out of range.
    """
    if prefix not in PREFIXES or min(slot, start_ms) < 0 or (token is not None and token < 0):
        raise ValueError(f"no instance can have slot {slot}, start {start_ms}, prefix {prefix}, token {token}")
    name = f"{slot}-{start_ms:x}-{prefix:04x}" + ("" if token is None else f"-{token:x}")
    if len(name) > INSTANCE_CHARS_MAX:
        raise ValueError(f"the instance name {name} has more than {INSTANCE_CHARS_MAX} characters")
    return name
