"""The errors that cross a gRPC border, the same classes on both sides.

On the wire an error is its status code and a `google.rpc.Status` with details: `ErrorInfo` always, `BadRequest` for
`InvalidArgument`, `RetryInfo` for `Unavailable`. Source: https://google.aip.dev/193
"""

import re
from collections.abc import Mapping
from typing import ClassVar, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # has no stubs
from grpc_status import rpc_status  # type: ignore[import-untyped]  # has no stubs

Detail = TypeVar("Detail", bound=Message)

DOMAIN: Final = "lodepool"
"""What our `ErrorInfo` is marked with."""
RETRY_AFTER_MS: Final = 1_000

# All of it goes into the trailing metadata, which gRPC may refuse from 8 KiB on; a message may grow threefold there.
_MESSAGE_BYTES_MAX = 600
_VIOLATION_BYTES_MAX = 250
_FIELD_BYTES_MAX = 100
_VIOLATIONS_MAX = 8


class RpcError(Exception):
    """Base of the errors that cross the border; raised itself for a failure of the other side that has no name here.

    Args:
        message: What is wrong, for the caller; what is longer than 600 bytes is cut off on the wire.
        reason: What is wrong, for programs, in UPPER_SNAKE_CASE; "" means the status code's name.
        metadata: What it is wrong with, for programs. No secrets.

    Attributes:
        message: As above.
        reason: As above, never empty.
        metadata: As above.
    """

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL

    def __init__(self, message: str, *, reason: str = "", metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.status.name
        self.metadata = dict(metadata or {})


class NotFound(RpcError):
    """Raised when the named thing does not exist."""

    status = grpc.StatusCode.NOT_FOUND


class InvalidArgument(RpcError):
    """Raised when fields of the request are wrong.

    Args:
        field: The field's path in the request.
        problem: What is wrong with it.
        *others: Path and problem of further fields.
        reason: See `RpcError`.
        metadata: See `RpcError`.

    Attributes:
        field: The first field's path.
        problem: What is wrong with it.
        violations: Path and problem of each field, the first included.
    """

    status = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(
        self,
        field: str,
        problem: str,
        *others: tuple[str, str],
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.field = field
        self.problem = problem
        self.violations = ((field, problem), *others)
        message = "; ".join(f"{path}: {text}" if path else text for path, text in self.violations)
        super().__init__(message, reason=reason, metadata=metadata)


class FailedPrecondition(RpcError):
    """Raised when the request is right but the state does not allow it now."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class Unauthenticated(RpcError):
    """Raised when the caller has not proven who he is."""

    status = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(RpcError):
    """Raised when the caller may not do this."""

    status = grpc.StatusCode.PERMISSION_DENIED


class Unavailable(RpcError):
    """Raised when the other side, or what it needs, is away or too slow; trying again later can help.

    Args:
        message: See `RpcError`.
        reason: See `RpcError`.
        metadata: See `RpcError`.
        retry_after_ms: When to try again, in milliseconds from now.

    Attributes:
        retry_after_ms: As above.
    """

    status = grpc.StatusCode.UNAVAILABLE

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_ms: int = RETRY_AFTER_MS,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.retry_after_ms = retry_after_ms


_PLAIN: Final[Mapping[grpc.StatusCode, type[RpcError]]] = {
    kind.status: kind for kind in (NotFound, FailedPrecondition, Unauthenticated, PermissionDenied)
}


def to_status(error: RpcError) -> grpc.Status:
    """Return code, message and trailing metadata that carry an error to the caller."""
    status = status_pb2.Status(code=error.status.value[0], message=_cut(error.message, _MESSAGE_BYTES_MAX))
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    status.details.add().Pack(info)
    match error:
        case InvalidArgument():
            request = error_details_pb2.BadRequest()
            for field, problem in error.violations[:_VIOLATIONS_MAX]:
                request.field_violations.add(
                    field=_cut(field, _FIELD_BYTES_MAX), description=_cut(problem, _VIOLATION_BYTES_MAX)
                )
            status.details.add().Pack(request)
        case Unavailable():
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(error.retry_after_ms)
            status.details.add().Pack(retry)
        case _:
            pass
    return rpc_status.to_status(status)  # type: ignore[no-any-return]  # has no stubs


def _cut(text: str, bytes_max: int) -> str:
    data = text.encode("utf-8", "replace")
    return data[:bytes_max].decode("utf-8", "ignore") if len(data) > bytes_max else text


def translate(error: grpc.aio.AioRpcError) -> RpcError:
    """Return our error for one that gRPC raised in a client.

    The details of the other side's status are used when it sent some; otherwise the status code alone decides.
    """
    message = error.details() or error.code().name
    status = _rich_status(error)
    info = _detail(status, error_details_pb2.ErrorInfo)
    reason, metadata = (str(info.reason), dict(info.metadata)) if info is not None else ("", {})
    match error.code():
        case grpc.StatusCode.INVALID_ARGUMENT:
            request = _detail(status, error_details_pb2.BadRequest)
            violations = [(each.field, each.description) for each in request.field_violations] if request else []
            (field, problem), *others = violations or [("", message)]
            return InvalidArgument(field, problem, *others, reason=reason, metadata=metadata)
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            retry = _detail(status, error_details_pb2.RetryInfo)
            delay_ms = retry.retry_delay.ToMilliseconds() if retry is not None else RETRY_AFTER_MS
            problem = message if status is not None else _connection_problem(message)
            return Unavailable(problem, reason=reason, metadata=metadata, retry_after_ms=delay_ms)
        case code:
            return _PLAIN.get(code, RpcError)(message, reason=reason, metadata=metadata)


def _rich_status(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    try:
        return rpc_status.from_call(error)
    except (ValueError, DecodeError):
        # Whoever sent this does not keep the rules; his status code still counts.
        return None


def _detail(status: status_pb2.Status | None, kind: type[Detail]) -> Detail | None:
    for packed in status.details if status is not None else ():
        found = kind()
        try:
            if packed.Unpack(found):
                return found
        except DecodeError:
            return None
    return None


_TLS_PROBLEMS: Final = (
    (r"certificate has expired", "its certificate has expired"),
    (r"certificate is not yet valid", "its certificate is not valid yet"),
    (r"Hostname Verification Check failed", "its certificate is another service's"),
    (r"CERTIFICATE_VERIFY_FAILED", "its certificate is not of our authority"),
    (r"WRONG_VERSION_NUMBER", "it does not speak TLS"),
    # A server checks certificates after the client believes itself connected, so that no more than this is ever heard.
    (r"failed to connect.*Socket closed", "it closed the connection at once, as with a certificate it does not accept"),
)


def _connection_problem(details: str) -> str:
    """Return a sentence for what gRPC says about a connection, where TLS is the reason."""
    for pattern, sentence in _TLS_PROBLEMS:
        if re.search(pattern, details, re.IGNORECASE):
            return f"no connection to the service: {sentence}"
    return details
