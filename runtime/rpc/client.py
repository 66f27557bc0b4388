"""Channels to services, and where those services listen."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

import grpc

from runtime.rpc.channels import BalancedChannel, Interceptors
from runtime.rpc.errors import Unavailable, translate
from runtime.rpc.identity import Identity

Response = TypeVar("Response")

_GRACE_S = 10.0
"""How long calls to an instance that is gone may take to finish."""


class Directory(Protocol):
    """Knows where services listen."""

    def target(self, service: str) -> str:
        """Return a gRPC address, "unix:/path" or "host:port".

        Raises:
            Unavailable: When nobody is known to serve it.
        """
        ...

    def members(self, service: str) -> Mapping[str, str]:
        """Return instance name → gRPC address of each instance, for asking every one; empty when none is known."""
        ...


class StaticDirectory:
    """A fixed table of addresses.

    Args:
        targets: Service name → gRPC address; the instances "stratum-0", "stratum-1" … are members of "stratum".
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        self._targets = dict(targets)

    def target(self, service: str) -> str:
        """Return the service's address."""
        try:
            return self._targets[service]
        except KeyError:
            raise Unavailable(f"no address is known for the service {service}") from None

    def members(self, service: str) -> Mapping[str, str]:
        """Return the entries named like the service, or like it with "-" and something behind, by name."""
        named = (name for name in self._targets if name == service or name.startswith(f"{service}-"))
        return {name: self._targets[name] for name in sorted(named)}


class RpcClients:
    """One channel a service, made at first use.

    A channel follows the directory: calls go round all addresses that it shows for the service at that moment.

    Args:
        directory: Where services listen.
        identity: Who we are; None without TLS and tokens.
        interceptors: See the calls.
    """

    def __init__(
        self, directory: Directory, identity: Identity | None = None, *, interceptors: Interceptors | None = None
    ) -> None:
        self._interceptors = interceptors
        self._directory = directory
        self._identity = identity
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._members: dict[tuple[str, str], grpc.aio.Channel] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def channel(self, service: str) -> grpc.aio.Channel:
        """Return the channel to a service; it connects by itself, and again after the service has been away.

        A call that ends with UNAVAILABLE is tried up to 4 times, so what writes must carry a request id. Calls raise
        Unavailable when the directory knows no address.
        """
        channel = self._channels.get(service)
        if channel is None:
            channel = BalancedChannel(self._directory, service, self._identity, interceptors=self._interceptors)
            self._channels[service] = channel
        return channel

    def members(self, service: str) -> tuple[str, ...]:
        """Return the names of a service's instances now, and give back the channels to those that are gone."""
        names = tuple(self._directory.members(service))
        for key in [key for key in self._members if key[0] == service and key[1] not in names]:
            task = asyncio.get_running_loop().create_task(self._members.pop(key).close(_GRACE_S))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        return names

    def member_channel(self, service: str, instance: str) -> grpc.aio.Channel:
        """Return the channel to one instance of a service, one of `members`.

        Calls raise Unavailable when the directory does not know it any more.
        """
        key = (service, instance)
        if key not in self._members:
            only = _OnlyMember(self._directory, instance)
            self._members[key] = BalancedChannel(only, service, self._identity, interceptors=self._interceptors)
        return self._members[key]

    async def close(self) -> None:
        """Close all channels."""
        channels = [*self._channels.values(), *self._members.values()]
        self._channels, self._members = {}, {}
        for channel in channels:
            await channel.close()
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)


class _OnlyMember:
    """Of a directory, the address of one instance."""

    def __init__(self, directory: Directory, instance: str) -> None:
        self._directory = directory
        self._instance = instance

    def target(self, service: str) -> str:
        try:
            return self._directory.members(service)[self._instance]
        except KeyError:
            raise Unavailable(f"{self._instance} of the service {service} is gone") from None


async def call(method: Callable[..., Awaitable[Response]], request: object, *, timeout_s: float = 5.0) -> Response:
    """Call a stub's unary method with a deadline.

    Raises:
        RpcError: NotFound, InvalidArgument, FailedPrecondition, Unauthenticated, PermissionDenied, Unavailable (also
            when the deadline passed), or RpcError itself for anything else.
    """
    try:
        return await method(request, timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        raise translate(error) from error
