"""Serve gRPC on a cluster: TCP, mutual TLS and tokens, and an entry in the register for as long as it lasts."""

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence

import grpc

from runtime.errors import ConfigError
from runtime.etcd.client import EtcdClient
from runtime.etcd.discovery import Instance, Registration, check_address
from runtime.rpc.access import Access
from runtime.rpc.identity import Identity
from runtime.rpc.server import RpcServer
from runtime.rpc.settings import RpcSettings
from runtime.serving import RpcService

_LOOPBACK = "127.0.0.1"


class ClusterServing:
    """Serves on a TCP port and keeps the register up to date.

    etcd being away disturbs nobody who serves: the entry is put back when it is there again.

    Args:
        etcd: The client.
        settings: The `[rpc]` section.
        identity: Who we are; None without TLS and tokens.
        instance: Our name among those that serve the same; see `instance_name`.
        version: Version of the program.
        labels: What else the register shows.
        interceptors: See each call.
    """

    def __init__(
        self,
        etcd: EtcdClient,
        settings: RpcSettings,
        identity: Identity | None,
        *,
        instance: str,
        version: str,
        labels: Mapping[str, str],
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        self._etcd = etcd
        self._settings = settings
        self._identity = identity
        self._instance = instance
        self._version = version
        self._labels = dict(labels)
        self._interceptors = interceptors

    @contextlib.asynccontextmanager
    async def __call__(
        self, service: str, services: Sequence[RpcService], *, access: Access
    ) -> AsyncIterator[RpcServer]:
        """Serve for as long as the block runs; then leave the register and let running calls finish.

        Between the two, `leave_s` long, calls are served as before. A client learns from etcd's watch that we have
        gone, a moment after we have: a server that is shut meanwhile cancels what it is sent, which no client tries
        again, for it cannot know whether the call has run.

        Raises:
            UserError: The port cannot be listened on, or the address cannot be told to others.
        """
        host = advertised_host(self._settings)
        server = RpcServer(
            f"{self._settings.listen_host}:{self._settings.port}",
            services=services,
            access=access,
            identity=self._identity,
            interceptors=self._interceptors,
        )
        await server.start()
        try:
            address = check_address(f"{host}:{server.port}")
            try:
                async with self.registered(service, address):
                    yield server
            finally:
                await self._etcd.clock.sleep(self._settings.leave_s)
        finally:
            await server.stop(self._settings.drain_s)

    @contextlib.asynccontextmanager
    async def registered(self, service: str, address: str) -> AsyncIterator[None]:
        """Keep an entry in the register while the block runs; for what is served otherwise than by `__call__`.

        Raises:
            ValueError: The address is none that clients can be given.
        """
        registration = Registration(
            self._etcd,
            Instance(
                service=service,
                instance=self._instance,
                address=check_address(address),
                start_time_ms=self._etcd.clock.now_ms(),
                version=self._version,
                labels=self._labels,
            ),
        )
        task = asyncio.create_task(registration.run(), name=f"registration of {service}")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


def advertised_host(settings: RpcSettings) -> str:
    """Return the IPv4 address that other hosts reach us at.

    Raises:
        ConfigError: There is none among the settings.
    """
    name = "rpc.advertise_host" if settings.advertise_host else "rpc.listen_host"
    host = settings.advertise_host or settings.listen_host
    if host == "localhost":
        return _LOOPBACK
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        raise ConfigError(name, f'"{host}" is not an IPv4 address', "the one that other hosts reach us at") from None
    if address.is_unspecified:
        raise ConfigError("rpc.advertise_host", f"is needed with {name} = {host}", "our IPv4 address")
    return host


def instance_name() -> str:
    """Return this process's name in the register: host and process id."""
    return f"{socket.gethostname()}-{os.getpid()}"
