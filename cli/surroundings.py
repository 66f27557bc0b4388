"""What a process of the pool runs on, put together from the configuration.

`open_surroundings` opens what every process has: settings that follow the configuration, telemetry, and on a cluster
etcd, an identity and an entry in the register. What only some need is asked for: `platform` (database, event log,
other services), `front` (other services only), `eventlog`, `stratum`.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.directory import local_directory
from cli.following import Following, LiveSections
from cli.settings import (
    METRICS_LABEL,
    TREE_SCHEMA,
    HostTree,
    Settings,
    copy_path,
    decode_file,
    decode_host,
    decode_settings,
)
from runtime.clock import Clock, SystemClock
from runtime.config import load_toml
from runtime.errors import UserError
from runtime.etcd.client import EtcdClient
from runtime.etcd.config_source import ConfigSource, Configuration, EtcdConfigSource, FileConfigSource
from runtime.etcd.config_tree import Schema, Tree
from runtime.etcd.discovery import EtcdDirectory
from runtime.etcd.exclusive import EtcdExclusive
from runtime.etcd.metrics import etcd_source
from runtime.etcd.serving import ClusterServing, advertised_host, instance_name
from runtime.exclusive import Alone, Exclusive
from runtime.logs import configure_logging
from runtime.process import keep_running, service_manager, socket_dir
from runtime.rpc.client import Directory, RpcClients, StaticDirectory
from runtime.rpc.identity import Identity, load_identity
from runtime.serving import LocalServing, Serving
from runtime.telemetry import Telemetry
from runtime.telemetry.identity import identity_source
from runtime.telemetry.process import version
from runtime.telemetry.run import run_telemetry
from stratum.lease import EtcdPrefixSource, FilePrefixSource, PrefixSource, prefix_timing
from stratum.platform import StratumPlatform
from stratum.supervisor import worker_name

SLOT_LABEL: Final = "slot"
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104  compared with, not listened on

_log = logging.getLogger("lodepool.config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What a process has of its cluster.

    Attributes:
        etcd: The client.
        identity: Who the process is; None without TLS and tokens.
        serving: Offers gRPC servers, and keeps other entries in the register.
        instance: The process's name in the register.
    """

    etcd: EtcdClient
    identity: Identity | None
    serving: ClusterServing
    instance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every process has.

    Attributes:
        process: Its name in logs: "office", "stratum-0".
        role: What it is: "office", "stratum".
        slot: Number of a stratum worker on its host.
        settings: As they were at the start.
        live: Sections whose settings may change.
        clock: The time.
        telemetry: Metrics and traces.
        cluster: None on one machine.
        ready: Called with its name once it serves.
    """

    process: str
    role: str
    slot: int
    settings: Settings
    live: LiveSections
    clock: Clock
    telemetry: Telemetry
    cluster: Cluster | None
    ready: Callable[[str], None]

    @property
    def exclusive(self) -> Exclusive:
        """Return what lets one process of all do a piece of work."""
        if self.cluster is None:
            return Alone()
        return EtcdExclusive(self.cluster.etcd, f"{self.process} {self.cluster.instance}")

    def serve_at(self, directory: Directory) -> Serving:
        """Return what offers gRPC servers: on one machine where the directory says."""
        if self.cluster is not None:
            return self.cluster.serving
        return LocalServing(directory, interceptors=(self.telemetry.rpc_server,))

    @contextlib.asynccontextmanager
    async def services(self) -> AsyncIterator[tuple[Directory, RpcClients]]:
        """Find the other services, and open channels to them."""
        async with contextlib.AsyncExitStack() as stack:
            directory: Directory
            if self.cluster is None:
                directory = local_directory(self.settings.data_dir, worker_count=self.settings.stratum.worker_count)
            else:
                followed = EtcdDirectory(self.cluster.etcd)
                stack.push_async_callback(_end, _start("directory", followed.run, self.clock))
                directory = followed
            identity = self.cluster.identity if self.cluster else None
            clients = RpcClients(directory, identity, interceptors=self.telemetry.rpc_clients.interceptors)
            stack.push_async_callback(clients.close)
            yield directory, clients

    def stratum(self) -> StratumPlatform:
        """Return the surroundings of a stratum worker: no database, no event log, no other service."""
        path = socket_dir(self.settings.data_dir) / f"{worker_name(self.slot)}.sock"
        return StratumPlatform(
            clock=self.clock,
            serve=self.serve_at(StaticDirectory({"stratum": f"unix:{path}"})),
            prefixes=self._prefixes(),
            telemetry=self.telemetry,
            ready=self.ready,
        )

    def registered(self, service: str, address: str) -> contextlib.AbstractAsyncContextManager[None]:
        """Show in the register what is served otherwise than by gRPC; does nothing on one machine."""
        if self.cluster is None or not address:
            return contextlib.nullcontext()
        return self.cluster.serving.registered(service, address)

    def advertised(self, host: str, port: int | str) -> str:
        """Return "host:port" as others reach what listens on it."""
        return f"{advertised_host(self.settings.rpc) if host in _ANYWHERE else host}:{port}"

    def _prefixes(self) -> PrefixSource:
        if self.cluster is None:
            return FilePrefixSource(self.settings.data_dir, slot=self.slot, clock=self.clock)
        return EtcdPrefixSource(
            self.cluster.etcd,
            slot=self.slot,
            owner=f"{self.process} {self.cluster.instance}",
            timing=prefix_timing(self.settings.stratum.prefix_lease_s),
        )


@contextlib.asynccontextmanager
async def open_surroundings(
    path: Path, role: str, *, ready: Callable[[str], None], slot: int = 0
) -> AsyncIterator[Surroundings]:
    """Read the configuration and open what every process has, for as long as the block runs.

    Args:
        path: The file: the pool's, or on a cluster the host's.
        role: What the process is: "stratum", "shares".
        ready: Called with a service's name once it serves.
        slot: Number of a stratum worker on its host.

    Raises:
        UserError: The configuration is not right, or there is none.
    """
    clock = SystemClock()
    process = worker_name(slot) if role == "stratum" else role
    tree = load_toml(path)
    host = decode_host(tree)
    decode = _decoder(path, host)
    configure_logging(process, json=host.log.json, level=host.log.level)
    async with contextlib.AsyncExitStack() as stack:
        etcd = await stack.enter_async_context(EtcdClient(host.etcd, clock=clock)) if host.etcd else None
        source, configuration = await _configuration(path, host, etcd, clock)
        settings = decode(configuration.tree)
        identity = load_identity(host.rpc, role, clock=clock) if etcd else None
        telemetry = await stack.enter_async_context(run_telemetry(host.telemetry, process, clock=clock))
        live = LiveSections.of(settings)
        following = Following(
            source,
            decode=decode,
            role=role,
            settings=settings,
            live=live,
            revision=configuration.revision,
            manager=service_manager(),
        )
        telemetry.register(following.families)
        if etcd is not None:
            telemetry.register(etcd_source(etcd))
        if identity is not None:
            telemetry.register(identity_source(identity))
        stack.push_async_callback(_end, _start("configuration", following.run, clock))
        surroundings = Surroundings(
            process=process,
            role=role,
            slot=slot,
            settings=settings,
            live=live,
            clock=clock,
            telemetry=telemetry,
            cluster=_cluster(host, etcd, identity, telemetry, slot=slot) if etcd else None,
            ready=ready,
        )
        yield surroundings


async def _configuration(
    path: Path, host: HostTree, etcd: EtcdClient | None, clock: Clock
) -> tuple[ConfigSource, Configuration]:
    """Return where the configuration comes from, and what it is now."""
    source: ConfigSource
    if etcd is None:
        source = FileConfigSource(path, _AsDecoded(_decoder(path, host)), clock=clock)
    else:
        copy = copy_path(path)
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"The directory {copy.parent} cannot be made: {error.strerror}.") from None
        source = EtcdConfigSource(etcd, TREE_SCHEMA, copy_path=copy)
    return source, await source.load()


def _decoder(path: Path, host: HostTree) -> Callable[[Tree], Settings]:
    """Return what makes settings of a tree: the file's, or with the host's sections etcd's."""
    if host.etcd is None:
        return lambda tree: decode_file(path, tree)
    return lambda tree: decode_settings(path, host, tree)


