"""Who is alive: services register under a lease, clients follow the register.

A key is `<root>instances/<service>/<instance>`; its value says where the instance listens. It goes away with the
lease when the process dies, and is put back when it was lost while the process lives.
"""

import asyncio
import ipaddress
import logging
from collections.abc import AsyncGenerator, Mapping
from urllib.parse import quote

import msgspec

from runtime.etcd.claims import Stopwatch
from runtime.etcd.client import EtcdClient, Snapshot
from runtime.etcd.errors import EtcdError, LeaseGone
from runtime.etcd.settings import is_ipv4
from runtime.etcd.watch import PrefixWatch
from runtime.logs import log_event
from runtime.rpc.errors import Unavailable

_log = logging.getLogger("lodepool.etcd")

_RENEWALS_PER_TTL = 3
_RETRY_S = 0.2


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """A process that serves; stored as JSON, fields that a later version adds are ignored.

    Attributes:
        service: What it serves.
        instance: Its name among those that serve the same.
        address: "1.2.3.4:5000", or "unix:/path" for clients on the same machine.
        start_time_ms: When it started, milliseconds since the Unix epoch.
        version: Version of the program.
        labels: Whatever else clients may want to know; no secrets.
    """

    service: str
    instance: str
    address: str
    start_time_ms: int = 0
    version: str = ""
    labels: dict[str, str] = {}


def check_address(address: str) -> str:
    """Return the address if clients can be given it.

    Raises:
        ValueError: When it is neither "unix:/path" nor an IPv4 address with a port.
    """
    if address.startswith("unix:/"):
        return address
    host, _, port = address.rpartition(":")
    if not is_ipv4(host) or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f'"{address}" is neither "unix:/path" nor an IPv4 address with a port')
    if ipaddress.IPv4Address(host).is_unspecified:
        raise ValueError(f'"{address}" stands for all addresses; clients need one')
    return address


def instances_prefix(root: str) -> str:
    """Return where the register lies."""
    return f"{root}instances/"


class Registration:
    """Keeps one instance in the register: `run` in a task of its own.

    Args:
        etcd: The client.
        instance: What to register.
    """

    def __init__(self, etcd: EtcdClient, instance: Instance) -> None:
        check_address(instance.address)
        self._etcd = etcd
        self._value = msgspec.json.encode(instance)
        prefix = instances_prefix(etcd.settings.root)
        self._key = f"{prefix}{quote(instance.service, safe='')}/{quote(instance.instance, safe='')}"
        self._registered = asyncio.Event()
        self.registration_count = 0

    @property
    def is_registered(self) -> bool:
        """Return whether the register shows us, as far as we know."""
        return self._registered.is_set()

    async def wait_registered(self) -> None:
        """Return once the register shows us."""
        await self._registered.wait()

    async def run(self) -> None:
        """Register, stay registered, register again after a loss; leave the register when cancelled."""
        try:
            while True:
                try:
                    await self._hold_lease()
                except EtcdError as error:
                    if self._registered.is_set():
                        log_event(_log, logging.WARNING, "registration lost", key=self._key, error=str(error))
                    self._registered.clear()
                    await self._etcd.clock.sleep(_RETRY_S)
        finally:
            self._registered.clear()

    async def _hold_lease(self) -> None:
        """Get a lease, put the key, renew both until the lease is lost by our own clock or etcd says so."""
        ttl_s = self._etcd.settings.lease_ttl_s
        renewed = Stopwatch(self._etcd.clock)
        lease_id = await self._etcd.grant(ttl_s)
        try:
            await self._etcd.put(self._key, self._value, lease_id=lease_id)
            self.registration_count += 1
            self._registered.set()
            log_event(_log, logging.INFO, "instance registered", key=self._key)
            delay_s = ttl_s / _RENEWALS_PER_TTL
            while True:
                await self._etcd.clock.sleep(delay_s)
                sent = Stopwatch(self._etcd.clock)
                try:
                    await self._renew(lease_id)
                except LeaseGone:
                    raise
                except EtcdError:
                    if renewed.elapsed_s() >= ttl_s:
                        raise
                    delay_s = _RETRY_S
                else:
                    renewed, delay_s = sent, ttl_s / _RENEWALS_PER_TTL
        except asyncio.CancelledError:
            await self._leave(lease_id)
            raise

    async def _renew(self, lease_id: int) -> None:
        await self._etcd.renew(lease_id)
        entry = await self._etcd.get(self._key)
        if entry is None or entry.value != self._value or entry.lease_id != lease_id:
            await self._etcd.put(self._key, self._value, lease_id=lease_id)
            self.registration_count += 1
            log_event(_log, logging.WARNING, "instance registered again", key=self._key)

    async def _leave(self, lease_id: int) -> None:
        try:
            await self._etcd.revoke(lease_id)
        except EtcdError as error:
            log_event(_log, logging.INFO, "registration left to expire", key=self._key, error=str(error))


