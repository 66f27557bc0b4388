"""Channels to services: one set of options, TLS and tokens where there is an identity, and following a directory.

gRPC for Python cannot be taught a resolver. A `BalancedChannel` therefore asks the directory at each call and changes
to another channel underneath when the addresses have changed, or the certificates; stubs made from it stay good.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeAlias

import grpc

from runtime.rpc.certificates import service_name
from runtime.rpc.identity import Identity

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
ATTEMPTS_MAX: Final = 4
"""How often a call that ends with UNAVAILABLE is tried, the first time included."""
RETRY_TOKENS: Final = 20
"""The retry budget of one set of addresses: each failure takes one, and with half of them gone nothing is retried."""
RETRY_TOKENS_PER_SUCCESS: Final = 0.1
"""What a call that succeeds gives back."""

_GRACE_S = 30.0
_SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "retryThrottling": {"maxTokens": RETRY_TOKENS, "tokenRatio": RETRY_TOKENS_PER_SUCCESS},
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": ATTEMPTS_MAX,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
)
_OPTIONS: Final[tuple[tuple[str, int | str], ...]] = (
    ("grpc.enable_retries", 1),
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_http_proxy", 0),
)


Interceptors: TypeAlias = Callable[[str], Sequence[grpc.aio.ClientInterceptor]]
"""Returns what sees the calls to a service."""


class Addresses(Protocol):
    """Knows where services listen; a `runtime.rpc.client.Directory` is one."""

    def target(self, service: str) -> str:
        """Return a service's gRPC address."""
        ...


def make_channel(
    identity: Identity | None, service: str, target: str, *, interceptors: Interceptors | None = None
) -> grpc.aio.Channel:
    """Return a channel to a service at a fixed address; it carries no tokens.

    Args:
        identity: Who we are; None for a channel without TLS.
        service: The service. With an identity the other side must have its certificate, whatever the address.
        target: gRPC address; calls go round all addresses behind it.
        interceptors: See its calls.
    """
    name = service_name(service)
    options = (*_OPTIONS, ("grpc.default_authority", name))
    seeing = None if interceptors is None else interceptors(service)
    if identity is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=seeing)
    options = (*options, ("grpc.ssl_target_name_override", name))
    return grpc.aio.secure_channel(target, identity.channel_credentials(), options=options, interceptors=seeing)


class BalancedChannel(grpc.aio.Channel):
    """A channel to a service rather than to an address.

    Args:
        directory: Where the service listens now.
        service: The service.
        identity: Who we are; None without TLS and tokens.
        interceptors: See its calls.
    """

    def __init__(
        self,
        directory: Addresses,
        service: str,
        identity: Identity | None = None,
        *,
        interceptors: Interceptors | None = None,
    ) -> None:
        self._interceptors = interceptors
        self._directory = directory
        self._service = service
        self._identity = identity
        self._made_for: tuple[str, int] | None = None
        self._channel: grpc.aio.Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """Return the channel to the addresses that the directory shows now, with the certificate of now.

        Raises:
            Unavailable: When it shows none.
        """
        target = self._directory.target(self._service)
        wanted = (target, self._identity.refresh() if self._identity is not None else 0)
        if self._channel is None or wanted != self._made_for:
            if self._channel is not None:
                # Calls that run finish on the old channel.
                task = asyncio.get_running_loop().create_task(self._channel.close(_GRACE_S))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
            self._channel = make_channel(self._identity, self._service, target, interceptors=self._interceptors)
            self._made_for = wanted
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

        def call(request: Any = None, /, **call_options: Any) -> Any:
            nonlocal made
            channel = self.current()
            if made is None or made[0] is not channel:
                made = (channel, getattr(channel, kind)(method, *args, **options))
            if self._identity is not None:
                token = ("authorization", f"Bearer {self._identity.token_for(self._service)}")
                call_options["metadata"] = (*(call_options.get("metadata") or ()), token)
            return made[1](request, **call_options)

        return call
