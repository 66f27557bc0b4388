"""gRPC calls as metrics: those that this process answers and those that it makes."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import grpc
from prometheus_client import Metric

from runtime.telemetry.families import CALLS_S, Histogram, counter, histogram

SERVER_CALLS = counter(
    "lodepool_rpc_server_calls_total", "gRPC calls that were answered, by status", "service", "method", "code"
)
SERVER_DURATION = histogram(
    "lodepool_rpc_server_call_duration_seconds", "How long answering a gRPC call took", "service", "method"
)
CLIENT_CALLS = counter(
    "lodepool_rpc_client_calls_total", "gRPC calls that were made, by the service asked and status", "service", "code"
)

_CODES: Final[dict[object, str]] = {code.value[0]: code.name for code in grpc.StatusCode}
_OK: Final = "OK"
_CANCELLED: Final = "CANCELLED"
_UNKNOWN: Final = "UNKNOWN"

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class RpcServerMetrics(grpc.aio.ServerInterceptor):
    """Counts and times the calls of a server; the outermost interceptor, so that it sees what the caller sees."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = {}
        self._durations: dict[tuple[str, str], Histogram] = {}

    def families(self) -> Iterator[Metric]:
        """Yield what was counted; a MetricSource."""
        yield SERVER_CALLS.by(self._counts)
        yield SERVER_DURATION.seen_by(self._durations)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Wrap the method's handler; methods that there are not are not counted."""
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            return None
        service, _, method = str(handler_call_details.method).lstrip("/").partition("/")
        kind = "stream" if handler.request_streaming else "unary"
        serving: Any
        if handler.response_streaming:
            serving = self._streaming(getattr(handler, f"{kind}_stream"), service, method)
            make = getattr(grpc, f"{kind}_stream_rpc_method_handler")
        else:
            serving = self._single(getattr(handler, f"{kind}_unary"), service, method)
            make = getattr(grpc, f"{kind}_unary_rpc_method_handler")
        return make(serving, handler.request_deserializer, handler.response_serializer)  # type: ignore[no-any-return]  # chosen by name

    def _single(self, behaviour: Callable[[Any, _Context], Awaitable[Any]], service: str, method: str) -> Any:
        async def serve(request: Any, context: _Context) -> Any:
            start_s, code = time.perf_counter(), _CANCELLED
            try:
                response = await behaviour(request, context)
                code = _code_of(context, otherwise=_OK)
            except Exception:
                code = _code_of(context, otherwise=_UNKNOWN)
                raise
            else:
                return response
            finally:
                self._note(service, method, code, time.perf_counter() - start_s)

        return serve

    def _streaming(self, behaviour: Callable[[Any, _Context], AsyncIterator[Any]], service: str, method: str) -> Any:
        async def serve(request: Any, context: _Context) -> AsyncIterator[Any]:
            start_s, code = time.perf_counter(), _CANCELLED
            try:
                async for response in behaviour(request, context):
                    yield response
                code = _code_of(context, otherwise=_OK)
            except Exception:
                code = _code_of(context, otherwise=_UNKNOWN)
                raise
            finally:
                self._note(service, method, code, time.perf_counter() - start_s)

        return serve

    def _note(self, service: str, method: str, code: str, duration_s: float) -> None:
        self._counts[service, method, code] = self._counts.get((service, method, code), 0) + 1
        durations = self._durations.get((service, method))
        if durations is None:
            durations = self._durations[service, method] = Histogram(CALLS_S)
        durations.observe(duration_s)


def _code_of(context: _Context, *, otherwise: str) -> str:
    code: object = context.code()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    return _CODES.get(number, _UNKNOWN) if number else otherwise


class RpcClientMetrics:
    """Counts the calls that this process makes."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def families(self) -> Iterator[Metric]:
        """Yield what was counted; a MetricSource."""
        yield CLIENT_CALLS.by(self._counts)

    def interceptors(self, service: str) -> Sequence[grpc.aio.ClientInterceptor]:
        """Return what counts the calls of a channel to a service."""
        return (_Counting(service, self._counts),)


class _Counting(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, service: str, counts: dict[tuple[str, str], int]) -> None:
        self._service = service
        self._counts = counts

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Make the call and count how it ended."""
        code = _CANCELLED
        try:
            call = await continuation(client_call_details, request)
            code = (await call.code()).name
        finally:
            self._counts[self._service, code] = self._counts.get((self._service, code), 0) + 1
        return call