class EtcdDirectory:
    """Where services listen, as the register shows: a `runtime.rpc.client.Directory`.

    `run` in a task of its own keeps it current. While etcd is away it stays as it was; when the last instance of a
    service has gone, its last address is still given: a call that cannot connect is no worse than one not tried.

    Args:
        etcd: The client.
        local: Service → address that stands above the register, such as where this process itself listens.
    """

    def __init__(self, etcd: EtcdClient, *, local: Mapping[str, str] | None = None) -> None:
        self._etcd = etcd
        self._prefix = instances_prefix(etcd.settings.root)
        self._local = dict(local or {})
        self._instances: dict[str, tuple[Instance, ...]] = {}
        self._targets: dict[str, str] = {}
        self._changed = asyncio.Condition()
        self._version = 0

    async def run(self) -> None:
        """Follow the register for ever."""
        async with PrefixWatch(self._etcd, self._prefix) as watch:
            async for snapshot in watch.snapshots():
                await self._apply(snapshot)

    async def wait_current(self) -> None:
        """Return once the register has been read."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._version > 0)

    def target(self, service: str) -> str:
        """Return the service's gRPC address; with several instances "ipv4:" and all addresses, for round robin.

        Raises:
            Unavailable: When no instance was ever seen.
        """
        found = self._local.get(service) or self._targets.get(service)
        if found is None:
            raise Unavailable(f"no instance of the service {service} is known")
        return found

    def members(self, service: str) -> Mapping[str, str]:
        """Return instance name → gRPC address of the live instances of a service, by name; those of `local` as well."""
        members = {each.instance: each.address for each in self.instances(service)}
        return members or ({service: self._local[service]} if service in self._local else {})

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Return the live instances of a service, ordered by name."""
        return self._instances.get(service, ())

    def services(self) -> tuple[str, ...]:
        """Return the services that have live instances."""
        return tuple(sorted(self._instances))

    async def changes(self, service: str) -> AsyncGenerator[tuple[Instance, ...], None]:
        """Yield the live instances of a service now and after each change; needs `run`."""
        await self.wait_current()
        known = self.instances(service)
        yield known
        while True:
            async with self._changed:
                while self.instances(service) == known:
                    await self._changed.wait()
            known = self.instances(service)
            yield known

    async def _apply(self, snapshot: Snapshot) -> None:
        found: dict[str, list[Instance]] = {}
        for key, entry in snapshot.entries.items():
            try:
                instance = msgspec.json.decode(entry.value, type=Instance)
                check_address(instance.address)
            except (msgspec.MsgspecError, ValueError) as error:
                log_event(_log, logging.WARNING, "bad registration ignored", key=key, error=str(error))
                continue
            found.setdefault(instance.service, []).append(instance)
        async with self._changed:
            self._instances = {
                service: tuple(sorted(members, key=lambda member: member.instance))
                for service, members in found.items()
            }
            self._targets.update({service: _target(members) for service, members in self._instances.items()})
            self._version += 1
            self._changed.notify_all()


def _target(instances: tuple[Instance, ...]) -> str:
    networked = sorted({instance.address for instance in instances if not instance.address.startswith("unix:")})
    if not networked:
        return instances[0].address
    return f"ipv4:{','.join(networked)}"
