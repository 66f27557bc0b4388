"""Channels that follow a directory: calls go round all live instances of a service.

gRPC for Python cannot be taught a resolver. A `BalancedChannel` therefore asks the directory at each call and changes
to another channel underneath when the addresses have changed; stubs made from it stay good.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeAlias

import grpc

from runtime.rpc.client import Directory, RpcClients

MakeChannel: TypeAlias = Callable[[str], grpc.aio.Channel]
"""Makes a channel to a target; it should have ROUND_ROBIN among its options."""

ROUND_ROBIN: tuple[tuple[str, str | int], ...] = (
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.enable_retries", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.default_authority", "localhost"),
)

_GRACE_S = 30.0


def plain_channel(target: str) -> grpc.aio.Channel:
    """Return a channel without TLS that goes round all addresses of the target."""
    return grpc.aio.insecure_channel(target, options=ROUND_ROBIN)


class BalancedChannel(grpc.aio.Channel):
    """A channel to a service rather than to an address.

    Args:
        directory: Where the service listens now.
        service: The service.
        make_channel: Makes the channels underneath.
    """

    def __init__(self, directory: Directory, service: str, make_channel: MakeChannel = plain_channel) -> None:
        self._directory = directory
        self._service = service
        self._make_channel = make_channel
        self._target = ""
        self._channel: grpc.aio.Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """Return the channel to the addresses that the directory shows now.

        Raises:
            Unavailable: When it shows none.
        """
        target = self._directory.target(self._service)
        if self._channel is None or target != self._target:
            if self._channel is not None:
                # Calls that run finish on the old channel.
                task = asyncio.get_running_loop().create_task(self._channel.close(_GRACE_S))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
            self._channel, self._target = self._make_channel(target), target
        return self._channel

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close the channel underneath and those that were still finishing calls."""
        channel, self._channel = self._channel, None
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        if channel is not None:
            await channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the channel underneath."""
        return self.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the channel underneath is in another state."""
        await self.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel underneath is connected."""
        await self.current().channel_ready()

    def unary_unary(self, method: str, *args: Any, **options: Any) -> Any:
        """Return a callable of the method that chooses the channel at each call."""
        return self._method("unary_unary", method, args, options)

    def unary_stream(self, method: str, *args: Any, **options: Any) -> Any:
        """Return a callable of the method that chooses the channel at each call."""
        return self._method("unary_stream", method, args, options)

    def stream_unary(self, method: str, *args: Any, **options: Any) -> Any:
        """Return a callable of the method that chooses the channel at each call."""
        return self._method("stream_unary", method, args, options)

    def stream_stream(self, method: str, *args: Any, **options: Any) -> Any:
        """Return a callable of the method that chooses the channel at each call."""
        return self._method("stream_stream", method, args, options)

    def _method(self, kind: str, method: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        made: tuple[grpc.aio.Channel, Any] | None = None

        def call(*call_args: Any, **call_options: Any) -> Any:
            nonlocal made
            channel = self.current()
            if made is None or made[0] is not channel:
                made = (channel, getattr(channel, kind)(method, *args, **options))
            return made[1](*call_args, **call_options)

        return call


class BalancedClients(RpcClients):
    """`RpcClients` whose channels follow the directory.

    Args:
        directory: Where services listen now.
        make_channel: Makes the channels underneath; the place for TLS.
    """

    def __init__(self, directory: Directory, make_channel: MakeChannel = plain_channel) -> None:
        super().__init__(directory)
        self._make_channel = make_channel

    def channel(self, service: str) -> grpc.aio.Channel:
        """Return the channel to a service, whichever instances it has."""
        channel = self._channels.get(service)
        if channel is None:
            channel = BalancedChannel(self._directory, service, self._make_channel)
            self._channels[service] = channel
        return channel
