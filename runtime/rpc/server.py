"""A gRPC server with health, reflection, callers that are asked who they are, and our errors as statuses."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, NoReturn, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from runtime.errors import UserError
from runtime.logs import log_event
from runtime.postgres.pool import DatabaseUnavailable
from runtime.rpc.access import Access
from runtime.rpc.channels import MESSAGE_BYTES_MAX
from runtime.rpc.errors import RpcError, Unavailable, to_status
from runtime.rpc.guard import Guard
from runtime.rpc.identity import Identity

_log = logging.getLogger("lodepool.rpc")

AddServicer: TypeAlias = Callable[[Any, grpc.aio.Server], None]
"""A generated `add_<Service>Servicer_to_server`."""

DEADLINE_S: Final = 30.0
"""A call whose caller has set no deadline is ended after this time."""

_ENDLESS = ("/grpc.health.v1.Health/Watch",)
"""Streams that are meant to stay open."""
_LOOK_AT_FILES_S = 60.0

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
)

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class RpcServer:
    """Serves gRPC services on one address.

    Args:
        address: "unix:/path" or "host:port"; port 0 takes a free one (see `port`).
        services: For each service its generated add function, its servicer and its full name ("package.Service").
        access: Who may call them; asked only where there is an identity. None lets every service call everything.
        identity: Who we are; None serves without TLS and asks nobody who he is.
        interceptors: See each call before anything else does, and what becomes of it.
    """

    def __init__(
        self,
        address: str,
        *,
        services: Sequence[tuple[AddServicer, object, str]],
        access: Access | None = None,
        identity: Identity | None = None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        self._address = address
        self._identity = identity
        self._looking: asyncio.Task[None] | None = None
        guard = Guard(identity, access) if identity is not None else None
        self._server = grpc.aio.server(interceptors=[*interceptors, StatusInterceptor(guard)], options=_OPTIONS)
        self._health = health.aio.HealthServicer()
        self._names = [full_name for _, _, full_name in services]
        for add, servicer, _ in services:
            add(servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        shown = [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(shown, self._server)
        self.port = 0

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            UserError: When the address cannot be listened on.
        """
        try:
            if self._identity is None:
                self.port = self._server.add_insecure_port(self._address)
            else:
                self.port = self._server.add_secure_port(self._address, self._identity.server_credentials())
        except RuntimeError as error:
            raise UserError(f"Cannot listen on {self._address}.", "is another process using it?") from error
        await self._server.start()
        if self._identity is not None:
            self._looking = asyncio.get_running_loop().create_task(_look_at_files(self._identity))
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Take no new calls, let running ones finish for `grace_s` seconds, then cut them."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)


async def _look_at_files(identity: Identity) -> None:
    """Notice new certificates, and those that expire soon, also when nobody calls."""
    while True:
        await asyncio.sleep(_LOOK_AT_FILES_S)
        identity.refresh()


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Turns exceptions of servicers into statuses; what is not ours leaves as "internal error" with an id.

    Args:
        guard: Asks each call who it is from; None asks nobody.
    """

    def __init__(self, guard: Guard | None = None) -> None:
        self._guard = guard

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Wrap the method's handler."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        method = str(handler_call_details.method)
        kind = "stream" if handler.request_streaming else "unary"
        serving: Any
        if handler.response_streaming:
            serving = self._streaming(getattr(handler, f"{kind}_stream"), method)
            make = getattr(grpc, f"{kind}_stream_rpc_method_handler")
        else:
            serving = self._single(getattr(handler, f"{kind}_unary"), method)
            make = getattr(grpc, f"{kind}_unary_rpc_method_handler")
        return make(serving, handler.request_deserializer, handler.response_serializer)  # type: ignore[no-any-return]  # chosen by name

    def _single(
        self, behaviour: Callable[[Any, _Context], Awaitable[Any]], method: str
    ) -> Callable[[Any, _Context], Any]:
        async def serve(request: Any, context: _Context) -> Any:
            try:
                self._check(method, context)
                async with _deadline(method, context):
                    return await behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                await _abort(context, error, method)

        return serve

    def _streaming(
        self, behaviour: Callable[[Any, _Context], AsyncIterator[Any]], method: str
    ) -> Callable[[Any, _Context], Any]:
        async def serve(request: Any, context: _Context) -> AsyncIterator[Any]:
            try:
                self._check(method, context)
                async with _deadline(method, context):
                    async for response in behaviour(request, context):
                        yield response
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                await _abort(context, error, method)

        return serve

    def _check(self, method: str, context: _Context) -> None:
        if self._guard is not None:
            self._guard.check(method, context)


class _DeadlinePassed(Unavailable):
    """Raised when a call without a deadline of its own took too long."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED


@contextlib.asynccontextmanager
async def _deadline(method: str, context: _Context) -> AsyncIterator[None]:
    """End what runs inside after DEADLINE_S, if the caller has set no deadline; gRPC keeps a deadline that was set."""
    limit_s = None if context.time_remaining() is not None or method in _ENDLESS else DEADLINE_S
    timeout = asyncio.timeout(limit_s)
    try:
        async with timeout:
            yield
    except TimeoutError:
        if timeout.expired():
            raise _DeadlinePassed(f"the call had no deadline and took longer than {DEADLINE_S:g} s") from None
        raise


async def _abort(context: _Context, error: Exception, method: str) -> NoReturn:
    match error:
        case RpcError():
            found = error
        case DatabaseUnavailable():
            log_event(_log, logging.WARNING, "call failed, database unavailable", method=method)
            found = Unavailable("the database is unavailable", reason="DATABASE_UNAVAILABLE")
        case _:
            error_id = secrets.token_hex(6)
            log_event(_log, logging.ERROR, "call failed", method=method, error_id=error_id, error=type(error).__name__)
            _log.error("traceback of %s", error_id, exc_info=error)
            found = RpcError(f"internal error {error_id}", metadata={"error_id": error_id})
    status = to_status(found)
    await context.abort(status.code, status.details or "", status.trailing_metadata or ())
    raise AssertionError("abort raises")
