"""Channels to services, and where those services listen."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

import grpc

from runtime.rpc.errors import Unavailable, translate

Response = TypeVar("Response")

_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)
_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.enable_retries", 1),
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.enable_http_proxy", 0),
    ("grpc.default_authority", "localhost"),
)


class Directory(Protocol):
    """Knows where services listen."""

    def target(self, service: str) -> str:
        """Return a gRPC address, "unix:/path" or "host:port".

        Raises:
            Unavailable: When nobody is known to serve it.
        """
        ...


class StaticDirectory:
    """A fixed table of addresses.

    Args:
        targets: Service name → gRPC address.
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        self._targets = dict(targets)

    def target(self, service: str) -> str:
        """Return the service's address."""
        try:
            return self._targets[service]
        except KeyError:
            raise Unavailable(f"no address is known for the service {service}") from None


class RpcClients:
    """One channel a service, made at first use."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._channels: dict[str, grpc.aio.Channel] = {}

    def channel(self, service: str) -> grpc.aio.Channel:
        """Return the channel to a service; it connects by itself, and again after the service has been away.

        A call that ends with UNAVAILABLE is tried up to 4 times, so what writes must carry a request id.
        """
        channel = self._channels.get(service)
        if channel is None:
            channel = grpc.aio.insecure_channel(self._directory.target(service), options=_OPTIONS)
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
        RpcError: NotFound, InvalidArgument, FailedPrecondition, Unavailable (also when the deadline passed), or
            RpcError itself for anything else.
    """
    try:
        return await method(request, timeout=timeout_s)
    except grpc.aio.AioRpcError as error:
        raise translate(error) from error
