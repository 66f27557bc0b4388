"""A gRPC server with health, reflection and our errors as statuses."""

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NoReturn, TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from runtime.errors import UserError
from runtime.logs import log_event
from runtime.postgres.pool import DatabaseUnavailable
from runtime.rpc.errors import FIELD_METADATA, InvalidArgument, RpcError

_log = logging.getLogger("lodepool.rpc")

AddServicer: TypeAlias = Callable[[Any, grpc.aio.Server], None]
"""A generated `add_<Service>Servicer_to_server`."""

_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
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
    """

    def __init__(self, address: str, *, services: Sequence[tuple[AddServicer, object, str]]) -> None:
        self._address = address
        self._server = grpc.aio.server(interceptors=[StatusInterceptor()], options=_OPTIONS)
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
            self.port = self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise UserError(f"Cannot listen on {self._address}.", "is another process using it?") from error
        await self._server.start()
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Take no new calls, let running ones finish for `grace_s` seconds, then cut them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Turns exceptions of servicers into statuses; what is not ours leaves as "internal error" with an id."""

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
            serving = _streaming(getattr(handler, f"{kind}_stream"), method)
            make = getattr(grpc, f"{kind}_stream_rpc_method_handler")
        else:
            serving = _single(getattr(handler, f"{kind}_unary"), method)
            make = getattr(grpc, f"{kind}_unary_rpc_method_handler")
        return make(serving, handler.request_deserializer, handler.response_serializer)  # type: ignore[no-any-return]  # chosen by name


def _single(behaviour: Callable[[Any, _Context], Awaitable[Any]], method: str) -> Callable[[Any, _Context], Any]:
    async def serve(request: Any, context: _Context) -> Any:
        try:
            return await behaviour(request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(context, error, method)

    return serve


def _streaming(behaviour: Callable[[Any, _Context], AsyncIterator[Any]], method: str) -> Callable[[Any, _Context], Any]:
    async def serve(request: Any, context: _Context) -> AsyncIterator[Any]:
        try:
            async for response in behaviour(request, context):
                yield response
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(context, error, method)

    return serve


async def _abort(context: _Context, error: Exception, method: str) -> NoReturn:
    match error:
        case InvalidArgument():
            metadata = ((FIELD_METADATA, error.field),) if error.field.isascii() else ()
            await context.abort(error.status, error.message, trailing_metadata=metadata)
        case RpcError():
            await context.abort(error.status, error.message)
        case DatabaseUnavailable():
            log_event(_log, logging.WARNING, "call failed, database unavailable", method=method)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the database is unavailable")
        case _:
            error_id = secrets.token_hex(6)
            log_event(_log, logging.ERROR, "call failed", method=method, error_id=error_id, error=type(error).__name__)
            _log.error("traceback of %s", error_id, exc_info=error)
            await context.abort(grpc.StatusCode.INTERNAL, f"internal error {error_id}")
    raise AssertionError("abort raises")
