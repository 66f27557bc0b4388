"""Channels to services, and where those services listen."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

import grpc

from runtime.rpc.channels import BalancedChannel, Interceptors
from runtime.rpc.errors import Unavailable, translate
from runtime.rpc.identity import Identity

Response = TypeVar("Response")


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

    async def close(self) -> None:
        """Close all channels."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()


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
