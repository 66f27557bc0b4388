"""Where a process gets its configuration from, and news of it: a file, or the tree in etcd.

Both sides keep the same promises: `load` returns a tree that was checked or raises; `watch` yields only trees that were
checked and differ from the one before; a bad change is reported once and leaves the last good one in force.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

import msgspec

from runtime.clock import Clock
from runtime.config import load_toml
from runtime.errors import ConfigError, UserError
from runtime.etcd.client import EtcdClient, Snapshot
from runtime.etcd.config_tree import Schema, Tree, config_prefix, decode_snapshot
from runtime.etcd.errors import EtcdUnavailable
from runtime.etcd.watch import PrefixWatch
from runtime.logs import log_event

_log = logging.getLogger("lodepool.config")

_FILE_POLL_S = 0.5
_SNAPSHOT_FORMAT = 1
_FIRST_READS = 2
_FIRST_READ_RETRY_S = 0.5


class Origin(Enum):
    """Where a configuration came from."""

    FILE = "file"
    ETCD = "etcd"
    LOCAL_COPY = "local copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A tree that was checked.

    Attributes:
        tree: The settings.
        origin: Where they came from.
        revision: Revision in etcd; 0 for a file.
    """

    tree: Tree
    origin: Origin
    revision: int


class ConfigSource(Protocol):
    """Gives a process its configuration."""

    problem: ConfigError | None
    """What is wrong with the newest configuration, while an older one is in force; None when nothing is."""

    async def load(self) -> Configuration:
        """Return the configuration to start with.

        Raises:
            UserError: When there is none that is right.
        """
        ...

    def watch(self) -> AsyncGenerator[Configuration, None]:
        """Yield each right configuration that differs from the last one that `load` or `watch` gave out, for ever."""
        ...


class FileConfigSource:
    """A TOML file; saving it is a change.

    Args:
        path: The file.
        schema: What is accepted.
        clock: The time between two looks.
        poll_s: Seconds between two looks at the file.
    """

    def __init__(self, path: Path, schema: Schema, *, clock: Clock, poll_s: float = _FILE_POLL_S) -> None:
        self._path = path
        self._schema = schema
        self._clock = clock
        self._poll_s = poll_s
        self._current: Tree | None = None
        self.problem: ConfigError | None = None

    async def load(self) -> Configuration:
        """Read and check the file."""
        configuration = self._read()
        self._current = configuration.tree
        return configuration

    async def watch(self) -> AsyncGenerator[Configuration, None]:
        """Yield the file's tree after each change that is right."""
        while True:
            try:
                configuration = self._read()
            except ConfigError as error:
                self.problem = _report(error, self.problem)
            else:
                self.problem = None
                if configuration.tree != self._current:
                    self._current = configuration.tree
                    yield configuration
            await self._clock.sleep(self._poll_s)

    def _read(self) -> Configuration:
        tree = load_toml(self._path)
        self._schema.check(tree)
        return Configuration(tree=tree, origin=Origin.FILE, revision=0)


class EtcdConfigSource:
    """The tree in etcd, with a local copy of the last good one for when etcd is away at the start.

    Args:
        etcd: The client.
        schema: What is accepted.
        copy_path: File of the local copy; its directory exists.
    """

    def __init__(self, etcd: EtcdClient, schema: Schema, *, copy_path: Path) -> None:
        self._etcd = etcd
        self._schema = schema
        self._copy_path = copy_path
        self._prefix = config_prefix(etcd.settings.root)
        self._current: Tree | None = None
        self.problem: ConfigError | None = None

    async def load(self) -> Configuration:
        """Read and check the tree in etcd; when that fails, take the local copy, which is checked as well."""
        try:
            configuration = self._checked(await self._first_read())
        except EtcdUnavailable as error:
            log_event(_log, logging.WARNING, "etcd away, local copy wanted", error=str(error))
            reason: UserError = UserError(
                f"etcd cannot be reached ({error}) and there is no copy of an earlier configuration.",
                f"start etcd, or look at etcd.endpoints; the copy would be {self._copy_path}",
            )
        except ConfigError as error:
            self.problem = _report(error, self.problem)
            reason = error
        else:
            await self._accept(configuration)
            return configuration
        copy = self._load_copy()
        if copy is None:
            raise reason
        self._current = copy.tree
        log_event(_log, logging.WARNING, "local copy in force", revision=copy.revision)
        return copy

    async def watch(self) -> AsyncGenerator[Configuration, None]:
        """Yield the tree after each change that is right; nothing while etcd is away."""
        async with (
            PrefixWatch(self._etcd, self._prefix) as prefix_watch,
            contextlib.aclosing(prefix_watch.snapshots()) as snapshots,
        ):
            async for snapshot in snapshots:
                try:
                    configuration = self._checked(snapshot)
                except ConfigError as error:
                    self.problem = _report(error, self.problem)
                    continue
                self.problem = None
                if configuration.tree != self._current:
                    await self._accept(configuration)
                    yield configuration

    async def _first_read(self) -> Snapshot:
        """Read the tree; without a copy to fall back on, a cluster that is slow to answer is asked again."""
        attempts = 1 if self._copy_path.exists() else _FIRST_READS
        for attempt in range(1, attempts + 1):
            try:
                return await self._etcd.read_prefix(self._prefix)
            except EtcdUnavailable:
                if attempt == attempts:
                    raise
                await self._etcd.clock.sleep(_FIRST_READ_RETRY_S)
        raise AssertionError("there is at least one attempt")

    def _checked(self, snapshot: Snapshot) -> Configuration:
        pulled = decode_snapshot(snapshot, self._prefix)
        if not pulled.tree:
            # Losing the whole tree is an accident; falling back to all defaults would make it worse.
            raise ConfigError(self._prefix, "there is no configuration in etcd", "one put there with a push")
        self._schema.check(pulled.tree)
        return Configuration(tree=pulled.tree, origin=Origin.ETCD, revision=pulled.revision)

    async def _accept(self, configuration: Configuration) -> None:
        self._current = configuration.tree
        log_event(_log, logging.INFO, "configuration accepted", revision=configuration.revision)
        try:
            await asyncio.to_thread(_save_copy, self._copy_path, self._etcd.settings.cluster, configuration)
        except OSError as error:
            log_event(_log, logging.ERROR, "local copy not written", path=str(self._copy_path), error=str(error))

    def _load_copy(self) -> Configuration | None:
        try:
            copy = msgspec.json.decode(self._copy_path.read_bytes(), type=_Copy)
            if copy.format != _SNAPSHOT_FORMAT or copy.cluster != self._etcd.settings.cluster:
                raise ConfigError(str(self._copy_path), "is of another cluster or format")
            self._schema.check(copy.tree)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, ConfigError) as error:
            log_event(_log, logging.ERROR, "local copy unusable", path=str(self._copy_path), error=str(error))
            return None
        return Configuration(tree=copy.tree, origin=Origin.LOCAL_COPY, revision=copy.revision)


class _Copy(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    cluster: str
    revision: int
    tree: dict[str, object]


def _save_copy(path: Path, cluster: str, configuration: Configuration) -> None:
    """Write the copy so that a crash leaves the old one or the new one, whole."""
    copy = _Copy(format=_SNAPSHOT_FORMAT, cluster=cluster, revision=configuration.revision, tree=configuration.tree)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(copy))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _report(error: ConfigError, before: ConfigError | None) -> ConfigError:
    if before is None or str(before) != str(error):
        log_event(_log, logging.ERROR, "configuration refused", path=error.path, problem=error.problem)
    return error
