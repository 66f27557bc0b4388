"""How a service offers its gRPC server to the others."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

import grpc

from runtime.rpc.access import Access
from runtime.rpc.client import Directory
from runtime.rpc.server import AddServicer, RpcServer

RpcService: TypeAlias = tuple[AddServicer, object, str]
"""A generated add function, its servicer, and the full name "package.Service"."""


class Serving(Protocol):
    """Serves gRPC for as long as a block runs."""

    def __call__(
        self, service: str, services: Sequence[RpcService], *, access: Access
    ) -> AbstractAsyncContextManager[RpcServer]:
        """Serve, and let clients find it; at the end take no more calls, let running ones finish, close.

        Args:
            service: Its name in the directory.
            services: What it offers.
            access: Who may call it.

        Raises:
            UserError: When the address cannot be listened on.
        """
        ...


class LocalServing:
    """Serves where a directory says, on unix sockets that only this user can open: nobody else is asked who he is.

    Args:
        directory: The addresses of this machine's services.
        interceptors: See each call.
    """

    def __init__(self, directory: Directory, *, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()) -> None:
        self._directory = directory
        self._interceptors = interceptors

    @contextlib.asynccontextmanager
    async def __call__(
        self,
        service: str,
        services: Sequence[RpcService],
        *,
        access: Access,  # noqa: ARG002  the socket's owner may do everything
    ) -> AsyncIterator[RpcServer]:
        """Serve for as long as the block runs."""
        server = RpcServer(self._directory.target(service), services=services, interceptors=self._interceptors)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()