class _AsDecoded(Schema):
    """Accepts what can be decoded together with this process's environment: the file is its alone."""

    def __init__(self, decode: Callable[[Tree], Settings]) -> None:
        super().__init__({})
        self._decode = decode

    def check(self, tree: Tree) -> None:
        """Refuse a tree that is not right."""
        self._decode(tree)


def _cluster(
    host: HostTree, etcd: EtcdClient, identity: Identity | None, telemetry: Telemetry, *, slot: int
) -> Cluster:
    labels = {SLOT_LABEL: str(slot), "host": socket.gethostname()}
    if telemetry.metrics_address:
        listened, _, port = telemetry.metrics_address.rpartition(":")
        labels[METRICS_LABEL] = f"{advertised_host(host.rpc) if listened in _ANYWHERE else listened}:{port}"
    instance = instance_name()
    serving = ClusterServing(
        etcd,
        host.rpc,
        identity,
        instance=instance,
        version=version(),
        labels=labels,
        interceptors=(telemetry.rpc_server,),
    )
    return Cluster(etcd=etcd, identity=identity, serving=serving, instance=instance)


def _start(name: str, work: Callable[[], Awaitable[None]], clock: Clock) -> asyncio.Task[None]:
    return asyncio.create_task(keep_running(name, work, clock=clock), name=name)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
