"""The errors that cross a gRPC border, the same classes on both sides."""

from typing import ClassVar

import grpc

FIELD_METADATA = "error-field"


class RpcError(Exception):
    """Base of the errors that cross the border; raised itself for a failure of the other side that has no name here.

    Attributes:
        message: What is wrong, for the caller.
    """

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotFound(RpcError):
    """Raised when the named thing does not exist."""

    status = grpc.StatusCode.NOT_FOUND


class InvalidArgument(RpcError):
    """Raised when a field of the request is wrong.

    Attributes:
        field: The field's path in the request.
        problem: What is wrong with it.
    """

    status = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


class FailedPrecondition(RpcError):
    """Raised when the request is right but the state does not allow it now."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class Unavailable(RpcError):
    """Raised when the other side, or what it needs, is away or too slow; trying again later can help."""

    status = grpc.StatusCode.UNAVAILABLE


def translate(error: grpc.aio.AioRpcError) -> RpcError:
    """Return our error for one that gRPC raised in a client."""
    details = error.details() or error.code().name
    match error.code():
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(details)
        case grpc.StatusCode.INVALID_ARGUMENT:
            metadata = error.trailing_metadata() or ()
            field = next((str(value) for key, value in metadata if key == FIELD_METADATA), "")
            return InvalidArgument(field, details.removeprefix(f"{field}: ") if field else details)
        case grpc.StatusCode.FAILED_PRECONDITION:
            return FailedPrecondition(details)
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unavailable(details)
        case _:
            return RpcError(details)
